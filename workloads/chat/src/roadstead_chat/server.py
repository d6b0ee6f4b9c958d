"""One relay from start to end: opens the store, serves, and on the signal to stop drains in order."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from roadstead_keys import Ring

from roadstead_chat import __version__, gate, peer_wire
from roadstead_chat.archive import ArchiveReader
from roadstead_chat.config import Config, ConfigError
from roadstead_chat.connection import Services, save_sessions
from roadstead_chat.copies import Copies
from roadstead_chat.journal import Journal
from roadstead_chat.keys import Keys
from roadstead_chat.log import Log
from roadstead_chat.metrics import Metrics
from roadstead_chat.peer_stream import PeerServer
from roadstead_chat.peers import Peers
from roadstead_chat.protocol import Close
from roadstead_chat.relay import Relay
from roadstead_chat.tls import Certificate
from roadstead_chat.writer import Committed, StoreError, Writer

CERTIFICATE_SECONDS = 1.0
SESSIONS_SECONDS = 1.0
EXPIRE_ROWS = 500
_logger = logging.getLogger(__name__)


class Server:
    """A running relay.

    Args:
        config: settings.
        certificate: the mounted pair, loaded.
        journal: the opened store.
        metrics: its registry is what /metrics shows.
        ring: what the store is encrypted with; None: it is not.
    """

    def __init__(
        self, config: Config, certificate: Certificate, journal: Journal, metrics: Metrics, ring: Ring | None = None
    ) -> None:
        self._config = config
        self._certificate = certificate
        self._metrics = metrics
        self._failure = ""
        self._stop = asyncio.Event()
        self._peers_read = False
        self._log = Log(journal.head, journal.held, journal.floors, metrics)
        self._relay = Relay(journal.head, journal.held, journal.floors)
        self._copies = Copies(journal.store, config.copy_seconds, self._relay.publish, metrics.copies_given_up.inc)
        self._writer = Writer(journal, asyncio.get_running_loop(), self._committed, self._broken)
        self._reader = ArchiveReader(config.store, ring)
        self._keys = Keys(config, ring, self._writer, metrics) if ring is not None else None
        self._gate = gate.Gate(Services(config, self._relay, self._writer, self._reader, metrics), journal.store)
        self._peer_server = PeerServer(journal.store, certificate, self._log, self._reader, self._copies)
        self._peers = Peers(config.peers, config.pod_ip, journal.store, certificate, self._log, self._writer, metrics)

    def _committed(self, committed: Committed, to_senders: list[Callable[[], None]]) -> None:
        """First the other replicas, whose copy is waited for; then, in time, the clients."""
        self._log.commit(committed)
        self._copies.committed(committed, to_senders)

    def _broken(self, reason: str) -> None:
        self._failure = reason
        self._stop.set()

    async def run(self) -> int:
        """Serve until a signal; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        runners = await self._listen()
        self._writer.start()
        tasks = [asyncio.create_task(work) for work in self._background()]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                self._failure = f"a background task ended: {task.exception()!r}"
            if self._failure:
                _logger.critical("the relay cannot go on", extra={"error": self._failure})
            else:
                await self._drain()
        finally:
            await self._peer_server.close()
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for runner in runners:
                await runner.cleanup()
            self._reader.close()
            if self._keys is not None:
                self._keys.close()
            self._writer.stop()
        _logger.info("stopped")
        return 1 if self._failure else 0

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        work = [
            _every(CERTIFICATE_SECONDS, self._reload_certificate),
            _every(SESSIONS_SECONDS, self._save_sessions),
            _every(_pause(self._config.retention_transactions), self._expire_messages),
            _every(_pause(self._config.retention_sessions), self._expire_sessions),
        ]
        if self._keys is not None:
            work += [self._keys.keep(), self._keys.rewrap()]
        if self._config.peers:
            work += [self._read_peers(), self._await_peers()]
        else:
            self._peers_read = True
        return work

    # --- listening

    async def _listen(self) -> list[web.AppRunner]:
        config = self._config
        public = web.Application()
        public.router.add_get(gate.PATH, self._gate.handle)
        public.router.add_get(peer_wire.PATH, self._peer_server.handle)
        ops = web.Application()
        ops.router.add_get("/healthz", self._healthz)
        ops.router.add_get("/readyz", self._readyz)
        ops.router.add_get("/metrics", self._metrics_page)
        runners = []
        for app, name, port, tls in (
            (ops, "CHAT_OPS_PORT", config.ops_port, None),
            (public, "CHAT_LISTEN_PORT", config.listen_port, self._certificate.context),
        ):
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
            await runner.setup()
            runners.append(runner)
            site = web.TCPSite(runner, config.listen_host or None, port, ssl_context=tls, backlog=1024)
            try:
                await site.start()
            except OSError as error:
                raise ConfigError([_unusable(name, port, config.listen_host, error)]) from None
        _logger.info(
            "listening",
            extra={"address": runners[1].addresses[0], "ops": runners[0].addresses[0], "version": __version__},
        )
        return runners

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._stop.is_set():
            return web.Response(status=503, text="draining\n")
        if self._keys is not None and self._keys.waits_for:
            return web.Response(status=503, text=f"{self._keys.waits_for}\n")
        if not self._peers_read:
            return web.Response(status=503, text="reading the other replicas' logs\n")
        return web.Response(text="ok\n")

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    # --- background

    async def _read_peers(self) -> None:
        """Follow the others from the moment when what they send can be stored."""
        if self._keys is not None:
            await self._keys.writable()
        await self._peers.run()

    async def _await_peers(self) -> None:
        """Become ready once the logs of the others were read: a client should not land on an empty replica.

        A replica that DNS names and that does not answer keeps nobody from serving.
        """
        await self._peers.caught_up()
        self._peers_read = True
        await asyncio.Event().wait()

    async def _reload_certificate(self) -> None:
        self._certificate.reload()

    async def _save_sessions(self) -> None:
        cursors = [cursor for connection in self._gate.connections for cursor in connection.take_acks()]
        await save_sessions(self._writer, cursors)

    async def _expire_messages(self) -> None:
        before = time.time_ns() // 1_000 - self._config.retention_transactions * 1_000_000
        await self._expire("transactions", lambda journal: journal.expire_messages(before, EXPIRE_ROWS))

    async def _expire_sessions(self) -> None:
        before = time.time_ns() // 1_000 - self._config.retention_sessions * 1_000_000
        await self._expire("sessions", lambda journal: journal.expire_sessions(before, EXPIRE_ROWS))

    async def _expire(self, kind: str, step: Callable[[Journal], int]) -> None:
        """Remove in small transactions, so that nobody's message waits behind a long one."""
        with contextlib.suppress(StoreError):
            while removed := await self._writer.run(step):
                self._metrics.expired.labels(kind).inc(removed)

    # --- the end

    async def _drain(self) -> None:
        """Let clients go with everything acknowledged that they sent, and let the other replicas have it."""
        started = time.monotonic()
        self._metrics.draining.set(1)
        self._gate.draining = True
        _logger.info("draining", extra={"connections": len(self._gate.connections)})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_seconds):
                for connection in list(self._gate.connections):
                    connection.end(Close.RESTART, "this relay is going; connect again")
                await self._gate.empty()
                await self._writer.run(lambda _: 0)
                if self._config.peers:
                    await self._peer_server.all_stored(self._log.head, self._peers.live)
        _logger.info("drained", extra={"seconds": round(time.monotonic() - started, 3)})


def _unusable(name: str, port: int, host: str, error: OSError) -> str:
    where = f"CHAT_LISTEN_HOST {host}" if host else "any address"
    cure = "it must be free, not the same as the other port, and the address one of this machine"
    # asyncio's own words have the address twice; a name that cannot be resolved has no errno, but a negative code.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return f"{name} {port} on {where} cannot be listened on ({reason}); {cure}"


def _pause(retention: int) -> float:
    """Return how often to look for expired rows: a tenth of the retention, from half a second to a minute."""
    return min(60.0, max(0.5, retention / 10))


async def _every(seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await work()


async def serve(
    config: Config, certificate: Certificate, journal: Journal, metrics: Metrics, ring: Ring | None = None
) -> int:
    """Run a relay in the current loop; return the exit code.

    Raises:
        ConfigError: a port cannot be listened on.
        KeysError: receipts cannot be handed in from here.
    """
    return await Server(config, certificate, journal, metrics, ring).run()


def new_store() -> str:
    """Return a fresh identity for a store."""
    return secrets.token_hex(8)
