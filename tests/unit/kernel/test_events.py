"""Which events are posted, and which are held back.

Mutants that these tests were seen to kill: an event dropped because the same was told before; no bucket; one bucket for
all reasons of an object; a bucket that never fills again; what was held back is not counted.
"""

from __future__ import annotations

from typing import Any

from roadstead.kernel.events import BURST, NOTE_LIMIT, REFILL, EventRecorder
from unit.kernel.fake_clock import FakeClock


class Desk:
    """A recorder, and what it posted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.posted: list[dict[str, Any]] = []
        client: Any = self
        self.recorder = EventRecorder(client, self.clock, "host")

    async def create(self, _gvr: object, _namespace: str, body: dict[str, Any], *, manager: str) -> dict[str, Any]:
        del manager
        self.posted.append(body)
        return body

    async def tell(self, reason: str, note: str = "so it is", name: str = "desk") -> bool:
        metadata = {"name": name, "namespace": "bank", "uid": name}
        about = {"apiVersion": "roadstead.dev/v1alpha1", "metadata": metadata}
        return await self.recorder.emit(about, "ChatService", reason=reason, note=note, action="Reconcile")

    @property
    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.posted]


async def test_a_service_that_turns_to_and_fro_is_told_each_time() -> None:
    desk = Desk()
    for reason in ("Refused", "Ready", "Refused", "Ready"):
        assert await desk.tell(reason)
        await desk.clock.advance(1)
    assert desk.reasons == ["Refused", "Ready", "Refused", "Ready"]


async def test_every_repair_leaves_its_trace() -> None:
    desk = Desk()
    for _ in range(3):
        await desk.tell("DriftRepaired", "region hkg: Service bank/desk-hkg had been changed")
    assert len(desk.posted) == 3


async def test_what_flaps_is_bounded_and_tells_how_much_was_held_back() -> None:
    desk = Desk()
    sent = [await desk.tell("Refused") for _ in range(40)]
    assert sent == [True] * BURST + [False] * (40 - BURST)
    await desk.clock.advance(REFILL - 1)
    assert not await desk.tell("Refused")
    await desk.clock.advance(1)
    assert await desk.tell("Refused") and not await desk.tell("Refused")
    assert desk.posted[0]["note"] == "so it is"
    assert desk.posted[-1]["note"] == "so it is (16 more like this were not posted)"
    await desk.clock.advance(REFILL * BURST * 4)
    again = [await desk.tell("Refused") for _ in range(BURST + 1)]
    assert again == [True] * BURST + [False], "never fuller than full"
    assert desk.posted[-1]["note"] == "so it is", "told once"


async def test_how_much_was_held_back_is_told_also_after_a_long_note() -> None:
    desk = Desk()
    for _ in range(BURST + 1):
        await desk.tell("Refused")
    await desk.clock.advance(REFILL)
    await desk.tell("Refused", "汉" * 1000)
    note = desk.posted[-1]["note"]
    assert note.endswith("… (1 more like this were not posted)") and len(note.encode()) <= NOTE_LIMIT


async def test_what_flaps_takes_no_room_from_other_reasons_and_other_objects() -> None:
    desk = Desk()
    for _ in range(BURST + 1):
        await desk.tell("DriftRepaired")
    assert await desk.tell("RolledBack")
    assert await desk.tell("DriftRepaired", name="floor")
