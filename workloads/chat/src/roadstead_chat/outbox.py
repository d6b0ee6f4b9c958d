"""What waits to be written to one client: bounded in bytes, in order."""

import asyncio
from collections import deque

FRAME_BYTES = 65_536


class Outbox:
    """A queue of encoded lines with two ways in.

    ``push`` is for what happens now: it never waits, and answers False when too much waits already.
    ``offer`` is for backlog: it waits until the client has read, so history cannot crowd out the present.

    Args:
        limit: bytes of messages that may wait. Answers to the client's own frames may take as much again: a full room
            must not swallow an acknowledgement.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._room = asyncio.Event()
        self._room.set()

    def push(self, line: bytes, accepted_us: int) -> bool:
        """Append a message; False, and nothing appended, when it would exceed the limit.

        Args:
            line: without a line feed.
            accepted_us: when the message was accepted, to measure its way.
        """
        if self._bytes + len(line) > self._limit and self._lines:
            return False
        self._append(line, accepted_us)
        return True

    def answer(self, line: bytes) -> bool:
        """Append an answer; False, and nothing appended, when the client asks and asks and does not read."""
        if self._bytes + len(line) > 2 * self._limit:
            return False
        self._append(line, 0)
        return True

    async def offer(self, line: bytes) -> None:
        """Append a line as soon as less than half of the limit waits."""
        # Whoever was woken before may have filled it again.
        while not self._room.is_set():
            await self._room.wait()
        self._append(line, 0)

    def _append(self, line: bytes, accepted_us: int) -> None:
        self._lines.append((line, accepted_us))
        self._bytes += len(line)
        self._filled.set()
        self._drained.clear()
        if self._bytes * 2 >= self._limit:
            self._room.clear()

    async def take(self) -> tuple[bytes, list[int]]:
        """Wait for lines, and return as many as one frame holds, with the times of the messages in it."""
        while not self._lines:
            self._drained.set()
            self._filled.clear()
            await self._filled.wait()
        lines, times, size = [], [], 0
        while self._lines and size < FRAME_BYTES:
            line, accepted_us = self._lines.popleft()
            size += len(line)
            lines.append(line)
            if accepted_us:
                times.append(accepted_us)
        self._bytes -= size
        if self._bytes * 2 < self._limit:
            self._room.set()
        return b"\n".join(lines), times

    async def drained(self) -> None:
        """Wait until everything was taken and the taker asked for more, that is: has written it."""
        await self._drained.wait()
