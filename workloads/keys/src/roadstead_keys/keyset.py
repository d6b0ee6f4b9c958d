"""A keyset that is only what a ring makes: stricter than Tink, which takes more than is safe to prove.

Tink reads keysets with the same id twice, with id 0, with keys that put no id before what they encrypt, and with short
keys. Which version a ciphertext was made with would then be a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tink import TinkError, aead, proto_keyset_format, secret_key_access
from tink.proto import aes_gcm_pb2, tink_pb2, x_aes_gcm_pb2

from roadstead_keys.errors import MountError

PREFIX_BYTES = 5
"""Tink's prefix of a ciphertext: 0x01 and the key's id, big-endian."""
_AES_GCM = "type.googleapis.com/google.crypto.tink.AesGcmKey"
_XAES_GCM = "type.googleapis.com/google.crypto.tink.XAesGcmKey"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keyset:
    """The versions that are held.

    Attributes:
        primary: number of the one to write with.
        versions: a primitive for each, by number.
    """

    primary: int
    versions: Mapping[int, aead.Aead]


def load(content: bytes) -> Keyset:
    """Parse a Tink keyset in JSON.

    Raises:
        MountError: it is no keyset, or one that no ring has made.
    """
    keyset = tink_pb2.Keyset()
    try:
        json_format.Parse(content, keyset)
    except (json_format.ParseError, UnicodeDecodeError):
        # What Tink or protobuf say may quote the keyset.
        raise MountError("the keyset is not one in Tink's JSON format") from None
    if problem := _problem(keyset):
        raise MountError(f"the keyset {problem}")
    aead.register()
    return Keyset(keyset.primary_key_id, {key.key_id: _primitive(key) for key in keyset.key})


def _primitive(key: tink_pb2.Keyset.Key) -> aead.Aead:
    single = tink_pb2.Keyset(primary_key_id=key.key_id, key=[key])
    try:
        handle = proto_keyset_format.parse(single.SerializeToString(), secret_key_access.TOKEN)
        return handle.primitive(aead.Aead)
    except TinkError:
        raise MountError(f"the keyset's version {key.key_id} is not a key that Tink takes") from None


def _problem(keyset: tink_pb2.Keyset) -> str:
    numbers = [key.key_id for key in keyset.key]
    if len(numbers) != len(set(numbers)):
        return "has a version twice"
    if keyset.primary_key_id not in numbers:
        return f"has no version {keyset.primary_key_id}, which it calls its primary"
    return next((words for key in keyset.key if (words := _problem_of(key))), "")


def _problem_of(key: tink_pb2.Keyset.Key) -> str:
    which = f"has version {key.key_id}, which"
    if key.key_id == 0:
        return f"{which} is no number"
    if key.status != tink_pb2.ENABLED:
        return f"{which} is not enabled"
    if key.output_prefix_type != tink_pb2.TINK:
        return f"{which} puts no number before what it encrypts"
    try:
        length = _length(key)
    except DecodeError:
        return f"{which} cannot be parsed"
    if length != _KEY_BYTES:
        return f"{which} is not a key of 256 bits of a type that a ring makes"
    return ""


def _length(key: tink_pb2.Keyset.Key) -> int:
    if key.key_data.type_url == _XAES_GCM:
        return len(x_aes_gcm_pb2.XAesGcmKey.FromString(key.key_data.value).key_value)
    if key.key_data.type_url == _AES_GCM:
        return len(aes_gcm_pb2.AesGcmKey.FromString(key.key_data.value).key_value)
    return 0
