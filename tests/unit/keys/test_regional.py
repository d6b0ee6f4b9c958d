"""What a region's Secret and its pods' answers are understood as, whoever wrote them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from roadstead.api.keyversion import KeyType
from roadstead.keys.challenge import Asked
from roadstead.keys.material import Material, fingerprint
from roadstead.keys.regional import (
    answers_in,
    asked_of,
    consumers,
    held_in,
    keyset_secret,
)
from roadstead.keys.state import Keyset

RING = "r0123456789ab"
HERE = Asked(RING, "hkg")
KEYS = tuple(Material(number, KeyType.XAES_256_GCM, bytes([number]) * 32) for number in (1, 2, 3))


def keyset(*numbers: int, primary: int = 0, ring: str = RING) -> Keyset:
    return Keyset(tuple((n, fingerprint(ring, KEYS[n - 1])) for n in numbers), primary)


def secret(*numbers: int, primary: int = 0, generation: int = 7) -> dict[str, Any]:
    held = [KEYS[number - 1] for number in numbers]
    return dict(keyset_secret(HERE, "chat", "ring", keyset(*numbers, primary=primary), held, generation).body)


def said(body: dict[str, Any], key: str = "ring.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(body["data"][key]))
    return found


def changed(body: dict[str, Any], key: str, content: bytes) -> dict[str, Any]:
    return {**body, "data": {**body["data"], key: base64.b64encode(content).decode()}}


@pytest.mark.parametrize("primary", [0, 1, 3])
def test_what_is_written_is_what_is_read(primary: int) -> None:
    held = held_in(HERE, secret(1, 3, primary=primary))
    assert held.keyset == keyset(1, 3, primary=primary)
    assert held.generation == 7
    assert not held.damaged
    assert set(held.keys) == {KEYS[0], KEYS[2]}


def test_nothing_is_there() -> None:
    held = held_in(HERE, None)
    assert (held.keyset, held.generation, held.damaged) == (Keyset(), 0, False)


def test_pods_are_asked_for_the_primary_and_the_newest() -> None:
    assert asked_of(keyset(1, 2, 3, primary=2)) == {2, 3}
    assert asked_of(keyset(1)) == {1}
    assert asked_of(Keyset()) == frozenset()
    assert set(said(secret(1, 2, 3, primary=2))["challenges"]) == {"2", "3"}


def test_before_there_is_a_primary_nobody_may_write() -> None:
    assert said(secret(1))["active"] is False
    assert said(secret(1, primary=1))["active"] is True


def test_other_material_is_never_handed_out_under_a_number() -> None:
    with pytest.raises(ValueError, match=r"not that of versions \[1, 2\]"):
        keyset_secret(HERE, "chat", "ring", keyset(1, 2, primary=1), [KEYS[0], KEYS[2]], 1)


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param({"type": "Opaque"}, id="no data"),
        pytest.param({"data": None}, id="data that is null"),
        pytest.param({"data": {"ring.json": "%%%", "keyset.json": "%%%"}}, id="no base64"),
        pytest.param(changed(secret(1, primary=1), "keyset.json", b"{"), id="no JSON"),
        pytest.param(changed(secret(1, primary=1), "keyset.json", b'{"key": 5}'), id="no keyset"),
        pytest.param(changed(secret(1, primary=1), "ring.json", b"[]"), id="no words about it"),
        pytest.param(changed(secret(1, primary=1), "ring.json", b"[" * 100_000), id="JSON that is too deep"),
        pytest.param(
            changed(secret(1, primary=1), "ring.json", json.dumps(said(secret(1)) | {"challenges": {}}).encode()),
            id="nobody is asked",
        ),
        pytest.param(
            changed(secret(1, primary=1), "ring.json", json.dumps(said(secret(1)) | {"ring": "r9"}).encode()),
            id="another ring's words",
        ),
    ],
)
def test_what_is_no_keyset_is_written_anew_and_no_error(spoilt: dict[str, Any]) -> None:
    assert held_in(HERE, spoilt).damaged


def test_a_version_that_nobody_knows_is_seen_also_in_what_is_damaged() -> None:
    body = secret(1, 2, primary=1)
    words = said(body) | {"challenges": {}}
    assert held_in(HERE, changed(body, "ring.json", json.dumps(words).encode())).keyset.keys == keyset(1, 2).keys


def test_the_next_generation_is_larger_than_what_damaged_content_claims() -> None:
    assert held_in(HERE, changed(secret(1, generation=41), "keyset.json", b"{")).generation == 41


def test_material_is_not_shown() -> None:
    held = held_in(HERE, secret(1, primary=1))
    assert base64.b64encode(KEYS[0].key).decode() not in repr(held)
    assert repr(KEYS[0].key) not in repr(held)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"instance": "a", "generation": 1, "reads": {"x": ""}, "writes": ""}',
        '{"instance": "a", "generation": 1, "reads": {"1": "%"}, "writes": ""}',
        '{"instance": "a", "generation": "one", "reads": {}, "writes": ""}',
        '{"instance": "a", "generation": 1e400, "reads": {}, "writes": ""}',
        "[" * 100_000,
    ],
)
def test_what_is_no_answer_is_left_out(text: str) -> None:
    good = '{"instance": "a", "generation": 1, "reads": {"1": "AA=="}, "writes": ""}'
    [answer] = answers_in({"data": {"pod-1": text, "pod-2": good}})
    assert (answer.pod, answer.generation, answer.reads) == ("pod-2", 1, {1: b"\0"})


STATED = {"instance": "a", "generation": 1, "reads": {}, "writes": ""}


def stated(**changes: Any) -> str:
    return json.dumps(STATED | changes)


def test_what_a_pod_says_that_it_stores_and_misses_is_read() -> None:
    [answer] = answers_in({"data": {"pod-1": stated(inventory={"7": 12, "6": 0}, wanted=[3, 1])}})
    assert (answer.inventory, answer.wanted) == ({7: 12, 6: 0}, frozenset({1, 3}))
    [answer] = answers_in({"data": {"pod-1": stated()}})
    assert (answer.inventory, answer.wanted) == (None, frozenset())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"inventory": [7, 12]}, id="an inventory that is a list"),
        pytest.param({"inventory": "7"}, id="an inventory that is text"),
        pytest.param({"inventory": {"seven": 1}}, id="a version that is no number"),
        pytest.param({"inventory": {"07": 1}}, id="a version written in another way"),
        pytest.param({"inventory": {"7": 1, " 7": 0}}, id="a version twice"),
        pytest.param({"inventory": {"0": 1}}, id="version 0"),
        pytest.param({"inventory": {"-7": 1}}, id="a version below 0"),
        pytest.param({"inventory": {str(2**32): 1}}, id="a version that no ciphertext can name"),
        pytest.param({"inventory": {"7": -1}}, id="fewer than none"),
        pytest.param({"inventory": {"7": 0.0}}, id="a part of one"),
        pytest.param({"inventory": {"7": False}}, id="a number that is false"),
        pytest.param({"inventory": {"7": "0"}}, id="a number that is text"),
        pytest.param({"inventory": {"7": None}}, id="no number"),
        pytest.param({"inventory": {"7": 2**60}}, id="more than anything can store"),
        pytest.param({"inventory": {str(n): 0 for n in range(1, 10_002)}}, id="more versions than there can be"),
        pytest.param({"wanted": {"3": 1}}, id="asked for in an object"),
        pytest.param({"wanted": 3}, id="asked for as a number"),
        pytest.param({"wanted": ["3"]}, id="asked for as text"),
        pytest.param({"wanted": [True]}, id="asked for as true"),
        pytest.param({"wanted": [0]}, id="version 0 asked for"),
        pytest.param({"wanted": [3.5]}, id="half a version asked for"),
        pytest.param({"wanted": list(range(1, 100))}, id="more asked for than anybody remembers"),
        pytest.param({"wanted": None}, id="null asked for"),
    ],
)
def test_who_says_what_cannot_be_is_believed_in_nothing(changes: dict[str, Any]) -> None:
    [answer] = answers_in({"data": {"pod-1": stated(**changes), "pod-2": stated()}})
    assert answer.pod == "pod-2"


@pytest.mark.parametrize("instance", ["\ud800", "\u00e4", "x" * 129, 7, None, ["a"]])
def test_what_tells_no_start_of_a_process_apart_is_no_answer(instance: object) -> None:
    """It has no bytes that a proof could be taken of; a pod must not end the pass over the whole ring with it."""
    text = json.dumps({"instance": instance, "generation": 1, "reads": {}, "writes": ""})
    assert answers_in({"data": {"pod-1": text}}) == ()


def test_pods_that_have_ended_use_nothing() -> None:
    pods = [
        {"metadata": {"uid": phase}, "status": {"phase": phase}}
        for phase in ("Pending", "Running", "Unknown", "Succeeded", "Failed")
    ]
    found = consumers([*pods, {"metadata": {"uid": "new"}}], "keyring.roadstead.dev/chat", frozenset())
    assert found == {"Pending", "Running", "Unknown", "new"}


def test_pods_of_the_rings_other_regions_do_not_count_and_those_of_no_region_do() -> None:
    label = "keyring.roadstead.dev/chat"
    pods = [{"metadata": {"uid": value, "labels": {label: value}}} for value in ("hkg", "sgp", "gkh", "")]
    assert consumers(pods, label, frozenset({"sgp"})) == {"hkg", "gkh", ""}
