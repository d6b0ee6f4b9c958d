"""Every interleaving of what can happen to a ring of keys on the real `decide`; and long random walks.

What can happen: steps of the operator, each at any moment; pods that load and prove late, end and start; regions that
are cut off; a leader that dies while what it sent is still on its way; a clock that steps back; a version that is found
to be compromised; a hub that is restored from a backup.
"""

import os
import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from property.keys import ring_world as model
from property.keys.ring_world import Violation, World
from roadstead.api.conditions import Reason
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys import barriers
from roadstead.keys import decide as deciding
from roadstead.keys import versions as life
from roadstead.keys.state import Policy, Ring
from roadstead.keys.steps import Move, Wait

FULL = bool(os.environ.get("ROADSTEAD_FULL"))


def explore(start: World, depth: int, every: int) -> int:
    """Look at every different world within ``depth`` events; follow every n-th of them until it comes to rest.

    Returns:
        How many there are.

    Raises:
        Violation: with the path to it.
    """
    start = model.noted(start)
    seen = {start}
    frontier: list[tuple[World, tuple[str, ...]]] = [(start, ())]
    for _ in range(depth):
        following = []
        for world, path in frontier:
            event = ""
            try:
                for event, after in model.events(world):
                    changed = model.noted(after)
                    if changed in seen:
                        continue
                    model.check(changed)
                    seen.add(changed)
                    following.append((changed, (*path, event)))
                    if len(seen) % every == 0:
                        model.check_the_end(changed)
            except Violation as violation:
                raise Violation("\n  ".join(("", *path, event, str(violation)))) from None
        frontier = following
        if not frontier:
            break
    return len(seen)


def walk(start: World, chance: random.Random, length: int) -> None:
    """One way of many, to its end.

    Raises:
        Violation: with the way to it.
    """
    world, path = model.noted(start), []
    try:
        for _ in range(length):
            following = list(model.events(world))
            if not following:
                break
            event, after = chance.choice(following)
            path.append(event)
            world = model.noted(after)
            model.check(world)
        model.check_the_end(world)
    except Violation as violation:
        raise Violation("\n  ".join(("", *path, str(violation)))) from None


ALL = 1_000
"""Deeper than any world goes: everything is looked at."""
STARTS: dict[str, tuple[Callable[[], World], int]] = {
    "a new ring in two regions": (lambda: model.fresh(2, trouble=1, hours=1), ALL),
    "a rotation in two regions, and one trouble": (lambda: model.installed(2, trouble=1, hours=2, slots=1), ALL),
    "a rotation in three regions": (lambda: model.installed(3, hours=3, slots=1), ALL),
    "a rotation, and a backup that is restored": (lambda: model.installed(2, hours=3, slots=1, backups=1), ALL),
    "what is old is written anew in two regions": (
        lambda: model.installed(2, attested=True, trouble=1, hours=2, slots=1),
        ALL if FULL else 14,
    ),
    "a region is excluded in a rotation": (
        lambda: model.installed(2, exclusions=1, trouble=1, hours=3, slots=1),
        ALL if FULL else 14,
    ),
    "a rotation without a region that is excluded": (
        lambda: model.without_b(trouble=2, hours=4, slots=1),
        ALL if FULL else 12,
    ),
    "versions are removed": (lambda: model.installed(2, removable=1, hours=5, slots=1), ALL),
    "two rotations, and two troubles": (lambda: model.installed(2, trouble=2, hours=3, slots=2), ALL if FULL else 8),
    "two rotations, and a backup that is restored": (
        lambda: model.installed(2, hours=4, slots=2, backups=1),
        ALL if FULL else 12,
    ),
}


@pytest.mark.parametrize("name", STARTS)
def test_every_interleaving_keeps_the_invariants_and_comes_to_rest(name: str) -> None:
    start, depth = STARTS[name]
    count = explore(start(), depth, 100)
    print(f"{name}: {count} worlds")
    assert count > 500


@pytest.mark.parametrize("seed", range(5))
def test_long_walks_with_much_trouble(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - to choose a way through a model
    for _ in range(2_000 if FULL else 60):
        regions = chance.randint(1, 3)
        start = model.installed(regions, trouble=8, hours=12, slots=4, backups=chance.randint(0, 1))
        walk(start, chance, chance.randint(20, 200))


def test_what_an_excluded_region_wrote_is_kept_from_its_return_on() -> None:
    """It goes on with the former primary for longer than the retention, and then comes back."""
    world = model.noted(model.without_b(hours=6, slots=1))
    world = dict(model.events(world))["a slot is due"]
    while world.hours > 2:
        following = {event: after for event, after in model.events(world) if not event.startswith("b:")}
        passing = following.pop("an hour passes")
        world = model.noted(next(iter(following.values()), passing))
        model.check(world)
    assert [version.phase for version in world.hub.ledger] == [Phase.DRAINING, Phase.PRIMARY]
    model.check_the_end(world)


ONE_TROUBLE = STARTS["a rotation in two regions, and one trouble"][0]
A_BACKUP = STARTS["a rotation, and a backup that is restored"][0]
MUTANTS: dict[str, tuple[object, str, object, Callable[[], World]]] = {
    "I1: no proof of possession is waited for": (barriers, "possession", lambda *_: (), ONE_TROUBLE),
    "I1: having the Secret counts as a proof": (
        barriers,
        "possession",
        lambda ring, version: tuple(
            Wait(Reason.NOT_DISTRIBUTED, "")
            for region in ring.regions
            if region.keyset is None or not region.keyset.has(version)
        ),
        ONE_TROUBLE,
    ),
    "I1: who cannot be read is not waited for": (barriers, "unreadable", lambda *_: (), ONE_TROUBLE),
    "I2: a second rotation begins before the first has ended": (
        life,
        "coming",
        lambda versions: next((v for v in versions if v.phase is Phase.READY), None),
        STARTS["two rotations, and two troubles"][0],
    ),
    "I3: a ledger that is behind is not noticed": (barriers, "ledger_behind", lambda _ring: (), A_BACKUP),
    "I4: what is written with does not keep it from draining": (barriers, "in_use", lambda *_: (), ONE_TROUBLE),
    "I4: a retention is not longer by the skew": (
        model,
        "POLICY",
        Policy(model.HOUR, model.HOUR, model.RETENTION * model.HOUR, timedelta()),
        lambda: model.installed(2, trouble=1, hours=3, slots=1),
    ),
    "I5: the slot of a version is forgotten": (life, "newest_slot", lambda _versions: None, ONE_TROUBLE),
    "I6: steps are carried out whatever is there by then": (model, "compare", lambda *_: True, ONE_TROUBLE),
    "I7: the former primary goes before the new one comes": (
        deciding,
        "_FORWARD",
        deciding._FORWARD
        | {
            Phase.READY: lambda ring, version, _now: (
                Move(life.primary(ring.versions) or version, Phase.SUPERSEDED),
                (),
            )
        },
        ONE_TROUBLE,
    ),
    "material that is lost is handed out": (
        Ring,
        "is_there",
        lambda *_: True,
        lambda: model.installed(2, trouble=1, slots=1, backups=1),
    ),
    "I4: who is silent has nothing stored": (
        barriers,
        "stored_nowhere",
        lambda ring, version: all((region.stored or {}).get(version.number, 0) == 0 for region in ring.regions),
        STARTS["what is old is written anew in two regions"][0],
    ),
    "I4: who is excluded does not write": (
        barriers,
        "excluded",
        lambda *_: (),
        lambda: model.without_b(hours=4, slots=1),
    ),
    "I1: who is excluded comes back without a proof": (
        barriers,
        "has_proved",
        lambda *_: True,
        lambda: model.without_b(trouble=1, hours=1, slots=1),
    ),
    "material is removed while the version is read": (
        deciding,
        "_may_be_removed",
        lambda ring, version, _now: version.number <= ring.removable and version.phase is Phase.DRAINING,
        STARTS["versions are removed"][0],
    ),
    "a discarded version's slot brings no other": (deciding, "_is_owed", lambda _ring: False, ONE_TROUBLE),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each invariant is one that the world would notice."""
    owner, attribute, mutant, start = MUTANTS[name]
    world = start()
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises(Violation):
        explore(world, ALL, 10)
