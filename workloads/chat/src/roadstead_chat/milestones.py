"""Waiting until something in the event loop has got far enough."""

import asyncio
from collections.abc import Callable


class Milestones:
    """Conditions that somebody waits for; whoever changes what they look at calls ``check``."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until ``reached`` is true at a check."""
        if reached():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((reached, waiter))
        await waiter

    def check(self) -> None:
        """Wake those whose condition is true now, and forget those who gave up."""
        still = []
        for reached, waiter in self._waiting:
            if waiter.done():
                continue
            if reached():
                waiter.set_result(None)
            else:
                still.append((reached, waiter))
        self._waiting = still
