"""What two people can have done to a ring: what is wrong with the parameters, and what becomes of the ring. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from roadstead.api.duration import format_duration, parse_duration
from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import MOST_VERSIONS
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.api.problems import Problem, shown
from roadstead.keys import versions as life
from roadstead.keys.material import Material, fingerprint
from roadstead.keys.state import Keyset
from roadstead.keys.versions import Version

FOREVER: Final = "forever"
"""A retention that never ends, in words."""
_GONE: Final = frozenset({Phase.REMOVED, Phase.SHREDDED})
_AGAIN: Final = "make another Approval with"
_MOST_NAMED: Final = 5

Parameters = Mapping[str, str]
Says = Callable[[str], str]
"""What is wrong with a value; empty when nothing is."""


def check(
    wanted: Mapping[str, tuple[Says, str]], parameters: Parameters, *, optional: Collection[str] = ()
) -> Problem | None:
    """What is wrong with the parameters of an operation, or None.

    Args:
        wanted: each parameter that the operation has, what finds something wrong with it, and an example.
        parameters: as they were given.
        optional: those that may be absent.
    """
    for name in parameters:
        if name not in wanted:
            says = f"has {name}, which the operation does not have"
            return Problem("spec.parameters", shown(name), says, f"{_AGAIN} {' and '.join(sorted(wanted))}")
    for name, (says_of, example) in wanted.items():
        if name not in parameters and name in optional:
            continue
        said = says_of(parameters[name]) if name in parameters else "is missing"
        if said:
            value = shown(parameters[name]) if name in parameters else ""
            return Problem(f"spec.parameters.{name}", value, said, f"{_AGAIN} one such as {example}")
    return None


def is_number(value: str) -> str:
    """What is wrong with the number of a version."""
    if value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= MOST_VERSIONS and len(value) <= len("999999"):
        return ""
    return f"is {shown(value)}, which is no number from 1 to {MOST_VERSIONS}"


def is_yes_or_no(value: str) -> str:
    """What is wrong with a truth."""
    return "" if value in ("true", "false") else f"is {shown(value)}, which is neither true nor false"


def is_given(value: str) -> str:
    """What is wrong with a name."""
    return "" if value else "is empty"


def is_retention(value: str) -> str:
    """What is wrong with a retention."""
    try:
        fine = parse_duration(value) >= timedelta(minutes=1)
    except ValueError as error:
        return f"is {shown(value)}: {error}"
    return "" if fine else f"is {value}, less than 1m"


def is_delay(value: str) -> str:
    """What is wrong with a time to wait."""
    try:
        fine = parse_duration(value) >= timedelta(0)
    except ValueError as error:
        return f"is {shown(value)}: {error}"
    return "" if fine else f"is {value}, less than 0s"


# --- retention


@dataclass(frozen=True, slots=True)
class Retention:
    """How long data lives.

    Attributes:
        counts: what is acted upon; None: for ever.
        text: the same in words, as the status keeps it.
        shortened: the spec asks for less, and nobody has approved it.
    """

    counts: timedelta | None
    text: str
    shortened: bool


FOR_EVER: Final = Retention(None, FOREVER, shortened=False)


def retention(asked: timedelta | None, agreed: str) -> Retention:
    """Which retention counts: that of the spec, unless it is shorter than what was agreed.

    Args:
        asked: by the spec; None: for ever.
        agreed: `Retention.text` of before; empty when nothing was before.
    """
    text = FOREVER if asked is None else format_duration(asked)
    if agreed in ("", text) or asked is None:
        return Retention(asked, text, shortened=False)
    before = None if agreed == FOREVER else parse_duration(agreed)
    if before is not None and asked >= before:
        return Retention(asked, text, shortened=False)
    return Retention(before, agreed, shortened=True)


# --- removal


@dataclass(frozen=True, slots=True)
class Removal:
    """How far a removal has come.

    Attributes:
        living: versions that are not at their end, so that nothing may be removed yet.
        left: versions that are still to be removed.
        of: number of versions that it is about.
        until: when the next one may be removed; None: none is left that has ended.
        released: the highest number up to which each has ended for long enough; 0: not even the first.
    """

    living: tuple[Version, ...]
    left: tuple[Version, ...]
    of: int
    until: datetime | None
    released: int


def removal(versions: Iterable[Version], up_to: int, delay: timedelta, now: datetime) -> Removal:
    """How far the removal of the versions up to a number has come.

    Args:
        versions: the ledger.
        up_to: the highest number.
        delay: from a version's end to its removal.
        now: in UTC.
    """
    meant = sorted((version for version in versions if version.number <= up_to), key=lambda version: version.number)
    living = tuple(v for v in meant if v.phase not in life.REMOVABLE | _GONE or v.given)
    left = tuple(version for version in meant if version.phase not in _GONE)
    until = min((version.last_written + delay for version in left if version not in living), default=None)
    early = (v.number for v in left if v in living or now < v.last_written + delay)
    first_early = min(early, default=up_to + 1)
    released = max((version.number for version in meant if version.number < first_early), default=0)
    return Removal(living, left, len(meant), until, released)


def unfinished(found: Removal, waits: str, now: datetime) -> tuple[str, float | None]:
    """What a removal waits for, and for how many seconds; None: until somebody does something.

    Args:
        found: how far it has come; something is left.
        waits: what the ring waits for; empty: nothing.
        now: in UTC.
    """
    removed = f"{found.of - len(found.left)} of {found.of} versions are removed"
    if found.living:
        return f"{removed}; {'; '.join(_lives(version) for version in found.living[:_MOST_NAMED])}", None
    if found.until is not None and now < found.until:
        return f"{removed}; the next from {found.until:%Y-%m-%dT%H:%M:%SZ} on", (found.until - now).total_seconds()
    due = min(found.left, key=lambda version: version.last_written)
    return f"{removed}; version {due.number} is next" + (f", and waits: {waits}" if waits else ""), None


def _lives(version: Version) -> str:
    if version.phase is Phase.RETIRED:
        return (
            f"version {version.number} was given to regions again, since data of it is about; have it written anew, "
            "then take status.returned of its KeyVersion back"
        )
    if version.phase is Phase.COMPROMISED:
        return f"what version {version.number} encrypted is still written anew; status.rewrap says how much is left"
    return f"version {version.number} is {version.phase}, and has not ended"


# --- shredding


def may_have_been_elsewhere(made: datetime | None, versions: Iterable[Version], skew: timedelta) -> bool:
    """Whether the ring may have had its KEKs with another provider than its spec says.

    The provider of a ring never changes, so only a ring can have had that was made anew under its name.

    Args:
        made: when the KeyRing was made.
        versions: the ledger.
        skew: by how much clocks may differ.
    """
    first = min((version.staged or version.since for version in versions), default=None)
    return made is None or (first is not None and first + skew < made)


def unrestored(versions: Iterable[Version], stored: Collection[int]) -> tuple[int, ...]:
    """Versions whose material should be in the hub, and is not: a backup of it needs an old KEK.

    Args:
        versions: the ledger.
        stored: numbers of versions whose material is there.
    """
    without = _GONE | {Phase.DISCARDED}
    return tuple(v.number for v in versions if v.fingerprint and v.phase not in without and v.number not in stored)


def shredded(count: int, up_to: int, providers: Collection[KekProviderKind], now: datetime) -> str:
    """What is true of versions whose KEKs were destroyed.

    Args:
        count: number of them.
        up_to: the highest number.
        providers: where their KEKs were or may have been.
        now: in UTC.
    """
    said = f"{count} versions up to {up_to} are shredded, and the KEKs destroyed that they were wrapped with"
    if KekProviderKind.KUBERNETES in providers:
        said += (
            "; those were Secrets of the hub: whoever has a backup with them, as each one of etcd is, still opens the "
            f"versions with it, so delete the backups from before {now:%Y-%m-%dT%H:%M:%SZ}"
        )
    if KekProviderKind.PKCS11 in providers:
        said += "; no backup of the hub opens what the module had wrapped, unless a backup of the module is kept"
    return said


# --- a keyset that is adopted


def digest(keyset: Keyset) -> str:
    """16 hexadecimal digits that no other numbers, fingerprints and primary yield: of what is public of a keyset."""
    text = ";".join(f"{number}:{fingerprint}" for number, fingerprint in keyset.keys)
    return hashlib.sha256(f"{text}|{keyset.primary}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Adoption:
    """One version that the ledger is to have.

    Attributes:
        material: of the version.
        path: the phases that it goes through, from the one that it has on.
    """

    material: Material
    path: tuple[Phase, ...]


_PATH: Final = (
    Phase.RESERVED,
    Phase.STAGED,
    Phase.PUBLISHED,
    Phase.READY,
    Phase.PRIMARY,
    Phase.SUPERSEDED,
)


def adoptions(keyset: Keyset, keys: Iterable[Material], versions: Iterable[Version]) -> tuple[Adoption, ...]:
    """What the ledger lacks of what a region has, in the order in which it is to be written: the primary last.

    What was made primary, or was before, is so again: all regions had proved it, or it would not have been. It then
    waits for the proofs of every region like any other.

    Args:
        keyset: of the region.
        keys: its material.
        versions: the ledger.
    """
    known = {version.number: version for version in versions}
    found = []
    for key in sorted(keys, key=lambda key: (key.number == keyset.primary, key.number)):
        if key.number == keyset.primary:
            goal = Phase.PRIMARY
        elif key.number < keyset.primary:
            goal = Phase.SUPERSEDED
        else:
            goal = Phase.PUBLISHED
        version = known.get(key.number)
        if version is not None and version.phase not in _PATH:
            continue
        start = _PATH.index(version.phase) if version is not None else 0
        path = _PATH[start : _PATH.index(goal) + 1]
        if version is None or len(path) > 1:
            found.append(Adoption(key, path))
    return tuple(found)


def lost(
    ring_id: str, keys: Iterable[Material], versions: Iterable[Version], stored: Mapping[int, str]
) -> tuple[Material, ...]:
    """The very material that the ledger knows, and the hub has not any more.

    Args:
        ring_id: of the ring.
        keys: of the region.
        versions: the ledger.
        stored: fingerprint of what is in the hub, by number.
    """
    known = {v.number: v.fingerprint for v in versions if v.fingerprint and v.phase not in _GONE}
    found = ((key, fingerprint(ring_id, key)) for key in keys)
    return tuple(key for key, said in found if known.get(key.number) == said != stored.get(key.number))


def contradiction(keyset: Keyset, versions: Iterable[Version]) -> Version | None:
    """A version of which the ledger has other material than the region."""
    here = dict(keyset.keys)
    for version in versions:
        if version.fingerprint and here.get(version.number, version.fingerprint) != version.fingerprint:
            return version
    return None
