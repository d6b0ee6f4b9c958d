"""``roadstead keys compromise``, ``remove``, ``exclude`` and ``adopt``: what two people decide about a ring.

Each is an Approval that is made here: the request itself, bound to the ring's uid and to what exactly is to be done.
The operator carries it out once when others have approved it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from roadstead.api.approval import FINISHED, ApprovalPhase, ApprovalStatus
from roadstead.api.keyversion import KeyPhase
from roadstead.api.parse import status_of
from roadstead.cli.approvals import user_of
from roadstead.cli.exits import FIELD_MANAGER, ExitCode, Failure
from roadstead.cli.following import following
from roadstead.cli.hub import Access, Hub, connected
from roadstead.cli.output import Format, data, line, note, to_yaml
from roadstead.cli.ring_acts import Act, version_of
from roadstead.cli.ring_status import body_of, ring_of, server_now
from roadstead.cli.rings import RingRow
from roadstead.kernel.objects import APPROVALS

_GONE: Final = (KeyPhase.REMOVED, KeyPhase.SHREDDED)
_NAME_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        operation: of a KeyRing, as the operator knows it.
        parameters: what it is bound to.
        reason: why, for those who are to approve it.
        lasts: how long it may be approved.
        required: how many others have to approve it.
    """

    operation: str
    parameters: Mapping[str, str]
    reason: str
    lasts: timedelta
    required: int = 1


async def ask(access: Access, act: Act, request: Request) -> None:
    """Make an Approval, and say what somebody else has to run; with ``wait``, stay until it is decided.

    Raises:
        Failure: there is no such ring, version or region; or with ``wait``, it was not done, or not in time.
        RoadsteadError: the hub's own, in the words of its policy.
    """
    async with connected(access) as hub:
        row = await ring_of(hub, act.ring, act.namespace)
        _check(row, request)
        body = await body_of(hub, row.name, row.namespace)
        request = bound(body, request)
        wanted = approval(body, request, await user_of(hub.client), expires=server_now(hub) + request.lasts)
        if act.dry_run:
            if act.output is Format.JSON:
                data(wanted, act.output)
            else:
                line(to_yaml(wanted).rstrip("\n"))
            return
        made = await hub.client.create(APPROVALS, row.namespace, wanted, manager=FIELD_MANAGER)
        name = str(made["metadata"]["name"])
        if act.output is Format.TABLE:
            for text in told(row, request, name):
                line(text)
        elif not act.wait:
            data({"approval": f"{row.namespace}/{name}", "ring": row.label, "phase": "Pending"}, act.output)
        if act.wait:
            await _decided(hub, row, name, act)


def bound(ring: Mapping[str, Any], request: Request) -> Request:
    """The same with everything that it has to be bound to: which keyset is adopted, and how long a removal waits.

    Raises:
        Failure: the ring's status does not say it either.
    """
    delay = (ring.get("spec") or {}).get("removalDelay")
    if request.operation == "RemoveVersions" and delay:
        return replace(request, parameters={**request.parameters, "delay": delay})
    if request.operation != "AdoptKeyset" or "keyset" in request.parameters:
        return request
    region = request.parameters["region"]
    entries = (ring.get("status") or {}).get("regions") or ()
    keyset = next((entry.get("keyset", "") for entry in entries if entry["name"] == region), "")
    if not keyset:
        message = f"the status does not say what keyset region {region} has; mend its connection, or name --keyset"
        raise Failure(message, ExitCode.FAULTY)
    return replace(request, parameters={**request.parameters, "keyset": keyset})


def approval(ring: Mapping[str, Any], request: Request, user: str, expires: Any) -> dict[str, Any]:
    """The Approval that asks for it; the API server completes its name."""
    metadata = ring["metadata"]
    verb = request.operation.lower()
    return {
        "apiVersion": APPROVALS.api_version,
        "kind": APPROVALS.kind,
        "metadata": {"generateName": f"{metadata['name']}-{verb}-"[:_NAME_LIMIT], "namespace": metadata["namespace"]},
        "spec": {
            "subject": {"kind": "KeyRing", "name": metadata["name"], "uid": metadata["uid"]},
            "operation": request.operation,
            "parameters": dict(request.parameters),
            "reason": request.reason,
            "requestedBy": user,
            "expiresAt": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "required": request.required,
        },
    }


def told(row: RingRow, request: Request, name: str) -> list[str]:
    """What the person is told who has asked."""
    bound = " ".join(f"{key}={value}" for key, value in sorted(request.parameters.items()))
    who = "Somebody else" if request.required == 1 else f"Each of {request.required} others"
    return [
        f"Approval {row.namespace}/{name} asks for {request.operation} of KeyRing {row.label} ({bound}).",
        f"Nothing is done yet. {who} runs:",
        f"  roadstead approve {name} -n {row.namespace}",
    ]


def _check(row: RingRow, request: Request) -> None:
    """What can be seen to be wrong before anybody has to approve anything; the operator checks it again."""
    parameters = request.parameters
    if "region" in parameters:
        known = [region.name for region in row.regions]
        if parameters["region"] not in known:
            listed = ", ".join(known) or "none yet"
            raise Failure(
                f"KeyRing {row.label} has no region {parameters['region']}; there are: {listed}", ExitCode.NOT_FOUND
            )
    if "version" in parameters:
        version = version_of(row, int(parameters["version"]))
        if version.phase in (*_GONE, KeyPhase.COMPROMISED):
            raise Failure(
                f"version {version.number} of KeyRing {row.label} is {version.phase} already; nothing is left to do",
                ExitCode.REFUSED,
            )
    if "upTo" in parameters:
        version = version_of(row, int(parameters["upTo"]))
        if row.primary and version.number >= row.primary:
            raise Failure(
                f"version {version.number} is not older than the primary, {row.primary}, of KeyRing {row.label}; "
                "name a version that has ended: roadstead keys history "
                f"{row.name} -n {row.namespace}",
                ExitCode.REFUSED,
            )


async def _decided(hub: Hub, row: RingRow, name: str, act: Act) -> None:
    told_last = ""
    status = ApprovalStatus()
    try:
        async with (
            asyncio.timeout(act.seconds),
            following(hub.client, row.namespace, (APPROVALS, name)) as latest,
        ):
            while status.phase not in FINISHED:
                bodies = latest.of(APPROVALS)
                if not bodies:
                    raise Failure(f"Approval {row.namespace}/{name} was deleted; ask again", ExitCode.FAULTY)
                status = status_of(ApprovalStatus, bodies[0])
                text = f"{status.phase}: {status.message}" if status.message else str(status.phase)
                if text != told_last:
                    told_last = text
                    note(text)
                if status.phase not in FINISHED:
                    await latest.news()
    except TimeoutError:
        message = f"Approval {row.namespace}/{name} is {status.phase} and not done in time; it stays as it is"
        raise Failure(message, ExitCode.TIMED_OUT) from None
    if status.phase is not ApprovalPhase.DONE:
        message = f"Approval {row.namespace}/{name} is {status.phase}: {status.message}"
        raise Failure(message, ExitCode.FAULTY)
    if act.output is Format.TABLE:
        line(status.message or "Done.")
    else:
        data({"approval": f"{row.namespace}/{name}", "ring": row.label, "phase": status.phase.value}, act.output)
