"""How many services may be waiting for one region at once: a region that answers slowly fills its own places only.

The pattern is the bulkhead of Nygard, "Release It!": whoever shares a resource between parties that can be slow gives
each a part of it.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice

from roadstead.kernel.objects import Key


class Bulkhead:
    """Places by region, and who waits for one.

    Args:
        places: services that may be written in one region at the same time.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, dict[Key, None]] = {}

    def enter(self, region: str, key: Key, *, is_slow: bool) -> bool:
        """Take a place; without one, the key is among those that `leave` names, the first come first.

        Only a slow region is ever full: how much goes to a quick one at once is bounded by the workers.
        """
        waiting = self._waiting.get(region, {})
        if is_slow and self._taken[region] >= self._places:
            self._waiting.setdefault(region, {})[key] = None
            return False
        waiting.pop(key, None)
        self._taken[region] += 1
        return True

    def leave(self, region: str) -> list[Key]:
        """Give a place back; returns who may try now: as many as there are places."""
        self._taken[region] -= 1
        free = max(0, self._places - self._taken[region])
        if not self._taken[region]:
            del self._taken[region]
        waiting = self._waiting.get(region, {})
        called = list(islice(waiting, free))
        for key in called:
            del waiting[key]
        if not waiting:
            self._waiting.pop(region, None)
        return called
