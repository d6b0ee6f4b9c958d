"""Reading the store beside its writer: backlog of a room, log for a replica, cursors of a session.

Synchronous; ``ArchiveReader`` runs it in a thread of its own, each question in one read transaction, hence on one
consistent picture.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from roadstead_keys import Ring

from roadstead_chat.cursor import Vector
from roadstead_chat.messages import Message, SessionCursor, page_of
from roadstead_chat.schema import open_reader
from roadstead_chat.sealing import OPEN, Sealing

T = TypeVar("T")
_COLUMNS = (
    "m.pos, o.name, m.seq, m.room, m.account, m.client_id, m.accepted_us, m.payload, m.copy_of, m.key_version"
    " FROM messages m JOIN origins o ON o.id = m.origin"
)


@dataclass(frozen=True, slots=True)
class RoomPage:
    """A part of a room's backlog.

    Attributes:
        messages: in local order.
        copies: other identities of these messages, by ``pos``.
        upto: all messages of the room up to this place were looked at.
    """

    messages: list[Message]
    copies: dict[int, list[tuple[str, int]]]
    upto: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """A part of the whole log, for a replica.

    Attributes:
        messages: in local order.
        floors: what retention has removed by now.
    """

    messages: list[Message]
    floors: dict[str, int]


class Archive:
    """Answers questions from a read-only connection.

    Args:
        path: database file; it must exist.
        ring: what payloads are encrypted with; None: they are not.
    """

    def __init__(self, path: Path, ring: Ring | None = None) -> None:
        self._db = open_reader(path)
        (store,) = self._db.execute("SELECT store FROM identity").fetchone()
        self._sealing = Sealing(ring, store)

    def answer(self, question: Callable[["Archive"], T]) -> T:
        """Answer a question from one picture, whatever the writer commits or removes meanwhile."""
        self._db.execute("BEGIN")
        try:
            return question(self)
        finally:
            # An error of the disk may have ended it already.
            if self._db.in_transaction:
                self._db.execute("COMMIT")

    def room_start(self, room: str, cursor: Vector) -> int | None:
        """Return the place of the first message of the room that the cursor does not cover; None when there is none."""
        return self._start(cursor, "room = ? AND", room)

    def log_start(self, vector: Vector) -> int | None:
        """Return the place of the first message that ``vector`` does not cover; None when there is none."""
        return self._start(vector, "")

    def _start(self, seen: Vector, condition: str, *values: str) -> int | None:
        first: int | None = None
        for number, name in self._db.execute("SELECT id, name FROM origins").fetchall():
            row = self._db.execute(
                f"SELECT pos FROM messages WHERE {condition} origin = ? AND seq > ? ORDER BY seq LIMIT 1",  # noqa: S608
                (*values, number, seen.get(name, 0)),
            ).fetchone()
            if row is not None and (first is None or row[0] < first):
                first = row[0]
        return first

    def _page(self, condition: str, values: tuple[str | int, ...], limit: int) -> tuple[list[Message], bool]:
        with contextlib.closing(
            self._db.execute(f"SELECT {_COLUMNS} WHERE {condition} ORDER BY m.pos LIMIT ?", (*values, limit))
        ) as rows:
            return page_of(map(self._message, rows), limit)

    def _message(self, row: tuple[Any, ...]) -> Message:
        stored = Message(*row[:-1])
        return replace(stored, payload=self._sealing.open(stored, row[-1])) if row[-1] != OPEN else stored

    def room_page(self, room: str, after: int, upto: int, limit: int) -> RoomPage:
        """Return a page of the room's messages with ``after < pos <= upto``."""
        messages, full = self._page("m.room = ? AND m.pos > ? AND m.pos <= ?", (room, after, upto), limit)
        copies: dict[int, list[tuple[str, int]]] = {}
        if messages:
            for pos, origin, seq in self._db.execute(
                "SELECT m.copy_of, o.name, m.seq FROM messages m JOIN origins o ON o.id = m.origin"
                " WHERE m.copy_of BETWEEN ? AND ?",
                (messages[0].pos, messages[-1].pos),
            ):
                copies.setdefault(pos, []).append((origin, seq))
        return RoomPage(messages, copies, messages[-1].pos if full else upto)

    def log_page(self, after: int, limit: int) -> LogPage:
        """Return a page of the messages with ``pos > after``, and the floors."""
        messages, _ = self._page("m.pos > ?", (after,), limit)
        floors = dict(self._db.execute("SELECT name, floor FROM origins WHERE floor > 0").fetchall())
        return LogPage(messages, floors)

    def stored_by_version(self) -> dict[int, int]:
        """Return how many messages are encrypted with each version of the ring; 0: those that are not."""
        # From one version to the next in the index, as each but the last has few: a DISTINCT would walk over all.
        versions = self._db.execute(
            "WITH RECURSIVE found (version) AS (SELECT min(key_version) FROM messages"
            " UNION ALL SELECT (SELECT min(key_version) FROM messages WHERE key_version > version)"
            " FROM found WHERE version IS NOT NULL)"
            " SELECT version, (SELECT count(*) FROM messages WHERE key_version = version)"
            " FROM found WHERE version IS NOT NULL"
        )
        return dict(versions.fetchall())

    def session(self, account: str, device: str, room: str) -> dict[str, int]:
        """Return what this device acknowledged in the room."""
        return dict(
            self._db.execute(
                "SELECT origin, seq FROM sessions WHERE account = ? AND device = ? AND room = ?",
                (account, device, room),
            ).fetchall()
        )

    def sessions_after(self, rev: int, limit: int) -> tuple[list[SessionCursor], int]:
        """Return changed cursors after ``rev`` in the order of change, and the last change that they reach."""
        rows = self._db.execute(
            "SELECT account, device, room, origin, seq, updated_us, rev FROM sessions"
            " WHERE rev > ? ORDER BY rev LIMIT ?",
            (rev, limit),
        ).fetchall()
        return [SessionCursor(*row[:6]) for row in rows], rows[-1][6] if rows else rev

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class ArchiveReader:
    """An ``Archive`` in one thread, for the event loop.

    Args:
        path: database file; it must exist.
        ring: what payloads are encrypted with; None: they are not.
    """

    def __init__(self, path: Path, ring: Ring | None = None) -> None:
        self._archive = Archive(path, ring)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")

    async def ask(self, question: Callable[[Archive], T]) -> T:
        """Run ``question`` on the archive and return its answer.

        Raises:
            sqlite3.Error: the file could not be read.
            KeysError: a payload could not be decrypted.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._archive.answer, question)

    def close(self) -> None:
        """Wait for the running question and close the file."""
        self._thread.shutdown()
        self._archive.close()
