"""What replicas say to each other, and how they prove who they are.

All replicas of a service in a region mount the same TLS key, and nobody else has it; so no further secret is needed:

- the *reading* replica accepts the other side only when its certificate holds our own public key: the TLS handshake
  has proved that it owns the private one, so there is no one in between;
- the *serving* replica then sends a random challenge, and the reader answers with an HMAC over it, keyed by a hash of
  the private key.

While a renewed Secret spreads, the pair before it is accepted as well.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from roadstead_chat.messages import Message, SessionCursor
from roadstead_chat.protocol import FrameError, vector
from roadstead_chat.tls import Identity

PATH = "/peer/v1/log"
CLOSE_REFUSED = 4403
CLOSE_SELF = 4409


def challenge() -> str:
    """Return a fresh random challenge."""
    return secrets.token_hex(32)


def proof(secret: bytes, nonce: str, reader: str, server: str) -> str:
    """Return the reader's answer to a challenge; bound to both stores, so that it serves nowhere else."""
    return hmac.digest(secret, "\0".join(("read", nonce, reader, server)).encode(), "sha256").hex()


def proves(identities: Iterable[Identity], answer: str, nonce: str, reader: str, server: str) -> bool:
    """Whether the answer was made with the key of one of the identities."""
    return any(
        hmac.compare_digest(proof(identity.secret, nonce, reader, server).encode(), answer.encode())
        for identity in identities
    )


@dataclass(frozen=True, slots=True)
class Opening:
    """What a reader asks for.

    Attributes:
        store: its own identity.
        answer: its proof.
        vector: what it holds.
        session_rev: how far it has read the server's session cursors.
    """

    store: str
    answer: str
    vector: dict[str, int]
    session_rev: int


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a log.

    Attributes:
        messages: in the server's local order.
        floors: what retention removed there.
        sessions: changed cursors.
        session_rev: how far these reach.
        head: the server's place after the messages; the reader confirms it once all is durable.
        live: nothing more to read at this moment.
    """

    messages: list[Message]
    floors: dict[str, int]
    sessions: list[SessionCursor]
    session_rev: int
    head: int
    live: bool


def unpack_greeting(data: str | bytes) -> tuple[str, str]:
    """Return the store and the challenge that a server begins with.

    Raises:
        FrameError: it is no greeting.
    """
    value = _object(data)
    store, nonce = value.get("store"), value.get("nonce")
    if not isinstance(store, str) or not isinstance(nonce, str):
        raise FrameError("the greeting lacks store or nonce")
    return store, nonce


def pack_opening(opening: Opening) -> bytes:
    """Encode an opening."""
    return orjson.dumps(
        {
            "store": opening.store,
            "answer": opening.answer,
            "vector": opening.vector,
            "session_rev": opening.session_rev,
        }
    )


def unpack_opening(data: str | bytes) -> Opening:
    """Decode an opening.

    Raises:
        FrameError: it is none.
    """
    value = _object(data)
    store, answer, rev = value.get("store"), value.get("answer"), value.get("session_rev")
    if not isinstance(store, str) or not isinstance(answer, str) or not isinstance(rev, int):
        raise FrameError("the opening lacks store, answer or session_rev")
    return Opening(store, answer, vector(value.get("vector"), "vector"), rev)


def pack_portion(portion: Portion) -> bytes:
    """Encode a portion."""
    return orjson.dumps(
        {
            "messages": [
                (m.origin, m.seq, m.room, m.account, m.client_id, m.accepted_us, base64.b64encode(m.payload).decode())
                for m in portion.messages
            ],
            "floors": portion.floors,
            "sessions": [(s.account, s.device, s.room, s.origin, s.seq, s.updated_us) for s in portion.sessions],
            "session_rev": portion.session_rev,
            "head": portion.head,
            "live": portion.live,
        }
    )


def unpack_portion(data: str | bytes) -> Portion:
    """Decode a portion; the other side has proved to be a replica, so shapes are checked, not limits.

    Raises:
        FrameError: it is none.
    """
    value = _object(data)
    try:
        messages = [_message(row) for row in value["messages"]]
        sessions = [SessionCursor(*row) for row in value["sessions"]]
        return Portion(
            messages,
            vector(value["floors"], "floors"),
            sessions,
            int(value["session_rev"]),
            int(value["head"]),
            bool(value["live"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(f"a portion of a log is not readable: {error!r}") from None


def _message(row: Sequence[Any]) -> Message:
    origin, seq, room, account, client_id, accepted_us, payload = row
    return Message(0, origin, seq, room, account, client_id, accepted_us, base64.b64decode(payload), None)


def _object(data: str | bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FrameError("not a JSON object")
    return value
