"""What a reader of our log gets, and up to where it may confirm it. Mutant: `_read_after` that reads the head last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from roadstead_chat.archive import LogPage
from roadstead_chat.copies import Copy
from roadstead_chat.log import Log
from roadstead_chat.messages import Message
from roadstead_chat.metrics import Metrics
from roadstead_chat.peer_stream import _Stream
from roadstead_chat.peer_wire import Opening, Portion, unpack_portion
from roadstead_chat.writer import Committed


class Socket:
    def __init__(self) -> None:
        self.portions: asyncio.Queue[Portion] = asyncio.Queue()

    async def send_frame(self, frame: bytes, _: object) -> None:
        self.portions.put_nowait(unpack_portion(frame))


class Reader:
    """An archive in which everything old has expired, and whose first page takes a moment."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile: Callable[[], None] | None = meanwhile

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return question(self)

    def log_start(self, _: object) -> int:
        return 1

    def log_page(self, _after: int, _limit: int) -> LogPage:
        if self._meanwhile is not None:
            self._meanwhile()
            self._meanwhile = None
        return LogPage([], {"own": 10})

    def sessions_after(self, rev: int, _limit: int) -> tuple[list[object], int]:
        return [], rev


async def test_what_is_committed_while_the_archive_is_asked_is_sent() -> None:
    log = Log(10, {"own": 10}, {"own": 10}, Metrics("desk", "hkg", "active", "1"))
    message = Message(11, "own", 11, "room", "ann", "m", 0, b"x", None)

    def commit() -> None:
        log.commit(Committed([message], {"own": 11}, {"own": 10}, 0.0, 1))

    socket = Socket()
    opening = Opening("other", "", {}, 0)
    stream = _Stream(socket, opening, Copy(0, 0), log, Reader(commit), lambda: None)  # type: ignore[arg-type]
    sending = asyncio.create_task(stream._send())
    async with asyncio.timeout(5):
        first, second = await socket.portions.get(), await socket.portions.get()
    sending.cancel()
    assert (first.messages, first.head, first.live) == ([], 10, False), "it would confirm what it does not have"
    assert ([m.seq for m in second.messages], second.head, second.live) == ([11], 11, True)
