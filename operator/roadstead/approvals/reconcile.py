"""The shell around an Approval: read it live, decide, write the next phase, and only then act.

Single use is a compare-and-swap: the write that makes it Executing carries the resourceVersion that was read, and comes
before the act. So of two operators one begins; after a crash what is Executing is carried on; what is Done is left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from roadstead.api.approval import FINISHED, Approval, ApprovalPhase, ApprovalStatus
from roadstead.api.conditions import Reason
from roadstead.api.parse import dump, is_status_readable, parse, status_of
from roadstead.api.problems import SpecError
from roadstead.approvals.decide import Check, Verdict, View, approvers, decide
from roadstead.approvals.status import derive
from roadstead.kernel import objects, status
from roadstead.kernel.context import Context, Result
from roadstead.kernel.errors import Invalid, RoadsteadError, Terminal
from roadstead.kernel.objects import APPROVALS, Gvr, Key
from roadstead.kernel.operations import Done, Impossible, Operation, Order, Unfinished

FORGED_BY: Final = "somebody-else"
"""Who asks for the Approval by which we see whether the API server refuses what is forged."""
REFUSAL: Final = f"spec.requestedBy is {FORGED_BY}, but you are "
"""What the chart's policy says to that. Another policy's no to it says nothing of ours."""

log = logging.getLogger(__name__)


class ApprovalReconciler:
    """Reconciles Approvals.

    Args:
        operations: everything that can be asked for.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._operations: dict[tuple[str, str], Operation] = {}
        self._checks: dict[str, dict[str, Check]] = {}
        for operation in operations:
            self._operations[operation.subject.kind, operation.name] = operation
            self._checks.setdefault(operation.subject.kind, {})[operation.name] = operation.check
        self._subjects = {operation.subject.kind: operation.subject for operation in self._operations.values()}

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Bring one Approval one phase further, or carry on with what it asks for."""
        seen = ctx.resources.get(key)
        if seen is None or status_of(ApprovalStatus, seen).phase in FINISHED:
            return Result()
        # Live: what the informer saw may be from before it was done, and nothing is done twice.
        body = await ctx.hub.client.find(APPROVALS, key.namespace, key.name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return Result()
        ctx.resources.upsert(key.kind, body)
        approval = _read(key, body)
        if approval.status.phase in FINISHED:
            return Result()
        subject = await self._subject(approval, ctx)
        begun = approval.status.phase is ApprovalPhase.EXECUTING
        enforced, unknown = True, None
        if not begun:
            try:
                enforced = await is_enforced(key, approval, ctx)
            except Terminal as error:
                unknown = error
        view = View(
            approval=approval,
            subject_uid=subject["metadata"]["uid"] if subject is not None else None,
            checks=self._checks,
            enforced=enforced,
        )
        now = _later(ctx)
        verdict = decide(view, now)
        if unknown is not None and verdict.phase not in FINISHED:
            waits = Verdict(approval.status.phase, Reason.NOT_ENFORCED, str(unknown))
            await _write(body, approval, waits, ctx)
            raise unknown  # it is said in the status; the queue knows when to try again
        if verdict.phase is ApprovalPhase.EXECUTING and begun and subject is not None:
            return await self._carry_on(key, body, approval, subject, ctx)
        await _write(body, approval, verdict, ctx)
        if verdict.phase in (ApprovalPhase.APPROVED, ApprovalPhase.EXECUTING):
            ctx.queue.add(key)
        if verdict.phase is ApprovalPhase.PENDING:
            return Result(requeue_after=max(0.05, (approval.spec.expires_at - now).total_seconds()))
        return Result()

    async def _subject(self, approval: Approval, ctx: Context) -> dict[str, Any] | None:
        subject = approval.spec.subject
        gvr: Gvr | None = self._subjects.get(subject.kind)
        if gvr is None:
            return None
        return await ctx.hub.client.find(gvr, approval.metadata.namespace, subject.name)

    async def _carry_on(
        self, key: Key, body: Mapping[str, Any], approval: Approval, subject: Mapping[str, Any], ctx: Context
    ) -> Result:
        spec, begun = approval.spec, approval.status.consumed_at
        operation = self._operations[spec.subject.kind, spec.operation]
        order = Order(
            approval=key,
            uid=approval.metadata.uid,
            subject=subject,
            parameters=spec.parameters,
            requested_by=spec.requested_by,
            approved_by=approvers(spec),
            begun=begun or ctx.clock.now(),
        )
        try:
            outcome = await operation.carry_out(order, ctx)
        except RoadsteadError as error:
            trouble = Verdict(ApprovalPhase.EXECUTING, Reason.EXECUTING, f"{error}; it is tried again")
            await _write(body, approval, trouble, ctx)
            raise  # it is said in the status; the queue knows when to try again
        match outcome:
            case Done(message):
                await _write(body, approval, Verdict(ApprovalPhase.DONE, Reason.DONE, message), ctx)
            case Impossible(message):
                await _write(body, approval, Verdict(ApprovalPhase.REFUSED, Reason.REFUSED, message), ctx)
            case Unfinished(message, again):
                await _write(body, approval, Verdict(ApprovalPhase.EXECUTING, Reason.EXECUTING, message), ctx)
                return Result(requeue_after=again)
        return Result()


async def is_enforced(key: Key, approval: Approval, ctx: Context) -> bool:
    """Whether the API server refuses, by a policy, an Approval that we ask for in another's name.

    Asked, and not looked up: whether a policy is in force depends on its binding, on what it matches, and on when the
    API server has heard of both. The Approval is a dry run: nobody ever sees it.

    Raises:
        Invalid: something else refuses it, so that this cannot be seen; the message says what helps.
    """
    forged = {
        "apiVersion": APPROVALS.api_version,
        "kind": APPROVALS.kind,
        "metadata": {"name": f"{key.name[:50].rstrip('.-')}-forged", "namespace": key.namespace},
        "spec": {**dump(approval.spec), "requestedBy": FORGED_BY, "approvals": {}},
    }
    client = ctx.hub.client
    try:
        await client.create(APPROVALS, key.namespace, forged, manager=objects.FIELD_MANAGER, dry_run=True)
    except Terminal as error:  # a policy may give any code, 403 too
        if REFUSAL in str(error):
            return True
        raise Invalid(
            "nothing is begun, since it cannot be seen whether the API server refuses an Approval in another's name: "
            f"something else refuses the one in a dry run first ({error}); let whatever it is take Approvals by the "
            "operator's ServiceAccount, then it is tried again"
        ) from None
    return False


def _read(key: Key, body: Mapping[str, Any]) -> Approval:
    # Taken for empty, a status that a newer version wrote would have it all done once more.
    if not is_status_readable(ApprovalStatus, body):
        raise Invalid(f"status of {key} cannot be read by this version of the operator; run the version that wrote it")
    try:
        return parse("Approval", body)
    except SpecError as error:
        raise Invalid(f"{key} cannot be read by this version of the operator: {error}") from None


async def _write(body: Mapping[str, Any], approval: Approval, verdict: Verdict, ctx: Context) -> None:
    await status.write(ctx, APPROVALS, body, dump(derive(approval, verdict, ctx.clock.now())))
    if verdict.phase is not approval.status.phase:
        log.info("%s is %s: %s", approval.spec.operation, verdict.phase, verdict.message)


def _later(ctx: Context) -> datetime:
    """The later of our clock and the API server's: a clock that was set back must not make anything valid again."""
    ahead = ctx.hub.client.clock_ahead or 0.0
    return ctx.clock.now() + timedelta(seconds=max(0.0, -ahead))
