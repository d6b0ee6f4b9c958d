"""Several writes side by side: all end, and the worst error is told.

Mutants that these tests were seen to kill: the first error in the order of the list; ``asyncio.gather`` by itself.
"""

from __future__ import annotations

import asyncio

import pytest

from roadstead.kernel.concurrency import gathered
from roadstead.kernel.errors import Conflict, Fatal, ServerFault


async def failing(error: Exception) -> None:
    raise error


async def test_results_keep_their_order() -> None:
    assert await gathered(asyncio.sleep(0, number) for number in range(3)) == [0, 1, 2]


async def test_nothing_is_left_running() -> None:
    ended = []

    async def slow() -> None:
        await asyncio.sleep(0.01)
        ended.append("slow")

    with pytest.raises(Conflict):
        await gathered([failing(Conflict("x")), slow()])
    assert ended == ["slow"]


async def test_what_ends_the_process_is_not_hidden_by_what_can_be_tried_again() -> None:
    with pytest.raises(Fatal):
        await gathered([failing(ServerFault("x")), failing(Fatal("the lease is lost")), failing(Conflict("y"))])
