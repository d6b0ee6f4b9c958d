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
from roadstead.keys.regional import answers_in
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


def answered(ring: Ring, pod: str = "pod-1", instance: str = "a", stored: dict[int, int] | None = None) -> Answer:
    """What the operator receives of it, through the text that is handed in."""
    said = proof.answer(ring, pod, instance, ring.held.inventory(stored) if stored is not None else None)
    (received,) = answers_in({"data": {pod: proof.receipt(said, instance)}})
    return received


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


STORED = {1: 12, 2: 0, 3: 5}


def test_what_is_stored_is_taken_over_with_the_proof(tmp_path: Path) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2), stored={**STORED, 9: 4})
    assert verify(ASKED, VERSIONS, said) == Proved(frozenset({1, 2, 3}), 2, {**STORED, 9: 4}, frozenset({9}))


def test_one_version_that_is_proved_is_enough_for_it(tmp_path: Path) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2), stored=STORED)
    assert verify(ASKED, VERSIONS[:1], said) == Proved(frozenset({1}), 0, STORED)


def test_nothing_said_is_not_zero(tmp_path: Path) -> None:
    assert verify(ASKED, VERSIONS, answered(ring_with(tmp_path, VERSIONS, 2))).inventory is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"inventory": {1: 0, 2: 0, 3: 5}}, id="a smaller number"),
        pytest.param({"inventory": {2: 0, 3: 5}}, id="a version left out"),
        pytest.param({"inventory": {}}, id="all left out"),
        pytest.param({"inventory": None}, id="nothing said"),
        pytest.param({"wanted": frozenset({7})}, id="a version asked for"),
        pytest.param({"pod": "pod-2"}, id="copied to another pod"),
        pytest.param({"instance": "b"}, id="of another start"),
        pytest.param({"generation": 6}, id="of another generation"),
        pytest.param({"reads": {}, "writes": b""}, id="no proof at all"),
        pytest.param({"reads": {9: b"x" * 32}, "writes": b""}, id="a proof of a version that nobody asked for"),
    ],
)
def test_a_statement_that_was_changed_or_copied_proves_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2), stored=STORED)
    assert verify(ASKED, VERSIONS, replace(said, **change)) == Proved(frozenset(), 0)  # type: ignore[arg-type]


def test_a_statement_cannot_be_put_beside_a_proof_that_had_none(tmp_path: Path) -> None:
    said = answered(ring_with(tmp_path, VERSIONS, 2))
    forged = replace(said, inventory={1: 0, 2: 0, 3: 0})
    assert verify(ASKED, VERSIONS, forged) == Proved(frozenset(), 0)


def test_a_ciphertext_alone_carries_no_statement(tmp_path: Path) -> None:
    """Whoever can encrypt for the process, without its challenges, says nothing for it."""
    said = answered(ring_with(tmp_path, VERSIONS, 2), stored=STORED)
    assert verify(ASKED, VERSIONS, replace(said, reads={})) == Proved(frozenset(), 2)
