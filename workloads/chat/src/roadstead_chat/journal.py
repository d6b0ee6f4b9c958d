"""The append log in SQLite: the rules of ``cursor`` inside transactions.

Synchronous and for one thread: ``writer`` runs it in its own. Whatever a transaction changed becomes visible in
``held`` and ``head`` only by ``commit``; ``roll_back`` forgets it. The standard library's sqlite3 serves: one process,
one table to append to, seven statements; an ORM layer would cost 25 MiB and most of the time of an insert.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from roadstead_keys import KeysError, NoPrimaryError, Ring

from roadstead_chat.cursor import Admission, Vector, admit
from roadstead_chat.messages import Accepted, Draft, Message, SessionCursor
from roadstead_chat.schema import BUSY_MILLISECONDS, SchemaError, open_writer
from roadstead_chat.sealing import Sealing

Clock = Callable[[], int]
TOUCH_US = 60_000_000
FOLD_MILLISECONDS = 50


def wall_clock_us() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1_000


class OutOfOrderError(Exception):
    """Another store sent a message without the one before it."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """What was encrypted anew in one go.

    Attributes:
        done: number of messages.
        failed: number of those that could not be read, and were left as they are.
        upto: place of the last message that was looked at; None: there was none.
    """

    done: int
    failed: int
    upto: int | None


class Journal:
    """The only writer of a store.

    Args:
        path: database file.
        new_store: identity to take when the file is new.
        clock: wall clock in microseconds.
        ring: what payloads are encrypted with; None: they are not.

    Raises:
        SchemaError: the file is no store of ours, or is encrypted with another ring, or with one and none is there.
    """

    def __init__(self, path: Path, new_store: str, clock: Clock = wall_clock_us, ring: Ring | None = None) -> None:
        self._db, self.store = open_writer(path, new_store)
        self._clock = clock
        self._sealing = Sealing(ring, self.store)
        try:
            self._bind(path, ring)
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _bind(self, path: Path, ring: Ring | None) -> None:
        """Note the ring in the store, or refuse a store of another one: nothing of it could be read."""
        (known,) = self._db.execute("SELECT ring FROM identity").fetchone()
        if known and ring is None:
            raise SchemaError(
                f"CHAT_STORE {path} is encrypted with key ring {known}, and CHAT_KEYS_DIR is not set; mount its keyset "
                "and set it: encryption cannot be turned off for a store that has it"
            )
        if ring is None:
            return
        wanted = ring.held.bundle.ring
        if known and known != wanted:
            raise SchemaError(
                f"CHAT_STORE {path} is encrypted with key ring {known}, and CHAT_KEYS_DIR has ring {wanted}; mount the "
                "one that it was encrypted with"
            )
        # What is freed is overwritten: a payload that was encrypted anew must not lie on in an unused page.
        self._db.execute("PRAGMA secure_delete = ON")
        if not known:
            self._db.execute("UPDATE identity SET ring = ?", (wanted,))

    def _load(self) -> None:
        """Read what is kept in memory: the vector, the place in the log, and the clock of our own messages."""
        self._ids: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.floors: dict[str, int] = {}
        for number, name, seq, floor in self._db.execute("SELECT id, name, seq, floor FROM origins"):
            self._ids[name], self.held[name] = number, seq
            if floor:
                self.floors[name] = floor
        own = self._origin_id(self.store)
        (last_place,) = self._db.execute("SELECT coalesce(max(pos), 0) FROM messages").fetchone()
        # What retention removed had places too, and others remember them: none is given twice. Each message raises a
        # number of its origin by one at least, so their sum is never below a place that was given.
        self.head = max(last_place, sum(self.held.values()))
        (last,) = self._db.execute("SELECT max(accepted_us) FROM messages WHERE origin = ?", (own,)).fetchone()
        self._last_us = last or 0
        (self._session_rev,) = self._db.execute("SELECT coalesce(max(rev), 0) FROM sessions").fetchone()

    def _origin_id(self, name: str) -> int:
        number = self._ids.get(name)
        if number is None:
            inserted = self._db.execute("INSERT INTO origins (name, seq, floor) VALUES (?, 0, 0)", (name,)).lastrowid
            if inserted is None:
                raise sqlite3.DatabaseError("the origin got no number")
            number = self._ids[name] = inserted
            self.held.setdefault(name, 0)
        return number

    def begin(self) -> None:
        """Start a transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        self._touched: set[str] = set()

    def commit(self) -> None:
        """Make the transaction durable: on return the disk has it."""
        for name in self._touched:
            self._db.execute("UPDATE origins SET seq = ? WHERE id = ?", (self.held[name], self._ids[name]))
        self._db.execute("COMMIT")

    def roll_back(self) -> None:
        """Forget the transaction, in the file and in memory."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._load()

    def append(self, draft: Draft) -> tuple[Accepted, Message | None]:
        """Store a draft under the next number, unless it is the retry of a message that is held."""
        held = self._db.execute(
            "SELECT o.name, s.seq FROM sends s JOIN origins o ON o.id = s.origin"
            " WHERE s.account = ? AND s.room = ? AND s.client_id = ?",
            (draft.account, draft.room, draft.client_id),
        ).fetchone()
        if held is not None:
            return Accepted(held[0], held[1], duplicate=True), None
        # A clock that was set back must not make a message older than the one before it: retention removes by age
        # from the front.
        self._last_us = max(self._last_us, self._clock())
        message = Message(
            self.head + 1,
            self.store,
            self.held[self.store] + 1,
            draft.room,
            draft.account,
            draft.client_id,
            self._last_us,
            draft.payload,
            None,
        )
        self._insert(message)
        self._remember(message)
        return Accepted(message.origin, message.seq, duplicate=False), message

    def replicate(self, incoming: Iterable[Message], floors: Vector) -> list[Message]:
        """Append what another store holds, in its order; return what was new with the places that it got here.

        Args:
            incoming: its messages; ``pos`` and ``copy_of`` are the other store's and not used.
            floors: what retention removed there: a hole up to these numbers is none.

        Raises:
            OutOfOrderError: a number is missing that was not removed.
        """
        for origin, floor in floors.items():
            if floor > self.held.get(origin, 0):
                self._raise_floor(origin, floor)
                self.held[origin] = floor
                self._touched.add(origin)
        stored = []
        for other in incoming:
            admission = admit(self.held, other.origin, other.seq)
            if admission is Admission.GAP:
                raise OutOfOrderError(
                    f"message {other.seq} of {other.origin} came before {self.held.get(other.origin, 0) + 1}"
                )
            if admission is Admission.NEXT:
                stored.append(self._copy_in(other))
        return stored

    def _copy_in(self, other: Message) -> Message:
        first = self._db.execute(
            "SELECT pos FROM sends WHERE account = ? AND room = ? AND client_id = ?",
            (other.account, other.room, other.client_id),
        ).fetchone()
        message = Message(
            self.head + 1,
            other.origin,
            other.seq,
            other.room,
            other.account,
            other.client_id,
            other.accepted_us,
            other.payload,
            first[0] if first else None,
        )
        self._insert(message)
        if first is None:
            self._remember(message)
        return message

    def _insert(self, message: Message) -> None:
        payload, version = self._sealing.seal(message)
        self._db.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.pos,
                self._origin_id(message.origin),
                message.seq,
                message.room,
                message.account,
                message.client_id,
                message.accepted_us,
                payload,
                message.copy_of,
                version,
            ),
        )
        self.head = message.pos
        self.held[message.origin] = message.seq
        self._touched.add(message.origin)

    def _remember(self, message: Message) -> None:
        self._db.execute(
            "INSERT INTO sends VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                message.account,
                message.room,
                message.client_id,
                message.pos,
                self._origin_id(message.origin),
                message.seq,
                message.accepted_us,
            ),
        )

    def save_sessions(self, cursors: Iterable[SessionCursor]) -> int:
        """Move acknowledged cursors forward, never back; return how many rows changed.

        A cursor that stands still is touched once a minute: a device acknowledges all its origins again and again.
        """
        moved = 0
        for cursor in cursors:
            moved += self._db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, device, room, origin)"
                " DO UPDATE SET seq = max(seq, excluded.seq), updated_us = excluded.updated_us, rev = excluded.rev"
                " WHERE excluded.seq > seq OR excluded.updated_us > updated_us + ?",
                (
                    cursor.account,
                    cursor.device,
                    cursor.room,
                    cursor.origin,
                    cursor.seq,
                    cursor.updated_us,
                    self._session_rev + 1,
                    TOUCH_US,
                ),
            ).rowcount
            self._session_rev += 1
        return moved

    def save_replica(self, store: str, session_rev: int) -> None:
        """Remember how far the sessions of another store were read."""
        self._db.execute(
            "INSERT INTO replicas VALUES (?, ?) ON CONFLICT (store) DO UPDATE SET session_rev = excluded.session_rev",
            (store, session_rev),
        )

    def replica_session_rev(self, store: str) -> int:
        """Return what ``save_replica`` remembered; 0 when nothing."""
        row = self._db.execute("SELECT session_rev FROM replicas WHERE store = ?", (store,)).fetchone()
        return int(row[0]) if row else 0

    def expire_messages(self, before_us: int, limit: int) -> int:
        """Remove up to ``limit`` messages accepted before ``before_us``, oldest first; return how many."""
        removed = 0
        for name, number in list(self._ids.items()):
            rows = self._db.execute(
                "SELECT seq, accepted_us FROM messages WHERE origin = ? ORDER BY seq LIMIT ?", (number, limit - removed)
            ).fetchall()
            old = [seq for seq, accepted_us in rows if accepted_us < before_us]
            if old:
                self._db.execute("DELETE FROM messages WHERE origin = ? AND seq <= ?", (number, old[-1]))
                self._raise_floor(name, old[-1])
                removed += len(old)
            if removed >= limit:
                break
        return removed

    def _raise_floor(self, origin: str, floor: int) -> None:
        self._db.execute("UPDATE origins SET floor = ? WHERE id = ?", (floor, self._origin_id(origin)))
        self.floors[origin] = floor

    def expire_sessions(self, before_us: int, limit: int) -> int:
        """Remove resume cursors and the memory of sends that were last touched before ``before_us``."""
        removed = 0
        for table, key, age, but in (
            ("sends", "account, room, client_id", "accepted_us", ""),
            # The last change stays: the next one must have a higher number, also after a restart.
            ("sessions", "account, device, room, origin", "updated_us", "AND rev < (SELECT max(rev) FROM sessions)"),
        ):
            removed += self._db.execute(
                f"DELETE FROM {table} WHERE ({key}) IN"  # noqa: S608  names from the tuple above
                f" (SELECT {key} FROM {table} WHERE {age} < ? {but} ORDER BY {age} LIMIT ?)",
                (before_us, limit),
            ).rowcount
        return removed

    def reseal(self, version: int, after: int, limit: int) -> Resealed:
        """Encrypt anew, with the version that is written with now, up to ``limit`` messages of another one.

        Args:
            version: what they are encrypted with; 0: they are not.
            after: their places lie behind this one.
            limit: how many at most.

        Raises:
            NoPrimaryError: the ring has no version to write with yet.
        """
        rows = self._db.execute(
            "SELECT m.pos, o.name, m.seq, m.room, m.account, m.client_id, m.accepted_us, m.payload, m.copy_of"
            " FROM messages m JOIN origins o ON o.id = m.origin"
            " WHERE m.key_version = ? AND m.pos > ? ORDER BY m.pos LIMIT ?",
            (version, after, limit),
        ).fetchall()
        done = failed = 0
        for row in rows:
            message = Message(*row)
            try:
                payload, fresh = self._sealing.reseal(message, version)
            except NoPrimaryError:
                raise
            except KeysError:
                failed += 1  # it stays, and is counted as what it is
                continue
            self._db.execute(
                "UPDATE messages SET payload = ?, key_version = ? WHERE pos = ?", (payload, fresh, message.pos)
            )
            done += 1
        return Resealed(done, failed, rows[-1][0] if rows else None)

    def fold(self) -> bool:
        """Move the write-ahead log into the file and empty it: what was replaced must not lie on in there.

        Not within a transaction. False when a reader was in the way; it may be tried again.
        """
        # It would wait for readers as long as a write waits for a lock, and every message behind it.
        self._db.execute(f"PRAGMA busy_timeout = {FOLD_MILLISECONDS}")
        try:
            (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        return not busy

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
