"""Every query of every dashboard, asked of a real Prometheus that scraped the real operator and a real chat relay.

Mutant: a metric renamed in `kernel/metrics.py` (``workqueue_depth`` to ``workqueue_size``) turns its panel red.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

import api_key_cases
import worlds
from clusters import StartCluster, eventually
from integration.observability.prometheus import Prometheus
from integration.workloads.relays import Clients, Relay, Site
from integration.workloads.tls_pairs import Authority
from keyconsumers import Consumer
from roadstead.observability.queries import BOARDS, Panel
from worlds import NAMESPACE, World

PANELS = [pytest.param(panel, id=f"{board.title}: {panel.title}") for board in BOARDS for panel in board.panels]
WINDOW = "[30s]"
"""What stands for Grafana's $__rate_interval: many scrapes, which are a second apart here."""


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
    make_rings(world, tmp_path_factory.mktemp("consumer"))
    server = Prometheus(
        tmp_path_factory.mktemp("prometheus"), {"roadstead-operator": world.running.port(), "chat": relay.ops_port}
    )
    try:
        eventually(lambda: server.is_up(2), deadline=60, interval=0.5)
        yield server
    finally:
        server.stop()


def make_rings(world: World, folder: Path) -> None:
    """One ring that has rotated, and one that waits for a pod to prove."""
    region = next(iter(world.members))
    for ring in ("rotated", "waiting"):
        body = api_key_cases.ring(
            ring, NAMESPACE, **{"spec.regions": [region], "spec.retention": "90d", **api_key_cases.NO_HASTE}
        )
        world.at_hub.apply("keyrings", body)
        eventually(partial(has_primary, world, ring, 1), deadline=worlds.SETTLE_SECONDS)
    Consumer(world.at[region], "waiting", region, "silent", folder)
    for ring in ("rotated", "waiting"):
        rotate_now = {"spec": {"schedule": {"rotateAt": datetime.now(UTC).isoformat()}}}
        world.at_hub.patch("keyrings", ring, rotate_now)
    eventually(partial(has_primary, world, "rotated", 2), deadline=worlds.SETTLE_SECONDS)
    eventually(lambda: world.at_hub.get("keyrings", "waiting")["status"].get("waits"), deadline=worlds.SETTLE_SECONDS)


def has_primary(world: World, ring: str, number: int) -> bool:
    status = world.at_hub.get("keyrings", ring).get("status") or {}
    return bool(status.get("primary", 0) == number)


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
