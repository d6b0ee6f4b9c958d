"""The SQLite schema, and opening a database the way that durability needs."""

import sqlite3
from pathlib import Path

VERSION = 2
BUSY_MILLISECONDS = 10_000

# messages: unique(origin, seq) is where a replica starts reading; the two room indexes are where a client starts, and
#   what it then reads. origins: `seq` is the last number held, `floor` the last one that retention removed.
# sends: outlives nothing but the sessions; it finds the message that a retry repeats.
# sessions: `rev` orders the changes, so that a replica can ask for those after the last that it has.
# replicas: how far the sessions of another store were read.
# messages.key_version: the version of the ring that the payload is encrypted with; 0: it is not. Its index answers how
#   many are left of each, and finds them. identity.ring: the ring that the store is encrypted with, once it is.
_SCHEMA = """
CREATE TABLE identity (store TEXT NOT NULL, ring TEXT NOT NULL DEFAULT '');
CREATE TABLE origins (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, floor INTEGER NOT NULL
);
CREATE TABLE messages (
    pos INTEGER PRIMARY KEY, origin INTEGER NOT NULL, seq INTEGER NOT NULL, room TEXT NOT NULL, account TEXT NOT NULL,
    client_id TEXT NOT NULL, accepted_us INTEGER NOT NULL, payload BLOB NOT NULL, copy_of INTEGER,
    key_version INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX messages_identity ON messages (origin, seq);
CREATE INDEX messages_resume ON messages (room, origin, seq);
CREATE INDEX messages_room ON messages (room, pos);
CREATE INDEX messages_key ON messages (key_version);
CREATE INDEX messages_copies ON messages (copy_of) WHERE copy_of IS NOT NULL;
CREATE TABLE sends (
    account TEXT NOT NULL, room TEXT NOT NULL, client_id TEXT NOT NULL,
    pos INTEGER NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL, accepted_us INTEGER NOT NULL,
    PRIMARY KEY (account, room, client_id)
) WITHOUT ROWID;
CREATE INDEX sends_age ON sends (accepted_us);
CREATE TABLE sessions (
    account TEXT NOT NULL, device TEXT NOT NULL, room TEXT NOT NULL, origin TEXT NOT NULL,
    seq INTEGER NOT NULL, updated_us INTEGER NOT NULL, rev INTEGER NOT NULL,
    PRIMARY KEY (account, device, room, origin)
) WITHOUT ROWID;
CREATE INDEX sessions_rev ON sessions (rev);
CREATE INDEX sessions_age ON sessions (updated_us);
CREATE TABLE replicas (store TEXT PRIMARY KEY, session_rev INTEGER NOT NULL) WITHOUT ROWID;
"""

_FROM_1 = """
ALTER TABLE identity ADD COLUMN ring TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN key_version INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_key ON messages (key_version);
"""


class SchemaError(Exception):
    """The file is not a store that this version can use."""


def open_writer(path: Path, new_store: str) -> tuple[sqlite3.Connection, str]:
    """Open the database for its only writer, and make it when it is absent.

    WAL lets readers go on while a transaction commits. ``synchronous=FULL`` makes every commit wait for the disk: with
    NORMAL a power cut could take back what was acknowledged.

    Args:
        path: the file.
        new_store: the identity to give to a new store.

    Returns:
        The connection and the identity of the store.

    Raises:
        SchemaError: the file holds something else, or a newer version.
        sqlite3.Error: it cannot be opened or written.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MILLISECONDS / 1e3)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            _create(connection, path, new_store)
        elif version == 1:
            _change(connection, _FROM_1)
        elif version != VERSION:
            raise SchemaError(
                f"CHAT_STORE {path} has schema {version}, this version reads {VERSION}; run the version that wrote it"
            )
        return connection, str(connection.execute("SELECT store FROM identity").fetchone()[0])
    except BaseException:
        connection.close()
        raise


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the database read-only, for a thread beside the writer."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def _create(connection: sqlite3.Connection, path: Path, new_store: str) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise SchemaError(f"CHAT_STORE {path} is a database of something else; name another file")
    _change(connection, _SCHEMA, new_store)


def _change(connection: sqlite3.Connection, statements: str, new_store: str | None = None) -> None:
    """Run statements in one transaction, after which the file has our version."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements.split(";"):
        connection.execute(statement)
    if new_store is not None:
        connection.execute("INSERT INTO identity (store) VALUES (?)", (new_store,))
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
