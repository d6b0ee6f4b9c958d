"""The decision about a Lease; what it does on a real API server is in `tests/integration/kernel/test_lease.py`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.kernel.lease import LeaseTimes, Move, Observed, decide, micro_time


def observed(holder: str = "other", duration: float = 15.0, since: float = 100.0) -> Observed:
    return Observed("7", holder, duration, since)


@pytest.mark.parametrize(
    ("holder", "now", "expected"),
    [
        ("", 100.0, (Move.TAKE, 0.0)),
        ("me", 100.0, (Move.TAKE, 0.0)),
        ("other", 100.0, (Move.WAIT, 15.0)),
        ("other", 114.9, (Move.WAIT, pytest.approx(0.1))),
        ("other", 115.0, (Move.TAKE, 0.0)),
        ("other", 900.0, (Move.TAKE, 0.0)),
    ],
    ids=["released", "ours", "just renewed", "nearly over", "over", "long over"],
)
def test_decide(holder: str, now: float, expected: tuple[Move, float]) -> None:
    assert decide(observed(holder), "me", now) == expected


@given(st.floats(0.1, 1000), st.floats(0, 1e6), st.floats(0, 2000))
def test_a_lease_of_another_is_taken_only_when_its_time_has_passed_on_our_clock(
    duration: float, since: float, waited: float
) -> None:
    move, wait = decide(observed("other", duration, since), "me", since + waited)
    if move is Move.TAKE:
        assert since + duration <= since + waited
    else:
        assert 0 < wait <= duration + 1e-6


@pytest.mark.parametrize("times", [(15, 10, 10), (10, 10, 2), (10, 15, 2), (15, 10, 0), (15, 10, -1), (2, 10, 15)])
def test_times_that_cannot_work_are_refused_with_an_example(times: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="use for example 15, 10 and 2"):
        LeaseTimes(*times)


def test_times_that_work() -> None:
    assert LeaseTimes().duration == 15.0 and LeaseTimes(2, 1, 0.2).retry_period == 0.2


def test_micro_time_is_utc_with_six_digits() -> None:
    moment = datetime(2026, 3, 1, 8, 0, 0, 5, tzinfo=timezone(timedelta(hours=8)))
    assert micro_time(moment) == "2026-03-01T00:00:00.000005Z" == micro_time(moment.astimezone(UTC))
