"""The rollout told as stories. tests/property/chat explores what stories leave out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from roadstead.api.chatservice import RegionStage, Role, Rollout, RolloutPhase
from roadstead.api.conditions import Reason
from roadstead.chat.rollout import Decision, RegionView, State, decide

START = datetime(2026, 11, 22, 8, tzinfo=UTC)
# Every time and count that the stories tell of: they are about decisions, not about the API's defaults.
POLICY = {
    "bakeTime": "60s",
    "progressDeadline": "10m",
    "maxParallelRegions": 1,
    "onFailure": "RollBack",
    "state": "Running",
}
UPDATING, BAKING, SETTLED, LOST = (
    RegionStage.UPDATING,
    RegionStage.BAKING,
    RegionStage.SETTLED,
    RegionStage.LOST,
)


@dataclass
class Story:
    """A service, its regions, and an operator that stores and applies what is decided."""

    regions: dict[str, RegionView]
    policy: Rollout
    target: str = "r1"
    state: State = field(default_factory=State)
    now: datetime = START
    decision: Decision = field(default_factory=lambda: Decision(State()))

    def reconcile(self) -> "Story":
        self.decision = decide(self.state, self.target, list(self.regions.values()), self.policy, self.now)
        self.state = self.decision.state
        for name, view in self.regions.items():
            revision = self.state.regions[name].revision
            if view.reachable and view.runs != revision:
                self.see(name, runs=revision, ready=False, lost=False)
        return self

    def see(self, *names: str, **changes: object) -> "Story":
        for name in names:
            self.regions[name] = replace(self.regions[name], **changes)  # type: ignore[arg-type]
        return self

    def ready(self, *names: str) -> "Story":
        return self.see(*names, ready=True).reconcile()

    def later(self, **time: float) -> "Story":
        self.now += timedelta(**time)
        return self.reconcile()

    def release(self, target: str) -> "Story":
        self.target = target
        return self.reconcile()

    def with_policy(self, **changes: object) -> "Story":
        self.policy = Rollout.model_validate(self.policy.model_dump(by_alias=True) | changes)
        return self.reconcile()

    def phase(self) -> RolloutPhase:
        """The phase, asked anew each time."""
        return self.state.phase

    @property
    def runs(self) -> dict[str, str]:
        return {name: region.revision for name, region in self.state.regions.items()}

    @property
    def stages(self) -> dict[str, RegionStage]:
        return {name: region.stage for name, region in self.state.regions.items()}


def story(*names: str, roles: dict[str, Role] | None = None, **policy: object) -> Story:
    """A service that was just created."""
    roles = roles or {}
    regions = {name: RegionView(name, roles.get(name)) for name in names}
    return Story(regions, Rollout.model_validate(POLICY | policy)).reconcile()


def running(*names: str, roles: dict[str, Role] | None = None, **policy: object) -> Story:
    """A service that runs r1 everywhere."""
    told = story(*names, roles=roles, **policy).ready(*names)
    assert told.phase() is RolloutPhase.COMPLETE
    return told


def test_a_first_install_goes_everywhere_at_once_and_needs_no_bake() -> None:
    told = story("a", "b", "c")
    assert told.runs == {"a": "r1", "b": "r1", "c": "r1"}
    assert told.phase() is RolloutPhase.PROGRESSING
    told.ready("a", "b", "c")
    assert told.phase() is RolloutPhase.COMPLETE
    assert told.state.good == "r1"
    assert told.decision.wake_at is None


def test_a_new_version_goes_region_by_region_with_a_bake() -> None:
    told = running("a", "b").release("r2")
    assert told.runs == {"a": "r2", "b": "r1"}
    assert told.decision.moved == ("a",)
    assert told.decision.persist_first
    told.ready("a")
    assert told.stages == {"a": BAKING, "b": SETTLED}
    assert told.decision.wake_at == told.now + timedelta(seconds=60)
    told.later(seconds=59)
    assert told.runs["b"] == "r1"
    told.later(seconds=1)
    assert told.runs == {"a": "r2", "b": "r2"}
    told.ready("b").later(seconds=60)
    assert (told.state.phase, told.state.good) == (RolloutPhase.COMPLETE, "r2")


def order_of(told: Story) -> list[str]:
    """In which order the regions are moved, one at a time."""
    told.release("r2")
    order: list[str] = []
    while told.phase() is not RolloutPhase.COMPLETE:
        order += told.decision.moved
        told.ready(*told.decision.moved).later(seconds=60)
    return order


def test_the_order_is_that_of_the_topology() -> None:
    assert order_of(running("c", "a", "b")) == ["c", "a", "b"]


def test_standbys_go_first_and_the_primary_last() -> None:
    roles = {"a": Role.PRIMARY, "b": Role.STANDBY, "c": Role.STANDBY}
    assert order_of(running("a", "b", "c", roles=roles)) == ["b", "c", "a"]


def test_as_many_at_a_time_as_the_spec_says() -> None:
    told = running("a", "b", "c", "d", maxParallelRegions=2).release("r2")
    assert told.runs == {"a": "r2", "b": "r2", "c": "r1", "d": "r1"}
    told.ready("a", "b").later(seconds=60)
    assert told.runs == dict.fromkeys("abcd", "r2")


def broken(told: Story) -> Story:
    """Region b never becomes ready with r2."""
    return told.release("r2").ready("a").later(seconds=60).see("b", detail="ImagePullBackOff").later(minutes=10)


def test_a_version_that_never_becomes_ready_is_rolled_back_everywhere() -> None:
    told = broken(running("a", "b", "c"))
    assert told.phase() is RolloutPhase.ROLLING_BACK
    assert "region b is not ready with revision r2 after 10m" in told.state.message
    assert "ImagePullBackOff" in told.state.message
    assert told.runs == {"a": "r2", "b": "r1", "c": "r1"}, "one at a time, the broken one first"
    told.ready("b")
    assert told.runs == dict.fromkeys("abc", "r1")
    told.ready("a")
    assert told.phase() is RolloutPhase.ROLLED_BACK
    assert told.decision.wake_at is None


def test_what_failed_is_not_tried_again_until_the_spec_changes() -> None:
    told = broken(running("a", "b")).ready("b").ready("a").later(days=30)
    assert (told.state.phase, told.runs) == (RolloutPhase.ROLLED_BACK, {"a": "r1", "b": "r1"})
    told.release("r3")
    assert (told.state.phase, told.runs, told.state.message) == (RolloutPhase.PROGRESSING, {"a": "r3", "b": "r1"}, "")


def test_the_first_region_to_fail_keeps_the_others_untouched() -> None:
    told = running("a", "b").release("r2").later(minutes=10)
    assert told.runs == {"a": "r1", "b": "r1"}
    assert told.decision.moved == ("a",)


def test_losing_pods_during_the_bake_is_a_failure() -> None:
    told = running("a", "b").release("r2").ready("a").later(seconds=30)
    told.see("a", ready=False, lost=True, detail="1 of 2 pods are ready").reconcile()
    assert told.phase() is RolloutPhase.ROLLING_BACK
    assert "region a lost ready pods while revision r2 baked: 1 of 2" in told.state.message


def test_growing_during_the_bake_is_no_failure_but_the_bake_does_not_end_unready() -> None:
    told = running("a", "b").release("r2").ready("a").see("a", ready=False).later(seconds=60)
    assert (told.state.phase, told.runs["b"]) == (RolloutPhase.PROGRESSING, "r1")
    told.ready("a")
    assert told.runs["b"] == "r2"


def test_a_settled_region_that_loses_pods_is_watched_again_before_the_next() -> None:
    told = running("a", "b", "c").release("r2").ready("a").later(seconds=60)
    told.see("a", ready=False, lost=True).reconcile()
    assert told.stages == {"a": UPDATING, "b": UPDATING, "c": SETTLED}
    told.see("a", lost=False).ready("b").later(seconds=60)
    assert told.runs["c"] == "r1", "a is not ready again yet"
    told.ready("a").later(seconds=60)
    assert told.runs["c"] == "r2"


def test_stopping_on_failure_leaves_all_as_it_is_until_a_person_resumes() -> None:
    told = broken(running("a", "b", "c", onFailure="Pause"))
    assert told.phase() is RolloutPhase.FAILED
    assert told.runs == {"a": "r2", "b": "r2", "c": "r1"}
    assert told.decision.overdue["b"].reason is Reason.DEADLINE_EXCEEDED
    told.ready("b").later(seconds=60)
    assert told.runs["c"] == "r1", "ready after all, but nobody said that it may go on"
    told.with_policy(state="Paused").with_policy(state="Running")
    assert told.phase() is RolloutPhase.PROGRESSING
    assert told.runs["c"] == "r2"


def test_pausing_and_resuming_tries_a_rolled_back_version_once_more() -> None:
    told = broken(running("a", "b")).ready("b").ready("a")
    told.with_policy(state="Paused")
    assert (told.state.phase, told.runs["a"]) == (RolloutPhase.PAUSED, "r1")
    told.with_policy(state="Running")
    assert (told.state.phase, told.runs["a"]) == (RolloutPhase.PROGRESSING, "r2")


def test_a_pause_finishes_what_is_in_flight_and_begins_nothing() -> None:
    told = running("a", "b").release("r2").ready("a").with_policy(state="Paused").later(hours=5)
    assert told.stages == {"a": SETTLED, "b": SETTLED}
    assert (told.state.phase, told.runs["b"]) == (RolloutPhase.PAUSED, "r1")
    told.with_policy(state="Running")
    assert told.runs["b"] == "r2"


def test_a_first_install_is_not_held_up_by_a_pause() -> None:
    told = story("a", state="Paused").ready("a")
    assert told.phase() is RolloutPhase.COMPLETE


def test_a_pause_does_not_stop_a_rollback() -> None:
    told = broken(running("a", "b")).with_policy(state="Paused").ready("b")
    assert told.runs == {"a": "r1", "b": "r1"}


def test_a_new_spec_supersedes_a_rollout_in_the_middle() -> None:
    told = running("a", "b", "c").release("r2").ready("a").later(seconds=60)
    assert told.runs == {"a": "r2", "b": "r2", "c": "r1"}
    told.release("r3")
    assert told.runs == {"a": "r2", "b": "r3", "c": "r1"}, "the one in flight goes straight on"
    told.later(minutes=10)
    assert told.phase() is RolloutPhase.ROLLING_BACK
    told.ready("b").ready("a")
    assert told.runs == dict.fromkeys("abc", "r1"), "r2 was never completed, so r1 is what the service returns to"


def test_taking_the_spec_back_returns_without_a_bake() -> None:
    told = running("a", "b").release("r2").release("r1").ready("a")
    assert (told.state.phase, told.runs) == (RolloutPhase.COMPLETE, {"a": "r1", "b": "r1"})


def test_a_region_that_is_away_neither_blocks_nor_counts_as_done() -> None:
    told = running("a", "b").see("b", reachable=False).release("r2").ready("a").later(seconds=60)
    assert (told.state.phase, told.runs) == (RolloutPhase.PROGRESSING, {"a": "r2", "b": "r1"})
    assert "b to be reachable again" in told.decision.waiting
    told.later(minutes=10)
    assert (told.state.phase, told.state.good) == (RolloutPhase.COMPLETE, "r2")
    told.see("b", reachable=True).reconcile()
    assert (told.state.phase, told.runs["b"]) == (RolloutPhase.PROGRESSING, "r2"), "it catches up"
    told.ready("b")
    assert told.phase() is RolloutPhase.COMPLETE


def test_a_moment_without_the_others_does_not_make_a_half_proven_version_the_good_one() -> None:
    told = running("a", "b", "c").release("r2").see("b", "c", reachable=False).ready("a").later(seconds=60)
    told.see("b", "c", reachable=True).reconcile()
    assert told.state.good == "r1"
    assert told.runs == {"a": "r2", "b": "r2", "c": "r1"}


def test_vanishing_in_flight_is_no_evidence_against_the_version() -> None:
    told = running("a", "b").release("r2").see("a", reachable=False).reconcile().later(minutes=9)
    assert (told.stages["a"], told.runs["b"]) == (LOST, "r1"), "it may be down, so nobody else is touched yet"
    told.later(minutes=1)
    assert (told.state.phase, told.runs["b"]) == (RolloutPhase.PROGRESSING, "r2"), "taken for gone"
    told.see("a", reachable=True).reconcile()
    assert told.stages["a"] is UPDATING
    told.later(minutes=9)
    assert told.phase() is RolloutPhase.PROGRESSING, "back: its time began anew"


def test_a_cordoned_region_gets_no_new_version_until_it_is_uncordoned() -> None:
    told = running("a", "b").see("a", held=True).release("r2")
    assert told.runs == {"a": "r1", "b": "r2"}
    told.ready("b").later(seconds=60).later(minutes=10)
    assert (told.state.phase, told.runs["a"]) == (RolloutPhase.COMPLETE, "r1")
    told.see("a", held=False).reconcile()
    assert told.runs["a"] == "r2"


def test_a_new_region_begins_with_what_the_service_runs() -> None:
    told = running("a", "b")
    told.regions["c"] = RegionView("c")
    told.reconcile()
    assert (told.state.phase, told.runs["c"]) == (RolloutPhase.PROGRESSING, "r1")
    told.ready("c")
    assert told.phase() is RolloutPhase.COMPLETE


def test_a_new_region_after_a_rollback_begins_with_the_good_revision() -> None:
    told = broken(running("a", "b")).ready("b").ready("a")
    told.regions["c"] = RegionView("c")
    told.reconcile()
    assert told.runs["c"] == "r1"


def test_a_region_that_never_worked_fails_no_rollout() -> None:
    told = running("a", "b")
    told.regions["c"] = RegionView("c", detail="quota exceeded")
    told.reconcile().later(minutes=10)
    assert told.phase() is RolloutPhase.COMPLETE, "the others are as they should be"
    assert "quota exceeded" in told.decision.overdue["c"].message
    told.release("r2").ready("a").later(seconds=60).ready("b").later(seconds=60).later(minutes=10)
    assert told.runs == dict.fromkeys("abc", "r2")
    assert (told.state.phase, told.state.good) == (RolloutPhase.COMPLETE, "r2")


def test_a_region_that_leaves_the_topology_is_forgotten() -> None:
    told = running("a", "b").release("r2")
    del told.regions["a"]
    told.reconcile()
    assert told.runs == {"b": "r2"}


def test_a_first_version_that_never_works_waits_and_says_so() -> None:
    told = story("a").see("a", detail="0 of 2 pods are ready").later(minutes=10)
    assert told.phase() is RolloutPhase.PROGRESSING
    assert "0 of 2 pods are ready" in told.decision.overdue["a"].message
    told.ready("a")
    assert told.phase() is RolloutPhase.COMPLETE


def test_what_a_region_says_counts_only_for_what_it_was_given() -> None:
    told = running("a", "b")
    told.target = "r2"
    told.state = decide(told.state, "r2", list(told.regions.values()), told.policy, told.now).state
    told.decision = decide(told.state, "r2", list(told.regions.values()), told.policy, told.now)
    assert told.decision.state.regions["a"].stage is UPDATING, "stored, but not applied: it is r1 that is ready"


@pytest.mark.parametrize("microsecond", [1, 999_999])
def test_times_are_stored_whole_and_never_too_early(microsecond: int) -> None:
    told = running("a")
    told.now = START.replace(microsecond=microsecond)
    told.release("r2").ready("a")
    since = told.state.regions["a"].since
    assert since == START + timedelta(seconds=1)
    assert told.decision.wake_at == since + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("tell", "words"),
    [
        (lambda: running("a", "b").release("r2"), "a to become ready"),
        (lambda: running("a", "b").release("r2").ready("a"), "a to stay ready for 1m"),
        (lambda: running("a", "b", state="Paused").release("r2"), "set it to Running"),
        (lambda: running("a", "b").see("a", held=True).release("r2"), "a to be uncordoned"),
        (lambda: running("a", "b"), ""),
    ],
)
def test_it_says_what_it_waits_for(tell: Callable[[], Story], words: str) -> None:
    waiting = tell().decision.waiting
    assert words in waiting
    assert bool(waiting) is bool(words)
