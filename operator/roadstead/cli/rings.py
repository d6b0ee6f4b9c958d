"""The state of rings of keys, drawn from KeyRings and KeyVersions alone: what to show, not how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from roadstead.api.conditions import ConditionType, is_true
from roadstead.api.keyring import KeyRingStatus, RingRegion
from roadstead.api.keyversion import KeyMark, KeyPhase, KeyVersionStatus
from roadstead.api.parse import status_of
from roadstead.api.ranges import from_ranges
from roadstead.cli.overview import readiness

COMING = (KeyPhase.RESERVED, KeyPhase.STAGED, KeyPhase.PUBLISHED, KeyPhase.READY)
_TOLD = {
    KeyPhase.RESERVED: "its number is taken; its key is being made",
    KeyPhase.STAGED: "its key is durable in the hub, and nowhere else",
    KeyPhase.PUBLISHED: "handed out; every pod has to prove that it reads it",
    KeyPhase.READY: "every pod has proved that it reads it; written with after lead and soak",
    KeyPhase.PRIMARY: "written with",
    KeyPhase.SUPERSEDED: "another is primary; every pod has to prove that it writes with that one",
    KeyPhase.SUSPENDED: "read only, until a person says otherwise",
    KeyPhase.DRAINING: "read only, as long as data lives that was written with it",
    KeyPhase.RETIRED: "in no region any more; the hub has it",
    KeyPhase.REMOVED: "its wrapped key was deleted; old backups may have it",
    KeyPhase.SHREDDED: "nothing can bring it back",
    KeyPhase.DISCARDED: "never was primary",
    KeyPhase.COMPROMISED: "nothing is served with it; what was written with it has to be written anew",
}


class Holding(StrEnum):
    """What a region has of a version, and what its pods have proved of it."""

    ABSENT = "Absent"
    """Its keyset does not have it."""
    HELD = "Held"
    """Its keyset has it; nobody is asked to prove it."""
    WAITED_FOR = "WaitedFor"
    """Its keyset has it, and not every pod has proved that it reads it."""
    READ = "Read"
    """Every pod has proved that it reads it."""
    WRITTEN = "Written"
    """Every pod has proved that it writes with it."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version.

    Attributes:
        since: when it came into its phase; None: nobody wrote it down.
        slot: of the schedule; None: it takes the place of one that was marked or discarded.
        told: what that means, in words.
    """

    number: int
    phase: KeyPhase
    since: datetime | None
    slot: datetime | None
    fingerprint: str
    mark: str
    returned: bool
    told: str


@dataclass(frozen=True, slots=True)
class RegionLine:
    """One region: a line of the matrix.

    Attributes:
        excluded: rotations do not wait for it.
        holdings: by version, in the order of the ring's `shown`.
        message: what is waited for there; empty when nothing is.
    """

    name: str
    generation: int
    proved: int
    consumers: int
    excluded: bool
    holdings: tuple[Holding, ...]
    message: str


@dataclass(frozen=True, slots=True)
class WaitLine:
    """Something that a ring waits for."""

    reason: str
    region: str
    since: datetime
    message: str


@dataclass(frozen=True, slots=True)
class RingRow:
    """One ring.

    Attributes:
        ready: ``True``, ``False``, or ``Unknown`` while the operator has not looked at this version of it.
        message: why it is not ready; empty when it is.
        schedule: ``Running`` or ``Suspended``.
        next: when the next slot begins.
        versions: the whole ledger, oldest first.
        shown: those that are in some keyset or on their way: the columns of the matrix.
    """

    namespace: str
    name: str
    phase: str
    ready: str
    reason: str
    message: str
    stalled: bool
    schedule: str
    primary: int
    primary_since: datetime | None
    coming: int
    next: datetime | None
    versions: tuple[VersionRow, ...]
    shown: tuple[VersionRow, ...]
    regions: tuple[RegionLine, ...]
    waits: tuple[WaitLine, ...]

    @property
    def label(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def ring_row(body: Mapping[str, Any], versions: Iterable[Mapping[str, Any]]) -> RingRow:
    """A KeyRing as the API has it, with its ledger.

    Args:
        body: the KeyRing.
        versions: KeyVersions; those of other rings are left out.
    """
    metadata, spec = body["metadata"], body.get("spec") or {}
    status = status_of(KeyRingStatus, body)
    ready, reason, message = readiness(status.conditions, status.observed_generation, metadata)
    ledger = tuple(
        sorted(
            (version_row(entry) for entry in versions if _is_of(entry, metadata, status.ring_id)),
            key=lambda row: row.number,
        )
    )
    held = {number for region in status.regions for number in from_ranges(region.versions)}
    shown = tuple(row for row in ledger if row.number in held or row.phase in COMING)
    known = {region.name: region for region in status.regions}
    named = [str(name) for name in spec.get("regions") or ()]
    return RingRow(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        phase=status.phase.value,
        ready=ready,
        reason=reason,
        message=message,
        stalled=is_true(status.conditions, ConditionType.STALLED),
        schedule=str((spec.get("schedule") or {}).get("state", "Running")),
        primary=status.primary,
        primary_since=status.primary_since,
        coming=status.coming,
        next=status.next_rotation,
        versions=ledger,
        shown=shown,
        regions=tuple(
            _line(known.get(name) or RingRegion(name=name, message="the operator has not looked at it yet"), shown)
            for name in dict.fromkeys((*named, *known))
        ),
        waits=tuple(WaitLine(wait.reason, wait.region, wait.since, wait.message) for wait in status.waits),
    )


def version_row(body: Mapping[str, Any]) -> VersionRow:
    """A KeyVersion as the API has it."""
    spec = body["spec"]
    status = KeyVersionStatus.model_validate(body["status"])
    slot = datetime.fromisoformat(spec["slot"]) if spec.get("slot") else None
    return VersionRow(
        number=int(spec["number"]),
        phase=status.phase,
        since=status.since,
        slot=slot,
        fingerprint=status.fingerprint or "",
        mark=status.mark.value,
        returned=status.returned,
        told=_told(status, slot),
    )


def _is_of(body: Mapping[str, Any], ring: Mapping[str, Any], ring_id: str | None) -> bool:
    spec, metadata = body.get("spec") or {}, body["metadata"]
    if metadata.get("namespace") != ring.get("namespace"):
        return False
    return bool(spec.get("ringID") == ring_id) if ring_id else bool(spec.get("ring") == ring["name"])


def _told(status: KeyVersionStatus, slot: datetime | None) -> str:
    words = [_TOLD[status.phase]]
    if status.phase is KeyPhase.RETIRED and status.returned:
        words = ["was retired, and is handed out again: somebody still needs it"]
    if status.mark is not KeyMark.NONE and status.phase.value != status.mark.value:
        words.append(f"marked {status.mark}")
    if slot is None:
        words.append("made in place of one that was marked or discarded")
    return "; ".join(words)


def _line(region: RingRegion, shown: Sequence[VersionRow]) -> RegionLine:
    held, reads = from_ranges(region.versions), from_ranges(region.reads)
    asked = {max(held, default=0), region.primary}
    return RegionLine(
        name=region.name,
        generation=region.generation,
        proved=region.proved,
        consumers=region.consumers,
        excluded=region.excluded,
        holdings=tuple(_holding(row.number, region, held, reads, asked) for row in shown),
        message=region.message,
    )


def _holding(
    number: int, region: RingRegion, held: frozenset[int], reads: frozenset[int], asked: Iterable[int]
) -> Holding:
    if number not in held:
        return Holding.ABSENT
    if region.consumers and number == region.writes:
        return Holding.WRITTEN
    if region.consumers and number in reads:
        return Holding.READ
    return Holding.WAITED_FOR if region.consumers and number in asked else Holding.HELD


def rings_as_data(rows: Iterable[RingRow]) -> list[dict[str, Any]]:
    """The rings as JSON has them."""
    return [
        {
            "namespace": row.namespace,
            "name": row.name,
            "phase": row.phase,
            "ready": row.ready,
            "stalled": row.stalled,
            "reason": row.reason,
            "message": row.message,
            "schedule": row.schedule,
            "primary": row.primary,
            "primarySince": _moment(row.primary_since),
            "coming": row.coming,
            "nextRotation": _moment(row.next),
            "regions": [
                {
                    "name": region.name,
                    "generation": region.generation,
                    "proved": region.proved,
                    "consumers": region.consumers,
                    "excluded": region.excluded,
                    "versions": {
                        str(version.number): holding.value
                        for version, holding in zip(row.shown, region.holdings, strict=True)
                    },
                    "message": region.message,
                }
                for region in row.regions
            ],
            "waits": [
                {
                    "reason": wait.reason,
                    "region": wait.region,
                    "since": _moment(wait.since),
                    "message": wait.message,
                }
                for wait in row.waits
            ],
        }
        for row in rows
    ]


def versions_as_data(rows: Iterable[VersionRow]) -> list[dict[str, Any]]:
    """The versions as JSON has them."""
    return [
        {
            "number": row.number,
            "phase": row.phase.value,
            "since": _moment(row.since),
            "slot": _moment(row.slot),
            "fingerprint": row.fingerprint,
            "mark": row.mark,
            "returned": row.returned,
            "told": row.told,
        }
        for row in rows
    ]


def _moment(value: datetime | None) -> str | None:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if value is not None else None
