"""Writing a status: whole, only when it differs, and with an event for every condition that turned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roadstead.api.conditions import Reason
from roadstead.kernel import objects
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Conflict, Invalid, NotFound
from roadstead.kernel.objects import Gvr


@dataclass(frozen=True, slots=True)
class Turn:
    """A condition whose status or reason changed; becomes an event."""

    reason: str
    message: str
    warning: bool


_NEWS = ("Ready", "Placed", "RolledOut", "Conflict", "Deleting", "Connected")
"""Conditions whose turns are told; Reconciling and Stalled say the same as Ready in another way."""

_BAD_NEWS = (Reason.ROLLING_BACK,)
"""Reasons that are a warning although the operator gets further by itself."""

_PROGRESS = (Reason.PROGRESSING, Reason.WAITING, Reason.ROLLING_OUT, Reason.BAKING, Reason.PAUSED)
"""Reasons that are no warning, also while something else stalls: what they tell of goes on, or was asked for."""


def turns(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Turn]:
    """The conditions that turned between two statuses, each reason told once.

    A turn is a warning only when nothing gets further by itself (``Stalled``) or it is itself bad news: work that goes
    on as it should is not, whatever stands still beside it.
    """
    old = {condition["type"]: condition for condition in before.get("conditions") or ()}
    new = {condition["type"]: condition for condition in after.get("conditions") or ()}
    stalled = new.get("Stalled", {}).get("status") == "True"
    told = set()
    for name in _NEWS:
        condition, was = new.get(name), old.get(name)
        if condition is None or condition["reason"] in told:
            continue
        if was is not None and (was["status"], was["reason"]) == (condition["status"], condition["reason"]):
            continue
        if was is None and condition["status"] == "True" and name in ("Placed", "Connected"):
            continue  # as it should be from the start
        told.add(condition["reason"])
        lost = name == "Connected" and condition["status"] == "False"
        bad = name == "Conflict" or lost or condition["reason"] in _BAD_NEWS
        waits = stalled and condition["status"] == "False" and condition["reason"] not in _PROGRESS
        note = condition["message"] or f"{name} is {condition['status']}"
        yield Turn(condition["reason"], note, warning=bad or (waits and name != "Deleting"))


async def write(ctx: Context, gvr: Gvr, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    """Apply ``status`` to the custom resource ``body`` if it differs from the one in there.

    Raises:
        Conflict: the resource was changed meanwhile, or is gone; what was decided for it must not be carried out.
    """
    before = body.get("status") or {}
    if before == status:
        return
    metadata = body["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    # The version too: a write that was given up on our side, or by a former leader, may arrive late, and must not take
    # the status back to what was decided then.
    identity = {"name": name, "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    if namespace:
        identity["namespace"] = namespace
    patch = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": identity, "status": status}
    try:
        answer = await ctx.hub.client.apply(
            gvr, namespace, name, patch, manager=objects.STATUS_MANAGER, subresource="status"
        )
    except (NotFound, Conflict):
        await _gone(ctx, gvr, body)
        raise Conflict(
            f"{gvr.kind} {name} was changed, made anew or deleted meanwhile; it is looked at again"
        ) from None
    except Invalid as error:
        raise Invalid(f"our own status of {gvr.kind} {name} is refused, which is a bug of ours: {error}") from error
    ctx.resources.upsert(gvr.kind, answer)
    ctx.metrics.status_written.labels(gvr.kind).inc()
    for turn in turns(before, status):
        await ctx.events.emit(
            body, gvr.kind, reason=turn.reason, note=turn.message, action="Reconcile", warning=turn.warning
        )


async def _gone(ctx: Context, gvr: Gvr, body: Mapping[str, Any]) -> None:
    """When a live read says that the resource does not exist, the informer missed its deletion: forget it."""
    metadata = body["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    if await ctx.hub.client.find(gvr, namespace, name, metadata_only=True) is None:
        ctx.resources.remove(gvr.kind, body)
