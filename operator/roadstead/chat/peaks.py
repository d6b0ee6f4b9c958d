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

    Each peak is looked at once backwards and once forwards from ``now``, so this costs the same however often it fires
    and however long it lasts.

    Args:
        peaks: of the service.
        now: with a time zone.
    """
    now = now.astimezone(UTC)
    active = []
    changes = []
    for peak in peaks:
        reach = now + peak.scale_up_before  # a start up to here has begun to count
        started = _last_start(peak, reach)
        if started is not None and (end := started + peak.duration + peak.scale_down_after) > now:
            active.append(peak)
            changes.append(end)
        if (following := _next_start(peak, reach)) is not None:
            changes.append(following - peak.scale_up_before)
    return Floor(
        replicas=max((peak.replicas for peak in active), default=0),
        active=tuple(peak.name for peak in active),
        until=min(changes, default=None),
    )


def _last_start(peak: Peak, moment: datetime) -> datetime | None:
    """The last start at or before a moment, in UTC."""
    # One second on, because the search begins before where it is put; further on where the clock was set back shortly
    # before: there the same time on the wall comes twice, and the search knows only the wall.
    local = _wall(peak, moment) + timedelta(seconds=1) + _set_back(peak, moment)
    for start in CronSim(peak.schedule, local, reverse=True):
        if (utc := start.astimezone(UTC)) <= moment:
            return utc
    return None


def _next_start(peak: Peak, moment: datetime) -> datetime | None:
    """The first start after a moment, in UTC."""
    for start in CronSim(peak.schedule, _wall(peak, moment)):
        if (utc := start.astimezone(UTC)) > moment:
            return utc
    return None


def _wall(peak: Peak, moment: datetime) -> datetime:
    return moment.astimezone(ZoneInfo(peak.time_zone))


def _set_back(peak: Peak, moment: datetime) -> timedelta:
    """By how much the clock was set back in the last hours before a moment; zero nearly always."""
    before, after = _wall(peak, moment - _LONGEST_FOLD).utcoffset(), _wall(peak, moment).utcoffset()
    assert before is not None and after is not None  # noqa: S101 - a ZoneInfo always has an offset
    return max(timedelta(), before - after)
