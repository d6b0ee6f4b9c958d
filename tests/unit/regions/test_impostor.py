"""An object in some namespace whose labels say that a Region owns it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from roadstead.kernel import objects
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.context import Context
from roadstead.kernel.fleet import Fleet, Site
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import CONFIG_MAPS, Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.kernel.store import ChildStore
from roadstead.regions.reconcile import RegionReconciler
from unit.kernel.objects_as_seen import HUB, uid

IMPOSTOR = {
    "metadata": {
        "name": "x",
        "namespace": "team",
        "uid": uid(1),
        "resourceVersion": "1",
        "labels": {
            objects.MANAGED_BY_LABEL: objects.MANAGED_BY,
            objects.HUB_LABEL: HUB,
            objects.OWNER_KIND_LABEL: "Region",
            objects.OWNER_NAMESPACE_LABEL: "team",
            objects.OWNER_NAME_LABEL: "sgp",
        },
    }
}


def test_labels_wake_nobody_who_owns_no_children() -> None:
    """Whoever may make a ConfigMap in one namespace of one member can write these labels."""
    assert ChildStore(HUB).upsert(CONFIG_MAPS, IMPOSTOR) == []


async def test_a_key_that_no_region_can_have_does_not_end_a_region() -> None:
    parts: Any = None
    clock = SystemClock()
    changed: list[str] = []
    ctx = Context(
        hub=parts,
        hub_id=HUB,
        namespace="system",
        fleet=Fleet(changed.append),
        resources=ResourceStore(lambda kind, body: frozenset()),
        queue=WorkQueue(clock),
        clock=clock,
        events=parts,
        metrics=Metrics(CollectorRegistry()),
    )
    ctx.fleet.put(Site("sgp", "SG", reachable=True))
    changed.clear()
    member: Any = SimpleNamespace(name="sgp")
    regions = RegionReconciler(lambda name, access: member, writing=lambda: False)
    await regions.reconcile(Key("Region", "team", "sgp"), ctx)
    assert ctx.fleet.site("sgp") is not None and changed == [], "the Region sgp is there as before"
