"""Opening what was sealed with HPKE, where the private key is a thing that can only agree on a secret.

RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; names as there. `cryptography` has HPKE, and
the operator seals with it; to open, it wants the private key itself, which does not leave an HSM.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

_KEM = b"KEM" + (0x0010).to_bytes(2)
_KEM_SECRET_BYTES = 32
AES_128_GCM = 0x0001
AES_256_GCM = 0x0002
_KEY_BYTES = {AES_128_GCM: 16, AES_256_GCM: 32}
_NONCE_BYTES = 12


def opening(
    enc: bytes, public: bytes, agree: Callable[[bytes], bytes], info: bytes, aead: int = AES_256_GCM
) -> tuple[bytes, bytes]:
    """Key and nonce of the one message that was sealed.

    Args:
        enc: the encapsulated key: the sender's ephemeral public key.
        public: our public key, uncompressed.
        agree: the x coordinate of what a public key and our private one agree on (ECDH).
        info: what the sender bound it to.
        aead: as RFC 9180 numbers them.
    """
    shared = _decapsulated(agree(enc), enc, public)
    suite = b"HPKE" + (0x0010).to_bytes(2) + (0x0001).to_bytes(2) + aead.to_bytes(2)
    context = b"\x00" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, secret, b"key", context, _KEY_BYTES[aead])
    return key, _expand(suite, secret, b"base_nonce", context, _NONCE_BYTES)


def _decapsulated(agreed: bytes, enc: bytes, public: bytes) -> bytes:
    extracted = _extract(_KEM, b"", b"eae_prk", agreed)
    return _expand(_KEM, extracted, b"shared_secret", enc + public, _KEM_SECRET_BYTES)


def _extract(suite: bytes, salt: bytes, label: bytes, keying: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + keying, hashlib.sha256)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    # One block of HKDF is 32 bytes, and nothing here is longer.
    words = length.to_bytes(2) + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, words + b"\x01", hashlib.sha256)[:length]
