"""Several replicas of a region are one relay.

Mutants that were made on purpose, and what turned red:
- `Journal._copy_in` that never sets `copy_of`: `a retry at another replica is delivered once everywhere`;
- `deliverable` that ignores `copies`: the same test;
- `Connection._wait_for` that does not wait: `a sender's messages stay in order across replicas`;
- `_Stream._send` that starts at the head, `Peers.caught_up` that does not wait: `a new replica gets the history`;
- `proves` that always says yes, and `_identity_of` without the comparison: `a stranger reads nothing`, `a replica
  takes nothing from an impostor`;
- `Peers._read` that takes any first frame for a greeting: `a peer without a greeting keeps nobody from serving`;
- `Copies._enough` that always says yes: `nothing is seen or acknowledged that one replica alone has`;
- `Server._drain` without `all_stored`: `a replica that drains hands over what it accepted last`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from integration.workloads.relays import Client, Clients, Relay, Site, ready, until
from integration.workloads.tls_pairs import Authority
from roadstead_chat.messages import Message
from roadstead_chat.peer_wire import Portion, pack_portion

ROOM = "room"


async def start_all(*relays: Relay) -> None:
    for relay in relays:
        relay.launch()
    await connected(*relays)


async def connected(*relays: Relay) -> None:
    """Every replica reads every other one."""
    others = len(relays) - 1
    await ready(*relays)
    await until(lambda: all(relay.metric("chat_peers") == others for relay in relays), "each reads all others", 10)


async def send_all(client: Client, *ids: str, room: str = ROOM) -> None:
    for client_id in ids:
        await client.send(room, client_id)
    await client.accepted(ids[-1])


async def test_three_replicas_are_one_relay(site: Site, clients: Clients) -> None:
    relays = site.replicas("a", "b", "c")
    await start_all(*relays)
    members = [await clients.connect(relay, f"member-{relay.name}") for relay in relays]
    for member in members:
        await member.join(ROOM)
    count = 200

    async def send(member: Client, name: str) -> None:
        for number in range(count):
            await member.send(ROOM, f"{name}-{number}")

    await asyncio.gather(*(send(member, relay.name) for member, relay in zip(members, relays, strict=True)))
    for member in members:
        async with asyncio.timeout(20):
            while len(member.ids) < 3 * count:
                await member.read()
        assert len(set(member.ids)) == 3 * count
        for relay in relays:
            mine = [client_id for client_id in member.ids if client_id.startswith(relay.name)]
            assert mine == [f"{relay.name}-{number}" for number in range(count)]


async def test_a_lone_replica_works_with_peers_that_do_not_resolve(site: Site, clients: Clients) -> None:
    relay = site.relay(CHAT_PEERS="no-such-name.invalid,localhost:1", POD_IP="10.0.0.1")
    relay.settings["CHAT_PEERS"] = "no-such-name.invalid"
    relay.start()
    ann = await clients.connect(relay)
    await send_all(ann, "m1")


async def test_a_retry_at_another_replica_is_delivered_once_everywhere(site: Site, clients: Clients) -> None:
    """The first replica stores the message and is gone before it can share it; the sender retries at the second."""
    one, two = site.replicas("one", "two")
    one.start()
    ann, bob = await clients.connect(one), await clients.connect(one, "bob")
    await bob.join(ROOM)
    await send_all(ann, "m1", "m2")
    await bob.next("message", id="m2")
    one.kill()
    two.start()
    ann, eve = await clients.connect(two), await clients.connect(two, "eve")
    await eve.join(ROOM)
    await ann.send(ROOM, "m1")
    answer = await ann.next("accepted")
    assert (answer["duplicate"], answer["origin"]) == (False, ann.welcome["store"])
    await send_all(ann, "m2", "m3")
    await eve.next("message", id="m3")
    one.launch()
    await connected(one, two)
    # Each has both identities now. Live readers get nothing of the first ones:
    await send_all(ann, "m4")
    await eve.next("message", id="m4")
    assert eve.ids == ["m1", "m2", "m3", "m4"]
    # bob had them under the first identity, and goes to the replica that knew the second one first.
    back = await clients.connect(two, "bob")
    await back.join(ROOM, bob.cursor(ROOM))
    assert [*bob.ids, *back.ids] == ["m1", "m2", "m3", "m4"]
    # eve had them under the second, and goes to the replica that knew the first one first.
    crossed = await clients.connect(one, "eve")
    await crossed.join(ROOM, eve.cursor(ROOM))
    await send_all(ann, "m5")
    await crossed.next("message", id="m5")
    assert crossed.ids == ["m5"]
    for relay in (one, two):
        fresh = await clients.connect(relay, "new")
        await fresh.join(ROOM)
        assert fresh.ids == ["m1", "m2", "m3", "m4", "m5"]


async def test_a_senders_messages_stay_in_order_across_replicas(site: Site, clients: Clients) -> None:
    """The sender moves to a replica that has not got its last messages yet: they are waited for."""
    one, two = site.replicas("one", "two")
    await start_all(one, two)
    bob = await clients.connect(two, "bob")
    await bob.join(ROOM)
    sent = []
    where = one
    after: dict[str, int] = {}
    for turn in range(20):
        ann = await clients.connect(where)
        await ann.say("hello", after=after)
        for number in range(30):
            await ann.send(ROOM, f"{turn}-{number}")
            sent.append(f"{turn}-{number}")
        origin, seq = await ann.accepted(f"{turn}-29")
        after[origin] = max(seq, after.get(origin, 0))
        await ann.close()
        where = two if where is one else one
    await bob.next("message", 20, id=sent[-1])
    assert bob.ids == sent


async def test_nothing_is_seen_or_acknowledged_that_one_replica_alone_has(site: Site, clients: Clients) -> None:
    one, two = site.replicas("one", "two", CHAT_COPY_SECONDS=30)
    await start_all(one, two)
    ann, bob = await clients.connect(one), await clients.connect(one, "bob")
    await bob.join(ROOM)
    await send_all(ann, "m0")
    os.kill(two.pid, signal.SIGSTOP)
    await ann.send(ROOM, "m1")
    with pytest.raises(TimeoutError):
        await ann.accepted("m1", 1.5)
    assert [frame["id"] for frame in bob.frames if frame["type"] == "message"] in ([], ["m0"])
    os.kill(two.pid, signal.SIGCONT)
    again = await clients.connect(one)
    await again.send(ROOM, "m1")
    assert (await again.next("accepted"))["duplicate"] is True
    await bob.next("message", id="m1")


async def test_a_replica_that_hangs_stops_nobody_for_long(site: Site, clients: Clients) -> None:
    one, two = site.replicas("one", "two", CHAT_COPY_SECONDS=1)
    await start_all(one, two)
    ann = await clients.connect(one)
    os.kill(two.pid, signal.SIGSTOP)
    await send_all(ann, *map(str, range(100)))
    assert one.metric("chat_copies_given_up_total") == 1
    os.kill(two.pid, signal.SIGCONT)
    bob = await clients.connect(two, "bob")
    await bob.join(ROOM)
    await send_all(ann, "last")
    await bob.next("message", id="last")
    assert len(bob.ids) == 101


async def test_what_anybody_saw_survives_the_replica_that_took_it(site: Site, clients: Clients) -> None:
    """kill -9, and the store gone with it: a pod without a volume on a node that dies."""
    one, two = site.replicas("one", "two")
    await start_all(one, two)
    seen: set[str] = set()
    for life in range(3):
        ann, bob = await clients.connect(one), await clients.connect(one, "bob")
        await bob.join(ROOM, "now")

        async def flood(ann: Client = ann, life: int = life) -> None:
            for number in range(20_000):
                await ann.send(ROOM, f"{life}-{number}")

        async def read(client: Client) -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await client.read()

        flooding = asyncio.create_task(flood())
        reading = asyncio.gather(read(ann), read(bob))
        await until(lambda bob=bob: len(bob.ids) >= 200, "some are through", 20)  # type: ignore[misc]
        one.kill()
        await reading
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        seen |= {frame["id"] for frame in ann.frames if frame["type"] == "accepted"} | set(bob.ids)
        for leftover in one.directory.glob("chat.db*"):
            leftover.unlink()
        await until(lambda: two.metric("chat_peers") == 0, "two noticed", 10)
        one.launch()
        await connected(one, two)
    assert len(seen) >= 600
    for relay in (one, two):
        reader = await clients.connect(relay, "eve")
        await reader.join(ROOM)
        assert seen <= set(reader.ids)


async def test_what_a_dead_replica_never_shared_is_waited_for_and_then_given_up(site: Site, clients: Clients) -> None:
    one, two = site.replicas("one", "two", CHAT_CATCH_UP_SECONDS=1)
    await start_all(one, two)
    bob = await clients.connect(two, "bob")
    live = await bob.join(ROOM, {"feedfeedfeedfeed": 7})
    assert live["behind"] == {"feedfeedfeedfeed": 7}
    ann = await clients.connect(two)
    await send_all(ann, "m1")
    await bob.next("message", id="m1")


async def test_a_new_replica_gets_the_history(site: Site, clients: Clients) -> None:
    one, two, late = site.replicas("one", "two", "late")
    await start_all(one, two)
    ann = await clients.connect(one)
    ids = [str(number) for number in range(3_000)]
    for client_id in ids:
        await ann.send(ROOM, client_id)
    await ann.accepted(ids[-1], 30)
    late.launch()
    await connected(one, two, late)
    reader = await clients.connect(late, "bob")
    await reader.join(ROOM)
    assert reader.ids == ids
    # And again from the store of a replica that has them from elsewhere, the first one being gone.
    one.stop()
    late.stop()
    for leftover in late.directory.glob("chat.db*"):
        leftover.unlink()
    late.launch()
    # Ready means: has read what the others have. So nobody lands on an empty replica.
    await ready(late, seconds=40)
    reader = await clients.connect(late, "bob")
    await reader.join(ROOM)
    assert reader.ids == ids


async def test_a_new_replica_takes_what_retention_left(site: Site, clients: Clients) -> None:
    """The numbers then begin in the middle, which must not look like a loss."""
    one, late = site.replicas("one", "late", CHAT_RETENTION_TRANSACTIONS_SECONDS=4)
    one.start()
    ann = await clients.connect(one)
    await send_all(ann, *(f"old-{number}" for number in range(50)))
    await until(lambda: one.metric('chat_store_expired_total{class="transactions"}') == 50, "expiry", 20)
    fresh = [f"fresh-{number}" for number in range(50)]
    await send_all(ann, *fresh)
    late.launch()
    await ready(late)
    reader = await clients.connect(late, "bob")
    live = await reader.join(ROOM)
    assert reader.ids in (fresh, []), "all of it, unless this machine was so slow that it expired meanwhile"
    assert live["expired"] is True
    assert "came before" not in late.output


async def test_a_replica_that_drains_hands_over_what_it_accepted_last(site: Site, clients: Clients) -> None:
    """A pod without a volume takes its store with it."""
    one, two = site.replicas("one", "two")
    await start_all(one, two)
    ann = await clients.connect(one)
    os.kill(two.pid, signal.SIGSTOP)
    ids = [str(number) for number in range(500)]
    await send_all(ann, *ids)
    one.terminate()
    assert await ann.until_closed() == 1012
    await asyncio.sleep(3)
    assert not one.exited(), "it left before the other replica had its messages"
    os.kill(two.pid, signal.SIGCONT)
    await until(one.exited, "one stopped", 15)
    assert one.process is not None
    assert one.process.returncode == 0
    reader = await clients.connect(two, "bob")
    await reader.join(ROOM)
    assert reader.ids == ids


async def test_sessions_follow_a_device_to_another_replica(site: Site, clients: Clients) -> None:
    one, two = site.replicas("one", "two")
    await start_all(one, two)
    ann, bob = await clients.connect(one), await clients.connect(one, "bob")
    await bob.join(ROOM)
    await send_all(ann, "m1", "m2", "m3")
    message = await bob.next("message", id="m2")
    await bob.say("ack", room=ROOM, cursor={message["origin"]: message["seq"]})
    await bob.close()
    await asyncio.sleep(2.5)
    one.kill()
    headers = {"Authorization": f"Bearer {site.token('bob')}", "Cookie": f"chat_device={bob.welcome['device']}"}
    back = await clients.connect(two, headers=headers)
    await back.join(ROOM, "session")
    assert back.ids == ["m3"]


async def test_a_stranger_reads_nothing(site: Site) -> None:
    relay = site.relay().start()
    url = relay.url.replace("/v1/chat", "/peer/v1/log")
    async with aiohttp.ClientSession() as session:
        for answer in ("", "0" * 64):
            async with session.ws_connect(url, ssl=site.trust()) as stream:
                greeting = await stream.receive_json()
                assert set(greeting) == {"store", "nonce"}
                await stream.send_json({"store": "f" * 16, "answer": answer, "vector": {}, "session_rev": 0})
                frame = await stream.receive(timeout=5)
                assert (frame.type, stream.close_code) == (aiohttp.WSMsgType.CLOSE, 4403)


async def test_a_replica_takes_nothing_from_a_stranger(site: Site, clients: Clients, authority: Authority) -> None:
    """Another service behind the same name, even with a certificate of the same CA, is not a replica."""
    one, two = site.replicas("one", "two")
    authority.issue().write(two.tls_dir)
    two.start()
    ann = await clients.connect(two)
    await send_all(ann, "m1")
    one.launch()
    await until(lambda: one.status("/healthz") == 200, "one serves", 10)
    await asyncio.sleep(1.5)
    assert one.metric("chat_peers") == 0
    bob = await clients.connect(one, "bob")
    await bob.join(ROOM)
    assert bob.ids == []
    site.pair.write(two.tls_dir)
    await until(lambda: one.metric("chat_peers") == 1, "one reads two with the right key", 10)
    await bob.next("message", id="m1")


@contextlib.asynccontextmanager
async def peer_at(pair_dir: Path, serve: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """Something else than a relay where a peer should be; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair_dir / "tls.crt", pair_dir / "tls.key")
    app = web.Application()
    app.router.add_get("/peer/v1/log", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_replica_takes_nothing_from_an_impostor(site: Site, clients: Clients, authority: Authority) -> None:
    """A server that would swear to anything, with a certificate of the same CA for the same name."""
    forged = Message(0, "feed", 1, ROOM, "ann", "forged", 1, b"x", None)

    async def serve(request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        await stream.send_json({"store": "feed", "nonce": "00"})
        visits.append(request.path)
        with contextlib.suppress(ConnectionError):
            await stream.send_str(pack_portion(Portion([forged], {}, [], 0, 1, True)).decode())
            await stream.receive(timeout=2)
        return stream

    visits: list[str] = []
    pair_dir = site.directory / "impostor"
    authority.issue().write(pair_dir)
    async with peer_at(pair_dir, serve) as port:
        relay = site.relay(CHAT_PEERS=f"localhost:{port}")
        relay.launch()
        await ready(relay)
        assert len(visits) >= 3
        bob = await clients.connect(relay, "bob")
        await bob.join(ROOM)
        assert bob.ids == []
        assert relay.metric("chat_messages_replicated_total") == 0


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(None, id="none, it closes at once"),
        pytest.param("nonsense", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param('{"hello": "there"}', id="another one"),
        pytest.param(b"{}", id="binary"),
        pytest.param("and it stays", id="it never answers a close"),
    ],
)
async def test_a_peer_without_a_greeting_keeps_nobody_from_serving(site: Site, greeting: str | bytes | None) -> None:
    """Another version of us, say, or a replica that is just going; it has our key."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        visits.append(request.path)
        if isinstance(greeting, str):
            await stream.send_str(greeting)
        elif greeting is not None:
            await stream.send_bytes(greeting)
        if greeting == "and it stays":
            await over.wait()
        await stream.close()
        return stream

    over = asyncio.Event()
    visits: list[str] = []
    pair_dir = site.directory / "silent"
    site.pair.write(pair_dir)
    async with peer_at(pair_dir, serve) as port:
        relay = site.relay(CHAT_PEERS=f"localhost:{port}")
        relay.launch()
        await ready(relay, seconds=10)
        over.set()
        assert len(visits) >= 3
        assert "Traceback" not in relay.output


@pytest.mark.parametrize("version", [pytest.param(ssl.TLSVersion.TLSv1_2, id="TLS 1.2")])
async def test_peers_need_tls_1_3_too(site: Site, version: ssl.TLSVersion) -> None:
    relay = site.relay().start()
    context = site.trust()
    context.maximum_version = version
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.ws_connect(relay.url.replace("/v1/chat", "/peer/v1/log"), ssl=context)
