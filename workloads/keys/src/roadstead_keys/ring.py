"""A ring as a workload uses it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tink import TinkError, aead

from roadstead_keys import keyset, mount
from roadstead_keys.errors import DecryptError, MountError, NoPrimaryError, NotServedError, UnknownVersionError
from roadstead_keys.keyset import PREFIX_BYTES, Keyset
from roadstead_keys.mount import Bundle

MOST_WANTED = 64
"""Versions that are remembered as asked for and not held. The lowest are kept: those that a ring has really had."""


@dataclass(frozen=True, slots=True)
class Rewrap:
    """A second keyset, of versions that nothing is served from any more: only to encrypt anew what they encrypted.

    Attributes:
        bundle: the words of its mount.
        keys: its versions.
    """

    bundle: Bundle
    keys: Keyset


@dataclass(frozen=True, slots=True)
class Inventory:
    """How many ciphertexts of each version a process still stores.

    Attributes:
        generation: of the keyset that it held before it began to count. What it has written since then it has not
            written with an older one, so a zero of a version that is no longer written with stays a zero.
        stored: the number by version; every version of the keysets is there, also with zero.
    """

    generation: int
    stored: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds in one moment: the mount's words and the keys that they are about, always together.

    Attributes:
        bundle: the words of the mount.
        keys: the versions that are served from.
        rewrap: those that are only encrypted anew; None: there are none.
    """

    bundle: Bundle
    keys: Keyset
    rewrap: Rewrap | None = None

    @property
    def versions(self) -> frozenset[int]:
        """Every version that is held, also only for encrypting anew."""
        return frozenset(self.keys.versions) | frozenset(self.rewrap.keys.versions if self.rewrap else ())

    def inventory(self, counted: Mapping[int, int]) -> Inventory:
        """An inventory that was counted while this was held.

        Take `Ring.held` first, then let everything be stored that was encrypted before, then count everything.

        Args:
            counted: number of ciphertexts by version; one that is not there is counted as zero, so count them all.

        Raises:
            ValueError: it counts a version 0, or fewer than none.
        """
        if any(number < 1 or count < 0 for number, count in counted.items()):
            raise ValueError("versions are numbered from 1, and no fewer than 0 ciphertexts can be stored")
        return Inventory(self.bundle.generation, dict.fromkeys(sorted(self.versions), 0) | dict(counted))


@dataclass(frozen=True, slots=True)
class Counts:
    """What a process has done with a ring since it opened it; for metrics.

    Attributes:
        encrypts: by version.
        decrypts: by version.
        rewraps: by the version that a ciphertext had before.
        unknown: number of decrypts that failed because no keyset has the version.
    """

    encrypts: Mapping[int, int] = field(default_factory=dict)
    decrypts: Mapping[int, int] = field(default_factory=dict)
    rewraps: Mapping[int, int] = field(default_factory=dict)
    unknown: int = 0


class Ring:
    """Encrypts with the ring's primary and decrypts with every version that is held. Several threads may use it."""

    def __init__(self, directory: Path, rewrap: Path | None = None) -> None:
        self._directory = directory
        self._rewrap = rewrap
        self._rewrap_problem = ""
        self._held = Held(*_load(directory))
        self._reloading = threading.Lock()
        self._counting = threading.Lock()
        self._encrypts: Counter[int] = Counter()
        self._decrypts: Counter[int] = Counter()
        self._rewraps: Counter[int] = Counter()
        self._unknown = 0
        self._wanted: frozenset[int] = frozenset()
        self._take_rewrap()

    @classmethod
    def open(cls, directory: str | Path, rewrap: str | Path | None = None) -> Ring:
        """Load what is mounted.

        Args:
            directory: where the keyset is mounted.
            rewrap: where a second keyset is mounted whose versions are only encrypted anew (`rewrap`). The directory
                may be missing or empty; the keyset may come and go.

        Raises:
            MountError: it is no keyset of a ring.
        """
        return cls(Path(directory), None if rewrap is None else Path(rewrap))

    @property
    def held(self) -> Held:
        """What is held now; one value, also while another thread reloads."""
        return self._held

    @property
    def primary(self) -> int:
        """The version to write with; 0 while there is none."""
        held = self._held
        return held.keys.primary if held.bundle.active else 0

    @property
    def versions(self) -> frozenset[int]:
        """The versions that can be read."""
        return frozenset(self._held.keys.versions)

    @property
    def rewrap_problem(self) -> str:
        """Why the keyset for encrypting anew is not held although one is mounted; empty: nothing is wrong with it."""
        return self._rewrap_problem

    @property
    def wanted(self) -> frozenset[int]:
        """Versions that a ciphertext named and that are not held, not even for encrypting anew."""
        return self._wanted - self._held.versions

    @property
    def counts(self) -> Counts:
        """What was done since the ring was opened."""
        with self._counting:
            return Counts(dict(self._encrypts), dict(self._decrypts), dict(self._rewraps), self._unknown)

    def reload(self) -> bool:
        """Take up what is mounted now.

        Returns:
            Whether it differs from what was held.

        Raises:
            MountError: it is no keyset of this ring, or an older one; what was held stays in use. A second keyset that
                cannot be read does not raise: it is not held, and `rewrap_problem` says why.
        """
        with self._reloading:
            before = self._held
            bundle = mount.read(self._directory)
            if bundle.ring != before.bundle.ring:
                raise MountError(f"the mount has ring {bundle.ring} now, and {before.bundle.ring} is in use")
            if bundle.generation < before.bundle.generation:
                older, newer = bundle.generation, before.bundle.generation
                raise MountError(f"the mount has generation {older}, and {newer} is in use")
            if bundle != before.bundle:
                self._held = Held(bundle, keyset.load(bundle.keyset), before.rewrap)
            self._take_rewrap()
            now = self._held
            return (now.bundle, now.rewrap and now.rewrap.bundle) != (
                before.bundle,
                before.rewrap and before.rewrap.bundle,
            )

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt with the primary.

        Args:
            plaintext: what nobody else may read.
            context: bound to it and not part of it, such as the key of the row where it is stored.

        Returns:
            Tink's format: 0x01, the version's number in four bytes, and what its AEAD made.

        Raises:
            NoPrimaryError: no version may be written with yet.
        """
        held = self._held
        if not held.bundle.active:
            raise NoPrimaryError("the ring has no version to write with yet")
        ciphertext: bytes = held.keys.versions[held.keys.primary].encrypt(plaintext, context)
        with self._counting:
            self._encrypts[held.keys.primary] += 1
        return ciphertext

    def decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        """Decrypt with the version that the ciphertext names.

        Raises:
            UnknownVersionError: that version is not held; another pod may have written it a moment ago: `reload` first.
            NotServedError: that version is only held to encrypt anew what it encrypted.
            DecryptError: it is damaged, or of another ring or context.
        """
        version, held = version_of(ciphertext), self._held
        if held.rewrap is not None and version in held.rewrap.keys.versions and version not in held.keys.versions:
            raise NotServedError(version)
        plaintext = self._opened(held.keys.versions.get(version), version, ciphertext, context)
        with self._counting:
            self._decrypts[version] += 1
        return plaintext

    def rewrap(self, ciphertext: bytes, context: bytes) -> bytes:
        """Encrypt with the primary what another version encrypted, also one that is held for nothing else.

        Returns:
            What `encrypt` makes; the ciphertext itself when the primary made it.

        Raises:
            NoPrimaryError: no version may be written with yet.
            UnknownVersionError: no keyset has that version.
            DecryptError: it is damaged, or of another ring or context.
        """
        version, held = version_of(ciphertext), self._held
        if held.bundle.active and version == held.keys.primary:
            return ciphertext
        primitive = held.keys.versions.get(version)
        if primitive is None and held.rewrap is not None:
            primitive = held.rewrap.keys.versions.get(version)
        fresh = self.encrypt(self._opened(primitive, version, ciphertext, context), context)
        with self._counting:
            self._rewraps[version] += 1
        return fresh

    def _opened(self, primitive: aead.Aead | None, version: int, ciphertext: bytes, context: bytes) -> bytes:
        if primitive is None:
            with self._counting:
                self._unknown += 1
                # 0 is no version's number: a ciphertext that names it is damaged, and nobody can bring it.
                self._wanted = frozenset(sorted((self._wanted | {version}) - {0})[:MOST_WANTED])
            raise UnknownVersionError(version)
        try:
            plaintext: bytes = primitive.decrypt(ciphertext, context)
        except TinkError:
            raise DecryptError("the ciphertext cannot be read: it is damaged, or of another ring or context") from None
        return plaintext

    def _take_rewrap(self) -> None:
        """Hold what is mounted for encrypting anew. Whatever is wrong with it must not keep the ring from serving."""
        held = self._held
        known = held.rewrap
        fresh: Rewrap | None = None
        self._rewrap_problem = ""
        try:
            if self._rewrap is not None and mount.is_there(self._rewrap):
                bundle = mount.read(self._rewrap)
                if bundle.ring != held.bundle.ring:
                    raise MountError(f"{self._rewrap} has ring {bundle.ring}, and {held.bundle.ring} is in use")
                fresh = known if known and known.bundle == bundle else Rewrap(bundle, keyset.load(bundle.keyset))
        except MountError as error:
            self._rewrap_problem = str(error)
        if fresh is not known:
            self._held = Held(held.bundle, held.keys, fresh)
        with self._counting:
            # What came is not missed any more: when it goes again, somebody has said that nothing of it is left.
            self._wanted -= self._held.versions


def version_of(ciphertext: bytes) -> int:
    """The version that a ciphertext names. Nothing proves that it was made with it: decrypt for that.

    Raises:
        DecryptError: it is too short, or not in Tink's format.
    """
    if len(ciphertext) < PREFIX_BYTES or ciphertext[0] != 1:
        raise DecryptError("the ciphertext is not in Tink's format")
    return int.from_bytes(ciphertext[1:PREFIX_BYTES])


def _load(directory: Path) -> tuple[Bundle, Keyset]:
    bundle = mount.read(directory)
    return bundle, keyset.load(bundle.keyset)
