"""The clusters and regions that this operator works with: the port through which rooms meet.

The room `regions` fills it; every other room only reads. A *member* is a connection to one cluster; a *site* is a
Region as the other rooms see it. Several sites may share a member (node pools of one cluster).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import Clock
from roadstead.kernel.objects import CHILD_TYPES, FULL_TYPES, HUB_ONLY_TYPES, OPTIONAL_TYPES, Gvr, Key
from roadstead.kernel.store import ChildStore
from roadstead.kernel.watch import Watcher

HUB_MEMBER = "hub"
"""The name of the member that is the operator's own cluster."""


class Member:
    """A connection to one cluster, with what is known of our children there, kept fresh by watches.

    Args:
        name: `HUB_MEMBER`, or the region's name.
        client: the connection.
        hub: our hub id.
        clock: time.
        enqueue: is called with the owner of every child that changed.
    """

    def __init__(
        self, name: str, client: ClusterClient, hub: str, clock: Clock, enqueue: Callable[[Key], None]
    ) -> None:
        self.name = name
        self.client = client
        self.store = ChildStore(hub)
        self._enqueue = enqueue
        selector = f"{objects.MANAGED_BY_LABEL}={objects.MANAGED_BY},{objects.HUB_LABEL}={hub}"
        self.watchers = [
            Watcher(
                client,
                gvr,
                self,
                clock,
                labels=selector,
                metadata_only=gvr not in FULL_TYPES,
                optional=gvr in OPTIONAL_TYPES,
            )
            for gvr in CHILD_TYPES
            if name == HUB_MEMBER or gvr not in HUB_ONLY_TYPES
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [
            asyncio.create_task(watcher.run(), name=f"watch {self.name} {watcher.gvr}") for watcher in self.watchers
        ]

    async def stop(self) -> None:
        """Stop watching and close the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self.client.close()

    @property
    def synced(self) -> bool:
        """Whether every type of child has been listed completely; before, nothing may be created or pruned."""
        return all(watcher.synced.is_set() for watcher in self.watchers)

    @property
    def watch_error(self) -> str:
        """What keeps a type from being listed or watched; empty when all is well."""
        return next((watcher.error for watcher in self.watchers if watcher.error), "")

    @property
    def watch_forbidden(self) -> str:
        """The API server's words when it does not let us watch a type; empty when all is well."""
        return next((watcher.forbidden for watcher in self.watchers if watcher.forbidden), "")

    @property
    def served(self) -> frozenset[Gvr]:
        """The optional types that the cluster serves, as their watches have found out."""
        return frozenset(watcher.gvr for watcher in self.watchers if watcher.gvr in OPTIONAL_TYPES and watcher.served)

    def listing_stands_still(self) -> float:
        """Seconds since anything came of what is still being listed; 0 when all was listed.

        A cluster with a hundred thousand children takes minutes to list, and gets further all the time.
        """
        return min((watcher.age() for watcher in self.watchers if not watcher.synced.is_set()), default=0.0)

    def oldest_watch(self) -> float:
        """Seconds since the quietest watch heard from the server."""
        return max((watcher.age() for watcher in self.watchers), default=0.0)

    def seen(self, gvr: Gvr, body: Mapping[str, Any], *, moved: bool) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._notify(self.store.upsert(gvr, body, moved=moved))

    def gone(self, gvr: Gvr, body: Mapping[str, Any]) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._notify(self.store.remove(gvr, body))

    def listed(self, gvr: Gvr, uids: set[str], resource_version: int) -> None:
        """See `roadstead.kernel.watch.Sink`."""
        self._notify(self.store.retain(gvr, uids, resource_version))

    def _notify(self, owners: Iterable[Key]) -> None:
        for owner in owners:
            self._enqueue(owner)


@dataclass(frozen=True, slots=True)
class Site:
    """A Region as other rooms see it: where it is, whether it may be used, and how to reach it.

    ``pending`` says that this process has not finished looking: whoever needs the site waits a moment instead of taking
    it for unreachable. ``member`` is None while there is no usable connection; ``message`` then says why, in words for
    the status of those who would like to use it.
    """

    name: str
    jurisdiction: str
    zones: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    cordoned: bool = False
    in_hub: bool = False
    reachable: bool = False
    pending: bool = False
    message: str = ""
    served: frozenset[Gvr] = frozenset()
    public_keys: tuple[str, ...] = ()
    member: Member | None = field(default=None, hash=False, compare=False)

    @property
    def usable(self) -> bool:
        """Whether children there can be read and written now."""
        return self.reachable and self.member is not None and self.member.synced


class Fleet:
    """Every known site, and every connected member.

    Args:
        changed: is called with a region's name when something that others depend on has changed.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._sites: dict[str, Site] = {}

    def site(self, region: str) -> Site | None:
        """The site of that name; None when there is no such Region."""
        return self._sites.get(region)

    def sites(self) -> Iterator[Site]:
        """All sites."""
        return iter(tuple(self._sites.values()))

    def connected(self, hub: Member) -> list[Member]:
        """The hub and every connected cluster, each once."""
        found = {id(hub): hub}
        for site in self._sites.values():
            if site.member is not None:
                found.setdefault(id(site.member), site.member)
        return list(found.values())

    def put(self, site: Site) -> None:
        """A Region is as this says; those who depend on it are told when that is news."""
        known = self._sites.get(site.name)
        self._sites[site.name] = site
        if known is None or known != site or known.member is not site.member:
            self._changed(site.name)

    def drop(self, region: str) -> None:
        """There is no such Region any more."""
        if self._sites.pop(region, None) is not None:
            self._changed(region)
