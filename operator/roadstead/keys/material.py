"""Key material: what a version is made of, and the keysets that are made of versions.

Material is 32 random bytes. In the hub it is stored wrapped (`roadstead.keys.kek`); in the clear it exists in the
operator's memory for as long as a keyset is put together, and in the keysets of regions. Nothing here has a `repr` that
shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf import json_format
from tink.proto import aes_gcm_pb2, tink_pb2, x_aes_gcm_pb2

from roadstead.api.keyversion import KeyType

KEY_BYTES: Final = 32
_FINGERPRINT_BYTES: Final = 16
_SALT_BYTES: Final = 12
"""Of XAES-256-GCM: with the 12 bytes of the inner nonce, the 192 bits of C2SP's XAES-256-GCM."""


@dataclass(frozen=True, slots=True)
class Material:
    """A version's key in the clear.

    Attributes:
        number: of the version.
        key_type: what it encrypts with.
        key: 32 bytes; never shown.
    """

    number: int
    key_type: KeyType
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"version {self.number} has {len(self.key)} bytes of material instead of {KEY_BYTES}")


def wrapping_context(ring_id: str, number: int) -> bytes:
    """What a wrapped key is bound to: one that is put where another version's was is not unwrapped."""
    return f"{ring_id}|{number}".encode()


def fingerprint(ring_id: str, material: Material) -> str:
    """One-way: 16 bytes of HKDF-SHA-256 (RFC 5869) of the material, in hexadecimal digits.

    Ring, number and type are part of it, so the same material under another name has another fingerprint.
    """
    info = f"roadstead/dek/fingerprint/1|{ring_id}|{material.number}|{material.key_type}".encode()
    return HKDF(SHA256(), _FINGERPRINT_BYTES, salt=None, info=info).derive(material.key).hex()


def keyset(materials: Iterable[Material], primary: int) -> bytes:
    """A Tink keyset in JSON, in clear text: the id of each key is the number of its version.

    Args:
        materials: in any order; none twice.
        primary: number of the one to write with.

    Raises:
        ValueError: ``primary`` is not among them, or a number is there twice.
    """
    ordered = sorted(materials, key=lambda material: material.number)
    numbers = [material.number for material in ordered]
    if len(set(numbers)) != len(numbers) or primary not in numbers:
        raise ValueError(f"no keyset can be made of versions {numbers} with {primary} as its primary")
    keys = [
        tink_pb2.Keyset.Key(
            key_data=_key_data(material),
            status=tink_pb2.ENABLED,
            key_id=material.number,
            output_prefix_type=tink_pb2.TINK,
        )
        for material in ordered
    ]
    made = tink_pb2.Keyset(primary_key_id=primary, key=keys)
    # The same versions give the same bytes: what is compared with what a region has must not differ by its spaces.
    return json_format.MessageToJson(made, indent=None).encode()


def _key_data(material: Material) -> tink_pb2.KeyData:
    match material.key_type:
        case KeyType.XAES_256_GCM:
            kind = "XAesGcmKey"
            params = x_aes_gcm_pb2.XAesGcmParams(salt_size=_SALT_BYTES)
            value = x_aes_gcm_pb2.XAesGcmKey(params=params, key_value=material.key).SerializeToString()
        case KeyType.AES_256_GCM:
            kind = "AesGcmKey"
            value = aes_gcm_pb2.AesGcmKey(key_value=material.key).SerializeToString()
    return tink_pb2.KeyData(
        type_url=f"type.googleapis.com/google.crypto.tink.{kind}",
        value=value,
        key_material_type=tink_pb2.KeyData.SYMMETRIC,
    )
