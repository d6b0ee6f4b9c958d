"""What Kubernetes and Prometheus ask of the process: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import Fatal
from roadstead.kernel.metrics import Metrics

LAG_LIMIT = 5.0
"""Seconds by which the event loop may be late before the process counts as stuck."""

Check = Callable[[], str]
"""Returns what is wrong in words, or an empty string."""


class HealthServer:
    """Serves health and metrics over plain HTTP.

    Args:
        metrics: what ``/metrics`` shows.
        clock: time.
        live: checks of ``/healthz``; a failing one gets the process restarted.
        ready: checks of ``/readyz``.
        before_scrape: brings gauges up to date.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        *,
        live: dict[str, Check],
        ready: dict[str, Check],
        before_scrape: Callable[[], None],
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._live = {"loop": self._loop_lag, **live}
        self._ready = ready
        self._before_scrape = before_scrape
        self._lag = 0.0
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, address: str, port: int) -> None:
        """Listen; with port 0 the system picks one, see ``port``.

        Raises:
            Fatal: nobody can listen there.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port)
        try:
            await site.start()
        except OSError as error:
            raise Fatal(
                f"--metrics-address={address} --metrics-port={port}: {error.strerror}; "
                "name an address of this machine and a port that nobody else has"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the server."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def measure_lag(self) -> None:
        """Keep measuring how late the event loop is; runs until cancelled."""
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(1.0)
            self._lag = max(0.0, self._clock.monotonic() - before - 1.0)
            self._metrics.loop_lag.set(self._lag)

    def _loop_lag(self) -> str:
        return f"the event loop runs {self._lag:.1f} s late" if self._lag > LAG_LIMIT else ""

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self._live)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._ready)

    async def _scrape(self, _: web.Request) -> web.Response:
        self._before_scrape()
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(checks: dict[str, Check]) -> web.Response:
    """Every check on a line, as the API server's own ``/readyz?verbose`` prints them; 503 when one fails."""
    lines, healthy = [], True
    for name, check in checks.items():
        problem = check()
        healthy = healthy and not problem
        lines.append(f"[-] {name}: {problem}" if problem else f"[+] {name} ok")
    return web.Response(text="\n".join(lines) + "\n", status=200 if healthy else 503)
