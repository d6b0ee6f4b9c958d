"""What the chat relay can be told by variables; tests/unit/api/test_relay.py holds the list against its code."""

import base64
import binascii
import difflib

KEYS = "CHAT_TOKEN_PUBLIC_KEYS"
"""Without this one the relay does not start."""
# All of the relay's own but those in chatservice.RESERVED_ENV, which the operator sets or relies on.
OPTIONS = (
    "CHAT_CATCH_UP_SECONDS",
    "CHAT_COPY_SECONDS",
    "CHAT_KEYS_REFRESH_SECONDS",
    "CHAT_LOCK_AFTER",
    "CHAT_LOCK_SECONDS",
    "CHAT_MAX_CONNECTIONS",
    "CHAT_MAX_MESSAGE_BYTES",
    "CHAT_MAX_ROOMS",
    "CHAT_MESSAGES_PER_SECOND",
    "CHAT_QUEUE_BYTES",
    "CHAT_REWRAP_PER_SECOND",
    "CHAT_STALL_SECONDS",
    KEYS,
)
PREFIX = "CHAT_"
_KEY_BYTES = 32


def nearest_option(name: str) -> str:
    """The option that somebody may have meant."""
    return difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.0)[0]


def is_key(text: str) -> bool:
    """Whether this is a public Ed25519 key as the relay reads it: 32 bytes in base64."""
    try:
        return len(base64.b64decode(text.strip(), validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
