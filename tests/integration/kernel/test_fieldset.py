"""What ``managedFields`` really says: the ground on which "converged" stands.

Two promises are proved here against a real API server. The digest of our apply entry changes whenever somebody else
touches a field that we own, and never when somebody writes a status or restarts a rollout. And `missing` finds nothing
to complain about right after our own apply, for every type of child, whatever the server defaults or rewrites.

Mutants that these tests were seen to kill: the first manager's entry instead of ours; entries of subresources taken in;
`missing` without the clause for keys that the server defaulted; `missing` that treats ``{}`` under a key as nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clusters import eventually_async, kubectl
from integration.kernel.bodies import SELECTOR, SERVED, child, deployment
from localkube.bare import BareCluster
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import Invalid
from roadstead.kernel.fieldset import missing, other_managers, owned_fields
from roadstead.kernel.objects import DEPLOYMENTS, NETWORK_POLICIES, Gvr
from roadstead.kernel.ownership import Owner, stamped
from roadstead.kernel.store import NOTHING, digest_of_owned, to_record

OURS = frozenset({objects.FIELD_MANAGER, objects.STATUS_MANAGER, objects.HANDOVER_MANAGER})


async def ours(client: ClusterClient, space: str, gvr: Gvr, body: dict[str, Any]) -> dict[str, Any]:
    return await client.apply(gvr, space, "x", body, manager=objects.FIELD_MANAGER)


class Place:
    """A Deployment of ours called x, and ways to meddle with it."""

    def __init__(self, cluster: BareCluster, client: ClusterClient, space: str) -> None:
        self.cluster, self.client, self.space = cluster, client, space

    async def kubectl(self, *arguments: str) -> None:
        await asyncio.to_thread(kubectl, self.cluster, "-n", self.space, *arguments)

    async def edited(self, change: Callable[[dict[str, Any]], None], path: str = "") -> None:
        """Read, change, PUT: what `kubectl edit`, a controller or a script does."""
        while True:
            live = await self.client.get(DEPLOYMENTS, self.space, "x")
            change(live)
            url = DEPLOYMENTS.path(self.space, "x", path)
            try:
                await self.client._json("PUT", url, query={"fieldManager": "kubectl-edit"}, body=live)
            except Exception as error:
                if "409" not in str(error):
                    raise
            else:
                return

    async def digest(self) -> bytes:
        live = await self.client.get(DEPLOYMENTS, self.space, "x", metadata_only=True)
        return digest_of_owned(live["metadata"])


def container(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["template"]["spec"]["containers"][0]
    return found


async def edit_replicas(at: Place) -> None:
    await at.edited(lambda body: body["spec"].update(replicas=5))


async def edit_an_env_value(at: Place) -> None:
    await at.edited(lambda body: container(body)["env"][1].update(value="2"))


async def empty_an_env_value(at: Place) -> None:
    await at.edited(lambda body: container(body)["env"][1].pop("value"))


async def remove_an_env_variable(at: Place) -> None:
    await at.edited(lambda body: container(body)["env"].pop())


async def remove_a_port(at: Place) -> None:
    await at.edited(lambda body: container(body)["ports"].pop())


async def edit_a_quantity(at: Place) -> None:
    await at.edited(lambda body: container(body)["resources"]["requests"].update(cpu="2"))


async def remove_a_label(at: Place) -> None:
    await at.edited(lambda body: body["metadata"]["labels"].pop("app"))


async def edit_a_label(at: Place) -> None:
    await at.kubectl("label", "deployment", "x", "app=other", "--overwrite")


async def remove_our_annotation(at: Place) -> None:
    await at.kubectl("annotate", "deployment", "x", "note-")


async def replace_a_volume(at: Place) -> None:
    def change(body: dict[str, Any]) -> None:
        body["spec"]["template"]["spec"]["volumes"][0] = {"name": "data", "hostPath": {"path": "/tmp"}}  # noqa: S108

    await at.edited(change)


async def forced_apply(at: Place) -> None:
    body = deployment(image="registry.example/other:1")
    await at.client.apply(DEPLOYMENTS, at.space, "x", body, manager="argocd", force=True)


async def set_image(at: Place) -> None:
    await at.kubectl("set", "image", "deployment/x", "chat=registry.example/other:2")


async def set_env(at: Place) -> None:
    await at.kubectl("set", "env", "deployment/x", "FULL=other")


async def scale(at: Place) -> None:
    await at.kubectl("scale", "deployment/x", "--replicas=4")


async def json_patch(at: Place) -> None:
    patch = '[{"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]'
    await at.kubectl("patch", "deployment", "x", "--type=json", "-p", patch)


async def strategic_patch(at: Place) -> None:
    await at.kubectl("patch", "deployment", "x", "-p", '{"spec":{"replicas":9}}')


async def reset_managed_fields(at: Place) -> None:
    await at.kubectl("patch", "deployment", "x", "--type=merge", "-p", '{"metadata":{"managedFields":[{}]}}')


FOREIGN: list[Callable[[Place], Awaitable[None]]] = [
    edit_replicas,
    edit_an_env_value,
    empty_an_env_value,
    remove_an_env_variable,
    remove_a_port,
    edit_a_quantity,
    remove_a_label,
    edit_a_label,
    remove_our_annotation,
    replace_a_volume,
    forced_apply,
    set_image,
    set_env,
    scale,
    json_patch,
    strategic_patch,
    reset_managed_fields,
]


def marked() -> dict[str, Any]:
    body = deployment()
    body["metadata"] |= {"labels": {"app": "ours"}, "annotations": {"note": "ours"}}
    return body


@pytest.mark.parametrize("meddle", FOREIGN, ids=lambda meddle: meddle.__name__)
async def test_a_foreign_change_to_an_owned_field_changes_our_entry(
    cluster: BareCluster, client: ClusterClient, space: str, meddle: Callable[[Place], Awaitable[None]]
) -> None:
    made = await ours(client, space, DEPLOYMENTS, marked())
    at = Place(cluster, client, space)
    await meddle(at)
    assert await at.digest() != digest_of_owned(made["metadata"])
    if meddle is replace_a_volume:
        with pytest.raises(Invalid, match="may not specify more than 1 volume type"):
            await ours(client, space, DEPLOYMENTS, marked())
        return  # a member of a union that somebody exchanged cannot be applied back: a person must remove theirs
    again = await ours(client, space, DEPLOYMENTS, marked())
    assert digest_of_owned(again["metadata"]) == digest_of_owned(made["metadata"]), "our apply takes everything back"


@pytest.mark.parametrize("meddle", [m for m in FOREIGN if m is not reset_managed_fields], ids=lambda m: m.__name__)
async def test_missing_names_what_was_touched(
    cluster: BareCluster, client: ClusterClient, space: str, meddle: Callable[[Place], Awaitable[None]]
) -> None:
    """What INSPECT after a restart stands on: no digest is remembered then, only the body that we want is known."""
    made = await ours(client, space, DEPLOYMENTS, marked())
    assert list(missing(marked(), owned_fields(made["metadata"], objects.FIELD_MANAGER) or {})) == []
    at = Place(cluster, client, space)
    await meddle(at)
    live = await client.get(DEPLOYMENTS, space, "x")
    assert list(missing(marked(), owned_fields(live["metadata"], objects.FIELD_MANAGER) or {})) != []


async def test_a_reset_of_managed_fields_leaves_no_entry_of_ours(
    cluster: BareCluster, client: ClusterClient, space: str
) -> None:
    await ours(client, space, DEPLOYMENTS, marked())
    at = Place(cluster, client, space)
    await reset_managed_fields(at)
    assert await at.digest() == NOTHING


async def write_status(at: Place) -> None:
    await at.edited(lambda body: body["status"].update(readyReplicas=0, availableReplicas=0), path="status")


async def restart_rollout(at: Place) -> None:
    await at.kubectl("rollout", "restart", "deployment/x")


async def add_a_foreign_label(at: Place) -> None:
    await at.kubectl("label", "deployment", "x", "theirs=yes")


async def add_a_sidecar(at: Place) -> None:
    def change(body: dict[str, Any]) -> None:
        body["spec"]["template"]["spec"]["containers"].append({"name": "mesh", "image": "mesh:1"})

    await at.edited(change)


async def write_what_is_there(at: Place) -> None:
    await at.edited(lambda body: None)


@pytest.mark.parametrize(
    "meddle",
    [write_status, restart_rollout, add_a_foreign_label, add_a_sidecar, write_what_is_there],
    ids=lambda meddle: meddle.__name__,
)
async def test_what_is_not_ours_leaves_our_entry_alone(
    cluster: BareCluster, client: ClusterClient, space: str, meddle: Callable[[Place], Awaitable[None]]
) -> None:
    made = await ours(client, space, DEPLOYMENTS, marked())
    at = Place(cluster, client, space)
    await meddle(at)
    assert await at.digest() == digest_of_owned(made["metadata"])


async def test_the_controllers_own_status_writes_leave_our_entry_alone(client: ClusterClient, space: str) -> None:
    made = await ours(client, space, DEPLOYMENTS, marked())

    async def ready() -> bool:
        live = await client.get(DEPLOYMENTS, space, "x")
        return bool(live.get("status", {}).get("readyReplicas") == 2)

    await eventually_async(ready, deadline=60)
    live = await client.get(DEPLOYMENTS, space, "x", metadata_only=True)
    assert digest_of_owned(live["metadata"]) == digest_of_owned(made["metadata"])
    assert live["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]


@pytest.mark.parametrize("gvr", SERVED, ids=str)
async def test_nothing_is_missing_after_our_own_apply_and_a_second_one_writes_nothing(
    client: ClusterClient, space: str, gvr: Gvr
) -> None:
    owner = Owner("hub", objects.Key("ChatService", space, "x"), "00000000-0000-0000-0000-000000000001")
    body = stamped(child(gvr, space), owner, "kern", b"12345678")
    first = await ours(client, space, gvr, body)
    fields = owned_fields(first["metadata"], objects.FIELD_MANAGER)
    assert fields and list(missing(body, fields)) == []

    async def no_write() -> bool:
        before = await client.get(gvr, space, "x")
        again = await ours(client, space, gvr, body)
        assert to_record(gvr, again).fields == to_record(gvr, first).fields
        return bool(again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"])

    # asked again, since a controller may write a status in between; an apply that wrote would do so every time
    await eventually_async(no_write, deadline=10)
    listed = [item async for items, _ in client.pages(gvr, space, metadata_only=True) for item in items]
    mine = next(item for item in listed if item["metadata"]["name"] == "x")
    assert to_record(gvr, mine).fields == to_record(gvr, first).fields, "a list says the same as an answer"


@pytest.mark.parametrize("gvr", SERVED, ids=str)
async def test_every_leaf_of_a_body_can_be_missing(client: ClusterClient, space: str, gvr: Gvr) -> None:
    """Another manager takes every field of the spec by force: `missing` must see each top field of the body gone."""
    body = dict(child(gvr, space).body)
    await ours(client, space, gvr, body)
    wanted = [name for name in body if name not in ("apiVersion", "kind", "metadata")]
    await client.apply(gvr, space, "x", body, manager="thief")
    bare = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": "x", "labels": {"a": "b"}}}
    left = await ours(client, space, gvr, bare)
    found = list(missing({**body, **bare}, owned_fields(left["metadata"], objects.FIELD_MANAGER) or {}))
    assert found == wanted
    assert other_managers(left["metadata"], OURS)[-1] == "thief"


async def test_an_empty_list_is_never_a_no_op(client: ClusterClient, space: str) -> None:
    """Why templates emit no empty list: each apply of ``ingress: []`` is a write, for ever."""
    body = dict(child(NETWORK_POLICIES, space).body)
    body["spec"] = {"podSelector": {"matchLabels": dict(SELECTOR)}, "policyTypes": ["Ingress"], "ingress": []}
    versions = {(await ours(client, space, NETWORK_POLICIES, body))["metadata"]["resourceVersion"] for _ in range(3)}
    assert len(versions) == 3


async def test_leaving_a_list_out_keeps_somebody_elses_allow_all(client: ClusterClient, space: str) -> None:
    body = dict(child(NETWORK_POLICIES, space).body)
    selecting = {"podSelector": {"matchLabels": dict(SELECTOR)}}
    body["spec"] = {**selecting, "ingress": [{}]}
    await client.apply(NETWORK_POLICIES, space, "x", body, manager="somebody")
    body["spec"] = {**selecting, "policyTypes": ["Ingress"]}
    live = await ours(client, space, NETWORK_POLICIES, body)
    assert live["spec"]["ingress"] == [{}]


async def test_a_list_with_an_element_takes_somebody_elses_allow_all_away(client: ClusterClient, space: str) -> None:
    body = dict(child(NETWORK_POLICIES, space).body)
    await client.apply(NETWORK_POLICIES, space, "x", {**body, "spec": {**body["spec"], "ingress": [{}]}}, manager="s")
    live = await ours(client, space, NETWORK_POLICIES, body)
    assert len(live["spec"]["ingress"]) == len(body["spec"]["ingress"])
    assert {} not in live["spec"]["ingress"]


async def test_dropping_replicas_scales_to_one(client: ClusterClient, space: str) -> None:
    """Why the hand-over exists: this is what happens without it."""
    await ours(client, space, DEPLOYMENTS, deployment(replicas=7))
    dropped = await ours(client, space, DEPLOYMENTS, deployment(replicas=None))
    assert dropped["spec"]["replicas"] == 1
