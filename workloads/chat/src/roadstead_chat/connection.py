"""One client: reads its frames, keeps its rooms, writes what it has to get, and ends it in order."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web

from roadstead_chat.archive import ArchiveReader
from roadstead_chat.config import Config
from roadstead_chat.cursor import Vector, deliverable, joined, missing
from roadstead_chat.messages import Accepted, Draft, Message, SessionCursor
from roadstead_chat.metrics import Metrics
from roadstead_chat.outbox import Outbox
from roadstead_chat.protocol import (
    MAX_VECTOR,
    Ack,
    Close,
    Code,
    FrameError,
    From,
    Hello,
    Join,
    Leave,
    Send,
    accepted_frame,
    error_frame,
    live_frame,
    message_frame,
    parse,
)
from roadstead_chat.relay import Relay
from roadstead_chat.tokens import Account
from roadstead_chat.writer import Append, Sender, StoreError, Writer

MAX_UNANSWERED = 256
PAGE = 200
FLUSH_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of a relay share."""

    config: Config
    relay: Relay
    writer: Writer
    reader: ArchiveReader
    metrics: Metrics


@dataclass(slots=True)
class _Room:
    """A joined room.

    ``unheard`` counts origins of the cursor that this relay had never heard of; ``backlog`` runs while the client reads
    history: it has just joined, or fell behind.
    """

    cursor: dict[str, int]
    unheard: int = 0
    announced: bool = False
    backlog: asyncio.Task[None] | None = None


class Connection:
    """A connected, authenticated client.

    Args:
        services: shared parts.
        socket: prepared WebSocket.
        account: who it is.
        device: the device's cookie.
    """

    def __init__(self, services: Services, socket: web.WebSocketResponse, account: Account, device: str) -> None:
        self._on = services
        self._socket = socket
        self._account = account
        self._device = device
        self._outbox = Outbox(services.config.queue_bytes)
        self._paging = asyncio.Lock()
        self._rooms: dict[str, _Room] = {}
        self._unreachable: dict[str, int] = {}
        self._acks: dict[str, dict[str, int]] = {}
        self._sender = Sender()
        self._unanswered = 0
        self._answered = asyncio.Event()
        self._pace = _Pace(services.config.messages_per_second)
        self._ending: asyncio.Future[tuple[Close, str]] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve the client until one side ends it."""
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        sides: set[asyncio.Future[Any]] = {reading, writing, self._ending}
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            (result,) = await asyncio.gather(reading, return_exceptions=True)
            if isinstance(result, Exception):
                _log.error("a client's frame could not be served", exc_info=result)
                self.end(Close.STORE_FAILED, "the relay failed")
            self._stop_rooms()
            await self._finish(writing)
            await save_sessions(self._on.writer, self.take_acks())

    def end(self, code: Close, reason: str) -> None:
        """Ask for the end with this close code; the first request counts."""
        if not self._ending.done():
            self._ending.set_result((code, reason))

    async def _finish(self, writing: asyncio.Task[None]) -> None:
        """Write what the client is owed, and close."""
        code, reason = self._ending.result() if self._ending.done() else (None, "client")
        self._on.metrics.closes.labels(code.name.lower() if code else "client").inc()
        if code is not None and code is not Close.SLOW_CONSUMER:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    while self._unanswered:
                        self._answered.clear()
                        await self._answered.wait()
                    await self._outbox.drained()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        # A client that does not read cannot be told: its transport is cut after the time-out of the close handshake.
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2):
                await self._socket.close(code=code or 1000, message=reason.encode())

    # --- reading

    async def _read(self) -> None:
        async for frame in self._socket:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            for line in frame.data.split("\n" if frame.type is WSMsgType.TEXT else b"\n"):
                try:
                    await self._handle(line)
                except FrameError as error:
                    self._say(error_frame(Code.BAD_FRAME, str(error)))
                    self.end(Close.BAD_FRAME, "bad frame")
                    return

    async def _handle(self, line: str | bytes) -> None:
        match parse(line):
            case Send() as send:
                await self._send(send)
            case Ack() as ack:
                self._acknowledge(ack)
            case Join() as join:
                await self._join(join)
            case Leave(room):
                self._leave(room)
            case Hello(after):
                await self._wait_for(after)

    def _acknowledge(self, ack: Ack) -> None:
        if ack.room not in self._rooms:
            self._say(error_frame(Code.NOT_JOINED, "the room is not joined; join it first", room=ack.room))
            return
        self._on.metrics.acks.inc()
        # Only what exists: an invented origin or number would be kept for the client, and shared with all replicas.
        held = self._on.relay.held
        real = {origin: min(seq, held[origin]) for origin, seq in ack.cursor.items() if origin in held}
        self._acks[ack.room] = joined(self._acks.get(ack.room, {}), real)

    async def _send(self, send: Send) -> None:
        config = self._on.config
        if not config.role.accepts_messages:
            self._refuse(send, Code.STANDBY, "this region is a standby and takes no messages; send to the primary")
        elif not self._account.may_use(send.room):
            self._refuse(send, Code.ROOM_FORBIDDEN, "the token does not allow this room")
        elif len(send.payload) > config.max_message_bytes:
            limit = config.max_message_bytes
            self._refuse(send, Code.MESSAGE_TOO_LARGE, f"the payload has more than {limit} bytes; split it")
        else:
            # Too fast means later, not refused: a refusal in the middle would put a sender's messages out of order.
            await self._pace.turn()
            while self._unanswered >= MAX_UNANSWERED:
                self._answered.clear()
                await self._answered.wait()
            self._unanswered += 1
            draft = Draft(send.room, self._account.name, send.client_id, send.payload)
            self._on.writer.put(Append(draft, self._sender, partial(self._stored, send, time.perf_counter())))

    def _stored(self, send: Send, received: float, result: Accepted | StoreError) -> None:
        self._unanswered -= 1
        self._answered.set()
        metrics = self._on.metrics
        if isinstance(result, StoreError):
            self._refuse(send, Code.STORE_UNAVAILABLE, f"{result}; connect again and retry in the same order")
            self.end(Close.STORE_FAILED, "the store refused a message")
            return
        (metrics.duplicates if result.duplicate else metrics.accepted).inc()
        metrics.accept.observe(time.perf_counter() - received)
        self._say(accepted_frame(send.room, send.client_id, result))

    def _refuse(self, send: Send, code: Code, message: str) -> None:
        self._on.metrics.refused.labels(code.value).inc()
        self._say(error_frame(code, message, room=send.room, id=send.client_id))

    # --- rooms

    async def _wait_for(self, wanted: Vector) -> None:
        """Hold the client back until this relay has what the client has seen elsewhere.

        So nobody reads an answer before its question, and no message that was delivered under another identity comes
        again. What did not arrive in time, because its replica is gone, is not waited for a second time.
        """
        new = missing(self._unreachable, missing(self._on.relay.held, wanted))
        if new:
            still = await self._on.relay.holding(new, self._on.config.catch_up_seconds)
            self._unreachable = joined(self._unreachable, still)
            # It is kept as long as the connection, and whoever invents origins could send new ones for ever.
            if len(self._unreachable) > MAX_VECTOR:
                raise FrameError(f"more than {MAX_VECTOR} origins are unknown here; connect again and start anew")

    async def _join(self, join: Join) -> None:
        room = join.room
        if not self._account.may_use(room):
            self._say(error_frame(Code.ROOM_FORBIDDEN, "the token does not allow this room", room=room))
            return
        if room not in self._rooms and len(self._rooms) >= self._on.config.max_rooms:
            limit = self._on.config.max_rooms
            self._say(error_frame(Code.TOO_MANY_ROOMS, f"at most {limit} rooms a connection; leave one", room=room))
            return
        cursor = await self._start_of(join)
        await self._wait_for(cursor)
        self._leave(room)
        unheard = len(cursor.keys() - self._on.relay.held.keys())
        # The same invented origins, in each of a client's rooms.
        if unheard + sum(other.unheard for other in self._rooms.values()) > MAX_VECTOR:
            raise FrameError(
                f"the rooms' cursors name more than {MAX_VECTOR} origins that are unknown here; leave some"
            )
        state = self._rooms[room] = _Room(cursor, unheard)
        if not missing(cursor, self._on.relay.held):
            self._go_live(room, state)
        else:
            state.backlog = asyncio.create_task(self._catch_up(room, state, None))

    async def _start_of(self, join: Join) -> dict[str, int]:
        match join.start:
            case From.NOW:
                return dict(self._on.relay.held)
            case From.START:
                return {}
            case From.SESSION:
                account, device, room = self._account.name, self._device, join.room
                stored = await self._on.reader.ask(lambda archive: archive.session(account, device, room))
                return joined(stored, self._acks.get(room, {}))
            case cursor:
                return cursor

    async def _catch_up(self, room: str, state: _Room, pos: int | None) -> None:
        """Send the room's backlog, page by page at the client's pace, and go live where it ends.

        The rooms of a client take turns, so that it costs the memory of one page, however many rooms it has.

        Args:
            room: the room's name.
            state: its state.
            pos: the place after which to begin; None to find it by the cursor.
        """
        try:
            relay, reader = self._on.relay, self._on.reader
            if pos is None:
                # The answer is as old as the question: what is published while the archive is asked lies after `head`.
                head = relay.head
                start = await reader.ask(lambda archive: archive.room_start(room, state.cursor))
                pos = head if start is None else min(head, start - 1)
            while pos < relay.head:
                async with self._paging:
                    pos = await self._page(room, state.cursor, pos)
            # No await between the last look at the head and listening: nothing falls in between.
            self._go_live(room, state)
        except Exception:
            _log.exception("a backlog could not be read")
            self.end(Close.STORE_FAILED, "the store could not be read")

    async def _page(self, room: str, cursor: Vector, after: int) -> int:
        """Send one page of a backlog; return the place up to which the room was looked at."""
        upto = self._on.relay.head
        page = await self._on.reader.ask(lambda archive: archive.room_page(room, after, upto, PAGE))
        for message in page.messages:
            copies = page.copies.get(message.pos, ())
            is_copy = message.copy_of is not None
            if deliverable(cursor, message.origin, message.seq, is_copy=is_copy, copies=copies):
                await self._outbox.offer(message_frame(message))
        return page.upto

    def _go_live(self, room: str, state: _Room) -> None:
        relay = self._on.relay
        relay.listen(room, self)
        state.backlog = None
        if state.announced:
            return
        state.announced = True
        behind = missing(relay.held, state.cursor)
        expired = bool(missing(state.cursor, relay.floors))
        self._say(live_frame(room, joined(state.cursor, relay.held), expired, behind))

    def _leave(self, room: str) -> None:
        state = self._rooms.pop(room, None)
        if state is not None:
            self._on.relay.forget([room], self)
            if state.backlog is not None:
                state.backlog.cancel()

    def _stop_rooms(self) -> None:
        for room in list(self._rooms):
            self._leave(room)

    def take_acks(self) -> list[SessionCursor]:
        """Return what was acknowledged since the last time; once durable, the device can resume from it."""
        acks, self._acks = self._acks, {}
        now = time.time_ns() // 1_000
        return [
            SessionCursor(self._account.name, self._device, room, origin, seq, now)
            for room, cursor in acks.items()
            for origin, seq in cursor.items()
        ]

    # --- writing

    def deliver(self, message: Message, line: bytes) -> None:
        """Take a live message of a room; when too much waits, go on from the store, at the client's pace.

        So a burst costs a quick client nothing and a slow one no memory.
        """
        room = message.room
        state = self._rooms.get(room)
        if state is None or not deliverable(state.cursor, message.origin, message.seq, is_copy=False):
            return
        if not self._outbox.push(line, message.accepted_us):
            self._on.metrics.fallbacks.inc()
            self._on.relay.forget([room], self)
            state.backlog = asyncio.create_task(self._catch_up(room, state, message.pos - 1))

    def _say(self, line: bytes) -> None:
        if not self._outbox.answer(line):
            self._slow()

    def _slow(self) -> None:
        self._stop_rooms()
        self.end(Close.SLOW_CONSUMER, "too slow; connect again and resume")

    async def _write(self) -> None:
        send = self._socket.send_frame
        written: Callable[[list[int]], None] = self._on.metrics.written
        stall = self._on.config.stall_seconds
        while True:
            frame, times = await self._outbox.take()
            try:
                async with asyncio.timeout(stall):
                    await send(frame, WSMsgType.TEXT)
            except TimeoutError:
                self._slow()
                return
            written(times)


async def save_sessions(writer: Writer, cursors: list[SessionCursor]) -> None:
    """Store session cursors; when the store refuses them, the next acknowledgement brings them again."""
    if cursors:
        with contextlib.suppress(StoreError):
            await writer.run(lambda journal: journal.save_sessions(cursors))


class _Pace:
    """Lets a client send at a steady rate, with one second's worth of burst."""

    def __init__(self, per_second: int) -> None:
        self._interval = 1.0 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next message may pass."""
        now = time.monotonic()
        self._next = max(self._next, now - 1.0) + self._interval
        if self._next > now:
            await asyncio.sleep(self._next - now)
