"""What the workers make of each way in which a reconcile can end, under a fake clock.

Mutants that these tests were seen to kill: `Terminal` retried; `Fatal` swallowed; a success that does not forget
failures; `retry_after` dropped; a key not given back after an error; no limit of time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from clusters import eventually_async
from roadstead.kernel import controller as module
from roadstead.kernel.context import Context, Result
from roadstead.kernel.controller import Controller, waiting_for
from roadstead.kernel.errors import Fatal, Invalid, Throttled, Unreachable
from roadstead.kernel.logs import JsonFormatter
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import Key
from roadstead.kernel.queue import WorkQueue
from unit.kernel.fake_clock import FakeClock

A, B, R = Key("ChatService", "n", "a"), Key("ChatService", "n", "b"), Key("Region", "", "r")
Outcome = Result | Exception | Callable[[], Awaitable[Result]]


class Place:
    def __init__(self, workers: int = 2) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics(CollectorRegistry())
        self.queue = WorkQueue(self.clock, jitter=lambda: 0.0, metrics=self.metrics)
        parts: Any = None
        self.ctx = Context(
            hub=parts,
            hub_id="h",
            namespace="n",
            fleet=parts,
            resources=parts,
            queue=self.queue,
            clock=self.clock,
            events=parts,
            metrics=self.metrics,
        )
        self.runs: list[Key] = []
        self.outcomes: dict[Key, list[Outcome]] = {}
        self.controller = Controller(self.ctx, {"ChatService": self.reconcile}, workers=workers)
        self.task: asyncio.Task[None] | None = None

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        assert ctx is self.ctx
        self.runs.append(key)
        planned = self.outcomes.get(key) or [Result()]
        outcome = planned.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, Result) else await outcome()

    async def run(self, seconds: float = 0.0) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self.controller.run())
        await self.clock.advance(seconds)

    def count(self, result: str) -> float:
        labels = {"controller": "ChatService", "result": result}
        return self.metrics.registry.get_sample_value("controller_runtime_reconcile_total", labels) or 0.0


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    if made.task is not None:
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


async def test_a_success_waits_for_the_next_trigger(place: Place) -> None:
    place.queue.add(A)
    await place.run(3600)
    assert place.runs == [A] and place.count("success") == 1 and place.queue.idle()


async def test_a_wish_to_look_again_is_no_failure(place: Place) -> None:
    place.outcomes[A] = [Result(requeue_after=60), Result()]
    place.queue.add(A)
    await place.run(59)
    assert place.runs == [A] and place.queue.failures(A) == 0
    await place.run(2)
    assert place.runs == [A, A] and place.count("requeue_after") == 1


async def test_unfinished_work_is_tried_again_later_each_time_and_a_success_begins_anew(place: Place) -> None:
    waiting = Result(unfinished="waiting")
    place.outcomes[A] = [waiting, waiting, waiting, Result(), Result(unfinished="again"), Result()]
    place.queue.add(A)
    await place.run(0.2 + 0.4 + 0.8 - 0.01)
    assert len(place.runs) == 3 and place.count("requeue") == 3
    await place.run(0.02)
    assert len(place.runs) == 4 and place.queue.failures(A) == 0
    place.queue.add(A)
    await place.run(0.21)
    assert len(place.runs) == 6, "the back-off began at its base again"


@pytest.mark.parametrize("outcome", [Result(unfinished="x", retry_after=30.0), Throttled("x", retry_after=30.0)])
async def test_the_time_that_a_server_asked_for_is_kept(place: Place, outcome: Outcome) -> None:
    place.outcomes[A] = [outcome, Result()]
    place.queue.add(A)
    await place.run(29.9)
    assert len(place.runs) == 1
    await place.run(0.2)
    assert len(place.runs) == 2


async def test_unfinished_work_and_a_wish_the_earlier_one_wins(place: Place) -> None:
    place.outcomes[A] = [Result(requeue_after=60, unfinished="x"), Result()]
    place.queue.add(A)
    await place.run(1)
    assert len(place.runs) == 2


async def test_what_may_help_later_is_tried_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.outcomes[A] = [Unreachable("hkg does not answer"), Result()]
    place.queue.add(A)
    await place.run(1)
    assert len(place.runs) == 2 and place.count("error") == 1 and place.count("success") == 1
    assert "hkg does not answer; again in 0.2 s" in caplog.text


async def test_what_should_not_help_is_looked_at_again_slowly(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """An API server that starts may refuse for a moment; a key that is parked for ever would never know."""
    place.outcomes[A] = [Invalid("spec.x is wrong"), Result()]
    place.queue.add(A)
    await place.run(59)
    assert place.runs == [A] and "looked at again in 60 s" in caplog.text
    await place.run(2)
    assert place.runs == [A, A]


async def test_a_bug_is_logged_counted_and_tried_again_and_others_go_on(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.outcomes[A] = [KeyError("bug"), Result()]
    place.queue.add(A)
    place.queue.add(B)
    await place.run(1)
    assert sorted(place.runs) == [A, A, B] and "KeyError" in caplog.text
    panics = place.metrics.registry.get_sample_value(
        "controller_runtime_reconcile_panics_total", {"controller": "ChatService"}
    )
    assert panics == 1


async def test_a_lost_lease_ends_the_workers(place: Place) -> None:
    place.outcomes[A] = [Fatal("not leading")]
    place.queue.add(A)
    await place.run()
    assert place.task is not None and place.task.done()
    with pytest.raises(ExceptionGroup) as raised:
        await place.task
    assert raised.group_contains(Fatal)


async def test_a_run_without_end_is_called_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever() -> Result:
        await asyncio.Event().wait()
        return Result()

    monkeypatch.setattr(module, "RECONCILE_TIMEOUT", 0.05)
    place.outcomes[A] = [forever, Result()]
    place.queue.add(A)
    await place.run()
    await asyncio.sleep(0.1)  # asyncio's own time: it is the loop that the limit protects
    await place.run(1)
    assert place.runs == [A, A] and place.count("error") == 1


async def test_a_time_out_inside_a_reconcile_is_a_bug_and_not_our_limit(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.outcomes[A] = [TimeoutError(), Result()]
    place.queue.add(A)
    await place.run(1)
    assert place.runs == [A, A]
    assert "unexpected error" in caplog.text and "no end after" not in caplog.text


async def test_one_key_is_never_worked_on_twice_at_once_and_others_are(place: Place) -> None:
    going = asyncio.Event()

    async def slow() -> Result:
        await going.wait()
        return Result()

    place.outcomes[A] = [slow, Result()]
    place.queue.add(A)
    await place.run()
    place.queue.add(A)
    place.queue.add(B)
    await place.run()
    assert place.runs == [A, B]
    going.set()
    await place.run()
    assert place.runs == [A, B, A]


@pytest.mark.parametrize("is_slow", [True, False])
async def test_runs_that_wait_for_a_slow_server_give_their_workers_to_others(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    going = asyncio.Event()

    async def slow() -> Result:
        with waiting_for(lambda: True):
            await asyncio.sleep(0)
        with waiting_for(lambda: False), waiting_for(lambda: is_slow):
            await going.wait()
        return Result()

    keys = [Key("ChatService", "n", f"slow-{number}") for number in range(5)]
    for key in keys:
        place.outcomes[key] = [slow]
        place.queue.add(key)
    await place.run()
    assert place.runs == keys[:2], "two workers"
    await eventually_async(lambda: len(place.runs) >= (4 if is_slow else 2))
    await asyncio.sleep(0.05)  # asyncio's own time: it is the loop that is waited in
    assert place.runs == keys[: 4 if is_slow else 2], "two go on by themselves, and then the workers wait as well"
    place.queue.add(keys[0])
    going.set()
    await place.run()
    assert place.runs == [*keys, keys[0]] and place.queue.idle()


async def test_a_lost_lease_ends_the_workers_also_from_a_run_that_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    going = asyncio.Event()

    async def slow() -> Result:
        with waiting_for(lambda: True):
            await going.wait()
        raise Fatal("not leading")

    place.outcomes[A] = [slow]
    place.queue.add(A)
    await place.run()
    await asyncio.sleep(0.05)
    going.set()
    await place.run()
    assert place.task is not None and place.task.done() and place.task.exception() is not None


async def test_a_kind_that_nobody_reconciles_is_given_back(place: Place) -> None:
    place.queue.add(R)
    await place.run()
    assert place.runs == [] and place.queue.idle()


async def test_cancelling_gives_a_run_up(place: Place) -> None:
    async def forever() -> Result:
        await asyncio.Event().wait()
        return Result()

    place.outcomes[A] = [forever]
    place.queue.add(A)
    await place.run()
    assert place.task is not None
    place.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await place.task
    assert place.queue.idle()


@pytest.mark.parametrize("steps", range(6))
async def test_workers_that_are_cancelled_at_any_step_give_every_key_back(place: Place, steps: int) -> None:
    """A standby that takes over cancels its workers, and the leader's have the same queue."""

    async def forever() -> Result:
        await asyncio.Event().wait()
        return Result()

    place.outcomes[A], place.outcomes[B] = [forever], [forever]
    place.queue.add(A)
    place.queue.add(B)
    standby = asyncio.create_task(place.controller.run())
    for _ in range(steps):
        await asyncio.sleep(0)
    standby.cancel()
    with pytest.raises(asyncio.CancelledError):
        await standby
    place.outcomes.clear()
    place.queue.add(A)
    place.queue.add(B)
    await place.run()
    assert {A, B} <= set(place.runs) and place.queue.idle()


async def test_every_line_of_a_run_says_which_run_it_is(place: Place) -> None:
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    async def told() -> Result:
        logging.getLogger("some.room").warning("inside")
        return Result()

    handler = Keep()
    logging.getLogger().addHandler(handler)
    try:
        place.outcomes[A] = [told, told]
        place.queue.add(A)
        await place.run()
        place.queue.add(A)
        await place.run()
    finally:
        logging.getLogger().removeHandler(handler)
    first, second = [line for line in lines if line["message"] == "inside"]
    assert (first["kind"], first["namespace"], first["name"]) == ("ChatService", "n", "a")
    assert first["reconcile"] != second["reconcile"]
