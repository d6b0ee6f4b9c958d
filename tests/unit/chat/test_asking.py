"""Asking the pods of a slow region what keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from roadstead.chat.converge import PODS_TIMEOUT, why_not_ready
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.context import Context, Result
from roadstead.kernel.controller import Controller
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import Key
from roadstead.kernel.queue import WorkQueue
from unit.chat.test_bulkhead import Slow


async def test_who_asks_a_slow_region_needs_no_worker() -> None:
    """A bad version in a thousand services: ten seconds later all of them ask at once, two seconds each."""

    async def pages(*_: object, **__: object) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        await asyncio.sleep(60)
        yield [], ""

    member = SimpleNamespace(client=SimpleNamespace(pages=pages, gate=Slow()))
    view: Any = SimpleNamespace(site=SimpleNamespace(name="hkg", member=member))
    served = asyncio.Event()

    async def reconcile(key: Key, ctx: Context) -> Result:
        if key.name == "elsewhere":
            served.set()
        else:
            await why_not_ready(view, key)
        return Result()

    parts: Any = None
    clock = SystemClock()
    queue = WorkQueue(clock)
    ctx = Context(
        hub=parts, hub_id="h", namespace="n", fleet=parts, resources=parts, queue=queue, clock=clock, events=parts,
        metrics=Metrics(CollectorRegistry()),
    )  # fmt: skip
    running = asyncio.create_task(Controller(ctx, {"ChatService": reconcile}, workers=2).run())
    try:
        for number in range(8):
            queue.add(Key("ChatService", "bank", f"s{number}"))
        queue.add(Key("ChatService", "bank", "elsewhere"))
        async with asyncio.timeout(PODS_TIMEOUT * 1.75):  # 4 turns of two workers; looked at every half second
            await served.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
