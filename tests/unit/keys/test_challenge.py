"""The proof from end to end: the operator asks, the consumer's own library answers, the operator verifies."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from roadstead_keys import Ring, proof

from roadstead.api.keyversion import KeyType
from roadstead.keys.challenge import Answer, Asked, Proved, challenge, verify
from roadstead.keys.material import Material, keyset
from unit.keyslib.mounts import mount

ASKED = Asked("r0123456789ab", "hkg")
VERSIONS = [
    Material(1, KeyType.AES_256_GCM, b"\x01" * 32),
    Material(2, KeyType.XAES_256_GCM, b"\x02" * 32),
    Material(3, KeyType.XAES_256_GCM, b"\x03" * 32),
]


def ring_with(
    directory: Path, held: list[Material], primary: int, *, asked: Asked = ASKED, active: bool = True
) -> Ring:
    """What a pod has that was given some versions, and is asked for all of them."""
    challenges = {str(m.number): base64.b64encode(challenge(asked, m)).decode() for m in VERSIONS}
    mount(
        directory,
        keyset(held, primary).decode(),
        ring=asked.ring,
        region=asked.region,
        generation=5,
        active=active,
        challenges=challenges,
    )
    return Ring.open(directory)


def answered(ring: Ring, pod: str = "pod-1", instance: str = "a") -> Answer:
    said = proof.answer(ring, pod, instance)
    return Answer(pod, instance, said.generation, said.reads, said.writes)


def test_what_is_held_is_proved(tmp_path: Path) -> None:
    assert verify(ASKED, VERSIONS, answered(ring_with(tmp_path, VERSIONS, 2))) == Proved(frozenset({1, 2, 3}), 2)


def test_what_is_not_held_is_not(tmp_path: Path) -> None:
    assert verify(ASKED, VERSIONS, answered(ring_with(tmp_path, VERSIONS[:2], 1))) == Proved(frozenset({1, 2}), 1)


def test_a_key_with_the_right_number_only_is_not_the_key(tmp_path: Path) -> None:
    other = Material(3, KeyType.XAES_256_GCM, b"\x09" * 32)
    said = answered(ring_with(tmp_path, [*VERSIONS[:2], other], 3))
    assert verify(ASKED, VERSIONS, said) == Proved(frozenset({1, 2}), 0)


def test_before_there_is_a_primary_nothing_is_written(tmp_path: Path) -> None:
    assert verify(ASKED, VERSIONS, answered(ring_with(tmp_path, VERSIONS, 1, active=False))).writes == 0


@pytest.mark.parametrize("change", [{"pod": "pod-2"}, {"instance": "b"}, {"generation": 6}])
def test_an_answer_is_of_one_pod_one_start_and_one_generation(tmp_path: Path, change: dict[str, object]) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2))
    assert verify(ASKED, VERSIONS, replace(said, **change)) == Proved(frozenset(), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [Asked("r0123456789ab", "sgp"), Asked("rother", "hkg")])
def test_an_answer_is_of_one_ring_and_one_region(tmp_path: Path, other: Asked) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2, asked=other))
    assert verify(ASKED, VERSIONS, said) == Proved(frozenset(), 0)


def test_a_mac_of_one_version_proves_no_other(tmp_path: Path) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2))
    moved = replace(said, reads={1: said.reads[2], 2: said.reads[1], 3: b"", 4: said.reads[1], -1: b"x"})
    assert verify(ASKED, VERSIONS, moved).reads == frozenset()


def test_which_version_is_written_with_cannot_be_said_without_it(tmp_path: Path) -> None:
    """The number before a ciphertext is anybody's to change; what is behind it is not."""
    said = answered(ring_with(tmp_path, VERSIONS, 2))
    for writes in (
        b"\x01" + (3).to_bytes(4) + said.writes[5:],
        b"\x01" + (9).to_bytes(4) + said.writes[5:],
        b"\x00" + said.writes[1:],
        said.writes[:20],
        b"",
        b"\x01\x00\x00\x00\x02" + b"x" * 5000,
        bytes([*said.writes[:-1], said.writes[-1] ^ 1]),
    ):
        assert verify(ASKED, VERSIONS, replace(said, writes=writes)) == Proved(frozenset({1, 2, 3}), 0)


def test_a_challenge_is_never_the_same_twice() -> None:
    assert challenge(ASKED, VERSIONS[0]) != challenge(ASKED, VERSIONS[0])
