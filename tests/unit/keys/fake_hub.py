"""As much of an API server as what two people decide about keys needs: objects by name, in memory."""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

from roadstead.kernel.errors import Conflict, NotFound
from roadstead.kernel.objects import Gvr

Body = dict[str, Any]


class FakeHub:
    """Creates that are refused when something is there, replaces when it has changed, deletes of the very object."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Body] = {}
        self._count = itertools.count(1)

    def names(self, beginning: str) -> list[str]:
        """Names of the objects that begin so."""
        return sorted(name for _, name in self.objects if name.startswith(beginning))

    async def get(self, gvr: Gvr, _namespace: str, name: str, **_: object) -> Body:
        try:
            return copy.deepcopy(self.objects[gvr.kind, name])
        except KeyError:
            raise NotFound(name) from None

    async def find(self, gvr: Gvr, _namespace: str, name: str, **_: object) -> Body | None:
        return copy.deepcopy(self.objects.get((gvr.kind, name)))

    async def pages(
        self, gvr: Gvr, _namespace: str = "", *, labels: str = "", **_: object
    ) -> AsyncIterator[tuple[list[Body], str]]:
        wanted = dict(pair.split("=") for pair in labels.split(","))
        found = [
            copy.deepcopy(body)
            for (kind, _), body in self.objects.items()
            if kind == gvr.kind and wanted.items() <= body["metadata"].get("labels", {}).items()
        ]
        yield found, "1"

    async def create(self, gvr: Gvr, _namespace: str, body: Mapping[str, Any], **_: object) -> Body:
        name = body["metadata"]["name"]
        if (gvr.kind, name) in self.objects:
            raise Conflict(f"{name} exists")
        return self._write(gvr, {**copy.deepcopy(dict(body))}, uid=f"uid-{next(self._count)}")

    async def replace(self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], **_: object) -> Body:
        there = await self.get(gvr, namespace, name)
        if there["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict(name)
        return self._write(gvr, copy.deepcopy(dict(body)), uid=there["metadata"]["uid"])

    async def apply(self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], **_: object) -> Body:
        there = await self.get(gvr, namespace, name)
        return self._write(gvr, {**there, "status": copy.deepcopy(body["status"])}, uid=there["metadata"]["uid"])

    async def delete(self, gvr: Gvr, namespace: str, name: str, *, uid: str) -> bool:
        if (await self.get(gvr, namespace, name))["metadata"]["uid"] != uid:
            raise Conflict(name)
        del self.objects[gvr.kind, name]
        return False

    def _write(self, gvr: Gvr, body: Body, uid: str) -> Body:
        body["metadata"] = {**body["metadata"], "uid": uid, "resourceVersion": str(next(self._count))}
        self.objects[gvr.kind, body["metadata"]["name"]] = body
        return copy.deepcopy(body)
