"""Versions of Secrets that our resources refer to, so that a changed Secret is taken up; never their content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.objects import Gvr


class SecretVersions:
    """A sink for a watch of Secrets (metadata only).

    Args:
        changed: is called with the namespace of every Secret that appeared, changed or went away.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._versions: dict[tuple[str, str], tuple[str, int]] = {}

    def version(self, namespace: str, name: str) -> str:
        """Uid and resourceVersion of a Secret as one text; empty when there is none."""
        uid, version = self._versions.get((namespace, name), ("", 0))
        return f"{uid}/{version}" if uid else ""

    def seen(self, gvr: Gvr, body: Mapping[str, Any], *, moved: bool) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        metadata = body["metadata"]
        if (metadata.get("labels") or {}).get(objects.MANAGED_BY_LABEL) == objects.MANAGED_BY:
            return  # our own copies
        identity = (metadata["namespace"], metadata["name"])
        now = (metadata["uid"], int(metadata["resourceVersion"]))
        if self._versions.get(identity) != now:
            self._versions[identity] = now
            self._changed(metadata["namespace"])

    def gone(self, gvr: Gvr, body: Mapping[str, Any]) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        metadata = body["metadata"]
        if self._versions.pop((metadata["namespace"], metadata["name"]), None) is not None:
            self._changed(metadata["namespace"])

    def listed(self, gvr: Gvr, uids: set[str], resource_version: int) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        gone = [
            key for key, (uid, version) in self._versions.items() if uid not in uids and version <= resource_version
        ]
        for namespace, name in gone:
            del self._versions[namespace, name]
            self._changed(namespace)
