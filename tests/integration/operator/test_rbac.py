"""The rights that the operator uses are those that the chart grants: each that is granted is used, and no other."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import worlds
from approvals import approval
from clusters import StartCluster, eventually
from faults.background import proxied
from faults.proxy import Proxy
from faults.wire import Request, lint
from localkube import crds, ports, rbac
from localoperator import MEMBER_ACCOUNT, NAMESPACE, SERVICE_ACCOUNT, Operator, chart, connect, grant
from specs import ABSENT, edited
from worlds import SETTLE_SECONDS, Objects, World, chat, pool

Right = tuple[str, str, str]

HUB_ONLY_NOW_AND_THEN = {
    ("roadstead.dev", "chatservices/finalizers", "update"): (
        "asked for by the admission plugin OwnerReferencesPermissionEnforcement, which some distributions have"
    ),
    **dict.fromkeys(
        (("roadstead.dev", kind, "get") for kind in ("regions", "keyrings")),
        "asked when a status is refused because the object is gone or another, which is a race",
    ),
}
"""Granted and not sent each time, with the reason. Nothing belongs here that a test could use."""


class Seen:
    """The requests of one profile, as the proxy saw them."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def rights(self) -> set[Right]:
        """Rights as RBAC has them. An apply that made an object needed `create` beside `patch`."""
        log = [request for request in self.proxy.log if request.resource]
        used = {request.right for request in log if request.decided or request.verb == "watch"}
        return used | {(r.group, r.resource, "create") for r in log if r.applies and r.decided == 201}

    def refused(self) -> list[Request]:
        """What the API server did not allow."""
        return [request for request in self.proxy.log if 403 in (request.status, request.decided)]


def granted(objects: Iterable[dict[str, Any]]) -> set[Right]:
    """Every right in the roles of a rendered chart that is bound to its ServiceAccount."""
    bound = {o["roleRef"]["name"] for o in objects if o["kind"].endswith("RoleBinding")}
    return {
        (group, resource, verb)
        for role in objects
        if role["kind"] in ("ClusterRole", "Role") and role["metadata"]["name"] in bound
        for rule in role["rules"]
        if "resources" in rule
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.fixture(scope="module")
def used(start_cluster: StartCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Seen, Seen]]:
    """A life with everything in it, in the hub and in a member, each behind a proxy."""
    folder = tmp_path_factory.mktemp("rbac")
    hub, member = start_cluster("hub", with_crds=True), start_cluster("far")
    world = World(hub, {"far": member})
    for cluster in (hub, member):
        cluster.add_nodes(1)
        crds.apply(cluster.api, [crds.path("servicemonitors"), crds.path("certificates")])
        Objects(cluster).namespace(worlds.NAMESPACE)
    worlds.make_certificate(world.at_hub, worlds.SECRET)
    grant(hub)
    for body in chart():
        if body["kind"] == "ValidatingWebhookConfiguration":
            group = "/apis/admissionregistration.k8s.io/v1"
            quiet = {**body, "webhooks": [{**hook, "failurePolicy": "Ignore"} for hook in body["webhooks"]]}
            world.at_hub.request("POST", f"{group}/validatingwebhookconfigurations", quiet)
    with proxied(hub) as hub_proxy, proxied(member) as member_proxy:
        connect(hub, member, "far")
        token = rbac.service_account_token(member.api, NAMESPACE, MEMBER_ACCOUNT)
        through = member_proxy.kubeconfig(folder / "far", token).read_bytes()
        secret = {"data": {"kubeconfig": base64.b64encode(through).decode()}}
        world.at_hub.patch("secrets", "region-far", secret, NAMESPACE)
        world.at_hub.apply("regions", pool("here", {}), "")
        token = rbac.service_account_token(hub.api, NAMESPACE, SERVICE_ACCOUNT)
        live(world, hub_proxy.kubeconfig(folder / "hub", token))
        yield Seen(hub_proxy), Seen(member_proxy)


def live(world: World, kubeconfig: Path) -> None:
    """Everything that an operator comes to do."""
    claim = ports.Claim(1)
    flags = (f"--kubeconfig={kubeconfig}", f"--webhook-port={claim.ports[0]}", "--webhook-address=127.0.0.1")
    regions = ("here", "far")
    plain = chat("plain", regions, spec__autoscaling={"maxReplicas": 3}, spec__config={"CHAT_X": "1"})
    plain["spec"]["rollout"] = {**plain["spec"].get("rollout", {}), "revisionHistoryLimit": 1}
    stored = chat("stored", regions, spec__storage={"size": "1Gi"}, spec__tls={"issuerRef": {"name": "ca"}})
    # A certificate that is no good: the one that is needed replaces it.
    worlds.make_certificate(world.at_hub, "roadstead-webhook-tls", "spoilt", NAMESPACE)
    world.operator = Operator(world.hub, "--identity=one", *flags, webhooks=True)
    try:
        world.operator.wait_leading()
        for body in (plain, stored):
            world.apply(body)
            world.wait_ready(body["metadata"]["name"])
        standby = Operator(world.hub, f"--kubeconfig={kubeconfig}", "--identity=two")
        standby.wait_ready()
        eventually(lambda: standby.fetch("/readyz")[0] == 200, deadline=SETTLE_SECONDS)
        world.running.kill()
        # The standby does not know how the children were when they were written: when something has to be done, it
        # reads the others before it leaves them alone.
        for objects in (world.at_hub, world.at["far"]):
            for name in [item["metadata"]["name"] for item in objects.items("networkpolicies", worlds.NAMESPACE)]:
                if name.endswith("-allow"):
                    objects.delete("networkpolicies", name)
        standby.wait_leading()
        world.operator.stop()
        world.operator = standby
        for body in (plain, stored):
            name = body["metadata"]["name"]
            for objects in (world.at_hub, world.at["far"]):
                for key in objects.children(name):
                    resource, _, child = key.partition("/")
                    note = {"metadata": {"annotations": {"roadstead.dev/owner-uid": "somebody"}}}
                    objects.patch(resource, child, note)
            world.wait_ready(name)
            world.apply(edited(body, {"spec.replicas": 2, "spec.image": worlds.IMAGE.format("2.0")}))
            world.wait_ready(name)
        world.apply(edited(plain, {"spec.replicas": 2, "spec.config": {"CHAT_X": "2"}, "spec.autoscaling": ABSENT}))
        world.wait_ready("plain")
        hopeless = {"requests": {"cpu": "1000"}, "limits": {"memory": "512Mi"}}
        rollout = {"bakeTime": "0s", "progressDeadline": "4s", "onFailure": "Pause"}
        world.apply(chat("stuck", regions, spec__resources=hopeless, spec__rollout=rollout))
        eventually(
            lambda: "Unschedulable" in world.condition("stuck", "Ready").get("message", ""), deadline=SETTLE_SECONDS
        )
        world.delete("plain", "stored", "stuck")
        keep_keys(world, regions)
        leave_an_orphan(world)
    finally:
        world.stop()
        claim.release()


def keep_keys(world: World, regions: tuple[str, ...]) -> None:
    """A ring with two versions, that is deleted in the end."""
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "KeyRing",
        "metadata": {"name": "ring", "namespace": worlds.NAMESPACE},
        "spec": {"regions": list(regions), "distribution": "Cleartext", "lead": "0s", "soak": "0s"},
    }
    for number in (1, 2):
        body = edited(body, {"spec.schedule.rotateAt": datetime.now(UTC).isoformat()})
        world.at_hub.apply("keyrings", body)
        eventually(partial(is_primary, world, number), deadline=SETTLE_SECONDS)
        world.wait("ring", "Reconciling", "False", resource="keyrings")
        if number == 1:
            encrypt(world, regions)
    ask(world)
    world.at_hub.delete("keyrings", "ring")
    eventually(lambda: not world.at_hub.find("keyrings", "ring"), deadline=SETTLE_SECONDS)


def ask(world: World) -> None:
    """An Approval, of something that there is not."""
    subject = {"kind": "KeyRing", "name": "ring", "uid": world.at_hub.get("keyrings", "ring")["metadata"]["uid"]}
    body = approval("ask", worlds.NAMESPACE, spec__subject=subject, spec__requestedBy="admin", spec__operation="Sink")
    world.at_hub.create("approvals", body)
    world.wait("ask", "Stalled", "True", resource="approvals")


def encrypt(world: World, regions: tuple[str, ...]) -> None:
    """A service that encrypts with the ring. It is not Ready, as nothing in its pods proves anything."""
    world.apply(chat("locked", regions, spec__encryption={"keyRingRef": {"name": "ring"}}))
    world.wait("locked", "Ready", "False", reason="NotProved")
    for region, objects in (("here", world.at_hub), ("far", world.at["far"])):
        for resource in ("roles", "rolebindings"):
            name = f"locked-{region}-keys"
            note = {"metadata": {"annotations": {"roadstead.dev/owner-uid": "somebody"}}}
            objects.patch(resource, name, note)
            eventually(partial(is_ours, objects, resource, name), deadline=SETTLE_SECONDS)
    world.delete("locked")


def is_ours(objects: Objects, resource: str, name: str) -> bool:
    """Whether an object has its owner again."""
    return bool(objects.get(resource, name)["metadata"]["annotations"]["roadstead.dev/owner-uid"] != "somebody")


def is_primary(world: World, number: int) -> bool:
    """Whether the ring is written with this version."""
    status = world.at_hub.get("keyrings", "ring").get("status") or {}
    return bool(status.get("primary") == number)


def leave_an_orphan(world: World) -> None:
    """A child whose owner is not there, as a region that was away brings back."""
    hub_id = world.at_hub.get("namespaces", "kube-system")["metadata"]["uid"]
    labels = {
        "app.kubernetes.io/managed-by": "roadstead",
        "roadstead.dev/hub": hub_id,
        "roadstead.dev/owner-kind": "ChatService",
        "roadstead.dev/owner-namespace": "chat",
        "roadstead.dev/owner-name": "nobody",
        "roadstead.dev/region": "far",
    }
    metadata = {"name": "nobody-far", "namespace": "chat", "labels": labels}
    world.at["far"].create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    eventually(lambda: world.at["far"].find("configmaps", "nobody-far") is None, deadline=SETTLE_SECONDS)


def test_nothing_was_refused(used: tuple[Seen, Seen]) -> None:
    assert [str(request) for seen in used for request in seen.refused()] == []


def test_no_request_breaks_the_rules_of_the_wire(used: tuple[Seen, Seen]) -> None:
    assert [broken for seen in used for broken in lint(seen.proxy.log)] == []


def test_the_hub_grants_what_is_used(used: tuple[Seen, Seen]) -> None:
    hub, _ = used
    rights = granted(chart())
    assert sorted(hub.rights() - rights) == [], "used and not granted: a 404 hides it, or it is granted to everybody"
    assert sorted(rights - hub.rights() - set(HUB_ONLY_NOW_AND_THEN)) == [], "granted and never used"


def test_a_member_grants_what_is_used(used: tuple[Seen, Seen]) -> None:
    _, member = used
    rights = granted(chart("mode=member", release=MEMBER_ACCOUNT))
    assert sorted(member.rights() - rights) == []
    assert sorted(rights - member.rights()) == []
