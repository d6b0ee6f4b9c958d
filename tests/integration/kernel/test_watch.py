"""Watches through what happens to API servers: stopped, frozen, compacted; and types that come and go.

This module has a control plane of its own. What is deleted "while nobody looked" is deleted in etcd itself, with the
API server down: there is no event of it anywhere.

Mutants that these tests were seen to kill: no relist after `Gone`; `listed` not called; an absent optional type that
never counts as listed; a version that is not carried on by events.
"""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from clusters import StartCluster, eventually, eventually_async
from integration.kernel.bodies import child
from localkube.bare import BareCluster
from roadstead.kernel import objects
from roadstead.kernel import watch as module
from roadstead.kernel.apply import Applier
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.errors import Gone
from roadstead.kernel.fleet import Member
from roadstead.kernel.objects import CONFIG_MAPS, SECRETS, SERVICE_MONITORS, SERVICES, Gvr, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.watch import Watcher


@pytest.fixture(scope="module")
def own(start_cluster: StartCluster) -> BareCluster:
    return start_cluster("watched", controllers=False, scheduler=False, kwok=False)


@pytest.fixture
def space(own: BareCluster) -> str:
    eventually(own.api.ready, deadline=60)
    name = f"watch-{uuid.uuid4().hex[:8]}"
    own.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def etcd(cluster: BareCluster, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request to etcd's JSON gateway; the only way to do something behind the API server's back."""
    url = f"http://127.0.0.1:{cluster._etcd_port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        decoded: dict[str, Any] = json.load(answer)
        return decoded


def delete_behind(cluster: BareCluster, key: str) -> None:
    answer = etcd(cluster, "/v3/kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})
    assert answer.get("deleted") == "1", f"etcd had no {key}"


def compact(cluster: BareCluster, revision: int) -> None:
    etcd(cluster, "/v3/kv/compaction", {"revision": str(revision), "physical": True})


async def make_client(cluster: BareCluster) -> ClusterClient:
    return ClusterClient("watched", await hub_configuration(str(cluster.kubeconfig)))


class Watched:
    """A member with its watches, and whom it woke."""

    def __init__(self, cluster: BareCluster, client: ClusterClient, space: str) -> None:
        self.cluster, self.space = cluster, space
        self.woken: list[Key] = []
        hub = f"hub-{space}"
        self.owner = Owner(hub, Key("ChatService", space, "svc"), "00000000-0000-0000-0000-000000000001")
        self.member = Member("watched", client, hub, SystemClock(), self.woken.append)

    async def converge(self, *names: str) -> None:
        desired = [child(SERVICES, self.space, name) for name in names] + [child(SECRETS, self.space)]
        applier = Applier(self.member.client, self.member.store, self.owner, "watched")
        assert (await applier.converge(desired)).complete

    def names(self) -> list[str]:
        return sorted(r.name for r in self.member.store.children(self.owner.key) if r.gvr == SERVICES)

    def watcher(self, gvr: Gvr) -> Watcher:
        return next(watcher for watcher in self.member.watchers if watcher.gvr == gvr)


@pytest.fixture
async def watched(own: BareCluster, space: str) -> AsyncIterator[Watched]:
    made = Watched(own, await make_client(own), space)
    made.member.start()
    await eventually_async(lambda: made.member.synced, deadline=30)
    yield made
    await made.member.stop()


async def test_what_was_deleted_while_the_server_was_down_is_noticed(watched: Watched) -> None:
    await watched.converge("keeps", "goes")
    await eventually_async(lambda: watched.names() == ["goes", "keeps"])
    watched.cluster.stop_apiserver()
    delete_behind(watched.cluster, f"/registry/services/specs/{watched.space}/goes")
    watched.woken.clear()
    await asyncio.to_thread(watched.cluster.start_apiserver)
    await eventually_async(lambda: watched.names() == ["keeps"], deadline=60)
    assert set(watched.woken) == {watched.owner.key}


async def test_a_restart_in_which_nothing_happened_wakes_nobody(watched: Watched) -> None:
    await watched.converge("keeps")
    other = Owner(watched.owner.hub, Key("ChatService", watched.space, "other"), "00000000-0000-0000-0000-000000000002")
    desired = [child(gvr, watched.space, "sign") for gvr in (SERVICES, SECRETS)]
    assert (await Applier(watched.member.client, watched.member.store, other, "").converge(desired)).complete
    await eventually_async(lambda: len(watched.member.store.children(other.key)) == 2)
    watched.cluster.stop_apiserver()
    await asyncio.to_thread(watched.cluster.start_apiserver)
    watched.woken.clear()
    for gvr in (SERVICES, SECRETS):  # a sign that both watches are back and have told everything
        await asyncio.to_thread(watched.cluster.api.request, "DELETE", gvr.path(watched.space, "sign"))
    await eventually_async(lambda: watched.member.store.children(other.key) == [], deadline=60)
    assert set(watched.woken) == {other.key}


async def test_a_frozen_server_that_goes_on_is_followed_on(watched: Watched) -> None:
    await watched.converge("before")
    watched.cluster.pause_apiserver()
    try:
        await asyncio.sleep(2.0)
        assert watched.watcher(SERVICES).age() >= 2.0 and watched.names() == ["before"]
    finally:
        watched.cluster.resume_apiserver()
    await watched.converge("before", "after")
    await eventually_async(lambda: watched.names() == ["after", "before"], deadline=60)


async def test_a_watch_from_before_a_restart_is_gone(own: BareCluster, space: str) -> None:
    client = await make_client(own)
    try:
        made = await client.apply(SERVICES, space, "x", child(SERVICES, space).body, manager="roadstead")
        own.restart_apiserver()
        with pytest.raises(Gone):
            async with asyncio.timeout(20):
                async for _ in client.watch(SERVICES, space, resource_version="1"):
                    pytest.fail("the server had events of that version")
        assert made
    finally:
        await client.close()


async def test_a_continuation_from_before_a_compaction_is_gone(own: BareCluster, space: str) -> None:
    client = await make_client(own)
    try:
        for number in range(4):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
            last = await client.apply(CONFIG_MAPS, space, f"c{number}", body, manager="roadstead")
        with pytest.raises(Gone):
            async for _ in client.pages(CONFIG_MAPS, space, page_size=1):
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}}
                last = await client.apply(CONFIG_MAPS, space, "later", body, manager="roadstead")
                body["metadata"]["labels"] = {"at": last["metadata"]["resourceVersion"]}  # type: ignore[index]
                last = await client.apply(CONFIG_MAPS, space, "later", body, manager="roadstead")
                await asyncio.to_thread(compact, own, int(last["metadata"]["resourceVersion"]))
                own.restart_apiserver()  # else its cache still answers
    finally:
        await client.close()


MONITOR_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"plural": "servicemonitors", "singular": "servicemonitor", "kind": "ServiceMonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def test_an_optional_type_may_come_and_go(own: BareCluster, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABSENT_RETRY", 0.2)
    watched = Watched(own, await make_client(own), space)
    watched.member.start()
    try:
        watcher = watched.watcher(SERVICE_MONITORS)
        await eventually_async(lambda: watched.member.synced, deadline=30, what="synced without the type")
        assert not watcher.served and watcher.age() == 0.0 and watcher.error == ""
        assert not await watched.member.client.serves(SERVICE_MONITORS)
        await asyncio.to_thread(own.api.create, CRDS, MONITOR_CRD)
        await eventually_async(lambda: watcher.served, deadline=30)
        assert await watched.member.client.serves(SERVICE_MONITORS), "discovery was asked again"
        body = {"spec": {"endpoints": [{"port": "ops"}]}, "metadata": {}}
        wanted = objects.Child(SERVICE_MONITORS, space, "x", body)
        applier = Applier(watched.member.client, watched.member.store, watched.owner, "watched")
        outcome = await applier.converge([wanted])
        assert outcome.complete and outcome.created == 1
        await asyncio.to_thread(own.api.request, "DELETE", f"{CRDS}/servicemonitors.monitoring.coreos.com")
        await eventually_async(lambda: not watched.member.store.children(watched.owner.key), deadline=60)
        await eventually_async(lambda: not watcher.served, deadline=60)
    finally:
        await watched.member.stop()
