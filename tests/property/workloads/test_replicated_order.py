"""The rules of order and "already seen", on the real journals: any interleaving of sends, retries, crashes of links,
moves of clients and pulls between three stores.

The relay's shell is played by the few lines of `Reader` and `Sender`, which wait for nothing: a step that a relay would
hold back (`Connection._wait_for`) is skipped here until it can be done. Mutants that were made on purpose, and turn
this red: `admit` that takes a gap, `deliverable` that ignores `copies`, `deliverable` that ignores `is_copy`,
`Journal._copy_in` that never sets `copy_of`, `Journal.append` without its look at `sends`, a reader or a sender that is
not held back, replicas that pull by origin instead of in the local order.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from roadstead_chat.archive import Archive
from roadstead_chat.cursor import Admission, admit, covers, deliverable, joined, missing
from roadstead_chat.journal import Journal
from roadstead_chat.messages import Draft

ROOM = "room"
STORES = ("a", "b", "c")
SENDERS = ("ann", "bob")
READERS = (0, 1)


class Reader:
    def __init__(self) -> None:
        self.at = STORES[0]
        self.cursor: dict[str, int] = {}
        self.got: list[tuple[str, str]] = []


class Sender:
    def __init__(self) -> None:
        self.at = STORES[0]
        self.after: dict[str, int] = {}
        self.made = 0
        self.unanswered: list[str] = []


class Replicas(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = 0
        self.journals = {name: Journal(Path(self.folder.name) / name, name, self.tick) for name in STORES}
        for journal in self.journals.values():
            journal._db.execute("PRAGMA synchronous = OFF")
        self.archives = {name: Archive(Path(self.folder.name) / name) for name in STORES}
        self.readers = [Reader() for _ in READERS]
        self.senders = {name: Sender() for name in SENDERS}
        self.acknowledged: set[tuple[str, str]] = set()

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for archive in self.archives.values():
                archive.close()
            for journal in self.journals.values():
                journal.close()
            self.folder.cleanup()

    # --- what senders do

    @rule(name=st.sampled_from(SENDERS), answered=st.booleans())
    def send(self, name: str, answered: bool) -> None:
        """All that has no answer, in order, then one more; the answers may be lost, but not the messages."""
        sender = self.senders[name]
        journal = self.journals[sender.at]
        if missing(journal.held, sender.after):
            return
        sender.unanswered.append(f"{name}-{sender.made}")
        sender.made += 1
        journal.begin()
        answers = [journal.append(Draft(ROOM, name, client_id, b""))[0] for client_id in sender.unanswered]
        journal.commit()
        if answered:
            for answer in answers:
                sender.after = joined(sender.after, {answer.origin: answer.seq})
            self.acknowledged |= {(name, client_id) for client_id in sender.unanswered}
            sender.unanswered = []

    @rule(name=st.sampled_from(SENDERS), to=st.sampled_from(STORES))
    def move_sender(self, name: str, to: str) -> None:
        self.senders[name].at = to

    @rule(name=st.sampled_from(SENDERS), to=st.sampled_from(STORES))
    def lose_the_answer_and_retry_elsewhere(self, name: str, to: str) -> None:
        """What makes copies; put together, for chance alone seldom does."""
        self.send(name, answered=False)
        self.move_sender(name, to)
        self.send(name, answered=True)

    @rule(store=st.sampled_from(STORES))
    def restart(self, store: str) -> None:
        """kill -9 in the middle of a transaction, and open the file again."""
        journal = self.journals[store]
        journal.begin()
        journal.append(Draft(ROOM, "ann", "never-committed", b""))
        journal._db.close()
        self.journals[store] = Journal(Path(self.folder.name) / store, "another", self.tick)
        self.journals[store]._db.execute("PRAGMA synchronous = OFF")

    # --- what replicas do

    @rule(source=st.sampled_from(STORES), into=st.sampled_from(STORES), limit=st.integers(1, 5))
    def pull(self, source: str, into: str, limit: int) -> None:
        """A portion of what the target lacks, in the source's order, as `_Stream` sends it."""
        if source == into:
            return
        journal, archive = self.journals[into], self.archives[source]
        start = archive.log_start(journal.held)
        if start is None:
            return
        page = archive.log_page(start - 1, 1_000)
        lacking = [m for m in page.messages if not covers(journal.held, m.origin, m.seq)][:limit]
        journal.begin()
        journal.replicate(lacking, page.floors)
        journal.commit()

    @rule(one=st.sampled_from(STORES), other=st.sampled_from(STORES))
    def pull_both_ways(self, one: str, other: str) -> None:
        self.pull(one, other, 1_000)
        self.pull(other, one, 1_000)

    # --- what readers do

    @rule(number=st.sampled_from(READERS), to=st.sampled_from(STORES))
    def move_reader(self, number: int, to: str) -> None:
        self.readers[number].at = to

    @rule(number=st.sampled_from(READERS), to=st.sampled_from(STORES))
    def read_all_and_move(self, number: int, to: str) -> None:
        self.read(number, 10_000)
        self.move_reader(number, to)

    @rule(number=st.sampled_from(READERS), limit=st.integers(1, 50))
    def read(self, number: int, limit: int) -> None:
        """Join with the cursor, get up to so many messages, lose the connection."""
        reader = self.readers[number]
        if not missing(self.journals[reader.at].held, reader.cursor):
            self.take(reader, limit)

    def take(self, reader: Reader, limit: int) -> None:
        archive = self.archives[reader.at]
        start = archive.room_start(ROOM, reader.cursor)
        if start is None:
            return
        page = archive.room_page(ROOM, start - 1, self.journals[reader.at].head, 1_000)
        begun_with = dict(reader.cursor)
        for message in page.messages:
            copies = page.copies.get(message.pos, ())
            is_copy = message.copy_of is not None
            if deliverable(begun_with, message.origin, message.seq, is_copy=is_copy, copies=copies):
                reader.got.append((message.account, message.client_id))
                reader.cursor = joined(reader.cursor, {message.origin: message.seq})
                limit -= 1
                if not limit:
                    return

    # --- what must hold

    @invariant()
    def nobody_gets_anything_twice_or_out_of_order(self) -> None:
        for reader in getattr(self, "readers", []):
            for sender in SENDERS:
                numbers = [int(client_id.split("-")[1]) for account, client_id in reader.got if account == sender]
                assert numbers == list(range(len(numbers)))

    @rule()
    def in_the_end_everybody_has_everything(self) -> None:
        for _ in STORES:
            for source in STORES:
                for into in STORES:
                    self.pull(source, into, 1_000)
        vectors = [journal.held for journal in self.journals.values()]
        assert all(not missing(vector, other) for vector in vectors for other in vectors)
        for number, reader in enumerate(self.readers):
            self.read(number, 10_000)
            assert self.acknowledged <= set(reader.got)
        self.nobody_gets_anything_twice_or_out_of_order()


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_admission_is_total() -> None:
    held = {"a": 3}
    assert [admit(held, "a", seq) for seq in (3, 4, 5)] == [Admission.HELD, Admission.NEXT, Admission.GAP]
    assert admit(held, "b", 1) is Admission.NEXT
