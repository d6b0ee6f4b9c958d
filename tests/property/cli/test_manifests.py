"""Whatever is in a file: it is read as what it says, or refused in words; nothing else ever happens."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.cli.lint import lint
from roadstead.cli.manifests import UnreadableManifest, read
from specs import chat

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, PLAIN, min_size=1, max_size=5)


@given(OBJECTS)
def test_what_json_says_is_what_is_read(value: dict[str, Any]) -> None:
    [document] = read("f", json.dumps(value).encode())
    assert document.data == value


@given(OBJECTS)
def test_what_a_writer_of_yaml_meant_is_what_is_read(value: dict[str, Any]) -> None:
    text = yaml.safe_dump(value, default_style='"', allow_unicode=True)
    [document] = read("f", text.encode())
    assert document.data == yaml.safe_load(text)


SYNTAX = st.text("{}[]:,-&*!|>'\"#%@?~<= \n\tab01.ey", max_size=60)


@settings(max_examples=300)
@given(SYNTAX | st.binary(max_size=60).map(lambda content: content.decode("latin-1")))
def test_nonsense_is_refused_in_words(text: str) -> None:
    try:
        read("f", text.encode())
    except UnreadableManifest as error:
        assert str(error) and 0 <= error.line <= text.count("\n") + text.count("\x85") + text.count("\r") + 2


PATHS = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.labels",
        "spec",
        "spec.topology",
        "spec.topology.regions",
        "spec.tls",
        "spec.config",
        "spec.autoscaling",
        "spec.traffic",
        "spec.resources",
        "spec.rollout",
    ]
)


@given(PATHS, PLAIN)
def test_no_value_in_any_place_makes_lint_fail(path: str, value: Any) -> None:
    body: Any = chat()
    at = body
    *steps, last = path.split(".")
    for step in steps:
        at = at[step]
    at[last] = value
    for finding in lint([("f", json.dumps(body).encode())], system_namespace="n").findings:
        assert 1 <= finding.line <= 2 and "\x1b" not in finding.message
