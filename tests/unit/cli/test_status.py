"""What ``roadstead status`` writes into a pipe.

Mutants that these tests were seen to kill: lines padded to the longest; a long message broken or cut.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from roadstead.cli.status import Question, _View
from unit.cli.test_overview import condition, entry, service

WORDS = "region hkg: pod p: CrashLoopBackOff, container chat ended with exit code 2 " * 8


@pytest.mark.parametrize("name", ["", "desk"], ids=["all services", "one service"])
def test_lines_in_a_pipe_are_as_long_as_what_they_say(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    hub: Any = SimpleNamespace(namespace="chat")
    view = _View(Question(name=name), hub)
    conditions = condition("Ready", "False", "Refused", WORDS), condition("Placed", "True", "Placed", "all of them")
    view.take([service("desk", *conditions, regions=[entry("hkg", message=WORDS), entry("sin")])])
    view.print()
    lines = capsys.readouterr().out.split("\n")
    assert [line for line in lines if line != line.rstrip()] == []
    assert any(WORDS.strip() in line for line in lines), "neither broken nor cut"
