"""What becomes of a Region when the hub cannot say how to reach it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from roadstead.kernel.context import Context
from roadstead.kernel.errors import ServerFault
from roadstead.kernel.fleet import Fleet
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.regions.reconcile import RegionReconciler
from unit.kernel.fake_clock import FakeClock

KEY = Key("Region", "", "hkg")
BODY = {
    "apiVersion": "roadstead.dev/v1alpha1",
    "kind": "Region",
    "metadata": {"name": "hkg", "uid": "5f2c", "generation": 1, "resourceVersion": "1"},
    "spec": {"jurisdiction": "HK", "cluster": {"kubeconfigSecretRef": {"namespace": "system", "name": "region-hkg"}}},
}


async def test_a_secret_that_the_hub_cannot_give_leaves_no_region_pending() -> None:
    """After a takeover its services would wait for it, everywhere, without a word. (Mutant: the error is raised.)"""

    async def find(*_: object, **__: object) -> None:
        raise ServerFault("etcd cannot decrypt it")

    changed: list[str] = []
    clock = FakeClock()
    resources = ResourceStore(lambda kind, body: frozenset())
    resources.upsert("Region", BODY)
    hub: Any = SimpleNamespace(client=SimpleNamespace(find=find))
    parts: Any = None
    ctx = Context(
        hub=hub,
        hub_id="hub-1",
        namespace="system",
        fleet=Fleet(changed.append),
        resources=resources,
        queue=WorkQueue(clock),
        clock=clock,
        events=parts,
        metrics=Metrics(CollectorRegistry()),
    )
    result = await RegionReconciler(connect=parts, writing=lambda: False).reconcile(KEY, ctx)
    site = ctx.fleet.site("hkg")
    assert site is not None and not site.pending and not site.usable
    assert "the hub: etcd cannot decrypt it" in site.message
    assert changed == ["hkg"] and result.requeue_after is not None
