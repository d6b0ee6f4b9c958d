from datetime import timedelta

import pytest

from roadstead.api.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("0s", 0, id="zero"),
        pytest.param("250ms", 0.25, id="milliseconds are not minutes"),
        pytest.param("90s", 90, id="more seconds than a minute has"),
        pytest.param("1h30m", 5400, id="parts add up"),
        pytest.param("30m1h", 5400, id="in any order"),
        pytest.param("1d", 86400, id="a day is 24 hours"),
        pytest.param("2w", 14 * 86400, id="a week is 7 days"),
        pytest.param("9999999d", 9_999_999 * 86400, id="the longest"),
        pytest.param("1s" * 16, 16, id="32 characters"),
        pytest.param("7y", 7 * 365 * 86400, id="a year is 365 days"),
    ],
)
def test_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


def test_more_than_can_be_written_back_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 27,000 years"):
        parse_duration("9999999y")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("5", id="a number without a unit"),
        pytest.param("s", id="a unit without a number"),
        pytest.param("1.5h", id="a fraction"),
        pytest.param("-1s", id="below zero"),
        pytest.param("1 s", id="a space"),
        pytest.param("1s\n", id="a newline at the end"),
        pytest.param("1S", id="a capital unit"),
        pytest.param("PT5M", id="ISO 8601"),
        pytest.param("12345678s", id="eight digits"),
        pytest.param("1s" * 17, id="longer than the API server's bound"),
        pytest.param("\u0661s", id="digits of another script"),
    ],
)
def test_refuses_with_the_text_and_a_cure(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration; write numbers with ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("60s", "1m", id="the largest unit that fits"),
        pytest.param("730d", "2y", id="whole years are years"),
        pytest.param("400d", "400d", id="years only when nothing is left over"),
        pytest.param("14d", "14d", id="weeks are days"),
        pytest.param("90m", "1h30m", id="two parts"),
        pytest.param("0ms", "0s", id="zero has seconds"),
        pytest.param("1001ms", "1s1ms", id="down to milliseconds"),
    ],
)
def test_writes(text: str, written: str) -> None:
    assert format_duration(parse_duration(text)) == written


def test_does_not_write_what_it_could_not_read_back() -> None:
    with pytest.raises(ValueError, match="below zero"):
        format_duration(timedelta(seconds=-1))
