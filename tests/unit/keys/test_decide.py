"""Decisions that no short walk through the model of tests/property/keys comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from roadstead.api.conditions import Reason
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys import versions as life
from roadstead.keys.decide import decide, rewrap_target, target
from roadstead.keys.schedule import Turn
from roadstead.keys.state import Policy, RegionView, Ring
from roadstead.keys.steps import Move, Note, Reserve
from roadstead.keys.versions import Version

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(lead=timedelta(), soak=timedelta(), retention=DAY, skew=timedelta(), removal=DAY)


def ring(count: int, *, since: datetime, due: bool = True) -> Ring:
    """So many versions, the last of them the primary, in one region that has them all."""
    phases = [Phase.DRAINING] * (count - 1) + [Phase.PRIMARY]
    versions = tuple(Version(n, phase, since, fingerprint=f"f{n}") for n, phase in enumerate(phases, start=1))
    view = RegionView("hkg", target(versions), reads=frozenset({count}), writes=count)
    material = {version.number: version.fingerprint for version in versions}
    return Ring(versions, (view,), POLICY, Turn(NOON if due else None, None), material=material)


def test_a_keyset_that_is_full_takes_no_version_and_loses_those_that_have_ended() -> None:
    decision = decide(ring(life.MOST_IN_KEYSET, since=NOON - 2 * DAY), NOON)
    assert [wait.reason for wait in decision.waits] == [Reason.KEYSET_FULL]
    assert [(step.version.number, step.to) for step in decision.steps if isinstance(step, Move)] == [(1, Phase.RETIRED)]


def test_a_keyset_that_is_full_drops_nothing_that_is_kept() -> None:
    decision = decide(ring(life.MOST_IN_KEYSET, since=NOON), NOON)
    assert decision.steps == ()
    assert [wait.reason for wait in decision.waits] == [Reason.KEYSET_FULL]


def test_one_less_is_not_full() -> None:
    decision = decide(ring(life.MOST_IN_KEYSET - 1, since=NOON), NOON)
    assert decision.steps == (Reserve(life.MOST_IN_KEYSET, NOON),)


def test_the_removal_of_what_was_written_anew_counts_from_then_on() -> None:
    long_ago = NOON - 40 * DAY
    versions = (
        Version(1, Phase.COMPROMISED, long_ago, fingerprint="f1"),
        Version(2, Phase.PRIMARY, long_ago, fingerprint="f2"),
    )
    material = {1: "f1", 2: "f2"}
    policy = Policy(lead=timedelta(), soak=timedelta(), retention=None, skew=timedelta(), removal=30 * DAY)

    def decided(one: Version, now: datetime) -> tuple[object, ...]:
        ledger = (one, versions[1])
        region = RegionView("hkg", target(ledger), rewrap=rewrap_target(ledger), stored={1: 0})
        view = replace(region, reads=frozenset({2}), writes=2)
        return decide(Ring(ledger, (view,), policy, Turn(None, None), material=material, removable=1), now).steps

    (note,) = decided(versions[0], NOON)
    assert isinstance(note, Note)
    assert note.after.rewrapped
    assert decided(note.after, NOON + 29 * DAY) == ()
    (move,) = decided(note.after, NOON + 30 * DAY)
    assert isinstance(move, Move)
    assert move.to is Phase.REMOVED
