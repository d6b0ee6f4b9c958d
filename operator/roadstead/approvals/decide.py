"""What becomes of an Approval next? Pure: the object, what has its subject's name now, what can be asked for, the time.

Everything that would make it worthless is found before anybody is asked to approve it. Expiry counts at one moment
only: when it is begun. What was begun is carried through; what is Done, Expired or Refused stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from roadstead.api.approval import FINISHED, Approval, ApprovalPhase, ApprovalSpec
from roadstead.api.conditions import Reason
from roadstead.api.problems import Problem

SERVICE_ACCOUNT: Final = "system:serviceaccount:"

NOT_ENFORCED: Final = (
    "the API server does not refuse an Approval in another's name, so nobody knows who wrote the names in this one; "
    "install the chart's ValidatingAdmissionPolicies and their bindings, then make another Approval"
)

Check: TypeAlias = Callable[[Mapping[str, str]], Problem | None]


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at.

    Attributes:
        approval: as the API server has it.
        subject_uid: uid of the object that has the subject's kind and name now; None: there is none.
        checks: by kind of subject and name of operation, what finds something wrong with parameters.
        enforced: whether the API server refuses what is forged.
    """

    approval: Approval
    subject_uid: str | None
    checks: Mapping[str, Mapping[str, Check]]
    enforced: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it becomes, or stays; becomes the status as it stands."""

    phase: ApprovalPhase
    reason: Reason
    message: str


def approvers(spec: ApprovalSpec) -> tuple[str, ...]:
    """Users whose word counts. The policy lets no others in; who gets past it all the same counts for nothing."""
    return tuple(
        user for user in sorted(spec.approvals) if user != spec.requested_by and not user.startswith(SERVICE_ACCOUNT)
    )


def nobody_does_that(view: View) -> Problem | None:
    """The subject's kind, or the operation, is none that there is."""
    spec = view.approval.spec
    operations = view.checks.get(spec.subject.kind)
    if operations is None:
        says = f"is {spec.subject.kind}, a kind of which nothing can be asked"
        return Problem("spec.subject.kind", spec.subject.kind, says, _again(f"with {_any_of(view.checks)}"))
    if spec.operation not in operations:
        says = f"is {spec.operation}, which is no operation of a {spec.subject.kind}"
        return Problem("spec.operation", spec.operation, says, _again(f"with {_any_of(operations)}"))
    return None


def subject_is_another(view: View) -> Problem | None:
    """What was meant is not there any more."""
    subject = view.approval.spec.subject
    if view.subject_uid is None:
        says = f"is {subject.name}, but there is no {subject.kind} {subject.name} in this namespace"
        return Problem("spec.subject.name", subject.name, says, _again("for one that there is"))
    if view.subject_uid != subject.uid:
        says = f"is {subject.uid}, but the {subject.kind} {subject.name} that is there has the uid {view.subject_uid}"
        return Problem("spec.subject.uid", subject.uid, says, _again("if that one is meant"))
    return None


def parameters_are_wrong(view: View) -> Problem | None:
    """The operation can do nothing with what it is bound to."""
    spec = view.approval.spec
    return view.checks[spec.subject.kind][spec.operation](spec.parameters)


FAULTS: Final = (nobody_does_that, subject_is_another, parameters_are_wrong)
"""What makes an Approval worthless for ever, in the order in which it is said."""


def decide(view: View, now: datetime) -> Verdict:
    """The next phase, or the present one and what is waited for.

    Args:
        view: what is looked at.
        now: the later of our clock and the API server's.
    """
    approval = view.approval
    spec, status = approval.spec, approval.status
    if status.phase in FINISHED:
        return Verdict(status.phase, _REASONS[status.phase], status.message)
    for fault in FAULTS:
        if (problem := fault(view)) is not None:
            return Verdict(ApprovalPhase.REFUSED, Reason.REFUSED, str(problem))
    if status.phase is ApprovalPhase.EXECUTING:
        return Verdict(ApprovalPhase.EXECUTING, Reason.EXECUTING, status.message)
    if not view.enforced:
        return Verdict(ApprovalPhase.REFUSED, Reason.NOT_ENFORCED, NOT_ENFORCED)
    if now >= spec.expires_at:
        until = spec.expires_at.isoformat()
        return Verdict(ApprovalPhase.EXPIRED, Reason.EXPIRED, f"spec.expiresAt is {until}, which is past; {_again()}")
    by = approvers(spec)
    if len(by) < spec.required:
        missing = spec.required - len(by)
        words = f"waits for {missing} more {'approval' if missing == 1 else 'approvals'}: roadstead approve"
        return Verdict(ApprovalPhase.PENDING, Reason.AWAITING_APPROVAL, f"{words} {approval.metadata.name}")
    approved = f"requested by {spec.requested_by}, approved by {', '.join(by)}"
    if status.phase is ApprovalPhase.PENDING:
        return Verdict(ApprovalPhase.APPROVED, Reason.APPROVED, approved)
    return Verdict(ApprovalPhase.EXECUTING, Reason.EXECUTING, approved)


_REASONS: Final = {
    ApprovalPhase.DONE: Reason.DONE,
    ApprovalPhase.EXPIRED: Reason.EXPIRED,
    ApprovalPhase.REFUSED: Reason.REFUSED,
}


def _any_of(names: Mapping[str, object]) -> str:
    return " or ".join(sorted(names)) or "none: this version of the operator carries nothing out"


def _again(how: str = "") -> str:
    return f"make another Approval {how}".strip()
