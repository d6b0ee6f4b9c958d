"""What a scrape says of rings. Pure: from their statuses, without the names of objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from roadstead.api.keyring import KeyRingStatus
from roadstead.api.parse import status_of


@dataclass(frozen=True, slots=True)
class Gauges:
    """Numbers about all rings.

    Attributes:
        phases: how many rings are in each phase.
        waiting: how many rotations wait for each reason.
        oldest_primary: seconds since the primary of some ring was made so, of the ring where that is longest ago; 0
            without a ring that has one.
        oldest_kek: seconds since the KEK of some ring was asked for, of the ring where that is longest ago; 0 without.
        rewraps_remaining: how many stored versions are not wrapped with the KEK of their ring alone.
    """

    phases: Mapping[str, int]
    waiting: Mapping[str, int]
    oldest_primary: float
    oldest_kek: float = 0.0
    rewraps_remaining: int = 0


def gauges(rings: Iterable[Mapping[str, Any]], now: datetime) -> Gauges:
    """Numbers about rings.

    Args:
        rings: bodies as the API server has them.
        now: with a time zone.
    """
    phases: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    oldest = oldest_kek = 0.0
    remaining = 0
    for body in rings:
        status = status_of(KeyRingStatus, body)
        phases[status.phase.value] += 1
        if status.blocked_by:
            waiting[status.blocked_by.partition(":")[0]] += 1
        if status.primary_since is not None:
            oldest = max(oldest, (now - status.primary_since).total_seconds())
        if status.kek is not None:
            remaining += status.kek.stored - status.kek.wrapped
            if status.kek.since is not None:
                oldest_kek = max(oldest_kek, (now - status.kek.since).total_seconds())
    return Gauges(phases, waiting, oldest, oldest_kek, remaining)
