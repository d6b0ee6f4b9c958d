from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from roadstead.api.chatservice import RegionStage, Role, Rollout, RolloutPhase, RolloutState
from roadstead.chat.rollout import RegionState, State
from roadstead.cli.rehearsal import Actor, Rehearsal, rehearse

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = Rollout(bake_time=timedelta(seconds=60), progress_deadline=timedelta(minutes=10))


def settled(*names: str, revision: str = "old") -> State:
    regions = {name: RegionState(revision, RegionStage.SETTLED, NOW - timedelta(days=1), revision) for name in names}
    return State(target=revision, good=revision, phase=RolloutPhase.COMPLETE, regions=regions)


def play(state: State, *actors: Actor, target: str = "new", policy: Rollout = POLICY) -> Rehearsal:
    return rehearse(state, target, actors, policy, NOW)


def order(rehearsal: Rehearsal) -> list[tuple[int, tuple[str, ...]]]:
    return [(int(step.after.total_seconds()), step.regions) for step in rehearsal.steps]


def test_a_first_install_goes_everywhere_at_once() -> None:
    played = play(State(), Actor("hkg"), Actor("sin"))
    assert order(played) == [(0, ("hkg", "sin"))]
    assert played.steps[0].first and played.phase is RolloutPhase.COMPLETE and played.took == timedelta()


def test_a_new_version_goes_region_by_region_the_primary_last_with_a_bake_between() -> None:
    actors = Actor("hkg", Role.PRIMARY), Actor("kln", Role.STANDBY), Actor("sin", Role.STANDBY)
    played = play(settled("hkg", "kln", "sin"), *actors)
    assert order(played) == [(0, ("kln",)), (60, ("sin",)), (120, ("hkg",))]
    assert played.took == timedelta(seconds=180)
    assert set(played.ends_with.values()) == {"new"}


def test_regions_in_parallel() -> None:
    actors = [Actor(name) for name in "abcd"]
    played = play(settled(*"abcd"), *actors, policy=replace_policy(max_parallel_regions=2))
    assert order(played) == [(0, ("a", "b")), (60, ("c", "d"))]


def test_nothing_moves_when_nothing_is_new() -> None:
    played = play(settled("a", "b"), Actor("a"), Actor("b"), target="old")
    assert played.steps == () and played.phase is RolloutPhase.COMPLETE


def test_a_cordoned_region_keeps_its_revision_and_one_that_is_away_is_moved_by_nobody() -> None:
    played = play(settled("a", "b", "c"), Actor("a"), Actor("b", held=True), Actor("c", reachable=False))
    assert order(played) == [(0, ("a",))]
    assert played.ends_with == {"a": "new", "b": "old", "c": "old"}


def test_a_paused_rollout_says_so() -> None:
    played = play(settled("a"), Actor("a"), policy=replace_policy(state=RolloutState.PAUSED))
    assert played.steps == () and played.phase is RolloutPhase.PAUSED and "Running" in played.waiting


def test_a_version_that_was_rolled_back_stays_back() -> None:
    state = replace(settled("a", "b"), target="new", phase=RolloutPhase.ROLLED_BACK, message="it failed")
    played = play(state, Actor("a"), Actor("b"))
    assert played.steps == () and set(played.ends_with.values()) == {"old"}


def test_a_region_that_joins_is_installed_beside_the_others() -> None:
    played = play(settled("a"), Actor("a"), Actor("b"), target="old")
    assert order(played) == [(0, ("b",))] and played.steps[0].first


def test_32_regions_end() -> None:
    names = [f"r{number}" for number in range(32)]
    played = play(settled(*names), *(Actor(name) for name in names))
    assert len(played.steps) == 32 and played.phase is RolloutPhase.COMPLETE


def replace_policy(**changes: object) -> Rollout:
    return POLICY.model_copy(update=changes)
