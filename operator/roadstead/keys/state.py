"""What a decision about a ring is made from: the ledger, and what was just read in its regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

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


NO_KEYS = Keyset()


@dataclass(frozen=True, slots=True)
class RegionView:
    """What is known of a region now.

    Attributes:
        name: of the Region.
        keyset: what its Secret holds; None: it cannot be read now.
        consumers: whether pods that use the keyset may run there.
        reads: versions that each of these pods has proved to read.
        writes: the oldest version that one of them has proved to write with; 0: not each has proved one.
        rewrap: compromised versions that it has been given only to write anew what they encrypted.
        stored: number of ciphertexts by version that its pods still store; None: not each of them has said so in an
            answer that proves that it writes with the primary, or there are none.
        wanted: versions that a pod was asked for and does not have.
        excluded: a person has said that nothing waits for it.
    """

    name: str
    keyset: Keyset | None
    consumers: bool = True
    reads: frozenset[int] = frozenset()
    writes: int = 0
    rewrap: Keyset = NO_KEYS
    stored: Mapping[int, int] | None = None
    wanted: frozenset[int] = frozenset()
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things take.

    Attributes:
        lead: from the material being durable to the first write with it.
        soak: from the last proof to the first write.
        retention: how long data lives that was written with a version, from its last write on; None: for ever.
        skew: by how much clocks may differ, or step back; what time alone permits waits that much longer.
        attested: pods are believed when they say that they store nothing any more that a version has encrypted.
        removal: from a version's end to the removal of its material, once that is approved.
    """

    lead: timedelta
    soak: timedelta
    retention: timedelta | None
    skew: timedelta
    attested: bool = False
    removal: timedelta = timedelta(days=30)


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
        removable: the highest number whose removal was approved; 0: none was.
    """

    versions: tuple[Version, ...]
    regions: tuple[RegionView, ...]
    policy: Policy
    turn: Turn
    material: Mapping[int, str] = field(default_factory=dict)
    clock_agrees: bool = True
    removable: int = 0

    @property
    def counted(self) -> tuple[RegionView, ...]:
        """The regions that are waited for."""
        return tuple(region for region in self.regions if not region.excluded)

    def is_there(self, version: Version) -> bool:
        """Whether the hub has this version's material, and no other of its number."""
        return self.material.get(version.number) == version.fingerprint
