"""A store that is encrypted with a ring: what is on the disk, what is read of it, and how it gets from one version to
the next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from roadstead_keys import DecryptError, KeysError, NoPrimaryError, NotServedError, Ring, UnknownVersionError

from roadstead_chat.archive import Archive
from roadstead_chat.journal import Journal
from roadstead_chat.messages import Draft, Message
from roadstead_chat.schema import SchemaError
from unit.keyslib.mounts import as_json, keyset, mount

ROOM = "room"
WORDS = b"sealed by its sender, and nobody else's business"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    directory = tmp_path / "keys"
    directory.mkdir()
    mount(directory, as_json(keyset((1,), 1)))
    return directory


def opened(path: Path, ring: Ring | None = None) -> Journal:
    return Journal(path / "chat.db", "own", lambda: 1_000, ring)


def write(journal: Journal, *ids: str) -> None:
    journal.begin()
    for client_id in ids:
        journal.append(Draft(ROOM, "ann", client_id, WORDS))
    journal.commit()


def read(path: Path, ring: Ring | None = None) -> list[Message]:
    archive = Archive(path / "chat.db", ring)
    try:
        return archive.answer(lambda asked: asked.room_page(ROOM, 0, 1_000, 100).messages)
    finally:
        archive.close()


def stored(path: Path) -> dict[int, int]:
    archive = Archive(path / "chat.db")
    try:
        return archive.answer(Archive.stored_by_version)
    finally:
        archive.close()


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.glob("chat.db*"))


def sweep(journal: Journal, version: int) -> tuple[int, int]:
    journal.begin()
    found = journal.reseal(version, 0, 100)
    journal.commit()
    return found.done, found.failed


def rotate(keys: Path, ring: Ring, numbers: tuple[int, ...], generation: int) -> None:
    mount(keys, as_json(keyset(numbers, numbers[-1])), generation=generation)
    ring.reload()


def test_nothing_that_was_handed_in_lies_on_the_disk(tmp_path: Path, keys: Path) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "a", "b")
    assert WORDS not in on_disk(tmp_path)
    assert [message.payload for message in read(tmp_path, ring)] == [WORDS, WORDS]
    journal.close()
    assert WORDS not in on_disk(tmp_path)


def test_what_another_store_sent_is_encrypted_here_as_well(tmp_path: Path, keys: Path) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    journal.begin()
    taken = journal.replicate([Message(0, "other", 1, ROOM, "ann", "a", 5, WORDS, None)], {})
    journal.commit()
    assert taken[0].payload == WORDS, "the replicas behind us get it as it was handed in"
    assert WORDS not in on_disk(tmp_path)
    assert stored(tmp_path) == {1: 1}
    journal.close()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            "UPDATE messages SET payload = (SELECT payload FROM messages WHERE pos = 3 - o.pos)", id="swapped"
        ),
        pytest.param("UPDATE messages SET room = 'room', account = 'eve'", id="another account"),
        pytest.param("UPDATE messages SET accepted_us = accepted_us + 1", id="another time"),
        pytest.param("UPDATE messages SET client_id = client_id || 'x'", id="another id"),
        pytest.param("UPDATE messages SET seq = seq + 10", id="another number"),
        pytest.param("UPDATE messages SET pos = pos + 10", id="another place"),
        pytest.param("UPDATE messages SET copy_of = 1", id="made a copy"),
        pytest.param("UPDATE identity SET store = 'another'", id="another store"),
        pytest.param("UPDATE messages SET payload = CAST(payload || x'00' AS BLOB)", id="longer"),
    ],
)
def test_a_row_that_was_changed_or_moved_is_not_read(tmp_path: Path, keys: Path, change: str) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "a", "b")
    journal.close()
    db = sqlite3.connect(tmp_path / "chat.db")
    if "o.pos" in change:
        one, two = (db.execute("SELECT payload FROM messages WHERE pos = ?", (pos,)).fetchone()[0] for pos in (1, 2))
        db.execute("UPDATE messages SET payload = ? WHERE pos = 1", (two,))
        db.execute("UPDATE messages SET payload = ? WHERE pos = 2", (one,))
    else:
        db.execute(change)
    db.commit()
    db.close()
    with pytest.raises(DecryptError):
        read(tmp_path, ring)


def test_a_store_from_before_is_read_and_then_encrypted(tmp_path: Path, keys: Path) -> None:
    journal = opened(tmp_path)
    write(journal, "a", "b")
    journal.close()
    assert WORDS in on_disk(tmp_path)
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "c")
    assert stored(tmp_path) == {0: 2, 1: 1}
    assert [message.payload for message in read(tmp_path, ring)] == [WORDS] * 3
    assert sweep(journal, 0) == (2, 0)
    assert stored(tmp_path) == {1: 3}
    assert [message.payload for message in read(tmp_path, ring)] == [WORDS] * 3
    assert journal.fold()
    assert WORDS not in on_disk(tmp_path), "neither in the log nor in a page that was freed"
    journal.close()


def test_a_file_of_the_schema_before_is_brought_up_to_date(tmp_path: Path, keys: Path) -> None:
    journal = opened(tmp_path)
    write(journal, "a")
    journal.close()
    db = sqlite3.connect(tmp_path / "chat.db")
    db.executescript(
        "DROP INDEX messages_key; ALTER TABLE messages DROP COLUMN key_version;"
        "ALTER TABLE identity DROP COLUMN ring; PRAGMA user_version = 1;"
    )
    db.close()
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "b")
    assert [message.client_id for message in read(tmp_path, ring)] == ["a", "b"]
    assert sweep(journal, 0) == (1, 0)
    journal.close()


def test_the_store_follows_the_ring_from_version_to_version(tmp_path: Path, keys: Path) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "a")
    rotate(keys, ring, (1, 2), 2)
    write(journal, "b")
    assert stored(tmp_path) == {1: 1, 2: 1}
    assert sweep(journal, 1) == (1, 0)
    assert stored(tmp_path) == {2: 2}
    rotate(keys, ring, (2,), 3)
    assert [message.payload for message in read(tmp_path, ring)] == [WORDS, WORDS]
    journal.close()


def test_a_version_that_nothing_is_served_from_is_encrypted_anew_all_the_same(tmp_path: Path, keys: Path) -> None:
    second = tmp_path / "rewrap"
    second.mkdir()
    ring = Ring.open(keys, rewrap=second)
    journal = opened(tmp_path, ring)
    write(journal, "a")
    mount(second, as_json(keyset((1,), 1)), active=False)
    rotate(keys, ring, (2,), 2)
    with pytest.raises(NotServedError):
        read(tmp_path, ring)
    assert sweep(journal, 1) == (1, 0)
    assert [message.payload for message in read(tmp_path, ring)] == [WORDS]
    journal.close()


def test_what_cannot_be_read_stays_is_counted_and_asked_for(tmp_path: Path, keys: Path) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "a", "b")
    rotate(keys, ring, (2,), 2)
    write(journal, "c")
    assert sweep(journal, 1) == (0, 2)
    assert stored(tmp_path) == {1: 2, 2: 1}
    assert ring.wanted == {1}
    with pytest.raises(UnknownVersionError):
        read(tmp_path, ring)
    mount(keys, as_json(keyset((1, 2), 2)), generation=3)  # and nobody has told the ring of it
    assert [message.payload for message in read(tmp_path, ring)] == [WORDS] * 3
    assert sweep(journal, 1) == (2, 0)
    journal.close()


def test_one_damaged_row_keeps_no_other_from_being_encrypted_anew(tmp_path: Path, keys: Path) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    write(journal, "a", "b", "c")
    journal._db.execute("UPDATE messages SET payload = x'0100000001ff' WHERE pos = 2")
    rotate(keys, ring, (1, 2), 2)
    assert sweep(journal, 1) == (2, 1)
    assert stored(tmp_path) == {1: 1, 2: 2}
    journal.close()


def test_without_a_version_to_write_with_nothing_is_stored(tmp_path: Path, keys: Path) -> None:
    mount(keys, as_json(keyset((1,), 1)), active=False)
    journal = opened(tmp_path, Ring.open(keys))
    with pytest.raises(NoPrimaryError):
        write(journal, "a")
    journal.roll_back()
    assert stored(tmp_path) == {}
    journal.close()


def test_encryption_is_not_turned_off_by_leaving_the_keyset_out(tmp_path: Path, keys: Path) -> None:
    opened(tmp_path, Ring.open(keys)).close()
    with pytest.raises(SchemaError, match="CHAT_KEYS_DIR is not set"):
        opened(tmp_path)


def test_a_store_of_another_ring_is_refused(tmp_path: Path, keys: Path) -> None:
    opened(tmp_path, Ring.open(keys)).close()
    other = tmp_path / "other"
    other.mkdir()
    mount(other, as_json(keyset((1,), 1, b"other")), ring="another")
    with pytest.raises(SchemaError, match="has ring another"):
        opened(tmp_path, Ring.open(other))


def test_a_row_that_says_it_is_encrypted_in_a_store_that_is_not_is_no_message(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    write(journal, "a")
    journal._db.execute("UPDATE messages SET key_version = 7")
    with pytest.raises(KeysError):
        read(tmp_path)
    journal.close()


def test_many_versions_are_counted_each(tmp_path: Path, keys: Path) -> None:
    ring = Ring.open(keys)
    journal = opened(tmp_path, ring)
    assert stored(tmp_path) == {}
    for generation in range(2, 6):
        write(journal, *(f"{generation}-{number}" for number in range(generation)))
        rotate(keys, ring, tuple(range(1, generation + 1)), generation)
    assert stored(tmp_path) == {1: 2, 2: 3, 3: 4, 4: 5}
    journal.close()
