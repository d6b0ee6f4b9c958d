"""Serving our log to the other replicas: everything that they lack, then everything new, in our local order."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiohttp import WSMsgType, web

from roadstead_chat.archive import ArchiveReader
from roadstead_chat.copies import Copies, Copy
from roadstead_chat.cursor import covers, missing
from roadstead_chat.log import Log
from roadstead_chat.messages import Message
from roadstead_chat.milestones import Milestones
from roadstead_chat.peer_wire import (
    CLOSE_REFUSED,
    CLOSE_SELF,
    Opening,
    Portion,
    challenge,
    pack_portion,
    proves,
    unpack_opening,
)
from roadstead_chat.protocol import FrameError
from roadstead_chat.tls import Certificate

PAGE = 500
SESSIONS_EVERY = 1.0
_logger = logging.getLogger(__name__)


class PeerServer:
    """All streams to other replicas.

    Args:
        store: identity of our store.
        certificate: whose key the others must have.
        log: what is new.
        reader: what is old.
        copies: is told what the readers have confirmed.
    """

    def __init__(self, store: str, certificate: Certificate, log: Log, reader: ArchiveReader, copies: Copies) -> None:
        self._store = store
        self._certificate = certificate
        self._log = log
        self._reader = reader
        self._copies = copies
        self._milestones = Milestones()
        self._sockets: set[web.WebSocketResponse] = set()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one reader until it goes."""
        socket = web.WebSocketResponse(heartbeat=5, compress=False, timeout=1)
        await socket.prepare(request)
        opening = await self._greet(socket)
        if opening is None:
            return socket
        copy = Copy(0, behind_until=self._log.head)
        self._copies.copies.add(copy)
        self._sockets.add(socket)
        try:
            await _Stream(socket, opening, copy, self._log, self._reader, self._confirmed).run()
        finally:
            self._sockets.discard(socket)
            self._copies.copies.discard(copy)
            self._confirmed()
        return socket

    def _confirmed(self) -> None:
        self._copies.check()
        self._milestones.check()

    async def _greet(self, socket: web.WebSocketResponse) -> Opening | None:
        nonce = challenge()
        await socket.send_json({"store": self._store, "nonce": nonce})
        try:
            first = await socket.receive(timeout=5)
            opening = unpack_opening(first.data if first.type is WSMsgType.TEXT else b"")
        except (FrameError, TimeoutError) as error:
            words = str(error) or "it said nothing"
            _logger.warning("a peer's opening is not readable", extra={"error": words})
            await socket.close(code=CLOSE_REFUSED, message=b"no opening")
            return None
        if not proves(self._certificate.identities, opening.answer, nonce, opening.store, self._store):
            _logger.warning("a peer could not prove that it holds our TLS key")
            await socket.close(code=CLOSE_REFUSED, message=b"no proof")
            return None
        if opening.store == self._store:
            await socket.close(code=CLOSE_SELF, message=b"this is you")
            return None
        return opening

    async def all_stored(self, pos: int, expected: int) -> None:
        """Wait until at least so many readers hold our log up to ``pos``, and every connected one does."""
        copies = self._copies.copies
        await self._milestones.until(lambda: len(copies) >= expected and all(copy.stored >= pos for copy in copies))

    async def close(self) -> None:
        """End all streams."""
        await asyncio.gather(*(socket.close() for socket in self._sockets), return_exceptions=True)


class _Stream:
    """One reader of our log."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        opening: Opening,
        copy: Copy,
        log: Log,
        reader: ArchiveReader,
        confirmed: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._has = dict(opening.vector)
        self._session_rev = opening.session_rev
        self._copy = copy
        self._log = log
        self._reader = reader
        self._confirmed = confirmed

    async def run(self) -> None:
        """Send until one side ends."""
        tasks = {asyncio.create_task(self._send()), asyncio.create_task(self._receive())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                _logger.error("a stream to a replica failed", exc_info=result)

    async def _receive(self) -> None:
        async for frame in self._socket:
            if frame.type is not WSMsgType.TEXT:
                break
            with contextlib.suppress(ValueError):
                self._copy.stored = int(frame.data)
                self._confirmed()

    async def _send(self) -> None:
        # The answer is as old as the question: what is committed while the archive is asked lies after `head`.
        head = self._log.head
        start = await self._reader.ask(lambda archive: archive.log_start(self._has))
        pos = head if start is None else min(head, start - 1)
        if pos >= self._log.head:
            await self._portion([], self._log.floors, pos)
        sessions_due = 0.0
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SESSIONS_EVERY):
                    await self._log.beyond(pos)
            if pos < self._log.head:
                messages, floors, pos = await self._read_after(pos)
                await self._portion(messages, floors, pos)
            if loop.time() >= sessions_due:
                await self._sessions(pos)
                sessions_due = loop.time() + SESSIONS_EVERY

    async def _read_after(self, pos: int) -> tuple[list[Message], dict[str, int], int]:
        """Return a page, what retention has removed, and the place up to which nothing is left out."""
        # Before the archive is asked: what is committed while it answers may not be in the answer. The other way round,
        # the archive may see a commit that the loop has not been told of: that comes with the next turn.
        head, floors = self._log.head, self._log.floors
        messages = self._log.tail.after(pos, PAGE)
        if messages is None:
            page = await self._reader.ask(lambda archive: archive.log_page(pos, PAGE))
            messages, floors = [message for message in page.messages if message.pos <= head], page.floors
        return messages, floors, messages[-1].pos if messages else head

    async def _portion(self, messages: list[Message], floors: dict[str, int], pos: int) -> None:
        """Send what the reader lacks of these messages, and the holes that it must not take for a loss."""
        news = [message for message in messages if not covers(self._has, message.origin, message.seq)]
        holes = missing(self._has, floors)
        self._has.update(holes)
        for message in news:
            self._has[message.origin] = max(message.seq, self._has.get(message.origin, 0))
        live = pos >= self._log.head
        await self._write(Portion(news, holes, [], self._session_rev, pos, live))

    async def _sessions(self, pos: int) -> None:
        """Send the session cursors that changed since the last time."""
        while True:
            rev = self._session_rev
            cursors, upto = await self._reader.ask(lambda archive, r=rev: archive.sessions_after(r, PAGE))  # type: ignore[misc]
            if not cursors:
                return
            self._session_rev = upto
            await self._write(Portion([], {}, cursors, upto, pos, pos >= self._log.head))

    async def _write(self, portion: Portion) -> None:
        await self._socket.send_frame(pack_portion(portion), WSMsgType.TEXT)
