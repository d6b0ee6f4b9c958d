"""Waiting until something in the event loop has got far enough."""

import asyncio
from collections.abc import Callable


class Milestones:
    """Conditions that somebody waits for; whoever changes what they look at calls ``check``."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until ``reached`` is true at a check."""
        if reached():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = reached
        try:
            await waiter
        finally:
            # Here, too, and not only at a check: where nothing happens, nobody checks, and who gives up asks again.
            self._waiting.pop(waiter, None)

    def check(self) -> None:
        """Wake those whose condition is true now."""
        for waiter in [waiter for waiter, reached in self._waiting.items() if reached()]:
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_result(None)
