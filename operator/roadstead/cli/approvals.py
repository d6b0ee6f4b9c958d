"""``roadstead approvals`` and ``approve``: what others ask for, and one's own word on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import typer
from rich.console import RenderableType
from rich.text import Text

from roadstead.api.approval import Approval, ApprovalPhase
from roadstead.api.kinds import GROUP
from roadstead.api.parse import dump, parse
from roadstead.api.problems import SpecError
from roadstead.cli.exits import FIELD_MANAGER, ExitCode, Failure
from roadstead.cli.hub import Access, Hub, connected, everything
from roadstead.cli.output import Format, console, data, line, note, unpadded
from roadstead.cli.tables import plain_table, state, words
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import NotServed
from roadstead.kernel.objects import APPROVALS, Gvr

_SELF_REVIEWS: Final = Gvr("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asks.

    Attributes:
        name: of one Approval, or NAMESPACE/NAME; empty: all.
        namespace: of it.
        everywhere: those of all namespaces.
        remark: to be kept beside one's name.
        sure: do not ask whether it is meant.
        output: how the result is printed.
    """

    name: str = ""
    namespace: str = ""
    everywhere: bool = False
    remark: str = ""
    sure: bool = False
    output: Format = Format.TABLE


async def user_of(client: ClusterClient) -> str:
    """Who the hub takes us for: the name that an Approval takes from us.

    Raises:
        RoadsteadError: the hub's own.
    """
    review = {"apiVersion": _SELF_REVIEWS.api_version, "kind": _SELF_REVIEWS.kind}
    answer = await client.create(_SELF_REVIEWS, "", review, manager=FIELD_MANAGER)
    return str(answer["status"]["userInfo"]["username"])


async def show_approvals(access: Access, question: Question) -> None:
    """List Approvals, those that wait for somebody first.

    Raises:
        Failure: Roadstead is not installed.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        try:
            bodies = await everything(
                hub.client, APPROVALS, "" if question.everywhere else question.namespace or hub.namespace
            )
        except NotServed as error:
            raise _not_installed(error) from None
    found = sorted(map(_read, bodies), key=_urgency)
    if question.output is Format.TABLE:
        _show(_table(found))
    else:
        data({"approvals": [as_data(approval) for approval in found]}, question.output)


async def approve(access: Access, question: Question) -> None:
    """Show what an Approval is bound to, ask whether it is meant, and write one's own name into it.

    Raises:
        Failure: there is none of that name, it is decided, or one has asked for it oneself; or the answer was no.
        RoadsteadError: the hub's own, in the words of its policy.
    """
    async with connected(access) as hub:
        approval = await _one(hub, question)
        user = await user_of(hub.client)
        changed = user not in approval.spec.approvals
        if changed:
            if (objection := objection_to(approval, user)) is not None:
                raise objection
            for text in told(approval):
                note(text)
            if not question.sure:
                _confirm(user)
            # Exactly the one that was shown: what is made again under its name asks for something else.
            patch = {
                "metadata": {"uid": approval.metadata.uid},
                "spec": {"approvals": {user: question.remark}},
            }
            namespace, name = approval.metadata.namespace, approval.metadata.name
            approval = _read(await hub.client.merge_patch(APPROVALS, namespace, name, patch, manager=FIELD_MANAGER))
    if question.output is not Format.TABLE:
        data({**as_data(approval), "changed": changed}, question.output)
        return
    count, required = len(approval.spec.approvals), approval.spec.required
    line(f"{label(approval)} is approved by {user}{'' if changed else ' already'}: {count} of {required}")
    if count < required:
        line(f"It waits for {required - count} more.")


def objection_to(approval: Approval, user: str) -> Failure | None:
    """Why the hub would not take this user's word, in better words than its own; None when it may."""
    phase = approval.status.phase
    if phase is not ApprovalPhase.PENDING:
        message = approval.status.message
        words_ = f"{label(approval)} is {phase}{f' ({message})' if message else ''}; there is nothing left to approve"
        return Failure(words_, ExitCode.REFUSED)
    if user == approval.spec.requested_by:
        return Failure(
            f"{label(approval)} was asked for by you, {user}; somebody else has to approve it", ExitCode.REFUSED
        )
    return None


def told(approval: Approval) -> Iterator[str]:
    """What somebody has to know who is to approve it: everything that it is bound to."""
    spec = approval.spec
    subject = spec.subject
    yield f"Approval      {label(approval)}"
    yield f"Operation     {spec.operation}"
    yield f"Subject       {subject.kind} {subject.name} (uid {subject.uid})"
    for name, value in sorted(spec.parameters.items()):
        yield f"  {name:<12}{value}"
    yield f"Reason        {spec.reason}"
    yield f"Requested by  {spec.requested_by}"
    yield f"Approved by   {', '.join(sorted(spec.approvals)) or 'nobody yet'}; {spec.required} required"
    yield f"Expires       {dump(spec)['expiresAt']}"


def label(approval: Approval) -> str:
    """Namespace and name."""
    return f"{approval.metadata.namespace}/{approval.metadata.name}"


def as_data(approval: Approval) -> dict[str, Any]:
    """For machines."""
    spec = dump(approval.spec)
    return {
        "namespace": approval.metadata.namespace,
        "name": approval.metadata.name,
        **{field: spec[field] for field in ("subject", "operation", "parameters", "reason", "requestedBy")},
        **{field: spec[field] for field in ("expiresAt", "required", "approvals")},
        "phase": approval.status.phase.value,
        "message": approval.status.message,
    }


def _urgency(approval: Approval) -> tuple[bool, str, str]:
    return approval.status.phase is not ApprovalPhase.PENDING, approval.metadata.namespace, approval.metadata.name


def _table(found: list[Approval]) -> RenderableType:
    if not found:
        return Text("No approvals.")
    table = plain_table(
        "APPROVAL", "PHASE", "APPROVED", "OPERATION", "SUBJECT", "PARAMETERS", "REQUESTED BY", "EXPIRES"
    )
    for approval in found:
        spec = approval.spec
        table.add_row(
            words(label(approval)),
            state(approval.status.phase),
            f"{len(spec.approvals)}/{spec.required}",
            words(spec.operation),
            words(f"{spec.subject.kind} {spec.subject.name}"),
            words(" ".join(f"{name}={value}" for name, value in sorted(spec.parameters.items()))),
            words(spec.requested_by),
            str(dump(spec)["expiresAt"]),
        )
    return table


async def _one(hub: Hub, question: Question) -> Approval:
    space, _, name = question.name.rpartition("/")
    space = space or question.namespace or hub.namespace
    try:
        body = await hub.client.find(APPROVALS, space, name)
    except NotServed as error:
        raise _not_installed(error) from None
    if body is None:
        cure = "name its namespace with -n NAMESPACE (roadstead approvals -A lists those of all)"
        raise Failure(f"Approval {space}/{name} does not exist; {cure}", ExitCode.NOT_FOUND)
    return _read(body)


def _read(body: dict[str, Any]) -> Approval:
    try:
        return parse("Approval", body)
    except SpecError as error:
        name = f"{body['metadata'].get('namespace', '')}/{body['metadata']['name']}"
        words_ = f"Approval {name} cannot be read by this version of roadstead: {error}; use the operator's version"
        raise Failure(words_, ExitCode.FAULTY) from None


def _confirm(user: str) -> None:
    if not sys.stdin.isatty():
        raise Failure("nobody is here to be asked; say --yes if you mean it", ExitCode.USAGE)
    if not typer.confirm(f"Approve this as {user}?", err=True):
        raise Failure("nothing was approved", ExitCode.FAULTY)


def _not_installed(error: NotServed) -> Failure:
    return Failure(f"{error}; are Roadstead and its kinds ({GROUP}) installed in this cluster?", ExitCode.NOT_FOUND)


def _show(drawn: RenderableType) -> None:
    out = console()
    with out.capture() as captured:
        out.print(drawn)
    sys.stdout.write(unpadded(captured.get()))
