"""Relays as real processes on loopback ports, and a client that speaks the protocol frame by frame."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integration.workloads.tls_pairs import Authority, Pair
from localkube import ports
from roadstead_chat_load import keys

START_SECONDS = 20.0
Frame = dict[str, Any]


class Site:
    """What the relays of one test share: keys, certificate, a directory. Their ports are theirs until `close`."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.directory = directory
        self.authority = authority
        self.signing_key = Ed25519PrivateKey.generate()
        self.pair = authority.issue()
        self.ca_file = directory / "ca.crt"
        self.ca_file.write_bytes(authority.pem)
        self.seed_file = directory / "seed"
        self.seed_file.write_bytes(base64.b64encode(self.signing_key.private_bytes_raw()))
        self.relays: list[Relay] = []
        self._claims: list[ports.Claim] = []

    def claim(self, count: int) -> list[int]:
        """Ports that nobody else takes, also while nothing listens on them."""
        self._claims.append(ports.Claim(count))
        return self._claims[-1].ports

    def relay(self, name: str = "one", *, pair: Pair | None = None, **settings: Any) -> Relay:
        relay = Relay(self, name, {key: str(value) for key, value in settings.items()}, pair or self.pair)
        self.relays.append(relay)
        return relay

    def replicas(self, *names: str, **settings: Any) -> list[Relay]:
        """Relays that know of each other, not started yet."""
        relays = [self.relay(name, **settings) for name in names]
        for relay in relays:
            relay.settings["CHAT_PEERS"] = ",".join(f"localhost:{other.port}" for other in relays)
        return relays

    def token(self, account: str, rooms: object = "*", seconds: int = 600, **claims: object) -> str:
        import jwt

        body = {"sub": account, "rooms": rooms, "exp": int(time.time()) + seconds, **claims}
        return jwt.encode(body, self.signing_key, algorithm="EdDSA")

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def close(self) -> None:
        for relay in self.relays:
            relay.kill()
        for claim in self._claims:
            claim.release()


class Relay:
    """One `roadstead-chat` process; the store and the ports stay over restarts."""

    def __init__(self, site: Site, name: str, settings: Mapping[str, str], pair: Pair) -> None:
        self.site = site
        self.name = name
        self.settings = dict(settings)
        self.port, self.ops_port = site.claim(2)
        self.directory = site.directory / name
        self.tls_dir = self.directory / "tls"
        pair.write(self.tls_dir)
        self.store = self.directory / "chat.db"
        self.log = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}/v1/chat"

    @property
    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def environ(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CHAT_", "POD_"))}
        return inherited | {
            "CHAT_SERVICE": "desk",
            "CHAT_REGION": "hkg",
            "CHAT_ROLE": "active",
            "CHAT_STORE": str(self.store),
            "CHAT_TLS_DIR": str(self.tls_dir),
            "CHAT_LISTEN_HOST": "127.0.0.1",
            "CHAT_LISTEN_PORT": str(self.port),
            "CHAT_OPS_PORT": str(self.ops_port),
            "CHAT_MESSAGES_PER_SECOND": "100000",
            "CHAT_DRAIN_SECONDS": "10",
            "CHAT_TOKEN_PUBLIC_KEYS": keys.public_key(self.site.signing_key),
            **self.settings,
        }

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "roadstead_chat.main"], env=self.environ(), stdout=log, stderr=log
            )

    def start(self) -> Relay:
        self.launch()
        wait_until_ready((self,), START_SECONDS)
        return self

    def exited(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """kill -9, as an OOM or a power cut would."""
        if self.process is not None and not self.exited():
            self.process.send_signal(signal.SIGKILL)
            self.process.send_signal(signal.SIGCONT)
        if self.process is not None:
            self.process.wait(10)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.terminate()

    def stop(self, seconds: float = 20) -> int:
        """SIGTERM; the exit code."""
        self.terminate()
        assert self.process is not None
        return self.process.wait(seconds)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self, path: str) -> int:
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def metric(self, sample: str) -> float:
        """The value of a sample, written as in the exposition: `chat_messages_accepted_total`."""
        for line in self.get("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        raise KeyError(sample)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for: {what}")
        time.sleep(0.02)


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """`wait_for`, for tests that have clients open in their loop meanwhile."""
    await asyncio.to_thread(wait_for, condition, what, seconds)


async def ready(*relays: Relay, seconds: float = START_SECONDS) -> None:
    """Wait until all of them are ready.

    Raises:
        AssertionError: one has ended, or was not ready in time; with what it wrote.
    """
    await asyncio.to_thread(wait_until_ready, relays, seconds)


def wait_until_ready(relays: Iterable[Relay], seconds: float) -> None:
    """`ready`, for those who have no loop."""
    waiting = set(relays)

    def over() -> bool:
        waiting.difference_update([relay for relay in waiting if relay.status("/readyz") == 200])
        return not waiting or any(relay.exited() for relay in waiting)

    with contextlib.suppress(TimeoutError):
        wait_for(over, "ready", seconds)
    said = "\n".join(f"{relay.name}{' has ended' if relay.exited() else ''}:\n{relay.output}" for relay in waiting)
    assert not waiting, f"not ready within {seconds} s: {said}"


class Client:
    """A client that does what the test says and nothing else. `frames` has everything that it read."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self.socket = socket
        self.frames: list[Frame] = []
        self._ready: list[Frame] = []
        self.welcome: Frame = {}

    async def say(self, kind: str, **members: object) -> None:
        await self.socket.send_str(orjson.dumps({"type": kind, **members}).decode())

    async def send(self, room: str, client_id: str, payload: bytes = b"sealed") -> None:
        await self.say("send", room=room, id=client_id, payload=base64.b64encode(payload).decode())

    async def join(self, room: str, start: object = "start") -> Frame:
        await self.say("join", room=room, **{"from": start})
        return await self.next("live", room=room)

    async def read(self, seconds: float = 10) -> Frame:
        """The next frame, whatever it is."""
        while not self._ready:
            message = await self.socket.receive(timeout=seconds)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError(f"closed with {self.socket.close_code}")
            self._ready = [orjson.loads(line) for line in message.data.split("\n")]
            self.frames += self._ready
        return self._ready.pop(0)

    async def next(self, kind: str, seconds: float = 10, **members: object) -> Frame:
        """The next frame of a kind with these members; others are passed over and stay in `frames`."""
        async with asyncio.timeout(seconds):
            while True:
                frame = await self.read(seconds)
                if frame["type"] == kind and all(frame.get(key) == value for key, value in members.items()):
                    return frame

    async def accepted(self, client_id: str, seconds: float = 10) -> tuple[str, int]:
        frame = await self.next("accepted", seconds, id=client_id)
        return frame["origin"], frame["seq"]

    async def until_closed(self, seconds: float = 10) -> int:
        """Read on to the end; the close code."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                while True:
                    await self.read(seconds)
        return self.socket.close_code or 0

    @property
    def ids(self) -> list[str]:
        """Ids of the messages that it read, in order."""
        return [frame["id"] for frame in self.frames if frame["type"] == "message"]

    def cursor(self, room: str) -> dict[str, int]:
        """What it has of the room, from the messages and the live frames."""
        seen: dict[str, int] = {}
        for frame in self.frames:
            if frame.get("room") != room:
                continue
            if frame["type"] == "message":
                seen[frame["origin"]] = max(frame["seq"], seen.get(frame["origin"], 0))
            if frame["type"] == "live":
                seen |= {origin: max(seq, seen.get(origin, 0)) for origin, seq in frame["cursor"].items()}
        return seen

    async def close(self) -> None:
        await self.socket.close()
        await self._session.close()


class Clients:
    """Opens clients and closes them all at the end."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: list[Client] = []

    async def connect(
        self,
        relay: Relay,
        account: str = "ann",
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Client:
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        sent = {"Authorization": f"Bearer {token or self._site.token(account)}"} if headers is None else dict(headers)
        try:
            socket = await session.ws_connect(
                relay.url, ssl=options.pop("ssl", self._site.trust()), headers=sent, max_msg_size=0, **options
            )
        except BaseException:
            await session.close()
            raise
        client = Client(session, socket)
        self._open.append(client)
        client.welcome = await client.next("welcome")
        return client

    async def close(self) -> None:
        for client in self._open:
            await client.close()
