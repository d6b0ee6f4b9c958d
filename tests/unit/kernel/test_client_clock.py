"""How far our clock is from a server's: what the room of keys asks before it does what cannot be undone."""

import time
from email.utils import formatdate

import pytest

from roadstead.kernel.client import _ahead


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_the_date_of_an_answer_tells_how_far_our_clock_is_ahead(seconds: int) -> None:
    ahead = _ahead(formatdate(time.time() - seconds, usegmt=True), None)
    assert ahead is not None
    assert abs(ahead - seconds) < 60


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 32 Foo 2026 99:00:00 GMT"])
def test_an_answer_without_a_date_tells_nothing(date: str) -> None:
    assert _ahead(date, 5.0) == 5.0
    assert _ahead(date, None) is None
