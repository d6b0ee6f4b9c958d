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
from roadstead.chat.rollout import Decision, State

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
        held: it is cordoned, and keeps what it has.
        pods: what keeps its pods from being ready, in the cluster's words; empty when unknown.
    """

    name: str
    reason: Reason | None
    message: str
    placed: bool = True
    stuck: bool = False
    conflict: bool = False
    ready: bool = False
    held: bool = False
    pods: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """What the conditions are derived from.

    Attributes:
        subjects: the regions of the topology.
        leaving: by name, the regions that are being left, with what holds that up in words.
        decision: of the rollout.
        autoscaled: the spec asks for autoscalers.
        peaks: names of the active ones.
        generation: of the spec that was looked at.
        encrypted: whether every pod has proved its keys (`Reason.PROVED`), or why not; None when it has none.
    """

    subjects: Sequence[Subject]
    leaving: Mapping[str, str]
    decision: Decision
    autoscaled: bool
    peaks: Sequence[str]
    generation: int
    encrypted: Finding | None = None


_CARRIED_OUT: Final = Finding(Reason.READY, "every region is as the spec asks")
_ALL_PLACED: Final = Finding(Reason.PLACED, "every region of the topology can be written")
_NOT_STALLED: Final = Finding(Reason.NOT_STALLED, "")
_TRY_AGAIN: Final = "change the spec, or set spec.rollout.state to Paused and back to Running to try again"


def derive(service: Service, before: _Conditions, now: datetime) -> _Conditions:
    """All conditions of a service whose spec is being carried out."""
    rolled_out = _rolled_out(service)
    obstacle = _obstacle(service, rolled_out)
    stalled = obstacle if obstacle is not None and _is_stalled(service, rolled_out) else None
    paused = service.decision.state.phase is RolloutPhase.PAUSED
    working = obstacle if obstacle is not None and stalled is None and not paused else None
    writer = _Writer(before, service.generation, now)
    writer.say(ConditionType.READY, obstacle is None, obstacle or _CARRIED_OUT)
    idle = _idle(stalled) if stalled is not None else obstacle or _CARRIED_OUT
    writer.say(ConditionType.RECONCILING, working is not None, working or idle)
    writer.say(ConditionType.STALLED, stalled is not None, stalled or _NOT_STALLED)
    placed = _joined([subject for subject in service.subjects if not subject.placed])
    writer.say(ConditionType.PLACED, placed is None, placed or _ALL_PLACED)
    # Ready's message is what kubectl get shows, and Stalled's what kstatus does; the others need not say it all again.
    told = _briefly(service, rolled_out) if obstacle is rolled_out and _is_over(service) else rolled_out
    writer.say(ConditionType.ROLLED_OUT, rolled_out.reason is Reason.ROLLED_OUT, told)
    writer.say_if(ConditionType.CONFLICT, _joined([subject for subject in service.subjects if subject.conflict]))
    writer.say_if(ConditionType.AUTOSCALED, _autoscaled(service))
    if service.encrypted is not None:
        writer.say(ConditionType.ENCRYPTED, service.encrypted.reason is Reason.PROVED, service.encrypted)
    return drop_condition(writer.conditions, ConditionType.DELETING)


def invalid(before: _Conditions, message: str, generation: int, now: datetime) -> _Conditions:
    """The conditions of a service whose spec is refused; what is said of the rest stays true."""
    finding = Finding(Reason.INVALID_SPEC, message)
    writer = _Writer(before, generation, now)
    writer.say(ConditionType.READY, False, finding)
    writer.say(ConditionType.RECONCILING, False, _idle(finding))
    writer.say(ConditionType.STALLED, True, finding)
    return writer.conditions


def _idle(stalled: Finding) -> Finding:
    """What Reconciling says of a service that stalls."""
    return Finding(stalled.reason, "the condition Stalled says why nothing is under way")


def deleting(
    before: _Conditions, left: Mapping[str, str], blocked: Mapping[str, str], generation: int, now: datetime
) -> _Conditions:
    """The conditions of a service that is being deleted.

    Args:
        before: the present ones.
        left: regions that still hold something, with what is being removed there in words.
        blocked: other regions, where nothing can be removed now, with the reason and the cure in words.
        generation: of the object.
        now: the present moment.
    """
    if blocked:
        finding = Finding(Reason.DELETION_BLOCKED, "; ".join([*blocked.values(), *filter(None, left.values())]))
    else:
        finding = Finding(Reason.DELETING, _removing(left) or "nothing is left")
    writer = _Writer(before, generation, now)
    writer.say(ConditionType.READY, False, finding)
    writer.say(ConditionType.RECONCILING, not blocked, finding)
    writer.say(ConditionType.STALLED, bool(blocked), finding)
    writer.say(ConditionType.DELETING, True, finding)
    return writer.conditions


def _removing(left: Mapping[str, str]) -> str:
    """What is being removed: named, where something holds it up; a region where nothing does is only named itself."""
    quiet = [name for name, words in left.items() if not words]
    begun = [f"removing what is in {', '.join(quiet)}"] if quiet else []
    return "; ".join([*begun, *filter(None, left.values())])


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
    behind = _behind(state)
    if not behind and state.regions:
        return Finding(Reason.ROLLED_OUT, f"every region runs revision {state.target}")
    if state.phase in _FORWARD and _are_cordoned(service, behind):
        names = ", ".join(behind)
        cure = "; ".join(f"roadstead region uncordon {name}" for name in behind)
        what = "it" if len(behind) == 1 else "them"
        message = (
            f"{_done(state)}; cordoned: {names}; uncordon {what} ({cure}) or take {what} out of spec.topology.regions"
        )
        return Finding(Reason.REGION_CORDONED, message)
    if state.phase is RolloutPhase.ROLLED_BACK:
        return Finding(Reason.ROLLED_BACK, _said(state.message, _returned(service), decision.waiting, _TRY_AGAIN))
    if state.phase is RolloutPhase.FAILED:
        return Finding(Reason.ROLLOUT_FAILED, _said(state.message, _done(state), decision.waiting, _TRY_AGAIN))
    message = _said(state.message, _done(state), decision.waiting, _pods(service))
    if state.phase is RolloutPhase.COMPLETE:
        return Finding(_laggards_reason(service, behind), message)
    stages = {region.stage for region in state.regions.values() if region.in_flight}
    if state.phase is RolloutPhase.PROGRESSING and stages == {RegionStage.BAKING}:
        return Finding(Reason.BAKING, message)
    return Finding(_PHASE_REASONS[state.phase], message)


_FORWARD: Final = (RolloutPhase.PROGRESSING, RolloutPhase.COMPLETE)


def _said(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _behind(state: State) -> list[str]:
    """Names of the regions that do not run the target for good."""
    return [
        name
        for name, region in state.regions.items()
        if region.revision != state.target or region.stage is not RegionStage.SETTLED
    ]


def _done(state: State) -> str:
    done = len(state.regions) - len(_behind(state))
    return f"{done} of {len(state.regions)} regions run revision {state.target}"


def _returned(service: Service) -> str:
    """Where a rollback has arrived. Of a region that is no part of the rollout now nothing is claimed."""
    state = service.decision.state
    back = {name for name, region in state.regions.items() if region.revision == state.good and not region.in_flight}
    count = sum(subject.name in back for subject in service.subjects)
    if count == len(service.subjects):
        return f"every region runs revision {state.good} again"
    return f"{count} of {len(service.subjects)} regions run revision {state.good} again"


def _are_cordoned(service: Service, behind: Sequence[str]) -> bool:
    """Whether all that lacks the target is cordoned and at rest: none of it moves before a person says so."""
    held = {subject.name for subject in service.subjects if subject.held}
    regions = service.decision.state.regions
    return bool(behind) and all(name in held and not regions[name].in_flight for name in behind)


def _pods(service: Service) -> str:
    """What keeps pods from being ready, in the first region where that is known: all of it would fill a screen."""
    return next((f"region {subject.name}: {subject.pods}" for subject in service.subjects if subject.pods), "")


def _briefly(service: Service, rolled_out: Finding) -> Finding:
    return Finding(rolled_out.reason, f"{_done(service.decision.state)}; the condition Ready says why")


_PHASE_REASONS: Final[Mapping[RolloutPhase, Reason]] = {
    RolloutPhase.PROGRESSING: Reason.ROLLING_OUT,
    RolloutPhase.PAUSED: Reason.PAUSED,
    RolloutPhase.ROLLING_BACK: Reason.ROLLING_BACK,
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
    if _waits_for_a_person(service, rolled_out):
        return rolled_out
    if unplaced := _joined([subject for subject in wrong if not subject.placed]):
        return unplaced
    if rolled_out.reason is not Reason.ROLLED_OUT and service.decision.state.regions:
        return rolled_out
    if service.leaving:
        return Finding(Reason.PROGRESSING, _removing(service.leaving))
    if wrong:
        return _joined(wrong)
    if service.encrypted is not None and service.encrypted.reason is not Reason.PROVED:
        return service.encrypted
    return None


_STOPPED: Final = (RolloutPhase.FAILED, RolloutPhase.ROLLED_BACK)


def _is_stalled(service: Service, rolled_out: Finding) -> bool:
    """Whether nothing gets further until somebody changes something."""
    stuck = any(subject.stuck and not subject.ready for subject in service.subjects)
    return stuck or _waits_for_a_person(service, rolled_out)


def _waits_for_a_person(service: Service, rolled_out: Finding) -> bool:
    """Whether the rollout goes no further by itself: it stopped, or all that is missing is cordoned."""
    if rolled_out.reason is Reason.REGION_CORDONED:
        return True
    return _is_over(service) and rolled_out.reason is not Reason.ROLLED_OUT


def _is_over(service: Service) -> bool:
    """Whether the rollout ended without success."""
    return service.decision.state.phase in _STOPPED


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
