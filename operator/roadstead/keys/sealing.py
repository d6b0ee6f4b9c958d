"""Keysets that only a region can open. Pure.

The form is `roadstead_keys_agent.sealed`: what is inside is said in the clear, so that it can be compared without being
opened, and is authenticated under keys that are derived from versions in it. The hub has these versions; who reads or
writes Secrets in the region does not.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from roadstead_keys_agent import sealed
from roadstead_keys_agent.sealed import Recipient, Sealed, Statement

from roadstead.api.publickeys import point_of
from roadstead.keys.challenge import Asked
from roadstead.keys.material import Material
from roadstead.keys.state import Keyset

_SUITE: Final = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_MAC_KEY_BYTES: Final = 32

FILE: Final = sealed.FILE
parse = sealed.parse
digest = sealed.digest


class Purpose(StrEnum):
    """What the versions in a sealed keyset are for."""

    SERVING = "keyset"
    REWRAP = "rewrap"


@dataclass(frozen=True, slots=True)
class Recipients:
    """Whom a region's keysets are sealed for.

    Attributes:
        points: public keys, uncompressed.
    """

    points: tuple[bytes, ...]

    @classmethod
    def of(cls, public_keys: Iterable[str]) -> Recipients:
        """Those that a Region names; what is no public key on P-256 is nobody's."""
        points = (point_of(text) for text in public_keys)
        return cls(tuple(sorted({point for point in points if point is not None})))

    @property
    def ids(self) -> frozenset[str]:
        """What they are known by in a sealed keyset."""
        return frozenset(map(sealed.key_id, self.points))


def seal(
    asked: Asked,
    keyset: Keyset,
    generation: int,
    content: bytes,
    beside: bytes,
    keys: Iterable[Material],
    recipients: Recipients,
    purpose: Purpose = Purpose.SERVING,
) -> bytes:
    """The file that a region is given instead of a keyset.

    Args:
        asked: the ring's identity and the region.
        keyset: what is inside.
        generation: of the keyset.
        content: the keyset itself.
        beside: the file ring.json that goes with it.
        keys: the versions that it is authenticated with.
        recipients: at least one.
        purpose: what the versions are for.

    Raises:
        ValueError: there is nobody to seal it for.
    """
    if not recipients.points:
        raise ValueError("a keyset that is sealed for nobody is lost")
    statement = Statement(
        str(purpose), asked.ring, asked.region, generation, keyset.primary, keyset.keys, sealed.digest(beside)
    )
    words = statement.words()
    key, nonce = AESGCM.generate_key(sealed.CONTENT_KEY_BYTES * 8), os.urandom(sealed.NONCE_BYTES)
    made = Sealed(
        statement,
        tuple(_recipient(point, key, words) for point in recipients.points),
        nonce,
        AESGCM(key).encrypt(nonce, content, words),
        {},
    )
    macs = {material.number: _mac(asked, material, made) for material in keys}
    return replace(made, authenticators=macs).encoded()


def keyset_of(found: Sealed) -> Keyset:
    """What is said to be inside."""
    return Keyset(tuple(sorted(found.statement.keys)), found.statement.primary)


def recipients_of(found: Sealed) -> frozenset[str]:
    """Ids of the public keys that it is sealed for."""
    return frozenset(one.key for one in found.recipients)


def is_ours(asked: Asked, found: Sealed, keys: Iterable[Material]) -> bool:
    """Whether the operator has made it: each version that is at hand, and at least one, authenticates it.

    Args:
        asked: the ring's identity and the region.
        found: what is there.
        keys: versions that the hub has; those that it is not authenticated with do not matter.
    """
    macs = found.authenticators
    said = [(macs[material.number], _mac(asked, material, found)) for material in keys if material.number in macs]
    return bool(said) and all(hmac.compare_digest(claimed, right) for claimed, right in said)


def _recipient(point: bytes, key: bytes, words: bytes) -> Recipient:
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    made = _SUITE.encrypt(key, public, words)
    return Recipient(sealed.key_id(point), made[: sealed.POINT_BYTES], made[sealed.POINT_BYTES :])


def _mac(asked: Asked, material: Material, made: Sealed) -> bytes:
    info = f"roadstead/dek/sealed/1|{asked.ring}|{material.number}|{asked.region}".encode()
    key = HKDF(SHA256(), _MAC_KEY_BYTES, salt=None, info=info).derive(material.key)
    return hmac.digest(key, made.words(), hashlib.sha256)
