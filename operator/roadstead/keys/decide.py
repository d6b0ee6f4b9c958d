"""The next steps of a ring, from its ledger and from what was just read in its regions.

Two barriers make every ciphertext readable wherever somebody may ask for it. *Published to Ready*: each region that
serves has proved that it can read what the new version encrypts. *Superseded to Draining*: each has proved that it
writes with the new one. Nothing else moves the primary, and no time limit replaces a proof.

Whoever carries a step out does it as one compare-and-swap against what was read (`Move.version`, `Distribute.before`);
a step that comes too late is then refused, and nothing is lost when none comes at all: what is there is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from roadstead.api.conditions import Reason
from roadstead.api.keyversion import KeyMark as Mark
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys import versions as life
from roadstead.keys.schedule import Turn
from roadstead.keys.versions import Version


@dataclass(frozen=True, slots=True)
class Keyset:
    """The keys that a region has been given.

    Attributes:
        keys: number and fingerprint of each, in order.
        primary: the number to write with; 0: none yet.
    """

    keys: tuple[tuple[int, str], ...] = ()
    primary: int = 0

    def has(self, version: Version) -> bool:
        """Whether this very version is in it."""
        return (version.number, version.fingerprint) in self.keys


@dataclass(frozen=True, slots=True)
class RegionView:
    """What is known of a region now.

    Attributes:
        name: of the Region.
        keyset: what its Secret holds; None: it cannot be read now.
        consumers: whether pods that use the keyset may run there.
        reads: versions that each of these pods has proved to read.
        writes: the oldest version that one of them has proved to write with; 0: not each has proved one.
    """

    name: str
    keyset: Keyset | None
    consumers: bool = True
    reads: frozenset[int] = frozenset()
    writes: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things take.

    Attributes:
        lead: from the material being durable to the first write with it.
        soak: from the last proof to the first write.
        retention: how long data lives that was written with a version, from its last write on; None: for ever.
        skew: by how much clocks may differ, or step back; what time alone permits waits that much longer.
    """

    lead: timedelta
    soak: timedelta
    retention: timedelta | None
    skew: timedelta


@dataclass(frozen=True, slots=True)
class Ring:
    """Everything that a decision is made from.

    Attributes:
        versions: the ledger.
        regions: each that serves, joins, or is being left.
        policy: how long things take.
        turn: what the schedule asks for.
        material: fingerprint of each material that is in the hub, by number; also of versions that the ledger does not
            have.
        clock_agrees: our clock and the API server's are within the skew.
    """

    versions: tuple[Version, ...]
    regions: tuple[RegionView, ...]
    policy: Policy
    turn: Turn
    material: Mapping[int, str] = field(default_factory=dict)
    clock_agrees: bool = True


@dataclass(frozen=True, slots=True)
class Reserve:
    """Create the version in the ledger; whoever comes second is refused."""

    number: int
    slot: datetime | None


@dataclass(frozen=True, slots=True)
class MakeMaterial:
    """Make the version's material, wrap it, and create its Secret, unless it is there."""

    number: int


@dataclass(frozen=True, slots=True)
class Move:
    """Write a version's next phase into the ledger, if it still is as it was read.

    Attributes:
        version: as it was read.
        to: its next phase.
        fingerprint: with `Phase.STAGED`: of the material that is durable now.
    """

    version: Version
    to: Phase
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Distribute:
    """Give a region this keyset, if it still has the one that was read."""

    region: str
    before: Keyset
    after: Keyset


Step = Reserve | MakeMaterial | Move | Distribute


@dataclass(frozen=True, slots=True)
class Wait:
    """Why the ring does not go on.

    Attributes:
        reason: one word; also a label of a metric.
        message: for people: what is waited for, where, and what helps.
        region: name of the Region that it is about; empty when it is about none.
        until: when time alone ends it.
    """

    reason: Reason
    message: str
    region: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and what is waited for.

    Attributes:
        steps: independent of each other; at most one of them writes into the ledger.
        waits: nothing when the ring is at rest or can go on.
    """

    steps: tuple[Step, ...] = ()
    waits: tuple[Wait, ...] = ()


def decide(ring: Ring, now: datetime) -> Decision:
    """The next steps.

    Args:
        ring: what is known.
        now: in UTC.
    """
    if behind := _ledger_behind(ring):
        return Decision(waits=behind)
    step, waits = _ledger_step(ring, now)
    if lost := _material_lost(ring):
        return Decision((step,) if step else (), (*lost, *waits))
    spread = tuple(_distribution(ring))
    return Decision((step, *spread) if step else spread, waits)


def target(versions: Sequence[Version]) -> Keyset:
    """The keyset that every region should have."""
    current = life.primary(versions)
    keys = sorted((version.number, version.fingerprint) for version in versions if version.handed_out)
    return Keyset(tuple(keys), current.number if current else 0)


# --- a ledger that is older than the regions


def _ledger_behind(ring: Ring) -> tuple[Wait, ...]:
    """Regions that have what no ledger of theirs can have: it was restored from a backup, so nothing may be written."""
    known = {version.number: version for version in ring.versions}
    current = life.primary(ring.versions)
    found = []
    for region in ring.regions:
        if region.keyset is None:
            continue
        for number, fingerprint in region.keyset.keys:
            version = known.get(number)
            if version is None or version.phase in life.UNKNOWN_TO_REGIONS:
                found.append(_behind(region, f"version {number}, which the ledger does not have"))
            elif version.fingerprint != fingerprint:
                found.append(_behind(region, f"another version {number} than the ledger"))
        if region.keyset.primary > (current.number if current else 0):
            found.append(_behind(region, f"version {region.keyset.primary} as its primary, and the ledger does not"))
    return tuple(found)


def _behind(region: RegionView, what: str) -> Wait:
    message = (
        f"region {region.name} has {what}: the hub was restored from a backup, and this region may have the only copy; "
        "nothing is written before the newer KeyVersions and Secrets are restored. If the keyset was only edited by "
        "hand, delete its Secret in that region"
    )
    return Wait(Reason.LEDGER_BEHIND, message, region.name)


# --- keysets


def _material_lost(ring: Ring) -> tuple[Wait, ...]:
    """Versions that regions should have and the hub cannot give them."""
    return tuple(
        Wait(
            Reason.MATERIAL_LOST,
            f"the Secret with version {version.number} is gone from the hub, or holds another key; regions keep what "
            "they have, and get nothing new; restore it from a backup",
        )
        for version in ring.versions
        if version.handed_out and not _is_there(ring, version)
    )


def _is_there(ring: Ring, version: Version) -> bool:
    return ring.material.get(version.number) == version.fingerprint


def _distribution(ring: Ring) -> list[Distribute]:
    wanted = target(ring.versions)
    return [
        Distribute(region.name, region.keyset, wanted)
        for region in ring.regions
        if region.keyset is not None and region.keyset != wanted
    ]


# --- the ledger

_WRITTEN_WITH_BY_NOBODY: Final = frozenset({Phase.SUSPENDED, Phase.DRAINING, Phase.RETIRED})
_Next = tuple[Step | None, tuple[Wait, ...]]


def _ledger_step(ring: Ring, now: datetime) -> _Next:
    """The one step that the ledger takes next: a rotation that is under way first, then what is due."""
    current = life.primary(ring.versions)
    for version in ring.versions:
        if current and version.phase is Phase.PRIMARY and version is not current:
            return Move(version, Phase.SUPERSEDED), ()
    if step := _marked(ring):
        return step, ()
    if coming := life.coming(ring.versions):
        return _forward(ring, coming, now)
    for version in ring.versions:
        if version.phase is Phase.SUPERSEDED:
            return _drain(ring, version, current)
    if ring.turn.slot is not None or _is_urgent(ring) or _is_owed(ring):
        return _reserve(ring)
    return _retire(ring, now)


def _forward(ring: Ring, version: Version, now: datetime) -> _Next:
    if version.phase is not Phase.RESERVED and not _is_there(ring, version):
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


def _is_urgent(ring: Ring) -> bool:
    """Whether the primary must not stay so any longer than the barriers take."""
    current = life.primary(ring.versions)
    return current is not None and current.mark is not Mark.NONE


def _is_owed(ring: Ring) -> bool:
    """Whether the last rotation ended without a primary: its slot is taken, so nothing else would bring another."""
    newest = max(ring.versions, key=lambda version: version.number, default=None)
    return newest is not None and newest.phase is Phase.DISCARDED


def _reserve(ring: Ring) -> _Next:
    # A number must be larger than any that was ever used, so every region is read before one is taken.
    waits = (*_unreadable(ring, "before a number is taken"), *_clock(ring))
    if waits:
        return None, waits
    numbers = {version.number for version in ring.versions} | ring.material.keys()
    numbers |= {number for region in ring.regions if region.keyset for number, _ in region.keyset.keys}
    return Reserve(max(numbers, default=0) + 1, ring.turn.slot), ()


def _stage(ring: Ring, version: Version, _now: datetime) -> _Next:
    if version.number not in ring.material:
        return MakeMaterial(version.number), ()
    return Move(version, Phase.STAGED, ring.material[version.number]), ()


def _publish(_ring: Ring, version: Version, _now: datetime) -> _Next:
    return Move(version, Phase.PUBLISHED), ()


def _make_ready(ring: Ring, version: Version, _now: datetime) -> _Next:
    waits = _possession(ring, version)
    return (None, waits) if waits else (Move(version, Phase.READY), ())


def _promote(ring: Ring, version: Version, now: datetime) -> _Next:
    # The barrier once more: since the version became ready, a region may have joined, or its pods may be new ones.
    waits = (*_possession(ring, version), *_patience(ring, version, now), *_clock(ring))
    return (None, waits) if waits else (Move(version, Phase.PRIMARY), ())


_FORWARD: Final[dict[Phase, Callable[[Ring, Version, datetime], _Next]]] = {
    Phase.RESERVED: _stage,
    Phase.STAGED: _publish,
    Phase.PUBLISHED: _make_ready,
    Phase.READY: _promote,
}


def _drain(ring: Ring, version: Version, current: Version | None) -> _Next:
    waits = (*_unreadable(ring, f"before version {version.number} stops being written with"), *_in_use(ring, current))
    if waits:
        return None, waits
    to = {Mark.NONE: Phase.DRAINING, Mark.SUSPENDED: Phase.SUSPENDED, Mark.COMPROMISED: Phase.COMPROMISED}
    return Move(version, to[version.mark]), ()


def _retire(ring: Ring, now: datetime) -> _Next:
    for version in ring.versions:
        if version.phase is Phase.SUSPENDED and version.mark is Mark.NONE:
            return Move(version, Phase.DRAINING), ()
        if version.phase is not Phase.DRAINING:
            continue
        retention = ring.policy.retention
        if retention is None or now < version.since + retention + ring.policy.skew:
            continue
        if waits := _clock(ring):
            return None, waits
        return Move(version, Phase.RETIRED), ()
    return None, ()


# --- what is waited for


def _unreadable(ring: Ring, before_what: str) -> tuple[Wait, ...]:
    return tuple(
        Wait(
            Reason.REGION_UNREADABLE,
            f"region {region.name} cannot be read, and must be {before_what}; mend its connection or, if it never "
            "comes back, take it out of spec.regions and delete its Region",
            region.name,
        )
        for region in ring.regions
        if region.keyset is None
    )


def _possession(ring: Ring, version: Version) -> tuple[Wait, ...]:
    waits = [*_unreadable(ring, f"before version {version.number} is written with")]
    for region in ring.regions:
        if region.keyset is None:
            continue
        if not region.keyset.has(version):
            message = f"region {region.name} does not have version {version.number} yet"
            waits.append(Wait(Reason.NOT_DISTRIBUTED, message, region.name))
        elif region.consumers and version.number not in region.reads:
            message = (
                f"not every pod in region {region.name} that uses the ring has proved that it reads version "
                f"{version.number}"
            )
            waits.append(Wait(Reason.NOT_PROVED, message, region.name))
    return tuple(waits)


def _in_use(ring: Ring, current: Version | None) -> tuple[Wait, ...]:
    waits = []
    for region in ring.regions:
        if region.keyset is None:
            continue
        number = current.number if current else 0
        if region.keyset.primary != number or (region.consumers and region.writes != number):
            message = f"not every pod in region {region.name} has proved that it writes with version {number}"
            waits.append(Wait(Reason.OLD_PRIMARY_IN_USE, message, region.name))
    return tuple(waits)


def _patience(ring: Ring, version: Version, now: datetime) -> tuple[Wait, ...]:
    if _is_urgent(ring) or life.primary(ring.versions) is None:
        return ()
    ready = version.since + ring.policy.soak
    led = (version.staged or version.since) + ring.policy.lead
    waits = []
    if now < led:
        message = f"version {version.number} is announced, and written with from {led:%Y-%m-%dT%H:%M:%SZ} on"
        waits.append(Wait(Reason.LEAD, message, until=led))
    if now < ready:
        message = f"version {version.number} is proved, and soaks until {ready:%Y-%m-%dT%H:%M:%SZ}"
        waits.append(Wait(Reason.SOAK, message, until=ready))
    return tuple(waits)


def _clock(ring: Ring) -> tuple[Wait, ...]:
    if ring.clock_agrees:
        return ()
    message = "our clock and the API server's differ by more than the skew; set the nodes' clocks (NTP)"
    return (Wait(Reason.CLOCKS_DIFFER, message),)
