"""What a rollout remembers, what it sees, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from roadstead.api.chatservice import RegionStage, Role, RolloutPhase
from roadstead.chat.finding import Finding


@dataclass(frozen=True, slots=True)
class RegionState:
    """What is remembered of one region.

    Attributes:
        revision: hash of the revision that it is given.
        stage: how far it is with it.
        since: when it entered the stage.
        last_good: the revision with which it was last settled; empty before the first.
    """

    revision: str
    stage: RegionStage
    since: datetime
    last_good: str = ""

    @property
    def protected(self) -> bool:
        """Whether there is something to lose."""
        return bool(self.last_good)

    @property
    def in_flight(self) -> bool:
        """Whether it was moved and is not settled."""
        return self.stage is not RegionStage.SETTLED


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a rollout remembers.

    Attributes:
        target: hash of the revision that the spec stood for when this was decided; empty before the first.
        good: hash of the revision to return to; empty before a region was settled for the first time.
        phase: one word for the whole. `RolloutPhase.BAKING` is only ever shown, never remembered.
        started_at: when the rollout to ``target`` began.
        message: why it failed; kept until the target changes or a person resumes it.
        regions: by name.
    """

    target: str = ""
    good: str = ""
    phase: RolloutPhase = RolloutPhase.COMPLETE
    started_at: datetime | None = None
    message: str = ""
    regions: Mapping[str, RegionState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegionView:
    """What is seen of one region now.

    Attributes:
        name: of the region.
        role: Primary, Standby, or None with ActiveActive.
        reachable: it can be read and written.
        held: it is cordoned: what is there stays as it is.
        runs: hash of the revision that its objects are known to have; empty when that is not known. What the workload
            says counts only when this is the revision that it was given.
        ready: all pods that it should have run that revision and are ready.
        lost: fewer pods are ready than when it was last looked at, although no fewer are wanted.
        detail: in words, what keeps it from being ready (the controller's or the API server's own).
    """

    name: str
    role: Role | None = None
    reachable: bool = True
    held: bool = False
    runs: str = ""
    ready: bool = False
    lost: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes:
        state: the new state; ``state.regions[name].revision`` is what each region is to run.
        moved: regions that were given another revision just now, in the order in which they were chosen.
        persist_first: the state must be stored before anything is applied, because after a crash in between another
            region might be chosen as well.
        wake_at: when time alone changes something; None when it does not.
        overdue: regions that are not ready although their time is over, with the reason in words.
        waiting: what the rollout waits for, in words; empty when it waits for nothing.
    """

    state: State
    moved: tuple[str, ...] = ()
    persist_first: bool = False
    wake_at: datetime | None = None
    overdue: Mapping[str, Finding] = field(default_factory=dict)
    waiting: str = ""
