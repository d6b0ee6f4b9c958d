"""The end of the log in memory, so that replicas that keep up cost no reads."""

from bisect import bisect_right

from roadstead_chat.messages import Message, page_of

MAX_BYTES = 16 * 1_048_576
_OVERHEAD = 300


class Tail:
    """The last messages of the local order.

    Args:
        head: place of the last message before the first that will be added.
        max_bytes: how much to keep.
    """

    def __init__(self, head: int, max_bytes: int = MAX_BYTES) -> None:
        self._messages: list[Message] = []
        self._places: list[int] = []
        self._starts_after = head
        self._bytes = 0
        self._max_bytes = max_bytes

    def add(self, messages: list[Message]) -> None:
        """Append messages, and let go of the oldest beyond the limit."""
        self._messages += messages
        self._places += [message.pos for message in messages]
        self._bytes += sum(len(message.payload) + _OVERHEAD for message in messages)
        if self._bytes <= self._max_bytes:
            return
        # Half at a time: a list is cut in one go, and that seldom.
        drop = 0
        while self._bytes > self._max_bytes // 2 and drop < len(self._messages):
            self._bytes -= len(self._messages[drop].payload) + _OVERHEAD
            drop += 1
        self._starts_after = self._places[drop - 1]
        del self._messages[:drop], self._places[:drop]

    def after(self, pos: int, limit: int) -> list[Message] | None:
        """Return a page of the messages after ``pos``; None when they have to be read from the store."""
        if pos < self._starts_after:
            return None
        start = bisect_right(self._places, pos)
        return page_of(self._messages[start : start + limit], limit)[0]
