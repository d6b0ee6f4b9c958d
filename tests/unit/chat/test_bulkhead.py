"""Who gets a place in a region, and who is called when one is free.

Mutants that these tests were seen to kill: places shared between regions; a key that waits twice; nobody called.
"""

from __future__ import annotations

from roadstead.chat.bulkhead import Bulkhead
from roadstead.kernel.objects import Key


def service(number: int) -> Key:
    return Key("ChatService", "team", f"s{number}")


def test_a_full_region_is_full_for_itself_only() -> None:
    places = Bulkhead(2)
    assert [places.enter("hkg", service(number), is_slow=True) for number in range(3)] == [True, True, False]
    assert places.enter("sgp", service(2), is_slow=True)


def test_who_waits_is_called_in_turn_and_once() -> None:
    places = Bulkhead(1)
    assert places.enter("hkg", service(0), is_slow=True)
    for number in (1, 2, 1):
        assert not places.enter("hkg", service(number), is_slow=True)
    assert places.leave("hkg") == [service(1)]
    assert places.enter("hkg", service(1), is_slow=True)
    assert places.leave("hkg") == [service(2)]
    assert places.enter("hkg", service(2), is_slow=True)
    assert places.leave("hkg") == []


def test_as_many_are_called_as_there_are_places() -> None:
    """Not every one that is called still has something to write, and then nobody would call the next."""
    places = Bulkhead(2)
    for number in range(6):
        places.enter("hkg", service(number), is_slow=True)
    assert places.leave("hkg") == [service(2)]
    assert places.leave("hkg") == [service(3), service(4)]
    assert places.enter("hkg", service(3), is_slow=True)
    assert places.leave("hkg") == [service(5)]


def test_one_that_got_in_by_itself_is_not_called() -> None:
    places = Bulkhead(1)
    assert places.enter("hkg", service(0), is_slow=True) and not places.enter("hkg", service(1), is_slow=True)
    assert places.leave("hkg") == [service(1)]
    assert places.enter("hkg", service(1), is_slow=True)
    assert places.leave("hkg") == []


def test_a_quick_region_is_never_full_and_counts_all_the_same() -> None:
    places = Bulkhead(1)
    assert all(places.enter("hkg", service(number), is_slow=False) for number in range(3))
    assert not places.enter("hkg", service(3), is_slow=True)
    assert places.leave("hkg") == [] and places.leave("hkg") == []
    assert places.leave("hkg") == [service(3)]
