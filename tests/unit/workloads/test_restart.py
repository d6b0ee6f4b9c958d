"""What a store must still know after everything old has expired and the relay was started again on its volume."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead_chat.archive import Archive
from roadstead_chat.cursor import deliverable
from roadstead_chat.journal import Journal
from roadstead_chat.messages import Draft, Message, SessionCursor

ROOM = "room"
LATER = 10**12


class Restarted:
    """A store on a volume, with a relay that is started anew now and then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_000
        self.journal = Journal(path, "own", lambda: self.now)

    def restart(self) -> None:
        self.journal.close()
        self.journal = Journal(self.path, "own", lambda: self.now)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Journal]:
        self.journal.begin()
        yield self.journal
        self.journal.commit()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Restarted]:
    store = Restarted(tmp_path / "chat.db")
    yield store
    store.journal.close()


def ack(device: str, seq: int, at: int) -> SessionCursor:
    return SessionCursor("ann", device, ROOM, "own", seq, at)


def test_a_session_that_is_saved_after_all_others_expired_reaches_the_other_replicas(store: Restarted) -> None:
    """The numbers of changes must not begin anew: a replica asks for those above the last that it has."""
    with store.transaction() as journal:
        journal.save_sessions([ack(f"device-{number}", 1, store.now) for number in range(10)])
    archive = Archive(store.path)
    _, read_up_to = archive.answer(lambda a: a.sessions_after(0, 500))  # what the other replica remembers
    assert read_up_to == 10
    with store.transaction() as journal:
        journal.expire_sessions(LATER, 500)
    store.restart()
    with store.transaction() as journal:
        journal.save_sessions([ack("device-new", 7, LATER)])
    news, _ = archive.answer(lambda a: a.sessions_after(read_up_to, 500))
    archive.close()
    assert [cursor.device for cursor in news] == ["device-new"]


def test_a_transaction_that_fails_does_not_begin_the_numbers_anew(store: Restarted) -> None:
    """The same without a restart: one refused transaction reads all numbers back from the file."""
    with store.transaction() as journal:
        journal.save_sessions([ack("device", 1, store.now)])
        journal.save_sessions([ack("device-2", 1, store.now)])
    with store.transaction() as journal:
        journal.expire_sessions(LATER, 500)
    store.journal.begin()
    store.journal.roll_back()
    with store.transaction() as journal:
        journal.save_sessions([ack("device-new", 7, LATER)])
    archive = Archive(store.path)
    news, _ = archive.answer(lambda a: a.sessions_after(2, 500))
    archive.close()
    assert [cursor.device for cursor in news] == ["device-new"]


def test_a_new_message_never_gets_the_place_of_an_expired_one(store: Restarted) -> None:
    """The memory of a send outlives the message (30 days against any shorter retention of messages) and names its
    place. If a new message gets that place, a late retry becomes a copy of a stranger's message, and hides it."""
    with store.transaction() as journal:
        journal.append(Draft(ROOM, "ann", "from-ann", b"lost its acknowledgement"))
    store.now = LATER
    with store.transaction() as journal:
        assert journal.expire_messages(LATER, 500) == 1
    store.restart()
    with store.transaction() as journal:
        journal.append(Draft(ROOM, "bob", "from-bob", b"news"))
    # Ann's client comes back, to a replica that was made since and knows of no such send, and tries again there.
    with store.transaction() as journal:
        journal.replicate([Message(0, "new-replica", 1, ROOM, "ann", "from-ann", LATER, b"again", None)], {})
    archive = Archive(store.path)
    page = archive.answer(lambda a: a.room_page(ROOM, 0, 100, 500))
    archive.close()
    cursor = {"new-replica": 1}  # a reader who saw Ann's message there, and comes here now
    delivered = [
        message.client_id
        for message in page.messages
        if deliverable(
            cursor,
            message.origin,
            message.seq,
            is_copy=message.copy_of is not None,
            copies=page.copies.get(message.pos, ()),
        )
    ]
    assert delivered == ["from-bob"], "Bob's message was acknowledged and nobody here has seen it"


def test_places_never_go_back_while_the_relay_runs(store: Restarted) -> None:
    """Replicas have confirmed place 3. A message at place 1 would count as copied at once, and never be sent to them:
    `Log.beyond(3)` waits for a place above it."""
    with store.transaction() as journal:
        for number in range(3):
            journal.append(Draft(ROOM, "ann", f"id-{number}", b"x"))
    with store.transaction() as journal:
        journal.expire_messages(LATER, 500)
    store.journal.begin()  # the disk is full, or a replica's stream is out of order
    store.journal.roll_back()
    with store.transaction() as journal:
        _, message = journal.append(Draft(ROOM, "ann", "id-new", b"x"))
    assert message is not None and message.pos > 3
