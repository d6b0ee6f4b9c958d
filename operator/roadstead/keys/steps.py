"""What a decision about a ring says: steps, each one compare-and-swap, and what is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from roadstead.api.conditions import Reason
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys.state import Keyset
from roadstead.keys.versions import Version


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
class Note:
    """Write into the ledger what pods have shown of a version, if it still is as it was read.

    Attributes:
        version: as it was read.
        after: as it is then; `Version.returned`, `Version.rewrapped` or `Version.retained_from` differs.
    """

    version: Version
    after: Version


@dataclass(frozen=True, slots=True)
class Distribute:
    """Give a region this keyset, if it still has the one that was read."""

    region: str
    before: Keyset
    after: Keyset


@dataclass(frozen=True, slots=True)
class DistributeRewrap:
    """Give a region these compromised versions to write anew with, if it still has those that were read."""

    region: str
    before: Keyset
    after: Keyset


@dataclass(frozen=True, slots=True)
class Readmit:
    """Wait for a region again that was excluded: it has proved what the others have proved.

    Attributes:
        region: name of the Region.
        primary: number of the version that it has proved to write with; 0: there is none.
    """

    region: str
    primary: int


@dataclass(frozen=True, slots=True)
class DestroyMaterial:
    """Delete the material of a version that is Removed from the hub."""

    number: int


Step = Reserve | MakeMaterial | Move | Note | Distribute | DistributeRewrap | Readmit | DestroyMaterial


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
