from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from roadstead.api.chatservice import Peak
from roadstead.chat.peaks import Floor, floor

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
NEW_YORK = ZoneInfo("America/New_York")


def peak(schedule: str, zone: str, name: str = "sale", replicas: int = 20, **lengths: str) -> Peak:
    fields = {"duration": "1h", "scaleUpBefore": "0s", "scaleDownAfter": "0s", **lengths}
    return Peak.model_validate({"name": name, "timeZone": zone, "schedule": schedule, "replicas": replicas, **fields})


SINGLES_DAY = peak(
    "0 9 11 11 *", "Asia/Hong_Kong", "singles-day", duration="15h", scaleUpBefore="30m", scaleDownAfter="15m"
)


@pytest.mark.parametrize(
    ("at", "active"),
    [
        pytest.param("2026-11-11T08:29:59", False, id="a second before the pods are wanted"),
        pytest.param("2026-11-11T08:30:00", True, id="half an hour before the sale"),
        pytest.param("2026-11-11T09:00:00", True, id="when it opens"),
        pytest.param("2026-11-12T00:14:59", True, id="a quarter of an hour after it closed"),
        pytest.param("2026-11-12T00:15:00", False, id="when the last pods may go"),
        pytest.param("2026-11-10T12:00:00", False, id="on the day before"),
    ],
)
def test_singles_day_in_hong_kong(at: str, active: bool) -> None:
    found = floor([SINGLES_DAY], datetime.fromisoformat(at).replace(tzinfo=HONG_KONG))
    assert (found.replicas, found.active) == ((20, ("singles-day",)) if active else (0, ()))


def test_the_next_change_is_announced_long_before() -> None:
    found = floor([SINGLES_DAY], datetime(2026, 1, 1, tzinfo=UTC))
    assert found == Floor(0, (), datetime(2026, 11, 11, 8, 30, tzinfo=HONG_KONG))


def test_the_end_is_announced_while_a_peak_lasts() -> None:
    found = floor([SINGLES_DAY], datetime(2026, 11, 11, 12, tzinfo=HONG_KONG))
    assert found.until == datetime(2026, 11, 12, 0, 15, tzinfo=HONG_KONG)


def starts(of: Peak, day: datetime, hours: int = 30) -> list[str]:
    """When a peak of one minute becomes active, found second by second where it is announced, in UTC."""
    found: list[datetime] = []
    at = day
    while at < day + timedelta(hours=hours):
        now = floor([of], at)
        if now.active and (not found or found[-1] != at):
            found.append(at)
        at = now.until or day + timedelta(hours=hours)
    return [f"{moment:%dT%H:%MZ}" for moment in found]


@pytest.mark.parametrize(
    ("schedule", "day", "expected"),
    [
        pytest.param(
            "30 2 * * *", datetime(2026, 3, 8, tzinfo=NEW_YORK), ["08T07:00Z"], id="skipped: right after the gap"
        ),
        pytest.param(
            "30 3 * * *", datetime(2026, 3, 8, tzinfo=NEW_YORK), ["08T07:30Z"], id="after the gap: as written"
        ),
        pytest.param("30 1 * * *", datetime(2026, 11, 1, tzinfo=NEW_YORK), ["01T05:30Z"], id="repeated: only once"),
        pytest.param(
            "30 2 * * *", datetime(2026, 11, 1, tzinfo=NEW_YORK), ["01T07:30Z"], id="after the fold: as written"
        ),
        pytest.param(
            "30 */2 1 11 *",
            datetime(2026, 11, 1, 3, tzinfo=NEW_YORK),
            [f"01T{hour:02}:30Z" for hour in range(9, 24, 2)] + ["02T01:30Z", "02T03:30Z"],
            id="every other hour",
        ),
    ],
)
def test_daylight_saving_in_new_york(schedule: str, day: datetime, expected: list[str]) -> None:
    assert starts(peak(schedule, "America/New_York", duration="1m"), day.astimezone(UTC), hours=24) == expected


def test_overlapping_peaks_ask_for_the_largest_number() -> None:
    peaks = [
        peak("0 9 * * *", "UTC", "small", 5, duration="4h"),
        peak("0 10 * * *", "UTC", "large", 50, duration="1h"),
    ]
    day = datetime(2026, 5, 5, tzinfo=UTC)
    at = {hour: floor(peaks, day + timedelta(hours=hour)) for hour in (8, 9, 10, 11, 13)}
    assert [at[hour].replicas for hour in at] == [0, 5, 50, 5, 0]
    assert at[10].active == ("small", "large")
    assert at[10].until == day + timedelta(hours=11)


def test_a_peak_that_fires_every_minute_for_a_month_costs_no_more_than_another() -> None:
    found = floor([peak("* * * * *", "Asia/Hong_Kong", duration="30d")], datetime(2026, 5, 5, tzinfo=UTC))
    assert found.active == ("sale",)


def test_without_peaks_nothing_is_asked_and_nothing_will_change() -> None:
    assert floor([], datetime(2026, 5, 5, tzinfo=UTC)) == Floor(0, (), None)
