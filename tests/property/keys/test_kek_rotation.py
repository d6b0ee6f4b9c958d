"""Every interleaving of what can happen while a ring gets another KEK, on the real `decide`."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from property.keys import kek_world as model
from property.keys.kek_world import Violation, World
from roadstead.keys import kek_rotation as deciding
from roadstead.keys import stored as storing
from roadstead.keys.kek_rotation import Drop

FULL = bool(os.environ.get("ROADSTEAD_FULL"))


def explore(start: World, most: int = 1_000_000) -> int:
    """Look at every different world that can come, and at how each of them ends.

    Returns:
        How many there are.

    Raises:
        Violation: with the path to it.
    """
    seen = {key(start)}
    frontier: list[tuple[World, tuple[str, ...]]] = [(start, ())]
    while frontier and len(seen) < most:
        following = []
        for world, path in frontier:
            event = ""
            try:
                for event, after in model.events(world):
                    if key(after) in seen:
                        continue
                    seen.add(key(after))
                    model.check(after)
                    model.check_the_end(after)
                    following.append((after, (*path, event)))
            except Violation as violation:
                raise Violation("\n  ".join(("", *path, event, str(violation)))) from None
        frontier = following
    return len(seen)


def key(world: World) -> object:
    late = None if world.late is None else (world.late[0], world.late[1].copies, world.late[1].intents)
    return replace(world, late=None), late


STARTS = {
    "a KEK is due, and a leader dies": model.fresh(crashes=1, days=1, troubles=0),
    "two leaders die": model.fresh(crashes=2, days=1, troubles=0),
    "two are due, and one trouble": model.fresh(crashes=1, days=2, troubles=1),
    "two are due, two leaders die, two troubles": model.fresh(crashes=2, days=2, troubles=2),
}


@pytest.mark.parametrize("name", STARTS)
def test_nothing_is_lost_whatever_happens_and_all_is_wrapped_in_the_end(name: str) -> None:
    count = explore(STARTS[name], 1_000_000 if FULL else 3_000)
    print(f"{name}: {count} worlds")
    assert count > 20


ONE = STARTS["two are due, and one trouble"]
MUTANTS: dict[str, tuple[object, str, object, World]] = {
    "the copy that is kept is the old one": (
        deciding,
        "Drop",
        lambda old, kept: Drop(kept, old),
        ONE,
    ),
    "nobody looks since when the KEK is there": (deciding, "_due", lambda *_: model.START, ONE),
    "a KEK is never due": (deciding, "_due", lambda *_: model.START + 10_000 * model.DAY, ONE),
    "what is in use is surplus": (
        deciding,
        "surplus",
        lambda listed, stored: tuple(k for k in listed if k.name in {c.kek.name for c in stored.copies}),
        ONE,
    ),
    "what goes by an unknown name is surplus": (
        deciding,
        "surplus",
        lambda listed, stored: tuple(k for k in listed if k not in {c.kek for c in stored.copies}),
        ONE,
    ),
    "what is in use is shredded": (
        deciding,
        "unused",
        lambda listed, _stored, up_to: tuple(k for k in listed if k.name.generation <= up_to),
        ONE,
    ),
    "what is somebody's is wrapped anew": (
        storing.Stored,
        "_is_ours",
        lambda *_: True,
        ONE,
    ),
    "a lost intent is forgotten": (
        deciding,
        "present",
        lambda stored, _begun: stored.intents[-1] if stored.intents else None,
        ONE,
    ),
    "a copy is in use as soon as it is there": (
        storing,
        "_age",
        lambda copy: (-copy.kek.name.generation, copy.secret),
        ONE,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, mutant, start = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises((Violation, KeyError)):
        explore(start, 3_000)
