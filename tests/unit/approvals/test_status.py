from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from approvals import APPROVER, approval
from roadstead.api.approval import Approval, ApprovalPhase
from roadstead.api.conditions import Reason
from roadstead.api.parse import dump, parse
from roadstead.approvals.decide import Verdict
from roadstead.approvals.status import derive

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def asked(**status: Any) -> Approval:
    body = approval("ask", spec__approvals={APPROVER: ""}, spec__required=2, metadata__generation=3)
    return parse("Approval", {**body, "status": status})


def verdict(phase: ApprovalPhase) -> Verdict:
    return Verdict(phase, Reason.NOT_ENFORCED, "words; cure")


CONDITIONS = {
    "Pending": ("False", "True", "False"),
    "Approved": ("False", "True", "False"),
    "Executing": ("False", "True", "False"),
    "Done": ("True", "False", "False"),
    "Expired": ("False", "False", "True"),
    "Refused": ("False", "False", "True"),
}
"""Ready, Reconciling and Stalled of each phase, so that kstatus says InProgress, Current or Failed."""


@pytest.mark.parametrize("phase", ApprovalPhase)
def test_the_conditions_of_each_phase(phase: ApprovalPhase) -> None:
    said = dump(derive(asked(), verdict(phase), NOW))
    found = {condition["type"]: condition for condition in said["conditions"]}
    assert tuple(found[type_]["status"] for type_ in ("Ready", "Reconciling", "Stalled")) == CONDITIONS[phase]
    assert {condition["observedGeneration"] for condition in said["conditions"]} == {3}
    assert (found["Ready"]["reason"], found["Ready"]["message"]) == ("NotEnforced", "words; cure")
    stalled = ("NotEnforced", "words; cure") if CONDITIONS[phase][2] == "True" else ("NotStalled", "")
    assert (found["Stalled"]["reason"], found["Stalled"]["message"]) == stalled
    assert (said["phase"], said["message"], said["approved"]) == (phase, "words; cure", "1/2")
    assert said["observedGeneration"] == 3


def test_when_it_was_begun_is_written_once_in_whole_seconds() -> None:
    assert "consumedAt" not in dump(derive(asked(), verdict(ApprovalPhase.APPROVED), NOW))
    begun = dump(derive(asked(phase="Approved"), verdict(ApprovalPhase.EXECUTING), NOW))
    assert begun["consumedAt"] == "2026-11-22T12:00:00Z"
    for phase in (ApprovalPhase.EXECUTING, ApprovalPhase.DONE, ApprovalPhase.REFUSED):
        assert (
            dump(derive(asked(**begun), verdict(phase), NOW + timedelta(hours=1)))["consumedAt"] == begun["consumedAt"]
        )


def test_the_same_again_is_the_same() -> None:
    """So that nothing is written when nothing has changed."""
    said = dump(derive(asked(), verdict(ApprovalPhase.PENDING), NOW))
    assert dump(derive(asked(**said), verdict(ApprovalPhase.PENDING), NOW + timedelta(hours=1))) == said
