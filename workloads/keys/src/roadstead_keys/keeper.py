"""Keeping a ring fresh while a process runs: reload what is mounted, prove what is held, hand the proof in.

A process that serves needs nothing of this to go on: whatever fails here is tried again, and what is held stays in use.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from roadstead_keys import proof
from roadstead_keys.errors import KeysError, MountError
from roadstead_keys.proof import Answer
from roadstead_keys.ring import Ring

REFRESH_SECONDS = 60.0
EAGER_SECONDS = 2.0
"""Between two looks while there is something to wait for: a primary, or a proof that has not been handed in."""
_logger = logging.getLogger(__name__)


class Keeper:
    """Keeps one ring.

    Args:
        ring: what the application encrypts and decrypts with.
        pod: uid of the pod.
        hand_in: brings a receipt to where the operator looks, such as `Poster.hand_in`; it may raise a `KeysError`.
            None: nobody is told.
        count: counts everything that the process stores, by version, after letting be stored what was encrypted before
            it was called; None when it cannot tell now. None instead of a function: the process never tells.
        refresh: seconds between two looks at the mount.
    """

    def __init__(
        self,
        ring: Ring,
        pod: str,
        hand_in: Callable[[str], Awaitable[None]] | None = None,
        count: Callable[[], Awaitable[Mapping[int, int] | None]] | None = None,
        refresh: float = REFRESH_SECONDS,
    ) -> None:
        self.ring = ring
        self.problem = ""
        """What went wrong the last time; empty when nothing did."""
        self.generation = 0
        """The newest generation that a proof was handed in for; 0: none yet."""
        self.proved = False
        """Whether this process has shown that it holds a keyset and writes with it. It never turns false again: who
        serves goes on when nobody can be told of a new keyset."""
        self._pod = pod
        self._instance = secrets.token_hex(8)
        self._hand_in = hand_in
        self._count = count
        self._refresh = refresh
        self._said: tuple[object, str] | None = None
        self._handed_in_at = 0.0
        self._nudged = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the present proof was last handed in; infinite when none was."""
        return time.monotonic() - self._handed_in_at if self.generation else float("inf")

    def nudge(self) -> None:
        """Look at once: something was asked for that is not held, or there is news for the inventory."""
        self._nudged.set()

    async def run(self) -> None:
        """Keep the ring until cancelled."""
        while True:
            try:
                await self.turn()
                self.problem = ""
            except KeysError as error:
                if self.problem != str(error):
                    _logger.warning("the keys cannot be kept up to date", extra={"error": str(error)})
                self.problem = str(error)
            pause = self._refresh if self._settled else min(EAGER_SECONDS, self._refresh)
            try:
                async with asyncio.timeout(pause):
                    await self._nudged.wait()
            except TimeoutError:
                continue
            self._nudged.clear()
            await asyncio.sleep(min(1.0, pause))  # who asks again and again is not heard more often than this

    async def turn(self) -> None:
        """Look once.

        Raises:
            KeysError: something could not be done; the rest was.
        """
        trouble: MountError | None = None
        try:
            # In a thread: a keyset of seven years takes some 50 ms to load.
            if await asyncio.to_thread(self.ring.reload):
                held = self.ring.held
                _logger.info(
                    "keyset loaded", extra={"generation": held.bundle.generation, "primary": self.ring.primary}
                )
        except MountError as error:
            trouble = error  # what is held can still be proved
        await self._prove()
        if trouble is not None:
            raise trouble
        if self.ring.rewrap_problem:
            raise MountError(self.ring.rewrap_problem)

    @property
    def _settled(self) -> bool:
        return self.proved and not self.problem

    async def _prove(self) -> None:
        held = self.ring.held
        counted = await self._count() if self._count is not None else None
        inventory = held.inventory(counted) if counted is not None else None
        answer = proof.answer(self.ring, self._pod, self._instance, inventory)
        if self._said is None or self._said[0] != _news(answer):
            self._said = _news(answer), proof.receipt(answer, self._instance)
        if self._hand_in is not None:
            # Also when it is the same text: an API server writes nothing then, and it is there again if it was lost.
            await self._hand_in(self._said[1])
        self.generation = answer.generation
        self._handed_in_at = time.monotonic()
        self.proved = self.proved or bool(answer.writes)


def _news(answer: Answer) -> object:
    """What of an answer is worth a new receipt: not how many more were stored with the version that is written with."""
    stored = answer.inventory
    if stored is not None and answer.writes:
        primary = int.from_bytes(answer.writes[1:5])
        stored = {number: count for number, count in stored.items() if number != primary}
    return answer.generation, bool(answer.writes), frozenset(answer.reads), stored, answer.wanted
