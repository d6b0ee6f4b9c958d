"""The frames between client and relay, and every code that the relay may answer with.

A frame is a WebSocket text message with one or several JSON objects, one a line. docs/workload-contract.md shows them
to people; this is where they are made and checked.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Any

import orjson

from roadstead_chat.messages import Accepted, Message

SUBPROTOCOL = "roadstead.chat.v1"
BEARER_SUBPROTOCOL = "bearer."
DEVICE_COOKIE = "chat_device"
MAX_VECTOR = 10_000
_NAME = re.compile(r"[A-Za-z0-9._:@+=-]{1,128}")


class Close(IntEnum):
    """WebSocket close codes of this protocol."""

    RESTART = 1012
    BAD_FRAME = 4400
    TOKEN_EXPIRED = 4401
    SLOW_CONSUMER = 4408
    STORE_FAILED = 4500


class Code(StrEnum):
    """Codes of refusals: in a JSON body before the connection stands, in an ``error`` frame afterwards."""

    TOKEN_MISSING = "token_missing"  # noqa: S105
    TOKEN_INVALID = "token_invalid"  # noqa: S105
    ACCOUNT_LOCKED = "account_locked"
    DRAINING = "draining"
    FULL = "full"
    BAD_FRAME = "bad_frame"
    ROOM_FORBIDDEN = "room_forbidden"
    TOO_MANY_ROOMS = "too_many_rooms"
    NOT_JOINED = "not_joined"
    MESSAGE_TOO_LARGE = "message_too_large"
    STANDBY = "standby"
    STORE_UNAVAILABLE = "store_unavailable"


class FrameError(Exception):
    """A frame does not follow the protocol; the message says which member and what to write instead."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What the client has seen anywhere: the relay waits until it holds as much."""

    after: dict[str, int]


class From(Enum):
    """Where reading a room starts, if not after a cursor."""

    SESSION = "session"
    START = "start"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Join:
    """Read a room from somewhere on."""

    room: str
    start: From | dict[str, int]


@dataclass(frozen=True, slots=True)
class Leave:
    """Stop reading a room."""

    room: str


@dataclass(frozen=True, slots=True)
class Send:
    """Store a message."""

    room: str
    client_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """The device has everything of the room up to the cursor."""

    room: str
    cursor: dict[str, int]


Frame = Hello | Join | Leave | Send | Ack


def parse(line: str | bytes) -> Frame:
    """Parse one line.

    Raises:
        FrameError: it is no frame of this protocol.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"the frame is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FrameError("the frame is not a JSON object")
    match value.get("type"):
        case "send":
            return Send(name(value, "room"), name(value, "id"), _payload(value.get("payload")))
        case "ack":
            return Ack(name(value, "room"), vector(value.get("cursor"), "cursor"))
        case "join":
            return Join(name(value, "room"), _start(value.get("from", "session")))
        case "leave":
            return Leave(name(value, "room"))
        case "hello":
            return Hello(vector(value.get("after", {}), "after"))
    raise FrameError("type must be one of hello, join, leave, send, ack")


def name(value: Mapping[str, Any], member: str) -> str:
    """Return a member that is a room or an id.

    Raises:
        FrameError: it is not 1 to 128 characters of the allowed ones.
    """
    text = value.get(member)
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise FrameError(f"{member} must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ + = -")
    return text


def vector(value: object, member: str) -> dict[str, int]:
    """Return a member that maps origins to numbers.

    Raises:
        FrameError: it does not.
    """
    if not isinstance(value, dict) or len(value) > MAX_VECTOR:
        raise FrameError(f'{member} must be an object of at most {MAX_VECTOR} origins, such as {{"3fa1": 17}}')
    for origin, seq in value.items():
        if not _NAME.fullmatch(origin) or type(seq) is not int or not 0 <= seq < 2**63:
            raise FrameError(f"{member} must map origins to whole numbers from 0")
    return value


def _start(value: object) -> From | dict[str, int]:
    if isinstance(value, str):
        try:
            return From(value)
        except ValueError:
            raise FrameError('from must be a cursor, or one of "session", "start", "now"') from None
    return vector(value, "from")


def _payload(value: object) -> bytes:
    if not isinstance(value, str):
        raise FrameError("payload must be base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise FrameError("payload is not base64") from None


def message_frame(message: Message) -> bytes:
    """Encode a message for readers."""
    return orjson.dumps(
        {
            "type": "message",
            "room": message.room,
            "origin": message.origin,
            "seq": message.seq,
            "account": message.account,
            "id": message.client_id,
            "at": message.accepted_us,
            "payload": base64.b64encode(message.payload).decode(),
        }
    )


def accepted_frame(room: str, client_id: str, accepted: Accepted) -> bytes:
    """Encode the acknowledgement of a durable message for its sender."""
    return orjson.dumps(
        {
            "type": "accepted",
            "room": room,
            "id": client_id,
            "origin": accepted.origin,
            "seq": accepted.seq,
            "duplicate": accepted.duplicate,
        }
    )


def live_frame(room: str, cursor: Mapping[str, int], expired: bool, behind: Mapping[str, int]) -> bytes:
    """Encode the end of a room's backlog.

    Args:
        room: the room's name.
        cursor: everything of the room up to here was written before this frame.
        expired: retention removed messages that the client had not seen.
        behind: numbers that the client has seen and this relay does not hold.
    """
    return orjson.dumps({"type": "live", "room": room, "cursor": cursor, "expired": expired, "behind": behind})


def error_frame(code: Code, message: str, **about: str) -> bytes:
    """Encode a refusal; ``about`` repeats the room and id that it is of."""
    return orjson.dumps({"type": "error", "code": code.value, "message": message, **about})
