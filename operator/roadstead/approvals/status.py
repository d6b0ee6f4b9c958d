"""What is said of an Approval. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from roadstead.api.approval import Approval, ApprovalPhase, ApprovalStatus
from roadstead.api.conditions import ConditionType, Reason, set_condition
from roadstead.approvals.decide import Verdict, approvers

WORTHLESS: Final = frozenset({ApprovalPhase.EXPIRED, ApprovalPhase.REFUSED})


def derive(approval: Approval, verdict: Verdict, now: datetime) -> ApprovalStatus:
    """The whole status.

    Args:
        approval: with the status as it was stored before.
        verdict: what it has become, or stays.
        now: for the conditions that change, and for the moment when it is begun.
    """
    old, spec, generation = approval.status, approval.spec, approval.metadata.generation
    is_done, is_worthless = verdict.phase is ApprovalPhase.DONE, verdict.phase in WORTHLESS
    conditions = old.conditions
    for type_, holds, reason, message in (
        (ConditionType.READY, is_done, verdict.reason, verdict.message),
        (ConditionType.RECONCILING, not (is_done or is_worthless), verdict.reason, verdict.message),
        (
            ConditionType.STALLED,
            is_worthless,
            verdict.reason if is_worthless else Reason.NOT_STALLED,
            verdict.message if is_worthless else "",
        ),
    ):
        conditions = set_condition(conditions, type_, holds, reason, message, generation=generation, now=now)
    begins = verdict.phase is ApprovalPhase.EXECUTING and old.consumed_at is None
    return ApprovalStatus(
        observed_generation=generation,
        phase=verdict.phase,
        approved=f"{len(approvers(spec))}/{spec.required}",
        message=verdict.message,
        # Whole seconds, as it is stored: what is read back then equals what was written.
        consumed_at=now.replace(microsecond=0) if begins else old.consumed_at,
        conditions=conditions,
    )
