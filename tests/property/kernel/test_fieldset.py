"""`missing` against a model of what server-side apply records: nothing is missing of what was applied, and whatever is
taken out of the record is named.

Mutant killed: any branch of `_missing` that returns early.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from roadstead.kernel.fieldset import missing

names = st.text("abcdef", min_size=1, max_size=3)
scalars = st.integers() | st.booleans() | st.text(max_size=4)


def lists_of_maps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    element = st.dictionaries(names, inner, max_size=3)
    return st.dictionaries(names, element, min_size=1, max_size=3).map(
        lambda some: [{**body, "name": name} for name, body in some.items()]
    )


values = st.recursive(
    scalars,
    lambda inner: (
        st.dictionaries(names, inner, min_size=1, max_size=3)
        | lists_of_maps(inner)
        | st.lists(st.text("xyz", min_size=1), min_size=1, max_size=3, unique=True)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(names, values, min_size=1, max_size=3)


def record(value: Any) -> dict[str, Any]:
    """The trie that structured-merge-diff makes of a value: maps granular, lists of maps by ``name``, sets by value."""
    if isinstance(value, dict):
        return {f"f:{name}": record(inner) for name, inner in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {"k:" + json.dumps({"name": each["name"]}): {".": {}, **record(each)} for each in value}
    if isinstance(value, list):
        return {"v:" + json.dumps(each): {} for each in value}
    return {}


def leaves(trie: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in trie.items():
        if name != ".":
            yield (*path, name)
            yield from leaves(inner, (*path, name))


@given(bodies)
def test_nothing_is_missing_of_what_was_applied(body: dict[str, Any]) -> None:
    assert list(missing(body, record(body))) == []


@given(bodies, st.data())
def test_whatever_is_taken_away_is_missed(body: dict[str, Any], data: st.DataObject) -> None:
    trie = record(body)
    path = data.draw(st.sampled_from(list(leaves(trie))))
    spoilt = copy.deepcopy(trie)
    at = spoilt
    for step in path[:-1]:
        at = at[step]
    siblings = [name for name in at if name not in (path[-1], ".")]
    del at[path[-1]]
    if not siblings and len(path) > 1 and "." not in at:
        return  # an empty trie says that the whole is owned; the server drops the parent with its last child
    assert list(missing(body, spoilt)) != []
