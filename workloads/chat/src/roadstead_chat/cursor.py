"""Which message comes next, which was seen already: the pure rules of order.

Every store numbers the messages that it accepted itself: 1, 2, 3, ... without holes. ``origin`` is the identity of that
store, ``seq`` the number. A *vector* ``{origin: seq}`` therefore says "everything of this origin up to seq", and it is
all that a client or a replica must remember to go on where it stopped, at any replica.

Every store also has a local order of all messages that it holds, its own and those of others. Replicas copy each
other's logs in that local order, and a relay accepts a message only when it holds all that the sender had seen before.
Together this keeps the local order of every store causal: whatever a sender knew lies before what it sent, everywhere.

A message that was retried at another replica exists under two identities. The first of them in the local order of a
store is *the message* there, any later one a *copy*, which is kept (the numbers stay dense) and never delivered.

No I/O, no clock, no randomness.
"""

from collections.abc import Iterable, Mapping
from enum import Enum

Vector = Mapping[str, int]


class Admission(Enum):
    """What to do with a message that arrives from another store."""

    NEXT = "next"
    """It follows what is held: append it."""
    HELD = "held"
    """It is held already, or retention removed it: skip it."""
    GAP = "gap"
    """Something before it is missing: whoever sent it broke the order."""


def admit(held: Vector, origin: str, seq: int) -> Admission:
    """Decide about message ``seq`` of ``origin`` when ``held`` is what this store has."""
    expected = held.get(origin, 0) + 1
    if seq == expected:
        return Admission.NEXT
    return Admission.HELD if seq < expected else Admission.GAP


def covers(cursor: Vector, origin: str, seq: int) -> bool:
    """Whether ``cursor`` says that this message was seen."""
    return cursor.get(origin, 0) >= seq


def missing(held: Vector, wanted: Vector) -> dict[str, int]:
    """Return the part of ``wanted`` that ``held`` does not reach; empty when all of it is held."""
    return {origin: seq for origin, seq in wanted.items() if held.get(origin, 0) < seq}


def joined(one: Vector, other: Vector) -> dict[str, int]:
    """Return the smallest vector that covers both."""
    result = dict(one)
    for origin, seq in other.items():
        if seq > result.get(origin, 0):
            result[origin] = seq
    return result


def deliverable(
    cursor: Vector, origin: str, seq: int, *, is_copy: bool, copies: Iterable[tuple[str, int]] = ()
) -> bool:
    """Whether a reader with this cursor still has to get this message.

    Args:
        cursor: what the reader has seen of the room.
        origin: the store that accepted the message.
        seq: its number there.
        is_copy: an earlier message in the local order is the same one, so the reader passed that already.
        copies: the other identities of this message that are held. A reader that saw one of them, at another
            replica, has seen the message.
    """
    if is_copy or covers(cursor, origin, seq):
        return False
    return not any(covers(cursor, other, number) for other, number in copies)
