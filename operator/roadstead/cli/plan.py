"""What the operator would do for a service, told for people and for machines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from roadstead.api.chatservice import RolloutPhase
from roadstead.api.duration import format_duration
from roadstead.api.kinds import API_VERSION
from roadstead.chat.placement import Placement
from roadstead.cli.rehearsal import Rehearsal


class Action(StrEnum):
    """What would happen to one object."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    KEEP = "keep"
    CONFLICT = "conflict"
    """Something that is not ours has its name: never taken over."""
    REFUSED = "refused"
    """The region's cluster would not take it; the message has its words."""
    UNKNOWN = "unknown"
    """It would be there in the end; what is there now cannot be seen from here."""


CHANGES = frozenset({Action.CREATE, Action.UPDATE, Action.DELETE})
OBSTACLES = frozenset({Action.CONFLICT, Action.REFUSED})


@dataclass(frozen=True, slots=True)
class Change:
    """One object in one region. ``diff`` is unified; empty where there is nothing to compare or nothing differs."""

    object: str
    action: Action
    diff: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """One region.

    Attributes:
        name: of the Region.
        revision: that it has in the end; empty where nothing is made.
        pods: how many it should have, in words.
        changes: of every object that would be there or go.
        note: why they are not known, or why nothing is made.
    """

    name: str
    revision: str = ""
    pods: str = ""
    changes: tuple[Change, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything.

    Attributes:
        service: ``namespace/name``.
        exists: the hub has it already.
        revision: that the spec stands for.
        present: the revision that the hub's object stands for; empty when that is not known.
        refusals: why the API server would not take the spec; nothing else is told then.
        warnings: what is legal and unwise, or what keeps this plan from being exact.
        placements: where it would run, and why not elsewhere.
        rehearsal: in which order the regions would get the revision.
        regions: what would be done in each.
    """

    service: str
    exists: bool
    revision: str = ""
    present: str = ""
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    rehearsal: Rehearsal | None = None
    regions: tuple[RegionPlan, ...] = ()

    @property
    def changes(self) -> int:
        """How many objects would be created, updated or deleted, as far as can be seen."""
        return sum(1 for region in self.regions for change in region.changes if change.action in CHANGES)

    @property
    def obstructed(self) -> bool:
        """Whether it cannot be carried out as it is."""
        obstacles = any(change.action in OBSTACLES for region in self.regions for change in region.changes)
        return bool(self.refusals) or obstacles or any(not place.counts for place in self.placements)


def told(plan: Plan, *, summary: bool = False) -> Iterable[str]:
    """The plan in lines; without diffs when a summary is enough."""
    yield f"ChatService {plan.service}{'' if plan.exists else ' (new)'}"
    if plan.refusals:
        yield ""
        yield "REFUSED: the API server would not take this"
        yield from (f"  {refusal}" for refusal in plan.refusals)
    if plan.warnings:
        yield ""
        yield "WARNINGS"
        yield from (f"  {warning}" for warning in plan.warnings)
    if plan.placements:
        yield ""
        yield "PLACEMENT"
        yield from _placement_lines(plan)
    if plan.rehearsal is not None:
        yield ""
        yield from _rollout_lines(plan, plan.rehearsal)
    for region in plan.regions:
        yield ""
        yield from _region_lines(region, summary=summary)


def _placement_lines(plan: Plan) -> Iterable[str]:
    pods = {region.name: region.pods for region in plan.regions}
    width = max(len(place.region) for place in plan.placements)
    for place in plan.placements:
        why = f"{place.reason.value}: {place.message}" if place.message else pods.get(place.region, "")
        yield f"  {place.region:<{width}}  {place.verdict.value:<7}  {why}".rstrip()


def _rollout_lines(plan: Plan, rehearsal: Rehearsal) -> Iterable[str]:
    if not rehearsal.steps:
        # What restarts no pod is applied everywhere at once, so it needs no order.
        yield f"ROLLOUT: no region gets another revision ({plan.revision})"
        yield from (f"  {reason}" for reason in _why_not(plan, rehearsal))
        return
    yield f"ROLLOUT of revision {plan.revision}, the times if every region is ready at once"
    for number, step in enumerate(rehearsal.steps, 1):
        when = f"after {format_duration(step.after)}" if step.after else "at once"
        what = "first install" if step.first else f"revision {step.revision}"
        yield f"  {number}. {when}: {', '.join(step.regions)} ({what})"
    took = f", {format_duration(rehearsal.took)} from now at the earliest" if rehearsal.took else ""
    yield f"  then {rehearsal.phase.value}{took}{f'; {rehearsal.waiting}' if rehearsal.waiting else ''}"


def _why_not(plan: Plan, rehearsal: Rehearsal) -> Iterable[str]:
    """Why regions keep a revision that is not the one of the spec."""
    kept = {region: revision for region, revision in rehearsal.ends_with.items() if revision != plan.revision}
    if kept and rehearsal.phase in _ENDED:
        stay = ", ".join(f"{region} at {revision}" for region, revision in kept.items())
        yield f"{_ENDED[rehearsal.phase]}; it stays so until spec changes, or is tried again: {stay}"
    yield from (words for words in (rehearsal.message, rehearsal.waiting) if words)


_ENDED: Final[Mapping[RolloutPhase, str]] = {
    RolloutPhase.ROLLED_BACK: "this revision failed and was rolled back",
    RolloutPhase.FAILED: "this revision failed and its rollout stopped",
}


def _region_lines(region: RegionPlan, *, summary: bool) -> Iterable[str]:
    yield f"REGION {region.name}: {_summary(region)}"
    if region.note:
        yield f"  {region.note}"
    for change in region.changes:
        if change.action is Action.KEEP:
            continue
        yield f"  {change.action.value:<8} {change.object}{f': {change.message}' if change.message else ''}"
        if change.diff and not summary:
            yield from change.diff.splitlines()


def _summary(region: RegionPlan) -> str:
    counts = {action: sum(1 for c in region.changes if c.action is action) for action in Action}
    words = {
        Action.CREATE: "to create",
        Action.UPDATE: "to update",
        Action.DELETE: "to delete",
        Action.CONFLICT: "in conflict",
        Action.REFUSED: "refused",
        Action.UNKNOWN: "not compared",
        Action.KEEP: "as they should be",
    }
    parts = [f"{counts[action]} {word}" for action, word in words.items() if counts[action]]
    return ", ".join(parts) or "nothing is made"


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as JSON has it."""
    rehearsal = plan.rehearsal
    return {
        "apiVersion": API_VERSION,
        "kind": "Plan",
        "service": plan.service,
        "exists": plan.exists,
        "revision": plan.revision,
        "presentRevision": plan.present,
        "refusals": list(plan.refusals),
        "warnings": list(plan.warnings),
        "placements": [
            {"region": p.region, "verdict": p.verdict.value, "reason": p.reason.value, "message": p.message}
            for p in plan.placements
        ],
        "rollout": None if rehearsal is None else _rollout_data(rehearsal),
        "regions": [_region_data(region) for region in plan.regions],
        "changes": plan.changes,
    }


def _rollout_data(rehearsal: Rehearsal) -> Mapping[str, Any]:
    return {
        "steps": [
            {
                "afterSeconds": int(step.after.total_seconds()),
                "regions": list(step.regions),
                "revision": step.revision,
                "firstInstall": step.first,
            }
            for step in rehearsal.steps
        ],
        "endsWith": dict(rehearsal.ends_with),
        "phase": rehearsal.phase.value,
        "waiting": rehearsal.waiting,
        "message": rehearsal.message,
        "leastSeconds": int(rehearsal.took.total_seconds()),
    }


def _region_data(region: RegionPlan) -> Mapping[str, Any]:
    changes: Sequence[Change] = region.changes
    return {
        "name": region.name,
        "revision": region.revision,
        "pods": region.pods,
        "note": region.note,
        "changes": [
            {"object": c.object, "action": c.action.value, "message": c.message, "diff": c.diff} for c in changes
        ],
    }
