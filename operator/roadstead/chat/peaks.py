"""How many pods the scheduled peaks ask for at a given moment.

A peak starts whenever its cron schedule fires in its time zone, and asks for its replicas from ``scaleUpBefore`` before
that until ``scaleDownAfter`` past its duration. Daylight saving is treated as Debian's cron does: a start in the hour
that is skipped happens right after it, one in the hour that repeats happens once, and a schedule with a star in its
minutes or hours follows the clock on the wall through both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from roadstead.api.chatservice import Peak

_LONGEST_FOLD: Final = timedelta(hours=3)
"""No zone has set its clocks back by more at once (Antarctica/Troll: two hours)."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What the peaks ask for.

    Attributes:
        replicas: the largest of the active peaks; 0 when none is active.
        active: their names, in the order of the spec.
        until: when this answer may change, in UTC; never later than it does. None: never, as far as can be seen.
    """

    replicas: int
    active: tuple[str, ...]
    until: datetime | None


def floor(peaks: Sequence[Peak], now: datetime) -> Floor:
    """The floor at one moment.

    Each schedule is searched once backwards and once forwards from ``now``, so this costs the same however often a peak
    fires and however long it lasts.

    Args:
        peaks: of the service.
        now: with a time zone.
    """
    now = now.astimezone(UTC)
    active = []
    changes = []
    for peak in peaks:
        reach = now + peak.scale_up_before  # a start up to here has begun to count
        started, following = _starts(peak.schedule, peak.time_zone, reach)
        if started is not None and (end := started + peak.duration + peak.scale_down_after) > now:
            active.append(peak)
            changes.append(end)
        if following is not None:
            changes.append(following - peak.scale_up_before)
    return Floor(
        replicas=max((peak.replicas for peak in active), default=0),
        active=tuple(peak.name for peak in active),
        until=min(changes, default=None),
    )


_Starts = tuple[datetime | None, datetime | None]
"""The last start at or before a moment, and the first after it, both in UTC."""


def _starts(schedule: str, time_zone: str, moment: datetime) -> _Starts:
    # Thousands of services may share a sales day and are looked at many times in an hour: within it, the answer for the
    # hour's beginning is nearly always the answer.
    hour = moment.replace(minute=0, second=0, microsecond=0)
    last, following = _remembered_starts(schedule, time_zone, hour)
    if following is None or following > moment:
        return last, following
    return _search(schedule, ZoneInfo(time_zone), moment)


@lru_cache(maxsize=1024)
def _remembered_starts(schedule: str, time_zone: str, moment: datetime) -> _Starts:
    return _search(schedule, ZoneInfo(time_zone), moment)


def _search(schedule: str, zone: ZoneInfo, moment: datetime) -> _Starts:
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
