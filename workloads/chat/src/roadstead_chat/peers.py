"""Finding the other replicas, and reading their logs into our store."""

import asyncio
import contextlib
import ipaddress
import logging
import random
import socket
import ssl
from collections.abc import Iterable

import aiohttp
from cryptography.exceptions import UnsupportedAlgorithm

from roadstead_chat.config import PeerAddress
from roadstead_chat.journal import OutOfOrderError
from roadstead_chat.log import Log
from roadstead_chat.metrics import Metrics
from roadstead_chat.peer_wire import (
    CLOSE_SELF,
    PATH,
    Opening,
    Portion,
    pack_opening,
    proof,
    unpack_greeting,
    unpack_portion,
)
from roadstead_chat.protocol import FrameError
from roadstead_chat.tls import Certificate, Identity, public_key_of
from roadstead_chat.writer import Replicate, StoreError, Writer

RESOLVE_SECONDS = 1.0
CONNECT_SECONDS = 3.0
SILENT_AFTER = 3
_logger = logging.getLogger(__name__)
Endpoint = tuple[str, int]


class PeerError(Exception):
    """A replica could not be read."""


async def resolve(entries: Iterable[PeerAddress], own_ip: str) -> set[Endpoint]:
    """Return every address behind the entries, without our own.

    A name that has no address is normal: the only replica has no peers.
    """
    loop = asyncio.get_running_loop()
    found: set[Endpoint] = set()
    for entry in entries:
        with contextlib.suppress(OSError):
            for *_, address in await loop.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM):
                found.add((str(address[0]), int(address[1])))
    return {endpoint for endpoint in found if endpoint[0] != own_ip}


class Peers:
    """Reads the log of every other replica, as they come and go.

    Args:
        entries: where to look for them.
        own_ip: our own address, left out.
        store: identity of our store.
        certificate: whose key they must have.
        log: what we hold.
        writer: where their messages go.
        metrics: where streams are counted.
    """

    def __init__(
        self,
        entries: tuple[PeerAddress, ...],
        own_ip: str,
        store: str,
        certificate: Certificate,
        log: Log,
        writer: Writer,
        metrics: Metrics,
    ) -> None:
        self._entries = entries
        self._own_ip = own_ip
        self._store = store
        self._certificate = certificate
        self._log = log
        self._writer = writer
        self._metrics = metrics
        self._named: set[Endpoint] = set()
        self._ourselves: set[Endpoint] = set()
        self._readers: dict[Endpoint, asyncio.Task[None]] = {}
        self._live: set[Endpoint] = set()
        self._silent: set[Endpoint] = set()
        self._resolved = False
        self._progress = asyncio.Event()

    @property
    def live(self) -> int:
        """Number of replicas whose log is being read and was read to its end."""
        return len(self._live)

    async def caught_up(self) -> None:
        """Wait until the log of every replica that DNS names was read to its end, or it does not answer."""
        while not self._resolved or self._named - self._live - self._ourselves - self._silent:
            self._progress.clear()
            await self._progress.wait()

    async def run(self) -> None:
        """Follow DNS until cancelled."""
        connector = aiohttp.TCPConnector(limit=0, ssl=_client_context(), force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                while True:
                    self._named = await resolve(self._entries, self._own_ip)
                    self._resolved = True
                    self._progress.set()
                    for endpoint in self._named - self._ourselves - self._readers.keys():
                        task = asyncio.create_task(self._follow(session, endpoint))
                        self._readers[endpoint] = task
                    await asyncio.sleep(RESOLVE_SECONDS)
            finally:
                for task in self._readers.values():
                    task.cancel()
                await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def _follow(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        """Read one replica for as long as it answers or DNS names it.

        A replica that is being stopped disappears from DNS first; what it still holds is read while it answers.
        """
        failures = 0
        try:
            while True:
                try:
                    await self._read(session, endpoint)
                except (aiohttp.ClientError, OSError, TimeoutError, PeerError, FrameError, StoreError) as error:
                    if endpoint in self._live or failures + 1 == SILENT_AFTER:
                        self._metrics.peer_failures.inc()
                        _logger.warning(
                            "a replica cannot be read",
                            extra={"peer": endpoint[0], "error": str(error) or repr(error)},
                        )
                finally:
                    failures = 0 if endpoint in self._live else failures + 1
                    if failures >= SILENT_AFTER:
                        self._silent.add(endpoint)
                    self._set_live(endpoint, live=False)
                if endpoint in self._ourselves or endpoint not in self._named:
                    return
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311  spreads reconnections
        finally:
            self._silent.discard(endpoint)
            del self._readers[endpoint]

    def _set_live(self, endpoint: Endpoint, *, live: bool) -> None:
        (self._live.add if live else self._live.discard)(endpoint)
        if live:
            self._silent.discard(endpoint)
        self._metrics.peers.set(len(self._live))
        self._progress.set()

    async def _read(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            stream = await session.ws_connect(
                _url(endpoint), heartbeat=5, compress=0, max_msg_size=0, timeout=aiohttp.ClientWSTimeout(ws_close=1)
            )
        async with stream:
            identity = self._identity_of(stream)
            async with asyncio.timeout(CONNECT_SECONDS):
                greeting = await stream.receive()
            if greeting.type is not aiohttp.WSMsgType.TEXT:
                raise PeerError(f"no greeting; closed with {stream.close_code}")
            peer, nonce = unpack_greeting(greeting.data)
            rev = await self._writer.run(lambda journal: journal.replica_session_rev(peer))
            answer = proof(identity.secret, nonce, self._store, peer)
            await stream.send_frame(
                pack_opening(Opening(self._store, answer, self._log.held, rev)), aiohttp.WSMsgType.TEXT
            )
            async for frame in stream:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    break
                portion = unpack_portion(frame.data)
                await self._keep(peer, portion)
                await stream.send_str(str(portion.head))
                if portion.live:
                    self._set_live(endpoint, live=True)
            if stream.close_code == CLOSE_SELF:
                self._ourselves.add(endpoint)
                self._progress.set()
            raise PeerError(f"closed with {stream.close_code}")

    def _identity_of(self, stream: aiohttp.ClientWebSocketResponse) -> Identity:
        """Return the identity that we share with the other side, which its TLS handshake has just proved."""
        tls: ssl.SSLObject | None = stream.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls else None
        try:
            public_key = public_key_of(certificate) if certificate else b""
        except (ValueError, UnsupportedAlgorithm) as error:
            raise PeerError(f"its certificate is not readable: {error}") from None
        for identity in self._certificate.identities:
            if identity.public_key == public_key:
                return identity
        raise PeerError("its certificate has another key than ours, so it is no replica of this service")

    async def _keep(self, peer: str, portion: Portion) -> None:
        if not (portion.messages or portion.floors or portion.sessions):
            return
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(result: StoreError | OutOfOrderError | None) -> None:
            if stored.done():
                return
            if result is None:
                stored.set_result(None)
            else:
                stored.set_exception(PeerError(str(result)))

        self._metrics.replicated.inc(len(portion.messages))
        self._writer.put(Replicate(peer, portion.messages, portion.floors, portion.sessions, portion.session_rev, done))
        await stored


def _url(endpoint: Endpoint) -> str:
    host, port = endpoint
    return f"wss://{f'[{host}]' if ipaddress.ip_address(host).version == 6 else host}:{port}{PATH}"


def _client_context() -> ssl.SSLContext:
    """TLS 1.3 without a CA: the certificate is for clients' host name; ``_identity_of`` compares its key instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
