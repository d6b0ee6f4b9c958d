"""What one client may cost. Mutants: `Connection._catch_up` without its lock, `_wait_for` or `_join` without limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roadstead_chat import config
from roadstead_chat.archive import RoomPage
from roadstead_chat.connection import Connection, Services
from roadstead_chat.messages import Message
from roadstead_chat.protocol import MAX_VECTOR, FrameError, Hello, Join
from roadstead_chat.relay import Relay
from roadstead_chat.tokens import Account

HEAD = 1_000


class Reader:
    """An archive with much in every room."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0)
        return question(self)

    def room_start(self, _room: str, _cursor: object) -> int:
        return 1

    def room_page(self, room: str, after: int, _upto: int, _limit: int) -> RoomPage:
        self.pages.append(room)
        places = range(after + 1, after + 11)
        messages = [Message(pos, "own", pos, room, "ann", str(pos), 0, b"x" * 10_000, None) for pos in places]
        return RoomPage(messages, {}, places[-1])


@pytest.fixture
def reader() -> Reader:
    return Reader()


def connection(reader: Reader, **settings: str) -> Connection:
    environ = {
        "CHAT_SERVICE": "a",
        "CHAT_REGION": "b",
        "CHAT_TOKEN_PUBLIC_KEYS": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    }
    settled = config.load(environ | settings)
    relay = Relay(HEAD, {"own": HEAD}, {})
    services = Services(settled, relay, None, reader, None)  # type: ignore[arg-type]
    return Connection(services, None, Account("bob", ("*",), 0), "phone")  # type: ignore[arg-type]


async def test_the_rooms_of_a_client_that_does_not_read_hold_one_page(reader: Reader) -> None:
    bob = connection(reader)
    for number in range(50):
        await bob._join(Join(f"room-{number}", {}))
    # A box of 1 MiB is half full after six pages of these.
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert len(reader.pages) <= 6
    assert len(set(reader.pages)) == len(reader.pages), "they take turns"
    bob._stop_rooms()


async def test_a_room_that_is_left_gives_its_turn_to_the_next(reader: Reader) -> None:
    bob = connection(reader, CHAT_QUEUE_BYTES="65536")
    await bob._join(Join("one", {}))
    await bob._join(Join("two", {}))
    for _ in range(100):
        await asyncio.sleep(0)
    assert reader.pages == ["one"]
    bob._leave("one")
    for _ in range(100):
        await asyncio.sleep(0)
    assert reader.pages == ["one", "two"]
    bob._stop_rooms()


async def test_invented_origins_are_kept_up_to_a_limit(reader: Reader) -> None:
    bob = connection(reader, CHAT_CATCH_UP_SECONDS="0")
    invented = [{f"{turn}-{number}": 1 for number in range(MAX_VECTOR // 2)} for turn in range(3)]
    for after in invented[:2]:
        await bob._wait_for(Hello(after).after)
    with pytest.raises(FrameError, match="10000 origins"):
        await bob._wait_for(invented[2])


async def test_invented_origins_are_not_kept_once_for_each_room(reader: Reader) -> None:
    bob = connection(reader, CHAT_CATCH_UP_SECONDS="0")
    invented = {str(number): 1 for number in range(MAX_VECTOR // 2)} | {"own": HEAD}
    await bob._join(Join("one", dict(invented)))
    await bob._join(Join("one", dict(invented)))  # again: it takes the place of the first
    await bob._join(Join("two", dict(invented)))
    with pytest.raises(FrameError, match="10000 origins"):
        await bob._join(Join("three", dict(invented)))
    bob._leave("one")
    await bob._join(Join("three", dict(invented)))
