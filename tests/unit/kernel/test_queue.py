"""The work queue under a fake clock."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.kernel.objects import Key
from roadstead.kernel.queue import BASE_DELAY, MAX_DELAY, WorkQueue, backoff
from unit.kernel.fake_clock import FakeClock

A, B = Key("ChatService", "n", "a"), Key("ChatService", "n", "b")
R = Key("Region", "", "r")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> WorkQueue:
    return WorkQueue(clock, jitter=lambda: 0.0)


async def test_ten_adds_of_a_key_are_one_run(queue: WorkQueue) -> None:
    for _ in range(10):
        queue.add(A)
    assert await queue.get() == A
    queue.done(A)
    assert queue.idle()


async def test_an_add_during_a_run_makes_one_more_run_and_never_two_at_once(queue: WorkQueue) -> None:
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    queue.add(A)
    second = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not second.done(), "the key was handed out while it was being worked on"
    queue.done(A)
    assert await second == A
    queue.done(A)
    assert queue.idle()


async def test_kinds_take_turns(queue: WorkQueue) -> None:
    many = [Key("ChatService", "n", str(i)) for i in range(100)]
    for key in many:
        queue.add(key)
    queue.add(R)
    assert R in [await queue.get(), await queue.get()]


async def test_the_earliest_of_two_delays_wins(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add_after(A, 60)
    queue.add_after(A, 5)
    queue.add_after(A, 30)
    await clock.advance(4.9)
    assert queue.idle()
    await clock.advance(0.2)
    assert await queue.get() == A
    queue.done(A)
    await clock.advance(100)
    assert queue.idle(), "a later wish of the same key ran although an earlier one had replaced it"


async def test_an_immediate_add_leaves_a_later_wish_alone(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add_after(A, 10)
    queue.add(A)
    assert await queue.get() == A
    queue.done(A)
    await clock.advance(10)
    assert await queue.get() == A


async def test_retries_back_off_and_a_success_resets_them(queue: WorkQueue) -> None:
    assert [queue.retry(A) for _ in range(4)] == [0.2, 0.4, 0.8, 1.6]
    queue.forget(A)
    assert queue.retry(A) == 0.2


async def test_retry_after_of_a_server_is_honoured(queue: WorkQueue, clock: FakeClock) -> None:
    assert queue.retry(A, retry_after=17) == 17
    await clock.advance(16.9)
    assert queue.idle()
    await clock.advance(0.2)
    assert await queue.get() == A


async def test_a_cancelled_getter_passes_its_turn_on(queue: WorkQueue) -> None:
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    first.cancel()
    assert await asyncio.wait_for(second, 1) == A


async def test_closing_cancels_who_waits_and_takes_no_more(queue: WorkQueue) -> None:
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    queue.add(A)
    assert queue.idle()


async def test_depth_and_age_tell_what_waits(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add(A)
    await clock.advance(3)
    queue.add(B)
    assert queue.depth() == {"ChatService": 2}
    assert queue.oldest_age() == pytest.approx(3)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_bounds(failures: int, jitter: float) -> None:
    assert BASE_DELAY / 2 <= backoff(failures, jitter) <= MAX_DELAY


async def test_no_key_is_lost_or_run_twice_at_once_under_random_use(clock: FakeClock) -> None:
    rng = random.Random(7)  # noqa: S311
    queue = WorkQueue(clock)
    keys = [Key("ChatService", "n", str(i)) for i in range(5)] + [R]
    wanted: dict[Key, int] = dict.fromkeys(keys, 0)
    seen: dict[Key, int] = dict.fromkeys(keys, 0)
    running: set[Key] = set()

    async def worker() -> None:
        while True:
            key = await queue.get()
            assert key not in running
            running.add(key)
            at = wanted[key]
            await clock.sleep(rng.random())
            seen[key] = at
            running.discard(key)
            if rng.random() < 0.2:
                queue.retry(key)
            queue.done(key)

    workers = [asyncio.ensure_future(worker()) for _ in range(3)]
    for version in range(1, 501):
        key = rng.choice(keys)
        wanted[key] = version
        queue.add(key) if rng.random() < 0.7 else queue.add_after(key, rng.random() * 3)
        await clock.advance(rng.random() * 0.3)
    await clock.advance(1000)
    assert seen == wanted
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
