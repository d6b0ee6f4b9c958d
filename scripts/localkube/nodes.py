"""Fake nodes that KWOK keeps Ready, with the labels that schedulers and Regions look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localkube.rest import Api

CAPACITY = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "256Gi", "pods": "1000"}
REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"


def add(
    api: Api,
    count: int = 1,
    *,
    labels: Mapping[str, str] | None = None,
    prefix: str = "node",
    capacity: Mapping[str, str] | None = None,
) -> list[str]:
    """Create ``count`` fake nodes and return their names; one that exists already is left as it is.

    Args:
        api: Of a cluster with KWOK.
        count: How many: ``<prefix>-0`` to ``<prefix>-<count - 1>``.
        labels: On every node, for example ``{REGION_LABEL: "hkg", ZONE_LABEL: "hkg-a"}``.
        prefix: Of the names.
        capacity: Kubernetes quantities, default 32 CPUs, 128 GiB, 256 GiB of disk, 1000 pods.
    """
    names = [f"{prefix}-{number}" for number in range(count)]
    for name in names:
        api.create("/api/v1/nodes", manifest(name, labels or {}, capacity or CAPACITY))
    return names


def manifest(name: str, labels: Mapping[str, str], capacity: Mapping[str, str]) -> dict[str, Any]:
    """Return the Node object of a fake node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok", **labels},
        },
        "status": {"allocatable": dict(capacity), "capacity": dict(capacity), "nodeInfo": {"kubeletVersion": "kwok"}},
    }
