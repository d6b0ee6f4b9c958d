"""A Region whose cluster answers what no cluster should."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from roadstead.api.parse import parse
from roadstead.regions import capacity
from roadstead.regions.decide import Observation
from roadstead.regions.status import derive

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
BODY = {
    "apiVersion": "roadstead.dev/v1alpha1",
    "kind": "Region",
    "metadata": {"name": "hkg", "uid": "5f2c", "generation": 1, "resourceVersion": "1"},
    "spec": {"jurisdiction": "HK", "cluster": {"inCluster": {}}},
}


def test_a_uid_that_is_no_uid_does_not_keep_the_status_from_being_written() -> None:
    region = parse("Region", BODY)
    derive(region, Observation(cluster_id="x" * 65), version="", capacity=None, services=0, now=NOW)


def test_a_node_with_a_huge_quantity_does_not_hold_the_loop() -> None:
    """Refused by its form: as a number it took four seconds in the event loop, beside the Lease, and the time grows
    with the square of the exponent."""
    node = {
        "metadata": {},
        "status": {
            "allocatable": {"cpu": "1", "memory": "1Gi", "pods": "1e400000"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    with pytest.raises(ValueError, match="not a quantity"):
        capacity.of_nodes([node], {})
