from __future__ import annotations

import asyncio
import contextlib

from roadstead_chat.milestones import Milestones


async def test_whoever_gives_up_is_forgotten_without_a_check() -> None:
    """The streams of an idle relay ask again every second, and nothing happens that would be a reason to check."""
    milestones = Milestones()
    for _ in range(1_000):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await milestones.until(lambda: False)
    assert not milestones._waiting


async def test_a_check_wakes_those_who_have_what_they_wait_for() -> None:
    milestones = Milestones()
    reached = 0
    low = asyncio.create_task(milestones.until(lambda: reached >= 1))
    high = asyncio.create_task(milestones.until(lambda: reached >= 2))
    await asyncio.sleep(0)
    milestones.check()
    await asyncio.sleep(0)
    assert (low.done(), high.done()) == (False, False)
    reached = 1
    milestones.check()
    milestones.check()
    await asyncio.wait_for(low, 1)
    assert not high.done()
    reached = 2
    milestones.check()
    await asyncio.wait_for(high, 1)
    await milestones.until(lambda: True)
    assert not milestones._waiting
