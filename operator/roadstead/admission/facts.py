"""The thin shell that reads what the rules need, live: a cache may be behind by exactly the change that matters.

A ChatService costs one small list (there are tens of Regions) and at most one Secret. Deleting a Region, or moving it
to another jurisdiction, looks at every service; that is rare and must not be wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from roadstead.admission.certificates import secret_entry
from roadstead.admission.rules import (
    Operation,
    PlacedService,
    RegionFacts,
    RingFact,
    RingFacts,
    RingUser,
    SecretFact,
    ServiceFacts,
    needs_services,
    placed_in,
    ring_in,
    user_of,
)
from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from roadstead.api.region import Region
from roadstead.kernel.objects import CHAT_SERVICES, KEY_RINGS, REGIONS, SECRETS, Gvr


class FactCluster(Protocol):
    """What gathering facts needs of the hub; `roadstead.kernel.client.ClusterClient` has it."""

    async def find(self, gvr: Gvr, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one object, None when it does not exist."""

    def pages(self, gvr: Gvr, namespace: str = "") -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """List a collection of one namespace, or over all, page by page."""


class FactFinder:
    """Reads facts from the hub.

    Args:
        cluster: the hub.
        namespace: the operator's own.
    """

    def __init__(self, cluster: FactCluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def about_service(self, new: Mapping[str, Any]) -> ServiceFacts:
        """What a ChatService is judged by."""
        tls = None
        secret = ((new.get("spec") or {}).get("tls") or {}).get("secretName")
        if secret:
            tls = await self._secret((new.get("metadata") or {}).get("namespace", ""), str(secret))
        return ServiceFacts(await self._regions(), tls, await self._ring_of(new))

    async def about_ring(self, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None) -> RingFacts:
        """What a KeyRing is judged by."""
        metadata = (new or old or {}).get("metadata") or {}
        namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
        regions = frozenset(await self._regions()) if new is not None else frozenset()
        users: list[RingUser] = []
        if old is not None:
            async for items, _ in self._cluster.pages(CHAT_SERVICES, namespace):
                users.extend(user for item in items if (user := user_of(name, item)) is not None)
        return RingFacts(regions, users)

    async def about_region(
        self, operation: Operation, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None
    ) -> RegionFacts:
        """What a Region is judged by."""
        metadata = (new or old or {}).get("metadata") or {}
        name = str(metadata.get("name", ""))
        services = await self._services(name) if needs_services(operation, new, old) else []
        if operation is Operation.DELETE:
            rings = await self._rings(name) if needs_services(operation, new, old) else []
            return RegionFacts(self._namespace, services=services, rings=rings)
        readable = {n: region for n, region in (await self._regions()).items() if region is not None}
        regions = {other: region for other, region in readable.items() if other != name}
        reference = (((new or {}).get("spec") or {}).get("cluster") or {}).get("kubeconfigSecretRef") or {}
        kubeconfig = None
        if reference.get("namespace") == self._namespace:
            kubeconfig = await self._secret(
                self._namespace, str(reference.get("name", "")), str(reference.get("key", "kubeconfig"))
            )
        return RegionFacts(self._namespace, regions, services, kubeconfig)

    async def _regions(self) -> dict[str, Region | None]:
        found: dict[str, Region | None] = {}
        async for items, _ in self._cluster.pages(REGIONS):
            for item in items:
                try:
                    found[item["metadata"]["name"]] = parse("Region", item)
                except SpecError:
                    found[item["metadata"]["name"]] = None  # its own Stalled condition says why
        return found

    async def _services(self, region: str) -> list[PlacedService]:
        found: list[PlacedService] = []
        async for items, _ in self._cluster.pages(CHAT_SERVICES):
            found.extend(placed for item in items if (placed := placed_in(region, item)) is not None)
        return found

    async def _rings(self, region: str) -> list[str]:
        found: list[str] = []
        async for items, _ in self._cluster.pages(KEY_RINGS):
            found.extend(ring_in(region, item) for item in items if ring_in(region, item))
        return found

    async def _ring_of(self, service: Mapping[str, Any]) -> RingFact | None:
        name = (((service.get("spec") or {}).get("encryption") or {}).get("keyRingRef") or {}).get("name")
        if not name:
            return None
        namespace = (service.get("metadata") or {}).get("namespace", "")
        ring = await self._cluster.find(KEY_RINGS, namespace, str(name))
        if ring is None:
            return RingFact(None)
        return RingFact(
            frozenset(map(str, (ring.get("spec") or {}).get("regions") or ())),
            deleted="deletionTimestamp" in ring["metadata"],
            sealed=(ring.get("spec") or {}).get("distribution") == "Encrypted",
        )

    async def _secret(self, namespace: str, name: str, key: str = "") -> SecretFact:
        secret = await self._cluster.find(SECRETS, namespace, name)
        if secret is None:
            return SecretFact(None)
        keys = frozenset(secret.get("data") or {})
        return SecretFact(keys, str(secret.get("type") or ""), secret_entry(secret, key) if key in keys else None)
