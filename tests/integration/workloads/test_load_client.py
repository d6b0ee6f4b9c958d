"""The load client against real relays: what it proves, and that it says so when something is wrong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from integration.workloads.balancer import Balancer
from integration.workloads.relays import Relay, Site, ready, until
from roadstead_chat_load import keys


@dataclass
class Outcome:
    code: int
    report: dict[str, Any]
    errors: str


async def load(site: Site, *urls: str, **options: object) -> Outcome:
    command = [sys.executable, "-m", "roadstead_chat_load.main", "run", "--json", "--ca-file", str(site.ca_file)]
    for url in urls:
        command += ["--url", url]
    for name, value in ({"signing-key-file": site.seed_file, "limit": 100} | options).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=site.directory
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return Outcome(process.returncode, json.loads(out) if out else {}, errors.decode())


async def test_two_regions_deliver_everything_once_and_in_order(site: Site) -> None:
    relays = [site.relay(name).start() for name in ("hkg", "sgp")]
    done = await load(site, *(relay.url for relay in relays), messages=2_000, connections=12, rooms=2)
    assert (done.code, done.errors) == (0, "")
    report = done.report
    # Six clients a region in two rooms: each message has three receivers.
    assert (report["messages"], report["acknowledged"], report["expected"]) == (2_000, 2_000, 6_000)
    assert (report["delivered"], report["ratio"], report["acknowledged_but_lost"]) == (6_000, 1.0, 0)
    assert (report["duplicates"], report["out_of_order"], report["undecryptable"]) == (0, 0, 0)
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"] <= report["latency_ms"]["max"]
    assert sum(relay.metric("chat_messages_accepted_total") for relay in relays) == 2_000
    assert relays[0].metric("chat_messages_accepted_total") > 0


async def rolled(relays: list[Relay], *, kill: bool) -> None:
    """Every replica goes and comes back, one after the other, as an upgrade does it (or as a node's death does)."""
    for relay in relays:
        await asyncio.sleep(1)
        if kill:
            relay.kill()
        else:
            relay.terminate()
            await until(relay.exited, "the drain", 20)
            assert relay.process is not None
            assert relay.process.returncode == 0
        await asyncio.sleep(0.5)
        relay.launch()
        await ready(relay, seconds=30)


@pytest.mark.parametrize("kill", [pytest.param(False, id="drained"), pytest.param(True, id="killed")])
async def test_nothing_acknowledged_is_lost_through_rolling_restarts(site: Site, kill: bool) -> None:
    relays = site.replicas("a", "b", "c")
    for relay in relays:
        relay.launch()
    await ready(*relays, seconds=30)
    await until(lambda: all(relay.metric("chat_peers") == 2 for relay in relays), "peers", 10)
    async with Balancer(relays) as service:
        loading = asyncio.create_task(load(site, service.url, messages=4_000, connections=12, rooms=3, rate=200))
        # A client is only moved by a restart once it is there.
        await until(lambda: sum(relay.metric("chat_messages_accepted_total") for relay in relays) > 50, "load", 30)
        await rolled(relays, kill=kill)
        done = await loading
    assert (done.code, done.errors) == (0, ""), done
    assert done.report["ratio"] == 1.0
    assert done.report["acknowledged"] == 4_000
    assert done.report["reconnects"] >= 12, "the restarts missed the run"
    assert ("1012" in done.report["closes"]) is not kill


async def test_a_churning_network_loses_nothing(site: Site) -> None:
    relays = site.replicas("a", "b")
    for relay in relays:
        relay.launch()
    await ready(*relays, seconds=30)
    await until(lambda: all(relay.metric("chat_peers") == 1 for relay in relays), "peers", 10)
    async with Balancer(relays) as service:
        done = await load(site, service.url, messages=2_000, connections=10, rooms=2, rate=250, churn=2)
    assert (done.code, done.errors) == (0, ""), done
    assert done.report["reconnects"] >= 20
    assert done.report["retries"] > 0


async def test_replicas_that_do_not_know_of_each_other_are_found_out(site: Site) -> None:
    """Acknowledged by one, unknown to the members at the other: exactly what the exit code is for."""
    relays = [site.relay(name).start() for name in ("a", "b")]
    async with Balancer(relays) as service:
        done = await load(site, service.url, messages=200, connections=6, rooms=1, settle=2)
    assert done.code == 1
    assert done.report["acknowledged"] == 200
    assert done.report["acknowledged_but_lost"] == 600
    assert done.report["ratio"] == 0.5
    assert "600 deliveries of acknowledged messages are missing" in done.errors


async def test_a_ratio_may_be_asked_for(site: Site) -> None:
    """Refused messages lower the ratio and are no loss."""
    relay = site.relay(CHAT_ROLE="standby").start()
    done = await load(site, relay.url, messages=20, connections=2, rooms=1)
    assert (done.code, done.report["refused"], done.report["ratio"]) == (1, {"standby": 20}, 0.0)
    assert done.report["acknowledged_but_lost"] == 0
    done = await load(site, relay.url, messages=20, connections=2, rooms=1, min_ratio=0)
    assert done.code == 0


async def test_what_keeps_a_run_from_beginning_is_said(site: Site) -> None:
    relay = site.relay().start()
    keys.generate(site.directory / "stranger")
    for options, words in (
        ({"signing-key-file": site.directory / "stranger"}, "401"),
        ({"signing-key-file": site.directory / "absent"}, "keygen"),
        ({"ca-file": site.directory / "seed"}, "--ca-file"),
        ({"url": "ws://plain"}, "write wss://"),
        ({"url": relay.url}, "at least as many"),
    ):
        done = await load(site, relay.url, messages=1, connections=options.pop("connections", 1), **options)
        assert done.code == 2, (options, done)
        assert words in done.errors
        assert "Traceback" not in done.errors
    relay.kill()
    done = await load(site, relay.url, messages=1, connections=1, limit=3)
    assert done.code == 2
    assert "1 of 1 clients could not join" in done.errors
