"""What stands in a service's way: objects of others, a region that refuses, a spec that cannot be carried out."""

from __future__ import annotations

import pytest

import worlds
from clusters import eventually
from localoperator import connect
from specs import edited
from worlds import SETTLE_SECONDS, World, chat, children_of, versions

from .conftest import MakeService


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
