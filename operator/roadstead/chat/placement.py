"""Where a service is placed, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, assert_never

from roadstead.api.chatservice import ChatServiceSpec, Residency, TopologyRegion
from roadstead.api.conditions import Reason
from roadstead.api.region import lies_within
from roadstead.chat.finding import Finding


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """A Region as this room needs it.

    Attributes:
        name: of the Region, at most 23 characters.
        jurisdiction: ISO 3166 code.
        zones: values of topology.kubernetes.io/zone; empty when the region has only one.
        node_selector: labels of its nodes; empty for a whole cluster.
        cordoned: takes on nothing more.
        reachable: its API server answers and what we have there is known.
        message: why it is not reachable, in words for people.
    """

    name: str
    jurisdiction: str
    zones: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    cordoned: bool = False
    reachable: bool = True
    message: str = ""


class Verdict(StrEnum):
    """What is done with a region of the topology."""

    PLACED = "Placed"
    """Its objects are made and kept as they should be."""
    HELD = "Held"
    """The service is there already and the region is cordoned: repaired, but no more replicas and no new version."""
    AWAY = "Away"
    """It belongs to the service but cannot be reached: what runs there is left alone until it can."""
    REFUSED = "Refused"
    """Nothing is ever written there while this holds. What is there from before is left as it is."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One region of the topology. ``reason`` and ``message`` become the Placed condition as they stand."""

    region: str
    verdict: Verdict
    reason: Reason
    message: str = ""

    @property
    def writable(self) -> bool:
        """Whether objects may be made and changed there now."""
        return self.verdict in (Verdict.PLACED, Verdict.HELD)

    @property
    def counts(self) -> bool:
        """Whether the region takes part in rollouts, now or when it is back; if not, only to finish what it began."""
        match self.verdict:
            case Verdict.PLACED | Verdict.HELD | Verdict.AWAY:
                return True
            case Verdict.REFUSED:
                return False
            case _:
                assert_never(self.verdict)


_Check = Callable[[TopologyRegion, RegionFacts | None, Residency | None, bool], Finding | None]


def region_does_not_exist(
    entry: TopologyRegion, facts: RegionFacts | None, _residency: Residency | None, _here: bool
) -> Finding | None:
    """The topology names a Region that is not there."""
    if facts is not None:
        return None
    return Finding(
        Reason.REGION_NOT_FOUND,
        f"spec.topology.regions names {entry.name}, but there is no Region {entry.name}; create it or remove the entry",
    )


def residency_forbids_it(
    entry: TopologyRegion, facts: RegionFacts | None, residency: Residency | None, _here: bool
) -> Finding | None:
    """The service's data may not lie there. This holds for a cordoned or unreachable region just as well."""
    if facts is None or not facts.jurisdiction or residency is None:  # a Region whose spec cannot be read lies nowhere
        return None
    if lies_within(facts.jurisdiction, residency.jurisdictions):
        return None
    return Finding(
        Reason.OUTSIDE_RESIDENCY,
        f"region {entry.name} lies in {facts.jurisdiction}, outside spec.residency.jurisdictions "
        f"({', '.join(residency.jurisdictions)}); remove the region from the topology or add its jurisdiction",
    )


def cordoned_before_it_came(
    entry: TopologyRegion, facts: RegionFacts | None, _residency: Residency | None, here: bool
) -> Finding | None:
    """A cordoned region takes on no service that is not there yet."""
    if facts is None or not facts.cordoned or here:
        return None
    return Finding(
        Reason.REGION_CORDONED,
        f"region {entry.name} is cordoned and takes on no new service; uncordon it or remove it from the topology",
    )


REFUSALS: Final[tuple[_Check, ...]] = (region_does_not_exist, residency_forbids_it, cordoned_before_it_came)
"""Why a region is refused, in the order in which it is said."""


def place(spec: ChatServiceSpec, regions: Mapping[str, RegionFacts], present: Collection[str]) -> tuple[Placement, ...]:
    """Where the service is placed, in the order of the topology.

    Args:
        spec: of the service.
        regions: every known Region by name.
        present: names of regions where the service is known to have been placed already (from its status or from
            children found there).
    """
    return tuple(
        _placement(entry, regions.get(entry.name), spec.residency, entry.name in present)
        for entry in spec.topology.regions
    )


def _placement(entry: TopologyRegion, facts: RegionFacts | None, residency: Residency | None, here: bool) -> Placement:
    for check in REFUSALS:
        if (finding := check(entry, facts, residency, here)) is not None:
            return Placement(entry.name, Verdict.REFUSED, finding.reason, finding.message)
    assert facts is not None  # noqa: S101 - region_does_not_exist has seen to it
    if not facts.reachable:
        why = f": {facts.message}" if facts.message else ""
        return Placement(
            entry.name, Verdict.AWAY, Reason.REGION_UNREACHABLE, f"region {entry.name} cannot be reached{why}"
        )
    if facts.cordoned:
        return Placement(
            entry.name,
            Verdict.HELD,
            Reason.REGION_CORDONED,
            f"region {entry.name} is cordoned: the service stays there without more replicas or new versions",
        )
    return Placement(entry.name, Verdict.PLACED, Reason.PLACED)
