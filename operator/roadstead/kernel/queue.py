"""The work queue: every trigger adds a key; each key is worked on by one worker at a time.

The semantics are those of client-go's workqueue (dirty and processing sets, delayed and rate-limited adds), with
fairness between kinds on top: kinds take turns, so ten thousand services cannot starve one region.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable

from roadstead.kernel.clock import Clock, Timer
from roadstead.kernel.objects import Key

BASE_DELAY = 0.2
"""Seconds before the first retry of a key."""
MAX_DELAY = 300.0
"""Seconds above which the back-off of a key does not grow."""


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after the n-th failure in a row (n counts from 1).

    Exponential from `BASE_DELAY` to `MAX_DELAY`; ``jitter`` in [0, 1) takes off up to half, so that keys which failed
    together do not come back together.
    """
    full = min(MAX_DELAY, BASE_DELAY * 2.0 ** min(failures - 1, 40))
    return full * (1.0 - 0.5 * jitter)


class QueueMetrics:
    """What the queue reports; the default drops it. `roadstead.kernel.metrics` has the real one."""

    def added(self, kind: str) -> None:
        """A key became dirty."""

    def started(self, kind: str, waited: float) -> None:
        """A worker took a key that had waited for this many seconds."""

    def retried(self, kind: str) -> None:
        """A key was put back with a delay after a failure."""


class WorkQueue:
    """A deduplicating queue of keys. Not thread-safe: it lives in one event loop.

    Args:
        clock: source of monotonic time and timers.
        jitter: returns a number in [0, 1); random by default.
        metrics: gets adds, starts and retries.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        metrics: QueueMetrics | None = None,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._metrics = metrics or QueueMetrics()
        self._ready: dict[str, deque[Key]] = {}
        self._turns: deque[str] = deque()
        self._queued: dict[Key, float] = {}
        self._processing: set[Key] = set()
        self._dirty: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._waiting: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._timer: Timer | None = None
        self._timer_due = float("inf")
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def add(self, key: Key) -> None:
        """Ask for a run of ``key`` as soon as a worker is free.

        A key that is queued already stays where it is; one that is being worked on runs once more afterwards.
        """
        if self._closed or key in self._queued or key in self._dirty:
            return
        self._metrics.added(key.kind)
        now = self._clock.monotonic()
        if key in self._processing:
            self._dirty[key] = now
            return
        self._enqueue(key, now)

    def add_after(self, key: Key, delay: float) -> None:
        """Ask for a run of ``key`` in ``delay`` seconds; the earliest such wish of a key wins."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + delay
        if self._waiting.get(key, float("inf")) <= due:
            return
        self._waiting[key] = due
        heapq.heappush(self._heap, (due, key))
        self._arm()

    def retry(self, key: Key, *, retry_after: float | None = None) -> float:
        """Ask for another run after a failure, later each time; returns the delay in seconds.

        Args:
            key: the key that failed.
            retry_after: seconds that a server asked for; the delay is never shorter.
        """
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        delay = max(backoff(failures, self._jitter()), retry_after or 0.0)
        self._metrics.retried(key.kind)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """The key succeeded: its next failure starts from the base delay."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    async def get(self) -> Key:
        """Wait for a key and take it; the caller must call `done` for it.

        Raises:
            asyncio.CancelledError: the queue was closed.
        """
        while True:
            if self._closed:
                raise asyncio.CancelledError("the queue is closed")
            key = self._pop()
            if key is not None:
                return key
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # our turn was given to us and we cannot take it: pass it on
                raise

    def done(self, key: Key) -> None:
        """The worker has finished with the key; if it was added meanwhile, it is queued again."""
        self._processing.discard(key)
        since = self._dirty.pop(key, None)
        if since is not None and not self._closed:
            self._enqueue(key, since)

    def close(self) -> None:
        """Take no more work; everybody who waits in `get` is cancelled."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.cancel()

    def depth(self) -> dict[str, int]:
        """Queued keys by kind; what `workqueue_depth` shows."""
        return {kind: len(keys) for kind, keys in self._ready.items()}

    def oldest_age(self) -> float:
        """Seconds for which the oldest queued key has waited; 0 when none waits."""
        oldest = min((self._queued[keys[0]] for keys in self._ready.values() if keys), default=None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    def idle(self) -> bool:
        """Whether nothing is queued or being worked on (delayed keys do not count)."""
        return not self._queued and not self._processing and not self._dirty

    def _enqueue(self, key: Key, since: float) -> None:
        self._queued[key] = since
        keys = self._ready.get(key.kind)
        if keys is None:
            keys = self._ready[key.kind] = deque()
            self._turns.append(key.kind)
        keys.append(key)
        self._wake()

    def _pop(self) -> Key | None:
        for _ in range(len(self._turns)):
            kind = self._turns[0]
            self._turns.rotate(-1)
            keys = self._ready[kind]
            if keys:
                key = keys.popleft()
                self._metrics.started(kind, self._clock.monotonic() - self._queued.pop(key))
                self._processing.add(key)
                return key
        return None

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _arm(self) -> None:
        while self._heap and not self._is_current(*self._heap[0]):
            heapq.heappop(self._heap)
        due = self._heap[0][0] if self._heap else float("inf")
        if due >= self._timer_due and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = due
        if self._heap:
            self._timer = self._clock.call_later(max(0.0, due - self._clock.monotonic()), self._release_due)

    def _is_current(self, due: float, key: Key) -> bool:
        return self._waiting.get(key) == due

    def _release_due(self) -> None:
        self._timer = None
        self._timer_due = float("inf")
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._is_current(due, key):
                del self._waiting[key]
                self.add(key)
        self._arm()
