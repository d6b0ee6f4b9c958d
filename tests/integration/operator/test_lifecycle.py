"""A ChatService from its first apply to its deletion: what appears where, what stays as it is, what is said of it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import worlds
from clusters import eventually, kubectl
from localkube import crds, nodes
from localoperator import connect
from specs import ABSENT, edited
from worlds import SETTLE_SECONDS, Body, World, chat, pool, versions

from .conftest import MakeService

REPLICAS = "f:replicas"
HOST = "chat.example.com"


def children_of(name: str, region: str, *more: str) -> set[str]:
    """What every region has, as docs/concepts lists it."""
    base = f"{name}-{region}"
    return {
        f"serviceaccounts/{base}",
        f"secrets/{base}-tls",
        f"services/{base}",
        f"services/{base}-peers",
        f"deployments/{base}",
        f"poddisruptionbudgets/{base}",
        f"networkpolicies/{base}-default-deny",
        f"networkpolicies/{base}-allow",
        *more,
    }


def test_a_service_becomes_ready_in_both_regions(world: World, service: MakeService) -> None:
    body = service(ready=False, spec__config={"CHAT_X": "1"})
    name = body["metadata"]["name"]
    said = kubectl(world.hub, "-n", "chat", "wait", "--for=condition=Ready", f"chatservice/{name}", "--timeout=40s")
    assert "condition met" in said
    hub_id = world.at_hub.get("namespaces", "kube-system")["metadata"]["uid"]
    uid = world.service(name)["metadata"]["uid"]
    for region, objects in world.at.items():
        found = objects.children(name)
        config = next(key for key in found if key.startswith("configmaps/"))
        assert config.startswith(f"configmaps/{name}-{region}-config-")
        assert set(found) == children_of(name, region, config)
        for child in found.values():
            metadata = child["metadata"]
            assert (
                metadata["labels"]
                | {
                    "app.kubernetes.io/managed-by": "roadstead",
                    "app.kubernetes.io/instance": name,
                    "roadstead.dev/hub": hub_id,
                    "roadstead.dev/owner-kind": "ChatService",
                    "roadstead.dev/owner-namespace": "chat",
                    "roadstead.dev/owner-name": name,
                    "roadstead.dev/region": region,
                }
                == metadata["labels"]
            )
            assert metadata["annotations"]["roadstead.dev/owner-uid"] == uid
            assert "ownerReferences" not in metadata, "an owner in another cluster would have it collected"
        assert found[config]["data"] == {"CHAT_X": "1"}
        assert found[f"secrets/{name}-{region}-tls"]["data"] == world.at_hub.get("secrets", worlds.SECRET)["data"]
        assert not objects.revisions(name), "revisions are in the hub only"
    assert not world.at_hub.children(name)
    (revision,) = world.at_hub.revisions(name)
    assert revision["metadata"]["ownerReferences"][0]["uid"] == uid


def test_its_status_and_columns_say_so(world: World, service: MakeService) -> None:
    name = service()["metadata"]["name"]
    found = world.service(name)
    assert found["metadata"]["finalizers"] == ["roadstead.dev/children"]
    status = found["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Placed": "True",
        "RolledOut": "True",
    }
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert status["readyRegions"] == "2/2"
    assert status["rollout"]["phase"] == "Complete"
    for entry in status["regions"]:
        assert entry["phase"] == "Ready"
        assert entry["revision"] == entry["lastGoodRevision"] == status["revision"]
        assert (entry["desiredReplicas"], entry["readyReplicas"]) == (1, 1)
        assert entry["address"] == f"{name}-{entry['name']}.chat.svc"
    printed = kubectl(world.hub, "-n", "chat", "get", "chat", name, "-o", "wide").splitlines()
    assert printed[0].split() == ["NAME", "READY", "REASON", "REGIONS", "ROLLOUT", "VERSION", "RUNS", "MESSAGE", "AGE"]
    assert printed[1].split()[:6] == [name, "True", "Ready", "2/2", "Complete", found["spec"]["image"]]
    regions = kubectl(world.hub, "get", "rgn").splitlines()
    assert {line.split()[0]: line.split()[1] for line in regions[1:]} == {"hkg": "Healthy", "sgp": "Healthy"}


def test_looking_again_writes_nothing(world: World, service: MakeService) -> None:
    name = service()["metadata"]["name"]
    world.look_again(name)
    writes, state = world.writes(), versions(world.state(name))
    for _ in range(3):
        world.look_again(name)
    after = versions(world.state(name))
    touched = {"hub/chatservice"}  # by our own annotation
    assert {key for key in state if state[key] != after[key]} == touched
    assert set(after) == set(state)
    assert world.writes() == writes


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


def test_a_service_that_comes_back_with_its_finalizer_can_be_deleted(world: World) -> None:
    """As `kubectl get -o yaml` or a backup has it: then it is not ours alone."""
    name = world.fresh_name()
    body = chat(name, ["hkg"])
    body["metadata"]["finalizers"] = ["roadstead.dev/children", "example.com/theirs"]
    world.at_hub.create("chatservices", body)
    world.wait_ready(name)
    world.at_hub.delete("chatservices", name)
    eventually(lambda: world.service(name)["metadata"]["finalizers"] == ["example.com/theirs"], deadline=SETTLE_SECONDS)
    assert not world.at["hkg"].children(name)
    world.at_hub.patch("chatservices", name, {"metadata": {"finalizers": None}})


def test_two_regions_of_one_cluster_whose_children_would_have_one_name(world: World, service: MakeService) -> None:
    """The second one's Service is the headless one of the first: a conflict, and no fight without end."""
    connect(world.hub, world.members["hkg"], "hkg-peers")
    try:
        world.wait("hkg-peers", "Ready", "True", resource="regions", namespace="")
        name = service("hkg", "hkg-peers", ready=False)["metadata"]["name"]
        world.wait(name, "Conflict", "True", reason="NotOurs")
        world.look_again(name)
        writes = world.writes()
        world.look_again(name)
        assert world.writes()["children"] == writes["children"]
        world.delete(name)
        assert not world.at["hkg"].children(name)
    finally:
        world.at_hub.delete("regions", "hkg-peers", "")


def test_two_services_whose_children_have_one_name_take_nothing_from_each_other(world: World) -> None:
    """Service a-b in region c and service a in region b-c: two replicas of the webhook may let both past at once."""
    short = world.fresh_name()
    long, region = f"{short}-b", "b-hkg"
    connect(world.hub, world.members["hkg"], region)
    try:
        world.wait(region, "Ready", "True", resource="regions", namespace="")
        for body in (chat(long, ["hkg"]), chat(short, [region])):
            world.at_hub.create("chatservices", body)
        eventually(
            lambda: "NotOurs" in {world.condition(name, "Conflict").get("reason") for name in (long, short)},
            deadline=SETTLE_SECONDS,
        )
        objects = world.at["hkg"]
        for name in (long, short):
            world.look_again(name)
        before = {name: objects.children(name) for name in (long, short)}
        assert before[long].keys().isdisjoint(before[short])
        assert before[long].keys() | before[short].keys() == children_of(long, "hkg")
        for name in (long, short):
            world.look_again(name)
        assert {name: versions(objects.children(name)) for name in before} == {
            n: versions(c) for n, c in before.items()
        }
        world.delete(short)
        assert set(objects.children(long)) >= set(before[long]), "the deletion took what is its own"
        world.look_again(long)
        world.wait_ready(long)
        assert set(objects.children(long)) == children_of(long, "hkg")
    finally:
        world.delete(long, short)
        world.at_hub.delete("regions", region, "")


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


def test_a_foreign_object_of_the_same_name_is_never_taken_over(world: World, service: MakeService) -> None:
    name = world.fresh_name()
    foreign = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": f"{name}-hkg", "namespace": "chat", "labels": {"app": "theirs"}},
    }
    world.at["hkg"].create("serviceaccounts", foreign)
    before = world.at["hkg"].get("serviceaccounts", f"{name}-hkg")
    service(name=name, ready=False)
    said = world.wait(name, "Conflict", "True", reason="NotOurs")
    message = worlds.condition_of(said, "Conflict")["message"]
    assert f"ServiceAccount chat/{name}-hkg exists and is not ours" in message
    assert "hkg" in message
    assert worlds.condition_of(said, "Ready")["status"] == "False"
    eventually(lambda: world.entry(name, "sgp").get("phase") == "Ready", deadline=SETTLE_SECONDS)
    assert set(world.at["sgp"].children(name)) == children_of(name, "sgp")
    others = children_of(name, "hkg") - {f"serviceaccounts/{name}-hkg"}
    assert set(world.at["hkg"].children(name)) == others, "one conflict must not hold up the other children"
    world.look_again(name)
    assert world.at["hkg"].get("serviceaccounts", f"{name}-hkg") == before
    world.at["hkg"].delete("serviceaccounts", f"{name}-hkg")
    world.look_again(name)
    world.wait_ready(name)
    assert not world.condition(name, "Conflict")
    world.wait_told(name, "NotOurs")


def test_deleting_a_service_in_conflict_leaves_the_foreign_object(world: World, service: MakeService) -> None:
    name = world.fresh_name()
    foreign = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": f"{name}-sgp", "namespace": "chat"}}
    world.at["sgp"].create("serviceaccounts", foreign)
    uid = world.at["sgp"].get("serviceaccounts", f"{name}-sgp")["metadata"]["uid"]
    service(name=name, ready=False)
    world.wait(name, "Conflict", "True")
    world.delete(name)
    assert world.at["sgp"].get("serviceaccounts", f"{name}-sgp")["metadata"]["uid"] == uid
    assert not world.at["sgp"].children(name)
    world.at["sgp"].delete("serviceaccounts", f"{name}-sgp")


def test_a_spec_that_cannot_be_carried_out_stalls_and_what_runs_keeps_running(
    world: World, service: MakeService
) -> None:
    """The schema cannot know time zones; without the webhook such a spec gets past."""
    body = service()
    name = body["metadata"]["name"]
    before = versions({region: o.get("deployments", f"{name}-{region}") for region, o in world.at.items()})
    peak = {"name": "sale", "timeZone": "Mars/Olympus", "schedule": "0 9 * * *", "duration": "1h", "replicas": 3}
    bad = edited(body, {"spec.autoscaling": {"maxReplicas": 4, "peaks": [peak]}, "spec.replicas": 3})
    world.apply(bad)
    said = world.wait(name, "Stalled", "True", reason="InvalidSpec")
    message = worlds.condition_of(said, "Stalled")["message"]
    assert "spec.autoscaling.peaks[sale].timeZone" in message
    assert "Mars/Olympus" in message
    assert "Asia/Hong_Kong" in message, "the cure is an example of what is right"
    assert worlds.condition_of(said, "Ready")["status"] == "False"
    assert said["status"]["readyRegions"] == "2/2", "what is known of what runs stays"
    world.look_again(name)
    after = {region: o.get("deployments", f"{name}-{region}") for region, o in world.at.items()}
    assert versions(after) == before
    world.apply(body)
    world.wait_ready(name)
    assert worlds.condition_of(world.service(name), "Stalled")["status"] == "False"


class Obstacle:
    """Something in a region's cluster that keeps a service from being made; lifted for all at once."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world = world
        self.namespace = namespace
        self.name = world.fresh_name("obs")
        world.at_hub.namespace(namespace)
        worlds.make_certificate(world.at_hub, worlds.SECRET, namespace=namespace)
        world.at["sgp"].namespace(namespace)

    def quota(self, **hard: str) -> None:
        """Limit what may be in the namespace in hkg, and wait until that is enforced."""
        objects = self.world.at["hkg"]
        objects.namespace(self.namespace)
        limits = {key.replace("__", "/"): value for key, value in hard.items()}
        body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": limits}}
        objects.create("resourcequotas", body, self.namespace)
        eventually(lambda: objects.get("resourcequotas", "small", self.namespace)["status"].get("hard") == limits)

    def apply(self) -> None:
        """The service."""
        self.world.apply(chat(self.name, namespace=self.namespace))


@pytest.fixture(scope="module")
def obstacles(world: World) -> dict[str, Obstacle]:
    """One service for each, in a namespace of its own."""
    made = {kind: Obstacle(world, f"obstacle-{kind}") for kind in ("missing", "objects", "pods", "policy", "limits")}
    made["objects"].quota(count__services="1")
    made["pods"].quota(pods="0")
    objects = world.at["hkg"]
    objects.namespace(made["policy"].namespace)
    policy(world, made["policy"].namespace)
    objects.namespace(made["limits"].namespace)
    limit = {"type": "Container", "max": {"memory": "64Mi"}}
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "low"}, "spec": {"limits": [limit]}}
    objects.request("POST", f"/api/v1/namespaces/{made['limits'].namespace}/limitranges", limits)
    for obstacle in made.values():
        obstacle.apply()
    return made


def policy(world: World, namespace: str) -> None:
    """A member's own admission: no Deployment in this namespace."""
    group = "/apis/admissionregistration.k8s.io/v1"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "four-eyes"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "ask the platform team for a change window"}],
        },
    }
    chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "four-eyes"},
        "spec": {"policyName": "four-eyes", "validationActions": ["Deny"], "matchResources": chosen},
    }
    objects = world.at["hkg"]
    objects.request("POST", f"{group}/validatingadmissionpolicies", body)
    objects.request("POST", f"{group}/validatingadmissionpolicybindings", binding)

    def refuses() -> bool:
        labels = {"app": "x"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        probe = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"}, "spec": spec}
        try:
            objects.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All", probe)
        except RuntimeError as error:
            return "change window" in str(error)
        return False

    eventually(refuses, deadline=SETTLE_SECONDS)


SAID = {
    "missing": ("NamespaceMissing", "namespace obstacle-missing does not exist in region hkg; create it there"),
    "objects": ("Refused", "exceeded quota: small, requested: count/services=1, used: count/services=1"),
    "policy": ("Refused", "ask the platform team for a change window"),
    "pods": ("Progressing", "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0"),
    "limits": ("Progressing", "maximum memory usage per Container is 64Mi"),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_a_member_refuses_is_said_in_its_own_words(
    world: World, obstacles: dict[str, Obstacle], kind: str
) -> None:
    obstacle = obstacles[kind]
    reason, words = SAID[kind]

    def told() -> bool:
        ready = world.condition(obstacle.name, "Ready", obstacle.namespace)
        message = world.entry(obstacle.name, "hkg", obstacle.namespace).get("message", "")
        assert words in message, message
        assert ready.get("status") == "False", ready
        if reason == "Progressing":  # the Deployment was taken; its controller cannot make pods of it
            return True
        assert ready["reason"] == reason, ready
        return words in ready["message"]

    eventually(told, deadline=SETTLE_SECONDS)
    eventually(lambda: world.entry(obstacle.name, "sgp", obstacle.namespace)["phase"] == "Ready")  # is not held up


@pytest.fixture(scope="module")
def lifted(world: World, obstacles: dict[str, Obstacle]) -> None:
    """Lift every obstacle."""
    objects = world.at["hkg"]
    objects.namespace(obstacles["missing"].namespace)
    objects.delete("resourcequotas", "small", obstacles["objects"].namespace)
    objects.delete("resourcequotas", "small", obstacles["pods"].namespace)
    group = "/apis/admissionregistration.k8s.io/v1"
    objects.request("DELETE", f"{group}/validatingadmissionpolicybindings/four-eyes")
    objects.request("DELETE", f"/api/v1/namespaces/{obstacles['limits'].namespace}/limitranges/low")


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.usefixtures("lifted")
def test_it_recovers_unaided_when_the_obstacle_is_gone(world: World, obstacles: dict[str, Obstacle], kind: str) -> None:
    obstacle = obstacles[kind]
    world.wait_ready(obstacle.name, obstacle.namespace, seconds=90)
    assert set(world.at["hkg"].children(obstacle.name, obstacle.namespace)) == children_of(obstacle.name, "hkg")


def test_the_certificate_is_waited_for_and_followed(world: World, service: MakeService) -> None:
    secret = world.fresh_name("tls")
    name = service(ready=False, spec__tls={"secretName": secret})["metadata"]["name"]
    said = world.wait(name, "Ready", "False", reason="SecretMissing")
    assert f"spec.tls.secretName is {secret}" in worlds.condition_of(said, "Ready")["message"]
    assert not any(objects.children(name) for objects in world.at.values())

    worlds.make_certificate(world.at_hub, secret, "one")
    world.wait_ready(name)
    worlds.make_certificate(world.at_hub, secret, "two")
    rotated = world.at_hub.get("secrets", secret)["data"]
    copies = {f"{name}-{region}-tls": objects for region, objects in world.at.items()}
    eventually(
        lambda: all(objects.get("secrets", copy)["data"] == rotated for copy, objects in copies.items()),
        deadline=SETTLE_SECONDS,
    )
    world.wait_ready(name)
    deployments = {region: o.get("deployments", f"{name}-{region}") for region, o in world.at.items()}
    assert {d["metadata"]["generation"] for d in deployments.values()} == {1}, "a new certificate restarts no pod"

    world.at_hub.delete("secrets", secret)
    world.wait(name, "Ready", "False", reason="SecretMissing")
    for region, objects in world.at.items():
        assert objects.get("secrets", f"{name}-{region}-tls")["data"] == rotated, "what runs keeps its certificate"


def test_an_autoscaler_takes_over_without_losing_a_pod_and_peaks_raise_it(world: World, service: MakeService) -> None:
    body = service("hkg", spec__replicas=7)
    name = body["metadata"]["name"]
    deployment = f"{name}-hkg"
    objects = world.at["hkg"]
    seen: list[int] = []

    def replicas() -> int:
        count = int(objects.get("deployments", deployment)["spec"]["replicas"])
        seen.append(count)
        return count

    def scaler(field: str) -> Any:
        found = objects.find("horizontalpodautoscalers", deployment)
        return None if found is None else found["spec"].get(field)

    scaled = edited(body, {"spec.autoscaling": {"minReplicas": 2, "maxReplicas": 12}})
    world.apply(scaled)
    eventually(lambda: replicas() and scaler("minReplicas") == 2, deadline=SETTLE_SECONDS, interval=0.01)
    world.wait_ready(name)
    assert world.condition(name, "Autoscaled")["reason"] == "FollowingLoad"
    assert replicas() == 7
    assert set(seen) == {7}, "not for a moment fewer than before"
    owners = {
        entry["manager"]
        for entry in objects.get("deployments", deployment)["metadata"]["managedFields"]
        if REPLICAS in entry["fieldsV1"].get("f:spec", {}) and not entry.get("subresource")
    }
    assert "roadstead" not in owners

    # a peak that starts in half an hour, and has to be prepared for in a few seconds from now
    start = (datetime.now(UTC) + timedelta(minutes=30)).replace(second=0, microsecond=0)
    ahead = start - datetime.now(UTC) - timedelta(seconds=6)
    peak = {
        "name": "sale",
        "timeZone": "UTC",
        "schedule": f"{start.minute} {start.hour} * * *",
        "duration": "1m",
        "scaleUpBefore": f"{int(ahead.total_seconds())}s",
        "replicas": 9,
    }
    scaled["spec"]["autoscaling"]["peaks"] = [peak]
    world.apply(scaled)
    eventually(lambda: scaler("minReplicas") == 9, deadline=SETTLE_SECONDS)
    eventually(lambda: replicas() == 9, deadline=SETTLE_SECONDS, what="the autoscaler follows its new minimum")
    world.wait(name, "Autoscaled", "True", reason="AtPeak")
    assert world.status(name)["activePeaks"] == ["sale"]

    world.apply(body)  # no autoscaler any more
    eventually(lambda: objects.find("horizontalpodautoscalers", deployment) is None, deadline=SETTLE_SECONDS)
    eventually(lambda: replicas() == 7, deadline=SETTLE_SECONDS)
    world.wait_ready(name)
    assert not world.condition(name, "Autoscaled")


def test_a_region_that_leaves_the_topology_is_emptied_and_may_come_back(world: World, service: MakeService) -> None:
    body = service()
    name = body["metadata"]["name"]
    kept = versions(world.at["hkg"].children(name))
    world.apply(edited(body, {"spec.topology.regions": [{"name": "hkg"}]}))
    eventually(lambda: not world.at["sgp"].children(name), deadline=SETTLE_SECONDS)
    world.wait_ready(name)
    status = world.status(name)
    assert [entry["name"] for entry in status["regions"]] == ["hkg"]
    assert status["readyRegions"] == "1/1"
    world.apply(body)
    world.wait_ready(name)
    assert set(world.at["sgp"].children(name)) == children_of(name, "sgp")
    assert versions(world.at["hkg"].children(name)) == kept, "the other region saw nothing of it"


def test_nothing_is_left_while_the_topology_names_a_region_that_is_not_there(
    world: World, service: MakeService
) -> None:
    body = service("hkg", "sgp")
    name = body["metadata"]["name"]
    before = {region: versions(objects.children(name)) for region, objects in world.at.items()}

    def untouched(region: str) -> bool:
        return versions(world.at[region].children(name)) == before[region]

    misspelt = edited(body, {"spec.topology.regions": [{"name": "hgk"}, {"name": "sgp"}]})
    world.apply(misspelt)
    world.wait(name, "Ready", "False", reason="RegionNotFound")
    entry = world.entry(name, "hkg")
    assert entry["phase"] == "Removing"
    assert entry["message"].startswith(
        "region hkg is kept while spec.topology.regions names hgk, for which there is no"
    )
    world.look_again(name)
    assert untouched("hkg")
    assert untouched("sgp")

    world.apply(body)
    world.wait_ready(name)
    assert untouched("hkg"), "put back, it is as it was"

    world.apply(misspelt)
    world.wait(name, "Ready", "False", reason="RegionNotFound")
    note = {"metadata": {"annotations": {"roadstead.dev/abandon": "hkg"}}}
    world.at_hub.patch("chatservices", name, note, worlds.NAMESPACE)
    eventually(lambda: not world.at["hkg"].children(name), deadline=SETTLE_SECONDS, what="a person said so")
    assert untouched("sgp")


def test_changes_that_make_no_new_version_restart_nothing(world: World, service: MakeService) -> None:
    body = service()
    name = body["metadata"]["name"]
    revision = world.status(name)["revision"]
    templates = {r: o.get("deployments", f"{name}-{r}")["spec"]["template"] for r, o in world.at.items()}
    source = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    edits = {
        "spec.replicas": 2,
        "spec.traffic": {"hostname": HOST, "serviceType": "NodePort", "port": 8443, "allowFrom": [source]},
        "spec.disruptionBudget": {"minAvailable": "50%"},
    }
    world.apply(edited(body, edits))
    world.wait_ready(name)
    for region, objects in world.at.items():
        base = f"{name}-{region}"
        deployment = objects.get("deployments", base)
        assert deployment["spec"]["replicas"] == 2
        assert deployment["spec"]["template"] == templates[region]
        front = objects.get("services", base)
        assert (front["spec"]["type"], front["spec"]["ports"][0]["port"]) == ("NodePort", 8443)
        assert front["metadata"]["annotations"]["external-dns.alpha.kubernetes.io/hostname"] == HOST
        budget = objects.get("poddisruptionbudgets", base)["spec"]
        assert budget["minAvailable"] == "50%"
        assert "maxUnavailable" not in budget
        assert source in objects.get("networkpolicies", f"{base}-allow")["spec"]["ingress"][0]["from"]
    assert world.status(name)["revision"] == revision
    assert len(world.at_hub.revisions(name)) == 1


def test_volumes_and_roles(world: World, service: MakeService) -> None:
    regions = [{"name": "hkg", "role": "Primary"}, {"name": "sgp", "role": "Standby"}]
    body = service(
        spec__topology={"mode": "ActivePassive", "regions": regions},
        spec__storage={"size": "1Gi", "onDelete": "Delete"},
    )
    name = body["metadata"]["name"]
    for region, role in (("hkg", "primary"), ("sgp", "standby")):
        expected = {key.replace("deployments/", "statefulsets/") for key in children_of(name, region)}
        assert set(world.at[region].children(name)) == expected
        workload = world.at[region].get("statefulsets", f"{name}-{region}")
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        assert {"name": "CHAT_ROLE", "value": role} in container["env"]
        assert world.entry(name, region)["role"] == role.capitalize()
        assert world.at[region].find("persistentvolumeclaims", f"data-{name}-{region}-0")
    world.delete(name)
    claims = {f"data-{name}-{region}-0": objects for region, objects in world.at.items()}
    eventually(
        lambda: not any(objects.find("persistentvolumeclaims", claim) for claim, objects in claims.items()),
        deadline=SETTLE_SECONDS,
    )


def test_deletion_leaves_nothing_anywhere(world: World, service: MakeService) -> None:
    body = service(spec__autoscaling={"maxReplicas": 3}, spec__config={"CHAT_X": "1"})
    name = body["metadata"]["name"]
    world.apply(edited(body, {"spec.image": worlds.IMAGE.format("2.0")}))
    world.wait_ready(name)
    assert len(world.at_hub.revisions(name)) == 2
    world.at_hub.delete("chatservices", name)
    world.wait_gone(name)
    # the children went before the finalizer did, not after
    for region, objects in world.at.items():
        assert not objects.children(name), region
    pods = f"app.kubernetes.io/instance={name}"
    eventually(
        lambda: not any(objects.items("pods", "chat", labels=pods) for objects in world.at.values()),
        deadline=SETTLE_SECONDS,
    )
    eventually(lambda: not world.at_hub.revisions(name), deadline=SETTLE_SECONDS)
    world.wait_told(name, "Ready", "RolledOut", "RollingOut")


def test_two_node_pools_of_the_hub_side_by_side(world: World, service: MakeService) -> None:
    pools = ("kln", "nte")
    for region in pools:
        world.hub.add_nodes(1, labels={nodes.REGION_LABEL: region}, prefix=region)
        world.at_hub.apply("regions", pool(region, {nodes.REGION_LABEL: region}), "")
        world.wait(region, "Ready", "True", resource="regions", namespace="")
    body = service(*pools, "hkg", spec__replicas=2)
    name = body["metadata"]["name"]
    uid = world.service(name)["metadata"]["uid"]
    found = world.at_hub.children(name)
    assert set(found) == children_of(name, "kln") | children_of(name, "nte")
    for child in found.values():
        (reference,) = child["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["kind"], reference["controller"]) == (uid, "ChatService", True)
    for region in pools:
        labels = f"app.kubernetes.io/instance={name},roadstead.dev/region={region}"
        placed = [pod["spec"]["nodeName"] for pod in world.at_hub.items("pods", "chat", labels=labels)]
        assert placed == [f"{region}-0"] * 2
        assert world.at_hub.get("regions", region, "")["status"]["capacity"]["nodes"] == 1
    assert set(world.at["hkg"].children(name)) == children_of(name, "hkg")
    world.look_again(name)
    writes = world.writes()
    world.look_again(name)
    assert world.writes() == writes, "two regions in one cluster must not take each other's children for their own"

    world.apply(edited(body, {"spec.topology.regions": [{"name": "kln"}]}))
    eventually(lambda: set(world.at_hub.children(name)) == children_of(name, "kln"), deadline=SETTLE_SECONDS)
    world.delete(name)
    assert not world.at_hub.children(name)
    for region in pools:
        world.at_hub.delete("regions", region, "")


def test_kinds_that_a_member_comes_to_serve_are_used_where_they_are(world: World, service: MakeService) -> None:
    """ServiceMonitors and Certificates only where a cluster serves them; a missing kind is one region's matter."""
    crds.apply(world.at["sgp"].cluster.api, [crds.path("servicemonitors"), crds.path("certificates")])
    # a watch that found nothing to watch looks again after minutes: a new kubeconfig is a new connection at once
    secret = world.at_hub.get("secrets", "region-sgp", "roadstead-system")["data"]["kubeconfig"]
    world.at_hub.patch("secrets", "region-sgp", {"data": {"kubeconfig": touched(secret)}}, "roadstead-system")
    name = service(ready=False, spec__tls={"issuerRef": {"name": "internal-ca"}})["metadata"]["name"]
    monitored = {
        f"certificates/{name}-sgp-issued-tls",
        f"servicemonitors/{name}-sgp",
    }
    expected = children_of(name, "sgp", *monitored) - {f"secrets/{name}-sgp-tls"}
    eventually(lambda: set(world.at["sgp"].children(name)) == expected, deadline=SETTLE_SECONDS)
    said = world.wait(name, "Ready", "False", reason="NotAvailable")
    assert "install cert-manager there or use spec.tls.secretName" in worlds.condition_of(said, "Ready")["message"]
    assert not world.at["hkg"].children(name)


def touched(kubeconfig: str) -> str:
    """The same kubeconfig with other bytes."""
    return base64.b64encode(base64.b64decode(kubeconfig) + b"\n# again\n").decode()
