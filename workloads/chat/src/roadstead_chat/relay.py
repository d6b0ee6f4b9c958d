"""Who hears what: passes what the store has committed to the members of each room, and to whoever waits for it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from roadstead_chat.cursor import Vector, missing
from roadstead_chat.messages import Message
from roadstead_chat.metrics import Metrics
from roadstead_chat.protocol import message_frame
from roadstead_chat.tail import Tail
from roadstead_chat.writer import Committed


class Listener(Protocol):
    """Somebody who reads a room live."""

    def deliver(self, message: Message, line: bytes) -> None:
        """Take a message, encoded for the wire; must not wait."""


class Relay:
    """The state of the event loop's side of the store: all of it is behind a commit.

    Args:
        head: place of the last message in the store.
        held: the store's vector.
        floors: what retention removed from the store.
        metrics: where commits are counted.
    """

    def __init__(self, head: int, held: Vector, floors: Vector, metrics: Metrics) -> None:
        self.head = head
        self.held = dict(held)
        self.floors = dict(floors)
        self.tail = Tail(head)
        self._metrics = metrics
        self._rooms: dict[str, set[Listener]] = {}
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def listen(self, room: str, listener: Listener) -> None:
        """Deliver the room's messages from now on."""
        self._rooms.setdefault(room, set()).add(listener)

    def forget(self, rooms: Iterable[str], listener: Listener) -> None:
        """Deliver nothing more of these rooms."""
        for room in rooms:
            listeners = self._rooms.get(room)
            if listeners is not None:
                listeners.discard(listener)
                if not listeners:
                    del self._rooms[room]

    def publish(self, committed: Committed) -> None:
        """Take one transaction of the store."""
        self._metrics.committed(committed)
        self.held = committed.held
        self.floors = committed.floors
        if committed.messages:
            self.tail.add(committed.messages)
            self.head = committed.messages[-1].pos
            for message in committed.messages:
                self._deliver(message)
        self._wake()

    def _deliver(self, message: Message) -> None:
        listeners = self._rooms.get(message.room)
        if not listeners or message.copy_of is not None:
            return
        line = message_frame(message)
        for listener in list(listeners):
            listener.deliver(message, line)

    def _wake(self) -> None:
        still = []
        for reached, waiter in self._waiting:
            if waiter.done():
                continue
            if reached():
                waiter.set_result(None)
            else:
                still.append((reached, waiter))
        self._waiting = still

    async def _until(self, reached: Callable[[], bool]) -> None:
        if reached():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((reached, waiter))
        await waiter

    async def beyond(self, pos: int) -> None:
        """Wait until the log has a message after ``pos``."""
        await self._until(lambda: self.head > pos)

    async def holding(self, wanted: Vector, seconds: float) -> dict[str, int]:
        """Wait until the store holds ``wanted``, at most so long; return what is still missing."""
        try:
            async with asyncio.timeout(seconds):
                await self._until(lambda: not missing(self.held, wanted))
        except TimeoutError:
            return missing(self.held, wanted)
        return {}
