"""What the nodes of a region offer, summed from Node objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from roadstead.api.quantity import amount
from roadstead.api.region import RegionCapacity

_MEBI = 1024 * 1024


def slim(node: Mapping[str, Any]) -> dict[str, Any]:
    """What of a Node is looked at here."""
    status = node.get("status") or {}
    return {
        "metadata": {"labels": node["metadata"].get("labels") or {}},
        "status": {
            "allocatable": status.get("allocatable") or {},
            "conditions": [c for c in status.get("conditions") or () if c.get("type") == "Ready"],
        },
    }


def of_nodes(nodes: Iterable[Mapping[str, Any]], selector: Mapping[str, str]) -> RegionCapacity:
    """Sum the allocatable resources of the ready nodes that carry the selector's labels."""
    count = ready = pods = 0
    cpu = memory = Decimal(0)
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        if any(labels.get(name) != value for name, value in selector.items()):
            continue
        count += 1
        status = node.get("status") or {}
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()):
            continue
        ready += 1
        allocatable = status.get("allocatable") or {}
        cpu += amount(str(allocatable.get("cpu", "0")))
        memory += amount(str(allocatable.get("memory", "0")))
        pods += int(amount(str(allocatable.get("pods", "0"))))
    return RegionCapacity(
        nodes=count,
        ready_nodes=ready,
        cpu=f"{cpu.normalize():f}" if cpu else "0",
        memory=f"{int(memory) // _MEBI}Mi" if memory else "0",
        pods=pods,
    )
