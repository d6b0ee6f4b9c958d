"""When clients may see what was committed. Mutant: `Copies._enough` that always says yes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from roadstead_chat.copies import Copies, Copy
from roadstead_chat.messages import Message
from roadstead_chat.writer import Committed

SECONDS = 0.1


def message(pos: int, origin: str = "own") -> Message:
    return Message(pos, origin, pos, "room", "ann", str(pos), 0, b"", None)


class Bench:
    """Copies, with a record of what it let through."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.record: list[str] = []
        self.gave_up = 0
        self.copies = Copies("own", seconds, self._release, self._give_up)

    def _release(self, committed: Committed) -> None:
        self.record += [f"see {m.pos}" for m in committed.messages]

    def _give_up(self) -> None:
        self.gave_up += 1

    def commit(self, *messages: Message) -> None:
        answers: list[Callable[[], None]] = [partial(self.record.append, f"answer {m.pos}") for m in messages]
        self.copies.committed(Committed(list(messages), {}, {}, 0.0, 1), answers)

    def peer(self, stored: int = 0, behind_until: int = 0) -> Copy:
        copy = Copy(stored, behind_until)
        self.copies.copies.add(copy)
        return copy

    def confirm(self, copy: Copy, pos: int) -> None:
        copy.stored = pos
        self.copies.check()


async def test_a_lone_replica_waits_for_nobody() -> None:
    bench = Bench()
    bench.commit(message(1))
    assert bench.record == ["see 1", "answer 1"]


async def test_a_message_is_seen_and_answered_when_another_replica_has_it() -> None:
    bench = Bench()
    peer = bench.peer()
    bench.commit(message(1))
    bench.commit(message(2))
    assert bench.record == []
    bench.confirm(peer, 1)
    assert bench.record == ["see 1", "answer 1"]
    bench.confirm(peer, 2)
    assert bench.record[2:] == ["see 2", "answer 2"]


async def test_one_of_several_is_enough() -> None:
    bench = Bench()
    bench.peer()
    quick = bench.peer()
    bench.commit(message(1))
    bench.confirm(quick, 1)
    assert bench.record == ["see 1", "answer 1"]


async def test_a_message_of_another_replica_is_a_copy_but_keeps_its_place() -> None:
    bench = Bench()
    peer = bench.peer()
    bench.commit(message(1, "other"))
    assert bench.record == ["see 1", "answer 1"]
    bench.commit(message(2))
    bench.commit(message(3, "other"))
    assert bench.record[2:] == []
    bench.confirm(peer, 2)
    assert bench.record[2:] == ["see 2", "answer 2", "see 3", "answer 3"]


async def test_the_last_replica_that_goes_is_not_waited_for() -> None:
    bench = Bench()
    peer = bench.peer()
    bench.commit(message(1))
    bench.copies.copies.discard(peer)
    bench.copies.check()
    assert bench.record == ["see 1", "answer 1"]


async def test_a_replica_that_hangs_is_waited_for_once_until_it_has_caught_up() -> None:
    bench = Bench()
    peer = bench.peer()
    bench.commit(message(1))
    await asyncio.sleep(SECONDS / 2)
    bench.commit(message(2))
    assert bench.record == []
    await asyncio.sleep(SECONDS)
    assert bench.record == ["see 1", "answer 1", "see 2", "answer 2"]
    assert bench.gave_up == 1
    bench.commit(message(3))
    assert bench.record[4:] == ["see 3", "answer 3"]
    bench.confirm(peer, 1)
    bench.commit(message(4))
    assert bench.record[6:] == ["see 4", "answer 4"], "it still lacks what it missed"
    bench.confirm(peer, 2)
    bench.commit(message(5))
    assert bench.record[8:] == []
    bench.confirm(peer, 5)
    assert bench.record[8:] == ["see 5", "answer 5"]


async def test_a_new_replica_counts_once_it_has_read_the_history() -> None:
    bench = Bench()
    peer = bench.peer(behind_until=10)
    bench.commit(message(11))
    assert bench.record == ["see 11", "answer 11"]
    bench.confirm(peer, 10)
    bench.commit(message(12))
    assert bench.record[2:] == []


@pytest.mark.parametrize("pause", [0.0, 0.3])
async def test_no_seconds_mean_no_waiting(pause: float) -> None:
    bench = Bench(seconds=0)
    bench.peer()
    bench.commit(message(1))
    await asyncio.sleep(pause)
    assert bench.record == ["see 1", "answer 1"]
    assert bench.gave_up == 0
