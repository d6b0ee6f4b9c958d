from datetime import UTC, datetime, timedelta

import pytest

from roadstead.keys.schedule import NEVER, Cron, Every, Schedule, Turn, jitter, turn, with_extra

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
THREE_DAYS = Every(ANCHOR, 3 * DAY)
NONE = timedelta()
NOW, SOON, DAY_AFTER = ANCHOR + HOUR, ANCHOR + 2 * HOUR, ANCHOR + 3 * DAY


def test_the_first_version_is_due_at_once_and_the_second_on_the_grid() -> None:
    now = ANCHOR + 4 * DAY
    assert turn(THREE_DAYS, NONE, None, now) == Turn(ANCHOR + 3 * DAY, ANCHOR + 6 * DAY)


def test_a_slot_that_has_its_version_is_not_due_again() -> None:
    slot = ANCHOR + 3 * DAY
    assert turn(THREE_DAYS, NONE, slot, slot) == Turn(None, ANCHOR + 6 * DAY)


def test_a_slot_is_due_from_its_second_on() -> None:
    before, slot = ANCHOR + 3 * DAY, ANCHOR + 6 * DAY
    assert turn(THREE_DAYS, NONE, before, slot - timedelta(microseconds=1)) == Turn(None, slot)
    assert turn(THREE_DAYS, NONE, before, slot) == Turn(slot, slot + 3 * DAY)


def test_missed_slots_are_one_and_the_next_is_on_the_grid() -> None:
    now = ANCHOR + 31 * DAY
    assert turn(THREE_DAYS, NONE, ANCHOR, now) == Turn(ANCHOR + 30 * DAY, ANCHOR + 33 * DAY)


def test_a_clock_that_steps_back_brings_no_slot_again() -> None:
    taken = ANCHOR + 6 * DAY
    assert turn(THREE_DAYS, NONE, taken, taken - 4 * DAY) == Turn(None, taken + 3 * DAY)


def test_an_anchor_that_is_moved_or_a_period_that_is_shortened_makes_the_newest_slot_due() -> None:
    taken, now = ANCHOR, ANCHOR + 2 * DAY
    assert turn(Every(ANCHOR, DAY), NONE, taken, now) == Turn(now, now + DAY)
    assert turn(Every(ANCHOR + HOUR, 3 * DAY), NONE, taken, now) == Turn(ANCHOR + HOUR, ANCHOR + HOUR + 3 * DAY)


def test_before_the_anchor_the_grid_goes_on() -> None:
    now = ANCHOR - DAY
    assert turn(THREE_DAYS, NONE, None, now) == Turn(ANCHOR - 3 * DAY, ANCHOR)


def test_jitter_makes_every_slot_later_and_none_is_left_out() -> None:
    late = 20 * timedelta(minutes=1)
    slot = ANCHOR + 3 * DAY
    assert turn(THREE_DAYS, late, ANCHOR, slot) == Turn(None, slot + late)
    assert turn(THREE_DAYS, late, ANCHOR, slot + late) == Turn(slot, slot + 3 * DAY + late)


def test_every_72_hours_is_not_cron_that_says_every_third_day() -> None:
    """From the 31st to the 1st, cron's days of the month are a day apart: why `every` is the field to use."""
    thirty_first = datetime(2026, 1, 31, tzinfo=UTC)
    cron = Cron("0 0 */3 * *", "UTC")
    assert turn(cron, NONE, thirty_first, thirty_first) == Turn(None, thirty_first + DAY)
    assert turn(THREE_DAYS, NONE, ANCHOR + 30 * DAY, thirty_first) == Turn(None, ANCHOR + 33 * DAY)


def test_cron_follows_its_time_zone() -> None:
    cron = Cron("30 2 * * *", "Europe/Zurich")
    winter, summer = datetime(2026, 3, 28, 1, 30, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    skipped = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 02:30 is not there; right after the hour that is skipped
    assert turn(cron, NONE, winter, winter) == Turn(None, skipped)
    assert turn(cron, NONE, skipped, skipped) == Turn(None, summer)


@pytest.mark.parametrize("schedule", [THREE_DAYS, Cron("0 */6 * * *", "Asia/Hong_Kong")])
def test_the_answer_is_in_utc_wherever_the_clock_is(schedule: Schedule) -> None:
    from zoneinfo import ZoneInfo

    here = (ANCHOR + DAY).astimezone(ZoneInfo("Asia/Hong_Kong"))
    found = turn(schedule, NONE, None, here)
    assert found == turn(schedule, NONE, None, ANCHOR + DAY)
    assert found.slot is not None and found.next is not None
    assert found.slot.tzinfo is UTC and found.next.tzinfo is UTC


def test_jitter_is_the_same_for_one_ring_and_spread_over_rings() -> None:
    found = [jitter(f"ring-{number}", HOUR) for number in range(1_000)]
    assert found == [jitter(f"ring-{number}", HOUR) for number in range(1_000)]
    assert all(NONE <= late < HOUR for late in found)
    quarters = [sum(1 for late in found if late // (HOUR / 4) == quarter) for quarter in range(4)]
    assert min(quarters) > 200
    assert jitter("ring", NONE) == NONE


@pytest.mark.parametrize(
    ("grid", "extra", "taken", "expected"),
    [
        pytest.param(Turn(None, DAY_AFTER), None, ANCHOR, Turn(None, DAY_AFTER), id="none is asked for"),
        pytest.param(Turn(None, DAY_AFTER), NOW, ANCHOR, Turn(NOW, DAY_AFTER), id="now"),
        pytest.param(NEVER, NOW, None, Turn(NOW, None), id="now, of a grid that is suspended"),
        pytest.param(Turn(None, DAY_AFTER), NOW, NOW, Turn(None, DAY_AFTER), id="a version was made for it"),
        pytest.param(Turn(None, DAY_AFTER), ANCHOR, NOW, Turn(None, DAY_AFTER), id="a later slot made up for it"),
        pytest.param(
            Turn(ANCHOR, DAY_AFTER), NOW, None, Turn(NOW, DAY_AFTER), id="the grid's own is due, too: one version"
        ),
        pytest.param(Turn(None, DAY_AFTER), SOON, ANCHOR, Turn(None, SOON), id="before the grid's next"),
        pytest.param(Turn(None, None), SOON, ANCHOR, Turn(None, SOON), id="the only one"),
    ],
)
def test_one_slot_more(grid: Turn, extra: datetime | None, taken: datetime | None, expected: Turn) -> None:
    assert with_extra(grid, extra, taken, NOW) == expected
