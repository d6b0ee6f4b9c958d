"""A circuit breaker for one cluster: a member that does not answer must cost others nothing.

Two signals close the way at once, without touching the network: several transport failures in a row, and a *stall*
(requests are under way and none has come back for a while), so that workers do not queue up behind a hanging server
for the length of a time-out each.
"""

from __future__ import annotations

from collections.abc import Callable

from roadstead.kernel.errors import Unreachable

FAILURES_TO_OPEN = 3
STALL_AFTER = 2.0
"""Seconds without any answer, while requests wait, after which new requests are refused."""
SLOW_AFTER = 0.5
"""Seconds above which an answer, by the moving average or under way, is slow: far above what a loaded server needs."""
SHARE = 0.2
"""How much one answer counts in the moving average."""
BASE_OPEN = 1.0
MAX_OPEN = 30.0


class Gate:
    """Counts answers and silences of one cluster.

    Args:
        name: the cluster's name, for messages.
        monotonic: the clock, in seconds.
    """

    def __init__(self, name: str, monotonic: Callable[[], float]) -> None:
        self._name = name
        self._monotonic = monotonic
        self._failures = 0
        self._open_until = 0.0
        self._under_way: dict[int, float] = {}
        self._last_answer = float("-inf")
        self._average = 0.0
        self._tokens = 0
        self._trial: int | None = None
        self._why = ""

    @property
    def is_open(self) -> bool:
        """Whether requests are refused because of failures in a row."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def is_slow(self) -> bool:
        """Whether answers take long at present; nothing is refused for that."""
        return bool(self._under_way) and max(self._average, self._silence(self._monotonic())) > SLOW_AFTER

    def check(self) -> None:
        """Refuse at once what `enter` would refuse; for those who still have to wait for their turn.

        Raises:
            Unreachable: as in `enter`.
        """
        now = self._monotonic()
        if self.is_open:
            if now < self._open_until or self._trial is not None:
                wait = max(0.1, self._open_until - now)
                raise Unreachable(f"{self._name} does not answer: {self._why}", retry_after=wait)
        elif self._silence(now) > STALL_AFTER:  # for how long is no part of it: it ends up in a status
            raise Unreachable(f"{self._name} does not answer at the moment", retry_after=STALL_AFTER)

    def enter(self) -> int:
        """Ask to send a request; the token goes to `answered`, `failed` or `left`.

        Raises:
            Unreachable: the cluster does not answer at present; ``retry_after`` says when to ask again.
        """
        self.check()
        self._tokens += 1
        self._under_way[self._tokens] = self._monotonic()
        if self.is_open:
            self._trial = self._tokens
        return self._tokens

    def answered(self, token: int) -> None:
        """The cluster answered, whatever it said."""
        now = self._monotonic()
        took = now - self._under_way.get(token, now)
        self._average += SHARE * (took - self._average)
        self.left(token)
        self._failures = 0
        self._last_answer = now

    def failed(self, token: int, why: str) -> None:
        """The request got no answer."""
        was_trial = self._trial == token
        self.left(token)
        if self.is_open and not was_trial:
            return  # it was sent before the way was closed: one outage seen by sixteen workers is one outage
        self._failures += 1
        self._why = why
        if self.is_open:
            beyond = self._failures - FAILURES_TO_OPEN
            self._open_until = self._monotonic() + min(MAX_OPEN, BASE_OPEN * 2.0 ** min(beyond, 10))

    def left(self, token: int) -> None:
        """The request was called off by us; says nothing about the cluster."""
        self._under_way.pop(token, None)
        if self._trial == token:
            self._trial = None

    def reset(self) -> None:
        """A probe got through: let requests pass again."""
        self._failures = 0
        self._open_until = 0.0
        self._last_answer = self._monotonic()

    def _silence(self, now: float) -> float:
        if not self._under_way:
            return 0.0
        return now - max(self._last_answer, next(iter(self._under_way.values())))
