"""One owner's children in one region, on a real cluster: made, left alone, mended, pruned, and never adopted.

Mutants that these tests were seen to kill: a create without ``resourceVersion: "1"`` (takes a foreign object over); an
update without ``uid`` (raises a ghost); `judge` that keeps on the hash alone (drift unseen) or that updates on INSPECT
(a write per child at every restart); prune after a refusal; prune by name; no hand-over of replicas; `claim` that
trusts labels of another owner; `confirm` left out.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clusters import eventually_async, kubectl
from integration.kernel.bodies import BODIES, SERVED, child, deployment
from localkube.bare import BareCluster
from roadstead.kernel import objects
from roadstead.kernel.apply import Applier, Outcome, applied_digest
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.errors import Fatal, Retryable
from roadstead.kernel.fieldset import owned_fields
from roadstead.kernel.fleet import HUB_MEMBER, Member
from roadstead.kernel.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    POD_DISRUPTION_BUDGETS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Child,
    Gvr,
    Key,
)
from roadstead.kernel.ownership import Owner

REGION = "kern"
WRITES = ("POST", "PUT", "PATCH", "DELETE")


class Place:
    """A member with live watches, one owner, and counts of what was sent."""

    def __init__(self, cluster: BareCluster, space: str) -> None:
        self.cluster, self.space = cluster, space
        self.hub = f"hub-{space}"
        self.owner = Owner(self.hub, Key("ChatService", space, "svc"), str(uuid.uuid4()))
        self.woken: list[Key] = []
        self.requests: list[tuple[str, int]] = []
        self.member: Member

    async def open(self) -> None:
        """Begin anew, with nothing remembered: what a restart of the operator is."""
        configuration = await hub_configuration(str(self.cluster.kubeconfig))
        client = ClusterClient(
            "kern", configuration, observe=lambda _, m, status, __: self.requests.append((m, status))
        )
        self.member = Member(HUB_MEMBER, client, self.hub, SystemClock(), self.woken.append)
        self.member.start()
        await eventually_async(lambda: self.member.synced)

    def observe(self, cluster: str, method: str, status: int, seconds: float) -> None:
        self.requests.append((method, status))

    async def restart(self) -> None:
        await self.member.stop()
        await self.open()

    @property
    def client(self) -> ClusterClient:
        return self.member.client

    async def converge(self, *desired: Child, owner: Owner | None = None, prune: bool = True) -> Outcome:
        applier = Applier(self.client, self.member.store, owner or self.owner, REGION)
        return await applier.converge(desired, prune=prune)

    async def settled(self, *desired: Child, owner: Owner | None = None) -> Outcome:
        """Converge as the controller would: again, as long as something retryable or waiting is left."""
        outcomes: list[Outcome] = []

        async def done() -> bool:
            outcomes.append(await self.converge(*desired, owner=owner))
            return outcomes[-1].complete

        await eventually_async(done, what="a complete pass")
        return outcomes[-1]

    def writes(self) -> int:
        return sum(method in WRITES for method, _ in self.requests)

    def reads(self) -> int:
        return sum(method not in WRITES for method, _ in self.requests)

    async def get(self, gvr: Gvr, name: str = "x") -> dict[str, Any]:
        return await self.client.get(gvr, self.space, name)

    async def kubectl(self, *arguments: str) -> None:
        await asyncio.to_thread(kubectl, self.cluster, "-n", self.space, *arguments)

    async def seen(self, *, kind: Gvr, **wanted: Any) -> None:
        """Wait until the watch has told what the server has now."""

        async def same() -> bool:
            live = await self.client.find(kind, self.space, "x", metadata_only=True)
            records = {r.uid: r.resource_version for r in self.member.store.children(self.owner.key) if r.gvr == kind}
            return live is not None and records.get(live["metadata"]["uid"]) == int(live["metadata"]["resourceVersion"])

        await eventually_async(same)

    async def forgotten(self, kind: Gvr) -> None:
        await eventually_async(
            lambda: all(r.gvr != kind for r in self.member.store.children(self.owner.key)), what=f"{kind} forgotten"
        )


@pytest.fixture
async def place(cluster: BareCluster, space: str) -> AsyncIterator[Place]:
    made = Place(cluster, space)
    await made.open()
    yield made
    await made.member.stop()


def everything(space: str) -> list[Child]:
    return [child(gvr, space, "x" if gvr != DEPLOYMENTS else "dep") for gvr in SERVED]


async def test_every_type_is_created_and_a_converged_region_costs_no_request(place: Place) -> None:
    outcome = await place.converge(*everything(place.space))
    assert outcome.complete and outcome.created == len(SERVED)
    for gvr in SERVED:
        metadata = (await place.get(gvr, "x" if gvr != DEPLOYMENTS else "dep"))["metadata"]
        assert metadata["labels"][objects.OWNER_NAME_LABEL] == "svc"
        assert metadata["annotations"][objects.OWNER_UID_ANNOTATION] == place.owner.uid
    place.requests.clear()
    again = await place.converge(*everything(place.space))
    assert again.complete and again.writes == 0
    assert place.requests == [], "converged means: not one request"


async def test_a_converged_region_stays_so_while_controllers_write_statuses(place: Place) -> None:
    desired = everything(place.space)
    await place.converge(*desired)

    def ready() -> bool:
        states = [r.workload for r in place.member.store.children(place.owner.key) if r.gvr == DEPLOYMENTS]
        return any(state is not None and state.ready == 2 for state in states)

    await eventually_async(ready, deadline=60)
    place.requests.clear()
    assert (await place.converge(*desired)).complete
    assert place.requests == []


async def test_after_a_restart_each_child_is_read_once_and_none_is_written(place: Place) -> None:
    desired = everything(place.space)
    await place.converge(*desired)
    before = applied_digest(place.member.store.children(place.owner.key))
    await place.restart()
    assert applied_digest(place.member.store.children(place.owner.key)) == before, "the record in the status stands"
    place.requests.clear()
    outcome = await place.converge(*desired)
    assert outcome.complete and outcome.writes == 0
    assert (place.writes(), place.reads()) == (0, len(desired))
    place.requests.clear()
    await place.converge(*desired)
    assert place.requests == [], "what was read once is known"


async def test_drift_during_a_restart_is_found_and_mended(place: Place) -> None:
    desired = [child(DEPLOYMENTS, place.space), child(CONFIG_MAPS, place.space)]
    await place.converge(*desired)
    await place.kubectl("scale", "deployment/x", "--replicas=5")
    await place.restart()
    outcome = await place.converge(*desired)
    assert (outcome.updated, [name for name, _ in outcome.drifted]) == (1, [f"Deployment {place.space}/x"])
    assert (await place.get(DEPLOYMENTS))["spec"]["replicas"] == 2


async def test_drift_is_mended_by_force_and_the_other_manager_is_named(place: Place) -> None:
    desired = child(DEPLOYMENTS, place.space)
    await place.converge(desired)
    body = deployment(image="registry.example/other:1")
    place.woken.clear()
    await place.client.apply(DEPLOYMENTS, place.space, "x", body, manager="argocd", force=True)
    await place.seen(kind=DEPLOYMENTS)
    assert place.owner.key in place.woken, "nobody would have looked"
    outcome = await place.converge(desired)
    (drifted,) = outcome.drifted
    assert drifted[0] == f"Deployment {place.space}/x" and "argocd" in drifted[1]
    assert (await place.get(DEPLOYMENTS))["spec"]["template"]["spec"]["containers"][0][
        "image"
    ] != "registry.example/other:1"
    await place.seen(kind=DEPLOYMENTS)
    place.requests.clear()
    assert (await place.converge(desired)).complete and place.requests == []


INVALID_TOGETHER: dict[str, tuple[Gvr, str, str]] = {
    "a service's port with another number": (
        SERVICES,
        "json",
        '[{"op": "replace", "path": "/spec/ports/0/port", "value": 8443}]',
    ),
    "a service's only port": (SERVICES, "merge", '{"spec": {"ports": [{"port": 444}]}}'),
    "a container's port with another number": (
        DEPLOYMENTS,
        "json",
        '[{"op": "replace", "path": "/spec/template/spec/containers/0/ports/1/containerPort", "value": 54}]',
    ),
    "a variable from somewhere else": (
        DEPLOYMENTS,
        "json",
        '[{"op": "replace", "path": "/spec/template/spec/containers/0/env/1", "value": '
        '{"name": "FULL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}}]',
    ),
    "another kind of volume": (
        DEPLOYMENTS,
        "json",
        '[{"op": "replace", "path": "/spec/template/spec/volumes/0", "value": '
        '{"name": "data", "hostPath": {"path": "/x"}}}]',
    ),
    "another kind of probe": (
        DEPLOYMENTS,
        "merge",
        '{"spec": {"template": {"spec": {"containers": [{"name": "chat", "image": "x", '
        '"readinessProbe": {"tcpSocket": {"port": 8443}}}]}}}}',
    ),
    "the other limit of a disruption budget": (
        POD_DISRUPTION_BUDGETS,
        "merge",
        '{"spec": {"maxUnavailable": null, "minAvailable": 1}}',
    ),
}
"""Edits that are valid, and are refused beside what we own: kind of object, type of the patch, patch."""


@pytest.mark.parametrize("edit", INVALID_TOGETHER)
async def test_an_edit_that_is_refused_beside_ours_is_taken_out(place: Place, edit: str) -> None:
    gvr, type_, patch = INVALID_TOGETHER[edit]
    desired = child(gvr, place.space)
    await place.converge(desired)
    before = (await place.get(gvr))["spec"]
    await place.kubectl("patch", gvr.resource, "x", f"--type={type_}", "--patch", patch)
    await place.kubectl("annotate", gvr.resource, "x", "example.com/note=kept")
    await place.seen(kind=gvr)
    assert (await place.get(gvr))["spec"] != before
    outcome = await place.settled(desired)
    assert outcome.drifted == ((f"{gvr.kind} {place.space}/x", ("kubectl-patch",)),)
    live = await place.get(gvr)
    assert live["spec"] == before
    assert live["metadata"]["annotations"]["example.com/note"] == "kept", "what is in nobody's way stays"
    await place.seen(kind=gvr)
    place.requests.clear()
    assert (await place.converge(desired)).complete and place.requests == []


async def test_a_body_that_is_refused_by_itself_is_told_and_keeps_nothing_from_being_repaired(place: Place) -> None:
    desired = child(SERVICES, place.space)
    await place.converge(desired)
    await place.kubectl(
        "patch", "services", "x", "--type=merge", "--patch", '{"spec": {"sessionAffinity": "ClientIP"}}'
    )
    await place.seen(kind=SERVICES)
    ports = [{"name": "wss", "port": 443, "targetPort": 8443}, {"name": "wss", "port": 444}]
    outcome = await place.converge(child(SERVICES, place.space, spec={**BODIES[SERVICES]["spec"], "ports": ports}))
    assert "Duplicate value" in outcome.refused[0].message
    await place.seen(kind=SERVICES)
    assert (await place.settled(desired)).complete
    assert [port["port"] for port in (await place.get(SERVICES))["spec"]["ports"]] == [443, 53]


async def test_another_ones_additions_survive_a_repair(place: Place) -> None:
    desired = child(DEPLOYMENTS, place.space)
    await place.converge(desired)
    sidecar = {"spec": {"replicas": 9, "template": {"spec": {"containers": [{"name": "mesh", "image": "mesh:1"}]}}}}
    mesh = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, **sidecar}
    await place.client.apply(DEPLOYMENTS, place.space, "x", mesh, manager="mesh", force=True)
    await place.seen(kind=DEPLOYMENTS)
    assert (await place.converge(desired)).updated == 1
    live = await place.get(DEPLOYMENTS)
    assert live["spec"]["replicas"] == 2
    assert {c["name"] for c in live["spec"]["template"]["spec"]["containers"]} == {"chat", "mesh"}


async def test_a_changed_body_is_applied_and_is_no_drift(place: Place) -> None:
    await place.converge(child(CONFIG_MAPS, place.space, data={"a": "1"}, immutable=False))
    outcome = await place.converge(child(CONFIG_MAPS, place.space, data={"b": "2"}, immutable=False))
    assert (outcome.updated, outcome.drifted) == (1, ())
    assert (await place.get(CONFIG_MAPS))["data"] == {"b": "2"}


async def test_an_object_of_somebody_else_is_never_adopted(place: Place) -> None:
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, **BODIES[SERVICES]}
    await place.client.apply(SERVICES, place.space, "x", theirs, manager="helm")
    before = await place.get(SERVICES)
    outcome = await place.converge(child(SERVICES, place.space), child(SECRETS, place.space))
    assert [problem.child for problem in outcome.conflicts] == [f"Service {place.space}/x"]
    assert "not ours" in outcome.conflicts[0].message and outcome.created == 1
    assert await place.get(SERVICES) == before
    await place.converge(owner=place.owner)
    assert await place.get(SERVICES) == before, "nor deleted"


@pytest.mark.parametrize("other", ["another service of this hub", "the same service of another hub"])
async def test_an_object_of_another_owner_is_never_adopted(place: Place, other: str) -> None:
    key = Key("ChatService", place.space, "other" if other.startswith("another") else "svc")
    hub = place.hub if other.startswith("another") else "hub-elsewhere"
    foreign = Owner(hub, key, str(uuid.uuid4()))
    assert (await place.converge(child(SERVICES, place.space), owner=foreign)).unobstructed
    outcome = await place.converge(child(SERVICES, place.space))
    assert len(outcome.conflicts) == 1
    live = await place.get(SERVICES)
    assert live["metadata"]["annotations"][objects.OWNER_UID_ANNOTATION] == foreign.uid


@pytest.mark.parametrize(
    "label",
    [objects.MANAGED_BY_LABEL, objects.HUB_LABEL, objects.OWNER_NAME_LABEL, objects.REGION_LABEL],
)
async def test_a_lost_label_is_drift(place: Place, label: str) -> None:
    desired = child(SERVICES, place.space)
    await place.converge(desired)
    await place.seen(kind=SERVICES)
    before = await place.get(SERVICES)
    place.woken.clear()
    await place.kubectl("label", "service", "x", f"{label}-")
    await eventually_async(lambda: place.owner.key in place.woken, what="somebody to look at the lost label")
    outcome = await place.settled(desired)
    live = await place.get(SERVICES)
    assert live["metadata"]["uid"] == before["metadata"]["uid"], "mended, not made anew"
    assert live["metadata"]["labels"] == before["metadata"]["labels"]
    assert outcome.conflicts == ()
    await place.seen(kind=SERVICES)
    place.requests.clear()
    assert (await place.converge(desired)).complete and place.writes() == 0


@pytest.mark.parametrize("label", [objects.MANAGED_BY_LABEL, objects.OWNER_NAME_LABEL])
async def test_what_lost_its_label_and_is_not_wanted_any_more_is_found_by_name(place: Place, label: str) -> None:
    kept, dropped = child(SERVICES, place.space), child(CONFIG_MAPS, place.space)
    await place.converge(kept, dropped)
    await place.kubectl("label", "configmap", "x", f"{label}-")
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {}}
    await place.client.apply(SECRETS, place.space, "x", theirs, manager="helm")
    await place.forgotten(CONFIG_MAPS)
    assert (await place.converge(kept)).deleted == 0, "nothing tells of it"
    names = [(SERVICES, "x"), (CONFIG_MAPS, "x"), (SECRETS, "x"), (HORIZONTAL_POD_AUTOSCALERS, "x")]
    outcome = await Applier(place.client, place.member.store, place.owner, REGION).converge([kept], lost=names)
    assert outcome.complete and (outcome.deleted, outcome.created) == (1, 0)
    assert await place.client.find(CONFIG_MAPS, place.space, "x") is None
    assert await place.client.find(SECRETS, place.space, "x") is not None, "not ours"


async def test_two_owners_whose_children_have_the_same_names_share_nothing(place: Place) -> None:
    """Service a-b in region c and service a in region b-c, let past by two webhooks in the same moment."""
    desired = [child(gvr, place.space) for gvr in (SERVICES, CONFIG_MAPS, SECRETS, DEPLOYMENTS)]
    owners = {
        region: Owner(place.hub, Key("ChatService", place.space, name), str(uuid.uuid4()))
        for name, region in (("a-b", "c"), ("a", "b-c"))
    }

    async def both(*children: Child) -> list[Outcome]:
        passes = [
            Applier(place.client, place.member.store, owner, region).converge(children)
            for region, owner in owners.items()
        ]
        return list(await asyncio.gather(*passes))

    first = await both(*desired)
    assert sum(outcome.created for outcome in first) == len(desired)
    assert sum(len(outcome.conflicts) for outcome in first) == len(desired), "each name is in conflict for one of them"
    made = {gvr: (await place.get(gvr))["metadata"] for gvr in (child.gvr for child in desired)}
    again = await both(*desired)
    assert [outcome.writes for outcome in again] == [0, 0]
    for gvr, before in made.items():
        after = (await place.get(gvr))["metadata"]
        assert (after["uid"], after["labels"], after["annotations"]) == (
            before["uid"],
            before["labels"],
            before["annotations"],
        )

    (a_b, a), (loser, winner) = first, owners.values()
    assert a_b.complete is False or a.complete is False
    gone = Applier(place.client, place.member.store, loser, "c")
    await gone.delete(place.member.store.children(loser.key, "c"))
    await gone.delete_lost([(child.gvr, child.name) for child in desired])
    for gvr, before in made.items():
        mine = before["annotations"][objects.OWNER_UID_ANNOTATION] == winner.uid
        assert (await place.client.find(gvr, place.space, "x") is not None) is mine, "the other's are left alone"
    settled = await Applier(place.client, place.member.store, winner, "b-c").converge(desired)
    assert settled.complete and settled.created == a_b.created


async def test_an_owner_made_anew_takes_over_what_the_former_one_left(place: Place) -> None:
    """Deleted and created again while the region was away: same hub, same key, another uid."""
    desired = [child(SERVICES, place.space), child(CONFIG_MAPS, place.space, "old")]
    await place.converge(*desired)
    before = await place.get(SERVICES)
    reborn = Owner(place.hub, place.owner.key, str(uuid.uuid4()))
    outcome = await place.converge(desired[0], owner=reborn)
    assert outcome.complete and outcome.deleted == 1, "what the new one does not want goes"
    await place.restart()
    assert (await place.settled(desired[0], owner=reborn)).complete
    live = await place.get(SERVICES)
    assert live["metadata"]["uid"] == before["metadata"]["uid"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_new_owners_uid_is_written_at_the_takeover(place: Place, restarted: bool) -> None:
    """Else an object that loses its labels later would be judged by the uid of an owner that is gone."""
    desired = child(SERVICES, place.space)
    await place.converge(desired)
    reborn = Owner(place.hub, place.owner.key, str(uuid.uuid4()))
    if restarted:
        await place.restart()
    await place.settled(desired, owner=reborn)
    live = await place.get(SERVICES)
    assert live["metadata"]["annotations"][objects.OWNER_UID_ANNOTATION] == reborn.uid
    await place.kubectl("label", "service", "x", f"{objects.HUB_LABEL}-")
    await place.forgotten(SERVICES)
    assert (await place.settled(desired, owner=reborn)).conflicts == ()


async def test_a_deleted_child_is_made_again(place: Place) -> None:
    desired = child(SERVICES, place.space)
    await place.converge(desired)
    await place.seen(kind=SERVICES)
    place.woken.clear()
    await place.kubectl("delete", "service", "x")
    await place.forgotten(SERVICES)
    assert place.owner.key in place.woken
    assert (await place.converge(desired)).created == 1


async def test_an_update_of_what_was_just_deleted_makes_no_ghost_and_is_tried_again(place: Place) -> None:
    """The cache still knows it: the update must not create it under our feet, and the next pass makes it properly."""
    await place.converge(child(CONFIG_MAPS, place.space, immutable=False))
    for task in place.member._tasks:
        task.cancel()  # deaf from here on
    await place.kubectl("delete", "configmap", "x")
    changed = child(CONFIG_MAPS, place.space, data={"a": "2"}, immutable=False)
    outcome = await place.converge(changed)
    assert isinstance(outcome.failed, Retryable) and not outcome.refused
    assert await place.client.find(CONFIG_MAPS, place.space, "x") is None
    await place.restart()
    assert (await place.converge(changed)).created == 1


async def test_an_update_of_what_was_replaced_touches_nothing_and_is_tried_again(place: Place) -> None:
    await place.converge(child(CONFIG_MAPS, place.space, immutable=False))
    for task in place.member._tasks:
        task.cancel()
    await place.kubectl("delete", "configmap", "x")
    await place.kubectl("create", "configmap", "x", "--from-literal=theirs=1")
    changed = child(CONFIG_MAPS, place.space, data={"a": "2"}, immutable=False)
    outcome = await place.converge(changed)
    assert isinstance(outcome.failed, Retryable) and not outcome.refused
    assert (await place.get(CONFIG_MAPS))["data"] == {"theirs": "1"}
    await place.restart()
    assert len((await place.converge(changed)).conflicts) == 1


async def test_a_terminating_child_is_waited_for_and_then_made_again(place: Place) -> None:
    desired = child(CONFIG_MAPS, place.space)
    await place.converge(desired)
    await place.kubectl(
        "patch", "configmap", "x", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/x"]}}'
    )
    await place.kubectl("delete", "configmap", "x", "--wait=false")
    await place.seen(kind=CONFIG_MAPS)
    outcome = await place.converge(desired)
    assert outcome.waiting == (f"ConfigMap {place.space}/x",) and not outcome.complete
    await place.kubectl("patch", "configmap", "x", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await place.forgotten(CONFIG_MAPS)
    assert (await place.converge(desired)).created == 1


async def test_prune_takes_what_is_no_longer_wanted_and_nothing_else(place: Place) -> None:
    other = Owner(place.hub, Key("ChatService", place.space, "other"), str(uuid.uuid4()))
    await place.converge(child(SERVICES, place.space, "theirs"), owner=other)
    await place.kubectl("create", "configmap", "nobodys")
    await place.converge(*everything(place.space))
    outcome = await place.converge(child(SERVICES, place.space))
    assert outcome.complete and outcome.deleted == len(SERVED) - 1
    assert await place.client.find(SERVICES, place.space, "theirs") is not None
    assert await place.client.find(CONFIG_MAPS, place.space, "nobodys") is not None
    for gvr in SERVED:
        if gvr != SERVICES:
            assert await place.client.find(gvr, place.space, "x" if gvr != DEPLOYMENTS else "dep") is None


async def test_a_copy_that_somebody_makes_of_a_child_is_not_pruned(place: Place) -> None:
    desired = child(CONFIG_MAPS, place.space)
    await place.converge(desired)
    copy = await place.get(CONFIG_MAPS)
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        del copy["metadata"][field]
    copy["metadata"]["name"] = "copy"
    await place.client.create(CONFIG_MAPS, place.space, copy, manager="somebody")
    known = place.member.store
    await eventually_async(lambda: any(r.name == "copy" for r in known.children(place.owner.key)))
    outcome = await place.converge(desired)
    assert outcome.complete and outcome.deleted == 0
    assert await place.client.find(CONFIG_MAPS, place.space, "copy") is not None


async def test_a_copy_in_another_namespace_is_nobodys_child(place: Place) -> None:
    """Taken for the child, it would have its uid written over the real one's, and be deleted with the service."""
    desired = child(CONFIG_MAPS, place.space)
    await place.converge(desired)
    original = await place.get(CONFIG_MAPS)
    copy = {**original, "metadata": {**original["metadata"], "namespace": "default"}}
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        del copy["metadata"][field]
    copy["metadata"]["name"] = name = f"copy-{place.space}"
    made = await place.client.create(CONFIG_MAPS, "default", copy, manager="somebody")
    try:
        after = child(CONFIG_MAPS, place.space, "after")
        await place.converge(desired, after)
        await eventually_async(lambda: any(r.name == "after" for r in place.member.store.children(place.owner.key)))
        await place.restart()
        assert name not in [record.name for record in place.member.store.children(place.owner.key)]
    finally:
        await place.client.delete(CONFIG_MAPS, "default", name, uid=made["metadata"]["uid"])


@pytest.mark.parametrize("what", ["deleted", "changed", "unlabelled"])
async def test_what_somebody_does_during_a_pass_is_not_lost(
    place: Place, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is taken in before the pass ends, and would be taken for what the pass has left."""
    left_alone, changed = child(CONFIG_MAPS, place.space), child(SERVICES, place.space)
    await place.settled(left_alone, changed)
    await place.seen(kind=CONFIG_MAPS)
    before = place.member.store.children(place.owner.key)
    apply, done = place.client.apply, False
    acts = {
        "deleted": ("delete", "configmap", "x"),
        "changed": ("patch", "configmap", "x", "--type=merge", "-p", '{"data":{"k":"theirs"}}'),
        "unlabelled": ("label", "configmap", "x", f"{objects.OWNER_NAME_LABEL}-"),
    }

    async def slow(gvr: Gvr, *arguments: Any, **options: Any) -> dict[str, Any]:
        nonlocal done
        if gvr == SERVICES and not done:
            done = True
            await place.kubectl(*acts[what])
            await eventually_async(lambda: place.member.store.children(place.owner.key) != before)
        return await apply(gvr, *arguments, **options)

    monkeypatch.setattr(place.client, "apply", slow)
    newer = Child(SERVICES, place.space, "x", {**changed.body, "metadata": {"labels": {"newer": "yes"}}})
    outcome = await place.settled(left_alone, newer)
    assert done and outcome.complete
    assert (await place.get(CONFIG_MAPS))["data"] == left_alone.body["data"]
    assert objects.OWNER_NAME_LABEL in (await place.get(CONFIG_MAPS))["metadata"]["labels"]


async def test_prune_of_one_region_leaves_another_in_the_same_cluster_alone(place: Place) -> None:
    applier = Applier(place.client, place.member.store, place.owner, "elsewhere")
    await applier.converge([child(SERVICES, place.space, "elsewhere")])
    assert (await place.converge(child(SERVICES, place.space))).deleted == 0
    assert await place.client.find(SERVICES, place.space, "elsewhere") is not None


async def test_prune_never_takes_a_successor_of_the_same_name(place: Place) -> None:
    await place.converge(child(CONFIG_MAPS, place.space))
    for task in place.member._tasks:
        task.cancel()
    await place.kubectl("delete", "configmap", "x")
    await place.kubectl("create", "configmap", "x", "--from-literal=theirs=1")
    outcome = await place.converge()
    assert outcome.complete
    assert (await place.get(CONFIG_MAPS))["data"] == {"theirs": "1"}


@pytest.mark.parametrize("obstacle", ["refused", "conflict", "unreachable"])
async def test_nothing_is_pruned_after_a_child_could_not_be_made(place: Place, obstacle: str) -> None:
    await place.converge(child(CONFIG_MAPS, place.space, "old"))
    wanted = child(SERVICES, place.space)
    if obstacle == "refused":
        wanted = child(SERVICES, place.space, spec={"ports": [{"port": -1}]})
    elif obstacle == "conflict":
        await place.kubectl("create", "service", "clusterip", "x", "--tcp=1:1")
    else:
        place.client._base = "https://127.0.0.1:1"
    outcome = await place.converge(wanted)
    assert outcome.deleted == 0 and not outcome.complete
    assert {"refused": outcome.refused, "conflict": outcome.conflicts, "unreachable": outcome.failed}[obstacle]
    found = await asyncio.to_thread(kubectl, place.cluster, "-n", place.space, "get", "configmap", "old", "-o", "name")
    assert found


async def test_replicas_are_handed_over_to_an_autoscaler_without_a_drop(place: Place) -> None:
    await place.converge(child(DEPLOYMENTS, place.space, spec=deployment(replicas=7)["spec"]))
    without = child(DEPLOYMENTS, place.space, spec=deployment(replicas=None)["spec"])
    autoscaler = child(HORIZONTAL_POD_AUTOSCALERS, place.space)
    assert (await place.converge(without, autoscaler)).complete
    live = await place.get(DEPLOYMENTS)
    assert live["spec"]["replicas"] == 7
    assert "f:replicas" not in (owned_fields(live["metadata"], objects.FIELD_MANAGER) or {})["f:spec"]
    await place.kubectl("scale", "deployment/x", "--replicas=9")  # what the autoscaler does
    await place.seen(kind=DEPLOYMENTS)
    place.requests.clear()
    outcome = await place.converge(without, autoscaler)
    assert outcome.complete and place.writes() == 0, "the number is the autoscaler's now"
    back = await place.converge(child(DEPLOYMENTS, place.space, spec=deployment(replicas=3)["spec"]))
    assert back.complete and (await place.get(DEPLOYMENTS))["spec"]["replicas"] == 3, "and can be taken back"
    await place.seen(kind=DEPLOYMENTS)
    place.requests.clear()
    assert (await place.converge(child(DEPLOYMENTS, place.space, spec=deployment(replicas=3)["spec"]))).complete
    assert place.requests == []


async def test_a_hand_over_of_a_number_that_somebody_scaled_keeps_the_present_one(place: Place) -> None:
    await place.converge(child(DEPLOYMENTS, place.space, spec=deployment(replicas=7)["spec"]))
    await place.kubectl("scale", "deployment/x", "--replicas=9")
    await place.converge(child(DEPLOYMENTS, place.space, spec=deployment(replicas=None)["spec"]))
    assert (await place.get(DEPLOYMENTS))["spec"]["replicas"] == 9


async def test_a_refusal_names_the_child_and_has_the_servers_words(place: Place) -> None:
    bad = child(STATEFUL_SETS, place.space, spec={**BODIES[STATEFUL_SETS]["spec"], "replicas": -1})
    outcome = await place.converge(bad, child(SECRETS, place.space))
    assert outcome.created == 1, "the others are made all the same"
    (problem,) = outcome.refused
    assert problem.child == f"StatefulSet {place.space}/x" and "spec.replicas" in problem.message


async def test_a_refusal_never_shows_what_was_sent(place: Place) -> None:
    secret = child(SECRETS, place.space, data={"tls.key": "bm90IGEga2V5", "bad key!": "c2VjcmV0"})
    (problem,) = (await place.converge(secret)).refused
    assert "bm90IGEga2V5" not in problem.message and "c2VjcmV0" not in problem.message


async def test_a_lost_lease_ends_the_pass_and_is_never_taken_for_a_fault_of_the_cluster(place: Place) -> None:
    def guard() -> None:
        raise Fatal("not leading")

    guarded = ClusterClient("kern", await hub_configuration(str(place.cluster.kubeconfig)), guard=guard)
    try:
        applier = Applier(guarded, place.member.store, place.owner, REGION)
        with pytest.raises(Fatal):
            await applier.converge(everything(place.space))
    finally:
        await guarded.close()
    for gvr in SERVED:
        assert await place.client.find(gvr, place.space, "x") is None


async def test_an_owner_reference_is_stamped_when_given_and_collects_the_child(place: Place) -> None:
    keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keeper"}}
    made = await place.client.create(CONFIG_MAPS, place.space, keeper, manager="test")
    uid = made["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "keeper", "uid": uid, "controller": True}
    owner = Owner(place.hub, place.owner.key, uid, reference)
    assert (await place.converge(child(SERVICES, place.space), owner=owner)).complete
    place.requests.clear()
    assert (await place.converge(child(SERVICES, place.space), owner=owner)).writes == 0
    await place.kubectl("delete", "configmap", "keeper")
    await place.forgotten(SERVICES)


@pytest.mark.parametrize("kind", ["an owner that is gone", "an owner in another namespace"])
async def test_why_members_get_no_owner_references(place: Place, kind: str) -> None:
    """The fact behind it: a child whose owner the collector cannot find, or not in its namespace, is deleted."""
    uid = str(uuid.uuid4())
    if kind == "an owner in another namespace":
        keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"keeper-{place.space}"}}
        made = await place.client.create(CONFIG_MAPS, "default", keeper, manager="test")
        uid = made["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"keeper-{place.space}", "uid": uid}
    await place.converge(child(SECRETS, place.space), owner=Owner(place.hub, place.owner.key, uid, reference))

    async def collected() -> bool:
        return await place.client.find(SECRETS, place.space, "x", metadata_only=True) is None

    await eventually_async(collected, deadline=60, what="the collector to delete the child")
