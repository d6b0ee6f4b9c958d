"""Encrypting anew: with the serving keyset, with the second one that comes and goes, and what is counted of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from roadstead_keys import DecryptError, MountError, NoPrimaryError, NotServedError, Ring, UnknownVersionError
from roadstead_keys.ring import MOST_WANTED, version_of

from unit.keyslib.mounts import as_json, keyset, mount, primitive


def opened(directory: Path, *, active: bool = True) -> Ring:
    """Versions 2 and 3 serve; the place for the second keyset is mounted, and empty."""
    serving, second = directory / "keys", directory / "rewrap"
    serving.mkdir()
    second.mkdir()
    mount(serving, as_json(keyset((2, 3), 3)), active=active)
    return Ring.open(serving, rewrap=second)


def with_second(directory: Path, *numbers: int, **changes: object) -> None:
    mount(directory / "rewrap", as_json(keyset(numbers, numbers[0])), **({"active": False} | changes))


def test_what_an_older_version_made_is_made_anew_with_the_primary(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    fresh = ring.rewrap(primitive(2).encrypt(b"words", b"row 1"), b"row 1")
    assert version_of(fresh) == 3
    assert ring.decrypt(fresh, b"row 1") == b"words"


def test_what_the_primary_made_stays_as_it_is(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    text = ring.encrypt(b"words", b"row 1")
    assert ring.rewrap(text, b"row 1") is text


def test_nothing_is_made_anew_while_nothing_may_be_written(tmp_path: Path) -> None:
    ring = opened(tmp_path, active=False)
    for number in (2, 3):
        with pytest.raises(NoPrimaryError):
            ring.rewrap(primitive(number).encrypt(b"words", b""), b"")


def test_a_row_cannot_be_moved_by_encrypting_it_anew(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    with pytest.raises(DecryptError):
        ring.rewrap(primitive(2).encrypt(b"words", b"row 1"), b"row 2")


def test_the_second_keyset_is_for_nothing_else(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    old = primitive(1).encrypt(b"words", b"row 1")
    with pytest.raises(UnknownVersionError):
        ring.rewrap(old, b"row 1")
    with_second(tmp_path, 1)
    assert ring.reload() is True
    assert ring.reload() is False
    with pytest.raises(NotServedError, match="version 1"):
        ring.decrypt(old, b"row 1")
    assert ring.counts.unknown == 1, "what can be made anew is missed by nobody"
    assert ring.decrypt(ring.rewrap(old, b"row 1"), b"row 1") == b"words"
    assert ring.versions == {2, 3}
    assert ring.held.versions == {1, 2, 3}


def test_the_second_keyset_may_be_there_from_the_start_change_and_go(tmp_path: Path) -> None:
    opened(tmp_path)
    with_second(tmp_path, 1)
    ring = Ring.open(tmp_path / "keys", rewrap=tmp_path / "rewrap")
    assert ring.held.versions == {1, 2, 3}
    with_second(tmp_path, 5, 6, generation=2)
    assert ring.reload() is True
    assert ring.held.versions == {2, 3, 5, 6}
    shutil.rmtree(tmp_path / "rewrap")
    assert ring.reload() is True
    assert ring.held.versions == {2, 3}


@pytest.mark.parametrize(
    ("keys", "changes", "words"),
    [
        pytest.param(as_json(keyset((1,), 1)), {"ring": "another"}, "another", id="of another ring"),
        pytest.param("{}", {}, "primary", id="no keyset"),
        pytest.param(as_json(keyset((1,), 1)), {"generation": "1"}, "another type", id="its words are none"),
    ],
)
def test_a_second_keyset_that_is_none_never_keeps_the_ring_from_serving(
    tmp_path: Path, keys: str, changes: dict[str, object], words: str
) -> None:
    ring = opened(tmp_path)
    mount(tmp_path / "rewrap", keys, **changes)
    mount(tmp_path / "keys", as_json(keyset((3, 4), 4)), generation=2)
    assert ring.reload() is True
    assert (ring.primary, ring.held.rewrap) == (4, None)
    assert words in ring.rewrap_problem
    with_second(tmp_path, 1)
    ring.reload()
    assert ring.rewrap_problem == ""
    assert ring.held.versions == {1, 3, 4}


def test_a_keyset_that_is_none_keeps_both_that_are_in_use(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    with_second(tmp_path, 1)
    ring.reload()
    mount(tmp_path / "keys", "{}", generation=2)
    with pytest.raises(MountError):
        ring.reload()
    assert ring.held.versions == {1, 2, 3}


def test_what_was_asked_for_and_is_not_held_is_remembered_until_it_is(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    for number in (1, 4, 4):
        with pytest.raises(UnknownVersionError):
            ring.decrypt(primitive(number).encrypt(b"", b""), b"")
    assert ring.wanted == {1, 4}
    mount(tmp_path / "keys", as_json(keyset((3, 4), 4)), generation=2)
    with_second(tmp_path, 1)
    ring.reload()
    assert ring.wanted == set()


def test_forged_numbers_push_out_no_real_one(tmp_path: Path) -> None:
    """What names a version is anybody's who can write into the store; a version that there was has a low number."""
    ring = opened(tmp_path)
    for number in (*range(1000, 1200), 0, 1):
        with pytest.raises(UnknownVersionError):
            ring.decrypt(b"\x01" + number.to_bytes(4) + bytes(40), b"")
    assert len(ring.wanted) == MOST_WANTED
    assert 1 in ring.wanted
    assert 0 not in ring.wanted


def test_what_is_done_is_counted_by_version(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    text = ring.encrypt(b"words", b"")
    ring.decrypt(text, b"")
    ring.decrypt(text, b"")
    ring.decrypt(primitive(2).encrypt(b"", b""), b"")
    ring.rewrap(primitive(2).encrypt(b"", b""), b"")
    ring.rewrap(text, b"")
    for _ in range(3):
        with pytest.raises(UnknownVersionError):
            ring.decrypt(primitive(9).encrypt(b"", b""), b"")
    with pytest.raises(DecryptError):
        ring.decrypt(text, b"another row")
    counts = ring.counts
    assert (counts.encrypts, counts.decrypts, counts.rewraps, counts.unknown) == ({3: 2}, {3: 2, 2: 1}, {2: 1}, 3)


def test_what_came_is_not_asked_for_again_when_it_goes(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    with pytest.raises(UnknownVersionError):
        ring.decrypt(primitive(1).encrypt(b"", b""), b"")
    assert ring.wanted == {1}
    with_second(tmp_path, 1)
    ring.reload()
    assert ring.wanted == set()
    shutil.rmtree(tmp_path / "rewrap")
    ring.reload()
    assert ring.wanted == set()
    with pytest.raises(UnknownVersionError):
        ring.decrypt(primitive(1).encrypt(b"", b""), b"")
    assert ring.wanted == {1}, "it is missed anew"


def test_an_inventory_names_every_version_that_is_held(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    with_second(tmp_path, 1)
    ring.reload()
    assert ring.held.inventory({2: 7}).stored == {1: 0, 2: 7, 3: 0}
    assert ring.held.inventory({9: 1}).stored == {1: 0, 2: 0, 3: 0, 9: 1}


@pytest.mark.parametrize("counted", [{0: 1}, {-1: 1}, {2: -1}])
def test_an_inventory_that_cannot_be_is_refused_where_it_is_made(tmp_path: Path, counted: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="numbered from 1"):
        opened(tmp_path).held.inventory(counted)
