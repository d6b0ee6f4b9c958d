"""What the status of a ChatService says, derived whole every time from what was decided and what was seen.

No measurement is in it: it is written only when something is decided or a pod comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from roadstead.api.chatservice import (
    ChatService,
    ChatServiceStatus,
    RegionRolloutPhase,
    RegionStage,
    RolloutPhase,
    RolloutStatus,
    ServiceRegionStatus,
)
from roadstead.api.chatservice_status import MAX_STATUS_REGIONS
from roadstead.api.conditions import Reason
from roadstead.chat import conditions, rollout
from roadstead.chat.conditions import Subject
from roadstead.chat.desired import Scale
from roadstead.chat.encryption import Pods, RingFacts, not_proved
from roadstead.chat.finding import Finding
from roadstead.chat.outcome import OutcomeKind, RegionOutcome
from roadstead.chat.peaks import Floor
from roadstead.chat.placement import Placement, Verdict
from roadstead.kernel.store import WorkloadStatus

__all__ = (
    "Facts",
    "OutcomeKind",
    "RegionOutcome",
    "deleting",
    "derive",
    "invalid",
    "is_ready",
    "pods",
    "present",
    "remembered",
    "views",
)

MESSAGE_LENGTH: Final = 1024
LIST_LENGTH: Final = 253


def remembered(status: ChatServiceStatus) -> rollout.State:
    """The rollout's state, as the status remembers it."""
    phase = status.rollout.phase
    return rollout.State(
        target=status.rollout.revision,
        good=status.rollout.previous,
        phase=RolloutPhase.PROGRESSING if phase is RolloutPhase.BAKING else phase,
        started_at=status.rollout.started_at,
        message=status.rollout.message if phase in _FAILED else "",
        regions={
            region.name: rollout.RegionState(region.revision, region.stage, region.since, region.last_good_revision)
            for region in status.regions
            if region.stage is not None and region.since is not None and region.revision
        },
    )


def present(status: ChatServiceStatus) -> frozenset[str]:
    """Names of the regions where the service has been placed, as far as the status knows."""
    return frozenset(region.name for region in status.regions if region.applied)


_FAILED: Final = (RolloutPhase.FAILED, RolloutPhase.ROLLING_BACK, RolloutPhase.ROLLED_BACK)


def views(
    service: ChatService,
    placements: Sequence[Placement],
    outcomes: Mapping[str, RegionOutcome],
    runs: Mapping[str, str],
) -> tuple[rollout.RegionView, ...]:
    """What the rollout sees of each region where the service is placed, or that it has in flight.

    A region that is refused while it is in flight (its Region was deleted, say, and may be made again) is one that
    cannot be reached: forgotten, it would make room for another, and be in flight beside it when it is taken in again.

    Args:
        service: with the status as it was stored before.
        placements: of the topology.
        outcomes: by region; a region that was not looked at has none.
        runs: by region, the hash of the revision of which its objects are known to be.
    """
    before = {region.name: region for region in service.status.regions}
    known = remembered(service.status).regions
    busy = {name for name, region in known.items() if region.in_flight and region.protected}
    return tuple(
        _view(
            service,
            placement,
            outcomes.get(placement.region),
            runs.get(placement.region, ""),
            before.get(placement.region) or ServiceRegionStatus(name=placement.region),
        )
        for placement in placements
        if placement.counts or placement.region in busy
    )


def is_ready(workload: WorkloadStatus | None) -> bool:
    """Whether all pods that are wanted are there, are of the newest template, and are available; and no others."""
    return (
        workload is not None
        and workload.observed_generation >= workload.generation
        and workload.updated == workload.replicas == workload.wanted
        and workload.ready >= workload.wanted
        and workload.available >= workload.wanted
    )


def _view(
    service: ChatService,
    placement: Placement,
    outcome: RegionOutcome | None,
    runs: str,
    before: ServiceRegionStatus,
) -> rollout.RegionView:
    workload = outcome.workload if outcome is not None else None
    # For a rollout it is the same whether a region gives no answer or has no place for this service.
    away = outcome is not None and outcome.kind in (OutcomeKind.UNREACHABLE, OutcomeKind.BUSY)
    reachable = placement.writable and not away
    return rollout.RegionView(
        name=placement.region,
        role=service.spec.topology.role_of(placement.region),
        reachable=reachable,
        held=placement.verdict is Verdict.HELD,
        runs=runs if outcome is not None and outcome.settled else "",
        ready=is_ready(workload),
        lost=workload is not None and workload.ready < min(before.ready_replicas, workload.wanted),
        # Before this pass has got as far as to hear it anew, what the cluster said last time is the best explanation.
        detail=_detail(outcome) if outcome is None or outcome.settled or outcome.message else _said(before, outcome),
    )


def _said(before: ServiceRegionStatus, outcome: RegionOutcome) -> str:
    """What was said of the region before; not that its time is over, for that is said of this."""
    if before.phase is RegionRolloutPhase.FAILED:
        return _detail(outcome)
    return before.message.removeprefix(f"region {before.name}: ")


def _detail(outcome: RegionOutcome | None) -> str:
    """What keeps a region from being ready, in the words of whoever knows."""
    if outcome is None:
        return ""
    if outcome.message and not outcome.settled:
        return outcome.message
    if (workload := outcome.workload) is None:
        return ""
    # Which of the ready pods are new ones is not told; the old ones are ready as a rule, so they are not counted.
    ready = max(0, min(workload.updated, workload.ready - (workload.replicas - workload.updated)))
    pods = f"; {outcome.pods}" if outcome.pods else ""
    # While there are pods of a former template, the ready ones beside this are theirs.
    which = " of the new revision" if workload.updated < workload.replicas else ""
    return workload.failure or f"{ready} of {workload.wanted} pods{which} are ready{pods}"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a status is derived from.

    Attributes:
        service: with the status as it was stored before.
        placements: of the topology.
        decision: of the rollout.
        views: what the rollout saw.
        outcomes: by region, of the topology and of regions that are being left.
        scales: by region, how many pods it should have; regions that cannot be written may be absent.
        floor: what the peaks ask for.
        ring: the KeyRing that the spec names; None: it names none, or there is none.
    """

    service: ChatService
    placements: Sequence[Placement]
    decision: rollout.Decision
    views: Sequence[rollout.RegionView]
    outcomes: Mapping[str, RegionOutcome] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    floor: Floor = field(default_factory=lambda: Floor(0, (), None))
    ring: RingFacts | None = None


def derive(facts: Facts, now: datetime) -> ChatServiceStatus:
    """The whole status.

    Args:
        facts: what it is derived from; the same facts always give the same status.
        now: the present moment, for the conditions that change.
    """
    state = facts.decision.state
    subjects = tuple(_subject(placement, facts) for placement in facts.placements)
    images = _images(facts)
    before = {region.name: region for region in facts.service.status.regions}
    placed = tuple(_region_status(subject, facts, before.get(subject.name), images) for subject in subjects)
    left = tuple(
        _leaving(outcome, before.get(outcome.region))
        for outcome in facts.outcomes.values()
        if outcome.kind is OutcomeKind.REMOVING
    )
    status = ChatServiceStatus(
        observed_generation=facts.service.metadata.generation,
        revision=state.target,
        image=_cut(", ".join(dict.fromkeys(region.image for region in placed if _runs(facts, region))), MESSAGE_LENGTH),
        ready_regions=f"{sum(subject.ready for subject in subjects)}/{len(subjects)}",
        regions=_bounded(placed, left),
        rollout=_rollout_status(facts.decision, len(subjects), images),
        active_peaks=facts.floor.active,
        conditions=facts.service.status.conditions,
    )
    found = conditions.Service(
        subjects=subjects,
        leaving={region.name: region.message for region in left},
        decision=facts.decision,
        autoscaled=facts.service.spec.autoscaling is not None,
        peaks=facts.floor.active,
        generation=facts.service.metadata.generation,
        encrypted=_encrypted(facts),
    )
    return status.model_copy(update={"conditions": conditions.derive(found, status.conditions, now)})


def pods(outcomes: Iterable[RegionOutcome]) -> tuple[Pods, ...]:
    """The pods of each region of the topology, as far as they are known."""
    return tuple(
        Pods(outcome.region, outcome.workload.replicas, outcome.workload.wanted)
        if outcome.workload is not None
        else Pods(outcome.region, 0, 0)
        for outcome in outcomes
        if outcome.kind is not OutcomeKind.REMOVING
    )


def _encrypted(facts: Facts) -> Finding | None:
    """Whether every pod has proved its keys; None when the service has none."""
    encryption = facts.service.spec.encryption
    if encryption is None:
        return None
    name = f"{facts.service.metadata.namespace}/{encryption.key_ring_ref.name}"
    said = not_proved(name, facts.ring, pods(facts.outcomes.values()))
    if said is not None or facts.ring is None:
        return said
    # Not which version that is: nothing that comes every few days by itself is worth writing into every service.
    return Finding(Reason.PROVED, f"every pod has proved that it holds the version of KeyRing {name} to write with")


def invalid(status: ChatServiceStatus, message: str, generation: int, now: datetime) -> ChatServiceStatus:
    """The status of a service whose spec cannot be carried out: what runs stays, and so does what is said of it.

    Args:
        status: as it was stored before.
        message: which field, which value, and what to write instead.
        generation: of the spec that was refused.
        now: the present moment.
    """
    changed = conditions.invalid(status.conditions, message, generation, now)
    return status.model_copy(update={"observed_generation": generation, "conditions": changed})


def deleting(
    status: ChatServiceStatus, outcomes: Mapping[str, RegionOutcome], generation: int, now: datetime
) -> ChatServiceStatus:
    """The status of a service that is being deleted: which regions still hold something of it, and why."""
    before = {region.name: region for region in status.regions}
    left = tuple(_leaving(outcome, before.get(outcome.region)) for outcome in outcomes.values())
    going = {o.region: o.message for o in outcomes.values() if o.kind is OutcomeKind.REMOVING}
    blocked = {o.region: o.message for o in outcomes.values() if o.kind is not OutcomeKind.REMOVING}
    changed = conditions.deleting(status.conditions, going, blocked, generation, now)
    return status.model_copy(
        update={
            "observed_generation": generation,
            "regions": _bounded((), left),
            "ready_regions": f"0/{len(left)}",
            "conditions": changed,
        }
    )


def _subject(placement: Placement, facts: Facts) -> Subject:
    """One region with all that the conditions need."""
    name = placement.region
    state = facts.decision.state.regions.get(name)
    view = next((view for view in facts.views if view.name == name), None)
    outcome = facts.outcomes.get(name)
    held = placement.verdict is Verdict.HELD
    ready = view is not None and state is not None and view.reachable and view.ready and view.runs == state.revision
    if not placement.writable:
        return Subject(name, placement.reason, placement.message, placed=False, stuck=not placement.counts)
    if outcome is not None and (reason := outcome.why) is not None:
        return Subject(
            name,
            reason,
            _named(name, outcome.message),
            placed=outcome.kind not in _UNPLACED,
            stuck=outcome.kind in _STUCK,
            conflict=outcome.kind in (OutcomeKind.CONFLICT, OutcomeKind.CONTESTED),
            ready=ready and outcome.kind is OutcomeKind.CONTESTED,
            held=held,
        )
    if (overdue := facts.decision.overdue.get(name)) is not None:
        return Subject(name, overdue.reason, overdue.message, stuck=True)
    message = "" if ready else _named(name, _detail(outcome) or "not looked at yet")
    return Subject(
        name,
        None if ready else Reason.PROGRESSING,
        message,
        ready=ready,
        held=held,
        pods="" if ready else _words(outcome),
    )


def _words(outcome: RegionOutcome | None) -> str:
    """What keeps the pods, in the words of the cluster alone."""
    if outcome is None or (workload := outcome.workload) is None:
        return ""
    return workload.failure or outcome.pods


_UNPLACED: Final = (OutcomeKind.UNREACHABLE, OutcomeKind.NAMESPACE_MISSING, OutcomeKind.BLOCKED)
_STUCK: Final = (
    OutcomeKind.NAMESPACE_MISSING,
    OutcomeKind.BLOCKED,
    OutcomeKind.REFUSED,
    OutcomeKind.CONFLICT,
)


def _named(region: str, message: str) -> str:
    return message if region in message else f"region {region}: {message}"


def _images(facts: Facts) -> dict[str, str]:
    """The image of each revision that is in use, as far as it is known without reading the revisions themselves."""
    before = facts.service.status
    known = {region.revision: region.image for region in before.regions if region.image}
    if before.rollout.previous_image:
        known[before.rollout.previous] = before.rollout.previous_image
    return {**known, facts.decision.state.target: facts.service.spec.image}


def _region_status(
    subject: Subject, facts: Facts, before: ServiceRegionStatus | None, images: Mapping[str, str]
) -> ServiceRegionStatus:
    name = subject.name
    service = facts.service
    entry = before or ServiceRegionStatus(name=name)
    outcome = facts.outcomes.get(name)
    if outcome is not None and outcome.kind is not OutcomeKind.UNREACHABLE:
        entry = entry.model_copy(
            update={
                "desired_replicas": _desired_replicas(
                    facts.scales.get(name), outcome.workload, held=_is_held(facts, name)
                ),
                "ready_replicas": outcome.workload.ready if outcome.workload is not None else 0,
                "applied": outcome.applied,
                "input": outcome.input,
                "address": outcome.address or f"{service.metadata.name}-{name}.{service.metadata.namespace}.svc",
            }
        )
    state = facts.decision.state.regions.get(name)
    entry = entry.model_copy(
        update={
            "phase": _region_phase(subject, facts, state),
            "role": service.spec.topology.role_of(name),
            "message": _cut(subject.message, MESSAGE_LENGTH),
        }
    )
    if state is None:
        return entry  # refused and at rest: what is remembered of it is still true when it is taken in again
    return entry.model_copy(
        update={
            "revision": state.revision,
            "image": images.get(state.revision, ""),
            "last_good_revision": state.last_good,
            "stage": state.stage,
            "since": state.since,
        }
    )


def _runs(facts: Facts, region: ServiceRegionStatus) -> bool:
    """Whether the image that is recorded of a region runs there, as far as is known."""
    outcome = facts.outcomes.get(region.name)
    if outcome is None or outcome.kind is OutcomeKind.UNREACHABLE:
        return bool(region.image and region.applied)
    return bool(region.image) and outcome.workload is not None


def _is_held(facts: Facts, region: str) -> bool:
    return any(view.held for view in facts.views if view.name == region)


def _desired_replicas(scale: Scale | None, workload: WorkloadStatus | None, *, held: bool) -> int:
    if scale is None:
        return workload.wanted if workload is not None else 0
    if not scale.autoscaled:
        return scale.minimum
    # In a cordoned region this number is the most that it may have, so it must not follow the autoscaler down.
    if held:
        return scale.maximum
    return workload.wanted if workload is not None else scale.minimum


def _region_phase(subject: Subject, facts: Facts, state: rollout.RegionState | None) -> RegionRolloutPhase:
    if subject.reason is Reason.REGION_UNREACHABLE:
        return RegionRolloutPhase.UNREACHABLE
    if subject.name in facts.decision.overdue:
        return RegionRolloutPhase.FAILED
    if subject.stuck:
        return RegionRolloutPhase.REFUSED
    if state is None:
        return RegionRolloutPhase.PENDING
    overall = facts.decision.state
    if overall.phase is RolloutPhase.ROLLING_BACK and state.in_flight and state.revision != overall.target:
        return RegionRolloutPhase.ROLLING_BACK
    match state.stage:
        case RegionStage.UPDATING:
            return RegionRolloutPhase.PROGRESSING
        case RegionStage.BAKING:
            return RegionRolloutPhase.BAKING
        case RegionStage.LOST:
            outcome = facts.outcomes.get(subject.name)
            is_busy = outcome is not None and outcome.kind is OutcomeKind.BUSY
            return RegionRolloutPhase.PROGRESSING if is_busy else RegionRolloutPhase.UNREACHABLE
        case RegionStage.SETTLED:
            return RegionRolloutPhase.READY if subject.ready else RegionRolloutPhase.DEGRADED


def _leaving(outcome: RegionOutcome, before: ServiceRegionStatus | None) -> ServiceRegionStatus:
    entry = before or ServiceRegionStatus(name=outcome.region)
    unreachable = outcome.kind is OutcomeKind.UNREACHABLE
    return entry.model_copy(
        update={
            "phase": RegionRolloutPhase.UNREACHABLE if unreachable else RegionRolloutPhase.REMOVING,
            "message": _cut(outcome.message, MESSAGE_LENGTH),
            # Put back before it was cleaned, it has something to lose as before.
            "stage": RegionStage.LOST if entry.stage in (RegionStage.UPDATING, RegionStage.BAKING) else entry.stage,
        }
    )


def _bounded(
    placed: tuple[ServiceRegionStatus, ...], left: tuple[ServiceRegionStatus, ...]
) -> tuple[ServiceRegionStatus, ...]:
    """As many as the schema takes: a status with one more would be refused whole, and nothing be remembered at all.

    What is being left is cut, never what is placed: children there are still found by their labels.
    """
    room = MAX_STATUS_REGIONS - len(placed)
    if len(left) <= room:
        return placed + left
    *shown, last = left[:room]
    words = f"{len(left) - room} more regions are being left than can be shown here; {last.message}"
    return (*placed, *shown, last.model_copy(update={"message": _cut(words, MESSAGE_LENGTH)}))


def _rollout_status(decision: rollout.Decision, total: int, images: Mapping[str, str]) -> RolloutStatus:
    state = decision.state
    flying = [name for name, region in state.regions.items() if region.in_flight]
    stages = {state.regions[name].stage for name in flying}
    baking = state.phase is RolloutPhase.PROGRESSING and stages == {RegionStage.BAKING}
    return RolloutStatus(
        revision=state.target,
        previous=state.good,
        previous_image=images.get(state.good, ""),
        phase=RolloutPhase.BAKING if baking else state.phase,
        started_at=state.started_at,
        region=_cut(",".join(flying), LIST_LENGTH),
        regions_done=sum(region.revision == state.target and not region.in_flight for region in state.regions.values()),
        regions_total=total,
        message=_cut(state.message or decision.waiting, MESSAGE_LENGTH),
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
