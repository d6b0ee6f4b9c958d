"""The next steps of a ring, from its ledger and from what was just read in its regions.

Two barriers make every ciphertext readable wherever somebody may ask for it. *Published to Ready*: each region that
serves has proved that it can read what the new version encrypts. *Superseded to Draining*: each has proved that it
writes with the new one. Nothing else moves the primary, and no time limit replaces a proof.

Whoever carries a step out does it as one compare-and-swap against what was read (`Move.version`, `Distribute.before`);
a step that comes too late is then refused, and nothing is lost when none comes at all: what is there is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from roadstead.api.keyversion import KeyMark as Mark
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys import barriers
from roadstead.keys import versions as life
from roadstead.keys.state import Keyset, RegionView, Ring
from roadstead.keys.steps import (
    Decision,
    DestroyMaterial,
    Distribute,
    DistributeRewrap,
    MakeMaterial,
    Move,
    Note,
    Readmit,
    Reserve,
    Step,
    Wait,
)
from roadstead.keys.versions import Version


def decide(ring: Ring, now: datetime) -> Decision:
    """The next steps.

    Args:
        ring: what is known.
        now: in UTC.
    """
    if behind := barriers.ledger_behind(ring):
        return Decision(waits=behind)
    step, waits = _ledger_step(ring, now)
    if lost := barriers.material_lost(ring):
        return Decision((step,) if step else (), (*lost, *waits))
    spread = tuple(step for region in ring.regions for step in _distribution(ring, region, now))
    # The ledger first: until then somebody may still ask for the version, and is not refused.
    removed = tuple(
        DestroyMaterial(version.number)
        for version in ring.versions
        if version.phase is Phase.REMOVED and version.number in ring.material
    )
    return Decision((*((step,) if step else ()), *spread, *removed), waits)


def target(versions: Sequence[Version]) -> Keyset:
    """The keyset that every region should have."""
    current = life.primary(versions)
    return Keyset(_keys(version for version in versions if version.handed_out), current.number if current else 0)


def rewrap_target(versions: Sequence[Version]) -> Keyset:
    """What every region should have beside it, only to write anew what it encrypted."""
    return Keyset(_keys(version for version in versions if version.to_rewrap))


def _keys(versions: Iterable[Version]) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((version.number, version.fingerprint) for version in versions))


# --- keysets


def _distribution(ring: Ring, region: RegionView, now: datetime) -> Iterator[Step]:
    if region.keyset is None:
        return
    wanted, rewrap = target(ring.versions), rewrap_target(ring.versions)
    if region.rewrap != rewrap:
        yield DistributeRewrap(region.name, region.rewrap, rewrap)
    # What leaves the keyset only to be written anew is given for that first: else nobody could read it for a while.
    leaving = set(region.keyset.keys) & set(rewrap.keys) - set(region.rewrap.keys)
    if region.keyset != wanted and not leaving:
        yield Distribute(region.name, region.keyset, wanted)
    stored = (version for version in ring.versions if version.phase in life.MAY_BE_STORED)
    if _is_back(ring, region) and all(version.last_written >= now for version in stored):
        yield Readmit(region.name, wanted.primary)


def _is_back(ring: Ring, region: RegionView) -> bool:
    """Whether a region that was excluded has what the others have, and has proved it."""
    return region.excluded and region.keyset == target(ring.versions) and barriers.has_proved(ring, region)


# --- the ledger

_WRITTEN_WITH_BY_NOBODY: Final = frozenset({Phase.SUSPENDED, Phase.DRAINING, Phase.RETIRED})
_READMISSION: Final = timedelta(hours=1)
"""More than it takes to write into the ledger, version by version, that a region is back."""
_Next = tuple[Step | None, tuple[Wait, ...]]


def _ledger_step(ring: Ring, now: datetime) -> _Next:
    """The one step that the ledger takes next: a rotation that is under way first, then what is due."""
    current = life.primary(ring.versions)
    for version in ring.versions:
        if current and version.phase is Phase.PRIMARY and version is not current:
            return Move(version, Phase.SUPERSEDED), ()
    if step := _marked(ring) or _shown(ring, now):
        return step, ()
    if coming := life.coming(ring.versions):
        return _forward(ring, coming, now)
    for version in ring.versions:
        if version.phase is Phase.SUPERSEDED:
            return _drain(ring, version, current)
    if ring.turn.slot is not None or barriers.is_urgent(ring) or _is_owed(ring):
        step, waits = _reserve(ring)
        if step is not None:
            return step, waits
        end, more = _end(ring, now)  # it may be what is waited for: a keyset that is full empties in no other way
        return end, (*waits, *more)
    return _end(ring, now)


def _forward(ring: Ring, version: Version, now: datetime) -> _Next:
    if version.phase is not Phase.RESERVED and not ring.is_there(version):
        return Move(version, Phase.DISCARDED), ()
    return _FORWARD[version.phase](ring, version, now)


def _marked(ring: Ring) -> Step | None:
    """What somebody said of a version that no region writes with takes effect at once."""
    for version in ring.versions:
        if version.mark is Mark.NONE:
            continue
        if version.phase in life.COMING:
            return Move(version, Phase.DISCARDED)
        if version.mark is Mark.COMPROMISED and version.phase in _WRITTEN_WITH_BY_NOBODY:
            return Move(version, Phase.COMPROMISED)
    return None


def _shown(ring: Ring, now: datetime) -> Step | None:
    """What pods have shown of versions that have left the keysets, or may leave the last of them."""
    wanted = frozenset[int]().union(*(region.wanted for region in ring.regions))
    for version in ring.versions:
        if version.phase is Phase.RETIRED and version.number in wanted and not version.returned:
            return Note(version, replace(version, returned=True))
        if version.phase is not Phase.COMPROMISED:
            continue
        if version.rewrapped and version.number in wanted:
            return Note(version, replace(version, rewrapped=False))
        done = barriers.stored_nowhere(ring, version) or (_is_past_retention(ring, version, now) and _all_back(ring))
        if not version.rewrapped and version.number not in wanted and done:
            # Its removal counts from now: a count that was wrong shows when something of it is met.
            return Note(version, replace(version, rewrapped=True, retained_from=now))
    if any(_is_back(ring, region) for region in ring.regions):
        # It may have written with what it had until a moment ago, so retention counts from now.
        for version in ring.versions:
            if version.phase in life.MAY_BE_STORED and version.last_written < now:
                return Note(version, replace(version, retained_from=now + _READMISSION))
    return None


def _is_owed(ring: Ring) -> bool:
    """Whether the last rotation ended without a primary: its slot is taken, so nothing else would bring another."""
    newest = max(ring.versions, key=lambda version: version.number, default=None)
    return newest is not None and newest.phase is Phase.DISCARDED


def _reserve(ring: Ring) -> _Next:
    # A number must be larger than any that was ever used, so every region is read before one is taken.
    waits = (*barriers.unreadable(ring, "before a number is taken"), *barriers.clock(ring), *barriers.full(ring))
    if waits:
        return None, waits
    numbers = {version.number for version in ring.versions} | ring.material.keys()
    for region in ring.regions:
        if region.keyset:
            numbers |= {number for number, _ in (*region.keyset.keys, *region.rewrap.keys)}
    return Reserve(max(numbers, default=0) + 1, ring.turn.slot), ()


def _stage(ring: Ring, version: Version, _now: datetime) -> _Next:
    if version.number not in ring.material:
        return MakeMaterial(version.number), ()
    return Move(version, Phase.STAGED, ring.material[version.number]), ()


def _publish(_ring: Ring, version: Version, _now: datetime) -> _Next:
    return Move(version, Phase.PUBLISHED), ()


def _make_ready(ring: Ring, version: Version, _now: datetime) -> _Next:
    waits = barriers.possession(ring, version)
    return (None, waits) if waits else (Move(version, Phase.READY), ())


def _promote(ring: Ring, version: Version, now: datetime) -> _Next:
    # The barrier once more: since the version became ready, a region may have joined, or its pods may be new ones.
    waits = (*barriers.possession(ring, version), *barriers.patience(ring, version, now), *barriers.clock(ring))
    return (None, waits) if waits else (Move(version, Phase.PRIMARY), ())


_FORWARD: Final[dict[Phase, Callable[[Ring, Version, datetime], _Next]]] = {
    Phase.RESERVED: _stage,
    Phase.STAGED: _publish,
    Phase.PUBLISHED: _make_ready,
    Phase.READY: _promote,
}


def _drain(ring: Ring, version: Version, current: Version | None) -> _Next:
    before = f"before version {version.number} stops being written with"
    waits = (*barriers.unreadable(ring, before), *barriers.in_use(ring, current))
    if waits:
        return None, waits
    to = {Mark.NONE: Phase.DRAINING, Mark.SUSPENDED: Phase.SUSPENDED, Mark.COMPROMISED: Phase.COMPROMISED}
    return Move(version, to[version.mark]), ()


def _end(ring: Ring, now: datetime) -> _Next:
    """The end of versions that nobody writes with: back from suspension, retired, removed."""
    for version in ring.versions:
        if version.phase is Phase.SUSPENDED and version.mark is Mark.NONE:
            return Move(version, Phase.DRAINING), ()
    for version in ring.versions:
        if version.phase is Phase.DRAINING and _is_needed_by_nobody(ring, version, now):
            before = f"before version {version.number} retires"
            waits = (*barriers.excluded(ring, before), *barriers.clock(ring))
            return (None, waits) if waits else (Move(version, Phase.RETIRED), ())
    for version in ring.versions:
        if _may_be_removed(ring, version, now):
            return _remove(ring, version)
    return None, ()


def _is_needed_by_nobody(ring: Ring, version: Version, now: datetime) -> bool:
    return _is_past_retention(ring, version, now) or (ring.policy.attested and barriers.stored_nowhere(ring, version))


def _is_past_retention(ring: Ring, version: Version, now: datetime) -> bool:
    retention = ring.policy.retention
    return retention is not None and now >= version.last_written + retention + ring.policy.skew


def _all_back(ring: Ring) -> bool:
    return ring.clock_agrees and not any(region.excluded for region in ring.regions)


def _may_be_removed(ring: Ring, version: Version, now: datetime) -> bool:
    return (
        version.number <= ring.removable
        and version.phase in life.REMOVABLE
        and not version.given
        and now >= version.last_written + ring.policy.removal + ring.policy.skew
    )


def _remove(ring: Ring, version: Version) -> _Next:
    before = f"before the material of version {version.number} is removed"
    waits = (*barriers.unreadable(ring, before), *barriers.excluded(ring, before), *barriers.clock(ring))
    for region in ring.regions:
        held = (*(region.keyset.keys if region.keyset else ()), *region.rewrap.keys)
        if any(number == version.number for number, _ in held):
            waits = (*waits, barriers.still_held(region, version))
    return (None, waits) if waits else (Move(version, Phase.REMOVED), ())
