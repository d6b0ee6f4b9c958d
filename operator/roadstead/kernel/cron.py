"""When a cron schedule fires in its time zone.

Daylight saving is treated as Debian's cron does: what falls into the hour that is skipped happens right after it, what
falls into the hour that repeats happens once, and a schedule with a star in its minutes or hours follows the clock on
the wall through both.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

_LONGEST_FOLD: Final = timedelta(hours=3)
"""No zone has set its clocks back by more at once (Antarctica/Troll: two hours)."""

Firings = tuple[datetime | None, datetime | None]
"""The last one at or before a moment, and the first after it, both in UTC; None: there is none within many years."""


def around(schedule: str, time_zone: str, moment: datetime) -> Firings:
    """When a schedule fires around a moment.

    It is searched once backwards and once forwards, so this costs the same however often it fires.

    Args:
        schedule: five fields.
        time_zone: an IANA name.
        moment: with a time zone.
    """
    moment = moment.astimezone(UTC)
    # Thousands of resources may share a schedule and are looked at many times in an hour: within it, the answer for the
    # hour's beginning is nearly always the answer.
    hour = moment.replace(minute=0, second=0, microsecond=0)
    last, following = _remembered(schedule, time_zone, hour)
    if following is None or following > moment:
        return last, following
    return _search(schedule, ZoneInfo(time_zone), moment)


@lru_cache(maxsize=1024)
def _remembered(schedule: str, time_zone: str, moment: datetime) -> Firings:
    return _search(schedule, ZoneInfo(time_zone), moment)


def _search(schedule: str, zone: ZoneInfo, moment: datetime) -> Firings:
    # One second on, because the search begins before where it is put; further on where the clock was set back shortly
    # before: there the same time on the wall comes twice, and the search knows only the wall.
    local = moment.astimezone(zone)
    backwards = CronSim(schedule, local + timedelta(seconds=1) + _set_back(zone, moment), reverse=True)
    forwards = CronSim(schedule, local)
    return (
        next((utc for start in backwards if (utc := start.astimezone(UTC)) <= moment), None),
        next((utc for start in forwards if (utc := start.astimezone(UTC)) > moment), None),
    )


def _set_back(zone: ZoneInfo, moment: datetime) -> timedelta:
    """By how much the clock was set back in the last hours before a moment; zero nearly always."""
    before, after = (moment - _LONGEST_FOLD).astimezone(zone).utcoffset(), moment.astimezone(zone).utcoffset()
    assert before is not None and after is not None  # noqa: S101 - a ZoneInfo always has an offset
    return max(timedelta(), before - after)
