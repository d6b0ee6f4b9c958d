"""How many services may be under way in one region at once: a region that answers slowly fills its own places only.

The pattern is the bulkhead of Nygard, "Release It!": whoever shares a resource between parties that can be slow gives
each a part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from roadstead.kernel.client import CONCURRENT_REQUESTS
from roadstead.kernel.controller import waiting_for
from roadstead.kernel.gate import Gate
from roadstead.kernel.objects import Key

PLACES: Final = CONCURRENT_REQUESTS
"""Services that may be under way in one slow region: as many as there are requests at the same time to one cluster.
With more, the last of them would wait for its turn until its run is called off."""
PLACE_RETRY: Final = 60.0
"""Seconds after which a service without a place looks again, if nobody called it."""
BUSY: Final = "it answers slowly, and this service waits for its turn"


class Bulkhead:
    """Places by region, and who waits for one.

    Args:
        call: gets a key that waited, as soon as there is a place; whoever is quicker may take it.
        places: services that may be under way in one region, as long as it is slow.
    """

    def __init__(self, call: Callable[[Key], None], places: int = PLACES) -> None:
        self._call = call
        self._places = places
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, dict[Key, None]] = {}

    def is_full(self, region: str, gate: Gate | None) -> bool:
        """Whether one more service would have to wait.

        Only a slow region is ever full: how much goes to a quick one at once is bounded by the workers.
        """
        return gate is not None and gate.is_slow and self._taken[region] >= self._places

    @contextmanager
    def place(self, region: str, key: Key, gate: Gate | None) -> Iterator[bool]:
        """A place for the length of the block, in which the run waits for this region; False when it is full."""

        def is_slow() -> bool:
            return gate is not None and gate.is_slow

        waiting = self._waiting.get(region, {})
        if self.is_full(region, gate):
            self._waiting.setdefault(region, {})[key] = None
            yield False
            return
        waiting.pop(key, None)
        self._taken[region] += 1
        try:
            with waiting_for(is_slow):
                yield True
        finally:
            self._leave(region)

    def _leave(self, region: str) -> None:
        self._taken[region] -= 1
        free = max(0, self._places - self._taken[region])
        if not self._taken[region]:
            del self._taken[region]
        waiting = self._waiting.get(region, {})
        # As many as there are places: not every one that is called still has something to do here.
        called = list(islice(waiting, free))
        for key in called:
            del waiting[key]
        if not waiting:
            self._waiting.pop(region, None)
        for key in called:
            self._call(key)
