"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Implements `roadstead.kernel.clock.Clock`; wall clock and monotonic clock can be moved apart."""

    def __init__(self, start: datetime = datetime(2026, 3, 1, tzinfo=UTC)) -> None:
        self._monotonic = 1000.0
        self._now = start
        self._heap: list[tuple[float, int, FakeTimer]] = []
        self._count = itertools.count()

    def monotonic(self) -> float:
        return self._monotonic

    def now(self) -> datetime:
        return self._now

    def step_wall(self, seconds: float) -> None:
        """Move only the wall clock, as a person or NTP would."""
        self._now += timedelta(seconds=seconds)

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._heap, (self._monotonic + max(0.0, delay), next(self._count), timer))
        return timer

    async def sleep(self, delay: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        self.call_later(delay, wake)
        await done

    async def advance(self, seconds: float) -> None:
        """Move time forward, running what falls due in order and letting tasks run in between."""
        end = self._monotonic + seconds
        await self.settle()
        while self._heap and self._heap[0][0] <= end:
            due, _, timer = heapq.heappop(self._heap)
            if due > self._monotonic:
                self._now += timedelta(seconds=due - self._monotonic)
                self._monotonic = due
            if timer.callback is not None:
                timer.callback()
            await self.settle()
        self._now += timedelta(seconds=end - self._monotonic)
        self._monotonic = end
        await self.settle()

    async def settle(self) -> None:
        """Let every task that can run, run."""
        for _ in range(20):
            await asyncio.sleep(0)
