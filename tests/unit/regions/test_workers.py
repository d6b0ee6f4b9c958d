"""Regions that do not answer, and everybody else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from roadstead.kernel.clock import SystemClock
from roadstead.kernel.context import Context, Result
from roadstead.kernel.controller import Controller
from roadstead.kernel.errors import Unreachable
from roadstead.kernel.fleet import Fleet
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.regions.reconcile import RegionReconciler
from unit.kernel.kubeconfigs import b64, kubeconfig

WORKERS = 4
PROBE_SECONDS = 3.0


class Silent:
    """A member whose packets are dropped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.synced = False
        self.watch_error = self.watch_forbidden = ""
        self.served: frozenset[str] = frozenset()
        self.watchers: list[Any] = []
        self.client = SimpleNamespace(probe=self.probe)

    async def probe(self, *, timeout: float) -> str:  # noqa: ASYNC109 - as the client has it
        await asyncio.sleep(timeout)
        raise Unreachable(f"{self.name} does not answer: no answer in time")

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    def oldest_watch(self) -> float:
        return 0.0

    def listing_stands_still(self) -> float:
        return 0.0


def region(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Region",
        "metadata": {"name": name, "uid": name, "generation": 1, "resourceVersion": "1"},
        "spec": {
            "jurisdiction": "HK",
            "cluster": {"kubeconfigSecretRef": {"namespace": "system", "name": f"region-{name}"}},
            "probe": {"interval": f"{PROBE_SECONDS:.0f}s", "timeout": f"{PROBE_SECONDS:.0f}s"},
        },
    }


async def test_as_many_silent_regions_as_workers_do_not_stop_the_services_elsewhere() -> None:
    """A probe waits for its server and for nothing else, so it needs no worker. (With 16 workers: 16 Regions.)"""

    async def find(*_: object, **__: object) -> dict[str, Any]:
        return {"data": {"kubeconfig": b64(kubeconfig())}}

    clock = SystemClock()
    resources = ResourceStore(lambda kind, body: frozenset())
    hub: Any = SimpleNamespace(client=SimpleNamespace(find=find))
    parts: Any = None
    ctx = Context(
        hub=hub,
        hub_id="hub-1",
        namespace="system",
        fleet=Fleet(lambda name: None),
        resources=resources,
        queue=WorkQueue(clock),
        clock=clock,
        events=parts,
        metrics=Metrics(CollectorRegistry()),
    )
    served = asyncio.Event()

    async def service(key: Key, ctx: Context) -> Result:
        served.set()
        return Result()

    connect: Any = lambda name, access: Silent(name)  # noqa: E731
    regions = RegionReconciler(connect, writing=lambda: False)
    controller = Controller(ctx, {"Region": regions.reconcile, "ChatService": service}, workers=WORKERS)
    running = asyncio.create_task(controller.run())
    try:
        for number in range(WORKERS):
            resources.upsert("Region", region(f"r{number}"))
            ctx.queue.add(Key("Region", "", f"r{number}"))
        await asyncio.sleep(0.1)
        ctx.queue.add(Key("ChatService", "bank", "desk"))
        async with asyncio.timeout(PROBE_SECONDS / 2):
            await served.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
