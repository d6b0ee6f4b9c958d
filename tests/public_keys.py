"""Public keys as a Region takes them, and what is easily taken for one."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def pem(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


_PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC_KEY = pem(_PRIVATE.public_key())
ANOTHER = pem(ec.generate_private_key(ec.SECP256R1()).public_key())
_DER = base64.b64decode("".join(PUBLIC_KEY.splitlines()[1:-1]))


def _armoured(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


NO_PUBLIC_KEYS = [
    ("nonsense that is long enough to be one", "x" * 178),
    ("an RSA key", pem(rsa.generate_private_key(65537, 2048).public_key())),
    ("a key on P-384", pem(ec.generate_private_key(ec.SECP384R1()).public_key())),
    ("a key on secp256k1, as long as one on P-256", pem(ec.generate_private_key(ec.SECP256K1()).public_key())),
    (
        "a private key",
        _PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    ),
    ("its bytes without PEM", "".join(PUBLIC_KEY.splitlines()[1:-1])),
    ("words before it", f"the key of this region, made on 1 May 2026:\n{PUBLIC_KEY}"),
    ("two in one", PUBLIC_KEY + ANOTHER),
    ("one line less", PUBLIC_KEY.replace(PUBLIC_KEY.splitlines()[2] + "\n", "")),
]
"""What it is, and how it looks. Each is refused by Python and by the API server."""

OFF_THE_CURVE = ("a point that is not on the curve", _armoured(_DER[:-1] + bytes([_DER[-1] ^ 1])))
"""CEL cannot tell; Python can."""
