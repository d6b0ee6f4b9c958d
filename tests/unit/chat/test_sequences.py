"""Sequences that took a service's regions away, back or anew: each test is one that did harm once.

Mutants that these tests were seen to kill: `_persist` without the regions that are left; `_leaving` that forgets the
stage; `is_full` that is never asked; a finalizer written without a version; `_trim` that looks at the rollout's state
only; `NotServed` taken for `NotFound`; pods that are asked once; words that are forgotten between two looks; a slow
region that is asked.
"""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.kernel.errors import Conflict, NotServed
from roadstead.kernel.gate import SLOW_AFTER, Gate
from roadstead.kernel.objects import CHAT_SERVICES, CONFIG_MAPS, CONTROLLER_REVISIONS, DEPLOYMENTS, Key
from unit.chat.world import KEY, Body, Operator, World, children, finalizers, is_deleted


async def test_a_type_that_is_not_served_deletes_nothing() -> None:
    """A 404 for a path says nothing about objects: the CRDs of another version, or a gateway."""
    world = World("hkg", "sgp")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp"))
    await operator.work()
    before = children(world, "hkg")
    world.hub.unserved[CHAT_SERVICES] = NotServed("hub answered 404: 404 page not found")
    member = operator.members["hkg"]
    (lost,) = [body for (gvr, _, _), body in world.members["hkg"].objects.items() if gvr == DEPLOYMENTS]
    lost["status"]["readyReplicas"] = 0
    lost["metadata"]["resourceVersion"] = world.hub.version()
    member.store.upsert(DEPLOYMENTS, lost, moved=True)
    for _ in range(2):
        with pytest.raises(NotServed):
            await operator.work(1)
    assert operator.resources.get(KEY) is not None
    assert children(world, "hkg") == children(world, "sgp") == before > 0


async def test_a_region_that_is_being_left_outlives_the_next_rollout() -> None:
    world = World("hkg", "sgp", "tky")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp", "tky"))
    await operator.work()
    # A new process: nothing of Tokyo, which is away, is in any cache.
    world.members["tky"].away = True
    operator = Operator(world, ["hkg", "sgp"])
    operator.away("tky")
    operator.take_in(world.service)
    await operator.work(3)
    operator.take_in(world.edit("hkg", "sgp"))
    await operator.work(3)
    operator.take_in(world.edit("hkg", "sgp", image="chat:2"))
    await operator.work(12, seconds=30)
    entry = world.region("tky")
    assert entry is not None and (entry["phase"], bool(entry["applied"])) == ("Removing", True)
    assert "bring it back" in entry["message"]
    operator.take_in(world.delete())
    await operator.work(2)
    assert finalizers(world) and children(world, "tky"), "it waits for the region where its children are"


async def test_a_region_that_left_while_away_and_came_back_waits_for_its_turn() -> None:
    world = World("hkg", "sgp")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp"))
    await operator.work()
    operator.away("sgp")
    await operator.work(2)
    for regions in (("hkg",), ("hkg", "sgp")):
        operator.take_in(world.edit(*regions))
        await operator.work(2)
    kept = world.members["sgp"].names(CONFIG_MAPS)
    operator.take_in(world.edit("hkg", "sgp", image="chat:2", config={"A": "2"}))
    await operator.work(1, ready=False)
    operator.back("sgp")
    await operator.work(2, ready=False)
    assert (world.image("hkg"), world.image("sgp")) == ("chat:2", "chat:1")
    assert world.members["sgp"].names(CONFIG_MAPS) == kept, "its pods read it"


async def test_waiting_for_a_place_is_no_failure_of_the_version() -> None:
    world = World("hkg", "sgp")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp"))
    await operator.work()
    gate = world.members["hkg"].gate = Gate("hkg", world.clock.monotonic)
    gate.enter()
    await world.clock.advance(SLOW_AFTER + 1)
    before = world.members["hkg"].writes
    with operator.places.place("hkg", Key(KEY.kind, KEY.namespace, "other"), gate) as entered:
        assert entered
        operator.take_in(world.edit("hkg", "sgp", image="chat:2", rollout={"progressDeadline": "2m"}))
        await operator.work(1, seconds=60)
        entry = world.region("hkg")
        assert entry is not None and "waits for its turn" in entry["message"]
        await operator.work(5, seconds=60)
        assert world.status["rollout"]["phase"] not in ("RollingBack", "RolledBack", "Failed")
        assert (world.image("sgp"), world.members["hkg"].writes) == ("chat:2", before)
    await operator.work(8, seconds=60)
    assert world.status["rollout"]["phase"] == "Complete" and world.image("hkg") == "chat:2"


async def test_an_edit_while_the_finalizer_is_added_is_looked_at() -> None:
    world = World("hkg")
    operator = Operator(world)
    operator.take_in(world.edit("nowhere"))
    edits: list[Body] = []

    def edited(gvr: object, _: object) -> None:
        if gvr == CHAT_SERVICES and not edits:
            edits.append(world.edit("hkg"))

    world.hub.before_apply = edited
    with pytest.raises(Conflict):
        await operator.work(1)
    assert operator.take_in(edits[0]) == KEY, "it is news"
    await operator.work(2)
    assert world.status["observedGeneration"] == world.service["metadata"]["generation"]
    assert children(world, "hkg")


async def test_a_region_that_is_refused_keeps_the_revision_that_it_runs() -> None:
    world = World("hkg", "sgp")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp"))
    await operator.work()
    entry = world.region("sgp")
    assert entry is not None
    running, kept = entry["revision"], world.members["sgp"].names(CONFIG_MAPS)
    site = operator.fleet.site("sgp")
    assert site is not None
    operator.fleet.drop("sgp")  # the Region is deleted, and made again
    for turn in range(2, 6):
        operator.take_in(world.edit("hkg", "sgp", config={"A": str(turn)}, rollout={"revisionHistoryLimit": 1}))
        await operator.work(12, seconds=30)
    assert any(name.endswith(running) for name in world.hub.names(CONTROLLER_REVISIONS))
    operator.fleet.put(site)
    await operator.work(1, ready=False)
    assert kept <= world.members["sgp"].names(CONFIG_MAPS), "its pods read it"


class Pods:
    """The pods of a region: how often they were asked, and what they say."""

    def __init__(self, world: World, region: str) -> None:
        self.asked = 0
        self.state: Body = {"running": {}}
        world.members[region].pages = self._pages  # type: ignore[method-assign]

    async def _pages(self, *_: object, **__: object) -> Any:
        self.asked += 1
        container = {"name": "chat", "ready": False, "state": self.state}
        yield [{"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}}], "1"


async def moved_and_not_ready() -> tuple[World, Operator, Pods]:
    """A service that runs, and whose pods of a new version do not get ready in its one region."""
    world = World("hkg")
    operator = Operator(world)
    operator.take_in(world.edit("hkg"))
    await operator.work()
    pods = Pods(world, "hkg")
    operator.take_in(world.edit("hkg", image="chat:2"))
    await operator.work(1, ready=False)
    for (gvr, _, _), body in world.members["hkg"].objects.items():
        if gvr == DEPLOYMENTS:
            body["status"] |= {"observedGeneration": body["metadata"]["generation"], "readyReplicas": 0}
            body["metadata"]["resourceVersion"] = world.hub.version()
            operator.members["hkg"].store.upsert(gvr, body, moved=True)
    await operator.work(2, seconds=10, ready=False)
    return world, operator, pods


def said(world: World) -> str:
    (message,) = [entry["message"] for entry in world.status["conditions"] if entry["type"] == "Ready"]
    return str(message)


async def test_pods_that_keep_a_region_waiting_are_asked_again_until_it_is_ready() -> None:
    world, operator, pods = await moved_and_not_ready()
    assert pods.asked == 1 and "readiness probe fails" in said(world)
    writes = world.hub.writes
    await operator.work(1, seconds=20, ready=False)
    result = await operator.work(1, seconds=20, ready=False)
    assert result.requeue_after == 20, "nothing else would wake it"
    assert (pods.asked, world.hub.writes) == (2, writes), "the same words are not written again"
    pods.state = {"waiting": {"reason": "CrashLoopBackOff"}}
    await operator.work(1, seconds=1, ready=False)
    assert "pod p: CrashLoopBackOff" in said(world)
    asked, writes = pods.asked, world.hub.writes
    await operator.work(5, seconds=1, ready=False)
    assert (pods.asked, world.hub.writes) == (asked, writes), "not at every look, and what was told is remembered"
    await operator.work(8, seconds=60)
    asked = pods.asked
    result = await operator.work(2, seconds=60)
    assert world.status["rollout"]["phase"] == "Complete" and pods.asked == asked
    assert result.requeue_after is None


async def test_a_slow_region_is_not_asked_and_what_it_said_stays() -> None:
    world, operator, pods = await moved_and_not_ready()
    gate = world.members["hkg"].gate = Gate("hkg", world.clock.monotonic)
    gate.enter()
    await world.clock.advance(SLOW_AFTER + 1)
    asked, writes = pods.asked, world.hub.writes
    pods.state = {"waiting": {"reason": "CrashLoopBackOff"}}
    result = await operator.work(3, seconds=25, ready=False)
    assert (pods.asked, world.hub.writes) == (asked, writes) and "readiness probe fails" in said(world)
    assert result.requeue_after is not None and result.requeue_after >= 1
    operator.take_in(world.edit("hkg", image="chat:3"))
    await operator.work(2, seconds=1, ready=False)
    assert "readiness probe fails" not in said(world), "that was another version's"


async def test_a_service_that_is_deleted_leaves_nothing() -> None:
    """What the sequences above rely on: in a world where nothing goes wrong, all goes."""
    world = World("hkg", "sgp")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp"))
    await operator.work()
    assert children(world, "hkg") == children(world, "sgp") > 0
    operator.take_in(world.delete())
    await operator.work(1)
    assert is_deleted(world) and children(world, "hkg") == children(world, "sgp") == 0
