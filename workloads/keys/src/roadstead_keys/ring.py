"""A ring as a workload uses it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from tink import TinkError

from roadstead_keys import keyset, mount
from roadstead_keys.errors import DecryptError, MountError, NoPrimaryError, UnknownVersionError
from roadstead_keys.keyset import PREFIX_BYTES, Keyset
from roadstead_keys.mount import Bundle


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds in one moment: the mount's words and the keys that they are about, always together."""

    bundle: Bundle
    keys: Keyset


class Ring:
    """Encrypts with the ring's primary and decrypts with every version that is held. Several threads may use it."""

    def __init__(self, directory: Path, held: Held) -> None:
        self._directory = directory
        self._held = held
        self._reloading = threading.Lock()

    @classmethod
    def open(cls, directory: str | Path) -> Ring:
        """Load what is mounted.

        Raises:
            MountError: it is no keyset of a ring.
        """
        return cls(Path(directory), _load(Path(directory)))

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

    def reload(self) -> bool:
        """Take up what is mounted now.

        Returns:
            Whether it differs from what was held.

        Raises:
            MountError: it is no keyset of this ring, or an older one; what was held stays in use.
        """
        with self._reloading:
            fresh, held = _load(self._directory), self._held
            if fresh.bundle.ring != held.bundle.ring:
                raise MountError(f"the mount has ring {fresh.bundle.ring} now, and {held.bundle.ring} is in use")
            if fresh.bundle.generation < held.bundle.generation:
                older, newer = fresh.bundle.generation, held.bundle.generation
                raise MountError(f"the mount has generation {older}, and {newer} is in use")
            self._held = fresh
            return fresh.bundle != held.bundle

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
        return ciphertext

    def decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        """Decrypt with the version that the ciphertext names.

        Raises:
            UnknownVersionError: that version is not held; another pod may have written it a moment ago: `reload` first.
            DecryptError: it is damaged, or of another ring or context.
        """
        version = version_of(ciphertext)
        primitive = self._held.keys.versions.get(version)
        if primitive is None:
            raise UnknownVersionError(version)
        try:
            plaintext: bytes = primitive.decrypt(ciphertext, context)
        except TinkError:
            raise DecryptError("the ciphertext cannot be read: it is damaged, or of another ring or context") from None
        return plaintext


def version_of(ciphertext: bytes) -> int:
    """The version that a ciphertext names. Nothing proves that it was made with it: decrypt for that.

    Raises:
        DecryptError: it is too short, or not in Tink's format.
    """
    if len(ciphertext) < PREFIX_BYTES or ciphertext[0] != 1:
        raise DecryptError("the ciphertext is not in Tink's format")
    return int.from_bytes(ciphertext[1:PREFIX_BYTES])


def _load(directory: Path) -> Held:
    bundle = mount.read(directory)
    return Held(bundle, keyset.load(bundle.keyset))
