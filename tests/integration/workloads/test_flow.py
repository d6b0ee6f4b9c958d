"""Limits, back-pressure, roles, and leaving in order.

Mutants that were made on purpose, and what turned red:
- `Connection._write` without a limit of time: `a client that does not read is cut off and resumes`;
- `Connection.deliver` that drops what does not fit, or goes on one message later: `a burst beyond the queue`;
- `Connection._finish` that closes at once: `a draining relay answers what it took`;
- `Connection._catch_up` without its lock, with `Outbox.offer` that looks once: `many rooms with history at once`;
- `Connection._send` that refuses what is too fast: `too fast means later`;
- `Connection._catch_up` that looks at the head after it asked where to begin: `what is stored while somebody joins`;
(That nothing of a sender passes after a refusal has its mutant in tests/unit/workloads/test_journal.py: a full disk.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from typing import Any

import aiohttp
import orjson
import pytest

from integration.workloads.relays import Clients, Relay, Site, ready, until

ROOM = "room"


async def test_a_client_that_does_not_read_is_cut_off_and_resumes(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_STALL_SECONDS=1).start()
    ann, slow, quick = [await clients.connect(relay, name) for name in ("ann", "slow", "quick")]
    await slow.join(ROOM)
    await quick.join(ROOM)
    count, payload = 600, b"x" * 40_000
    reading = asyncio.create_task(quick.next("message", 60, id=str(count - 1)))
    answers = asyncio.create_task(ann.accepted(str(count - 1), 60))
    for number in range(count):
        await ann.send(ROOM, str(number), payload)
    await asyncio.gather(answers, reading)
    assert len(quick.ids) == count, "one slow client held up another"
    await until(lambda: relay.metric('chat_closes_total{reason="slow_consumer"}') == 1, "the slow client is cut off")
    with contextlib.suppress(ConnectionError):
        while True:
            await slow.read(10)
    assert len(slow.ids) < count
    back = await clients.connect(relay, "slow")
    await back.join(ROOM, slow.cursor(ROOM))
    assert [*slow.ids, *back.ids] == [str(number) for number in range(count)]


async def test_what_is_stored_while_somebody_joins_is_not_skipped(site: Site, clients: Clients) -> None:
    """Clients that come back all at once after a restart join while the others already send."""
    relay = site.relay().start()
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    live = await bob.join(ROOM)
    count = 1_500

    async def talk() -> None:
        for number in range(count):
            # One at a time: when bob asks, there is nothing that he lacks, and in the same moment there is.
            await ann.send(ROOM, str(number))
            await ann.accepted(str(number))
            # Another room: the relay goes on, while bob has all of his.
            await ann.send("elsewhere", f"e{number}")

    talking = asyncio.create_task(talk())
    joins = 0
    while not talking.done():
        live = await bob.join(ROOM, live["cursor"])
        joins += 1
    await talking
    await bob.join(ROOM, live["cursor"])
    assert joins > 100
    assert set(bob.ids) == {str(number) for number in range(count)}


async def test_a_burst_beyond_the_queue_costs_nobody_anything(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_QUEUE_BYTES=65536).start()
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    await ann.join(ROOM)
    await bob.join(ROOM)
    count = 400
    last = str(count - 1)
    reading = asyncio.gather(ann.next("message", 60, id=last), bob.next("message", 60, id=last))
    for number in range(count):
        await ann.send(ROOM, str(number), b"x" * 20_000)
    await reading
    assert relay.metric("chat_backlog_fallbacks_total") > 0, "the queue was never full, so nothing was tried"
    assert ann.ids == bob.ids == [str(number) for number in range(count)]
    await ann.send(ROOM, "live-again")
    await bob.next("message", id="live-again")
    assert relay.metric('chat_closes_total{reason="slow_consumer"}') == 0


async def test_a_slow_reader_of_history_is_waited_for(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_QUEUE_BYTES=65536).start()
    ann = await clients.connect(relay)
    count = 300
    answers = asyncio.create_task(ann.accepted(str(count - 1), 60))
    for number in range(count):
        await ann.send(ROOM, str(number), b"x" * 40_000)
    await answers
    bob = await clients.connect(relay, "bob")
    await bob.say("join", room=ROOM, **{"from": "start"})
    await asyncio.sleep(1)
    await bob.next("live", 30)
    assert bob.ids == [str(number) for number in range(count)]
    assert relay.metric('chat_closes_total{reason="slow_consumer"}') == 0


async def test_many_rooms_with_history_at_once_cut_nobody_off_who_reads(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_QUEUE_BYTES=65536).start()
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    rooms, each = [f"room-{number}" for number in range(100)], 5
    answers = asyncio.create_task(ann.accepted(f"{rooms[-1]}-{each - 1}", 60))
    for number in range(each):
        for room in rooms:
            await ann.send(room, f"{room}-{number}", b"x" * 10_000)
    await answers
    for room in rooms:
        await bob.say("join", room=room, **{"from": "start"})
    lives = {(await bob.next("live", 30))["room"] for _ in rooms}
    assert lives == set(rooms)
    for room in rooms:
        mine = [client_id for client_id in bob.ids if client_id.startswith(f"{room}-")]
        assert mine == [f"{room}-{number}" for number in range(each)]
    assert relay.metric('chat_closes_total{reason="slow_consumer"}') == 0


async def test_too_fast_means_later(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_MESSAGES_PER_SECOND=50).start()
    ann = await clients.connect(relay)
    started = time.monotonic()
    for number in range(150):
        await ann.send(ROOM, str(number))
    await ann.accepted("149", 20)
    # A second's worth passes at once, the other hundred at the pace.
    assert time.monotonic() - started >= 1.8
    assert [frame["id"] for frame in ann.frames if frame["type"] == "accepted"] == [str(n) for n in range(150)]


async def test_limits_are_refused_with_a_code(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_MAX_MESSAGE_BYTES=1000, CHAT_MAX_ROOMS=2, CHAT_MAX_CONNECTIONS=2).start()
    ann = await clients.connect(relay)
    await ann.send(ROOM, "large", b"x" * 1001)
    refusal = await ann.next("error")
    assert (refusal["code"], refusal["id"]) == ("message_too_large", "large")
    await ann.send(ROOM, "fits", b"x" * 1000)
    await ann.accepted("fits")
    await ann.join("one")
    await ann.join("two")
    await ann.say("join", room="three")
    assert (await ann.next("error"))["code"] == "too_many_rooms"
    bob = await clients.connect(relay, "bob")
    with pytest.raises(aiohttp.WSServerHandshakeError) as full:
        await clients.connect(relay, "eve")
    assert full.value.status == 503
    await bob.send(ROOM, "huge", b"x" * 20_000)
    assert (await bob.next("error"))["code"] == "message_too_large"
    await bob.send(ROOM, "monstrous", b"x" * 200_000)
    # The relay says 1009; when the rest of the frame is still on its way, the client may see the reset instead.
    assert await bob.until_closed() in (1006, 1009)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("nonsense", id="no JSON"),
        pytest.param("[1]", id="no object"),
        pytest.param('{"type":"shout"}', id="an unknown type"),
        pytest.param('{"type":"send","room":"r","id":"1","payload":"%%%"}', id="a payload that is not base64"),
        pytest.param('{"type":"send","room":"a b","id":"1","payload":""}', id="a room with a space"),
        pytest.param('{"type":"send","room":"r","id":"' + "x" * 129 + '","payload":""}', id="an id that is too long"),
        pytest.param('{"type":"join","room":"r","from":{"o":-1}}', id="a cursor below zero"),
        pytest.param('{"type":"join","room":"r","from":"yesterday"}', id="an unknown start"),
        pytest.param('{"type":"ack","room":"r","cursor":{"o":true}}', id="a cursor that is no number"),
        pytest.param("[" * 5_000, id="deep nesting"),
    ],
)
async def test_a_bad_frame_ends_that_connection_only(shared: Relay, clients: Clients, frame: str) -> None:
    ann, bob = await clients.connect(shared), await clients.connect(shared, "bob")
    await ann.socket.send_str(frame)
    assert (await ann.next("error"))["code"] == "bad_frame"
    assert await ann.until_closed() == 4400
    await bob.send(ROOM, "m1")
    await bob.accepted("m1")
    assert "Traceback" not in shared.output


@pytest.fixture
def shared(site: Site) -> Relay:
    return site.relay().start()


@pytest.mark.parametrize("role", ["active", "primary"])
async def test_these_roles_take_messages(site: Site, clients: Clients, role: str) -> None:
    relay = site.relay(CHAT_ROLE=role).start()
    ann = await clients.connect(relay)
    assert ann.welcome["role"] == role
    await ann.send(ROOM, "m1")
    await ann.accepted("m1")


async def test_a_standby_serves_readers_and_refuses_messages(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann = await clients.connect(relay)
    await ann.send(ROOM, "m1")
    await ann.accepted("m1")
    relay.stop()
    relay.settings["CHAT_ROLE"] = "standby"
    relay.start()
    bob = await clients.connect(relay, "bob")
    await bob.join(ROOM)
    assert bob.ids == ["m1"]
    await bob.send(ROOM, "m2")
    refusal = await bob.next("error")
    assert (refusal["code"], refusal["id"]) == ("standby", "m2")
    assert relay.metric('chat_messages_refused_total{code="standby"}') == 1


async def test_a_draining_relay_answers_what_it_took(site: Site, clients: Clients) -> None:
    """Every message that the relay has read is stored and acknowledged before the client is let go."""
    relay = site.relay().start()
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    await bob.join(ROOM)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await ann.send(ROOM, str(sent))
            sent += 1
            await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    await ann.accepted("200")
    relay.terminate()
    codes = tuple(await asyncio.gather(ann.until_closed(), bob.until_closed()))
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    assert codes == (1012, 1012)
    await until(relay.exited, "the end")
    assert relay.process is not None
    assert relay.process.returncode == 0
    assert not list(relay.directory.glob("chat.db-*")), "the write-ahead log was not folded in"
    acknowledged = [frame["id"] for frame in ann.frames if frame["type"] == "accepted"]
    relay.start()
    reader = await clients.connect(relay, "eve")
    await reader.join(ROOM)
    assert acknowledged == reader.ids, "stored without an answer, or answered without being stored"
    assert bob.ids == reader.ids[: len(bob.ids)]


async def test_a_draining_relay_is_not_ready_and_takes_nobody(site: Site, clients: Clients) -> None:
    # No copy is waited for, so that the drain begins long before either end gives the silent stream up (after 2.5 s).
    one, two = site.replicas("one", "two", CHAT_DRAIN_SECONDS=3, CHAT_COPY_SECONDS=0)
    for relay in (one, two):
        relay.launch()
    await ready(one, two)
    await until(lambda: one.metric("chat_peers") == 1, "peers", 10)
    ann = await clients.connect(one)
    # A replica that hangs keeps the other one draining until its time is over.
    os.kill(two.pid, signal.SIGSTOP)
    await ann.send(ROOM, "m1")
    await ann.accepted("m1")
    one.terminate()
    await until(lambda: one.status("/readyz") == 503, "not ready")
    assert one.status("/healthz") == 200, "a draining relay must not be killed by its liveness probe"
    with pytest.raises(aiohttp.WSServerHandshakeError) as gone:
        await clients.connect(one, "bob")
    assert gone.value.status == 503
    await until(one.exited, "the end", 20)
    assert one.process is not None
    assert one.process.returncode == 0
    (drained,) = [entry for entry in map(orjson.loads, one.output.splitlines()) if entry["message"] == "drained"]
    assert drained["seconds"] >= 3, "it did not wait for the replica that has not everything yet"


async def test_after_a_refusal_nothing_of_that_sender_passes(site: Site, clients: Clients) -> None:
    """A disk that fails: what was acknowledged stays, and a retry in order stores the rest without a hole."""
    relay = site.relay()
    relay.start()
    resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    ann = await clients.connect(relay)
    ids = [str(number) for number in range(200)]
    await ann.send(ROOM, ids[0], b"x" * 9_000)
    # Alone, so that it is in a transaction of its own: all others may come in one, which fails as a whole.
    await ann.accepted(ids[0])

    async def send() -> None:
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            for client_id in ids[1:]:
                await ann.send(ROOM, client_id, b"x" * 9_000)

    sending = asyncio.create_task(send())
    code = await ann.until_closed(20)
    await sending
    acknowledged = [frame["id"] for frame in ann.frames if frame["type"] == "accepted"]
    assert code == 4500
    assert 0 < len(acknowledged) < len(ids)
    assert acknowledged == ids[: len(acknowledged)], "a message passed after one before it had failed"
    await until(relay.exited, "the end: only a fresh start reads what the disk really has")
    assert relay.process is not None
    assert relay.process.returncode == 1
    relay.start()
    ann = await clients.connect(relay)
    answers = asyncio.create_task(ann.accepted(ids[-1], 30))
    for client_id in ids:
        await ann.send(ROOM, client_id, b"x" * 9_000)
    await answers
    bob = await clients.connect(relay, "bob")
    await bob.join(ROOM)
    assert bob.ids == ids


def run_to_end(relay: Relay) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roadstead_chat.main"]
    return subprocess.run(command, env=relay.environ(), capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"CHAT_ROLE": "boss"}, ["CHAT_ROLE", "'boss'", "active, primary, standby"], id="a role"),
        pytest.param(
            {"CHAT_TOKEN_PUBLIC_KEYS": "x", "CHAT_DRAIN_SECONDS": "soon"},
            ["CHAT_TOKEN_PUBLIC_KEYS", "keygen", "CHAT_DRAIN_SECONDS", "'soon'", "0 to 3600"],
            id="two problems at once",
        ),
        pytest.param({"CHAT_STORE": "/no/such/dir/chat.db"}, ["CHAT_STORE", "directory"], id="a store without a place"),
        pytest.param({"CHAT_TLS_DIR": "/no/such/dir"}, ["/no/such/dir/tls.crt", "Secret"], id="no certificate"),
    ],
)
def test_a_bad_setting_ends_the_start_with_its_cure(site: Site, settings: dict[str, Any], words: list[str]) -> None:
    relay = site.relay(**settings)
    done = run_to_end(relay)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_port_that_cannot_be_had_ends_the_start_with_its_cure(site: Site) -> None:
    first = site.relay().start()
    taken = run_to_end(site.relay("two", CHAT_LISTEN_PORT=first.port))
    same = run_to_end(site.relay("three", CHAT_LISTEN_PORT=first.port, CHAT_OPS_PORT=first.port))
    strange = run_to_end(site.relay("four", CHAT_LISTEN_HOST="192.0.2.1"))
    unknown = run_to_end(site.relay("five", CHAT_LISTEN_HOST="no-such.invalid"))
    for done, words in (
        (taken, [f"CHAT_LISTEN_PORT {first.port}", "must be free"]),
        (same, [f"CHAT_OPS_PORT {first.port}", "must be free"]),
        (strange, ["CHAT_LISTEN_HOST 192.0.2.1", "one of this machine"]),
        (unknown, ["CHAT_LISTEN_HOST no-such.invalid", "Name or service not known"]),
    ):
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr


def test_a_store_of_something_else_is_left_alone(site: Site) -> None:
    import sqlite3

    relay = site.relay()
    with contextlib.closing(sqlite3.connect(relay.store)) as other:
        other.execute("CREATE TABLE theirs (a)")
        other.commit()
    done = run_to_end(relay)
    assert done.returncode == 2
    assert "something else" in done.stderr
    relay.store.write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    done = run_to_end(relay)
    assert done.returncode == 2
    assert "CHAT_STORE" in done.stderr
