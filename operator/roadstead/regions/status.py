"""The status of a Region, derived whole from its spec and what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from roadstead.api.conditions import ConditionType, Reason, set_condition
from roadstead.api.parse import dump, status_of
from roadstead.api.region import Region, RegionCapacity, RegionPhase, RegionStatus, Scheduling
from roadstead.regions.decide import Finding, Observation, find, is_suspect


def phase_of(region: Region, seen: Observation, finding: Finding | None) -> RegionPhase:
    """The state in one word."""
    if finding is not None:
        return RegionPhase.PENDING if finding.reason is Reason.NOT_PROBED else RegionPhase.UNREACHABLE
    if is_suspect(seen, region.spec.probe.failure_threshold):
        return RegionPhase.SUSPECT
    return RegionPhase.CORDONED if region.spec.scheduling is Scheduling.CORDONED else RegionPhase.HEALTHY


def stalled(body: Mapping[str, Any], message: str, now: datetime) -> dict[str, Any]:
    """The status of a Region whose spec cannot be carried out: all that was known stays, and says what is wrong."""
    generation = int(body["metadata"].get("generation", 0))
    known = status_of(RegionStatus, body)
    conditions = known.conditions
    for type_, value in (
        (ConditionType.READY, False),
        (ConditionType.RECONCILING, False),
        (ConditionType.STALLED, True),
    ):
        conditions = set_condition(
            conditions, type_, value, Reason.INVALID_SPEC, message, generation=generation, now=now
        )
    return dump(known.model_copy(update={"observed_generation": generation, "conditions": conditions}))


def derive(
    region: Region,
    seen: Observation,
    *,
    version: str,
    capacity: RegionCapacity | None,
    services: int,
    now: datetime,
) -> dict[str, Any]:
    """The status as JSON.

    Args:
        region: the resource, with its present status.
        seen: what the last probe saw.
        version: the API server's version; empty keeps the known one.
        capacity: what the nodes offer; None keeps what is known.
        services: number of services whose topology names this region.
        now: the present moment, UTC.
    """
    generation = region.metadata.generation or 0
    finding = find(seen, region.spec.probe.failure_threshold)
    cordoned = region.spec.scheduling is Scheduling.CORDONED
    good = (Reason.CORDONED, "answers; cordoned") if cordoned else (Reason.CONNECTED, "answers")
    reason, message = good if finding is None else (finding.reason, finding.message)
    stalled = finding is not None and finding.lasting
    conditions = region.status.conditions
    for type_, value in (
        (ConditionType.READY, finding is None),
        (ConditionType.CONNECTED, finding is None),
        (ConditionType.RECONCILING, finding is not None and not stalled),
        (ConditionType.STALLED, stalled),
    ):
        conditions = set_condition(conditions, type_, value, reason, message, generation=generation, now=now)
    status = RegionStatus(
        observed_generation=generation,
        phase=phase_of(region, seen, finding),
        version=version or region.status.version,
        cluster_id=region.status.cluster_id or seen.cluster_id,
        capacity=capacity or region.status.capacity,
        services=services,
        conditions=conditions,
    )
    return dump(status)
