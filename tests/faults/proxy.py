"""One proxy between a client of the API server (a test's, or the operator's process) and a real API server.

TLS on both sides. It logs every request, and on demand answers in the server's place, loses answers to writes that were
made, kills somebody before or after a chosen write, ends watches, and keeps the world as it was at a version.

Clients authenticate by token (a certificate would end here)::

    async with Proxy(cluster) as proxy:
        kubeconfig = proxy.kubeconfig(tmp_path / "kubeconfig", token)
        proxy.fault(Answer(409), when=lambda request: request.resource == "services")
        ...
        assert lint(proxy.log) == []
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from faults.wire import Request, counted, decoded
from localkube import certificates

LOOPBACK = "127.0.0.1"
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "te", "trailers", "transfer-encoding", "upgrade"}
)
_OUR_OWN = frozenset({"host", "content-length", "accept-encoding"})
"""Headers that each leg has for itself; without accept-encoding nothing is compressed, so that lines can be read."""
_SECRET = frozenset({"authorization"})


class Cluster(Protocol):
    """What is needed to reach the real server."""

    @property
    def url(self) -> str: ...
    @property
    def ca_file(self) -> Path: ...


Matches = Callable[[Request], bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers; the server never hears of it."""

    status: int
    message: str = "injected"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, ever. With ``commit`` the server has made the write: the client cannot know."""

    commit: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection breaks, before the server hears of it or, with ``commit``, in place of the answer."""

    commit: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """The request reaches the server ``seconds`` later."""

    seconds: float


Action = Answer | Hang | Reset | Slow


@dataclass(slots=True)
class Fault:
    """An action for the next ``times`` requests that match (None: for all)."""

    action: Action
    when: Matches
    times: int | None
    hits: int = 0

    def takes(self, request: Request) -> bool:
        """Whether it is this fault's turn; counts it."""
        if (self.times is not None and self.hits >= self.times) or not self.when(request):
            return False
        self.hits += 1
        return True


class Moment(Enum):
    """When, around a write, the crash comes."""

    BEFORE_FORWARDING = "before"
    AFTER_COMMIT = "after"


@dataclass(slots=True)
class Crash:
    """Calls ``kill`` once, at the given write of those that ``counts`` counts (from 1); no answer gets out."""

    write: int
    moment: Moment
    kill: Callable[[], None]
    counts: Matches
    seen: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def due(self, request: Request) -> bool:
        """Whether this request is the one; counts it."""
        if not self.counts(request):
            return False
        self.seen += 1
        return self.seen == self.write

    def strike(self) -> None:
        """Kill."""
        self.kill()
        self.done.set()


Event = dict[str, Any]
Hides = Callable[[Request, Event], bool]


class _Stream:
    """One watch on its way through."""

    def __init__(self, request: Request, response: web.StreamResponse, transport: asyncio.Transport) -> None:
        self.request, self.response, self.transport = request, response, transport
        self.ended = asyncio.Event()

    async def send(self, line: bytes) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ConnectionError):
                await self.response.write(line + b"\n")


class Hold:
    """Events of watches that the client does not get to see, in the order in which they came.

    Args:
        hides: Whether an event (``{"type":, "object":}``) of a watch is withheld.
    """

    def __init__(self, hides: Hides) -> None:
        self.hides: Hides | None = hides
        self.held: list[tuple[_Stream, bytes]] = []

    async def release(self) -> None:
        """Let everything through that was withheld, and what is to come."""
        self.hides = None
        for stream, line in self.held:
            await stream.send(line)
        self.held.clear()

    def discard(self) -> None:
        """Drop what was withheld for good: the client never learns of it from these watches."""
        self.hides = None
        self.held.clear()


class Proxy:
    """See the module. Make it, then ``async with``.

    Attributes:
        log: Every request so far, watches included.
        url: Where clients reach it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.log: list[Request] = []
        self.url = ""
        self._cluster = cluster
        self._authority = certificates.Authority("faults servers")
        self._faults: list[Fault] = []
        self._crashes: list[Crash] = []
        self._holds: list[Hold] = []
        self._streams: set[_Stream] = set()
        self._frozen_at: int | None = None
        self._last_token = ""
        self._freeze: Hold | None = None

    async def __aenter__(self) -> Proxy:
        upstream = ssl.create_default_context(cafile=str(self._cluster.ca_file))
        connector = aiohttp.TCPConnector(ssl=upstream, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # a client that goes away ends its handler, but see `_forward`
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0, ssl_context=self._serving()).start()
        self.url = f"https://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop_watches()
        await self._runner.cleanup()
        await self._session.close()

    def kubeconfig(self, path: Path, token: str) -> Path:
        """Write a kubeconfig that leads through the proxy."""
        authority = self._authority.pair.certificate
        return certificates.write_kubeconfig(path, url=self.url, authority=authority, name="faults", token=token)

    def fault(self, action: Action, *, when: Matches = lambda request: True, times: int | None = 1) -> Fault:
        """Do this to the next requests that match; earlier faults come first. ``hits`` says how often it happened."""
        self._faults.append(Fault(action, when, times))
        return self._faults[-1]

    def clear_faults(self) -> None:
        """No more faults or crashes."""
        self._faults.clear()
        self._crashes.clear()

    def crash(self, write: int, moment: Moment, kill: Callable[[], None], *, counts: Matches = counted) -> Crash:
        """Call ``kill`` at the ``write``-th write from now on; `Crash.done` tells when it happened."""
        self._crashes.append(Crash(write, moment, kill, counts))
        return self._crashes[-1]

    def writes(self, counts: Matches = counted) -> list[Request]:
        """The writes so far, without leases and events."""
        return [request for request in self.log if counts(request)]

    @property
    def watching(self) -> list[Request]:
        """The watches that are open now."""
        return [stream.request for stream in self._streams]

    def drop_watches(self, when: Matches = lambda request: True) -> int:
        """Break the connections of open watches; returns of how many."""
        return self._end(when, lambda stream: stream.transport.abort())

    def end_watches(self, when: Matches = lambda request: True) -> int:
        """End open watches properly, as a server does when their time is up; returns how many."""
        return self._end(when, lambda stream: None)

    async def expire_watches(self, when: Matches = lambda request: True) -> int:
        """Tell open watches that their version is too old (410), and end them; returns how many."""
        status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: injected"}
        line = json.dumps({"type": "ERROR", "object": status}).encode()
        for stream in [stream for stream in self._streams if when(stream.request)]:
            await stream.send(line)
        return self.end_watches(when)

    def hold(self, hides: Hides) -> Hold:
        """Withhold events from watches, those open now and later ones."""
        self._holds.append(Hold(hides))
        return self._holds[-1]

    async def freeze(self, version: int | None = None) -> int:
        """Show lists and watches as of ``version`` (default: now) until `thaw`; writes and single reads pass.

        Returns:
            The version.
        """
        frozen = await self._version() if version is None else version
        self._frozen_at = frozen
        self._freeze = self.hold(lambda _, event: int(event["object"]["metadata"]["resourceVersion"]) > frozen)
        return frozen

    async def thaw(self) -> None:
        """End a `freeze`: everything that was withheld is delivered."""
        self._frozen_at = None
        if self._freeze is not None:
            await self._freeze.release()
            self._freeze = None

    async def _version(self) -> int:
        """The server's present version, read with the identity of whoever asked last."""
        url = f"{self._cluster.url}/api/v1/namespaces?limit=1"
        async with self._session.get(url, headers={"Authorization": self._last_token}) as answer:
            return int((await answer.json())["metadata"]["resourceVersion"])

    def _end(self, when: Matches, how: Callable[[_Stream], None]) -> int:
        ending = [stream for stream in self._streams if when(stream.request)]
        for stream in ending:
            stream.ended.set()
            self._streams.discard(stream)
            how(stream)
        return len(ending)

    def _serving(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "crt"), Path(folder, "key")
            self._authority.serving("faults", LOOPBACK).write(certificate, key)
            context.load_cert_chain(certificate, key)
        return context

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        content = await incoming.read()
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        self._last_token = headers.get("authorization", self._last_token)
        request = Request(
            len(self.log) + 1,
            incoming.method,
            incoming.path,
            dict(incoming.query),
            {name: value for name, value in headers.items() if name not in _SECRET},
            decoded(content),
        )
        self.log.append(request)
        for crash in [crash for crash in self._crashes if crash.due(request)]:
            if crash.moment is Moment.AFTER_COMMIT:
                await self._forward(incoming, request, headers, content)
            crash.strike()
            return self._reset(incoming)
        fault = next((fault for fault in self._faults if fault.takes(request)), None)
        match fault.action if fault is not None else None:
            case Answer(status, message, extra):
                request.status = status
                body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}
                return web.json_response(body, status=status, headers=extra)
            case Hang(commit) | Reset(commit) as action:
                if commit:
                    await self._forward(incoming, request, headers, content)
                if isinstance(action, Hang):
                    await asyncio.Event().wait()  # ends with the client's patience
                return self._reset(incoming)
            case Slow(seconds):
                await asyncio.sleep(seconds)
        if request.verb == "watch":
            return await self._watch(incoming, request, headers)
        answer = await self._forward(incoming, request, headers, content)
        if answer is None:
            return self._reset(incoming)
        request.status = answer.status
        return answer

    def _reset(self, incoming: web.Request) -> web.Response:
        if incoming.transport is not None:
            incoming.transport.abort()
        return web.Response(status=502)  # nobody hears it

    def _target(self, incoming: web.Request, request: Request) -> str:
        url = f"{self._cluster.url}{incoming.path_qs}"
        if self._frozen_at is not None and request.verb == "list" and "continue" not in request.query:
            url += f"{'&' if '?' in url else '?'}resourceVersion={self._frozen_at}&resourceVersionMatch=Exact"
        return url

    async def _forward(
        self, incoming: web.Request, request: Request, headers: dict[str, str], content: bytes
    ) -> web.Response | None:
        """Forward and return the answer; None when the server does not answer.

        Shielded: a client that is killed after its write has left does not take the write back, as it would not on a
        real network.
        """

        async def exchange() -> web.Response | None:
            try:
                async with self._session.request(
                    incoming.method,
                    self._target(incoming, request),
                    data=content or None,
                    headers=_passed_on(headers),
                    allow_redirects=False,
                ) as answer:
                    body = await answer.read()
            except (aiohttp.ClientError, OSError):
                return None
            request.decided = answer.status
            return web.Response(status=answer.status, body=body, headers=_passed_on(answer.headers))

        return await asyncio.shield(asyncio.ensure_future(exchange()))

    async def _watch(self, incoming: web.Request, request: Request, headers: dict[str, str]) -> web.StreamResponse:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        try:
            async with self._session.get(
                self._target(incoming, request), headers=_passed_on(headers), timeout=timeout
            ) as answer:
                request.status = answer.status
                response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
                await response.prepare(incoming)
                if answer.status != 200:
                    await response.write(await answer.read())
                    return response
                assert incoming.transport is not None
                stream = _Stream(request, response, incoming.transport)
                self._streams.add(stream)
                try:
                    await _first(self._pump(answer.content, stream), stream.ended.wait())
                finally:
                    stream.ended.set()
                    self._streams.discard(stream)
                return response
        except (aiohttp.ClientError, OSError):
            return self._reset(incoming)

    async def _pump(self, content: aiohttp.StreamReader, stream: _Stream) -> None:
        rest = b""
        async for chunk in content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = decoded(line)
                hold = self._hold_for(stream.request, event) if event and event.get("type") != "ERROR" else None
                if hold is not None:
                    hold.held.append((stream, line))
                else:
                    await stream.send(line)

    def _hold_for(self, request: Request, event: Event) -> Hold | None:
        return next((hold for hold in self._holds if hold.hides is not None and hold.hides(request, event)), None)


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP | _OUR_OWN}


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Return when the first is done, raising its error; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
