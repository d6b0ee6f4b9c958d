"""What the store holds by now: for the other replicas, who get everything as soon as it is durable."""

from roadstead_chat.cursor import Vector
from roadstead_chat.metrics import Metrics
from roadstead_chat.milestones import Milestones
from roadstead_chat.tail import Tail
from roadstead_chat.writer import Committed


class Log:
    """The committed log.

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
        self._milestones = Milestones()

    def commit(self, committed: Committed) -> None:
        """Take one transaction of the store."""
        self._metrics.committed(committed)
        self.held = committed.held
        self.floors = committed.floors
        if committed.messages:
            self.tail.add(committed.messages)
            self.head = committed.messages[-1].pos
            self._milestones.check()

    async def beyond(self, pos: int) -> None:
        """Wait until there is a message after ``pos``."""
        await self._milestones.until(lambda: self.head > pos)
