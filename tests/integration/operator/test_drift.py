"""What others change, take away or add in a region: what comes back, what is left alone, who fights over it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusters import eventually
from specs import ABSENT, edited
from worlds import SETTLE_SECONDS, Body, World, chat

from .conftest import MakeService

DRIFT: dict[str, tuple[str, Any]] = {
    "another image": (
        "deployments/{}",
        {"spec": {"template": {"spec": {"$image": "evil:1"}}}},
    ),
    "more replicas": ("deployments/{}", {"spec": {"replicas": 5}}),
    "where the Service leads": (
        "services/{}",
        {"spec": {"ports": [{"name": "wss", "port": 443, "protocol": "TCP", "targetPort": 1}]}},
    ),
    "the certificate": ("secrets/{}-tls", {"data": {"tls.key": "ZXZpbA=="}}),
    "an open network policy": ("networkpolicies/{}-default-deny", {"spec": {"ingress": []}}),
    "no owner label": ("services/{}-peers", {"metadata": {"labels": {"roadstead.dev/owner-name": None}}}),
    "no managed-by label": (
        "poddisruptionbudgets/{}",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
    ),
    "another owner": ("serviceaccounts/{}", {"metadata": {"labels": {"roadstead.dev/owner-name": "somebody-else"}}}),
    "no body hash": ("networkpolicies/{}-allow", {"metadata": {"annotations": {"roadstead.dev/body-hash": None}}}),
}


@pytest.fixture(scope="module")
def steady(world: World) -> Body:
    """A service that is disturbed by one test after the other."""
    body = chat(world.fresh_name("steady"))
    world.apply(body)
    world.wait_ready(body["metadata"]["name"])
    return body


@pytest.mark.parametrize("what", DRIFT)
def test_drift_is_repaired(world: World, steady: Body, what: str) -> None:
    name = steady["metadata"]["name"]
    pattern, patch = DRIFT[what]
    resource, _, child = pattern.format(f"{name}-hkg").partition("/")
    objects = world.at["hkg"]
    before = objects.get(resource, child)
    if what == "another image":
        containers = json.loads(json.dumps(before["spec"]["template"]["spec"]["containers"]))
        containers[0]["image"] = "evil:1"
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    broken = objects.patch(resource, child, patch)
    assert intended(broken) != intended(before), "the edit changed nothing"
    eventually(lambda: intended(objects.get(resource, child)) == intended(before), deadline=SETTLE_SECONDS)
    assert objects.get(resource, child)["metadata"]["uid"] == before["metadata"]["uid"], "it was repaired, not replaced"
    world.wait_ready(name)
    eventually(
        lambda: any(
            f"DriftRepaired: region hkg: {before['kind']} chat/{child}" in told
            for told in [line.partition(" ")[2] for line in world.at_hub.told(name)]
        )
    )


def intended(body: Body) -> Any:
    """What we say about an object: all of it but what the server adds."""
    metadata = {key: body["metadata"].get(key) for key in ("labels", "annotations")}
    if metadata["annotations"]:  # controllers write here too
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k.startswith("roadstead.dev/")}
    return {"metadata": metadata, **{key: body.get(key) for key in ("spec", "data", "type")}}


@pytest.mark.parametrize("pattern", ["deployments/{}", "services/{}", "secrets/{}-tls", "networkpolicies/{}-allow"])
def test_a_deleted_child_is_made_again(world: World, steady: Body, pattern: str) -> None:
    name = steady["metadata"]["name"]
    resource, _, child = pattern.format(f"{name}-sgp").partition("/")
    before = world.at["sgp"].get(resource, child)
    world.at["sgp"].delete(resource, child)

    def again() -> bool:
        found = world.at["sgp"].find(resource, child)
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(again, deadline=SETTLE_SECONDS)
    world.wait_ready(name)


def test_what_others_add_is_left_alone(world: World, steady: Body) -> None:
    name = steady["metadata"]["name"]
    objects = world.at["hkg"]
    note = {"metadata": {"annotations": {"example.com/note": "mine"}, "labels": {"example.com/team": "desk"}}}
    objects.patch("services", f"{name}-hkg", note)
    writes = world.writes()
    world.look_again(name)
    found = objects.get("services", f"{name}-hkg")["metadata"]
    assert (found["annotations"]["example.com/note"], found["labels"]["example.com/team"]) == ("mine", "desk")
    assert world.writes() == writes


def test_who_fights_back_is_named_and_damped_and_holds_up_nothing_else(world: World, service: MakeService) -> None:
    name = service("hkg")["metadata"]["name"]
    objects = world.at["hkg"]
    right = objects.get("services", f"{name}-hkg")["spec"]["ports"]
    wrong = [{**right[0], "targetPort": 1}]

    def fought() -> bool:
        if objects.get("services", f"{name}-hkg")["spec"]["ports"] == right:
            objects.patch("services", f"{name}-hkg", {"spec": {"ports": wrong}})
        return bool(world.condition(name, "Conflict").get("reason") == "FoughtOver")

    eventually(fought, deadline=SETTLE_SECONDS, interval=0.02)
    message = world.condition(name, "Conflict")["message"]
    assert f"Service chat/{name}-hkg is changed back or deleted again and again" in message

    def left_alone() -> bool:  # one of the next edits meets a truce
        objects.patch("services", f"{name}-hkg", {"spec": {"ports": wrong}})
        world.look_again(name)
        return bool(objects.get("services", f"{name}-hkg")["spec"]["ports"] != right)

    eventually(left_alone, deadline=SETTLE_SECONDS)
    eventually(lambda: "managers there: somebody" in world.condition(name, "Conflict")["message"])

    def only_that_one() -> bool:  # with a longer truce each time
        objects.patch("services", f"{name}-hkg", {"spec": {"ports": wrong}})
        objects.delete("networkpolicies", f"{name}-hkg-allow")
        eventually(lambda: objects.find("networkpolicies", f"{name}-hkg-allow"), deadline=SETTLE_SECONDS)
        world.look_again(name)
        return bool(objects.get("services", f"{name}-hkg")["spec"]["ports"] != right)

    eventually(only_that_one, deadline=SETTLE_SECONDS, what="the policy repaired while the truce for the Service lasts")
    eventually(lambda: objects.get("services", f"{name}-hkg")["spec"]["ports"] == right, deadline=2 * SETTLE_SECONDS)


def test_who_deletes_a_child_again_and_again_is_damped_too(world: World, service: MakeService) -> None:
    name = service("hkg")["metadata"]["name"]
    objects, child = world.at["hkg"], f"{name}-hkg-allow"

    def fought() -> bool:
        if objects.find("networkpolicies", child) is not None:
            objects.delete("networkpolicies", child)
        return bool(world.condition(name, "Conflict").get("reason") == "FoughtOver")

    eventually(fought, deadline=SETTLE_SECONDS, interval=0.02)
    assert (
        f"NetworkPolicy chat/{child} is changed back or deleted again" in world.condition(name, "Conflict")["message"]
    )

    def left_alone() -> bool:
        if objects.find("networkpolicies", child) is not None:
            objects.delete("networkpolicies", child)
        world.look_again(name)
        return objects.find("networkpolicies", child) is None

    eventually(left_alone, deadline=SETTLE_SECONDS)
    eventually(lambda: objects.find("networkpolicies", child) is not None, deadline=SETTLE_SECONDS)


@pytest.mark.parametrize("label", ["owner-namespace", "owner-name", "owner-kind", "hub", "region"])
def test_a_lost_label_comes_back_and_nothing_is_forgotten(world: World, service: MakeService, label: str) -> None:
    """Without one of them an object is nobody's: it must be neither swept as an orphan nor left behind in the end."""
    name = service("hkg", spec__config={"CHAT_X": "1"})["metadata"]["name"]
    objects = world.at["hkg"]
    victims = [key.split("/") for key in objects.children(name) if key.startswith(("services/", "configmaps/"))]
    uids = {victim: objects.get(kind, victim)["metadata"]["uid"] for kind, victim in victims}
    for kind, victim in victims:
        objects.patch(kind, victim, {"metadata": {"labels": {f"roadstead.dev/{label}": None}}})

    def back() -> bool:
        found = [objects.get(kind, victim)["metadata"] for kind, victim in victims]
        return all(f"roadstead.dev/{label}" in metadata["labels"] for metadata in found)

    eventually(back, deadline=SETTLE_SECONDS)
    assert {victim: objects.get(kind, victim)["metadata"]["uid"] for kind, victim in victims} == uids
    objects.patch("services", f"{name}-hkg", {"spec": {"type": "NodePort"}})
    eventually(lambda: objects.get("services", f"{name}-hkg")["spec"]["type"] == "ClusterIP", deadline=SETTLE_SECONDS)
    world.delete(name)
    assert not objects.children(name)


def test_a_copy_of_the_workload_tells_nothing_of_it(world: World, service: MakeService) -> None:
    name = service("hkg")["metadata"]["name"]
    objects = world.at["hkg"]
    original = objects.get("deployments", f"{name}-hkg")
    kept = {key: original["metadata"][key] for key in ("labels", "annotations")}
    copy = {**original, "metadata": {"name": f"a-{name}", "namespace": "chat", **kept}}
    copy["spec"] = {**original["spec"], "replicas": 0}
    del copy["status"]
    objects.create("deployments", copy)
    eventually(lambda: objects.get("deployments", f"a-{name}").get("status", {}).get("observedGeneration"))
    world.look_again(name)
    assert world.entry(name, "hkg")["readyReplicas"] == 1
    assert objects.find("deployments", f"a-{name}") is not None, "nor is it pruned"


@pytest.mark.parametrize("label", ["app.kubernetes.io/managed-by", "roadstead.dev/owner-name"])
def test_what_lost_its_labels_before_it_became_unwanted_goes_all_the_same(
    world: World, service: MakeService, label: str
) -> None:
    """Nothing tells of such a child any more; an autoscaler that stays would fight over the replicas for ever."""
    body = service("hkg", spec__autoscaling={"maxReplicas": 3}, spec__config={"CHAT_X": "1"})
    name, objects = body["metadata"]["name"], world.at["hkg"]
    config = next(key.partition("/")[2] for key in objects.children(name) if key.startswith("configmaps/"))
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-hkg-config-00000000"}}
    objects.create("configmaps", theirs)
    world.stop()
    stripped = {"metadata": {"labels": {label: None}}}
    objects.patch("horizontalpodautoscalers", f"{name}-hkg", stripped)
    world.apply(edited(body, {"spec.autoscaling": ABSENT}))
    world.start()
    world.wait_ready(name)
    eventually(lambda: objects.find("horizontalpodautoscalers", f"{name}-hkg") is None, deadline=SETTLE_SECONDS)

    world.stop()
    objects.patch("networkpolicies", f"{name}-hkg-allow", stripped)
    objects.patch("configmaps", config, stripped)
    world.at_hub.delete("chatservices", name)
    world.start()
    world.wait_gone(name)
    assert objects.find("networkpolicies", f"{name}-hkg-allow") is None
    assert objects.find("configmaps", config) is None
    assert objects.find("configmaps", theirs["metadata"]["name"]) is not None  # type: ignore[index]
