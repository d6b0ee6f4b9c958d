"""What can go wrong, in words that have no key material, and no word of a provider that may quote what it was given."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a keyset is not opened, in one word."""

    SOURCE = "SourceUnreadable"
    DAMAGED = "SealedKeysetDamaged"
    OTHER_RING = "OtherRing"
    OLDER = "OlderGeneration"
    NO_KEY = "PrivateKeyMissing"
    KEY_UNREADABLE = "PrivateKeyUnreadable"
    LIBRARY = "LibraryUnusable"
    NO_TOKEN = "TokenMissing"  # noqa: S105 - no password
    MECHANISM = "MechanismMissing"
    PIN_WRONG = "PinWrong"
    PIN_LOCKED = "PinLocked"
    PIN_UNSET = "PinUnset"
    EXISTS = "KeyExists"
    FAILED = "ProviderFailed"
    CRASHED = "ProviderCrashed"
    TIMED_OUT = "ProviderTimedOut"
    TARGET = "TargetUnusable"


class AgentError(Exception):
    """Something that a person can mend; the message says how.

    Attributes:
        reason: one word.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
