"""Keysets, read by Tink itself, and fingerprints."""

from __future__ import annotations

import itertools
import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tink import aead, json_proto_keyset_format, secret_key_access

from roadstead.api.keyversion import KeyType
from roadstead.keys.material import Material, fingerprint, keyset, wrapping_context


def material(number: int, key_type: KeyType = KeyType.XAES_256_GCM, fill: int = 0) -> Material:
    return Material(number, key_type, bytes([fill or number % 251]) * 32)


def by_tink(content: bytes) -> aead.Aead:
    aead.register()
    return json_proto_keyset_format.parse(content.decode(), secret_key_access.TOKEN).primitive(aead.Aead)


@pytest.mark.parametrize("key_type", KeyType)
def test_tink_reads_every_version_and_writes_with_the_primary(key_type: KeyType) -> None:
    versions = [material(number, key_type) for number in (3, 1, 70_000)]
    old = [by_tink(keyset([version], version.number)).encrypt(b"said", b"row 1") for version in versions]
    ring = by_tink(keyset(versions, 70_000))
    for ciphertext in old:
        assert ring.decrypt(ciphertext, b"row 1") == b"said"
    assert ring.encrypt(b"x", b"")[:5] == b"\x01" + (70_000).to_bytes(4)


def test_aes_256_gcm_is_that_of_everybody_else() -> None:
    version = material(1, KeyType.AES_256_GCM)
    ciphertext = by_tink(keyset([version], 1)).encrypt(b"said", b"row 1")
    assert AESGCM(version.key).decrypt(ciphertext[5:17], ciphertext[17:], b"row 1") == b"said"


def test_kinds_may_be_mixed_and_the_order_makes_no_difference() -> None:
    versions = [material(1, KeyType.AES_256_GCM), material(2), material(3)]
    written = {keyset(order, 2) for order in itertools.permutations(versions)}
    assert len(written) == 1
    numbers = [key["keyId"] for key in json.loads(written.pop())["key"]]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("versions, primary", [([], 1), ([1, 2], 3), ([1, 1], 1)])
def test_what_no_workload_would_take_is_not_made(versions: list[int], primary: int) -> None:
    with pytest.raises(ValueError, match="no keyset can be made") as caught:
        keyset([material(number) for number in versions], primary)
    assert "0101" not in str(caught.value)


def test_material_shows_nothing() -> None:
    version = material(1)
    assert "\\x01" not in repr(version) and "0101" not in repr(version)
    with pytest.raises(ValueError, match="version 1 has 16 bytes"):
        Material(1, KeyType.AES_256_GCM, b"k" * 16)


def test_a_fingerprint_is_of_one_key_under_one_name() -> None:
    same = {fingerprint("ra", material(1)), fingerprint("ra", Material(1, KeyType.XAES_256_GCM, b"\x01" * 32))}
    assert len(same) == 1
    others = {
        fingerprint("rb", material(1)),
        fingerprint("ra", material(2, fill=1)),
        fingerprint("ra", material(1, KeyType.AES_256_GCM)),
        fingerprint("ra", material(1, fill=9)),
    }
    assert len(others | same) == 5
    assert all(len(bytes.fromhex(each)) == 16 for each in others)


def test_a_wrapped_key_is_bound_to_ring_and_number() -> None:
    assert wrapping_context("r0123456789ab", 7) == b"r0123456789ab|7"
