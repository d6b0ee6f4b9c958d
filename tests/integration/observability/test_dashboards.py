"""Every query of every dashboard, asked of a real Prometheus that scraped the real operator and a real chat relay.

Mutant: a metric renamed in `kernel/metrics.py` (``workqueue_depth`` to ``workqueue_size``) turns its panel red.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import worlds
from clusters import StartCluster, eventually
from integration.workloads.relays import Clients, Relay, Site
from integration.workloads.tls_pairs import Authority
from localkube import binaries, ports
from roadstead.observability.queries import BOARDS, Panel
from worlds import World

PANELS = [pytest.param(panel, id=f"{board.title}: {panel.title}") for board in BOARDS for panel in board.panels]
WINDOW = "[30s]"
"""What stands for Grafana's $__rate_interval: many scrapes, which are a second apart here."""


class Prometheus:
    """A Prometheus server on loopback that scrapes these ports."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        self._claim = ports.Claim(1)
        (self._port,) = self._claim.ports
        jobs = "\n".join(
            f'- {{job_name: {job}, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}'
            for job, port in targets.items()
        )
        (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}\n")
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                str(binaries.path("prometheus")),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, expression: str) -> list[dict[str, object]]:
        """Samples of an instant query; fails with Prometheus's own words when it is not accepted."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query?{query}", timeout=10) as answer:
                found: list[dict[str, object]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def is_up(self, jobs: int) -> bool:
        """Whether every job has been scraped often enough for a rate."""
        try:
            return len(self.ask("count_over_time(up[30s]) > 8 and up == 1")) == jobs
        except OSError:
            return False

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()
        self._claim.release()


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    with worlds.world(start_cluster) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    site = Site(tmp_path_factory.mktemp("relay"), Authority())
    yield site.relay().start()
    site.close()


@pytest.fixture(scope="module")
def prometheus(world: World, relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    name = world.fresh_name()
    world.apply(worlds.chat(name, tuple(world.members)))
    world.wait_ready(name)
    server = Prometheus(
        tmp_path_factory.mktemp("prometheus"), {"roadstead-operator": world.running.port(), "chat": relay.ops_port}
    )
    try:
        eventually(lambda: server.is_up(2), deadline=60, interval=0.5)
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("panel", PANELS)
def test_the_queries_of_the_panel_are_answered(panel: Panel, prometheus: Prometheus) -> None:
    for query in panel.queries:
        samples = prometheus.ask(query.expression.replace("[$__rate_interval]", WINDOW))
        assert samples or panel.rare, f"no data for {query.expression}"


def test_the_chat_board_counts_a_message(prometheus: Prometheus, relay: Relay) -> None:
    before = _value(prometheus, "sum(chat_messages_accepted_total)")
    _send_one(relay)
    eventually(lambda: _value(prometheus, "sum(chat_messages_accepted_total)") == before + 1, deadline=30)


def _value(prometheus: Prometheus, expression: str) -> float:
    return float(prometheus.ask(expression)[0]["value"][1])  # type: ignore[index]


def _send_one(relay: Relay) -> None:
    async def send() -> None:
        clients = Clients(relay.site)
        try:
            client = await clients.connect(relay, "teller")
            await client.send("room", "message-1")
            await client.accepted("message-1")
        finally:
            await clients.close()

    asyncio.run(send())


def test_every_board_has_panels() -> None:
    assert all(board.panels for board in BOARDS)
