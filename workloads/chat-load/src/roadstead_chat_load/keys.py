"""The Ed25519 pair that signs account tokens, and the tokens."""

import base64
import binascii
import os
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class KeyFileError(Exception):
    """The signing key file cannot be used; the message says why and what to do."""


def generate(path: Path) -> str:
    """Write a new seed, base64, readable by the owner only; return the public key for CHAT_TOKEN_PUBLIC_KEYS.

    Raises:
        KeyFileError: the file exists already, or cannot be written.
    """
    seed = os.urandom(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be made ({error.strerror}); name a new file") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(seed) + b"\n")
    return public_key(Ed25519PrivateKey.from_private_bytes(seed))


def load(path: Path) -> Ed25519PrivateKey:
    """Read a seed that ``generate`` wrote.

    Raises:
        KeyFileError: it is not there, or no base64 seed of 32 bytes.
    """
    try:
        seed = base64.b64decode(path.read_bytes().strip(), validate=True)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read ({error.strerror}); make one with keygen") from None
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) != 32:
        raise KeyFileError(f"{path} holds no base64 Ed25519 seed of 32 bytes; make one with keygen")
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_key(key: Ed25519PrivateKey) -> str:
    """Return the public half as CHAT_TOKEN_PUBLIC_KEYS wants it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def token(key: Ed25519PrivateKey, account: str, rooms: list[str], seconds: int) -> str:
    """Sign a token for an account and the rooms that it may use, valid for so many seconds."""
    return jwt.encode({"sub": account, "rooms": rooms, "exp": int(time.time()) + seconds}, key, algorithm="EdDSA")
