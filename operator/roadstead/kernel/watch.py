"""Keeping a collection of one cluster in mind: list, then watch, for as long as the process lives.

Bookmarks keep the resourceVersion fresh; an end of the watch resumes from it; a 410 lists again, and what is no longer
in the list is reported as deleted. A list is also made once an hour or less often, in case the server lost an event.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import Forbidden, Gone, NotServed, RoadsteadError
from roadstead.kernel.objects import Gvr
from roadstead.kernel.queue import backoff

RESYNC_AFTER = 3600.0
"""Seconds after which a list is made anew; up to half as much is added, so that clusters do not all list at once."""
STALE_AFTER = 180.0
"""Seconds without event or bookmark after which a watch counts as stale; bookmarks come about once a minute."""
SHORTEST_WATCH = 1.0
"""Seconds; a watch that the server ends sooner counts as a failure, so that the next ones come later and later."""
LONGEST_PAUSE = 10.0
"""Seconds between two attempts in the end: how long after its return a cluster may go unwatched."""
LOUD_AFTER = 2
"""Failures in a row after which the log tells why."""
ABSENT_RETRY = 300.0
"""Seconds after which a type that the cluster does not serve is asked for again."""

NEWEST = 2**63 - 1
"""Above every resourceVersion: the version at which a type that is not served is empty."""

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where a watcher puts what it sees. Calls are made in the event loop and must not block."""

    def seen(self, gvr: Gvr, body: Mapping[str, Any], *, moved: bool) -> None:
        """An object exists; ``moved`` when it is a change to one that existed before."""

    def gone(self, gvr: Gvr, body: Mapping[str, Any]) -> None:
        """An object was deleted or no longer matches the selector."""

    def listed(self, gvr: Gvr, uids: set[str], resource_version: int) -> None:
        """A complete list was delivered through `seen`; everything else up to this version is gone."""


class Watcher:
    """Follows one collection.

    Args:
        client: the cluster.
        gvr: the type.
        sink: gets what is seen.
        clock: time.
        labels: label selector.
        fields: field selector.
        namespace: one namespace, or all.
        metadata_only: ask for PartialObjectMetadata.
        optional: the cluster may not serve the type; then the collection is empty.
        jitter: returns a number in [0, 1).
    """

    def __init__(
        self,
        client: ClusterClient,
        gvr: Gvr,
        sink: Sink,
        clock: Clock,
        *,
        labels: str = "",
        fields: str = "",
        namespace: str = "",
        metadata_only: bool = True,
        optional: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.gvr = gvr
        self.synced = asyncio.Event()
        self.error: str = ""
        self.forbidden: str = ""
        self._client = client
        self._sink = sink
        self._clock = clock
        self._labels = labels
        self._fields = fields
        self._namespace = namespace
        self._metadata_only = metadata_only
        self._optional = optional
        self._jitter = jitter
        self._last_seen = clock.monotonic()
        self._version = ""
        self._listed_at = float("-inf")
        self._absent = False
        self._heard = False

    def age(self) -> float:
        """Seconds since the server last said anything on this watch; 0 for a type that is not served."""
        return 0.0 if self._absent else self._clock.monotonic() - self._last_seen

    @property
    def served(self) -> bool:
        """Whether the cluster serves the type."""
        return self.synced.is_set() and not self._absent

    async def run(self) -> None:
        """Follow the collection until cancelled. Never raises for what the server does."""
        failures = 0
        while True:
            started, self._heard = self._clock.monotonic(), False
            try:
                await self._cycle()
                self.error = self.forbidden = ""
                if self._clock.monotonic() - started >= SHORTEST_WATCH:
                    failures = 0
                    continue
                # ended as soon as it began: something between us and the server does that to every watch
            except Gone:
                self._version = ""
                if self._clock.monotonic() - self._listed_at > LONGEST_PAUSE:
                    failures = 0  # as after an outage; a server that says so again and again is not asked in a loop
            except NotServed as error:
                if not self._optional:
                    self.error = str(error)
                await self._while_absent()
                continue
            except RoadsteadError as error:
                self.error = str(error)
                if isinstance(error, Forbidden):
                    self.forbidden = str(error)
                if self.forbidden or failures == LOUD_AFTER:  # before that, a server that restarts says so on its own
                    log.warning("cannot watch %s in %s: %s", self.gvr, self._client.name, error)
            except Exception as error:  # an answer that no API server gives; the other watches must go on
                self.error = f"{type(error).__name__} while following {self.gvr} in {self._client.name}"
                log.exception("%s", self.error)
            failures = 1 if self._heard else failures + 1
            await self._clock.sleep(min(LONGEST_PAUSE, backoff(failures, self._jitter())))

    async def _cycle(self) -> None:
        due = self._listed_at + RESYNC_AFTER * (1.0 + 0.5 * self._jitter())
        if not self._version or self._clock.monotonic() >= due:
            await self._list()
        timeout = int(240 + 60 * self._jitter())
        async for event in self._client.watch(
            self.gvr,
            self._namespace,
            resource_version=self._version,
            labels=self._labels,
            fields=self._fields,
            metadata_only=self._metadata_only,
            timeout_seconds=timeout,
        ):
            self._last_seen, self._heard = self._clock.monotonic(), True
            self.error = self.forbidden = ""
            metadata = event.object["metadata"]
            if event.type == "DELETED":
                self._sink.gone(self.gvr, event.object)
            elif event.type != "BOOKMARK":
                self._sink.seen(self.gvr, event.object, moved=event.type == "MODIFIED")
            self._version = metadata["resourceVersion"]

    async def _list(self) -> None:
        uids: set[str] = set()
        version = ""
        async for items, version in self._client.pages(  # noqa: B007 - the last page's version is the list's
            self.gvr, self._namespace, labels=self._labels, fields=self._fields, metadata_only=self._metadata_only
        ):
            for item in items:
                uids.add(item["metadata"]["uid"])
                self._sink.seen(self.gvr, item, moved=False)
            self._last_seen = self._clock.monotonic()
            del items  # not two pages at once
            await asyncio.sleep(0)  # a long list must not hold the loop
        self._sink.listed(self.gvr, uids, int(version or 0))
        self._version = version
        self._listed_at = self._clock.monotonic()
        self._absent = False
        self.synced.set()

    async def _while_absent(self) -> None:
        """The type is not served (yet): an empty collection, looked at again from time to time."""
        if self._optional:
            self._absent = True
            self._sink.listed(self.gvr, set(), NEWEST)
            self.synced.set()
        self._version = ""
        await self._clock.sleep(ABSENT_RETRY * (1.0 + 0.5 * self._jitter()) if self._optional else 5.0)
        self._client.forget_discovery()
