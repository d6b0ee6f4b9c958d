"""What makes a region fail during a rollout.

`FAILURE_CHECKS` is the list; a later gate (an error budget that burns, a page that fires) is one more function in it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from roadstead.api.chatservice import RegionStage, Rollout
from roadstead.api.conditions import Reason
from roadstead.api.duration import format_duration
from roadstead.chat.finding import Finding
from roadstead.chat.rollout_state import RegionState, RegionView

FailureCheck = Callable[[RegionState, RegionView, Rollout, datetime], Finding | None]


def progress_deadline_exceeded(region: RegionState, view: RegionView, policy: Rollout, now: datetime) -> Finding | None:
    """The region did not become ready in time, or was ready, has to grow, and does not become ready again."""
    if (
        region.stage not in (RegionStage.UPDATING, RegionStage.BAKING)
        or is_ready(region, view)
        or now < deadline(region, policy)
    ):
        return None
    detail = f": {view.detail}" if view.detail else ""
    return Finding(
        Reason.DEADLINE_EXCEEDED,
        f"region {view.name} is not ready with revision {region.revision} after "
        f"{format_duration(policy.progress_deadline)} (spec.rollout.progressDeadline){detail}",
    )


def readiness_lost(region: RegionState, view: RegionView, _policy: Rollout, _now: datetime) -> Finding | None:
    """Pods that were ready stopped being so during the bake."""
    if region.stage is not RegionStage.BAKING or view.runs != region.revision or not view.lost:
        return None
    detail = f": {view.detail}" if view.detail else ""
    return Finding(
        Reason.NOT_AVAILABLE,
        f"region {view.name} lost ready pods while revision {region.revision} baked{detail}",
    )


FAILURE_CHECKS: Final[tuple[FailureCheck, ...]] = (readiness_lost, progress_deadline_exceeded)
"""What makes a region fail. Each sees one region that was moved; the first that finds something decides."""


def is_ready(region: RegionState, view: RegionView) -> bool:
    """Whether the region is ready with the revision that it was given."""
    return view.ready and view.runs == region.revision


def deadline(region: RegionState, policy: Rollout) -> datetime:
    """Until when the region in flight may take to be ready."""
    baking = policy.bake_time if region.stage is RegionStage.BAKING else timedelta()
    return region.since + baking + policy.progress_deadline
