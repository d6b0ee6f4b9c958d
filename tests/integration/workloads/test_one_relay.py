"""One relay: what is acknowledged is there, once, in order, whatever happens to the connection or the process.

Mutants that were made on purpose, and what turned red:
- acknowledging in `Writer` before the commit (`_report` called before `journal.commit`): `a killed relay has every
  message that it acknowledged`;
- `Journal.append` without looking for a held send: `a retry gets the identity of the first`;
- `Connection._catch_up` that goes live without reading the backlog: `a client resumes after what it has`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from typing import Any

import pytest

from integration.workloads.relays import Clients, Relay, Site, until

ROOM = "room"


def stored_ids(relay: Relay) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"{relay.store.as_uri()}?mode=ro", uri=True)) as store:
        return [row[0] for row in store.execute("SELECT client_id FROM messages ORDER BY pos")]


def kill_soon(relay: Relay) -> None:
    time.sleep(random.uniform(0, 0.05))  # noqa: S311
    relay.kill()


async def test_members_get_a_message_and_its_sender_the_acknowledgement(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann, bob, eve = [await clients.connect(relay, name) for name in ("ann", "bob", "eve")]
    await ann.join(ROOM)
    await bob.join(ROOM)
    await eve.join("another")
    await ann.send(ROOM, "m1", b"\x00\xffsealed")
    origin, seq = await ann.accepted("m1")
    message = await bob.next("message")
    assert (message["account"], message["id"], message["origin"], message["seq"]) == ("ann", "m1", origin, seq)
    assert message["payload"] == "AP9zZWFsZWQ="
    await eve.send("another", "m2")
    await eve.accepted("m2")
    assert eve.ids in ([], ["m2"]), "a message of a room that she has not joined"


async def test_a_killed_relay_has_every_message_that_it_acknowledged(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    acknowledged: list[str] = []
    for life in range(6):
        client = await clients.connect(relay)

        async def flood(client: object = client, life: int = life) -> None:
            for number in range(20_000):
                await client.send(ROOM, f"{life}-{number}")  # type: ignore[attr-defined]

        flooding = asyncio.create_task(flood())
        while len(client.frames) < 300:
            await client.read()
        # At a moment of its own, not right after a frame: between two commits nothing would be at stake.
        killing = asyncio.create_task(asyncio.to_thread(kill_soon, relay))
        with contextlib.suppress(ConnectionError):
            while True:
                await client.read()
        await killing
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        acknowledged += [frame["id"] for frame in client.frames if frame["type"] == "accepted"]
        relay.start()
    stored = stored_ids(relay)
    assert len(acknowledged) >= 1_800
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    reader = await clients.connect(relay, "bob")
    await reader.join(ROOM)
    assert reader.ids == stored


async def test_a_retry_gets_the_identity_of_the_first_and_nobody_gets_it_twice(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    bob = await clients.connect(relay, "bob")
    await bob.join(ROOM)
    first = await clients.connect(relay)
    await first.send(ROOM, "m1")
    identity = await first.accepted("m1")
    await first.close()
    again = await clients.connect(relay)
    await again.send(ROOM, "m1")
    answer = await again.next("accepted")
    assert (answer["origin"], answer["seq"], answer["duplicate"]) == (*identity, True)
    await again.send(ROOM, "m2")
    await bob.next("message", id="m2")
    assert bob.ids == ["m1", "m2"]
    # The id is the sender's own: another account's message is another message, and so is one in another room.
    other = await clients.connect(relay, "eve")
    await other.send(ROOM, "m1")
    assert (await other.next("accepted"))["duplicate"] is False
    await other.send("elsewhere", "m1")
    assert (await other.next("accepted"))["duplicate"] is False


async def test_a_client_resumes_after_what_it_has(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    await bob.join(ROOM)
    for number in range(50):
        await ann.send(ROOM, str(number))
        await ann.send("other", str(number))
    await bob.next("message", id="49")
    cursor = bob.cursor(ROOM)
    await bob.close()
    for number in range(50, 1_000):
        await ann.send(ROOM, str(number))
    await ann.accepted("999")
    assert relay.stop() == 0
    relay.start()
    back = await clients.connect(relay, "bob")
    await back.join(ROOM, cursor)
    ann = await clients.connect(relay)
    await ann.send(ROOM, "live")
    await back.next("message", id="live")
    assert [*bob.ids, *back.ids] == [*map(str, range(1_000)), "live"]


async def test_a_room_joined_while_it_is_written_to_has_no_gap(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann = await clients.connect(relay)
    total = 3_000

    async def write() -> None:
        for number in range(total):
            await ann.send(ROOM, str(number))

    writing = asyncio.create_task(write())
    reading = asyncio.create_task(ann.accepted(str(total - 1), 60))
    readers = []
    for number in range(10):
        reader = await clients.connect(relay, f"reader-{number}")
        await reader.say("join", room=ROOM, **{"from": "start"})
        readers.append(reader)
        await asyncio.sleep(0.03)
    for reader in readers:
        await reader.next("message", 60, id=str(total - 1))
        assert reader.ids == [str(number) for number in range(total)]
    await asyncio.gather(writing, reading)


async def test_a_device_resumes_from_what_it_acknowledged(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_RETENTION_COOKIES_SECONDS=1234).start()
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    device = bob.welcome["device"]
    cookie = bob.socket._response.cookies["chat_device"]
    assert (cookie.value, cookie["max-age"], cookie["httponly"], cookie["secure"]) == (device, "1234", True, True)
    await bob.join(ROOM)
    for number in range(10):
        await ann.send(ROOM, str(number))
    await bob.next("message", id="9")
    origin = bob.frames[-1]["origin"]
    await bob.say("ack", room=ROOM, cursor={origin: 6})
    await bob.close()
    await asyncio.sleep(0.3)
    relay.kill()
    relay.start()

    def as_bob(account: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {site.token(account)}", "Cookie": f"chat_device={device}"}

    back = await clients.connect(relay, headers=as_bob("bob"))
    assert back.welcome["device"] == device
    await back.join(ROOM, "session")
    assert back.ids == ["6", "7", "8", "9"]
    thief = await clients.connect(relay, headers=as_bob("eve"))
    await thief.join(ROOM, "session")
    assert len(thief.ids) == 10, "another account's cookie opened its session"


async def test_now_starts_after_the_present(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann = await clients.connect(relay)
    await ann.send(ROOM, "before")
    await ann.accepted("before")
    bob = await clients.connect(relay, "bob")
    live = await bob.join(ROOM, "now")
    assert live["expired"] is False
    await ann.send(ROOM, "after")
    await bob.next("message", id="after")
    assert bob.ids == ["after"]


async def test_a_left_room_is_silent(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann = await clients.connect(relay)
    await ann.join(ROOM)
    await ann.say("leave", room=ROOM)
    await ann.send(ROOM, "m1")
    await ann.accepted("m1")
    await ann.send(ROOM, "m2")
    await ann.accepted("m2")
    assert ann.ids == []


@pytest.mark.parametrize(
    ("settings", "age"),
    [
        pytest.param(
            {"CHAT_RETENTION_TRANSACTIONS_SECONDS": 2}, "messages", id="messages by the retention of transactions"
        ),
        pytest.param({"CHAT_RETENTION_SESSIONS_SECONDS": 2}, "sends", id="the memory of sends by that of sessions"),
    ],
)
async def test_retention_removes(site: Site, clients: Clients, settings: dict[str, Any], age: str) -> None:
    relay = site.relay(**settings).start()
    ann = await clients.connect(relay)
    for number in range(20):
        await ann.send(ROOM, str(number))
    identity = await ann.accepted("19")

    def rows(table: str) -> int:
        with contextlib.closing(sqlite3.connect(f"{relay.store.as_uri()}?mode=ro", uri=True)) as store:
            return int(store.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608

    assert rows(age) == 20
    await until(lambda: not rows(age), f"no row in {age}")
    other = {"messages": "sends", "sends": "messages"}[age]
    assert rows(other) == 20, "the other class went too"
    # Numbers go on where they were, also after a restart: a cursor of before must not cover what comes now.
    relay.stop()
    relay.start()
    ann = await clients.connect(relay)
    await ann.send(ROOM, "fresh")
    assert await ann.accepted("fresh") == (identity[0], identity[1] + 1)
    live = await (await clients.connect(relay, "bob")).join(ROOM)
    assert live["expired"] is (age == "messages")
