"""Who gets a place in a region, and who is called when one is free.

Mutants that these tests were seen to kill: places shared between regions; a key that waits twice; nobody called; a
place that an error does not give back; a quick region that is full.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack

import pytest

from roadstead.chat.bulkhead import Bulkhead
from roadstead.kernel.gate import SLOW_AFTER, Gate
from roadstead.kernel.objects import Key


def service(number: int) -> Key:
    return Key("ChatService", "team", f"s{number}")


class Slow(Gate):
    """A gate with a request under way that has waited for too long."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__("hkg", lambda: self.now)
        self.enter()
        self.now = SLOW_AFTER + 0.1


class Places:
    """A bulkhead, and the blocks that are in it."""

    def __init__(self, places: int) -> None:
        self.called: list[Key] = []
        self._bulkhead = Bulkhead(self.called.append, places)
        self._inside: list[AbstractContextManager[bool]] = []

    def enter(self, number: int, region: str = "hkg", gate: Gate | None = None) -> bool:
        block = self._bulkhead.place(region, service(number), gate or Slow())
        entered = block.__enter__()
        if entered:
            self._inside.append(block)
        else:
            block.__exit__(None, None, None)
        return entered

    def leave(self) -> list[Key]:
        """The first leaves; returns who is called."""
        self._inside.pop(0).__exit__(None, None, None)
        called = list(self.called)
        self.called.clear()
        return called


def test_a_full_region_is_full_for_itself_only() -> None:
    places = Places(2)
    assert [places.enter(number) for number in range(3)] == [True, True, False]
    assert places.enter(2, "sgp")


def test_who_waits_is_called_in_turn_and_once() -> None:
    places = Places(1)
    assert places.enter(0)
    for number in (1, 2, 1):
        assert not places.enter(number)
    assert places.leave() == [service(1)]
    assert places.enter(1)
    assert places.leave() == [service(2)]
    assert places.enter(2)
    assert places.leave() == []


def test_as_many_are_called_as_there_are_places() -> None:
    """Not every one that is called still has something to write, and then nobody would call the next."""
    places = Places(2)
    for number in range(6):
        places.enter(number)
    assert places.leave() == [service(2)]
    assert places.leave() == [service(3), service(4)]
    assert places.enter(3)
    assert places.leave() == [service(5)]


def test_one_that_got_in_by_itself_is_not_called() -> None:
    places = Places(1)
    assert places.enter(0) and not places.enter(1)
    assert places.leave() == [service(1)]
    assert places.enter(1)
    assert places.leave() == []


def test_a_quick_region_is_never_full_and_counts_all_the_same() -> None:
    places = Places(1)
    quick = Gate("hkg", lambda: 0.0)
    assert all(places.enter(number, gate=quick) for number in range(3))
    assert not places.enter(3)
    assert places.leave() == [] and places.leave() == []
    assert places.leave() == [service(3)]


def test_an_error_gives_the_place_back() -> None:
    bulkhead = Bulkhead(lambda key: None, places=1)
    with pytest.raises(KeyError), bulkhead.place("hkg", service(0), Slow()):
        raise KeyError
    with ExitStack() as stack:
        assert stack.enter_context(bulkhead.place("hkg", service(1), Slow()))
