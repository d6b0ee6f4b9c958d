"""The applier and the watches under every fault that the proxy knows; later the whole operator stands here.

Mutants that these tests were seen to kill: a create that is not conditional; an update without uid (raises what was
deleted unseen); a 409 of a create taken for a failure instead of being looked at.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clusters import eventually_async
from faults.proxy import Answer, Hang, Moment, Proxy, Reset
from faults.wire import Request, lint
from integration.kernel.bodies import SERVED, child
from localkube.bare import BareCluster
from roadstead.kernel import client as client_module
from roadstead.kernel.apply import Applier, Outcome
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.fleet import HUB_MEMBER, Member
from roadstead.kernel.objects import CONFIG_MAPS, SECRETS, SERVICES, Child, Key
from roadstead.kernel.ownership import Owner


class Crashed(Exception):
    """What `kill` does to a run that lives in this process."""


class Engine:
    """A member behind the proxy and one owner; `restart` forgets everything, as a new process would."""

    def __init__(self, kubeconfig: Path, space: str) -> None:
        self.kubeconfig, self.space = kubeconfig, space
        self.owner = Owner(f"hub-{space}", Key("ChatService", space, "svc"), str(uuid.uuid4()))
        self.woken: list[Key] = []
        self.member: Member | None = None

    async def start(self) -> Member:
        client = ClusterClient("kern", await hub_configuration(str(self.kubeconfig)))
        self.member = Member(HUB_MEMBER, client, self.owner.hub, SystemClock(), self.woken.append)
        self.member.start()
        member = self.member
        await eventually_async(lambda: member.synced, deadline=30)
        return member

    async def stop(self) -> None:
        if self.member is not None:
            await self.member.stop()
            self.member = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def converge(self, desired: list[Child]) -> Outcome:
        assert self.member is not None
        return await Applier(self.member.client, self.member.store, self.owner, "kern").converge(desired)

    async def settle(self, desired: list[Child]) -> None:
        """Again and again, as the queue would, until a whole pass is complete."""

        async def complete() -> bool:
            return (await self.converge(desired)).complete

        await eventually_async(complete, deadline=30, what="a complete pass")


@pytest.fixture
async def engine(kubeconfig: Path, space: str) -> AsyncIterator[Engine]:
    made = Engine(kubeconfig, space)
    await made.start()
    yield made
    await made.stop()


def first(space: str) -> list[Child]:
    """What is there before: one child stays, one changes, one goes."""
    changing = child(CONFIG_MAPS, space, "changes", immutable=False)
    return [child(SERVICES, space), changing, child(SECRETS, space, "goes")]


def second(space: str) -> list[Child]:
    """What is wanted then: every type, one body changed, one child gone."""
    changed = child(CONFIG_MAPS, space, "changes", immutable=False, data={"K": "2"})
    return [changed, *(child(gvr, space) for gvr in SERVED)]


async def state(cluster: BareCluster, space: str) -> dict[str, Any]:
    """Everything of ours, compared without what differs from run to run."""
    found: dict[str, Any] = {}
    for gvr in SERVED:
        listed = await asyncio.to_thread(cluster.api.request, "GET", gvr.path(space))
        for item in listed["items"]:
            if "roadstead.dev/hub" in (item["metadata"].get("labels") or {}):
                name = f"{gvr} {item['metadata']['name']}"
                found[name] = {k: v for k, v in item.items() if k in ("data", "spec")}
    for body in found.values():
        for address in ("clusterIP", "clusterIPs"):
            (body.get("spec") or {}).pop(address, None)
    return found


def counts(requests: list[Request]) -> dict[str, int]:
    """What the server did, whether or not anybody heard of it."""
    return {
        "created": sum(request.decided == 201 for request in requests),
        "deleted": sum(request.verb == "delete" and request.committed for request in requests),
    }


async def test_a_crash_at_any_write_ends_as_if_there_had_been_none(
    engine: Engine, proxy: Proxy, cluster: BareCluster, space: str
) -> None:
    """The reference run makes K writes; then for each of them, before it is forwarded and after it is made."""
    await engine.settle(first(space))
    before = len(proxy.log)
    await engine.settle(second(space))
    reference = [request for request in proxy.writes() if request.number > before]
    wanted = await state(cluster, space)
    count = len(reference)
    assert count == len(SERVED) - 1 + 2, "every type but the Service that is there, one update, one deletion"
    assert lint(proxy.log) == []
    for write in range(1, count + 1):
        for moment in Moment:
            await _empty(engine)
            await engine.settle(first(space))
            before, crashed = len(proxy.log), asyncio.Event()
            proxy.crash(write, moment, crashed.set)
            run = asyncio.create_task(engine.converge(second(space)))
            dying = asyncio.create_task(crashed.wait())
            await asyncio.wait({run, dying}, return_when=asyncio.FIRST_COMPLETED)
            run.cancel()  # kill -9: nothing of it goes on, not even the other writes that are under way
            await asyncio.gather(run, dying, return_exceptions=True)
            proxy.clear_faults()
            await engine.restart()
            await engine.settle(second(space))
            assert await state(cluster, space) == wanted, f"write {write}, {moment}"
            made = [request for request in proxy.writes() if request.number > before]
            assert counts(made) == counts(reference), f"write {write}, {moment}"
    assert lint(proxy.log) == []


async def _empty(engine: Engine) -> None:
    await engine.settle([])
    assert engine.member is not None
    member = engine.member
    await eventually_async(lambda: member.store.children(engine.owner.key) == [])


@pytest.mark.parametrize(
    "action",
    [Answer(409), Answer(429, headers={"Retry-After": "0"}), Answer(500), Answer(503), Reset(), Reset(commit=True)],
    ids=str,
)
async def test_any_fault_at_every_write_only_delays(
    engine: Engine, proxy: Proxy, cluster: BareCluster, space: str, action: Any
) -> None:
    await engine.settle(first(space))
    fault = proxy.fault(action, when=lambda request: request.writes and request.number % 2 == 0, times=20)
    await engine.settle(second(space))
    assert fault.hits
    proxy.clear_faults()
    await engine.settle(second(space))
    found = await state(cluster, space)
    assert found["configmaps changes"]["data"] == {"K": "2"}
    assert "secrets goes" not in found and len(found) == len(SERVED) + 1
    assert lint(proxy.log) == []


async def test_a_hanging_write_costs_one_time_out_and_nothing_is_made_twice(
    engine: Engine, proxy: Proxy, cluster: BareCluster, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module.ClusterClient._json, "__kwdefaults__", _patience(0.5))
    proxy.fault(Hang(commit=True), when=lambda request: request.resource == "services" and request.writes)
    outcome = await engine.converge([child(SERVICES, space)])
    assert outcome.failed is not None
    made = await asyncio.to_thread(cluster.api.request, "GET", SERVICES.path(space, "x"))
    await engine.settle([child(SERVICES, space)])
    again = await asyncio.to_thread(cluster.api.request, "GET", SERVICES.path(space, "x"))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], "one write was enough"


def _patience(seconds: float) -> dict[str, Any]:
    return {**(client_module.ClusterClient._json.__kwdefaults__ or {}), "timeout": seconds}


@pytest.mark.parametrize("how", ["dropped", "ended", "expired"])
async def test_whatever_ends_the_watches_nothing_is_missed(
    engine: Engine, proxy: Proxy, cluster: BareCluster, space: str, how: str
) -> None:
    await engine.settle(first(space))
    assert engine.member is not None
    engine.woken.clear()
    ends = {"dropped": proxy.drop_watches, "ended": proxy.end_watches}
    ended = ends[how]() if how in ends else await proxy.expire_watches()
    assert ended == len(engine.member.watchers) - 2, "one for each type that is served"
    await asyncio.to_thread(cluster.api.request, "DELETE", SECRETS.path(space, "goes"))
    await asyncio.to_thread(
        cluster.api.request, "PATCH", CONFIG_MAPS.path(space, "changes"), {"data": {"KEY": "foreign"}}
    )
    member = engine.member
    await eventually_async(
        lambda: "goes" not in {record.name for record in member.store.children(engine.owner.key)}, deadline=30
    )
    await eventually_async(
        lambda: any(
            record.name == "changes" and record.fields != record.expected
            for record in member.store.children(engine.owner.key)
        ),
        deadline=30,
    )
    assert set(engine.woken) == {engine.owner.key}
    await engine.settle(first(space))
    assert (await state(cluster, space))["configmaps changes"]["data"]["KEY"] == "value"
    assert lint(proxy.log) == []


async def test_against_a_frozen_world_nothing_is_made_twice_and_nothing_foreign_is_deleted(
    engine: Engine, proxy: Proxy, cluster: BareCluster, space: str
) -> None:
    """A server that lags: lists and watches show the time before, writes and single reads are of now."""
    await engine.settle(first(space))
    await proxy.freeze()
    await engine.settle(second(space))
    wanted = await state(cluster, space)
    uids = await _uids(cluster, space)
    await engine.restart()  # it now believes that nothing of that has happened
    for _ in range(5):
        outcome = await engine.converge(second(space))
        assert not outcome.conflicts and not outcome.refused
    assert await state(cluster, space) == wanted
    assert await _uids(cluster, space) == uids, "made anew although it was there"
    await proxy.thaw()
    await engine.settle(second(space))
    assert await _uids(cluster, space) == uids
    before = len(proxy.log)
    await asyncio.sleep(0)
    await engine.settle(second(space))
    assert [request for request in proxy.writes() if request.number > before] == []
    assert lint(proxy.log) == []


async def test_a_deletion_that_is_never_seen_is_found_at_the_next_write(
    engine: Engine, proxy: Proxy, cluster: BareCluster, space: str
) -> None:
    """Unobserved state: the cache is sure of an object that is gone; an update must not raise it blindly."""
    await engine.settle(first(space))
    hold = proxy.hold(lambda _, event: event["type"] == "DELETED")
    await asyncio.to_thread(cluster.api.request, "DELETE", CONFIG_MAPS.path(space, "changes"))
    await eventually_async(lambda: len(hold.held) >= 1)
    outcome = await engine.converge([*first(space)[:1], *first(space)[2:], second(space)[0]])
    assert outcome.failed is not None and outcome.deleted == 0
    names = {item["metadata"]["name"] for item in await _list(cluster, space)}
    assert "changes" not in names
    await hold.release()
    await engine.settle([*first(space)[:1], *first(space)[2:], second(space)[0]])
    assert "changes" in {item["metadata"]["name"] for item in await _list(cluster, space)}


async def _list(cluster: BareCluster, space: str) -> list[dict[str, Any]]:
    listed = await asyncio.to_thread(cluster.api.request, "GET", CONFIG_MAPS.path(space))
    items: list[dict[str, Any]] = listed["items"]
    return items


async def _uids(cluster: BareCluster, space: str) -> set[str]:
    found: set[str] = set()
    for gvr in SERVED:
        listed = await asyncio.to_thread(cluster.api.request, "GET", gvr.path(space))
        found |= {
            item["metadata"]["uid"]
            for item in listed["items"]
            if "roadstead.dev/hub" in (item["metadata"].get("labels") or {})
        }
    return found
