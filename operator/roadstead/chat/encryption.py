"""Whether a service's pods can have their keys, and have proved that they do.

Pure. What is known comes from the spec and the status of the KeyRing; finding it out is the matter of the room `keys`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roadstead.api.conditions import Reason
from roadstead.api.keyring import KeyDistribution
from roadstead.chat.finding import Finding


@dataclass(frozen=True, slots=True)
class InRegion:
    """What the ring's status says of one region.

    Attributes:
        consumers: pods that use the ring there.
        proved: those of them that have proved its present keyset.
    """

    consumers: int = 0
    proved: int = 0


@dataclass(frozen=True, slots=True)
class RingFacts:
    """A KeyRing as a service that uses it needs to know it.

    Attributes:
        name: ``namespace/name``.
        regions: that its spec names.
        sealed: its keysets can only be opened by an agent, which pods of a ChatService do not have.
        primary: the version to write with; 0: none yet.
        found: by region, what is known of it there.
    """

    name: str
    regions: frozenset[str]
    primary: int = 0
    found: Mapping[str, InRegion] = field(default_factory=dict, hash=False)
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of the service in a region.

    Attributes:
        region: its name.
        count: those that there are.
        wanted: those that there should be.
    """

    region: str
    count: int
    wanted: int


def ring_facts(namespace: str, name: str, body: Mapping[str, Any] | None) -> RingFacts | None:
    """What a KeyRing, as the API has it, says; None when there is none."""
    if body is None:
        return None
    spec, status = body.get("spec") or {}, body.get("status") or {}
    found = {
        str(entry.get("name")): InRegion(int(entry.get("consumers") or 0), int(entry.get("proved") or 0))
        for entry in status.get("regions") or ()
    }
    return RingFacts(
        f"{namespace}/{name}",
        frozenset(map(str, spec.get("regions") or ())),
        int(status.get("primary") or 0),
        found,
        sealed=spec.get("distribution") == KeyDistribution.ENCRYPTED,
    )


def no_keyset(ring_name: str, ring: RingFacts | None, region: str) -> Finding | None:
    """Why a region cannot have a keyset; None when it can. Pods that are made there all the same would never start.

    Args:
        ring_name: ``namespace/name`` of the ring that the service names.
        ring: what is known of it; None: it does not exist.
        region: name of the region.
    """
    if ring is None:
        return Finding(
            Reason.KEY_RING_MISSING,
            f"spec.encryption.keyRingRef.name names KeyRing {ring_name}, which does not exist; create it (what is "
            "there of the service is left as it is)",
        )
    if ring.sealed:
        return Finding(
            Reason.NOT_AVAILABLE,
            f"KeyRing {ring_name}, which spec.encryption names, has spec.distribution Encrypted: its keysets are "
            "opened by `roadstead keys agent`, which the pods of a ChatService do not have; set it to Cleartext",
        )
    if region not in ring.regions:
        return Finding(
            Reason.REGION_NOT_IN_RING,
            f"region {region} is not in spec.regions of KeyRing {ring_name} ({', '.join(sorted(ring.regions))}), which "
            f"spec.encryption names; add {region} there, or take the region out of the topology",
        )
    return None


def not_proved(ring_name: str, ring: RingFacts | None, pods: Iterable[Pods]) -> Finding | None:
    """What is missing until every region has proved the version that is written with; None when nothing is.

    Args:
        ring_name: ``namespace/name`` of the ring that the service names.
        ring: what is known of it; None: it does not exist.
        pods: of each region of the service.
    """
    found = [finding for region in pods if (finding := _missing_in(ring_name, ring, region)) is not None]
    if not found:
        return None
    # A ring that is missing is missing everywhere, and is named once.
    return Finding(found[0].reason, "; ".join(dict.fromkeys(finding.message for finding in found)))


def _missing_in(ring_name: str, ring: RingFacts | None, pods: Pods) -> Finding | None:
    finding = no_keyset(ring_name, ring, pods.region)
    if finding is not None or ring is None or not pods.wanted:
        return finding
    if not ring.primary:
        return Finding(
            Reason.NOT_PROVED,
            f"KeyRing {ring_name} has no version to write with yet; its own conditions say what it waits for",
        )
    known = ring.found.get(pods.region, InRegion())
    count = max(known.consumers, pods.count)
    if known.proved >= count:
        return None
    return Finding(
        Reason.NOT_PROVED,
        f"region {pods.region}: {known.proved} of {count} pods have proved that they hold version {ring.primary} of "
        f"KeyRing {ring_name}; what keeps one is said by its /readyz and its log",
    )
