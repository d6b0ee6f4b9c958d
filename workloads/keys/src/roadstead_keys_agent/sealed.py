"""The form of a sealed keyset, for whoever seals it (the operator) and whoever opens it.

A sealed keyset is JSON. Its *statement* says in the clear what is inside, so that it can be compared with what it
should be without being opened: ring, region, generation, numbers and fingerprints of versions. The keyset is encrypted
with a key of its own (AES-256-GCM, the statement as associated data), and that key with the public key of each
recipient: HPKE in base mode (RFC 9180) with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, the statement as
its info. So what was sealed for one ring, region or generation is never opened as another's.

HPKE in base mode proves nothing of who sealed: whoever knows a public key can. Each *authenticator* is a MAC of all the
rest under a key that is derived from a version of the keyset, so whoever has that version (the operator) can tell what
it has made from what was put there by somebody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FILE = "keyset.sealed"
FORMAT = "roadstead/sealed-keyset/1"
CONTENT_KEY_BYTES = 32
NONCE_BYTES = 12
POINT_BYTES = 65
"""Of a P-256 public key as X9.62 has it, uncompressed."""
_DER_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


class NotSealedError(ValueError):
    """It is no sealed keyset."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is inside, in the clear.

    Attributes:
        purpose: ``keyset``, or ``rewrap`` for versions that are only to be decrypted with and encrypted anew.
        ring: identity of the ring.
        region: name of the Region that it is for.
        generation: of the keyset.
        primary: number of the version to write with; 0: none yet.
        keys: number and fingerprint of each version, in order.
        beside: SHA-256, in hexadecimal digits, of the file ring.json that goes with it.
    """

    purpose: str
    ring: str
    region: str
    generation: int
    primary: int
    keys: tuple[tuple[int, str], ...]
    beside: str

    def words(self) -> bytes:
        """The statement as it is bound to what is sealed."""
        return FORMAT.encode() + b"\n" + _canonical(self.data())

    def data(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return {
            "purpose": self.purpose,
            "ring": self.ring,
            "region": self.region,
            "generation": self.generation,
            "primary": self.primary,
            "keys": [[number, fingerprint] for number, fingerprint in self.keys],
            "beside": self.beside,
        }


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who can open it.

    Attributes:
        key: `key_id` of the public key.
        enc: HPKE's encapsulated key.
        wrapped: the content key, encrypted.
    """

    key: str
    enc: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed keyset.

    Attributes:
        statement: what is inside.
        recipients: who can open it.
        nonce: of the keyset's encryption.
        ciphertext: the keyset with its tag.
        authenticators: by number of a version, a MAC of all the rest.
    """

    statement: Statement
    recipients: tuple[Recipient, ...]
    nonce: bytes
    ciphertext: bytes
    authenticators: Mapping[int, bytes]

    def words(self) -> bytes:
        """What an authenticator is taken of."""
        return _canonical(self._data())

    def encoded(self) -> bytes:
        """The file."""
        macs = {str(number): _text(mac) for number, mac in sorted(self.authenticators.items())}
        return _canonical({**self._data(), "authenticators": macs})

    def _data(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "statement": self.statement.data(),
            "recipients": [
                {"key": one.key, "enc": _text(one.enc), "wrapped": _text(one.wrapped)} for one in self.recipients
            ],
            "nonce": _text(self.nonce),
            "ciphertext": _text(self.ciphertext),
        }


def parse(content: bytes) -> Sealed:
    """Read the file.

    Raises:
        NotSealedError: it is none.
    """
    try:
        said = json.loads(content)
        if said["format"] != FORMAT:
            raise NotSealedError
        words = said["statement"]
        statement = Statement(
            purpose=_kind(words["purpose"], str),
            ring=_kind(words["ring"], str),
            region=_kind(words["region"], str),
            generation=_kind(words["generation"], int),
            primary=_kind(words["primary"], int),
            keys=tuple((_kind(number, int), _kind(text, str)) for number, text in words["keys"]),
            beside=_kind(words["beside"], str),
        )
        recipients = tuple(
            Recipient(_kind(one["key"], str), _bytes(one["enc"]), _bytes(one["wrapped"])) for one in said["recipients"]
        )
        macs = {int(number): _bytes(mac) for number, mac in said["authenticators"].items()}
        return Sealed(statement, recipients, _bytes(said["nonce"]), _bytes(said["ciphertext"]), macs)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise NotSealedError from None


def digest(content: bytes) -> str:
    """What a statement says of the file beside it."""
    return hashlib.sha256(content).hexdigest()


def key_id(point: bytes) -> str:
    """What a public key is known by: the first 16 bytes of SHA-256 of its DER form (SubjectPublicKeyInfo).

    ``openssl pkey -pubin -in key.pem -outform DER | sha256sum`` begins with it.
    """
    return hashlib.sha256(_DER_PREFIX + point).hexdigest()[:32]


def pem(point: bytes) -> str:
    """A public key as it is written into a Region."""
    text = _text(_DER_PREFIX + point)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value
