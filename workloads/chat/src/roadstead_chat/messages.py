"""What a message is, before and after it was stored."""

from collections.abc import Iterable
from dataclasses import dataclass

PAGE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as an account hands it in.

    Attributes:
        room: the room's name.
        account: the sender, from its verified token.
        client_id: the sender's own id of the message; a retry carries the same.
        payload: ciphertext; opaque here.
    """

    room: str
    account: str
    client_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message.

    Attributes:
        pos: place in the local order of this store; differs from replica to replica, increases, has holes.
        origin: identity of the store that accepted it.
        seq: its number there: 1, 2, 3, ...
        room: the room's name.
        account: the sender.
        client_id: the sender's own id of it.
        accepted_us: wall clock of the accepting relay in microseconds since 1970; never falls within an origin.
        payload: ciphertext.
        copy_of: ``pos`` of the same message under an earlier identity, or None.
    """

    pos: int
    origin: str
    seq: int
    room: str
    account: str
    client_id: str
    accepted_us: int
    payload: bytes
    copy_of: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a draft that is durable.

    Attributes:
        origin: with ``seq`` the identity that it has.
        seq: see ``origin``.
        duplicate: it had been stored before; nothing was stored now.
    """

    origin: str
    seq: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class SessionCursor:
    """How far one device of an account acknowledged one origin in one room.

    Attributes:
        account: owner.
        device: the device's cookie.
        room: the room's name.
        origin: the store whose numbers ``seq`` counts.
        seq: everything up to here was acknowledged.
        updated_us: when it last moved, microseconds since 1970.
    """

    account: str
    device: str
    room: str
    origin: str
    seq: int
    updated_us: int


def page_of(messages: Iterable[Message], limit: int) -> tuple[list[Message], bool]:
    """Return the first of these messages, and whether the page was full, so that there may be more.

    A page ends after ``limit`` messages, or when its payloads reach ``PAGE_BYTES``: a page of large messages has to fit
    into memory, several times over, and to be packed while the loop waits.
    """
    page: list[Message] = []
    size = 0
    for message in messages:
        page.append(message)
        size += len(message.payload)
        if size >= PAGE_BYTES or len(page) == limit:
            return page, True
    return page, False
