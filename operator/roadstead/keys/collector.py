"""Shows rings to whoever scrapes: what is said of them is in `gauges`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS, Key
from roadstead.kernel.resources import ResourceStore
from roadstead.keys.gauges import FAMILIES, Entry, entry_of, samples


class RingCollector(Collector):
    """Asks for rings and versions at each scrape, so that no series outlives its ring.

    Every replica shows them: a standby keeps rings in mind, too.

    Args:
        resources: where KeyRings and KeyVersions are.
        now: gives the time.
    """

    def __init__(self, resources: ResourceStore, now: Callable[[], datetime]) -> None:
        self._resources = resources
        self._now = now
        self._known: dict[Key, tuple[int, Entry]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family, also those without a series."""
        families = {name: GaugeMetricFamily(name, help_, labels=labels) for name, (help_, labels) in FAMILIES.items()}
        keys = self._resources.keys(KEY_RINGS.kind)
        rings = (body for key in keys if (body := self._resources.get(key)) is not None)
        for name, labels, value in samples(rings, self._entries(), self._now()):
            families[name].add_metric(labels, value)
        yield from families.values()

    def _entries(self) -> Iterator[Entry]:
        """The ledgers; a version is read once for each of its changes, and there may be many."""
        fresh: dict[Key, tuple[int, Entry]] = {}
        for key in self._resources.keys(KEY_VERSIONS.kind):
            version = self._resources.version(key)
            known = self._known.get(key)
            if known is None or known[0] != version:
                body = self._resources.get(key)
                if body is None:
                    continue
                known = (version, entry_of(body))
            fresh[key] = known
        self._known = fresh
        for _, entry in fresh.values():
            yield entry
