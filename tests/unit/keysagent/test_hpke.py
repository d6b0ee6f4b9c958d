"""What is opened with a private key that only agrees on secrets is what RFC 9180 says."""

from __future__ import annotations

from cryptography.hazmat.primitives import hpke as reference
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from roadstead_keys_agent import hpke

CURVE = ec.SECP256R1()


def agreeing(private: ec.EllipticCurvePrivateKey) -> tuple[bytes, object]:
    def agree(point: bytes) -> bytes:
        return private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point))

    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint), agree


def test_the_vector_of_the_rfc() -> None:
    """RFC 9180, A.3.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode."""
    enc = bytes.fromhex(
        "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9"
        "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
    )
    secret = 0xF3CE7FDAE57E1A310D87F1EBBDE6F328BE0A99CDBCADF4D6589CF29DE4B8FFD2
    public, agree = agreeing(ec.derive_private_key(secret, CURVE))
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    key, nonce = hpke.opening(enc, public, agree, info, hpke.AES_128_GCM)  # type: ignore[arg-type]
    assert key.hex() == "868c066ef58aae6dc589b6cfdd18f97e"
    assert nonce.hex() == "4e0bc5018beba4bf004cca59"


def test_what_another_implementation_sealed_is_opened() -> None:
    suite = reference.Suite(reference.KEM.P256, reference.KDF.HKDF_SHA256, reference.AEAD.AES_256_GCM)
    private = ec.generate_private_key(CURVE)
    public, agree = agreeing(private)
    made = suite.encrypt(b"words", private.public_key(), b"info")
    key, nonce = hpke.opening(made[:65], public, agree, b"info")  # type: ignore[arg-type]
    assert AESGCM(key).decrypt(nonce, made[65:], b"") == b"words"
    assert (key, nonce) != hpke.opening(made[:65], public, agree, b"other")  # type: ignore[arg-type]
