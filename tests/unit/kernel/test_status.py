"""Which turns of conditions become events, and which of those are warnings.

Mutants that these tests were seen to kill: every False a warning; RollingBack a normal event; a reason told twice;
progress a warning because something else stalls; a reason for a note.
"""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.kernel.status import Turn, turns


def status(**conditions: tuple[str, str]) -> dict[str, Any]:
    return {
        "conditions": [
            {"type": kind, "status": value, "reason": reason, "message": f"{kind} {reason}"}
            for kind, (value, reason) in conditions.items()
        ]
    }


HEALTHY = status(Ready=("True", "Ready"), RolledOut=("True", "Complete"), Stalled=("False", "NotStalled"))


def test_nothing_is_told_when_nothing_turned() -> None:
    assert list(turns(HEALTHY, HEALTHY)) == []


def test_work_that_goes_on_is_no_warning() -> None:
    after = status(Ready=("False", "Progressing"), RolledOut=("False", "Progressing"), Stalled=("False", "NotStalled"))
    assert list(turns(HEALTHY, after)) == [Turn("Progressing", "Ready Progressing", warning=False)], "once"


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ({"Ready": ("False", "RollingBack"), "Stalled": ("False", "NotStalled")}, "RollingBack"),
        ({"Ready": ("False", "SecretMissing"), "Stalled": ("True", "SecretMissing")}, "SecretMissing"),
        ({"Ready": ("False", "NotOurs"), "Conflict": ("True", "NotOurs"), "Stalled": ("True", "NotOurs")}, "NotOurs"),
        ({"Connected": ("False", "Unreachable")}, "Unreachable"),
    ],
)
def test_bad_news_is_a_warning(conditions: dict[str, tuple[str, str]], reason: str) -> None:
    told = list(turns(HEALTHY, status(**conditions)))
    assert [(turn.reason, turn.warning) for turn in told] == [(reason, True)]


def test_deleting_is_no_warning_even_when_it_cannot_go_on() -> None:
    after = status(Deleting=("True", "RegionUnreachable"), Stalled=("True", "RegionUnreachable"))
    assert [turn.warning for turn in turns({}, after)] == [False]


def test_progress_is_no_warning_also_while_something_else_stalls() -> None:
    after = status(
        Ready=("False", "NamespaceMissing"), RolledOut=("False", "RollingOut"), Stalled=("True", "NamespaceMissing")
    )
    told = {turn.reason: turn.warning for turn in turns(HEALTHY, after)}
    assert told == {"NamespaceMissing": True, "RollingOut": False}


def test_what_has_no_message_is_told_in_words_all_the_same() -> None:
    after = status(Placed=("True", "Placed"))
    after["conditions"][0]["message"] = ""
    (turn,) = turns(status(Placed=("False", "RegionUnreachable")), after)
    assert turn.message == "Placed is True"
