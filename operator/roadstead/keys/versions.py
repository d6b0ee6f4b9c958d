"""The life of one version of a key. Its phases and the steps between them are part of the API: `api/keyversion.py`.

A version only ever goes forward. Who wants to go back makes a new one: what was written with a version that has been
deactivated could otherwise be anybody's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from roadstead.api.keyversion import KeyMark as Mark
from roadstead.api.keyversion import KeyPhase as Phase

COMING: Final = frozenset({Phase.RESERVED, Phase.STAGED, Phase.PUBLISHED, Phase.READY})
"""Before it was primary: part of a rotation that is under way."""
UNKNOWN_TO_REGIONS: Final = frozenset({Phase.RESERVED, Phase.STAGED})
"""No region can have it: the ledger goes first."""
HANDED_OUT: Final = frozenset(
    {Phase.PUBLISHED, Phase.READY, Phase.PRIMARY, Phase.SUPERSEDED, Phase.SUSPENDED, Phase.DRAINING}
)
"""In the keyset of every region that serves."""
MAY_BE_STORED: Final = frozenset({Phase.DRAINING, Phase.COMPROMISED})
"""Nobody writes with it; data that it encrypted may be about."""
REMOVABLE: Final = frozenset({Phase.RETIRED, Phase.COMPROMISED, Phase.DISCARDED})
"""Its material may be deleted, once that is approved and nobody has it."""
MOST_IN_KEYSET: Final = 1_500
"""Versions that a keyset may have before no other is added."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version, as the ledger has it.

    Attributes:
        number: from 1 on, never used twice in a ring.
        phase: where it stands.
        since: when it got there, in UTC.
        fingerprint: of its material, one-way; empty before it is staged.
        slot: of the schedule, that it was made for; None: it takes the place of one that was marked or discarded.
        staged: when its material was durable; the lead counts from there.
        mark: what a person has said of it.
        returned: a pod or an administrator asked for it after it was retired, so it is handed out again.
        rewrapped: it is compromised, and nothing is stored any more that it has encrypted.
        retained_from: when a region that was excluded may last have written with it; None: none was.
    """

    number: int
    phase: Phase
    since: datetime
    fingerprint: str = ""
    slot: datetime | None = None
    staged: datetime | None = None
    mark: Mark = Mark.NONE
    returned: bool = False
    rewrapped: bool = False
    retained_from: datetime | None = None

    @property
    def last_written(self) -> datetime:
        """The latest moment in which somebody may have written with it; of a version that nobody writes with."""
        return max(self.since, self.retained_from or self.since)

    @property
    def handed_out(self) -> bool:
        """Whether regions should have it to serve."""
        return self.phase in HANDED_OUT or (self.phase is Phase.RETIRED and self.returned)

    @property
    def to_rewrap(self) -> bool:
        """Whether regions should have it only to write anew what it encrypted."""
        return self.phase is Phase.COMPROMISED and not self.rewrapped

    @property
    def given(self) -> bool:
        """Whether regions should have it at all."""
        return self.handed_out or self.to_rewrap


def primary(versions: Iterable[Version]) -> Version | None:
    """The version to write with: the newest that was made primary.

    For the moment between two writes the ledger may name two; only one of them is this.
    """
    return max((version for version in versions if version.phase is Phase.PRIMARY), key=_number, default=None)


def coming(versions: Iterable[Version]) -> Version | None:
    """The version that is to be the next primary."""
    return min((version for version in versions if version.phase in COMING), key=_number, default=None)


def newest_slot(versions: Iterable[Version]) -> datetime | None:
    """The newest slot of the schedule that a version was made for; a discarded one counts, too."""
    return max((version.slot for version in versions if version.slot is not None), default=None)


def _number(version: Version) -> int:
    return version.number
