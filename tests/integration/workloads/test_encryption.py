"""Relays with a key ring: real processes, whose keyset is changed under them as a kubelet would.

Mutants that were made on purpose, and what turned red:
- `/readyz` without looking at `Keys.waits_for`: `a relay is not ready before it can write and has proved`;
- `Keys.rewrap` that never sweeps: `a message outlives the version that it was written with`;
- `Journal._insert` that stores the payload as it is: all but the first.
"""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from pathlib import Path

import pytest

from integration.workloads.relays import Clients, Relay, Site, ready, until
from unit.keyslib.mounts import as_json, keyset, mount

ROOM = "room"
WORDS = b"sealed by its sender, and nobody else's business"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    directory = tmp_path / "keys"
    directory.mkdir()
    mount(directory, as_json(keyset((1,), 1)))
    return directory


def rotate(keys: Path, generation: int, *numbers: int) -> None:
    mount(keys, as_json(keyset(numbers, numbers[-1])), generation=generation)


def encrypted(site: Site, keys: Path, name: str = "one") -> Relay:
    return site.relay(name, CHAT_KEYS_DIR=keys, CHAT_KEYS_REFRESH_SECONDS=1)


def on_disk(relay: Relay) -> bytes:
    return b"".join(file.read_bytes() for file in relay.directory.glob("chat.db*"))


def stored(relay: Relay) -> dict[int, int]:
    with contextlib.closing(sqlite3.connect(f"{relay.store.as_uri()}?mode=ro", uri=True)) as store:
        return dict(store.execute("SELECT key_version, count(*) FROM messages GROUP BY 1").fetchall())


async def read_all(clients: Clients, relay: Relay, *ids: str) -> None:
    reader = await clients.connect(relay, "bob")
    await reader.join(ROOM)
    payloads = {frame["id"]: base64.b64decode(frame["payload"]) for frame in reader.frames if "payload" in frame}
    assert payloads == dict.fromkeys(ids, WORDS)


async def test_a_relay_is_not_ready_before_it_can_write_and_has_proved(site: Site, keys: Path) -> None:
    mount(keys, as_json(keyset((1,), 1)), active=False)
    relay = encrypted(site, keys)
    relay.launch()
    await until(
        lambda: "no version to write with" in relay.get("/readyz")[1] if relay.status("/healthz") else False, ""
    )
    rotate(keys, 2, 1)
    await ready(relay)
    assert relay.metric("chat_key_proved_generation") == 2.0


async def test_a_message_outlives_the_version_that_it_was_written_with(
    site: Site, clients: Clients, keys: Path
) -> None:
    relay = encrypted(site, keys).start()
    ann = await clients.connect(relay)
    await ann.send(ROOM, "m1", WORDS)
    await ann.accepted("m1")
    assert stored(relay) == {1: 1}
    rotate(keys, 2, 1, 2)
    await until(lambda: stored(relay) == {2: 1}, "encrypted anew", 30)
    rotate(keys, 3, 2)
    await until(lambda: relay.metric("chat_key_generation") == 3.0, "version 1 is given up")
    await ann.send(ROOM, "m2", WORDS)
    await ann.accepted("m2")
    await read_all(clients, relay, "m1", "m2")
    assert WORDS not in on_disk(relay)
    await until(lambda: relay.metric("chat_key_rewrap_remaining") == 0.0, "counted")
    assert relay.metric("chat_key_rewrapped_total") == 1.0
    assert relay.metric('chat_key_decrypts_total{version="2"}') == 2.0
    assert relay.metric("chat_key_unknown_version_decrypts_total") == 0.0


async def test_each_replica_has_its_own_store_encrypted(site: Site, clients: Clients, keys: Path) -> None:
    relays = site.replicas("one", "two", CHAT_KEYS_DIR=keys, CHAT_KEYS_REFRESH_SECONDS=1)
    for relay in relays:
        relay.launch()
    await ready(*relays)
    ann = await clients.connect(relays[0])
    for number in range(20):
        await ann.send(ROOM, f"m{number}", WORDS)
        await ann.accepted(f"m{number}")
    for relay in relays:
        await until(lambda relay=relay: stored(relay) == {1: 20}, "replicated")  # type: ignore[misc]
        await read_all(clients, relay, *(f"m{number}" for number in range(20)))
        assert WORDS not in on_disk(relay)


async def test_a_store_from_before_is_served_then_encrypted_and_never_opened_without_the_ring_again(
    site: Site, clients: Clients, keys: Path
) -> None:
    relay = site.relay("one").start()
    ann = await clients.connect(relay)
    for number in range(250):
        await ann.send(ROOM, f"m{number}", WORDS)
    await ann.accepted("m249")
    assert relay.stop() == 0
    assert WORDS in on_disk(relay)

    relay.settings |= {"CHAT_KEYS_DIR": str(keys), "CHAT_KEYS_REFRESH_SECONDS": "1"}
    relay.start()
    await read_all(clients, relay, *(f"m{number}" for number in range(250)))
    await until(lambda: stored(relay) == {1: 250}, "encrypted", 30)
    await until(lambda: WORDS not in on_disk(relay), "neither in the log nor in a page that was freed")
    assert relay.stop() == 0

    del relay.settings["CHAT_KEYS_DIR"]
    relay.launch()
    await until(relay.exited, "it refuses")
    assert relay.process is not None
    assert relay.process.returncode == 2
    assert "CHAT_KEYS_DIR is not set" in relay.output


async def test_a_keyset_that_is_none_ends_the_start_with_its_name(site: Site, keys: Path) -> None:
    mount(keys, "{}")
    relay = encrypted(site, keys)
    relay.launch()
    await until(relay.exited, "it refuses")
    assert relay.process is not None
    assert relay.process.returncode == 2
    assert f"CHAT_KEYS_DIR {keys}" in relay.output
