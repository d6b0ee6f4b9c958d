"""What becomes of a Region when the hub cannot say how to reach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from roadstead.kernel.context import Context
from roadstead.kernel.errors import ServerFault
from roadstead.kernel.fleet import Fleet
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.regions import reconcile as module
from roadstead.regions.decide import Access
from roadstead.regions.reconcile import RegionReconciler
from unit.kernel.fake_clock import FakeClock

KEY = Key("Region", "", "hkg")
BODY = {
    "apiVersion": "roadstead.dev/v1alpha1",
    "kind": "Region",
    "metadata": {"name": "hkg", "uid": "5f2c", "generation": 1, "resourceVersion": "1"},
    "spec": {"jurisdiction": "HK", "cluster": {"kubeconfigSecretRef": {"namespace": "system", "name": "region-hkg"}}},
}


def context(hub: Any, changed: list[str] | None = None) -> Context:
    """One Region, as the informer has delivered it."""
    clock = FakeClock()
    resources = ResourceStore(lambda kind, body: frozenset())
    resources.upsert("Region", BODY)
    nobody: Any = None
    return Context(
        hub=hub,
        hub_id="hub-1",
        namespace="system",
        fleet=Fleet((changed if changed is not None else []).append),
        resources=resources,
        queue=WorkQueue(clock),
        clock=clock,
        events=nobody,
        metrics=Metrics(CollectorRegistry()),
    )


async def test_a_secret_that_the_hub_cannot_give_leaves_no_region_pending() -> None:
    """After a takeover its services would wait for it, everywhere, without a word. (Mutant: the error is raised.)"""

    async def find(*_: object, **__: object) -> None:
        raise ServerFault("etcd cannot decrypt it")

    changed: list[str] = []
    ctx = context(SimpleNamespace(client=SimpleNamespace(find=find)), changed)
    nobody: Any = None
    result = await RegionReconciler(connect=nobody, writing=lambda: False).reconcile(KEY, ctx)
    site = ctx.fleet.site("hkg")
    assert site is not None and not site.pending and not site.usable
    assert "the hub: etcd cannot decrypt it" in site.message
    assert changed == ["hkg"] and result.requeue_after is not None


async def test_a_survey_that_hangs_keeps_no_probe_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an API server that hangs would be noticed a minute later. (Mutants: it is awaited; it is begun again.)"""
    monkeypatch.setattr(module, "SURVEY_PATIENCE", 0.0)
    asked, answer = 0, asyncio.Event()

    async def version() -> str:
        nonlocal asked
        asked += 1
        await answer.wait()
        return "v1.36.3"

    async def pages(*_: object) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        yield [], "1"

    async def probe(**_: object) -> str:
        return "cluster-1"

    async def stop() -> None: ...

    client = SimpleNamespace(version=version, pages=pages, probe=probe)
    member: Any = SimpleNamespace(
        name="hkg",
        client=client,
        synced=True,
        served=frozenset(),
        watch_forbidden="",
        watch_error="",
        oldest_watch=lambda: 0.0,
        listing_stands_still=lambda: 0.0,
        start=lambda: None,
        stop=stop,
    )
    ctx = context(SimpleNamespace(client=None))
    regions = RegionReconciler(connect=lambda name, access: member, writing=lambda: False)
    connection = regions._connections["hkg"] = module._Connection(member=member, uid="5f2c")

    async def connected(*_: object) -> tuple[Access, str]:
        return Access.READY, ""

    monkeypatch.setattr(regions, "_ensure_connected", connected)
    for _ in range(3):
        await regions.reconcile(KEY, ctx)
        await ctx.clock.advance(module.SURVEY_INTERVAL)  # type: ignore[attr-defined]
    site = ctx.fleet.site("hkg")
    assert site is not None and site.usable
    assert (asked, connection.version) == (1, "")
    answer.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert connection.version == "v1.36.3"
    answer.clear()
    await regions.reconcile(KEY, ctx)
    survey = connection.survey
    await regions.close()
    assert asked == 2 and survey is not None and survey.cancelled()
