"""The floor of the peaks against a scan that looks at every minute and knows nothing of cronsim."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from roadstead.api.chatservice import Peak
from roadstead.chat.peaks import floor

MINUTE = timedelta(minutes=1)
ZONES = (
    "Asia/Hong_Kong",
    "America/New_York",
    "Europe/Zurich",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Asia/Kathmandu",  # UTC+5:45
    "Africa/Cairo",  # its clocks change at midnight
    "UTC",
)


def parsed(field: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        numbers = range(low, high + 1) if span == "*" else range(int(first), int(last or first) + 1)
        values.update(list(numbers)[:: int(step or 1)])
    return values


class Wall:
    """A minute-by-minute cron for five numeric fields, with Debian's rules for daylight saving."""

    def __init__(self, schedule: str, zone: str) -> None:
        minute, hour, day, month, weekday = schedule.split()
        self.zone = ZoneInfo(zone)
        self.minutes, self.hours = parsed(minute, 0, 59), parsed(hour, 0, 23)
        self.days, self.months = parsed(day, 1, 31), parsed(month, 1, 12)
        self.weekdays = {value % 7 for value in parsed(weekday, 0, 7)}
        self.both_days = day.startswith("*") or weekday.startswith("*")
        self.fixed = not minute.startswith("*") and not hour.startswith("*")

    def matches(self, wall: datetime) -> bool:
        by_date, by_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        day = by_date and by_weekday if self.both_days else by_date or by_weekday
        return wall.minute in self.minutes and wall.hour in self.hours and wall.month in self.months and day

    def fires(self, utc: datetime) -> bool:
        local = utc.astimezone(self.zone)
        wall = local.replace(tzinfo=None)
        if not self.fixed:
            return self.matches(wall)
        if local.fold == 0 and self.matches(wall):
            return True
        before = (utc - MINUTE).astimezone(self.zone).replace(tzinfo=None)
        skipped = [before + n * MINUTE for n in range(1, int((wall - before) / MINUTE))]
        return any(self.matches(minute) for minute in skipped)


def brute_force(peaks: list[Peak], now: datetime) -> tuple[int, tuple[str, ...]]:
    active = []
    for peak in peaks:
        wall = Wall(peak.schedule, peak.time_zone)
        at = (now - peak.duration - peak.scale_down_after).replace(second=0, microsecond=0)
        while at <= now + peak.scale_up_before:
            if wall.fires(at) and at - peak.scale_up_before <= now < at + peak.duration + peak.scale_down_after:
                active.append(peak)
                break
            at += MINUTE
    return max((peak.replicas for peak in active), default=0), tuple(peak.name for peak in active)


schedules = st.tuples(
    st.one_of(st.integers(0, 59).map(str), st.sampled_from(["*/20", "0,30", "*"])),
    st.one_of(st.integers(0, 23).map(str), st.sampled_from(["*", "*/6", "1-3", "0,2"])),
    st.one_of(st.just("*"), st.integers(1, 28).map(str)),
    st.sampled_from(["*", "*", "3", "11", "4,10"]),
    st.one_of(st.just("*"), st.just("*"), st.integers(0, 7).map(str)),
).map(" ".join)


def known_limit(peak: Peak) -> bool:
    """cronsim takes every change of the clock for a whole hour, which is half of one on Lord Howe Island.

    Only schedules with a star in their hours or minutes are wrong there, twice a year. docs/concepts/peaks.md says so.
    """
    return peak.time_zone == "Australia/Lord_Howe" and not Wall(peak.schedule, peak.time_zone).fixed


peak_specs = (
    st.fixed_dictionaries(
        {
            "name": st.just("a"),
            "time_zone": st.sampled_from(ZONES),
            "schedule": schedules,
            "duration": st.integers(1, 600).map(lambda n: n * MINUTE),
            "scale_up_before": st.integers(0, 240).map(lambda n: n * MINUTE),
            "scale_down_after": st.integers(0, 120).map(lambda n: n * MINUTE),
            "replicas": st.integers(1, 50),
        }
    )
    .map(lambda fields: Peak(**fields))
    .filter(lambda peak: not known_limit(peak))
)

moments = st.one_of(
    st.integers(0, 366 * 1440).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + n * MINUTE),
    # Hours around the changes of New York, Zurich, Lord Howe and Cairo.
    st.tuples(
        st.sampled_from(
            [
                datetime(2026, 3, 8, 7, tzinfo=UTC),
                datetime(2026, 11, 1, 6, tzinfo=UTC),
                datetime(2026, 3, 29, 1, tzinfo=UTC),
                datetime(2026, 10, 25, 1, tzinfo=UTC),
                datetime(2026, 4, 4, 15, tzinfo=UTC),
                datetime(2026, 10, 3, 15, tzinfo=UTC),
                datetime(2026, 4, 23, 22, tzinfo=UTC),
                datetime(2026, 10, 29, 21, tzinfo=UTC),
            ]
        ),
        st.integers(-240, 240),
    ).map(lambda pair: pair[0] + pair[1] * MINUTE),
)


def ny(schedule: str, **fields: object) -> Peak:
    defaults = {"duration": "10m", "scaleUpBefore": "0s", "scaleDownAfter": "0s", "replicas": 5}
    return Peak.model_validate(
        {"name": "a", "timeZone": "America/New_York", "schedule": schedule, **defaults, **fields}
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(peak_specs, min_size=1, max_size=3), moments, st.integers(0, 59))
@example([ny("30 2 * * *")], datetime(2026, 3, 8, 7, 0, tzinfo=UTC), 0)
@example([ny("30 1 * * *")], datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 0)
@example([ny("30 1 * * *")], datetime(2026, 11, 1, 6, 30, tzinfo=UTC), 0)
@example([ny("45 1 * * *", duration="50m")], datetime(2026, 11, 1, 6, 30, tzinfo=UTC), 0)
@example([ny("0 0 1 * 1", duration="1h")], datetime(2026, 6, 1, 4, 30, tzinfo=UTC), 0)
def test_the_floor_is_what_a_scan_of_every_minute_finds(peaks: list[Peak], minute: datetime, second: int) -> None:
    now = minute.replace(second=second)
    found = floor(peaks, now)
    assert (found.replicas, found.active) == brute_force(peaks, now)


@settings(max_examples=300, deadline=None)
@given(st.lists(peak_specs, min_size=1, max_size=3), moments)
@example([ny("45 1 * * *")], datetime(2026, 11, 1, 6, 30, tzinfo=UTC))
def test_nothing_changes_before_the_time_that_is_announced(peaks: list[Peak], now: datetime) -> None:
    found = floor(peaks, now)
    assert found.until is None or found.until > now
    last = min(found.until or now + timedelta(days=1), now + timedelta(days=1)) - timedelta(seconds=1)
    probes = (now + (last - now) * share for share in (0.1, 0.5, 0.9, 1.0))
    assert all(floor(peaks, probe).active == found.active for probe in probes)
