"""What is recorded of a region after a pass, and what happens when there is no place in it.

Mutants that these tests were seen to kill: the region is read after its repairs were told; no place is never looked at
again; a fault of the hub told as the region's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from roadstead.api.chatservice_status import RegionStage, ServiceRegionStatus
from roadstead.chat import converge as module
from roadstead.chat import peaks
from roadstead.chat.bulkhead import PLACE_RETRY, Bulkhead
from roadstead.chat.converge import Converger
from roadstead.chat.history import RevisionHistory
from roadstead.chat.outcome import OutcomeKind
from roadstead.chat.placement import RegionFacts
from roadstead.chat.rollout_state import RegionState, State
from roadstead.chat.work import View, Work
from roadstead.kernel.apply import Outcome, applied_digest
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Throttled, Unreachable
from roadstead.kernel.gate import SLOW_AFTER, Gate
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import SERVICES, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.store import to_record
from unit.chat.services import TEMPLATES, revision, service
from unit.kernel.fake_clock import FakeClock
from unit.kernel.objects_as_seen import seen

KEY = Key("ChatService", "bank", "desk")
RECORD = to_record(SERVICES, seen(KEY))


class Hall:
    """One service, one region whose children are ``records``, and a pass over it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
        self.clock = FakeClock()
        self.records = [RECORD]
        self.told: list[str] = []
        self.while_told: Callable[[], None] = lambda: None
        self.gate = Gate("hkg", self.clock.monotonic)
        self.queue = WorkQueue(self.clock)
        self.places = Bulkhead(self.queue.add, places=1)
        self.converger = Converger(TEMPLATES, RevisionHistory(), self.places)
        hall = self

        class Applier:
            def __init__(self, *_: object) -> None: ...

            async def converge(self, *_: object, **__: object) -> Outcome:
                return outcome

        async def emit(*_: object, reason: str, **__: object) -> None:
            hall.told.append(reason)
            hall.while_told()

        async def build(*_: object) -> tuple[()]:
            return ()

        monkeypatch.setattr(module, "Applier", Applier)
        monkeypatch.setattr(self.converger, "_build", build)
        monkeypatch.setattr(self.converger, "_possible", build)
        store = SimpleNamespace(children=lambda key, region: list(hall.records))
        member: Any = SimpleNamespace(name="hkg", client=SimpleNamespace(gate=self.gate), store=store)
        site: Any = SimpleNamespace(name="hkg", member=member, in_hub=False)
        of = service()
        entry = ServiceRegionStatus(name="hkg", applied="before", input="before")
        parts: Any = None
        self.work = Work(
            service=of,
            body={},
            owner=Owner("hub-1", KEY, "5f2c"),
            ctx=Context(
                hub=SimpleNamespace(store=SimpleNamespace(children=lambda key: [])),  # type: ignore[arg-type]
                hub_id="hub-1",
                namespace="n",
                fleet=parts,
                resources=parts,
                queue=self.queue,
                clock=self.clock,
                events=SimpleNamespace(emit=emit),  # type: ignore[arg-type]
                metrics=Metrics(CollectorRegistry()),
            ),
            placements=(),
            views={"hkg": View(site, RegionFacts("hkg", "HK"), entry, (RECORD,), frozenset())},
            target=revision(of),
            floor=peaks.floor((), datetime(2026, 1, 1, tzinfo=UTC)),
            templates="",
            certificates={},
            ring=None,
        )

    async def converge(self) -> None:
        state = RegionState(self.work.target.hash, RegionStage.SETTLED, self.clock.now(), self.work.target.hash)
        await self.converger.converge(self.work, State(regions={"hkg": state}))


async def test_what_somebody_does_while_a_repair_is_told_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would count as what we applied for ever: its own event finds the digests equal."""
    hall = Hall(monkeypatch, Outcome(drifted=(("Service desk-hkg", ("intruder",)),), updated=1))
    edited = replace(RECORD, fields=b"theirs!!")
    hall.while_told = lambda: hall.records.__setitem__(0, edited)
    await hall.converge()
    outcome = hall.work.outcomes["hkg"]
    assert hall.told == ["DriftRepaired"] and outcome.kind is OutcomeKind.APPLIED
    assert outcome.applied == applied_digest([RECORD]) != applied_digest([edited])


async def test_without_a_place_nothing_is_done_until_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall(monkeypatch, Outcome())
    hall.gate.enter()
    await hall.clock.advance(SLOW_AFTER + 0.1)
    with hall.places.place("hkg", Key("ChatService", "bank", "other"), hall.gate) as entered:
        assert entered
        await hall.converge()
        outcome = hall.work.outcomes["hkg"]
        assert (outcome.kind, outcome.applied, outcome.input) == (OutcomeKind.BUSY, "before", "before")
        assert hall.work.look_again == [PLACE_RETRY] and hall.queue.idle()
    assert hall.queue.depth() == {"ChatService": 1}, "called"
    await hall.converge()
    assert hall.work.outcomes["hkg"].kind is OutcomeKind.APPLIED


@pytest.mark.parametrize("error", [Unreachable("it does not answer"), Throttled("busy", retry_after=60.0)])
@pytest.mark.parametrize("read", ["_build", "_possible"])
async def test_a_fault_of_the_hub_is_not_the_regions(
    monkeypatch: pytest.MonkeyPatch, error: Exception, read: str
) -> None:
    hall = Hall(monkeypatch, Outcome())

    async def fail(*_: object) -> tuple[()]:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(hall.converger, read, fail)
        await hall.converge()
    outcome = hall.work.outcomes["hkg"]
    assert (outcome.kind, outcome.message) == (OutcomeKind.WAITING, f"the hub: {error}")
    assert hall.work.unfinished
    hall.work.outcomes.clear()
    await hall.converge()
    assert hall.work.outcomes["hkg"].kind is OutcomeKind.APPLIED, "the region itself asked for no time"
