"""The circuit breaker of one cluster, under a clock that moves only when told.

Mutants that these tests were seen to kill: the stall signal left out; two trials at once; `failed` that counts requests
from before the way was closed; `left` that counts as a failure or as an answer; no growth, no upper limit.
"""

from __future__ import annotations

import pytest

from roadstead.kernel.errors import Unreachable
from roadstead.kernel.gate import BASE_OPEN, FAILURES_TO_OPEN, MAX_OPEN, SLOW_AFTER, STALL_AFTER, Gate


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def gate(time: Time) -> Gate:
    return Gate("hkg", time)


def fail(gate: Gate, times: int = 1) -> None:
    for _ in range(times):
        gate.failed(gate.enter(), "refused")


def refused(gate: Gate) -> Unreachable:
    with pytest.raises(Unreachable) as error:
        gate.enter()
    return error.value


def test_answers_of_any_kind_keep_the_way_open(gate: Gate) -> None:
    for _ in range(100):
        gate.answered(gate.enter())
    assert not gate.is_open


def test_failures_in_a_row_close_the_way_and_say_when_to_ask_again(gate: Gate) -> None:
    fail(gate, FAILURES_TO_OPEN - 1)
    gate.answered(gate.enter())
    fail(gate, FAILURES_TO_OPEN - 1)
    assert not gate.is_open, "an answer in between begins anew"
    fail(gate)
    error = refused(gate)
    assert "hkg" in str(error) and "refused" in str(error)
    assert error.retry_after == BASE_OPEN


def test_after_the_time_one_request_tries_and_the_others_wait(gate: Gate, time: Time) -> None:
    fail(gate, FAILURES_TO_OPEN)
    time.now += BASE_OPEN
    trial = gate.enter()
    refused(gate)
    gate.answered(trial)
    gate.enter()
    gate.enter()


def test_a_trial_that_is_called_off_lets_another_try(gate: Gate, time: Time) -> None:
    fail(gate, FAILURES_TO_OPEN)
    time.now += BASE_OPEN
    gate.left(gate.enter())
    assert gate.is_open
    gate.enter()


def test_each_failed_trial_waits_longer_up_to_a_limit(gate: Gate, time: Time) -> None:
    fail(gate, FAILURES_TO_OPEN)
    waits = []
    for _ in range(12):
        waits.append(refused(gate).retry_after)
        time.now += MAX_OPEN
        fail(gate)
    assert waits[:4] == [BASE_OPEN, BASE_OPEN * 2, BASE_OPEN * 4, BASE_OPEN * 8]
    assert waits[-1] == MAX_OPEN


def test_one_outage_seen_by_many_requests_is_one_outage(gate: Gate) -> None:
    tokens = [gate.enter() for _ in range(16)]
    for token in tokens:
        gate.failed(token, "reset")
    assert refused(gate).retry_after == BASE_OPEN


def test_silence_while_requests_wait_closes_the_way_before_any_has_timed_out(gate: Gate, time: Time) -> None:
    gate.enter()
    time.now += STALL_AFTER
    gate.enter()
    time.now += 0.1
    error = refused(gate)
    assert error.retry_after == STALL_AFTER and str(error) == str(refused(gate)), "it ends up in a status"


def test_silence_with_nothing_under_way_is_no_sign(gate: Gate, time: Time) -> None:
    gate.answered(gate.enter())
    time.now += 3600
    gate.enter()


def test_an_answer_to_another_request_ends_the_silence(gate: Gate, time: Time) -> None:
    gate.enter()  # one that hangs for ever must not close the way for those that are answered
    other = gate.enter()
    time.now += STALL_AFTER + 1
    gate.answered(other)
    gate.enter()


def test_a_request_that_was_called_off_is_neither_answer_nor_failure(gate: Gate, time: Time) -> None:
    hanging = gate.enter()
    time.now += STALL_AFTER + 1
    refused(gate)
    gate.left(hanging)
    gate.enter()
    assert not gate.is_open


def test_a_probe_that_got_through_opens_the_way(gate: Gate, time: Time) -> None:
    fail(gate, FAILURES_TO_OPEN)
    refused(gate)
    gate.reset()
    gate.enter()
    time.now += 1
    gate.enter()


def test_a_late_answer_opens_the_way(gate: Gate) -> None:
    early = gate.enter()
    fail(gate, FAILURES_TO_OPEN)
    gate.answered(early)
    gate.enter()


def test_slow_is_what_answers_late_or_does_not_yet(gate: Gate, time: Time) -> None:
    assert not gate.is_slow
    under_way = gate.enter()
    time.now += SLOW_AFTER - 0.1
    assert not gate.is_slow
    time.now += 0.2
    assert gate.is_slow, "the first request already"
    gate.answered(under_way)
    assert not gate.is_slow, "nothing waits"
    for _ in range(20):
        token = gate.enter()
        time.now += 1.0
        gate.answered(token)
    token = gate.enter()
    assert gate.is_slow, "on the average"
    for _ in range(20):
        gate.answered(gate.enter())
    assert not gate.is_slow
    gate.left(token)
