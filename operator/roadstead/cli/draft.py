"""From a spec and the regions to what would be where: the operator's own pure functions, called by the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from roadstead.admission.rules import ServiceFacts, judge_service
from roadstead.api.chatservice import ChatService
from roadstead.api.conditions import ConditionType, find_condition, is_true
from roadstead.api.parse import parse, parse_change
from roadstead.api.problems import Problem, SpecError
from roadstead.api.region import Region, Scheduling
from roadstead.chat import desired, peaks, placement, revisions
from roadstead.chat import status as derived
from roadstead.chat.desired import Observed
from roadstead.chat.placement import Placement, RegionFacts, Verdict
from roadstead.chat.revisions import Revision
from roadstead.cli.rehearsal import Actor, Rehearsal, rehearse
from roadstead.kernel.objects import Child
from roadstead.kernel.templates import TemplateSet


@dataclass(frozen=True, slots=True)
class Draft:
    """What follows from spec and regions alone.

    Attributes:
        service: with the status that the hub has.
        facts: of every known region.
        target: the revision that the spec stands for.
        placements: in the order of the topology.
        rehearsal: of the rollout.
        floor: replicas that the active peaks ask for now.
    """

    service: ChatService
    facts: Mapping[str, RegionFacts]
    target: Revision
    placements: tuple[Placement, ...]
    rehearsal: Rehearsal
    floor: int

    @property
    def leaving(self) -> tuple[str, ...]:
        """Regions that the topology no longer names."""
        named = {place.region for place in self.placements}
        return tuple(entry.name for entry in self.service.status.regions if entry.name not in named)

    def revision_in(self, region: str) -> str:
        """Hash of the revision that a region has in the end."""
        return self.rehearsal.ends_with.get(region, self.target.hash)

    def present_replicas(self, region: str) -> int | None:
        """What the region was last meant to have; None before its first time."""
        entry = next((entry for entry in self.service.status.regions if entry.name == region), None)
        return entry.desired_replicas if entry is not None and entry.applied else None

    def pods(self, region: str) -> str:
        """How many pods the region should have, in words."""
        observed = Observed(floor=self.floor, present_replicas=self.present_replicas(region))
        scale = desired.scale(self.service, self.facts[region], observed)
        if scale.autoscaled:
            return f"{scale.minimum} to {scale.maximum} pods"
        return f"{scale.minimum} pod{'' if scale.minimum == 1 else 's'}"


def refusals(new: Mapping[str, Any], old: Mapping[str, Any] | None, facts: ServiceFacts) -> tuple[list[str], list[str]]:
    """Why the API server would refuse a manifest, and what admission would warn about.

    Args:
        new: as it stands in the file.
        old: the hub's object, None when there is none.
        facts: the fleet.
    """
    try:
        parse("ChatService", new, strict=True)
        if old is not None:
            parse_change("ChatService", old, new)
    except SpecError as error:
        return [str(problem) for problem in error.problems], []
    verdict = judge_service(_annotated(new, old), old, facts)
    problems: tuple[Problem, ...] = verdict.refusals
    return [str(problem) for problem in problems], list(verdict.warnings)


def _annotated(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The manifest with the annotations that the hub's object has besides: to apply it leaves them there."""
    if old is None:
        return new
    annotations = (old["metadata"].get("annotations") or {}) | (new["metadata"].get("annotations") or {})
    return {**new, "metadata": {**new["metadata"], "annotations": annotations}}


def draft(
    service: ChatService, regions: Mapping[str, Region], templates: TemplateSet, now: datetime, *, offline: bool = False
) -> Draft:
    """Place a service and rehearse its rollout.

    Args:
        service: with the status that the hub has.
        regions: every known Region by name.
        templates: of the room chat.
        now: the present moment.
        offline: take every region for reachable.
    """
    facts = {name: _facts(region, offline=offline) for name, region in regions.items()}
    present = {entry.name for entry in service.status.regions if entry.applied}
    placements = placement.place(service.spec, facts, present)
    target = revisions.revision_of(service.spec, templates)
    actors = [
        Actor(
            place.region,
            service.spec.topology.role_of(place.region),
            reachable=place.verdict is not Verdict.AWAY,
            held=place.verdict is Verdict.HELD,
        )
        for place in placements
        if place.counts
    ]
    autoscaling = service.spec.autoscaling
    return Draft(
        service=service,
        facts=facts,
        target=target,
        placements=placements,
        rehearsal=rehearse(derived.remembered(service.status), target.hash, actors, service.spec.rollout, now),
        floor=peaks.floor(autoscaling.peaks if autoscaling else (), now).replicas,
    )


def _facts(region: Region, *, offline: bool) -> RegionFacts:
    ready = find_condition(region.status.conditions, ConditionType.READY)
    in_cluster = region.spec.cluster.in_cluster
    return RegionFacts(
        name=region.metadata.name,
        jurisdiction=region.spec.jurisdiction,
        zones=region.spec.zones,
        node_selector=dict(in_cluster.node_selector) if in_cluster else {},
        cordoned=region.spec.scheduling is Scheduling.CORDONED,
        reachable=offline or is_true(region.status.conditions, ConditionType.READY),
        message=ready.message if ready is not None else "the operator has not looked at it yet",
    )


def children(
    plan: Draft, region: str, revision: Revision, observed: Observed, templates: TemplateSet
) -> tuple[Child, ...]:
    """Every object of the service in one region; see `roadstead.chat.desired.build`."""
    return desired.build(plan.service, plan.facts[region], revision, observed, templates)
