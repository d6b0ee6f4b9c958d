"""A hub in memory with the parts that admission uses, and a clock that is moved by hand."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from roadstead.kernel.errors import Conflict
from roadstead.kernel.objects import Gvr

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class HandClock:
    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, delay: float) -> None:
        self.slept.append(delay)
        self.time += timedelta(seconds=delay)


class MemoryHub:
    """Objects by resource, namespace and name; resourceVersions count every write."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.writes: list[str] = []
        self.pages_read = 0
        self.before_write: Any = None
        self._version = 0

    def put(self, resource: str, body: Mapping[str, Any], namespace: str = "") -> None:
        self._version += 1
        stored = copy.deepcopy(dict(body))
        stored["metadata"] = {
            "uid": f"uid-{self._version}",
            **stored["metadata"],
            "resourceVersion": str(self._version),
        }
        self.objects[(resource, namespace, stored["metadata"]["name"])] = stored

    async def find(self, gvr: Gvr, namespace: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((gvr.resource, namespace, name)))

    async def pages(self, gvr: Gvr, namespace: str = "") -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        self.pages_read += 1
        found = [
            copy.deepcopy(body)
            for (resource, where, _), body in self.objects.items()
            if resource == gvr.resource and namespace in ("", where)
        ]
        for begin in range(0, len(found), 2):
            yield found[begin : begin + 2], "1"

    async def create(self, gvr: Gvr, namespace: str, body: Mapping[str, Any], *, manager: str) -> dict[str, Any]:
        self._about_to_write("create")
        if (gvr.resource, namespace, body["metadata"]["name"]) in self.objects:
            raise Conflict("already exists")
        self.put(gvr.resource, body, namespace)
        return {}

    async def replace(
        self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        self._about_to_write("replace")
        present = self.objects[(gvr.resource, namespace, name)]
        if present["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        self.put(gvr.resource, body, namespace)
        return {}

    async def apply(
        self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        self._about_to_write("apply")
        present = self.objects[(gvr.resource, namespace, name)]
        assert body["metadata"]["uid"] == present["metadata"]["uid"]
        merged = copy.deepcopy(present)
        for webhook in body["webhooks"]:
            for entry in merged["webhooks"]:
                if entry["name"] == webhook["name"]:
                    entry["clientConfig"].update(webhook["clientConfig"])
        self.put(gvr.resource, merged, namespace)
        return {}

    def _about_to_write(self, what: str) -> None:
        self.writes.append(what)
        if self.before_write is not None:
            hook, self.before_write = self.before_write, None
            hook()
