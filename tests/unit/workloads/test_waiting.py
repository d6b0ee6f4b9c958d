"""Clients that wait for what will never come, and everybody else's messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from roadstead_chat.protocol import MAX_VECTOR
from roadstead_chat.relay import Relay
from roadstead_chat.writer import Committed

COMMITS = 20


class Counted(dict[str, int]):
    """A vector that counts how many of its entries were looked at."""

    looks = 0

    def items(self) -> Iterator[tuple[str, int]]:  # type: ignore[override]
        for item in super().items():
            self.looks += 1
            yield item


async def test_waiting_for_invented_origins_costs_a_commit_one_look() -> None:
    """A ``hello`` may name 10,000 origins. Each transaction of the store looked at them all, for each client that waits
    (five seconds, and again with the next connection), in the event loop."""
    relay = Relay(0, {"own": 0}, {})
    invented = Counted({str(number): 1 for number in range(MAX_VECTOR)})
    waiting = asyncio.create_task(relay.holding(invented, 60))
    await asyncio.sleep(0)
    before = invented.looks
    for number in range(COMMITS):
        relay.publish(Committed([], {"own": number}, {}, 0.0, 1))
    looks = invented.looks - before
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert looks == COMMITS
