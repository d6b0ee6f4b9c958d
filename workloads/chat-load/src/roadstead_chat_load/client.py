"""One client that loses nothing: it reconnects, resumes every room where it stopped, and retries what has no answer."""

import asyncio
import base64
import contextlib
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import orjson

ACK_SECONDS = 1.0
CONNECT_SECONDS = 10.0


class LoginRefusedError(Exception):
    """The relay does not let the account in, and would not the next time either."""


class Handler(Protocol):
    """What a client tells its owner; called in the event loop, must not wait."""

    def on_message(self, room: str, account: str, payload: bytes) -> None:
        """A message of a joined room arrived."""

    def on_accepted(self, client_id: str) -> None:
        """A sent message is durable."""

    def on_refused(self, client_id: str, code: str) -> None:
        """A sent message will never be stored."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects.

    Attributes:
        url: such as wss://chat.example.com/v1/chat.
        tls: with the CA to trust.
        server_name: host name that the certificate must have, when the URL has another.
    """

    url: str
    tls: ssl.SSLContext
    server_name: str | None


@dataclass(slots=True)
class Counters:
    """What happened to one client's connections."""

    reconnects: int = 0
    retries: int = 0
    closes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Pending:
    room: str
    frame: bytes
    tried: int = 0


class Client:
    """One account on one connection at a time.

    Args:
        session: HTTP session to connect with.
        target: where to.
        new_token: makes a token for each connection.
        rooms: to join; from now on at the first connection, later where it stopped.
        handler: who is told.
        window: how many sent messages may be without an answer.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        new_token: Callable[[], str],
        rooms: list[str],
        handler: Handler,
        window: int = 64,
    ) -> None:
        self.counters = Counters()
        self.joined = asyncio.Event()
        self._session = session
        self._target = target
        self._new_token = new_token
        self._handler = handler
        self._cursors: dict[str, dict[str, int] | None] = dict.fromkeys(rooms)
        self._not_live = set(rooms)
        self._after: dict[str, int] = {}
        self._pending: dict[str, _Pending] = {}
        self._moved: set[str] = set()
        self._window = asyncio.Semaphore(window)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._device = ""

    @property
    def unanswered(self) -> int:
        """Number of sent messages without an answer."""
        return len(self._pending)

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises:
            LoginRefusedError: there is no use in trying again.
        """
        delay = 0.1
        while True:
            try:
                await self._connect()
                delay = 0.1
            except aiohttp.WSServerHandshakeError as error:
                if error.status in (400, 401, 403, 404, 423):
                    reason = f"{self._target.url} answers {error.status} to the login: {error.message}"
                    raise LoginRefusedError(reason) from None
            except aiohttp.ClientConnectorCertificateError as error:
                raise LoginRefusedError(f"{self._target.url} has a certificate that is not trusted: {error}") from None
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            self._socket = None
            self.counters.reconnects += 1
            # Spread, so that all clients of a relay that restarts do not come back in one moment.
            await asyncio.sleep(random.uniform(0.2, 1.0) * delay)  # noqa: S311
            delay = min(2.0, delay * 2)

    async def send(self, room: str, client_id: str, payload: bytes) -> None:
        """Send a message, now or at the next connection; waits while too many have no answer."""
        await self._window.acquire()
        text = base64.b64encode(payload).decode()
        frame = orjson.dumps({"type": "send", "room": room, "id": client_id, "payload": text})
        pending = self._pending[client_id] = _Pending(room, frame)
        stream = self._socket
        if stream is not None:
            pending.tried = 1
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await stream.send_frame(frame, aiohttp.WSMsgType.TEXT)

    def drop(self) -> None:
        """Break the connection the hard way, as a lost network does."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def _connect(self) -> None:
        headers = {"Authorization": f"Bearer {self._new_token()}", "Cookie": f"chat_device={self._device}"}
        async with asyncio.timeout(CONNECT_SECONDS):
            stream = await self._session.ws_connect(
                self._target.url,
                ssl=self._target.tls,
                server_hostname=self._target.server_name,
                headers=headers,
                protocols=("roadstead.chat.v1",),
                heartbeat=20,
                compress=0,
                max_msg_size=0,
            )
        async with stream:
            await self._resume(stream)
            acking = asyncio.create_task(self._acknowledge(stream))
            try:
                async for frame in stream:
                    if frame.type is not aiohttp.WSMsgType.TEXT:
                        break
                    for line in frame.data.split("\n"):
                        self._take(orjson.loads(line))
                # Not when we end it ourselves, by a cancellation: that says nothing about the relay.
                code = str(stream.close_code)
                self.counters.closes[code] = self.counters.closes.get(code, 0) + 1
            finally:
                acking.cancel()
                self._socket = None

    async def _resume(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        """Tell what was seen, join where reading stopped, and send again, in order, what has no answer."""
        lines = [orjson.dumps({"type": "hello", "after": self._after})]
        self._not_live = set(self._cursors)
        for room, cursor in self._cursors.items():
            lines.append(orjson.dumps({"type": "join", "room": room, "from": "now" if cursor is None else cursor}))
        for line in lines:
            await stream.send_frame(line, aiohttp.WSMsgType.TEXT)
        # A message that is sent from here on follows those that are sent again: each await below may let one in, which
        # then stands behind them in `_pending`.
        sent: set[str] = set()
        while waiting := [(key, item) for key, item in self._pending.items() if key not in sent]:
            for key, pending in waiting:
                sent.add(key)
                self.counters.retries += pending.tried > 0
                pending.tried += 1
                await stream.send_frame(pending.frame, aiohttp.WSMsgType.TEXT)
        self._socket = stream

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "message":
                cursor = self._cursors[frame["room"]]
                if cursor is not None:
                    cursor[frame["origin"]] = max(frame["seq"], cursor.get(frame["origin"], 0))
                self._moved.add(frame["room"])
                self._handler.on_message(frame["room"], frame["account"], base64.b64decode(frame["payload"]))
            case "accepted":
                self._after[frame["origin"]] = max(frame["seq"], self._after.get(frame["origin"], 0))
                if self._pending.pop(frame["id"], None):
                    self._window.release()
                    self._handler.on_accepted(frame["id"])
            case "live":
                self._live(frame["room"], frame["cursor"])
            case "welcome":
                self._device = frame["device"]
            case "error":
                self._refused(frame)

    def _live(self, room: str, start: dict[str, int]) -> None:
        cursor = self._cursors[room] or {}
        self._cursors[room] = cursor | {origin: max(seq, cursor.get(origin, 0)) for origin, seq in start.items()}
        self._not_live.discard(room)
        if not self._not_live:
            self.joined.set()

    def _refused(self, frame: dict[str, Any]) -> None:
        # After store_unavailable the relay closes, and the retry comes with the next connection.
        if frame["code"] == "store_unavailable":
            return
        client_id = frame.get("id", "")
        if self._pending.pop(client_id, None):
            self._window.release()
        self._handler.on_refused(client_id, frame["code"])

    async def _acknowledge(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(ACK_SECONDS)
            moved, self._moved = self._moved, set()
            for room in moved:
                line = orjson.dumps({"type": "ack", "room": room, "cursor": self._cursors[room]})
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    await stream.send_frame(line, aiohttp.WSMsgType.TEXT)
