"""How many pods the scheduled peaks ask for at a given moment.

A peak starts whenever its cron schedule fires in its time zone, and asks for its replicas from ``scaleUpBefore`` before
that until ``scaleDownAfter`` past its duration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from roadstead.api.chatservice import Peak
from roadstead.kernel import cron


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
        started, following = cron.around(peak.schedule, peak.time_zone, reach)
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
