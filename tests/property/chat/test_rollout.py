"""Every interleaving of what can happen to a rollout, up to a depth, on the real `decide`; and long random walks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from property.chat import rollout_world as model
from property.chat.rollout_world import Violation, World
from roadstead.api.chatservice import OnFailure, RolloutPhase
from roadstead.chat import rollout, rollout_checks

AT_REST = (RolloutPhase.COMPLETE, RolloutPhase.ROLLED_BACK, RolloutPhase.FAILED)


def check_the_end(world: World) -> None:
    """When everything calms down, the service comes to rest where it should."""
    end = model.settled(world)
    runs = {site.runs for site in end.sites}
    state = end.state
    if state.phase not in AT_REST:
        raise Violation(f"not at rest: {state}")
    if state.phase is RolloutPhase.COMPLETE and runs != {end.target}:
        raise Violation(f"complete, but {runs} run")
    if state.phase is RolloutPhase.ROLLED_BACK and runs != {state.good}:
        raise Violation(f"rolled back to {state.good}, but {runs} run")
    if state.phase is not RolloutPhase.FAILED and not all(site.ready for site in end.sites):
        raise Violation(f"at rest, but not ready: {end.sites}")


def check_the_end_of_a_bad_revision(world: World) -> None:
    """A target that never gets ready: whoever had something to lose returns to the last good one, or all stops."""
    if world.target == world.state.good or not world.state.good:
        return  # proven, or nothing to return to
    end = model.settled(world, bad=frozenset({world.target}))
    if end.state.good == world.target:
        return  # it was proven on the way, before it went bad
    if end.policy.on_failure is OnFailure.PAUSE:
        if end.state.phase is not RolloutPhase.FAILED:
            raise Violation(f"not stopped: {end.state}")
    elif end.state.phase is not RolloutPhase.ROLLED_BACK or {site.runs for site in end.sites} != {end.state.good}:
        raise Violation(f"not rolled back: {end.state}, {end.sites}")


def explore(start: World, depth: int, every: int) -> int:
    """Look at every different world within ``depth`` events; follow every n-th of them until it comes to rest.

    Returns:
        How many there are.

    Raises:
        Violation: with the path to it.
    """
    start = model.reconciled(start)
    seen = {model.canonical(start)}
    frontier: list[tuple[World, tuple[str, ...]]] = [(start, ())]
    for _ in range(depth):
        following = []
        for world, path in frontier:
            try:
                for event, changed in model.after(world):
                    if (key := model.canonical(changed)) in seen:
                        continue
                    seen.add(key)
                    following.append((changed, (*path, event)))
                    if len(seen) % every == 0:
                        check_the_end(changed)
                        check_the_end_of_a_bad_revision(changed)
            except Violation as violation:
                raise Violation(f"{', '.join(path)}: {violation}") from None
        frontier = following
    return len(seen)


STARTS: dict[str, tuple[Callable[[], World], int, int]] = {
    "two regions": (lambda: model.installed(2, model.policy(), trouble=2), 10, 41),
    "two regions, stopping on failure": (
        lambda: model.installed(2, model.policy(OnFailure.PAUSE), trouble=2),
        7,
        41,
    ),
    "a first install in two regions": (lambda: model.fresh(2, model.policy(), trouble=2), 5, 41),
    "three regions": (lambda: model.installed(3, model.policy(), trouble=2), 6, 41),
    "three regions, two at a time": (lambda: model.installed(3, model.policy(parallel=2), trouble=2), 5, 97),
    "two regions, much trouble": (lambda: model.installed(2, model.policy(), trouble=4), 3, 97),
}


@pytest.mark.parametrize("name", STARTS)
def test_every_interleaving_keeps_the_invariants_and_comes_to_rest(name: str) -> None:
    start, depth, every = STARTS[name]
    assert explore(start(), depth, every) > 500


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=60), st.integers(1, 2), st.sampled_from(list(OnFailure)))
def test_long_walks_through_four_regions(choices: list[int], parallel: int, on_failure: OnFailure) -> None:
    world = model.reconciled(model.installed(4, model.policy(on_failure, parallel), trouble=12))
    for choice in choices:
        # Time passes and pods get ready more often than something breaks.
        following = list(model.events(world)) if choice % 3 == 0 else list(model.events(model.calm(world)))
        _, changed = following[choice // 3 % len(following)]
        changed = model.troubled(changed, world.trouble - (choice % 3 == 0))
        world = model.reconciled(changed, crash=choice % 7 == 0)
    check_the_end(world)
    check_the_end_of_a_bad_revision(world)


ORIGINAL_DECIDE = rollout.decide
ORIGINAL_OBSERVED = rollout._observed
ORIGINAL_WITH_PHASE = rollout._with_phase
MUTANTS: dict[str, tuple[str, object, Callable[[], World]]] = {
    "no bake": ("_bake", lambda *_: timedelta(), STARTS["two regions"][0]),
    "no limit": ("_free_slots", lambda *_: 99, STARTS["three regions"][0]),
    "unreachable and cordoned regions are moved": (
        "_may_be_moved",
        lambda region, _view: not region.in_flight,
        STARTS["two regions"][0],
    ),
    "settled regions are not watched": ("_reopens", lambda *_: False, STARTS["three regions"][0]),
    "no failure checks": ("FAILURE_CHECKS", (), STARTS["two regions"][0]),
    "no deadline": ("FAILURE_CHECKS", (rollout_checks.readiness_lost,), STARTS["two regions"][0]),
    "complete without waiting for who is away": (
        "_is_complete",
        lambda state, *_: any(rollout._is_done(region, state) for region in state.regions.values()),
        STARTS["two regions"][0],
    ),
    "a rollback is forgotten": ("_failed", lambda state, *_: state, STARTS["two regions"][0]),
    "moves are not stored before they are applied": (
        "decide",
        lambda *given: replace(ORIGINAL_DECIDE(*given), persist_first=False),
        STARTS["two regions, much trouble"][0],
    ),
    "what was ready before the move counts": (
        "_observed",
        lambda region, view, *rest: ORIGINAL_OBSERVED(region, replace(view, runs=region.revision), *rest),
        STARTS["two regions"][0],
    ),
    "what failed is tried again": (
        "_with_phase",
        lambda state, *_: (
            replace(state, phase=RolloutPhase.PROGRESSING)
            if state.phase is RolloutPhase.ROLLING_BACK and not any(r.in_flight for r in state.regions.values())
            else ORIGINAL_WITH_PHASE(state, *_)
        ),
        STARTS["two regions"][0],
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, mutant, start = MUTANTS[name]
    monkeypatch.setattr(rollout, attribute, mutant)
    with pytest.raises(Violation):
        explore(start(), 9, 5)
