"""Holding back what only one replica has, until a second store has it as well.

Only then do clients see a message, and its sender the acknowledgement. So a replica that dies, with or without its
volume, takes nothing with it that anybody has seen or relies on, and nobody has to wait for its return. It costs one
more commit, on another machine, in the way of a message.

Availability comes first: without another living replica, or with one that does not keep up, the own store suffices. A
replica that has not confirmed in time counts again when it has caught up with what it missed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from roadstead_chat.writer import Committed


@dataclass(slots=True, eq=False)
class Copy:
    """Another replica that reads our log.

    Attributes:
        stored: everything up to this place of our log is durable there.
        behind_until: it counts from this place on.
    """

    stored: int
    behind_until: int

    @property
    def keeps_up(self) -> bool:
        """Whether it is worth waiting for."""
        return self.stored >= self.behind_until


@dataclass(frozen=True, slots=True)
class _Held:
    committed: Committed
    answers: list[Callable[[], None]]
    needs: int
    since: float


class Copies:
    """Releases transactions in their order.

    Args:
        own: identity of our store: only messages that it accepted need a copy; those of others are copies.
        seconds: how long to wait for a copy; 0 waits for none.
        release: gets each transaction when clients may see it, before the answers in it are called.
        gave_up: called for each replica that did not keep up.
    """

    def __init__(
        self, own: str, seconds: float, release: Callable[[Committed], None], gave_up: Callable[[], None]
    ) -> None:
        self.copies: set[Copy] = set()
        self._own = own
        self._seconds = seconds
        self._release = release
        self._gave_up = gave_up
        self._held: deque[_Held] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def committed(self, committed: Committed, answers: list[Callable[[], None]]) -> None:
        """Take a transaction, and the answers to the senders in it."""
        own = [message.pos for message in committed.messages if message.origin == self._own]
        loop = asyncio.get_running_loop()
        self._held.append(_Held(committed, answers, own[-1] if own else 0, loop.time()))
        self.check()
        if self._held and self._alarm is None:
            self._alarm = loop.call_later(self._seconds, self._out_of_time)

    def check(self) -> None:
        """Release what may be seen by now; to be called when a replica confirmed, came or went."""
        while self._held and self._enough(self._held[0].needs):
            held = self._held.popleft()
            self._release(held.committed)
            for answer in held.answers:
                answer()

    def _enough(self, pos: int) -> bool:
        if not pos or not self._seconds or any(copy.stored >= pos for copy in self.copies):
            return True
        return not any(copy.keeps_up for copy in self.copies)

    def _out_of_time(self) -> None:
        self._alarm = None
        if not self._held:
            return
        loop = asyncio.get_running_loop()
        waited = loop.time() - self._held[0].since
        if waited < self._seconds:
            self._alarm = loop.call_later(self._seconds - waited, self._out_of_time)
            return
        for copy in self.copies:
            if copy.keeps_up:
                copy.behind_until = max(held.needs for held in self._held)
                self._gave_up()
        self.check()
        if self._held:
            self._alarm = loop.call_later(self._seconds, self._out_of_time)
