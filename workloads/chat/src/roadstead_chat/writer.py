"""Group commit: one thread takes whatever is waiting, commits it as one transaction, and reports it to the loop.

While one commit waits for the disk, the next batch collects by itself; so the more is sent, the more shares one fsync,
and nobody waits for a timer. Nothing is reported, acknowledged or delivered before the commit has returned.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from roadstead_keys import KeysError

from roadstead_chat.cursor import Vector
from roadstead_chat.journal import Journal, OutOfOrderError
from roadstead_chat.messages import Accepted, Draft, Message, SessionCursor

MAX_BATCH = 1_000
_log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store could not take it; nothing of it was kept. It may be tried again."""


@dataclass(slots=True)
class Sender:
    """One connection's place in the order: once a message of it failed, the ones behind it must fail as well.

    Otherwise the retry of the failed one would come after them.
    """

    failed: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Store a draft; ``done`` gets the answer on the loop."""

    draft: Draft
    sender: Sender
    done: Callable[[Accepted | StoreError], None]


@dataclass(frozen=True, slots=True)
class Replicate:
    """Store what another store sent: messages, floors, session cursors and how far those reach."""

    store: str
    messages: Sequence[Message]
    floors: Vector
    sessions: Sequence[SessionCursor]
    session_rev: int
    done: Callable[[StoreError | OutOfOrderError | None], None]


@dataclass(frozen=True, slots=True)
class Fold:
    """Empty the write-ahead log between two transactions; ``done`` gets whether it is empty."""

    done: Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class Work:
    """Anything else that changes the store: retention, cursors, or nothing at all, to wait for what lies before."""

    run: Callable[[Journal], int]
    done: Callable[[int | StoreError], None]


Command = Append | Replicate | Work
"""What is done in a transaction."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What one transaction made durable.

    Attributes:
        messages: new ones, in local order.
        held: the vector after it.
        floors: what retention removed so far.
        seconds: how long the commit took.
        commands: how many commands shared it.
    """

    messages: list[Message]
    held: dict[str, int]
    floors: dict[str, int]
    seconds: float
    commands: int


@dataclass(slots=True)
class _Batch:
    messages: list[Message] = field(default_factory=list)
    answers: list[Callable[[], None]] = field(default_factory=list)
    to_senders: list[Callable[[], None]] = field(default_factory=list)


class Writer:
    """Runs a journal in its own thread.

    Args:
        journal: the store; the thread owns it from ``start`` to ``stop``.
        loop: where ``published`` and the answers are called.
        published: gets every transaction, in order, with the answers to the senders in it, and calls those when it is
            time. Other commands are answered after it, at once.
        broken: called when the disk failed in a way after which the file's state is unknown: the process should end,
            as only a fresh open reads what is really there.
    """

    def __init__(
        self,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        published: Callable[[Committed, list[Callable[[], None]]], None],
        broken: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._loop = loop
        self._published = published
        self._broken = broken
        self._waiting: queue.SimpleQueue[Command | Fold | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, command: Command) -> None:
        """Queue a command."""
        self._waiting.put(command)

    async def run(self, work: Callable[[Journal], int]) -> int:
        """Run ``work`` in a transaction and return its result once that is durable.

        Raises:
            StoreError: it could not be stored.
        """
        answer: asyncio.Future[int] = self._loop.create_future()

        def done(result: int | StoreError) -> None:
            if answer.done():
                return
            if isinstance(result, StoreError):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        self.put(Work(work, done))
        return await answer

    async def fold(self) -> bool:
        """Empty the write-ahead log; False when a reader was in the way."""
        answer: asyncio.Future[bool] = self._loop.create_future()

        def done(emptied: bool) -> None:
            if not answer.done():
                answer.set_result(emptied)

        self._waiting.put(Fold(done))
        return await answer

    def stop(self) -> None:
        """Finish what is queued, close the journal, end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            command = self._waiting.get()
            commands: list[Command] = []
            after: Fold | None = None
            while True:
                if command is None:
                    last = True
                    break
                if isinstance(command, Fold):
                    after = command
                    break
                commands.append(command)
                if len(commands) == MAX_BATCH:
                    break
                try:
                    command = self._waiting.get_nowait()
                except queue.Empty:
                    break
            if commands:
                self._commit(commands)
            if after is not None:
                self._fold(after)
        self._journal.close()

    def _fold(self, command: Fold) -> None:
        try:
            emptied = self._journal.fold()
        except sqlite3.Error as error:
            _log.warning("the write-ahead log could not be emptied", extra={"error": str(error)})
            emptied = False
        self._loop.call_soon_threadsafe(command.done, emptied)

    def _commit(self, commands: list[Command]) -> None:
        try:
            batch = _Batch()
            self._journal.begin()
            for command in commands:
                self._apply(command, batch)
            started = time.perf_counter()
            self._journal.commit()
            seconds = time.perf_counter() - started
        except OutOfOrderError as error:
            self._apart(commands, error)
        except KeysError as error:
            self._locked(commands, error)
        except sqlite3.Error as error:
            self._failed(commands, error)
        else:
            journal = self._journal
            done = Committed(batch.messages, dict(journal.held), dict(journal.floors), seconds, len(commands))
            self._report(done, batch)

    def _apply(self, command: Command, batch: _Batch) -> None:
        match command:
            case Append(draft, sender, done):
                if sender.failed:
                    batch.to_senders.append(lambda: done(StoreError("a message before it was not stored")))
                    return
                accepted, message = self._journal.append(draft)
                if message is not None:
                    batch.messages.append(message)
                batch.to_senders.append(lambda: done(accepted))
            case Replicate():
                batch.messages += self._journal.replicate(command.messages, command.floors)
                self._journal.save_sessions(command.sessions)
                if command.sessions:
                    self._journal.save_replica(command.store, command.session_rev)
                batch.answers.append(lambda: command.done(None))
            case Work(run, finished):
                result = run(self._journal)
                batch.answers.append(lambda: finished(result))

    def _apart(self, commands: list[Command], error: OutOfOrderError) -> None:
        """One replica's bad stream must not fail its neighbours in the batch: do them one by one."""
        self._journal.roll_back()
        if len(commands) > 1:
            for command in commands:
                self._commit([command])
            return
        command = commands[0]
        if isinstance(command, Replicate):
            refused = command.done
            self._loop.call_soon_threadsafe(refused, error)

    def _failed(self, commands: list[Command], error: sqlite3.Error) -> None:
        code = getattr(error, "sqlite_errorname", "")
        _log.error("the store refused a transaction", extra={"error": str(error), "code": code})
        self._refuse(commands, error)
        # After a failed fsync the kernel may have dropped the pages and report success the next time.
        unknown_state = code.startswith("SQLITE_IOERR") or code in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
        try:
            self._journal.roll_back()
        except sqlite3.Error:
            unknown_state = True
        if unknown_state:
            self._loop.call_soon_threadsafe(self._broken, f"{code}: {error}")

    def _locked(self, commands: list[Command], error: KeysError) -> None:
        """There is no key to write with: nothing was written, and the file is as it was."""
        _log.warning("the store cannot encrypt", extra={"error": str(error)})
        self._journal.roll_back()
        self._refuse(commands, error)

    def _refuse(self, commands: list[Command], error: Exception) -> None:
        refusal = StoreError(f"the store cannot take it now: {error}")
        for command in commands:
            if isinstance(command, Append):
                command.sender.failed = True
            self._loop.call_soon_threadsafe(command.done, refusal)

    def _report(self, done: Committed, batch: _Batch) -> None:
        def on_loop() -> None:
            self._published(done, batch.to_senders)
            for answer in batch.answers:
                answer()

        self._loop.call_soon_threadsafe(on_loop)
