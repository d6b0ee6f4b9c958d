"""When a new version of a key is due.

Slots lie on a grid that follows from what is persisted (an anchor, or a cron schedule), never from a timer. A version
remembers the slot that it was made for, so a slot makes one version at most, however often it is looked at, and a clock
that steps back brings none again. Slots that were missed are one: only the newest counts, and the next lies on the
grid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from roadstead.kernel import cron


@dataclass(frozen=True, slots=True)
class Every:
    """A slot each ``period`` before and after ``anchor``."""

    anchor: datetime
    period: timedelta


@dataclass(frozen=True, slots=True)
class Cron:
    """A slot whenever five cron fields fire in an IANA time zone."""

    schedule: str
    time_zone: str


Schedule = Every | Cron


@dataclass(frozen=True, slots=True)
class Turn:
    """What the schedule asks for.

    Attributes:
        slot: the slot that is due and that no version was made for; None: nothing is due.
        next: when the next one will be due, jitter included, in UTC. None: never, as far as can be seen.
    """

    slot: datetime | None
    next: datetime | None


NEVER: Final[Turn] = Turn(None, None)


def turn(schedule: Schedule, jitter: timedelta, taken: datetime | None, now: datetime) -> Turn:
    """What is due at a moment.

    Args:
        schedule: the grid.
        jitter: how much later than its slot this ring begins.
        taken: the newest slot that a version was made for; None: none ever was, so the slot before ``now`` is due.
        now: with a time zone.
    """
    last, following = _around(schedule, now - jitter)
    if taken is not None and following is not None and following <= taken:
        following = _around(schedule, taken)[1]
    return Turn(_due(last, taken, now - jitter), None if following is None else following + jitter)


def _due(last: datetime | None, taken: datetime | None, now: datetime) -> datetime | None:
    if taken is None:
        # Data must be encrypted now, also where cron's last slot lies too far back to be found.
        return last or now.astimezone(UTC).replace(microsecond=0)
    return last if last is not None and last > taken else None


def with_extra(grid: Turn, extra: datetime | None, taken: datetime | None, now: datetime) -> Turn:
    """What is due with one slot more than the grid has.

    Args:
        grid: what the grid asks for; `NEVER` while it is suspended.
        extra: the moment of the slot; None: there is none.
        taken: the newest slot that a version was made for; one that is not newer was made up for by it.
        now: with a time zone.
    """
    if extra is None or (taken is not None and extra <= taken):
        return grid
    if extra > now:
        return Turn(grid.slot, min(filter(None, (grid.next, extra))))
    return Turn(max(filter(None, (grid.slot, extra))), grid.next)


def jitter(ring_id: str, at_most: timedelta) -> timedelta:
    """How much later than its slot a ring begins: always the same for one ring, spread evenly over rings.

    Args:
        ring_id: identity of the ring.
        at_most: exclusive bound; zero gives zero.

    Returns:
        Whole seconds.
    """
    seconds = int(at_most.total_seconds())
    if seconds <= 0:
        return timedelta()
    number = int.from_bytes(hashlib.sha256(ring_id.encode()).digest()[:8])
    return timedelta(seconds=number % seconds)


def cron_period(fields: str, time_zone: str, moment: datetime) -> timedelta | None:
    """Time between the slots of a cron schedule on both sides of a moment; None: it is not between two."""
    last, following = cron.around(fields, time_zone, moment)
    return following - last if last is not None and following is not None else None


def _around(schedule: Schedule, moment: datetime) -> cron.Firings:
    if isinstance(schedule, Cron):
        return cron.around(schedule.schedule, schedule.time_zone, moment)
    passed = (moment - schedule.anchor) // schedule.period
    last = (schedule.anchor + passed * schedule.period).astimezone(UTC)
    return last, last + schedule.period
