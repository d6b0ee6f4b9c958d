from datetime import UTC, datetime

import pytest

from roadstead.api.keyversion import MAY_BECOME
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys import versions as life
from roadstead.keys.versions import Version

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int, phase: Phase, slot: datetime | None = None) -> Version:
    return Version(number, phase, WHEN, slot=slot)


def beyond(phase: Phase) -> set[Phase]:
    """Every phase that can follow, at once or later."""
    found: set[Phase] = set()
    waiting = [phase]
    while waiting:
        for following in MAY_BECOME[waiting.pop()] - found:
            found.add(following)
            waiting.append(following)
    return found


@pytest.mark.parametrize("phase", Phase)
def test_no_step_leads_back(phase: Phase) -> None:
    assert phase not in beyond(phase)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in life.COMING])
def test_what_was_primary_once_never_is_again(phase: Phase) -> None:
    assert Phase.PRIMARY not in beyond(phase)


def test_only_what_never_was_primary_is_discarded() -> None:
    assert {phase for phase in Phase if Phase.DISCARDED in MAY_BECOME[phase]} == life.COMING


def test_nothing_is_removed_that_regions_serve_with() -> None:
    assert not {phase for phase in life.HANDED_OUT if Phase.REMOVED in MAY_BECOME[phase]}


def test_the_primary_is_the_newest_that_was_made_so() -> None:
    """Between two writes the ledger may name two."""
    ledger = [version(3, Phase.PRIMARY), version(2, Phase.PRIMARY), version(4, Phase.READY)]
    assert life.primary(ledger) == ledger[0]
    assert life.primary([version(1, Phase.READY)]) is None


def test_a_slot_is_taken_also_by_a_version_that_was_discarded() -> None:
    ledger = [
        version(1, Phase.PRIMARY, WHEN),
        version(2, Phase.DISCARDED, WHEN.replace(day=4)),
        version(3, Phase.READY),
    ]
    assert life.newest_slot(ledger) == WHEN.replace(day=4)
    assert life.newest_slot([]) is None


def test_a_retired_version_is_handed_out_when_somebody_asked_for_it() -> None:
    assert not version(1, Phase.RETIRED).handed_out
    assert Version(1, Phase.RETIRED, WHEN, returned=True).handed_out
    assert not Version(1, Phase.COMPROMISED, WHEN, returned=True).handed_out
