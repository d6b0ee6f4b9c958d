from __future__ import annotations

import asyncio

from roadstead_chat.outbox import FRAME_BYTES, Outbox


async def test_lines_come_out_in_order_as_one_frame_with_their_times() -> None:
    box = Outbox(1_000)
    assert box.push(b"one", 5)
    assert box.answer(b"two")
    await box.offer(b"three")
    assert await box.take() == (b"one\ntwo\nthree", [5])


async def test_a_full_box_refuses_messages_and_still_takes_answers() -> None:
    box = Outbox(10)
    assert box.push(b"x" * 100, 1), "a single message always fits, or a large one could never pass"
    assert not box.push(b"y", 1)
    assert not box.answer(b"y")
    await box.take()
    assert box.push(b"x" * 8, 1)
    assert not box.push(b"xxx", 1)
    assert box.answer(b"xxx")


async def test_history_waits_for_the_reader() -> None:
    box = Outbox(10)
    await box.offer(b"x" * 6)
    second = asyncio.create_task(box.offer(b"y"))
    await asyncio.sleep(0)
    assert not second.done()
    await box.take()
    await asyncio.wait_for(second, 1)


async def test_of_those_who_wait_one_fills_the_room_that_there_is() -> None:
    box = Outbox(10)
    await box.offer(b"x" * 6)
    waiting = [asyncio.create_task(box.offer(b"y" * 6)) for _ in range(3)]
    await asyncio.sleep(0)
    for left in (2, 1, 0):
        await box.take()
        await asyncio.sleep(0.01)
        assert sum(not task.done() for task in waiting) == left


async def test_drained_means_that_the_taker_came_back() -> None:
    box = Outbox(10)
    await box.drained()
    box.answer(b"x")
    waiting = asyncio.create_task(box.drained())
    await box.take()
    await asyncio.sleep(0)
    assert not waiting.done(), "taken, but perhaps not yet written"
    taking = asyncio.create_task(box.take())
    await asyncio.wait_for(waiting, 1)
    taking.cancel()


async def test_a_frame_has_a_bounded_size() -> None:
    box = Outbox(10 * FRAME_BYTES)
    for _ in range(100):
        box.push(b"x" * 10_000, 1)
    frame, times = await box.take()
    assert FRAME_BYTES <= len(frame) <= FRAME_BYTES + 10_010
    assert len(times) == 7
