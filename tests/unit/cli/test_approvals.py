from __future__ import annotations

from typing import Any

import pytest

from approvals import APPROVER, REQUESTER, approval
from roadstead.api.approval import Approval
from roadstead.api.parse import parse
from roadstead.cli.approvals import as_data, objection_to, told
from roadstead.cli.exits import ExitCode


def asked(phase: str = "Pending", **edits: Any) -> Approval:
    fixed = {"spec__expiresAt": "2026-11-22T12:00:00Z", "spec__parameters": {"version": "7", "shred": "true"}}
    body = approval("ask", "chat", **fixed | edits)
    return parse("Approval", {**body, "status": {"phase": phase, "message": "because"}})


def test_everything_that_it_is_bound_to_is_told() -> None:
    assert list(told(asked())) == [
        "Approval      chat/ask",
        "Operation     CompromiseVersion",
        "Subject       KeyRing chat (uid 1b4e28ba-2fa1-41d2-883f-0016d3cca427)",
        "  shred       true",
        "  version     7",
        "Reason        incident 4711",
        f"Requested by  {REQUESTER}",
        "Approved by   nobody yet; 1 required",
        "Expires       2026-11-22T12:00:00Z",
    ]
    assert f"Approved by   {APPROVER}; 2 required" in told(asked(spec__approvals={APPROVER: ""}, spec__required=2))


@pytest.mark.parametrize("phase", ["Approved", "Executing", "Done", "Expired", "Refused"])
def test_what_is_decided_is_not_approved_any_more(phase: str) -> None:
    objection = objection_to(asked(phase), APPROVER)
    assert str(objection) == f"chat/ask is {phase} (because); there is nothing left to approve"
    assert objection is not None
    assert objection.code is ExitCode.REFUSED


def test_nobody_approves_what_they_have_asked_for() -> None:
    assert objection_to(asked(), APPROVER) is None
    words = f"chat/ask was asked for by you, {REQUESTER}; somebody else has to approve it"
    assert str(objection_to(asked(), REQUESTER)) == words


def test_a_machine_is_told_the_same() -> None:
    said = as_data(asked(spec__approvals={APPROVER: "ok"}))
    assert said["approvals"] == {APPROVER: "ok"}
    assert (said["namespace"], said["name"], said["phase"], said["message"]) == ("chat", "ask", "Pending", "because")
    assert said["parameters"] == {"version": "7", "shred": "true"}
    assert set(said) > {"subject", "operation", "reason", "requestedBy", "expiresAt", "required"}
