from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from approvals import APPROVER, OTHER, REQUESTER, UID, approval
from roadstead.api.approval import FINISHED, Approval, ApprovalPhase
from roadstead.api.conditions import Reason
from roadstead.api.parse import parse
from roadstead.api.problems import Problem
from roadstead.approvals.decide import FAULTS, NOT_ENFORCED, View, approvers, decide

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def check(parameters: Mapping[str, str]) -> Problem | None:
    """Something is to be done with version 7."""
    value = parameters.get("version", "")
    if value == "7":
        return None
    return Problem("spec.parameters.version", value, f"is {value}, and not 7", "write 7")


CHECKS = {"KeyRing": {"CompromiseVersion": check, "RemoveVersions": check}, "Service": {"Open": check}}


def asked(phase: str = "Pending", by: tuple[str, ...] = (), message: str = "", **edits: Any) -> Approval:
    """An Approval in a phase, that these have approved."""
    body = approval("ask", spec__approvals=dict.fromkeys(by, ""), spec__expiresAt=LATER.isoformat(), **edits)
    return parse("Approval", {**body, "status": {"phase": phase, "message": message}})


def view(of: Approval, uid: str | None = UID, *, enforced: bool = True) -> View:
    return View(of, uid, CHECKS, enforced)


STEPS = [
    pytest.param("Pending", (), "Pending", id="nobody has approved it"),
    pytest.param("Pending", (APPROVER,), "Approved", id="somebody has approved it"),
    pytest.param("Approved", (APPROVER,), "Executing", id="it is begun in a step of its own"),
    pytest.param("Executing", (APPROVER,), "Executing", id="what was begun is carried on"),
    pytest.param("Pending", (REQUESTER,), "Pending", id="the word of whoever asked does not count"),
    pytest.param("Approved", (REQUESTER,), "Pending", id="nor does it where somebody had written Approved"),
    pytest.param("Pending", ("system:serviceaccount:a:b",), "Pending", id="nor does that of a ServiceAccount"),
]


@pytest.mark.parametrize(("phase", "by", "expected"), STEPS)
def test_the_next_phase(phase: str, by: tuple[str, ...], expected: str) -> None:
    assert decide(view(asked(phase, by)), NOW).phase == expected


@pytest.mark.parametrize(("count", "expected"), [(0, "Pending"), (1, "Pending"), (2, "Approved"), (3, "Approved")])
def test_as_many_are_needed_as_are_required(count: int, expected: str) -> None:
    by = (APPROVER, OTHER, "dave@example.com")[:count]
    verdict = decide(view(asked("Pending", by, spec__required=2)), NOW)
    assert verdict.phase == expected
    if expected == "Pending":
        words = {0: "waits for 2 more approvals: ", 1: "waits for 1 more approval: "}[count]
        assert verdict.message == f"{words}roadstead approve ask"
    else:
        assert verdict.message == f"requested by {REQUESTER}, approved by {', '.join(sorted(by))}"


def test_those_who_count_are_told_in_order() -> None:
    assert approvers(asked(by=(OTHER, "system:serviceaccount:a:b", REQUESTER, APPROVER)).spec) == (APPROVER, OTHER)


@pytest.mark.parametrize(
    ("phase", "by"), [("Pending", ()), ("Pending", (APPROVER,)), ("Approved", (APPROVER,))], ids=str
)
def test_it_expires_at_its_moment_and_not_before(phase: str, by: tuple[str, ...]) -> None:
    assert decide(view(asked(phase, by)), LATER - timedelta(seconds=1)).phase != "Expired"
    verdict = decide(view(asked(phase, by)), LATER)
    assert (verdict.phase, verdict.reason) == ("Expired", Reason.EXPIRED)
    assert verdict.message == "spec.expiresAt is 2026-11-22T13:00:00+00:00, which is past; make another Approval"


def test_what_was_begun_in_time_does_not_expire() -> None:
    assert decide(view(asked("Executing", (APPROVER,))), LATER + timedelta(days=9)).phase == "Executing"


FAULTY = [
    pytest.param(
        {"spec__subject": {"kind": "Boat", "name": "x", "uid": UID}},
        UID,
        "spec.subject.kind is Boat, a kind of which nothing can be asked; make another Approval with KeyRing or Serv",
        id="a kind that there is not",
    ),
    pytest.param(
        {"spec__operation": "Sink"},
        UID,
        "spec.operation is Sink, which is no operation of a KeyRing; make another Approval with CompromiseVersion or "
        "RemoveVersions",
        id="an operation that there is not",
    ),
    pytest.param(
        {"spec__operation": "Open"},
        UID,
        "spec.operation is Open, which is no operation of a KeyRing; make another",
        id="an operation of another kind",
    ),
    pytest.param(
        {},
        None,
        "spec.subject.name is chat, but there is no KeyRing chat in this namespace; make another Approval for one",
        id="a subject that is not there",
    ),
    pytest.param(
        {},
        UID.replace("1", "2"),
        f"spec.subject.uid is {UID}, but the KeyRing chat that is there has the uid {UID.replace('1', '2')}; make",
        id="another object of that name",
    ),
    pytest.param(
        {"spec__parameters": {"version": "8"}},
        UID,
        "spec.parameters.version is 8, and not 7; write 7",
        id="parameters that are no good",
    ),
    pytest.param({"spec__parameters": {}}, UID, "spec.parameters.version is ", id="no parameters"),
]


@pytest.mark.parametrize(("edits", "uid", "words"), FAULTY)
@pytest.mark.parametrize("phase", ["Pending", "Approved", "Executing"])
def test_what_is_worthless_is_refused_in_every_phase(
    edits: dict[str, Any], uid: str | None, words: str, phase: str
) -> None:
    verdict = decide(view(asked(phase, (APPROVER,), **edits), uid), NOW)
    assert (verdict.phase, verdict.reason) == ("Refused", Reason.REFUSED)
    assert verdict.message.startswith(words)


def test_each_fault_is_found_above() -> None:
    found = set()
    for case in FAULTY:
        edits, uid, _ = case.values
        seen = view(asked(**edits), uid)  # type: ignore[arg-type]
        found.add(next(fault for fault in FAULTS if fault(seen) is not None))
    assert found == set(FAULTS)


def test_where_nothing_can_be_asked_it_is_said() -> None:
    verdict = decide(replace(view(asked()), checks={}), NOW)
    assert verdict.message.endswith("make another Approval with none: this version of the operator carries nothing out")


@pytest.mark.parametrize("phase", ["Pending", "Approved"])
def test_nothing_is_begun_where_names_may_be_forged(phase: str) -> None:
    verdict = decide(view(asked(phase, (APPROVER,)), enforced=False), NOW)
    assert (verdict.phase, verdict.reason, verdict.message) == ("Refused", Reason.NOT_ENFORCED, NOT_ENFORCED)


def test_no_phase_leads_back_and_none_leads_out_of_the_end() -> None:
    """Every phase, with every set of names, subject, moment and policy that makes a difference."""
    order = {"Pending": 0, "Approved": 1, "Executing": 2}
    names: list[tuple[str, ...]] = [(), (APPROVER,), (REQUESTER,), (APPROVER, REQUESTER)]
    reached = set()
    for phase, by, uid, now, enforced in itertools.product(
        ApprovalPhase, names, (UID, None, "x"), (NOW, LATER), (True, False)
    ):
        verdict = decide(view(asked(phase.value, by, "as it was"), uid, enforced=enforced), now)
        reached.add((phase, verdict.phase))
        if phase in FINISHED:
            assert (verdict.phase, verdict.message) == (phase, "as it was")
        elif verdict.phase not in FINISHED and APPROVER in by:
            assert order[verdict.phase] >= order[phase]
        if verdict.phase is ApprovalPhase.EXECUTING and phase is not ApprovalPhase.EXECUTING:
            assert (phase, uid, now, enforced) == (ApprovalPhase.APPROVED, UID, NOW, True)
            assert APPROVER in by
        assert verdict.phase is not ApprovalPhase.DONE or phase is ApprovalPhase.DONE, "only what was done is Done"
    assert (ApprovalPhase.PENDING, ApprovalPhase.EXECUTING) not in reached, "a compare-and-swap lies between"
