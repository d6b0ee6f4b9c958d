"""Who hears what: passes new messages to the members of each room, and wakes whoever waits for them."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from roadstead_chat.cursor import Vector, covers, missing
from roadstead_chat.messages import Message
from roadstead_chat.milestones import Milestones
from roadstead_chat.protocol import message_frame
from roadstead_chat.writer import Committed


class Listener(Protocol):
    """Somebody who reads a room live."""

    def deliver(self, message: Message, line: bytes) -> None:
        """Take a message, encoded for the wire; must not wait."""


class Relay:
    """What clients may see: all of it is behind a commit, and behind a second one where ``copies`` asks for it.

    Args:
        head: place of the last message in the store.
        held: the store's vector.
        floors: what retention removed from the store.
    """

    def __init__(self, head: int, held: Vector, floors: Vector) -> None:
        self.head = head
        self.held = dict(held)
        self.floors = dict(floors)
        self._rooms: dict[str, set[Listener]] = {}
        self._milestones = Milestones()

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
        self.held = committed.held
        self.floors = committed.floors
        if committed.messages:
            self.head = committed.messages[-1].pos
            for message in committed.messages:
                self._deliver(message)
        self._milestones.check()

    def _deliver(self, message: Message) -> None:
        listeners = self._rooms.get(message.room)
        if not listeners or message.copy_of is not None:
            return
        line = message_frame(message)
        for listener in list(listeners):
            listener.deliver(message, line)

    async def holding(self, wanted: Vector, seconds: float) -> dict[str, int]:
        """Wait until the store holds ``wanted``, at most so long; return what is still missing."""
        try:
            async with asyncio.timeout(seconds):
                await self._milestones.until(lambda: all(covers(self.held, *number) for number in wanted.items()))
        except TimeoutError:
            return missing(self.held, wanted)
        return {}
