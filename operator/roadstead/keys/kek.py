"""Key-encryption keys (KEKs): what a place that keeps them can do, and how it says that it cannot.

A KEK never leaves its provider. Versions of a ring are random keys that the operator makes, wraps with a KEK, and keeps
wrapped. That a KEK was made exactly once cannot be had from every provider: an HSM has no compare-and-swap. So a KEK is
known by its fingerprint, and the ledger says which fingerprint counts. Whatever else goes by the same name is the trace
of a former leader or of a person, harms nobody, and can be destroyed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from roadstead.kernel.errors import Retryable, Terminal

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_FORMAT: Final = b"\x01"
_SHORTEST: Final = len(_FORMAT) + NONCE_BYTES + TAG_BYTES
FINGERPRINT_WORDS: Final = b"roadstead/kek/fingerprint/1"
"""What a fingerprint is a MAC of: nothing else is ever authenticated with a KEK."""


@dataclass(frozen=True, slots=True)
class KekName:
    """What a KEK is called.

    Attributes:
        ring: identity of the ring.
        generation: 1, 2, ...; another one after each rotation of the KEK.
        operation: of the intent in the ledger that it was made for. What was made for another is never adopted.
    """

    ring: str
    generation: int
    operation: str

    def __str__(self) -> str:
        return f"{self.ring}-{self.generation}-{self.operation}"


@dataclass(frozen=True, slots=True)
class Kek:
    """One KEK that is there.

    Attributes:
        name: what it is called; others may be called the same.
        fingerprint: 32 hexadecimal digits that only this key yields, and that tell nothing of it.
    """

    name: KekName
    fingerprint: str


class KekProvider(Protocol):
    """A place that keeps KEKs. Every method may raise `ProviderDown` and `ProviderRefuses`.

    The contract is `tests/kek_contract.py`: a new provider passes it.
    """

    async def ensure(self, name: KekName) -> tuple[Kek, ...]:
        """Make a KEK unless one of this name is there.

        Returns:
            All of this name, at least one, ordered by fingerprint. More than one where two have made it at once.
        """

    async def wrap(self, kek: Kek, key: bytes, context: bytes) -> bytes:
        """Encrypt a key under a KEK.

        Args:
            kek: with this very fingerprint.
            key: 32 bytes.
            context: bound to the result, and needed to unwrap it.
        """

    async def unwrap(self, kek: Kek, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt what `wrap` made."""

    async def destroy(self, kek: Kek) -> None:
        """Destroy a KEK for ever; nothing happens when it is not there."""

    async def keks(self, ring: str) -> tuple[Kek, ...]:
        """Every KEK of a ring, by whomever it was made, ordered by name and fingerprint."""


class Reason(StrEnum):
    """Why a provider does not do what it should, in one word: for conditions and labels of metrics."""

    NOT_CONFIGURED = "ProviderNotConfigured"
    UNREACHABLE = "ProviderUnreachable"
    TIMED_OUT = "ProviderTimedOut"
    CRASHED = "ProviderCrashed"
    FAILED = "ProviderFailed"
    LIBRARY = "ProviderLibraryUnusable"
    TOKEN_MISSING = "TokenMissing"  # noqa: S105 - no password
    TOKEN_AMBIGUOUS = "TokenAmbiguous"  # noqa: S105
    TOKEN_FULL = "TokenFull"  # noqa: S105
    PIN_UNREADABLE = "PinUnreadable"
    PIN_WRONG = "PinWrong"
    PIN_LOCKED = "PinLocked"
    PIN_UNSET = "PinNotSet"
    MECHANISM = "MechanismMissing"
    KEK_MISSING = "KekMissing"
    KEK_UNUSABLE = "KekUnusable"
    DAMAGED = "WrappedKeyDamaged"


class ProviderDown(Retryable):
    """The provider gave no answer, or none that counts. The message is ours: a provider's own words may quote a key.

    Attributes:
        reason: one word.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProviderRefuses(Terminal):
    """The provider will go on saying no until a person changes something. The message says what.

    Attributes:
        reason: one word.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def packed(nonce: bytes, sealed: bytes) -> bytes:
    """A wrapped key as it is stored: a byte for the format, the nonce, the ciphertext with its tag (AES-256-GCM)."""
    return _FORMAT + nonce + sealed


def unpacked(wrapped: bytes) -> tuple[bytes, bytes]:
    """Nonce and ciphertext of a wrapped key.

    Raises:
        ProviderRefuses: it is none.
    """
    if len(wrapped) < _SHORTEST or wrapped[:1] != _FORMAT:
        raise damaged()
    return wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]


def damaged() -> ProviderRefuses:
    """The error for a wrapped key that cannot be unwrapped though its KEK is there."""
    return ProviderRefuses(
        Reason.DAMAGED,
        "the wrapped key is damaged, or belongs to another ring, version or KEK; restore its Secret from a backup",
    )


def missing(kek: Kek) -> ProviderRefuses:
    """The error for a KEK that is not there."""
    return ProviderRefuses(
        Reason.KEK_MISSING,
        f"KEK {kek.name} with fingerprint {kek.fingerprint} is not in the provider; restore it from a backup",
    )
