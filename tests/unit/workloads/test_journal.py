"""The store's own rules, on a real file; the interleavings are in tests/property/workloads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roadstead_chat.archive import Archive
from roadstead_chat.journal import Journal, OutOfOrderError
from roadstead_chat.messages import Accepted, Draft, Message, SessionCursor
from roadstead_chat.schema import SchemaError
from roadstead_chat.writer import Append, Committed, Sender, StoreError, Writer

ROOM = "room"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    journal = Journal(tmp_path / "chat.db", "own", clock)
    yield journal
    with contextlib.suppress(Exception):
        journal.close()


def draft(client_id: str, size: int = 1) -> Draft:
    return Draft(ROOM, "ann", client_id, b"x" * size)


def append(journal: Journal, *ids: str) -> list[Accepted]:
    journal.begin()
    answers = [journal.append(draft(client_id))[0] for client_id in ids]
    journal.commit()
    return answers


def foreign(origin: str, seq: int, client_id: str) -> Message:
    return Message(0, origin, seq, ROOM, "ann", client_id, 5, b"x", None)


def replicate(journal: Journal, messages: list[Message], floors: dict[str, int] | None = None) -> list[Message]:
    journal.begin()
    stored = journal.replicate(messages, floors or {})
    journal.commit()
    return stored


def at_once(published: list[Any]) -> Callable[[Committed, list[Callable[[], None]]], None]:
    """What a relay without replicas does with a transaction."""

    def publish(committed: Committed, to_senders: list[Callable[[], None]]) -> None:
        published.append(committed)
        for answer in to_senders:
            answer()

    return publish


def test_the_disk_is_waited_for(journal: Journal) -> None:
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL is 2"


def test_a_store_keeps_its_identity_and_its_numbers(tmp_path: Path, journal: Journal) -> None:
    append(journal, "a", "b")
    journal.close()
    again = Journal(tmp_path / "chat.db", "a new one")
    assert (again.store, again.head, again.held) == ("own", 2, {"own": 2})
    assert append(again, "c", "a") == [Accepted("own", 3, duplicate=False), Accepted("own", 1, duplicate=True)]
    again.close()


def test_a_rolled_back_transaction_leaves_nothing(journal: Journal) -> None:
    append(journal, "a")
    journal.begin()
    journal.append(draft("b"))
    journal.replicate([foreign("other", 1, "z")], {})
    journal.roll_back()
    assert (journal.head, journal.held) == (1, {"own": 1})
    assert append(journal, "b") == [Accepted("own", 2, duplicate=False)]


def test_a_retry_within_one_transaction_is_found(journal: Journal) -> None:
    assert append(journal, "a", "a") == [Accepted("own", 1, duplicate=False), Accepted("own", 1, duplicate=True)]


def test_a_hole_is_refused_unless_retention_made_it(journal: Journal) -> None:
    journal.begin()
    with pytest.raises(OutOfOrderError, match="message 2 of other came before 1"):
        journal.replicate([foreign("other", 2, "z")], {})
    journal.roll_back()
    assert [message.seq for message in replicate(journal, [foreign("other", 2, "z")], {"other": 1})] == [2]
    assert journal.floors == {"other": 1}
    assert replicate(journal, [foreign("other", 2, "z")]) == [], "held already"


def test_a_clock_that_goes_back_makes_no_message_older_than_the_one_before(journal: Journal, clock: Clock) -> None:
    clock.now = 2_000
    append(journal, "a")
    clock.now = 1_500
    journal.begin()
    _, message = journal.append(draft("b"))
    journal.commit()
    assert message is not None
    assert message.accepted_us == 2_000


def test_expiry_removes_from_the_front_in_steps(journal: Journal, clock: Clock) -> None:
    for moment, client_id in ((100, "a"), (200, "b"), (300, "c")):
        clock.now = moment
        append(journal, client_id)
    replicate(journal, [foreign("other", 1, "z")])

    def expire(limit: int) -> int:
        journal.begin()
        removed = journal.expire_messages(250, limit)
        journal.commit()
        return removed

    assert [expire(2), expire(2), expire(2)] == [2, 1, 0]
    assert journal.floors == {"own": 2, "other": 1}
    assert [row[0] for row in journal._db.execute("SELECT client_id FROM messages")] == ["c"]


def test_session_cursors_only_move_forward(journal: Journal, tmp_path: Path) -> None:
    def save(seq: int, moment: int) -> None:
        journal.begin()
        journal.save_sessions([SessionCursor("ann", "phone", ROOM, "own", seq, moment)])
        journal.commit()

    save(5, 10)
    save(3, 20)
    archive = Archive(tmp_path / "chat.db")
    assert archive.session("ann", "phone", ROOM) == {"own": 5}
    cursors, rev = archive.sessions_after(0, 10)
    assert [cursor.seq for cursor in cursors] == [5]
    save(5, 10_000)
    assert archive.sessions_after(rev, 10) == ([], rev), "what did not move is not sent to replicas again"
    save(5, 100_000_000)
    (touched,) = archive.sessions_after(rev, 10)[0]
    assert (touched.seq, touched.updated_us) == (5, 100_000_000), "used, so not to be forgotten"
    archive.close()


def test_a_newer_schema_is_refused(tmp_path: Path, journal: Journal) -> None:
    journal._db.execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(SchemaError, match="has schema 99"):
        Journal(tmp_path / "chat.db", "x")


async def test_a_full_disk_refuses_in_order_and_recovers(journal: Journal) -> None:
    """Mutant: `Writer._apply` that goes on with a sender after a failure stores what lies behind the refused one."""
    published: list[Committed] = []
    broken: list[str] = []
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count = {pages + 10}")
    writer = Writer(journal, asyncio.get_running_loop(), at_once(published), broken.append)
    writer.start()
    answers: list[Accepted | StoreError] = []
    sender = Sender()
    for number in range(30):
        # The small ones would still find room.
        writer.put(Append(draft(str(number), 100_000 if number == 10 else 10), sender, answers.append))
        # Each in a transaction of its own: together the small ones would only fail with the large one.
        with contextlib.suppress(StoreError):
            await writer.run(lambda _: 0)
    assert [isinstance(answer, Accepted) for answer in answers] == [True] * 10 + [False] * 20
    assert [m.client_id for done in published for m in done.messages] == [str(number) for number in range(10)]
    assert not broken, "a full disk is no reason to end: readers are still served"
    other: list[Accepted | StoreError] = []
    writer.put(Append(draft("another"), Sender(), other.append))
    await writer.run(lambda _: 0)
    assert isinstance(other[0], Accepted), "another sender's message"
    await asyncio.to_thread(writer.stop)


async def test_nothing_is_told_before_the_commit_has_returned(journal: Journal) -> None:
    """Mutant: `_report` before `journal.commit()`."""
    committing, may_return = threading.Event(), threading.Event()
    commit = journal.commit

    def slow_commit() -> None:
        committing.set()
        assert may_return.wait(10)
        commit()

    journal.commit = slow_commit  # type: ignore[method-assign]
    told: list[object] = []
    writer = Writer(journal, asyncio.get_running_loop(), at_once(told), told.append)
    writer.start()
    writer.put(Append(draft("a"), Sender(), told.append))
    await asyncio.to_thread(committing.wait, 10)
    await asyncio.sleep(0.1)
    assert told == []
    may_return.set()
    await writer.run(lambda _: 0)
    assert isinstance(told[0], Committed), "first what readers get, then the answer"
    assert isinstance(told[1], Accepted)
    await asyncio.to_thread(writer.stop)


async def test_one_commit_serves_all_that_waits(journal: Journal) -> None:
    published: list[Committed] = []
    writer = Writer(journal, asyncio.get_running_loop(), at_once(published), lambda _: None)
    answers: list[Accepted | StoreError] = []
    for number in range(500):
        writer.put(Append(draft(str(number)), Sender(), answers.append))
    writer.start()
    await writer.run(lambda _: 0)
    assert len(answers) == 500
    assert len(published) <= 2
    await asyncio.to_thread(writer.stop)
