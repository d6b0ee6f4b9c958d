"""Which revision each region runs now: `decide`, a pure state machine that keeps all its state in the status.

A new revision goes region by region: standbys first, then in the order of the topology, the primary last, never more
than ``maxParallelRegions`` at a time. A region that was moved must become ready within ``progressDeadline`` and then
stay so for ``bakeTime``; then it is *settled*, and the next one is moved. When one of the `FAILURE_CHECKS` finds
something, no other region is touched, and the whole service returns to its last good revision (or stops there and says
so).

Words used here:

* *target*: the revision that the spec stands for. *good*: the last one with which a rollout completed;
  before that, the first that was settled anywhere.
* A region is *in flight* from the moment it is moved until it is settled. A region that was never settled has nothing
  to lose: it is moved at once, needs no bake, is not counted against the limit and fails no rollout. So a first install
  goes to all regions at once.
* A region that cannot be reached, or is cordoned, is never moved. It neither blocks the others nor counts as done: when
  the others have been settled for a progress deadline, the rollout is complete without it, and it catches up later.

docs/concepts/rollout.md tells the same for users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from roadstead.api.chatservice import OnFailure, RegionStage, Role, Rollout, RolloutPhase, RolloutState
from roadstead.api.duration import format_duration
from roadstead.chat.finding import Finding
from roadstead.chat.rollout_checks import FAILURE_CHECKS, deadline, progress_deadline_exceeded
from roadstead.chat.rollout_state import Decision, RegionState, RegionView, State

__all__ = ("Decision", "RegionState", "RegionView", "State", "decide")


def decide(state: State, target: str, views: Sequence[RegionView], policy: Rollout, now: datetime) -> Decision:
    """The next state, from the present one and what is seen now.

    Calling it again with its own state and the same views changes nothing.

    Args:
        state: the stored one; `State()` for a service that has none.
        target: hash of the revision that the spec stands for now.
        views: the regions where the service is placed, in the order of the topology.
        policy: ``spec.rollout``.
        now: the present moment.
    """
    now = _whole_seconds(now)
    by_name = {view.name: view for view in views}
    moved: list[str] = []
    while True:
        state, more = _step(state, target, views, policy, now)
        moved += more
        # A region may run already what it is given back; then it is settled at once, and the next one may follow.
        if not any(by_name[name].runs == state.regions[name].revision for name in more):
            break
    overdue = {
        name: finding
        for name, region in state.regions.items()
        if (finding := progress_deadline_exceeded(region, by_name[name], policy, now)) is not None
    }
    return Decision(
        state=state,
        moved=tuple(moved),
        persist_first=any(state.regions[name].protected for name in moved),
        wake_at=_wake_at(state, policy, now),
        overdue=overdue,
        waiting=_waiting(state, by_name, policy),
    )


def _step(
    state: State, target: str, views: Sequence[RegionView], policy: Rollout, now: datetime
) -> tuple[State, tuple[str, ...]]:
    """What is seen, then what fails, then who is moved."""
    by_name = {view.name: view for view in views}
    state = _with_target(state, target, now)
    state = _resumed(state, policy, now)
    state = _with_members(state, views, policy, now)
    failure = _failure(state, by_name, policy, now)
    state = replace(
        state,
        regions={name: _observed(region, by_name[name], state, policy, now) for name, region in state.regions.items()},
    )
    state = _with_first_good(state)
    if failure is not None:
        state = _failed(state, failure, policy)
    state, moved = _with_moves(state, _order(views), policy, now)
    return _paused(_with_phase(state, by_name, policy, now), policy), moved


def _with_target(state: State, target: str, now: datetime) -> State:
    """A new target supersedes whatever is going on; what failed before no longer matters."""
    if target == state.target:
        return state
    return replace(state, target=target, phase=RolloutPhase.PROGRESSING, started_at=now, message="")


def _is_paused(policy: Rollout) -> bool:
    return policy.state is RolloutState.PAUSED


def _paused(state: State, policy: Rollout) -> State:
    """Pausing also takes note of a failure. A rollback that has begun is not paused."""
    pausable = (RolloutPhase.PROGRESSING, RolloutPhase.FAILED, RolloutPhase.ROLLED_BACK)
    return replace(state, phase=RolloutPhase.PAUSED) if _is_paused(policy) and state.phase in pausable else state


def _resumed(state: State, policy: Rollout, now: datetime) -> State:
    """Running again after a pause: what had failed is tried once more, with its time before it."""
    if _is_paused(policy) or state.phase is not RolloutPhase.PAUSED:
        return state
    regions = {
        name: replace(region, since=now) if region.stage is RegionStage.UPDATING else region
        for name, region in state.regions.items()
    }
    return replace(state, phase=RolloutPhase.PROGRESSING, message="", regions=regions)


def _with_members(state: State, views: Sequence[RegionView], policy: Rollout, now: datetime) -> State:
    """Regions that left the topology are forgotten; new ones begin with what the service is meant to run."""
    begin = state.target if state.phase in _FORWARD and not _is_paused(policy) else state.good or state.target
    return replace(
        state,
        regions={
            view.name: state.regions.get(view.name) or RegionState(begin, RegionStage.UPDATING, now) for view in views
        },
    )


_FALLIBLE: Final = (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED, RolloutPhase.FAILED)
_FORWARD: Final = (RolloutPhase.PROGRESSING, RolloutPhase.COMPLETE)
_BACKWARD: Final = (RolloutPhase.ROLLING_BACK, RolloutPhase.ROLLED_BACK)


def _observed(region: RegionState, view: RegionView, state: State, policy: Rollout, now: datetime) -> RegionState:
    """One region, taken as far as what is seen of it allows."""
    if not view.reachable:
        lost = region.stage in (RegionStage.UPDATING, RegionStage.BAKING)
        return replace(region, stage=RegionStage.LOST, since=now) if lost else region
    if region.stage is RegionStage.LOST:
        region = replace(region, stage=RegionStage.UPDATING, since=now)
    if view.runs != region.revision:
        return region
    if view.lost and (region.stage is RegionStage.BAKING or _reopens(region, state)):
        return replace(region, stage=RegionStage.UPDATING, since=now)
    if region.stage is RegionStage.UPDATING and view.ready:
        region = replace(region, stage=RegionStage.BAKING, since=now)
    if region.stage is RegionStage.BAKING and view.ready and now >= region.since + _bake(region, state, policy):
        region = replace(region, stage=RegionStage.SETTLED, since=now, last_good=region.revision)
    return region


def _reopens(region: RegionState, state: State) -> bool:
    """While a new revision is not proven, a settled region that loses pods with it is watched again before the next."""
    proving = state.phase in _FALLIBLE and region.revision == state.target != state.good
    return proving and region.stage is RegionStage.SETTLED


def _bake(region: RegionState, state: State, policy: Rollout) -> timedelta:
    """How long the region must stay ready; no time for a revision that is proven or a region with nothing to lose."""
    unproven = region.revision != state.good
    return policy.bake_time if unproven and region.protected else timedelta()


def _failure(state: State, views: Mapping[str, RegionView], policy: Rollout, now: datetime) -> Finding | None:
    """Why the rollout to the target has failed; None when it has not."""
    if state.phase not in _FALLIBLE or state.target == state.good:
        return None
    for name, region in state.regions.items():
        if region.revision != state.target or not region.protected or not views[name].reachable:
            continue
        for check in FAILURE_CHECKS:
            if (finding := check(region, views[name], policy, now)) is not None:
                return finding
    return None


def _with_first_good(state: State) -> State:
    """Before the first rollout has completed, what is settled in one region is the best that there is to return to."""
    if state.good:
        return state
    settled = (region.revision for region in state.regions.values() if not region.in_flight)
    return replace(state, good=next(settled, ""))


def _failed(state: State, failure: Finding, policy: Rollout) -> State:
    if policy.on_failure is OnFailure.ROLL_BACK:
        return replace(state, phase=RolloutPhase.ROLLING_BACK, message=failure.message)
    if _is_paused(policy) or state.phase is RolloutPhase.FAILED:
        return state  # it has stopped already; the first reason stands
    return replace(state, phase=RolloutPhase.FAILED, message=failure.message)


def _with_moves(
    state: State, order: Sequence[RegionView], policy: Rollout, now: datetime
) -> tuple[State, tuple[str, ...]]:
    """Give regions the revision that they should have, as far as that is safe now."""
    if _is_paused(policy) and state.phase is not RolloutPhase.ROLLING_BACK:
        return state, ()
    regions = dict(state.regions)
    moved = []
    for view in order:
        region = regions[view.name]
        destination = _destination(region, state)
        if region.in_flight and region.revision != destination:
            # Already disturbed: sending it straight on disturbs nothing else.
            regions[view.name] = _moved(region, destination, now)
            moved.append(view.name)
    slots = _free_slots(regions, {view.name: view for view in order}, policy, now)
    for view in order:
        region = regions[view.name]
        destination = _destination(region, state)
        if slots > 0 and _may_be_moved(region, view) and region.revision != destination:
            regions[view.name] = _moved(region, destination, now)
            moved.append(view.name)
            slots -= 1
    return replace(state, regions=regions), tuple(moved)


def _destination(region: RegionState, state: State) -> str:
    """The revision that the region should have in the end, as things are."""
    if state.phase in _FORWARD:
        return state.target
    if state.phase in _BACKWARD:
        return state.good
    return region.revision


def _may_be_moved(region: RegionState, view: RegionView) -> bool:
    return region.stage is RegionStage.SETTLED and view.reachable and not view.held


def _moved(region: RegionState, revision: str, now: datetime) -> RegionState:
    if region.stage is RegionStage.LOST:
        return replace(region, revision=revision)
    return replace(region, revision=revision, stage=RegionStage.UPDATING, since=now)


def _free_slots(
    regions: Mapping[str, RegionState], views: Mapping[str, RegionView], policy: Rollout, now: datetime
) -> int:
    """How many settled regions may be moved now; none while a region that was moved does not get ready."""
    in_flight = {name: region for name, region in regions.items() if region.in_flight and region.protected}
    if any(
        progress_deadline_exceeded(region, views[name], policy, now) is not None for name, region in in_flight.items()
    ):
        return 0
    # What became unreachable in flight may be down; after its deadline it is taken for gone rather than for busy.
    occupied = [
        region
        for region in in_flight.values()
        if region.stage is not RegionStage.LOST or now < deadline(region, policy)
    ]
    return policy.max_parallel_regions - len(occupied)


def _with_phase(state: State, views: Mapping[str, RegionView], policy: Rollout, now: datetime) -> State:
    """Whether it is over."""
    if state.phase in _BACKWARD:
        pending = [
            name
            for name, region in state.regions.items()
            if region.in_flight or region.revision != _destination(region, state)
        ]
        over = state.phase is RolloutPhase.ROLLED_BACK or _all_excused(pending, state, views, policy, now)
        return replace(state, phase=RolloutPhase.ROLLED_BACK if over else RolloutPhase.ROLLING_BACK)
    if _is_complete(state, views, policy, now):
        return replace(state, phase=RolloutPhase.COMPLETE, good=state.target, message="")
    if state.phase is RolloutPhase.COMPLETE:  # a region came, or came back
        return replace(state, phase=RolloutPhase.PROGRESSING, started_at=now)
    return state


def _is_complete(state: State, views: Mapping[str, RegionView], policy: Rollout, now: datetime) -> bool:
    settled = [region.since for region in state.regions.values() if _is_done(region, state)]
    pending = [name for name, region in state.regions.items() if not _is_done(region, state)]
    if not pending:
        return bool(settled)
    if not settled or not _all_excused(pending, state, views, policy, now):
        return False
    # Without a wait, a moment in which the others cannot be reached would make a half-proven revision the good one.
    return state.good == state.target or now >= max(settled) + policy.progress_deadline


def _is_done(region: RegionState, state: State) -> bool:
    return region.stage is RegionStage.SETTLED and region.revision == state.target


def _all_excused(
    pending: Iterable[str], state: State, views: Mapping[str, RegionView], policy: Rollout, now: datetime
) -> bool:
    return all(_is_excused(state.regions[name], views[name], policy, now) for name in pending)


def _is_excused(region: RegionState, view: RegionView, policy: Rollout, now: datetime) -> bool:
    """Whether the others need not wait for this region."""
    if not view.reachable:
        return True
    if view.held and region.stage is RegionStage.SETTLED:
        return True
    return not region.protected and progress_deadline_exceeded(region, view, policy, now) is not None


def _order(views: Sequence[RegionView]) -> list[RegionView]:
    """Standbys first, the primary last; otherwise as the topology lists them."""
    rank = {Role.STANDBY: 0, None: 0, Role.PRIMARY: 1}
    return sorted(views, key=lambda view: rank[view.role])


def _wake_at(state: State, policy: Rollout, now: datetime) -> datetime | None:
    """When a clock runs out."""
    moments = []
    for region in state.regions.values():
        if region.stage is RegionStage.BAKING:
            moments.append(region.since + _bake(region, state, policy))
        if region.in_flight:
            moments.append(deadline(region, policy))
        elif state.good != state.target and _is_done(region, state):
            moments.append(region.since + policy.progress_deadline)
    return min((moment for moment in moments if moment > now), default=None)


def _waiting(state: State, views: Mapping[str, RegionView], policy: Rollout) -> str:
    """What it waits for, in words."""
    if state.phase is RolloutPhase.PAUSED:
        return "paused by spec.rollout.state; set it to Running to go on"
    busy = []
    for name, region in state.regions.items():
        match region.stage:
            case RegionStage.UPDATING:
                busy.append(f"{name} to become ready")
            case RegionStage.BAKING:
                busy.append(f"{name} to stay ready for {format_duration(_bake(region, state, policy))}")
            case RegionStage.LOST:
                busy.append(f"{name} to be reachable again")
            case RegionStage.SETTLED if region.revision != state.target and state.phase in _FORWARD:
                if not views[name].reachable:
                    busy.append(f"{name} to be reachable again")
                elif views[name].held:
                    busy.append(f"{name} to be uncordoned")
    return f"waiting for {', '.join(busy)}" if busy else ""


def _whole_seconds(moment: datetime) -> datetime:
    """The next whole second, as times are stored: what is waited for is then never a moment too short."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)
