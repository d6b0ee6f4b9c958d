"""What wakes what: which resources are looked at again when a region, a Secret or a child changes."""

from __future__ import annotations

from typing import Any

from roadstead.kernel.fleet import Fleet
from roadstead.kernel.objects import APPROVALS, CHAT_SERVICES, KEY_RINGS, REGIONS, Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore


class Triggers:
    """Adds keys to the queue.

    Args:
        queue: where they go.
        resources: what depends on what.
    """

    def __init__(self, queue: WorkQueue, resources: ResourceStore) -> None:
        self._queue = queue
        self._resources = resources
        self.fleet = Fleet(self.region_changed)

    def everything(self) -> None:
        """All that is known: when this process begins to lead."""
        for kind in (REGIONS.kind, CHAT_SERVICES.kind, KEY_RINGS.kind, APPROVALS.kind):
            for key in self._resources.keys(kind):
                self._queue.add(key)

    def kubeconfig_changed(self) -> None:
        """A Secret in our own namespace may be a region's new kubeconfig."""
        for key in self._resources.keys(REGIONS.kind):
            self._queue.add(key)

    def secret_changed(self, namespace: str) -> None:
        """A Secret that services of this namespace may refer to."""
        for key in self._resources.in_namespace(CHAT_SERVICES.kind, namespace):
            self._queue.add(key)

    def ring_changed(self, ring: Key) -> None:
        """A ring was looked at: services that encrypt with it may be ready now, or not any more."""
        for key in self._resources.in_namespace(CHAT_SERVICES.kind, ring.namespace):
            encryption = ((self._resources.get(key) or {}).get("spec") or {}).get("encryption") or {}
            if (encryption.get("keyRingRef") or {}).get("name") == ring.name:
                self._queue.add(key)

    def region_changed(self, region: str) -> None:
        """A region became usable, or is not any more, or is another one now."""
        for kind in (CHAT_SERVICES.kind, KEY_RINGS.kind):
            for key in self._resources.mentioning(kind, region):
                self._queue.add(key)
        site = self.fleet.site(region)
        if site is None or site.member is None or not site.usable:
            return
        # What is there of services that no longer name the region, or no longer exist, was found before the region
        # could be used; nothing else would bring them up again.
        for owner in site.member.store.owners():
            if owner.kind == CHAT_SERVICES.kind and not self._resources.depends(owner, region):
                self._queue.add(owner)


class Kubeconfigs:
    """A sink for a watch of the Secrets in our own namespace: any of them may hold a kubeconfig."""

    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    def seen(self, *_: Any, **__: Any) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._triggers.kubeconfig_changed()

    def gone(self, *_: Any) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._triggers.kubeconfig_changed()

    def listed(self, *_: Any) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._triggers.kubeconfig_changed()
