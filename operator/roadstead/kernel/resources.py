"""Our custom resources as the informer last saw them, packed, with deletions that a broken watch may have hidden."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import orjson

from roadstead.kernel.objects import WITHOUT_CONDITIONS, Key

BURIED = 1024
"""How many deletions are remembered; a write is answered long before so many others have gone."""


class ResourceStore:
    """Bodies of our custom resources, without ``managedFields``; each read makes a fresh dict.

    Answers to our own writes are taken in too, so that a reconcile which follows a status write does not see the state
    from before it.

    Args:
        references: names of regions that a body of a kind depends on; what `mentioning` answers from.
    """

    def __init__(self, references: Callable[[str, Mapping[str, Any]], frozenset[str]]) -> None:
        self._references = references
        self._bodies: dict[Key, tuple[int, bytes, frozenset[str]]] = {}
        self._ready: dict[Key, str] = {}
        self._namespaces: dict[tuple[str, str], set[Key]] = {}
        self._interned: dict[frozenset[str], frozenset[str]] = {}
        self._buried: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._bodies)

    def upsert(self, kind: str, body: Mapping[str, Any]) -> Key | None:
        """Take in a body from the informer or from an answer; returns its key, or None when it is not news."""
        metadata = body["metadata"]
        key = Key(kind, metadata.get("namespace", ""), metadata["name"])
        version = int(metadata["resourceVersion"])
        known = self._bodies.get(key)
        if known is not None and known[0] >= version:
            return None
        if self._buried.get(metadata["uid"], -1) >= version:
            return None  # the answer to a status write that came after the event of the deletion
        slim = {**body, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
        regions = self._references(kind, body)
        self._bodies[key] = (version, orjson.dumps(slim), self._interned.setdefault(regions, regions))
        if kind not in WITHOUT_CONDITIONS:
            self._ready[key] = _ready(body)
        self._namespaces.setdefault((kind, key.namespace), set()).add(key)
        return key

    def remove(self, kind: str, body: Mapping[str, Any]) -> Key | None:
        """The resource is gone; returns its key unless a newer one of the same name is known already."""
        metadata = body["metadata"]
        key = Key(kind, metadata.get("namespace", ""), metadata["name"])
        self._bury(metadata["uid"], int(metadata["resourceVersion"]))
        known = self.get(key)
        if known is not None and known["metadata"]["uid"] != metadata["uid"]:
            return None
        self._forget(key)
        return key

    def retain(self, kind: str, alive: Set[Key], up_to: int) -> list[Key]:
        """After a complete list at ``up_to``: forget what was not in it; returns the keys that are gone."""
        gone = [
            key
            for key, (version, _, _) in self._bodies.items()
            if key.kind == kind and key not in alive and version <= up_to
        ]
        for key in gone:
            body = self.get(key)
            if body is not None:
                self._bury(body["metadata"]["uid"], up_to)
            self._forget(key)
        return gone

    def get(self, key: Key) -> dict[str, Any] | None:
        """The body as last seen, or None."""
        known = self._bodies.get(key)
        if known is None:
            return None
        body: dict[str, Any] = orjson.loads(known[1])
        return body

    def version(self, key: Key) -> int:
        """The resourceVersion as last seen; 0 when unknown."""
        known = self._bodies.get(key)
        return known[0] if known is not None else 0

    def in_namespace(self, kind: str, namespace: str) -> tuple[Key, ...]:
        """Every known key of a kind in a namespace."""
        return tuple(self._namespaces.get((kind, namespace), ()))

    def mentioning(self, kind: str, region: str) -> Iterator[Key]:
        """Keys of a kind whose bodies depend on a region."""
        return iter([key for key, (_, _, regions) in self._bodies.items() if key.kind == kind and region in regions])

    def depends(self, key: Key, region: str) -> bool:
        """Whether there is such a resource and its body depends on the region."""
        known = self._bodies.get(key)
        return known is not None and region in known[2]

    def keys(self, kind: str) -> Iterator[Key]:
        """Every known key of a kind."""
        return iter([key for key in self._bodies if key.kind == kind])

    def readiness(self) -> dict[tuple[str, str], int]:
        """How many resources of each kind have the condition Ready with each status; Unknown when they have none."""
        counts: dict[tuple[str, str], int] = {}
        for key, ready in self._ready.items():
            counts[key.kind, ready] = counts.get((key.kind, ready), 0) + 1
        return counts

    def _bury(self, uid: str, version: int) -> None:
        self._buried.pop(uid, None)
        self._buried[uid] = version
        while len(self._buried) > BURIED:
            del self._buried[next(iter(self._buried))]

    def _forget(self, key: Key) -> None:
        self._bodies.pop(key, None)
        self._ready.pop(key, None)
        namespace = self._namespaces.get((key.kind, key.namespace))
        if namespace is not None:
            namespace.discard(key)
            if not namespace:
                del self._namespaces[key.kind, key.namespace]


def _ready(body: Mapping[str, Any]) -> str:
    for condition in (body.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            return sys.intern(str(condition.get("status")))
    return "Unknown"
