"""Where a service runs: its regions, how they relate, and where its data may lie."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from roadstead.api.fields import Integer, MapList, Model, RegionName, SetList
from roadstead.api.region import Jurisdiction

MAX_REGIONS = 32
MAX_REPLICAS = 1000


class TopologyMode(StrEnum):
    """How the regions of a service relate."""

    ACTIVE_ACTIVE = "ActiveActive"
    ACTIVE_PASSIVE = "ActivePassive"


class Role(StrEnum):
    """A region's part in an ActivePassive service."""

    PRIMARY = "Primary"
    STANDBY = "Standby"


class TopologyRegion(Model):
    """One region of the topology."""

    name: RegionName = Field(description="Name of a Region.", examples=["hkg"])
    role: Role | None = Field(
        default=None,
        description="Only with mode ActivePassive, where exactly one region is Primary; a region without a role is a "
        "Standby there. The Primary cannot be moved to another region by an edit: that is a promotion.",
    )
    replicas: Integer | None = Field(
        default=None,
        ge=0,
        le=MAX_REPLICAS,
        description="Number of pods in this region, instead of spec.replicas. 0 keeps the region prepared "
        "without pods; no autoscaler changes that.",
    )


class Topology(Model):
    """Where the service runs."""

    mode: TopologyMode = Field(
        default=TopologyMode.ACTIVE_ACTIVE,
        description="ActiveActive: every region serves clients. ActivePassive: one region is Primary and serves, the "
        "others are Standby and are upgraded first. Cannot change: a service that became ActivePassive would have two "
        "stores that both accepted writes.",
    )
    regions: Annotated[tuple[TopologyRegion, ...], Field(min_length=1, max_length=MAX_REGIONS), MapList("name")] = (
        Field(
            description="The regions in which the service runs, 1 to 32, each named once. They are upgraded in this "
            "order, standbys first. Removing a region deletes the service's objects there.",
            examples=[[{"name": "hkg"}]],
        )
    )

    def role_of(self, region: str) -> Role | None:
        """The part that a region plays.

        Args:
            region: Name of a region of this topology.

        Returns:
            Primary or Standby with ActivePassive, None with ActiveActive.

        Raises:
            KeyError: The topology does not name that region.
        """
        for entry in self.regions:
            if entry.name == region:
                if self.mode is TopologyMode.ACTIVE_ACTIVE:
                    return None
                return entry.role or Role.STANDBY
        raise KeyError(region)


class Residency(Model):
    """Where the service's data may lie."""

    jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(min_length=1, max_length=32), SetList()] = Field(
        description="ISO 3166-1 alpha-2 codes, optionally with an ISO 3166-2 subdivision. A region whose jurisdiction "
        "is none of these, and lies in none of these, is refused: nothing of the service is ever written there.",
        examples=[["HK"]],
    )
