"""What a member says of its own lists."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.kernel.fleet import Member
from unit.kernel.fake_clock import FakeClock


@pytest.mark.parametrize(
    ("last_heard", "expected"),
    [
        pytest.param(0.0, 0.0, id="a page came just now"),
        pytest.param(30.0, 30.0, id="nothing comes"),
    ],
)
async def test_a_long_list_that_gets_further_does_not_stand_still(last_heard: float, expected: float) -> None:
    """Lists wait for each other, and 160,000 children take a minute: counted from the connection's start, every service
    was told to be in an unreachable region at a restart. (Mutants: the quietest of them; the listed ones too.)"""
    clock = FakeClock()
    client: Any = None
    member = Member("hkg", client, "hub-1", clock, lambda key: None)
    done, listing, *waiting = member.watchers
    done.synced.set()
    done._last_seen = clock.monotonic() - 1.0 if last_heard > 1.0 else clock.monotonic()
    listing._last_seen = clock.monotonic() - last_heard
    for watcher in waiting:
        watcher._last_seen = clock.monotonic() - 60.0
    assert member.listing_stands_still() == expected
    for watcher in (listing, *waiting):
        watcher.synced.set()
    assert member.listing_stands_still() == 0.0
