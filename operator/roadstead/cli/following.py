"""Waiting for what happens to some objects. The API server tells; nothing is polled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from roadstead.cli.output import note
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.objects import Gvr
from roadstead.kernel.watch import Watcher

LOCAL_LOOK = 1.0
"""Seconds between two looks at how the watches are; no request is made for it."""


class Latest:
    """The newest state of what is followed. It is the sink of the watchers."""

    def __init__(self) -> None:
        self._bodies: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._changed = asyncio.Event()
        self._watchers: list[Watcher] = []
        self._told = ""

    def of(self, gvr: Gvr) -> list[Mapping[str, Any]]:
        """All objects of a type that are followed."""
        return list(self._bodies.get(gvr.kind, {}).values())

    async def news(self) -> None:
        """Return when something is different; what keeps a watch from going on is told once."""
        while not self._changed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOCAL_LOOK):
                    await self._changed.wait()
            trouble = next((watcher.error for watcher in self._watchers if watcher.error), "")
            if trouble and trouble != self._told:
                note(f"roadstead: the watch is interrupted and tried again: {trouble}")
            self._told = trouble
        self._changed.clear()

    def seen(self, gvr: Gvr, body: Mapping[str, Any], *, moved: bool) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        del moved
        self._bodies.setdefault(gvr.kind, {})[body["metadata"]["uid"]] = body
        self._changed.set()

    def gone(self, gvr: Gvr, body: Mapping[str, Any]) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._bodies.get(gvr.kind, {}).pop(body["metadata"]["uid"], None)
        self._changed.set()

    def listed(self, gvr: Gvr, uids: set[str], resource_version: int) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        del resource_version
        known = self._bodies.setdefault(gvr.kind, {})
        for uid in known.keys() - uids:
            del known[uid]
        self._changed.set()

    def follow(self, client: ClusterClient, gvr: Gvr, namespace: str, fields: str) -> Watcher:
        """A watcher that tells here what it sees."""
        watcher = Watcher(client, gvr, self, SystemClock(), namespace=namespace, fields=fields, metadata_only=False)
        self._watchers.append(watcher)
        return watcher


@asynccontextmanager
async def following(client: ClusterClient, namespace: str, *wanted: tuple[Gvr, str]) -> AsyncIterator[Latest]:
    """Follow objects of one namespace until the end of the block.

    Args:
        client: the cluster.
        namespace: where they are.
        wanted: types, each with the name of one object, or an empty one for all.
    """
    latest = Latest()
    watchers = [latest.follow(client, gvr, namespace, f"metadata.name={name}" if name else "") for gvr, name in wanted]
    tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
    try:
        for watcher in watchers:
            await watcher.synced.wait()
        yield latest
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
