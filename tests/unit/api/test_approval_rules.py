"""Rules of Approvals, broken and kept; the API server's side of it is in tests/integration/api."""

from __future__ import annotations

import pytest

from api_approval_cases import APPROVAL_CHANGES_REFUSED, APPROVAL_EDITS, APPROVALS_KEPT, APPROVALS_REFUSED, Edits
from approvals import approval
from roadstead.api.approval import APPROVAL_CHANGES, APPROVAL_RULES, FINISHED, Approval, ApprovalPhase
from roadstead.api.kinds import APPROVAL
from roadstead.api.parse import dump, parse, parse_change
from roadstead.api.problems import SpecError
from specs import Body, edited

END = "2030-01-01T00:00:00Z"


def asked(edits: Edits) -> Body:
    return edited(approval("ask", spec__expiresAt=END), edits)


@pytest.mark.parametrize(("word", "edits"), [pytest.param(*case, id=case[0]) for case in APPROVALS_KEPT])
def test_what_keeps_the_rules(word: str, edits: Edits) -> None:
    parse("Approval", asked(edits), strict=True)


@pytest.mark.parametrize("edits", [pytest.param(edits, id=word) for word, edits, _, _ in APPROVALS_REFUSED])
def test_what_is_outside_the_schema(edits: Edits) -> None:
    with pytest.raises(SpecError) as caught:
        parse("Approval", asked(edits), strict=True)
    (problem,) = map(str, caught.value.problems)
    assert problem.startswith("spec")
    assert "; " in problem


@pytest.mark.parametrize(
    ("before", "after", "words"), [pytest.param(*case[1:], id=case[0]) for case in APPROVAL_CHANGES_REFUSED]
)
def test_a_forbidden_edit(before: Edits, after: Edits, words: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_change("Approval", asked(before), asked(after))
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == len(words)
    assert all(problem.startswith(word) for problem, word in zip(said, words, strict=True))


@pytest.mark.parametrize(("before", "after"), [pytest.param(*case[1:], id=case[0]) for case in APPROVAL_EDITS])
def test_a_permitted_edit(before: Edits, after: Edits) -> None:
    parse_change("Approval", asked(before), asked(after))


def test_every_rule_is_broken_above_and_is_the_servers_too() -> None:
    edits = [
        (Approval.model_validate(asked(before)), Approval.model_validate(asked(after)))
        for _, before, after, _ in APPROVAL_CHANGES_REFUSED
    ]
    assert [rule.name for rule in APPROVAL_CHANGES if not any(rule.problems(*edit) for edit in edits)] == []
    assert all(rule.cel for rule in APPROVAL_CHANGES)
    assert (APPROVAL.rules, APPROVAL.changes) == (APPROVAL_RULES, APPROVAL_CHANGES)


def test_what_is_asked_for_is_every_field_but_approvals() -> None:
    """A field that is added is fixed too, in CEL as in Python."""
    cel = APPROVAL_CHANGES[0].cel or ""
    fields = {field.alias or name for name, field in type(parse("Approval", asked({})).spec).model_fields.items()}
    assert {name for name in fields if f"self.spec.{name} == oldSelf.spec.{name}" in cel} == fields - {"approvals"}


def test_what_is_finished_is_what_is_over() -> None:
    assert {ApprovalPhase.DONE, ApprovalPhase.EXPIRED, ApprovalPhase.REFUSED} == FINISHED
    assert dump(parse("Approval", asked({})))["status"]["phase"] == "Pending"
