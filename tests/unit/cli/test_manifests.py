from __future__ import annotations

import json
import time

import pytest

from roadstead.cli.manifests import MAX_BYTES, Document, UnreadableManifest, read


def one(text: str) -> Document:
    [document] = read("f", text.encode())
    return document


def test_fields_know_their_lines() -> None:
    document = one("a: 1\nspec:\n  regions:\n    - name: hkg\n    - name: sin\n      role: x\n  config: {A: b}\n")
    assert document.data == {
        "a": 1,
        "spec": {"regions": [{"name": "hkg"}, {"name": "sin", "role": "x"}], "config": {"A": "b"}},
    }
    assert document.line_of("spec.regions[1].role") == 6
    assert document.line_of("spec.regions[1]") == 5
    assert document.line_of("spec.config.A") == 7
    assert document.line_of("spec.regions[1].missing.deeper") == 5
    assert document.line_of("nothing") == 1


def test_several_documents_empty_ones_and_lists() -> None:
    text = "---\n---\na: 1\n---\nkind: List\nitems:\n- b: 1\n-\n  c: 2\n---\n# only a comment\n"
    found = read("f", text.encode())
    assert [(document.data, document.line) for document in found] == [({"a": 1}, 3), ({"b": 1}, 7), ({"c": 2}, 9)]
    assert found[2].line_of("c") == 9


def test_json_is_read_too() -> None:
    body = {"a": [1, 2.5, True, None, {"b": "ü"}]}
    assert one(json.dumps(body, indent=1)).data == body


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("y", True),
        ("08", 8),
        ("0o17", 15),
        ("017", 15),
        ("0x1f", 31),
        ("1_000", 1000),
        ("1e3", 1000),
        ("2.0", 2),
        ("1.5", 1.5),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("=", "="),
        ("'yes'", "yes"),
        ("! yes", "yes"),
        ("!!str 1", "1"),
    ],
)
def test_scalars_are_what_kubectl_makes_of_them(text: str, value: object) -> None:
    got = one(f"a: {text}").data["a"]
    assert got == value and type(got) is type(value)


def test_anchors_and_merge_keys() -> None:
    document = one("base: &b {x: 1, z: 2}\nover: {<<: *b, z: 3}\nmany: {<<: [*b, {w: 1}]}\nagain: *b\n")
    assert document.data["over"] == {"x": 1, "z": 3}
    assert document.data["many"] == {"x": 1, "z": 2, "w": 1}
    assert document.data["again"] == {"x": 1, "z": 2}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + chr(ord(name) - 1)] * 10)}]\n" for name in "bcdefghi"
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a: 1\na: 2", 2, "the key a is there twice", id="a key that is there twice"),
        pytest.param("a:\n  b: 1\n  c: 2\n  b: 3", 4, "the key b is there twice", id="one further in"),
        pytest.param("a: !!python/object/apply:os.system [ls]", 1, "is not accepted", id="a tag that runs code"),
        pytest.param("a: !mine x", 1, "the tag !mine is not accepted", id="a tag of somebody's own"),
        pytest.param("a: !!binary aGk=", 1, "is not accepted", id="bytes"),
        pytest.param("a: .nan", 1, "no number that JSON has", id="not a number"),
        pytest.param("a: -.inf", 1, "no number that JSON has", id="infinity"),
        pytest.param(f"a: {'9' * 5000}", 1, "5000 digits", id="a number of 5000 digits"),
        pytest.param("a: 1\nb: [1, 2", 3, "not YAML", id="an open bracket"),
        pytest.param("a: b: c", 1, "not YAML", id="two colons"),
        pytest.param("a:\n\t- b", 2, "not YAML", id="a tab"),
        pytest.param("a: \x00", 0, "not YAML", id="a control character"),
        pytest.param("a: *x", 1, "not YAML|no anchor", id="an alias of nothing"),
        pytest.param("&a [*a]", 1, "not YAML|no anchor", id="an alias of itself"),
        pytest.param("? [1]\n: 2", 1, "a key is", id="a list as a key"),
        pytest.param("~: 2", 1, "is not text", id="null as a key"),
        pytest.param("<<: 3", 1, "merges something that is not a map", id="a merge of a number"),
        pytest.param("[" * 5000, 1, "nested more than 100", id="5000 brackets"),
        pytest.param("{a: " * 5000, 1, "nested more than 100", id="5000 braces"),
        pytest.param(BOMB, 6, "more than 200000 values", id="a bomb of aliases"),
    ],
)
def test_what_is_no_manifest_is_an_error_with_a_line(text: str, line: int, words: str) -> None:
    with pytest.raises(UnreadableManifest, match=words) as caught:
        read("f", text.encode())
    assert caught.value.line == line


def test_what_is_too_large_or_no_text_is_refused() -> None:
    with pytest.raises(UnreadableManifest, match="above"):
        read("f", b"a" * (MAX_BYTES + 1))
    with pytest.raises(UnreadableManifest, match="UTF-8") as caught:
        read("f", b"a: 1\nb: \xff\n")
    assert caught.value.line == 2
    assert read("f", b"\xef\xbb\xbfa: 1")[0].data == {"a": 1}


def test_a_merge_bomb_ends_soon() -> None:
    base = "k0: &m0 {" + ", ".join(f"a{i}: 1" for i in range(100)) + "}\n"
    text = base + "".join(f"k{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 50)}]}}\n" for n in range(1, 30))
    started = time.process_time()
    with pytest.raises(UnreadableManifest, match="more than"):
        read("f", text.encode())
    assert time.process_time() - started < 5
