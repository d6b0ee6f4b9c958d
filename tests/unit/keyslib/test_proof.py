from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from roadstead_keys import Ring, UnknownVersionError, proof

from unit.keyslib.mounts import REGION, RING, as_json, challenge, encoded, keyset, mount, primitive

SECRETS = {number: bytes([number]) * 32 for number in (1, 2, 3)}


def opened(directory: Path, numbers: range = range(1, 4), primary: int = 3, **changes: Any) -> Ring:
    asked = {number: challenge(number, secret) for number, secret in SECRETS.items()}
    mount(directory, as_json(keyset(numbers, primary)), **({"challenges": encoded(asked)} | changes))
    return Ring.open(directory)


def wanted(number: int, pod: str, instance: str, generation: int, said: str = "") -> bytes:
    return hmac.new(SECRETS[number], proof.reads_words(pod, instance, generation, said), hashlib.sha256).digest()


def test_whoever_holds_a_version_answers_for_it(tmp_path: Path) -> None:
    answer = proof.answer(opened(tmp_path, generation=7), "pod-1", "a")
    assert answer.generation == 7
    assert answer.reads == {number: wanted(number, "pod-1", "a", 7) for number in (1, 2, 3)}


def test_whoever_does_not_hold_it_cannot(tmp_path: Path) -> None:
    assert set(proof.answer(opened(tmp_path, range(2, 4)), "pod-1", "a").reads) == {2, 3}


def test_an_answer_is_of_one_pod_one_start_and_one_keyset(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    answers = [proof.answer(ring, pod, instance).reads[1] for pod, instance in (("p", "a"), ("p", "b"), ("q", "a"))]
    mount(tmp_path, as_json(keyset(range(1, 4), 3)), generation=2, challenges=encoded({1: challenge(1, SECRETS[1])}))
    ring.reload()
    answers.append(proof.answer(ring, "p", "a").reads[1])
    assert len(set(answers)) == 4


def test_words_cannot_be_moved_from_one_part_to_the_next() -> None:
    assert proof.reads_words("ab", "c", 1) != proof.reads_words("a", "bc", 1)
    assert proof.reads_words("ab", "c", 1, "2") != proof.reads_words("ab", "c", 12, "")
    assert proof.challenge_context("r1", 2, "x") != proof.challenge_context("r", 12, "x")


def test_a_challenge_of_another_ring_region_or_version_proves_nothing(tmp_path: Path) -> None:
    asked = {
        1: challenge(1, SECRETS[1], ring="another"),
        2: challenge(2, SECRETS[2], region="sgp"),
        3: challenge(2, SECRETS[2]),
    }
    assert proof.answer(opened(tmp_path, challenges=encoded(asked)), "p", "a").reads == {}


def test_what_it_writes_with_is_shown_by_writing(tmp_path: Path) -> None:
    answer = proof.answer(opened(tmp_path, generation=4), "p", "a")
    assert answer.writes[1:5] == (3).to_bytes(4)
    read = primitive(3).decrypt(answer.writes, proof.writes_context(RING, REGION))
    assert read == proof.reads_words("p", "a", 4)


def test_before_there_is_a_primary_nothing_is_written(tmp_path: Path) -> None:
    answer = proof.answer(opened(tmp_path, active=False), "p", "a")
    assert answer.writes == b""
    assert set(answer.reads) == {1, 2, 3}


def test_what_it_stores_and_what_it_misses_is_part_of_the_proof(tmp_path: Path) -> None:
    ring = opened(tmp_path, generation=7)
    with pytest.raises(UnknownVersionError):
        ring.decrypt(primitive(9).encrypt(b"", b""), b"")
    answer = proof.answer(ring, "p", "a", ring.held.inventory({1: 12}))
    said = '{"inventory":{"1":12,"2":0,"3":0},"wanted":[9]}'
    assert proof.statement(answer.inventory, answer.wanted) == said
    assert answer.reads == {number: wanted(number, "p", "a", 7, said) for number in (1, 2, 3)}
    read = primitive(3).decrypt(answer.writes, proof.writes_context(RING, REGION))
    assert read == proof.reads_words("p", "a", 7, said)


def test_who_says_nothing_beside_it_proves_as_before(tmp_path: Path) -> None:
    assert proof.statement(None, ()) == ""
    assert proof.statement({}, ()) == '{"inventory":{}}', "nothing stored is not nothing said"
    text = json.loads(proof.receipt(proof.answer(opened(tmp_path), "p", "a"), "a"))
    assert set(text) == {"instance", "generation", "reads", "writes"}


def test_a_statement_is_one_whatever_order_it_was_made_in() -> None:
    assert proof.statement({2: 0, 10: 1}, {3, 1}) == proof.statement({10: 1, 2: 0}, [1, 3])


def test_what_was_counted_before_the_keyset_changed_is_not_said(tmp_path: Path) -> None:
    """Between the two something may have been written with the version that was primary."""
    ring = opened(tmp_path, primary=2)
    counted = ring.held.inventory({1: 5})
    mount(tmp_path, as_json(keyset(range(1, 4), 3)), generation=2)
    ring.reload()
    assert proof.answer(ring, "p", "a", counted).inventory is None
    assert proof.answer(ring, "p", "a", ring.held.inventory({1: 5, 2: 1})).inventory == {1: 5, 2: 1, 3: 0}


def test_what_is_stored_and_not_held_is_wanted_before_anybody_asks(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    assert proof.answer(ring, "p", "a", ring.held.inventory({8: 1, 9: 0})).wanted == {8}
