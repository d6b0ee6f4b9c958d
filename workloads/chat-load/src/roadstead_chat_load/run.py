"""Drives the clients of a run: all join their rooms, all send, and all wait for what the others sent."""

import asyncio
import contextlib
import time
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from roadstead_chat_load import keys
from roadstead_chat_load.client import Client, LoginRefusedError, Target
from roadstead_chat_load.report import Report, percentiles
from roadstead_chat_load.sealing import RoomSeal, SealError
from roadstead_chat_load.tally import Tally

TOKEN_SECONDS = 3_600


class RunError(Exception):
    """The run could not begin; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        targets: where to connect; clients are dealt to them in turn. Rooms are not shared between targets.
        connections: clients in all.
        rooms: rooms for each target.
        messages: to send in all.
        rate: messages per second in all; 0 for as fast as the window allows.
        payload_bytes: length of a plaintext.
        window: sent messages without an answer, for each client.
        settle: seconds to wait for what is missing after the last message was sent.
        limit: seconds for everything.
        churn: seconds after which a client's connection is broken on purpose, again and again; 0 for never.
    """

    targets: Sequence[Target]
    connections: int
    rooms: int
    messages: int
    rate: float
    payload_bytes: int
    window: int
    settle: float
    limit: float
    churn: float


class _Room:
    """A room: its key, its members, and how often each message must still arrive."""

    def __init__(self, name: str, payload_bytes: int) -> None:
        self.name = name
        self.seal = RoomSeal(payload_bytes)
        self.members: list[_Member] = []


class _Member:
    """One client and what it has got and sent. Message ids are numbers: the account makes them unique."""

    def __init__(self, run: "_Run", account: str, room: _Room) -> None:
        self.account = account
        self.room = room
        self.tally = Tally()
        self.undecryptable = 0
        self.refused: Counter[str] = Counter()
        self.acknowledged: set[int] = set()
        self.sent_at: list[float] = []
        self._run = run
        self.client: Client

    def on_message(self, room: str, account: str, payload: bytes) -> None:
        now = time.perf_counter()
        try:
            sender, number = self.room.seal.open(payload)
        except SealError:
            self.undecryptable += 1
            return
        if sender != account or room != self.room.name:
            self.undecryptable += 1
            return
        if self.tally.add(sender, number):
            self._run.arrived(sender, number, now)

    def on_accepted(self, client_id: str) -> None:
        number = int(client_id)
        self.acknowledged.add(number)
        self._run.answered(self, number)

    def on_refused(self, client_id: str, code: str) -> None:
        self.refused[code] += 1
        self._run.progress()

    async def send(self, count: int, interval: float, start: float) -> None:
        for number in range(count):
            if interval:
                await asyncio.sleep(max(0.0, start + number * interval - time.perf_counter()))
            payload = self.room.seal.seal(self.account, number)
            self.sent_at.append(time.perf_counter())
            await self.client.send(self.room.name, str(number), payload)


class _Run:
    """The state of a run."""

    def __init__(self, plan: Plan, key: Ed25519PrivateKey, session: aiohttp.ClientSession) -> None:
        self.plan = plan
        self.members: list[_Member] = []
        self.latencies = array("d")
        self.answers = array("d")
        self.last_answer = 0.0
        self._moved = asyncio.Event()
        name = f"load-{token_hex(4)}"
        self.rooms: list[_Room] = []
        for place, target in enumerate(plan.targets):
            share = range(place, plan.connections, len(plan.targets))
            rooms = [_Room(f"{name}-{place}-{index}", plan.payload_bytes) for index in range(plan.rooms)]
            for turn, number in enumerate(share):
                self._add_member(f"{name}-{number}", rooms[turn % len(rooms)], target, key, session)
            self.rooms += [room for room in rooms if room.members]
        self._by_account = {member.account: member for member in self.members}

    def _add_member(
        self, account: str, room: _Room, target: Target, key: Ed25519PrivateKey, session: aiohttp.ClientSession
    ) -> None:
        member = _Member(self, account, room)
        new_token: Callable[[], str] = lambda: keys.token(key, account, [room.name], TOKEN_SECONDS)  # noqa: E731
        member.client = Client(session, target, new_token, [room.name], member, self.plan.window)
        room.members.append(member)
        self.members.append(member)

    def arrived(self, sender: str, number: int, now: float) -> None:
        self.latencies.append(now - self._by_account[sender].sent_at[number])
        self.progress()

    def answered(self, member: _Member, number: int) -> None:
        self.last_answer = time.perf_counter()
        self.answers.append(self.last_answer - member.sent_at[number])
        self.progress()

    def progress(self) -> None:
        self._moved.set()

    @property
    def expected(self) -> int:
        return sum(len(member.sent_at) * len(member.room.members) for member in self.members)

    def _complete(self) -> bool:
        refused = sum(sum(m.refused.values()) * len(m.room.members) for m in self.members)
        return (
            not any(member.client.unanswered for member in self.members)
            and sum(member.tally.received for member in self.members) >= self.expected - refused
        )

    async def complete(self) -> None:
        """Wait until every answer and every delivery has come."""
        while not self._complete():
            self._moved.clear()
            await self._moved.wait()
            # Summing over all members at each message would cost more than the messages.
            await asyncio.sleep(0.02)

    def lost(self) -> int:
        """Count deliveries of acknowledged messages that did not come."""
        return sum(
            not receiver.tally.has(sender.account, number)
            for sender in self.members
            for number in sender.acknowledged
            for receiver in sender.room.members
        )


async def run(plan: Plan, key: Ed25519PrivateKey) -> Report:
    """Carry out a plan.

    Raises:
        RunError: the clients could not connect, so nothing was sent.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        state = _Run(plan, key, session)
        connections = [asyncio.create_task(member.client.run()) for member in state.members]
        churning = asyncio.create_task(_churn(state)) if plan.churn else None
        started = time.perf_counter()
        interrupted = False
        try:
            async with asyncio.timeout(plan.limit):
                await _join(state, connections, plan.limit)
                started = time.perf_counter()
                await _send(state, connections)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(plan.settle):
                        await _while_connected(state.complete(), connections)
        except TimeoutError:
            interrupted = True
        finally:
            tasks = [*connections, *([churning] if churning else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return _report(state, started, interrupted)


async def _join(state: _Run, connections: list[asyncio.Task[None]], limit: float) -> None:
    try:
        async with asyncio.timeout(limit * 0.9):
            await _while_connected(_all_joined(state), connections)
    except TimeoutError:
        waiting = sum(not member.client.joined.is_set() for member in state.members)
        raise RunError(f"{waiting} of {len(state.members)} clients could not join in {limit * 0.9:.0f} s") from None


async def _all_joined(state: _Run) -> None:
    for member in state.members:
        await member.client.joined.wait()


async def _send(state: _Run, connections: list[asyncio.Task[None]]) -> None:
    """Share the messages among the members, and their moments evenly over the interval."""
    plan, members = state.plan, state.members
    interval = len(members) / plan.rate if plan.rate else 0.0
    share, rest = divmod(plan.messages, len(members))
    start = time.perf_counter()
    sending = asyncio.gather(
        *(
            member.send(share + (place < rest), interval, start + interval * place / len(members))
            for place, member in enumerate(members)
        )
    )

    async def everything() -> None:
        await sending

    await _while_connected(everything(), connections)


async def _while_connected(work: Coroutine[Any, Any, None], connections: Sequence[asyncio.Task[None]]) -> None:
    """Do ``work``, and give up when a client is told not to come back."""
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task, *connections}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            try:
                ended.result()
            except LoginRefusedError as error:
                raise RunError(str(error)) from None
    finally:
        task.cancel()


async def _churn(state: _Run) -> None:
    """Break the connections one after another, each once in ``churn`` seconds."""
    while True:
        for member in state.members:
            await asyncio.sleep(state.plan.churn / len(state.members))
            member.client.drop()


def _report(state: _Run, started: float, interrupted: bool) -> Report:
    members = state.members
    closes: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for member in members:
        closes.update(member.client.counters.closes)
        refused.update(member.refused)
    delivered = sum(member.tally.received for member in members)
    acknowledged = sum(len(member.acknowledged) for member in members)
    answering = state.last_answer - started
    return Report(
        messages=sum(len(member.sent_at) for member in members),
        acknowledged=acknowledged,
        refused=dict(refused),
        expected=state.expected,
        delivered=delivered,
        ratio=delivered / state.expected if state.expected else 0.0,
        acknowledged_but_lost=state.lost(),
        duplicates=sum(member.tally.duplicates for member in members),
        out_of_order=sum(member.tally.out_of_order for member in members),
        undecryptable=sum(member.undecryptable for member in members),
        reconnects=sum(member.client.counters.reconnects for member in members),
        retries=sum(member.client.counters.retries for member in members),
        closes=dict(closes),
        seconds=round(time.perf_counter() - started, 3),
        per_second=round(acknowledged / answering, 1) if answering > 0 else 0.0,
        latency_ms=percentiles(state.latencies),
        acknowledgement_ms=percentiles(state.answers),
        interrupted=interrupted,
    )
