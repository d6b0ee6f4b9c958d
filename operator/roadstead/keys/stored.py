"""What the hub has stored of a ring: its versions' wrapped material, and which KEKs were asked for. Pure.

A version is stored once, but for the moment in which it is wrapped anew: then there are two copies, and both open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import KeyType
from roadstead.keys.kek import Kek, KekName


@dataclass(frozen=True, slots=True)
class Dek:
    """A version's material as it is stored.

    Attributes:
        number: of the version.
        key_type: what it encrypts with.
        operation: of the intent that it was made for.
        fingerprint: of the material, as whoever made it wrote; proved when it is opened.
        kek: what it is wrapped with.
        provider: where that KEK lives.
        ring: namespace and name of the KeyRing that it was made for, for people.
        secret: name of the Secret.
        uid: of the Secret.
    """

    number: int
    key_type: KeyType
    operation: str
    fingerprint: str
    kek: Kek
    provider: KekProviderKind
    ring: str
    secret: str
    uid: str


@dataclass(frozen=True, slots=True)
class KekIntent:
    """A KEK that was asked for, written down before it was made.

    Attributes:
        generation: of the KEK.
        operation: unpredictable; marks the KEK that is made for this intent and no other.
        provider: where it lives.
        since: when it was asked for, in UTC; None: whoever asked left no trace of that.
    """

    generation: int
    operation: str
    provider: KekProviderKind
    since: datetime | None

    def name(self, ring_id: str) -> KekName:
        """What the KEK is called."""
        return KekName(ring_id, self.generation, self.operation)


@dataclass(frozen=True, slots=True)
class Meant:
    """What the ledger says of a version's material.

    Attributes:
        operation: of the intent that it is made for.
        fingerprint: of the material; empty before it is staged.
    """

    operation: str
    fingerprint: str


class Stored(Mapping[int, Dek]):
    """Versions by number; of two copies of one, the one that was there first.

    Args:
        copies: every Secret that says it is of this ring.
        intents: every KEK that was asked for.
        meant: what the ledger says, by number.
    """

    def __init__(
        self,
        copies: Iterable[Dek] = (),
        intents: Iterable[KekIntent] = (),
        meant: Mapping[int, Meant] | None = None,
    ) -> None:
        self.copies = tuple(copies)
        self.intents = tuple(sorted(intents, key=lambda intent: intent.generation))
        self.meant = dict(meant or {})
        self._first: dict[int, Dek] = {}
        for copy in sorted(self.copies, key=self._strangeness, reverse=True):
            self._first[copy.number] = copy

    def __getitem__(self, number: int) -> Dek:
        return self._first[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def ours(self) -> tuple[Dek, ...]:
        """The copies that were made for the ledger's intents, oldest KEK first."""
        return tuple(copy for copy in sorted(self.copies, key=_age) if self._is_ours(copy))

    def staged(self) -> dict[int, list[Dek]]:
        """Those of them whose material the ledger knows, by number."""
        found: dict[int, list[Dek]] = {}
        for copy in self.ours():
            if self.meant[copy.number].fingerprint:
                found.setdefault(copy.number, []).append(copy)
        return found

    def changed(
        self, *, more: Iterable[Dek] = (), without: Iterable[Dek] = (), intents: Iterable[KekIntent] = ()
    ) -> Stored:
        """The same after something was written."""
        gone = frozenset(without)
        kept = (copy for copy in self.copies if copy not in gone)
        return Stored((*kept, *more), (*self.intents, *intents), self.meant)

    def _is_ours(self, copy: Dek) -> bool:
        meant = self.meant.get(copy.number)
        if meant is None or copy.operation != meant.operation:
            return False
        return meant.fingerprint in ("", copy.fingerprint)

    def _strangeness(self, copy: Dek) -> tuple[bool, int, str]:
        """What was not made for the ledger's intent stands for the version only when nothing else does."""
        return (not self._is_ours(copy), *_age(copy))


def _age(copy: Dek) -> tuple[int, str]:
    return copy.kek.name.generation, copy.secret
