"""What is said of a ring. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from roadstead.api.conditions import Condition, ConditionType, Reason, drop_condition, set_condition
from roadstead.api.duration import format_duration
from roadstead.api.keyring import (
    MAX_WAITS,
    MOST_REWRAPS,
    KeyRing,
    KeyRingPhase,
    KeyRingStatus,
    RingKek,
    RingRegion,
    RingRewrap,
    RingWait,
)
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.api.ranges import as_ranges
from roadstead.keys import versions as life
from roadstead.keys.decide import target
from roadstead.keys.kek_rotation import KekState
from roadstead.keys.orders import FOR_EVER, Retention, digest
from roadstead.keys.state import Keyset
from roadstead.keys.steps import Decision, Wait
from roadstead.keys.versions import Version

STALLED: Final = frozenset(
    {
        Reason.LEDGER_BEHIND,
        Reason.MATERIAL_LOST,
        Reason.CLOCKS_DIFFER,
        Reason.PROVIDER_FAILED,
        Reason.KEYSET_FULL,
    }
)
"""What goes on only after somebody has changed something."""


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """One region after a pass.

    Attributes:
        name: of the Region.
        wanted: the spec names it.
        keyset: what its Secret holds now; None: it could not be read.
        generation: of that keyset.
        consumers: number of pods that use the ring there.
        proved: number of them that have proved the version to write with.
        reads: versions that each of them has proved to read.
        writes: the oldest version that one of them has proved to write with; 0: not each has proved one.
        inventories: of each pod, how many ciphertexts it stores by version; None: it has not said.
        excluded: nothing waits for it.
        problem: why the region cannot be read or written, with the cure.
        reason: the same in one word.
    """

    name: str
    wanted: bool
    keyset: Keyset | None
    generation: int = 0
    consumers: int = 0
    proved: int = 0
    reads: frozenset[int] = frozenset()
    writes: int = 0
    inventories: tuple[Mapping[int, int] | None, ...] = ()
    excluded: bool = False
    problem: str = ""
    reason: Reason = Reason.REGION_UNREADABLE


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a status is derived from.

    Attributes:
        ring: with the status as it was stored before.
        ring_id: its identity.
        versions: the ledger after this pass.
        decision: what was decided in it.
        regions: of the spec, and those that are being left.
        next: when the next slot begins.
        kek: what versions are wrapped with.
        retention: which one counts.
        verified: answers of pods could be verified in this pass.
        problem: what kept a step from being carried out, with the cure; None: nothing.
    """

    ring: KeyRing
    ring_id: str
    versions: tuple[Version, ...]
    decision: Decision
    regions: tuple[RegionFacts, ...]
    next: datetime | None
    kek: KekState = field(default_factory=KekState)
    retention: Retention = FOR_EVER
    verified: bool = True
    problem: Wait | None = None


def derive(facts: Facts, now: datetime) -> KeyRingStatus:
    """The whole status.

    Args:
        facts: what it is derived from.
        now: for the conditions that change.
    """
    current, coming = life.primary(facts.versions), life.coming(facts.versions)
    waits = ((facts.problem,) if facts.problem else ()) + facts.decision.waits + _shortened(facts)
    stalled = next((wait for wait in waits if wait.reason in STALLED), None)
    blocking = stalled or _blocking(waits)
    status = facts.ring.status.model_copy(
        update={
            "observed_generation": facts.ring.metadata.generation,
            "ring_id": facts.ring_id,
            "phase": _phase(facts, blocking),
            "primary": current.number if current else 0,
            "primary_since": current.since if current else None,
            "coming": coming.number if coming else 0,
            "next_rotation": facts.next,
            "blocked_by": _in_a_word(blocking) if blocking else "",
            "waits": _waits(waits, facts.ring.status.waits, now),
            "kek": _kek(facts.kek),
            "versions": len(target(facts.versions).keys),
            "regions": tuple(_region(region, waits) for region in facts.regions),
            "rewrap": rewrap(facts) if facts.verified else facts.ring.status.rewrap,
            "retention": facts.retention.text,
        }
    )
    return status.model_copy(update={"conditions": _conditions(facts, waits, stalled, now)})


def _shortened(facts: Facts) -> tuple[Wait, ...]:
    """A shorter retention that nobody has approved."""
    if not facts.retention.shortened or facts.ring.spec.retention is None:
        return ()
    asked = format_duration(facts.ring.spec.retention)
    message = (
        f"spec.retention is {asked}, shorter than the {facts.retention.text} that counts, so data could become "
        f"unreadable; have it approved (an Approval of ShortenRetention with retention: {asked}), or write "
        f"{facts.retention.text} again"
    )
    return (Wait(Reason.RETENTION_NOT_APPROVED, message),)


def rewrap(facts: Facts) -> tuple[RingRewrap, ...]:
    """What is left of versions that nobody writes with any more, where a pod says so: the oldest first."""
    said = [inventory for region in facts.regions for inventory in region.inventories]
    if all(inventory is None for inventory in said):
        return ()
    found = [
        RingRewrap(
            version=version.number,
            remaining=min(sum((i or {}).get(version.number, 0) for i in said), 2**53),
            silent=sum(1 for i in said if i is None or version.number not in i),
        )
        for version in sorted(facts.versions, key=lambda version: version.number)
        if version.phase is not Phase.PRIMARY and version.phase not in life.COMING and version.given
    ]
    return tuple(found[:MOST_REWRAPS])


def deleting(known: KeyRingStatus, holds: Mapping[str, str], generation: int, now: datetime) -> KeyRingStatus:
    """The status of a ring that is being deleted.

    Args:
        known: as it was stored before.
        holds: by region, what keeps it.
        generation: of the object.
        now: for the conditions that change.
    """
    message = "; ".join(holds.values())
    conditions = known.conditions
    for type_, holds_true in (
        (ConditionType.READY, False),
        (ConditionType.RECONCILING, False),
        (ConditionType.STALLED, True),
        (ConditionType.DELETING, True),
    ):
        conditions = set_condition(
            conditions,
            type_,
            holds_true,
            Reason.DELETION_BLOCKED,
            message,
            generation=generation,
            now=now,
        )
    regions = tuple(region.model_copy(update={"message": holds.get(region.name, "")}) for region in known.regions)
    said = {"observed_generation": generation, "conditions": conditions, "regions": regions, "waits": ()}
    return known.model_copy(update=said)


def invalid(ring_status: KeyRingStatus, message: str, generation: int, now: datetime) -> KeyRingStatus:
    """The status of a ring whose spec cannot be carried out; its regions keep what they have."""
    conditions = ring_status.conditions
    said = ((ConditionType.READY, False), (ConditionType.RECONCILING, False), (ConditionType.STALLED, True))
    for type_, holds in said:
        conditions = set_condition(
            conditions, type_, holds, Reason.INVALID_SPEC, message, generation=generation, now=now
        )
    said_now = {"observed_generation": generation, "conditions": conditions, "waits": ()}
    return ring_status.model_copy(update=said_now)


def _blocking(waits: Sequence[Wait]) -> Wait | None:
    """What holds a rotation up, if time alone does not end it."""
    return next((wait for wait in waits if wait.until is None), waits[0] if waits else None)


def _waits(waits: Sequence[Wait], known: Sequence[RingWait], now: datetime) -> tuple[RingWait, ...]:
    """What is waited for, with the moment since when: that of the last status, if it was waited for then."""
    since = {(wait.reason, wait.region): wait.since for wait in known}
    found: dict[tuple[str, str], RingWait] = {}
    for wait in waits:
        key = (str(wait.reason), wait.region)
        if key not in found:
            found[key] = RingWait(reason=key[0], region=key[1], since=since.get(key, now), message=wait.message)
    return tuple(found.values())[:MAX_WAITS]


def _kek(state: KekState) -> RingKek | None:
    if (intent := state.intent) is None:
        return None
    return RingKek(
        generation=intent.generation,
        operation=intent.operation,
        fingerprint=state.kek.fingerprint if state.kek else None,
        provider=intent.provider,
        since=intent.since,
        next_rotation=state.next,
        wrapped=state.wrapped,
        stored=state.of,
    )


def _in_a_word(wait: Wait) -> str:
    return f"{wait.reason}: {wait.region}" if wait.region else str(wait.reason)


def _phase(facts: Facts, blocking: Wait | None) -> KeyRingPhase:
    if blocking is not None and blocking.reason in STALLED | {Reason.REGION_UNREADABLE}:
        return KeyRingPhase.BLOCKED
    if life.primary(facts.versions) is None:
        return KeyRingPhase.PENDING
    return KeyRingPhase.ROTATING if _is_rotating(facts) else KeyRingPhase.IDLE


def _is_rotating(facts: Facts) -> bool:
    if life.coming(facts.versions) is not None or any(v.phase is Phase.SUPERSEDED for v in facts.versions):
        return True
    wanted = target(facts.versions)
    return any(region.keyset not in (None, wanted) for region in facts.regions)


def _region(region: RegionFacts, waits: Sequence[Wait]) -> RingRegion:
    said = [region.problem] if region.problem else []
    said += [wait.message for wait in waits if wait.region == region.name]
    if not region.wanted and not said:
        said = ["the spec does not name it any more; its keyset is deleted when no pod uses it"]
    return RingRegion(
        name=region.name,
        generation=region.generation,
        primary=region.keyset.primary if region.keyset else 0,
        versions=as_ranges(number for number, _ in region.keyset.keys) if region.keyset else "",
        reads=as_ranges(region.reads),
        writes=region.writes,
        keyset=digest(region.keyset) if region.keyset is not None and region.keyset.keys else "",
        proved=region.proved,
        consumers=region.consumers,
        excluded=region.excluded,
        message="; ".join(dict.fromkeys(said)),
    )


def _conditions(facts: Facts, waits: Sequence[Wait], stalled: Wait | None, now: datetime) -> tuple[Condition, ...]:
    missing = _missing(facts)
    ready = missing or (Reason.READY, f"every region can use version {_primary(facts)}")
    if stalled is not None:
        working = (stalled.reason, "the condition Stalled says why nothing is under way")
        is_working = False
    elif waits or missing or _is_rotating(facts):
        first = _blocking(waits)
        working = (first.reason, first.message) if first else missing or (Reason.ROTATING, "a version is on its way")
        is_working = True
    else:
        working, is_working = ready, False
    conditions = drop_condition(facts.ring.status.conditions, ConditionType.DELETING)
    said = (
        (ConditionType.READY, missing is None, ready),
        (ConditionType.RECONCILING, is_working, working),
        (
            ConditionType.STALLED,
            stalled is not None,
            (stalled.reason, stalled.message) if stalled else (Reason.NOT_STALLED, ""),
        ),
    )
    for type_, holds, (reason, message) in said:
        conditions = set_condition(
            conditions, type_, holds, reason, message, generation=facts.ring.metadata.generation, now=now
        )
    return conditions


def _primary(facts: Facts) -> int:
    current = life.primary(facts.versions)
    return current.number if current else 0


def _missing(facts: Facts) -> tuple[Reason, str] | None:
    """Why a region of the spec cannot encrypt and decrypt with the ring now; None when each can.

    A rotation that waits is no such reason: what is primary stays so.
    """
    for region in facts.regions:
        if region.wanted and region.problem and not region.excluded:
            return region.reason, region.problem
    current = life.primary(facts.versions)
    if current is None:
        return Reason.PROGRESSING, "there is no version to write with yet"
    for region in facts.regions:
        if region.wanted and not region.excluded and (region.keyset is None or not region.keyset.has(current)):
            return Reason.NOT_DISTRIBUTED, f"region {region.name} does not have version {current.number} yet"
    return None
