"""The proxy proved with the engine's own client, before anything is concluded from it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from clusters import eventually_async, run_kubectl
from faults.proxy import Answer, Hang, Moment, Proxy, Reset, Slow
from faults.wire import counted, lint
from localkube.bare import BareCluster
from roadstead.kernel.client import ClusterClient, WatchEvent
from roadstead.kernel.errors import Conflict, Gone, ServerFault, Throttled, Unreachable
from roadstead.kernel.objects import CONFIG_MAPS, LEASES


def config_map(name: str, value: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "labels": {"set": "all"}, "resourceVersion": "1"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": value}}


async def put(client: ClusterClient, space: str, name: str) -> dict[str, Any]:
    return await client.apply(CONFIG_MAPS, space, name, config_map(name), manager="roadstead")


async def behind(cluster: BareCluster, space: str, name: str) -> bool:
    """Whether the server has it, asked without the proxy."""
    path = f"/api/v1/namespaces/{space}/configmaps?fieldSelector=metadata.name%3D{name}"
    return bool((await asyncio.to_thread(cluster.api.request, "GET", path))["items"])


class Follower:
    """A watch that keeps what it saw."""

    def __init__(self, client: ClusterClient, space: str, version: str) -> None:
        self.seen: list[WatchEvent] = []
        self.task = asyncio.create_task(self._run(client, space, version))

    async def _run(self, client: ClusterClient, space: str, version: str) -> None:
        async for event in client.watch(CONFIG_MAPS, space, resource_version=version, labels="set=all"):
            self.seen.append(event)

    def names(self, kind: str = "ADDED") -> list[str]:
        return [event.object["metadata"]["name"] for event in self.seen if event.type == kind]

    async def end(self) -> BaseException | None:
        self.task.cancel()
        return (await asyncio.gather(self.task, return_exceptions=True))[0]


async def follow(client: ClusterClient, proxy: Proxy, space: str) -> Follower:
    version = ""
    async for _, version in client.pages(CONFIG_MAPS, space):  # noqa: B007
        pass
    before = len(proxy.watching)
    made = Follower(client, space, version)
    await eventually_async(lambda: len(proxy.watching) > before)
    return made


async def test_everything_passes_and_is_logged_without_credentials(
    client: ClusterClient, proxy: Proxy, space: str
) -> None:
    made = await put(client, space, "c")
    assert (await client.get(CONFIG_MAPS, space, "c"))["metadata"]["uid"] == made["metadata"]["uid"]
    assert [item async for items, _ in client.pages(CONFIG_MAPS, space, labels="set=all") for item in items]
    await client.delete(CONFIG_MAPS, space, "c", uid=made["metadata"]["uid"])
    applied, read, listed, deleted = proxy.log
    assert (applied.verb, read.verb, listed.verb, deleted.verb) == ("patch", "get", "list", "delete")
    assert applied.applies and applied.body["data"] == {"k": "1"} and applied.query["fieldManager"] == "roadstead"
    assert (applied.status, applied.committed, applied.namespace, applied.name) == (201, True, space, "c")
    assert listed.query["labelSelector"] == "set=all"
    assert deleted.right == ("", "configmaps", "delete") and deleted.body["preconditions"]["uid"]
    assert "authorization" not in applied.headers and applied.headers["user-agent"] == "roadstead-operator"
    assert [request.number for request in proxy.log] == [1, 2, 3, 4]
    assert lint(proxy.log) == []


async def test_kubectl_works_through_it(proxy: Proxy, kubeconfig: Path, space: str) -> None:
    class Through:
        def __init__(self) -> None:
            self.kubeconfig = kubeconfig

    done = await asyncio.to_thread(run_kubectl, Through(), "-n", space, "create", "configmap", "k")
    assert done.returncode == 0, done.stderr
    assert any(request.verb == "create" and request.resource == "configmaps" for request in proxy.log)


async def test_a_watch_passes_event_by_event(client: ClusterClient, proxy: Proxy, space: str) -> None:
    follower = await follow(client, proxy, space)
    await put(client, space, "a")
    await eventually_async(lambda: follower.names() == ["a"])
    await put(client, space, "b")
    await eventually_async(lambda: follower.names() == ["a", "b"])
    assert proxy.watching[0].verb == "watch"
    await follower.end()
    await eventually_async(lambda: proxy.watching == [])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(409), Conflict),
        (Answer(410), Gone),
        (Answer(429, headers={"Retry-After": "3"}), Throttled),
        (Answer(500), ServerFault),
        (Answer(503), ServerFault),
        (Reset(), Unreachable),
    ],
    ids=str,
)
async def test_an_injected_answer_comes_as_often_as_asked_and_the_server_hears_nothing(
    client: ClusterClient, proxy: Proxy, cluster: BareCluster, space: str, answer: Any, error: type[Exception]
) -> None:
    fault = proxy.fault(answer, when=lambda request: request.writes, times=2)
    for _ in range(2):
        with pytest.raises(error) as raised:
            await put(client, space, "c")
    assert getattr(raised.value, "retry_after", None) == (3.0 if error is Throttled else None)
    assert fault.hits == 2 and not await behind(cluster, space, "c")
    await put(client, space, "c")
    assert [request.committed for request in proxy.log] == [False, False, True]


async def test_a_hanging_server_answers_nothing_until_patience_ends(
    client: ClusterClient, proxy: Proxy, cluster: BareCluster, space: str
) -> None:
    proxy.fault(Hang())
    with pytest.raises(Unreachable, match="no answer in time"):
        await client._json("GET", CONFIG_MAPS.path(space), query={"limit": "1"}, timeout=0.5)
    proxy.fault(Hang(commit=True))
    request = asyncio.create_task(put(client, space, "c"))
    await eventually_async(lambda: behind(cluster, space, "c"))
    assert not request.done(), "made, and the client does not know"
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert proxy.log[-1].committed and proxy.log[-1].status == 0


async def test_an_answer_lost_after_the_commit(
    client: ClusterClient, proxy: Proxy, cluster: BareCluster, space: str
) -> None:
    proxy.fault(Reset(commit=True))
    with pytest.raises(Unreachable):
        await put(client, space, "c")
    assert await behind(cluster, space, "c")


async def test_a_slow_server(client: ClusterClient, proxy: Proxy, space: str) -> None:
    proxy.fault(Slow(0.4))
    started = time.monotonic()
    await put(client, space, "c")
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize("moment", list(Moment))
async def test_a_crash_comes_at_exactly_that_write(
    client: ClusterClient, proxy: Proxy, cluster: BareCluster, space: str, moment: Moment
) -> None:
    killed: list[bool] = []
    crash = proxy.crash(2, moment, lambda: killed.append(True))
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    await put(client, space, "a")
    await client.create(LEASES, space, lease, manager="roadstead")  # renewals do not count
    with pytest.raises(Unreachable):
        await put(client, space, "b")
    assert killed == [True] and crash.done.is_set()
    assert await behind(cluster, space, "b") is (moment is Moment.AFTER_COMMIT)
    await put(client, space, "c")
    assert [request.name for request in proxy.writes()] == ["a", "b", "c"]
    assert killed == [True]


async def test_a_client_that_dies_does_not_take_back_its_write(
    client: ClusterClient, proxy: Proxy, cluster: BareCluster, space: str
) -> None:
    request = asyncio.create_task(put(client, space, "c"))
    await eventually_async(lambda: len(proxy.log) == 1, interval=0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await eventually_async(lambda: behind(cluster, space, "c"))


async def test_watches_are_dropped_ended_and_expired(client: ClusterClient, proxy: Proxy, space: str) -> None:
    follower = await follow(client, proxy, space)
    assert proxy.drop_watches() == 1
    with pytest.raises(Unreachable):
        await asyncio.wait_for(follower.task, 5)
    follower = await follow(client, proxy, space)
    assert proxy.end_watches() == 1
    await asyncio.wait_for(follower.task, 5)
    follower = await follow(client, proxy, space)
    assert await proxy.expire_watches() == 1
    with pytest.raises(Gone):
        await asyncio.wait_for(follower.task, 5)
    assert proxy.drop_watches() == 0


async def test_only_the_watches_that_are_meant_are_dropped(client: ClusterClient, proxy: Proxy, space: str) -> None:
    follower = await follow(client, proxy, space)
    assert proxy.drop_watches(lambda request: request.resource == "secrets") == 0
    await put(client, space, "c")
    await eventually_async(lambda: follower.names() == ["c"])
    await follower.end()


async def test_a_frozen_world_shows_lists_and_watches_as_they_were(
    client: ClusterClient, proxy: Proxy, space: str
) -> None:
    made = await put(client, space, "before")
    follower = await follow(client, proxy, space)
    version = await proxy.freeze()
    await put(client, space, "after")
    await client.delete(CONFIG_MAPS, space, "before", uid=made["metadata"]["uid"])
    assert await client.find(CONFIG_MAPS, space, "after") is not None, "writes and single reads pass"
    pages = [page async for page in client.pages(CONFIG_MAPS, space, labels="set=all", page_size=1)]
    assert [item["metadata"]["name"] for items, _ in pages for item in items] == ["before"]
    assert {listed for _, listed in pages} == {str(version)}
    late = await follow(client, proxy, space)
    assert (follower.names(), late.names(), late.names("DELETED")) == ([], [], [])
    await proxy.thaw()
    both = (follower, late)
    await eventually_async(lambda: all((e.names(), e.names("DELETED")) == (["after"], ["before"]) for e in both))
    for each in both:
        await each.end()
    assert [item async for items, _ in client.pages(CONFIG_MAPS, space, labels="set=all") for item in items]


async def test_the_past_can_be_shown_again(client: ClusterClient, proxy: Proxy, space: str) -> None:
    """A restart against a server that lags behind: it sees what was true at an earlier version."""
    made = await put(client, space, "old")
    await client.delete(CONFIG_MAPS, space, "old", uid=made["metadata"]["uid"])
    await proxy.freeze(int(made["metadata"]["resourceVersion"]))
    names = [i["metadata"]["name"] async for items, _ in client.pages(CONFIG_MAPS, space) for i in items]
    assert "old" in names
    await proxy.thaw()


async def test_an_object_is_hidden_until_its_opposite(client: ClusterClient, proxy: Proxy, space: str) -> None:
    follower = await follow(client, proxy, space)
    hold = proxy.hold(lambda _, event: event["object"]["metadata"].get("name") == "ghost")
    ghost = await put(client, space, "ghost")
    await put(client, space, "seen")
    await eventually_async(lambda: follower.names() == ["seen"])
    await client.delete(CONFIG_MAPS, space, "ghost", uid=ghost["metadata"]["uid"])
    await eventually_async(lambda: len(hold.held) == 2)
    await hold.release()
    await eventually_async(lambda: follower.names("DELETED") == ["ghost"])
    assert follower.names() == ["seen", "ghost"]
    await follower.end()


async def test_an_object_is_hidden_for_good(client: ClusterClient, proxy: Proxy, space: str) -> None:
    follower = await follow(client, proxy, space)
    hold = proxy.hold(lambda _, event: event["object"]["metadata"].get("name") == "ghost")
    await put(client, space, "ghost")
    await eventually_async(lambda: len(hold.held) == 1)
    hold.discard()
    await put(client, space, "seen")
    await eventually_async(lambda: follower.names() == ["seen"])
    await follower.end()


async def test_a_server_that_is_away_looks_away(proxy: Proxy, client: ClusterClient) -> None:
    class Nowhere:
        url = "https://127.0.0.1:1"
        ca_file = Path("/dev/null")

    proxy._cluster = Nowhere()
    with pytest.raises(Unreachable):
        await client.version()
    with pytest.raises(Unreachable):
        async for _ in client.watch(CONFIG_MAPS, resource_version="1"):
            pass


def test_leases_and_events_are_not_counted() -> None:
    from faults.wire import Request

    paths = {
        "/api/v1/namespaces/n/configmaps": True,
        "/apis/events.k8s.io/v1/namespaces/n/events": False,
        "/apis/coordination.k8s.io/v1/namespaces/n/leases": False,
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": False,
    }
    assert {path: counted(Request(1, "POST", path)) for path in paths} == paths
