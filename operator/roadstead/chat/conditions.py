"""The conditions of a ChatService: what holds, why not, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from roadstead.api.chatservice import RegionStage, RolloutPhase
from roadstead.api.conditions import (
    Condition,
    ConditionType,
    Reason,
    drop_condition,
    set_condition,
)
from roadstead.chat.finding import Finding
from roadstead.chat.rollout import Decision

_Conditions = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """One region of the topology, as the conditions see it.

    Attributes:
        name: of the region.
        reason: what is the matter; None when nothing is.
        message: the same in words, with the region's name in it.
        placed: the service is, or can be, written there.
        stuck: nothing changes until somebody changes something.
        conflict: an object's owner is in dispute.
        ready: it is as the spec asks, but for the revision.
    """

    name: str
    reason: Reason | None
    message: str
    placed: bool = True
    stuck: bool = False
    conflict: bool = False
    ready: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What the conditions are derived from.

    Attributes:
        subjects: the regions of the topology.
        leaving: names of the regions that are being left.
        decision: of the rollout.
        autoscaled: the spec asks for autoscalers.
        peaks: names of the active ones.
        generation: of the spec that was looked at.
    """

    subjects: Sequence[Subject]
    leaving: Sequence[str]
    decision: Decision
    autoscaled: bool
    peaks: Sequence[str]
    generation: int


_CARRIED_OUT: Final = Finding(Reason.READY, "every region is as the spec asks")


def derive(service: Service, before: _Conditions, now: datetime) -> _Conditions:
    """All conditions of a service whose spec is being carried out."""
    rolled_out = _rolled_out(service)
    obstacle = _obstacle(service, rolled_out)
    stalled = obstacle if obstacle is not None and _is_stalled(service, rolled_out) else None
    paused = service.decision.state.phase is RolloutPhase.PAUSED
    working = obstacle if obstacle is not None and stalled is None and not paused else None
    writer = _Writer(before, service.generation, now)
    writer.say(ConditionType.READY, obstacle is None, obstacle or _CARRIED_OUT)
    writer.say(ConditionType.RECONCILING, working is not None, working or stalled or obstacle or _CARRIED_OUT)
    writer.say(ConditionType.STALLED, stalled is not None, stalled or _NOT_STALLED)
    placed = _joined([subject for subject in service.subjects if not subject.placed])
    writer.say(ConditionType.PLACED, placed is None, placed or Finding(Reason.PLACED, ""))
    writer.say(ConditionType.ROLLED_OUT, rolled_out.reason is Reason.ROLLED_OUT, rolled_out)
    writer.say_if(ConditionType.CONFLICT, _joined([subject for subject in service.subjects if subject.conflict]))
    writer.say_if(ConditionType.AUTOSCALED, _autoscaled(service))
    return drop_condition(writer.conditions, ConditionType.DELETING)


_NOT_STALLED: Final = Finding(Reason.NOT_STALLED, "")


def invalid(before: _Conditions, message: str, generation: int, now: datetime) -> _Conditions:
    """The conditions of a service whose spec is refused; what is said of the rest stays true."""
    finding = Finding(Reason.INVALID_SPEC, message)
    writer = _Writer(before, generation, now)
    writer.say(ConditionType.READY, False, finding)
    writer.say(ConditionType.RECONCILING, False, finding)
    writer.say(ConditionType.STALLED, True, finding)
    return writer.conditions


def deleting(
    before: _Conditions, left: Sequence[str], blocked: Mapping[str, str], generation: int, now: datetime
) -> _Conditions:
    """The conditions of a service that is being deleted.

    Args:
        before: the present ones.
        left: regions that still hold something.
        blocked: those of them where nothing can be removed now, with the reason and the cure in words.
        generation: of the object.
        now: the present moment.
    """
    if blocked:
        finding = Finding(Reason.DELETION_BLOCKED, "; ".join(blocked.values()))
    else:
        finding = Finding(Reason.DELETING, f"removing what is in {', '.join(left)}" if left else "nothing is left")
    writer = _Writer(before, generation, now)
    writer.say(ConditionType.READY, False, finding)
    writer.say(ConditionType.RECONCILING, not blocked, finding)
    writer.say(ConditionType.STALLED, bool(blocked), finding)
    writer.say(ConditionType.DELETING, True, finding)
    return writer.conditions


class _Writer:
    """Sets one condition after the other."""

    def __init__(self, before: _Conditions, generation: int, now: datetime) -> None:
        self.conditions = before
        self._generation = generation
        self._now = now

    def say(self, what: ConditionType, holds: bool, finding: Finding) -> None:
        self.conditions = set_condition(
            self.conditions, what, holds, finding.reason, finding.message, generation=self._generation, now=self._now
        )

    def say_if(self, what: ConditionType, finding: Finding | None) -> None:
        """True with the finding; without one the condition is left out."""
        if finding is None:
            self.conditions = drop_condition(self.conditions, what)
        else:
            self.say(what, True, finding)


def _rolled_out(service: Service) -> Finding:
    """Whether every region runs the target, or why not."""
    decision = service.decision
    state = decision.state
    behind = [
        name
        for name, region in state.regions.items()
        if region.revision != state.target or region.stage is not RegionStage.SETTLED
    ]
    done = f"{len(state.regions) - len(behind)} of {len(state.regions)} regions run revision {state.target}"
    if not behind and state.regions:
        return Finding(Reason.ROLLED_OUT, f"every region runs revision {state.target}")
    message = "; ".join(part for part in (state.message, done, decision.waiting) if part)
    if state.phase is RolloutPhase.COMPLETE:
        return Finding(_laggards_reason(service, behind), message)
    stages = {region.stage for region in state.regions.values() if region.in_flight}
    if state.phase is RolloutPhase.PROGRESSING and stages == {RegionStage.BAKING}:
        return Finding(Reason.BAKING, message)
    return Finding(_PHASE_REASONS[state.phase], message)


_PHASE_REASONS: Final[Mapping[RolloutPhase, Reason]] = {
    RolloutPhase.PROGRESSING: Reason.ROLLING_OUT,
    RolloutPhase.PAUSED: Reason.PAUSED,
    RolloutPhase.FAILED: Reason.ROLLOUT_FAILED,
    RolloutPhase.ROLLING_BACK: Reason.ROLLING_BACK,
    RolloutPhase.ROLLED_BACK: Reason.ROLLED_BACK,
}


def _laggards_reason(service: Service, behind: Sequence[str]) -> Reason:
    """Why a rollout is complete and yet not everywhere."""
    for subject in service.subjects:
        if subject.name in behind and subject.reason is not None:
            return subject.reason
    return Reason.REGION_CORDONED


def _obstacle(service: Service, rolled_out: Finding) -> Finding | None:
    """Why the service is not as the spec asks; None when it is. What needs a person comes first."""
    wrong = [subject for subject in service.subjects if not subject.ready]
    if stuck := _joined([subject for subject in wrong if subject.stuck]):
        return stuck
    if service.decision.state.phase in _STOPPED and rolled_out.reason is not Reason.ROLLED_OUT:
        return rolled_out
    if unplaced := _joined([subject for subject in wrong if not subject.placed]):
        return unplaced
    if rolled_out.reason is not Reason.ROLLED_OUT and service.decision.state.regions:
        return rolled_out
    if service.leaving:
        return Finding(Reason.PROGRESSING, f"removing what is in {', '.join(service.leaving)}")
    return _joined(wrong)


_STOPPED: Final = (RolloutPhase.FAILED, RolloutPhase.ROLLED_BACK)


def _is_stalled(service: Service, rolled_out: Finding) -> bool:
    """Whether nothing gets further until somebody changes something."""
    stopped = service.decision.state.phase in _STOPPED and rolled_out.reason is not Reason.ROLLED_OUT
    return stopped or any(subject.stuck and not subject.ready for subject in service.subjects)


def _autoscaled(service: Service) -> Finding | None:
    if not service.autoscaled:
        return None
    if service.peaks:
        return Finding(Reason.AT_PEAK, f"pods are raised for {', '.join(service.peaks)}")
    return Finding(Reason.FOLLOWING_LOAD, "no peak is active")


def _joined(subjects: Sequence[Subject]) -> Finding | None:
    """The first one's reason, and what is to be said of all of them."""
    first = next((subject for subject in subjects if subject.reason is not None), None)
    if first is None or first.reason is None:
        return None
    return Finding(first.reason, "; ".join(subject.message for subject in subjects if subject.message))
