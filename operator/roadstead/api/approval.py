"""The kind Approval: something that one person asks for, and that is done when others have said yes.

Who wrote which name is no matter of a schema: a ValidatingAdmissionPolicy of the chart knows the user of each request.
The schema keeps what was asked for from changing, and what was said from being taken back.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from roadstead.api.conditions import Conditions
from roadstead.api.fields import DnsName, Integer, Model, Moment, ObjectMeta, Timestamp, shortened
from roadstead.api.rules import ChangeRule, Rule, Values, once
from roadstead.api.shapes import KIND_NAME, PARAMETER, UID

MOST_APPROVALS: Final = 16
MOST_PARAMETERS: Final = 8
USER_MAX_LENGTH: Final = 256

KindName = Annotated[str, StringConstraints(pattern=KIND_NAME, min_length=1, max_length=63)]
Uid = Annotated[str, StringConstraints(pattern=UID, min_length=36, max_length=36)]
UserName = Annotated[str, StringConstraints(min_length=1, max_length=USER_MAX_LENGTH)]
ParameterName = Annotated[str, StringConstraints(pattern=PARAMETER, min_length=1, max_length=63)]
ParameterValue = Annotated[str, StringConstraints(max_length=253)]


class Subject(Model):
    """What something is to be done to: one object, and no other that comes to have its name."""

    kind: KindName = Field(description="Its kind.", examples=["KeyRing"])
    name: DnsName = Field(description="Its name; it is in the namespace of the Approval.", examples=["chat"])
    uid: Uid = Field(
        description="Its metadata.uid. What is deleted and made again under the name is another object, and is left "
        "alone.",
        examples=["1b4e28ba-2fa1-41d2-883f-0016d3cca427"],
    )


class ApprovalSpec(Model):
    """What is asked for, by whom, and who has said yes. Only names of those who say yes are ever added."""

    subject: Subject = Field(description="What something is to be done to.")
    operation: KindName = Field(
        description="What is to be done, in one word; each kind of subject has its own.",
        examples=["CompromiseVersion"],
    )
    parameters: Annotated[dict[ParameterName, ParameterValue], Field(max_length=MOST_PARAMETERS)] = Field(
        default={},
        description="What exactly is to be done, as the operation asks: which version, which region, the hash of which "
        "plan. At most 8, all of them text.",
        examples=[{"version": "7"}],
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="Why, for those who are to approve it.",
        examples=["laptop of a key custodian stolen, incident 4711"],
    )
    requested_by: UserName = Field(
        description="Who asks for it: your own user name, as kubectl auth whoami says it. A ServiceAccount cannot ask: "
        "the same person may be behind it and behind the approval.",
        examples=["alice@example.com"],
    )
    expires_at: Moment = Field(
        description="Until when it may be begun. At most 30 days after it is asked for. What was begun before is "
        "carried through.",
        examples=["2026-11-22T12:00:00Z"],
    )
    required: Annotated[Integer, Field(ge=1, le=8)] = Field(
        default=1,
        description="How many people have to approve it beside the one who asks for it. 1 to 8; 1 makes two people.",
    )
    approvals: Annotated[
        dict[UserName, Annotated[str, StringConstraints(max_length=256)]], Field(max_length=MOST_APPROVALS)
    ] = Field(
        default={},
        description="Who approves it, and a remark of theirs, which may be empty. Nobody can write another name than "
        "their own, nor one at all without the verb approve on approvals.roadstead.dev, nor the one of whoever asked "
        "for it. None is ever taken away. At most 16.",
        examples=[{"bob@example.com": "checked with the incident's lead"}],
    )


class ApprovalPhase(StrEnum):
    """How far it has come."""

    PENDING = "Pending"
    """Approvals are missing."""
    APPROVED = "Approved"
    """Nothing is missing; it is about to be begun."""
    EXECUTING = "Executing"
    """It was begun, once and for all: it is carried through, also after a crash, and never begun again."""
    DONE = "Done"
    EXPIRED = "Expired"
    """It was not begun in time, and never will be."""
    REFUSED = "Refused"
    """It cannot be done as it was asked for, and never will be."""


FINISHED: Final = frozenset({ApprovalPhase.DONE, ApprovalPhase.EXPIRED, ApprovalPhase.REFUSED})
"""Phases that an Approval never leaves: it is a record."""


class ApprovalStatus(Model):
    """What the operator found and did."""

    observed_generation: Integer = Field(
        default=0, ge=0, le=2**53, description="The metadata.generation that this status was derived from."
    )
    phase: ApprovalPhase = Field(
        default=ApprovalPhase.PENDING,
        description="Pending: approvals are missing. Approved: about to be begun. Executing: begun, and carried "
        "through. Done. Expired: not begun in time. Refused: it cannot be done as it was asked for. The last three are "
        "for ever.",
    )
    approved: Annotated[str, StringConstraints(max_length=8)] = Field(
        default="", description="How many approvals there are, and how many are required: 0/1."
    )
    message: Annotated[str, StringConstraints(max_length=1024), shortened(1024)] = Field(
        default="", description="What is waited for, what was done, or why it is not done, with the cure."
    )
    consumed_at: Timestamp | None = Field(default=None, description="When it was begun.")
    conditions: Conditions = Field(
        default=(), description="Ready (when it is Done), Reconciling and Stalled, as kstatus has them."
    )


class Approval(Model):
    """Something that one person asks for, and that the operator does once when others have approved it."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ApprovalSpec = Field(description="What is asked for, by whom, and who has said yes.")
    status: ApprovalStatus = Field(default=ApprovalStatus(), description="What the operator found and did.")


APPROVAL_RULES: tuple[Rule, ...] = ()

_FIXED: Final = ("subject", "operation", "reason", "requestedBy", "expiresAt", "required")


def _asked_otherwise(old: Approval, new: Approval) -> Iterable[Values]:
    fixed: dict[str, dict[str, str]] = {"approvals": {}}
    return once(old.spec.model_copy(update=fixed) != new.spec.model_copy(update=fixed))


def _taken_back(old: Approval, new: Approval) -> Iterable[Values]:
    there = new.spec.approvals.items()
    return ({"user": user} for user in sorted(old.spec.approvals) if (user, old.spec.approvals[user]) not in there)


def _too_late(old: Approval, new: Approval) -> Iterable[Values]:
    phase = old.status.phase
    grown = len(new.spec.approvals) > len(old.spec.approvals)
    return once(grown and phase is not ApprovalPhase.PENDING, phase=phase.value)


def _same(field: str) -> str:
    return f"self.spec.{field} == oldSelf.spec.{field}"


_NO_PARAMETERS: Final = "(!has({0}.parameters) || size({0}.parameters) == 0)"
_SAME_PARAMETERS: Final = (
    f"({_NO_PARAMETERS.format('self.spec')} && {_NO_PARAMETERS.format('oldSelf.spec')}) || "
    "(has(self.spec.parameters) && has(oldSelf.spec.parameters) && self.spec.parameters == oldSelf.spec.parameters)"
)
_LOST: Final = "{0}.all(user, has(self.approvals) && user in self.approvals && self.approvals[user] == {0}[user])"
_OLD: Final = "oldSelf.approvals"

APPROVAL_CHANGES: tuple[ChangeRule, ...] = (
    ChangeRule(
        name="What is asked for never changes",
        at="",
        field="spec",
        says="changes in something else than approvals",
        cure="write what it was, and make another Approval for what is wanted now",
        found=_asked_otherwise,
        cel=f"{' && '.join(map(_same, _FIXED))} && ({_SAME_PARAMETERS})",
    ),
    ChangeRule(
        name="What was said is never taken back",
        at="spec",
        field="spec.approvals",
        says="loses or changes what {user} has said",
        cure="write it again, and add to it only",
        found=_taken_back,
        cel=f"!has({_OLD}) || {_LOST.format(_OLD)}",
        values={
            "user": f"{_OLD}.filter(user, !has(self.approvals) || !(user in self.approvals) || "
            f"self.approvals[user] != {_OLD}[user])[0]"
        },
    ),
    ChangeRule(
        name="Nothing is said of what is decided",
        at="",
        field="spec.approvals",
        says="gains a name, but the Approval is {phase}",
        cure="leave it as it is, and make another Approval for what is still wanted",
        found=_too_late,
        cel="!has(self.spec.approvals) || !has(oldSelf.status) || !has(oldSelf.status.phase) || "
        "oldSelf.status.phase == 'Pending' || size(self.spec.approvals) <= "
        "(has(oldSelf.spec.approvals) ? size(oldSelf.spec.approvals) : 0)",
        values={"phase": "oldSelf.status.phase"},
    ),
)
