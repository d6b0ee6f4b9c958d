"""The order in which a rollout would go: the operator's own `decide`, played with regions that obey at once.

Pure. The times are the earliest possible: every region is taken to be ready the moment it is moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from roadstead.api.chatservice import Role, Rollout, RolloutPhase
from roadstead.chat.rollout import Decision, RegionState, RegionView, State, decide

_MOST_DECISIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """Regions that get a revision at the same time.

    Attributes:
        after: the earliest time after now.
        regions: names, in the order in which they are chosen.
        revision: that they get.
        first: they have had none before, or none that worked: nothing is baked there.
    """

    after: timedelta
    regions: tuple[str, ...]
    revision: str
    first: bool


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How it would go.

    Attributes:
        steps: in their order; empty when no region gets another revision.
        ends_with: the revision that each region has in the end.
        phase: of the rollout in the end.
        waiting: what it would wait for then, in the operator's words.
        took: the least time that it takes.
        message: why it failed, in the operator's words; empty when it did not.
    """

    steps: tuple[Step, ...]
    ends_with: Mapping[str, str]
    phase: RolloutPhase
    waiting: str
    took: timedelta
    message: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """A region that takes part. ``held`` is cordoned; one that is not reachable does nothing."""

    name: str
    role: Role | None = None
    reachable: bool = True
    held: bool = False


def rehearse(state: State, target: str, actors: Sequence[Actor], policy: Rollout, now: datetime) -> Rehearsal:
    """Play a rollout from a remembered state to its end.

    Args:
        state: what the status remembers.
        target: hash of the revision that the spec stands for.
        actors: the regions that count, in the order of the topology.
        policy: ``spec.rollout``.
        now: the present moment.
    """
    began = moment = now
    runs = {name: region.revision for name, region in state.regions.items()}
    steps: list[Step] = []
    decision = Decision(state)
    for _ in range(_MOST_DECISIONS):
        decision = decide(state, target, [_view(actor, runs) for actor in actors], policy, moment)
        steps += _steps(state.regions, decision, moment - began)
        obeyed = {
            actor.name: decision.state.regions[actor.name].revision
            for actor in actors
            if actor.reachable and actor.name in decision.state.regions
        }
        settled = decision.state == state and obeyed == runs | obeyed
        state, runs = decision.state, runs | obeyed
        if not settled:
            continue
        if decision.wake_at is None or state.phase in (RolloutPhase.COMPLETE, RolloutPhase.ROLLED_BACK):
            break
        moment = max(decision.wake_at, moment + timedelta(seconds=1))
    return Rehearsal(
        steps=tuple(steps),
        ends_with={name: region.revision for name, region in state.regions.items()},
        phase=state.phase,
        waiting=decision.waiting,
        message=state.message,
        took=steps[-1].after + (timedelta() if steps[-1].first else policy.bake_time) if steps else timedelta(),
    )


def _view(actor: Actor, runs: Mapping[str, str]) -> RegionView:
    return RegionView(
        name=actor.name,
        role=actor.role,
        reachable=actor.reachable,
        held=actor.held,
        runs=runs.get(actor.name, ""),
        ready=actor.reachable,
    )


def _steps(before: Mapping[str, RegionState], decision: Decision, after: timedelta) -> list[Step]:
    found: dict[tuple[str, bool], list[str]] = {}
    regions = decision.state.regions
    new = tuple(name for name in regions if name not in before)
    for name in (*new, *(name for name in decision.moved if name not in new)):
        region = regions[name]
        found.setdefault((region.revision, not region.protected), []).append(name)
    return [Step(after, tuple(names), revision, first) for (revision, first), names in found.items()]
