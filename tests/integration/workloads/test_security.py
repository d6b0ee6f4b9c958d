"""Who gets in, and what the relay can know.

Mutants that were made on purpose, and what turned red:
- `minimum_version` left at the default: `TLS 1.2 is refused`;
- `Lockouts.failed` that never locks, or a lock by the account alone: the two lock-out tests;
- `Connection._join` and `_send` without `may_use`: `a token opens the rooms that it names`;
- `Certificate.reload` that never loads, or forgets the pair before: the tests with a renewed certificate;
- a client that puts its key into the frame: `the relay cannot read a message`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import time

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integration.workloads.relays import Clients, Relay, Site, ready, until
from integration.workloads.tls_pairs import Authority
from roadstead_chat_load import keys
from roadstead_chat_load.sealing import RoomSeal, SealError

ROOM = "room"


async def refused(relay: Relay, site: Site, token: str | None) -> tuple[int, str]:
    """Status and code of the answer to a login that fails."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = base64.b64encode(os.urandom(16)).decode()
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    url = relay.url.replace("wss:", "https:")
    async with aiohttp.ClientSession() as session, session.get(url, ssl=site.trust(), headers=headers) as answer:
        if answer.status == 101:
            return 101, ""
        return answer.status, (await answer.json())["code"]


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_2, True, id="TLS 1.2 is refused"),
        pytest.param(ssl.TLSVersion.TLSv1_3, False, id="TLS 1.3 is taken"),
    ],
)
def test_versions(site: Site, version: ssl.TLSVersion, refusal: bool) -> None:
    relay = site.relay().start()
    context = site.trust()
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", relay.port), 5) as plain:
        if refusal:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert|EOF"):
                context.wrap_socket(plain, server_hostname="localhost")
        else:
            assert context.wrap_socket(plain, server_hostname="localhost").version() == "TLSv1.3"


def forge(site: Site, kind: str) -> str | None:
    stranger = Ed25519PrivateKey.generate()
    tokens = {
        "no token": None,
        "rubbish": "rubbish",
        "another key": keys.token(stranger, "ann", ["*"], 600),
        "expired": site.token("ann", seconds=-60),
        "no rooms": site.token("ann", rooms=None),
        "rooms of a wrong type": site.token("ann", rooms={"a": 1}),
        "another service": site.token("ann", aud="elsewhere"),
        "no signature": _unsigned(),
        "HMAC with the public key": _hmac_with(keys.public_key(site.signing_key)),
        "an empty account": site.token(""),
        "control characters": site.token("ann\n"),
    }
    return tokens[kind]


def _unsigned() -> str:
    import jwt

    return jwt.encode({"sub": "ann", "rooms": "*", "exp": int(time.time()) + 600}, "", algorithm="none")


def _hmac_with(public_key: str) -> str:
    import hashlib
    import hmac as mac

    import orjson

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    claims = {"sub": "ann", "rooms": "*", "exp": int(time.time()) + 600}
    body = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(orjson.dumps(claims))
    return (body + b"." + part(mac.new(base64.b64decode(public_key), body, hashlib.sha256).digest())).decode()


async def test_bad_tokens_are_refused(site: Site) -> None:
    relay = site.relay(CHAT_LOCK_AFTER=1000).start()
    expected = {"no token": (401, "token_missing")}
    for kind in (
        "no token",
        "rubbish",
        "another key",
        "expired",
        "no rooms",
        "rooms of a wrong type",
        "another service",
        "no signature",
        "HMAC with the public key",
        "an empty account",
        "control characters",
    ):
        assert await refused(relay, site, forge(site, kind)) == expected.get(kind, (401, "token_invalid")), kind
    assert await refused(relay, site, site.token("ann", aud="desk")) == (101, "")
    assert await refused(relay, site, site.token("ann", aud=["x", "desk"])) == (101, "")
    assert relay.metric('chat_login_failures_total{reason="expired"}') == 1
    assert relay.metric('chat_login_failures_total{reason="missing"}') == 1


async def test_both_keys_open_while_they_rotate(site: Site) -> None:
    fresh = Ed25519PrivateKey.generate()
    both = ",".join(keys.public_key(key) for key in (site.signing_key, fresh))
    relay = site.relay(CHAT_TOKEN_PUBLIC_KEYS=both).start()
    assert await refused(relay, site, site.token("ann")) == (101, "")
    assert await refused(relay, site, keys.token(fresh, "ann", ["*"], 60)) == (101, "")


async def test_three_failed_logins_lock_the_account_for_the_address(site: Site) -> None:
    relay = site.relay(CHAT_LOCK_SECONDS=2).start()
    stranger = Ed25519PrivateKey.generate()
    bad = keys.token(stranger, "ann", ["*"], 600)
    assert await refused(relay, site, bad) == (401, "token_invalid")
    assert await refused(relay, site, bad) == (401, "token_invalid")
    assert await refused(relay, site, site.token("ann")) == (101, ""), (
        "two failures lock nobody, and a login clears them"
    )
    for _ in range(3):
        assert await refused(relay, site, bad) == (401, "token_invalid")
    assert await refused(relay, site, bad) == (423, "account_locked")
    assert await refused(relay, site, site.token("ann")) == (423, "account_locked"), "a good token while locked"
    assert await refused(relay, site, site.token("bob")) == (101, ""), "another account of the same address"
    assert relay.metric("chat_lockouts_total") == 1
    assert relay.output.count('"message":"an account was locked","account":"ann","address":"127.0.0.1"') == 1
    await asyncio.sleep(2.1)
    assert await refused(relay, site, site.token("ann")) == (101, "")


async def test_a_stranger_cannot_lock_somebody_elses_account(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    bad = keys.token(Ed25519PrivateKey.generate(), "ann", ["*"], 600)
    for _ in range(4):
        await refused(relay, site, bad)
    assert await refused(relay, site, site.token("ann")) == (423, "account_locked")
    # Loopback has more than one address: this is ann, from her own.
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    headers = {"Authorization": f"Bearer {site.token('ann')}"}
    url = relay.url.replace("localhost", "127.0.0.1")
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(url, ssl=site.trust(), headers=headers) as stream,
    ):
        assert (await stream.receive_json())["type"] == "welcome"


async def test_a_browser_logs_in_by_subprotocol(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    offered = ("roadstead.chat.v1", f"bearer.{site.token('ann')}")
    client = await clients.connect(relay, headers={}, protocols=offered)
    assert client.socket.protocol == "roadstead.chat.v1"


async def test_a_connection_ends_with_its_token(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    client = await clients.connect(relay, token=site.token("ann", seconds=-3))
    assert await client.until_closed() == 4401


async def test_a_token_opens_the_rooms_that_it_names(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    ann = await clients.connect(relay, token=site.token("ann", rooms=["desk.*", "lobby"]))
    await ann.join("desk.fx")
    await ann.say("join", room="vault", **{"from": "start"})
    assert (await ann.next("error"))["code"] == "room_forbidden"
    await ann.send("vault", "m1")
    refusal = await ann.next("error")
    assert (refusal["code"], refusal["id"], refusal["room"]) == ("room_forbidden", "m1", "vault")
    await ann.send("lobby", "m2")
    await ann.accepted("m2")
    spy = await clients.connect(relay, "spy")
    await spy.join("vault")
    assert spy.ids == []


async def test_the_relay_cannot_read_a_message(site: Site, clients: Clients) -> None:
    """Neither text nor key are in its files, its output, or anything that was sent to it."""
    relay = site.relay().start()
    seal, stranger = RoomSeal(200), RoomSeal(200)
    ann, bob = await clients.connect(relay), await clients.connect(relay, "bob")
    await bob.join(ROOM)
    wire: list[bytes] = []
    told = ann.socket.send_str

    async def recorded(data: str, *_: object) -> None:
        wire.append(data.encode())
        await told(data)

    ann.socket.send_str = recorded  # type: ignore[method-assign, assignment]
    for number in range(50):
        await ann.send(ROOM, str(number), seal.seal("ann", number))
    message = await bob.next("message", id="49")
    sealed = base64.b64decode(message["payload"])
    assert seal.open(sealed) == ("ann", 49)
    with pytest.raises(SealError):
        stranger.open(sealed)
    relay.stop()
    # The box is where the plaintext and the key could come from; both must be found in what we look for, not by luck.
    key = bytes(seal._box)
    secrets = [b"the plaintext of a load run", key, base64.b64encode(key), key.hex().encode()]
    assert secrets[0] in seal._box.decrypt(sealed)
    files = [path for path in relay.directory.rglob("*") if path.is_file() and relay.tls_dir not in path.parents]
    assert {path.name for path in files} >= {"chat.db", "log"}
    evidence = [path.read_bytes() for path in files] + wire
    assert any(sealed in content for content in evidence), "the evidence does not even hold the ciphertext"
    assert not [secret for secret in secrets for content in evidence if secret in content]


async def test_logs_hold_no_token_and_no_payload(site: Site, clients: Clients) -> None:
    relay = site.relay().start()
    token = site.token("ann")
    ann = await clients.connect(relay, token=token)
    await ann.send(ROOM, "m1", b"payload-to-look-for")
    await ann.accepted("m1")
    await refused(relay, site, keys.token(Ed25519PrivateKey.generate(), "ann", ["*"], 600))
    await ann.socket.send_str("rubbish")
    assert await ann.until_closed() == 4400
    relay.stop()
    for secret in (token.split(".")[2], "payload-to-look-for", base64.b64encode(b"payload-to-look-for").decode()):
        assert secret not in relay.output
    assert "Traceback" not in relay.output


def served_serial(site: Site, relay: Relay) -> int:
    with (
        socket.create_connection(("127.0.0.1", relay.port), 5) as plain,
        site.trust().wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number


async def test_a_renewed_certificate_is_served_and_nobody_is_disconnected(
    site: Site, clients: Clients, authority: Authority
) -> None:
    one, two = site.replicas("one", "two")
    for relay in (one, two):
        relay.launch()
    await ready(one, two)
    await until(lambda: one.metric("chat_peers") == 1, "peers", 10)
    ann, bob = await clients.connect(one), await clients.connect(two, "bob")
    await bob.join(ROOM)
    assert served_serial(site, one) == site.pair.serial
    renewed = authority.issue()
    # One after the other, as kubelets do: in between the replicas have different keys.
    for relay in (one, two):
        renewed.write(relay.tls_dir)
        await until(lambda relay=relay: served_serial(site, relay) == renewed.serial, "the new one", 5)  # type: ignore[misc]
    await ann.send(ROOM, "m1")
    await bob.next("message", id="m1")
    # A broken pair changes nothing.
    (one.tls_dir / "tls.crt").write_bytes(b"half a certifi")
    await until(lambda: one.metric('chat_tls_reloads_total{result="failed"}') >= 1, "the failure is counted", 5)
    assert served_serial(site, one) == renewed.serial
    assert one.metric('chat_tls_reloads_total{result="loaded"}') == 1
    # A replica that starts with the new key only finds those that had the old one before.
    two.stop()
    two.start()
    await until(lambda: two.metric("chat_peers") == 1 and one.metric("chat_peers") == 1, "peers again", 10)


async def test_replicas_work_together_while_a_renewed_key_spreads(
    site: Site, clients: Clients, authority: Authority
) -> None:
    """One has the new key already; the other starts with the old one. What is sent to it reaches the first."""
    one, two = site.replicas("one", "two")
    one.launch()
    await ready(one)
    renewed = authority.issue()
    renewed.write(one.tls_dir)
    await until(lambda: served_serial(site, one) == renewed.serial, "the new one", 5)
    two.launch()
    await ready(two)
    await until(lambda: one.metric("chat_peers") == 1, "the one with both keys reads the other", 10)
    bob, ann = await clients.connect(one, "bob"), await clients.connect(two)
    await bob.join(ROOM)
    await ann.send(ROOM, "m1")
    await bob.next("message", id="m1")
