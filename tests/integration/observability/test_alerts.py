"""Some alerts on a real Prometheus that scrapes the real operator: what it exports is what the rules ask for.

The expressions are those of the chart; only patience is shorter: nobody waits 15 minutes in a test. That each fires
when it should, and no sooner, is tested in tests/unit/observability.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import api_key_cases
import worlds
from clusters import StartCluster, eventually
from integration.observability.prometheus import Prometheus
from keyconsumers import Consumer
from localoperator import NAMESPACE as SYSTEM
from roadstead.observability.alerts import rule_file
from worlds import NAMESPACE, SETTLE_SECONDS, World

PATIENCE = 5
"""Seconds instead of a quarter of an hour."""


def impatient_rules() -> str:
    """The rules without patience; nothing else of them is changed."""
    content = rule_file()
    for group in content["groups"]:
        for rule in group["rules"]:
            rule["for"] = "3s"
            rule["expr"] = rule["expr"].replace(">= 900", f">= {PATIENCE}")
    return yaml.safe_dump(content)


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    with worlds.running(start_cluster) as made:
        yield made


@pytest.fixture(scope="module")
def prometheus(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(folder, {"roadstead-operator": world.running.port()}, impatient_rules())
    try:
        eventually(lambda: server.is_up(1), deadline=60, interval=0.5)
        yield server
    finally:
        server.stop()


def make(world: World, name: str, **schedule: str) -> str:
    """A ring in hkg with a first version."""
    edits = {f"spec.schedule.{field}": value for field, value in schedule.items()}
    body = api_key_cases.ring(name, NAMESPACE, **{"spec.regions": ["hkg"], **api_key_cases.NO_HASTE, **edits})
    world.at_hub.apply("keyrings", body)
    eventually(partial(status, world, name, "primary"), deadline=SETTLE_SECONDS)
    return name


def status(world: World, ring: str, field: str) -> Any:
    return (world.at_hub.get("keyrings", ring).get("status") or {}).get(field)


def alert(prometheus: Prometheus, name: str, ring: str) -> dict[str, Any] | None:
    for found in prometheus.firing():
        if found["labels"]["alertname"] == name and found["labels"].get("ring") == ring:
            return found
    return None


def fires(prometheus: Prometheus, name: str, ring: str, *, deadline: float = SETTLE_SECONDS) -> dict[str, Any]:
    eventually(lambda: alert(prometheus, name, ring), deadline=deadline, what=f"{name} to fire for {ring}")
    found = alert(prometheus, name, ring)
    assert found is not None
    assert found["labels"]["roadstead_namespace"] == NAMESPACE
    words = " ".join(found["annotations"].values())
    assert f"{NAMESPACE}/{ring}" in words and "no value" not in words and "{{" not in words
    return found


def ends(prometheus: Prometheus, name: str, ring: str) -> None:
    eventually(lambda: alert(prometheus, name, ring) is None, deadline=SETTLE_SECONDS, what=f"{name} to end")


def test_rings_that_are_well_make_no_noise(world: World, prometheus: Prometheus) -> None:
    make(world, "well")
    well = 'count_over_time(roadstead_keyring_primary_timestamp_seconds{ring="well"}[1m]) > 5'
    eventually(lambda: prometheus.ask(well), deadline=SETTLE_SECONDS)
    assert prometheus.firing() == []


def test_a_primary_that_grows_old_because_a_pod_does_not_prove(
    world: World, prometheus: Prometheus, tmp_path: Path
) -> None:
    """With a period of a minute: a ticket for the pod, a ticket at 75 s, and a page at two minutes."""
    ring = make(world, "slow", every="1m")
    silent = Consumer(world.at["hkg"], ring, "hkg", "silent", tmp_path)
    late = fires(prometheus, "RoadsteadKeyRingAcknowledgementLate", ring, deadline=100)
    assert (late["labels"]["region"], late["labels"]["severity"]) == ("hkg", "ticket")
    assert fires(prometheus, "RoadsteadKeyRingPrimaryAgeing", ring, deadline=100)["labels"]["severity"] == "ticket"
    assert fires(prometheus, "RoadsteadKeyRingPrimaryOverdue", ring, deadline=100)["labels"]["severity"] == "page"
    silent.end()
    for name in ("AcknowledgementLate", "PrimaryAgeing", "PrimaryOverdue"):
        ends(prometheus, f"RoadsteadKeyRing{name}", ring)


def test_a_keyset_that_the_ledger_does_not_know(world: World, prometheus: Prometheus) -> None:
    ring, other = make(world, "edited"), make(world, "other")
    objects = world.at["hkg"]
    foreign = objects.get("secrets", f"{other}.hkg.keyset")["data"]["keyset.json"]
    objects.patch("secrets", f"{ring}.hkg.keyset", {"data": {"keyset.json": foreign}})
    found = fires(prometheus, "RoadsteadKeyRingLedgerBehind", ring)
    assert found["labels"]["severity"] == "page"
    objects.delete("secrets", f"{ring}.hkg.keyset")
    ends(prometheus, "RoadsteadKeyRingLedgerBehind", ring)


def test_a_key_that_the_hub_has_lost(world: World, prometheus: Prometheus) -> None:
    ring = make(world, "lost")
    labels = f"roadstead.dev/ring-id={status(world, ring, 'ringID')}"
    [secret] = [
        item
        for item in world.at_hub.items("secrets", SYSTEM, labels=labels)
        if item["metadata"]["name"].startswith("dek-")
    ]
    world.at_hub.delete("secrets", secret["metadata"]["name"], SYSTEM)
    said = json.loads(base64.b64decode(world.at["hkg"].get("secrets", f"{ring}.hkg.keyset")["data"]["keyset.json"]))
    assert said["key"], "the region keeps what it has"
    world.at_hub.patch("keyrings", ring, {"metadata": {"annotations": {"example.com/touched": "1"}}})
    assert fires(prometheus, "RoadsteadKeyRingMaterialLost", ring)["labels"]["severity"] == "page"


def test_a_ring_that_cannot_have_its_first_version(world: World, prometheus: Prometheus) -> None:
    body = api_key_cases.ring("nowhere", NAMESPACE, **{"spec.regions": ["hkg", "atlantis"]})
    world.at_hub.apply("keyrings", body)
    fires(prometheus, "RoadsteadKeyRingWithoutPrimary", "nowhere")
    world.at_hub.delete("keyrings", "nowhere")
    ends(prometheus, "RoadsteadKeyRingWithoutPrimary", "nowhere")


def test_an_operator_that_is_gone(world: World, prometheus: Prometheus) -> None:
    """The last test here: it ends the operator."""
    world.running.kill()
    eventually(
        lambda: [found for found in prometheus.firing() if found["labels"]["alertname"] == "RoadsteadNoLeader"],
        deadline=SETTLE_SECONDS,
    )
