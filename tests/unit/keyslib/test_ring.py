from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import roadstead_keys
from roadstead_keys import DecryptError, MountError, NoPrimaryError, Ring, UnknownVersionError
from tink.proto import tink_pb2

from unit.keyslib.mounts import as_json, keyset, material, mount, parsed_by_tink, primitive, tink_key


def ring(directory: Path, numbers: range = range(1, 4), primary: int = 3, **changes: Any) -> Ring:
    mount(directory, as_json(keyset(numbers, primary)), **changes)
    return Ring.open(directory)


def test_what_is_encrypted_names_the_primary_and_any_tink_reads_it(tmp_path: Path) -> None:
    opened = ring(tmp_path)
    ciphertext = opened.encrypt(b"words", b"row 1")
    assert ciphertext[:5] == b"\x01\x00\x00\x00\x03"
    assert parsed_by_tink(as_json(keyset(range(1, 4), 3))).decrypt(ciphertext, b"row 1") == b"words"
    assert opened.decrypt(ciphertext, b"row 1") == b"words"
    assert (opened.primary, opened.versions) == (3, frozenset({1, 2, 3}))


def test_every_version_that_is_held_is_read(tmp_path: Path) -> None:
    opened = ring(tmp_path)
    for number in (1, 2, 3):
        assert opened.decrypt(primitive(number).encrypt(b"old", b""), b"") == b"old"


def test_a_version_that_is_not_held_is_named(tmp_path: Path) -> None:
    opened = ring(tmp_path)
    with pytest.raises(UnknownVersionError, match="version 9") as raised:
        opened.decrypt(primitive(9).encrypt(b"", b""), b"")
    assert raised.value.version == 9


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda text: text[:-1] + bytes([text[-1] ^ 1]), id="a bit is turned"),
        pytest.param(lambda text: b"\x01\x00\x00\x00\x02" + text[5:], id="it names another version that is held"),
        pytest.param(lambda text: text[:6], id="it is cut off"),
        pytest.param(lambda text: text[:3], id="it has no number"),
        pytest.param(lambda text: b"\x00" + text[1:], id="it is of another format"),
        pytest.param(lambda _: b"", id="it is empty"),
        pytest.param(
            lambda _: primitive(3, b"another ring").encrypt(b"words", b"row 1"), id="another ring's version 3"
        ),
    ],
)
def test_what_the_ring_has_not_made_is_not_read(tmp_path: Path, forged: Callable[[bytes], bytes]) -> None:
    opened = ring(tmp_path)
    with pytest.raises(DecryptError):
        opened.decrypt(forged(opened.encrypt(b"words", b"row 1")), b"row 1")


def test_the_context_is_part_of_the_lock(tmp_path: Path) -> None:
    opened = ring(tmp_path)
    with pytest.raises(DecryptError):
        opened.decrypt(opened.encrypt(b"words", b"row 1"), b"row 2")


def test_before_there_is_a_primary_nothing_is_written_and_all_is_read(tmp_path: Path) -> None:
    opened = ring(tmp_path, range(1, 2), 1, active=False)
    assert opened.primary == 0
    with pytest.raises(NoPrimaryError):
        opened.encrypt(b"", b"")
    assert opened.decrypt(primitive(1).encrypt(b"from a region that is further", b""), b"")


def test_a_reload_takes_up_what_is_mounted(tmp_path: Path) -> None:
    opened = ring(tmp_path)
    assert opened.reload() is False
    mount(tmp_path, as_json(keyset(range(2, 5), 4)), generation=2)
    assert opened.primary == 3, "it changed without being asked"
    assert opened.reload() is True
    assert (opened.primary, opened.versions) == (4, frozenset({2, 3, 4}))


@pytest.mark.parametrize(
    ("changes", "keys", "words"),
    [
        pytest.param({"ring": "another"}, None, "ring another", id="another ring"),
        pytest.param({"generation": 0}, None, "generation 0", id="an older one"),
        pytest.param({"generation": 2}, "{}", "primary", id="no keyset"),
        pytest.param({"generation": "2"}, None, "another type", id="a generation that is text"),
        pytest.param({"generation": True}, None, "another type", id="a generation that is true"),
        pytest.param({"challenges": {"one": ""}}, None, "not readable", id="a version that is no number"),
        pytest.param({"challenges": []}, None, "not readable", id="challenges that are a list"),
    ],
)
def test_a_reload_that_fails_leaves_what_is_in_use(
    tmp_path: Path, changes: dict[str, Any], keys: str | None, words: str
) -> None:
    opened = ring(tmp_path)
    mount(tmp_path, keys or as_json(keyset(range(1, 5), 4)), **changes)
    with pytest.raises(MountError, match=words):
        opened.reload()
    assert opened.primary == 3
    assert opened.decrypt(opened.encrypt(b"words", b""), b"") == b"words"


def test_without_a_mount_the_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=str(tmp_path / "nowhere")):
        Ring.open(tmp_path / "nowhere")
    with pytest.raises(MountError, match=r"ring\.json"):
        Ring.open(tmp_path)


def edited(**changes: Any) -> tink_pb2.Keyset:
    key = tink_key(1, material(1))
    for name, value in changes.items():
        setattr(key, name, value)
    return tink_pb2.Keyset(primary_key_id=key.key_id, key=[key])


def of_type(type_url: str, value: bytes) -> tink_pb2.Keyset:
    keyset = edited()
    keyset.key[0].key_data.type_url = type_url
    keyset.key[0].key_data.value = value
    return keyset


AES_GCM = "type.googleapis.com/google.crypto.tink.AesGcmKey"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        pytest.param(keyset([1, 1], 1), "twice", id="a version twice"),
        pytest.param(keyset([2, 2, 1], 1), "twice", id="a version twice that is not the primary"),
        pytest.param(edited(key_id=0), "no number", id="version 0"),
        pytest.param(keyset([1], 2), "no version 2", id="a primary that is not there"),
        pytest.param(edited(output_prefix_type=tink_pb2.RAW), "no number before", id="a RAW key"),
        pytest.param(edited(output_prefix_type=tink_pb2.CRUNCHY), "no number before", id="a CRUNCHY key"),
        pytest.param(edited(status=tink_pb2.DISABLED), "not enabled", id="a disabled key"),
        pytest.param(edited(status=tink_pb2.DESTROYED), "not enabled", id="a destroyed key"),
        pytest.param(of_type(AES_GCM, b"\x1a\x10" + bytes(16)), "256 bits", id="AES-128"),
        pytest.param(of_type(AES_GCM, b"\xff"), "cannot be parsed", id="a key that is no protobuf"),
        pytest.param(of_type("type.googleapis.com/google.crypto.tink.HmacKey", b""), "256 bits", id="an HMAC key"),
        pytest.param(tink_pb2.Keyset(), "no version 0", id="an empty keyset"),
    ],
)
def test_a_keyset_that_no_ring_makes_is_refused(tmp_path: Path, keys: tink_pb2.Keyset, words: str) -> None:
    mount(tmp_path, as_json(keys))
    with pytest.raises(MountError, match=words):
        Ring.open(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"primaryKeyId": 1, "unknown": 2}', "\x00", '{"primaryKeyId": "x"}'])
def test_what_is_no_keyset_is_refused(tmp_path: Path, text: str) -> None:
    mount(tmp_path, text)
    with pytest.raises(MountError):
        Ring.open(tmp_path)


def test_no_error_shows_a_key(tmp_path: Path) -> None:
    """Neither what is said nor what it was raised from: protobuf quotes what it cannot parse."""
    import base64

    good = as_json(keyset([1], 1))
    secret = base64.b64encode(tink_key(1, material(1)).key_data.value).decode()
    assert secret in good
    mount(tmp_path, good.replace('"ENABLED"', f'"{secret}"'))
    with pytest.raises(MountError) as raised:
        Ring.open(tmp_path)
    chain = [raised.value, raised.value.__cause__]
    assert raised.value.__suppress_context__
    assert not any(secret[:12] in f"{error!r}{error}" for error in chain)


def test_all_that_is_public_is_said_to_be() -> None:
    assert {name for name in roadstead_keys.__all__ if not hasattr(roadstead_keys, name)} == set()
