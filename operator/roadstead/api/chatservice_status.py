"""What the operator says about a ChatService."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from roadstead.api.conditions import Conditions
from roadstead.api.fields import DnsLabel, Integer, MapList, Model, RegionName, SetList, Timestamp, shortened
from roadstead.api.topology import MAX_REGIONS, Role

MAX_STATUS_REGIONS: Final = 8 * MAX_REGIONS
"""Regions in a status: those of the topology, and those that several changes of it in a row left behind."""


class RegionRolloutPhase(StrEnum):
    """What a region of a service is doing."""

    PENDING = "Pending"
    PROGRESSING = "Progressing"
    BAKING = "Baking"
    READY = "Ready"
    DEGRADED = "Degraded"
    FAILED = "Failed"
    ROLLING_BACK = "RollingBack"
    UNREACHABLE = "Unreachable"
    REFUSED = "Refused"
    REMOVING = "Removing"


class RegionStage(StrEnum):
    """How far a region is with the revision that it was given."""

    UPDATING = "Updating"
    """It was moved to the revision and is not ready with it yet."""
    BAKING = "Baking"
    """It is ready with the revision, and watched for the bake time."""
    SETTLED = "Settled"
    """The revision was ready here for the bake time."""
    LOST = "Lost"
    """It became unreachable before it was settled; it begins anew when it is back."""


class RolloutPhase(StrEnum):
    """How far the rollout of the current revision is."""

    PROGRESSING = "Progressing"
    BAKING = "Baking"
    PAUSED = "Paused"
    COMPLETE = "Complete"
    FAILED = "Failed"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"


RevisionName = Annotated[str, StringConstraints(max_length=128)]
ImageName = Annotated[str, StringConstraints(max_length=512)]
Digest = Annotated[str, StringConstraints(max_length=128)]
StatusMessage = Annotated[str, StringConstraints(max_length=1024), shortened(1024)]


class ServiceRegionStatus(Model):
    """One region of the service, as it is."""

    name: RegionName = Field(description="Name of the Region.")
    phase: RegionRolloutPhase = Field(
        default=RegionRolloutPhase.PENDING, description="What the region is doing, in one word."
    )
    role: Role | None = Field(default=None, description="Primary or Standby; absent with ActiveActive.")
    revision: RevisionName = Field(default="", description="Revision that the region's objects have.")
    image: ImageName = Field(
        default="", description="Image of that revision. Empty while it is not known, such as after an upgrade."
    )
    last_good_revision: RevisionName = Field(
        default="", description="Last revision that was ready here for the bake time."
    )
    stage: RegionStage | None = Field(
        default=None,
        description="How far the region is with its revision: Updating, Baking, Settled, or Lost (became unreachable "
        "on the way). Absent until the region is placed.",
    )
    since: Timestamp | None = Field(
        default=None, description="When the stage began; the bake time and the progress deadline count from here."
    )
    desired_replicas: Integer = Field(default=0, ge=0, le=2**31 - 1, description="Number of pods that should run.")
    ready_replicas: Integer = Field(default=0, ge=0, le=2**31 - 1, description="Number of pods that are ready.")
    address: Annotated[str, StringConstraints(max_length=253), shortened(253)] = Field(
        default="", description="Address under which the region's Service is reached."
    )
    message: StatusMessage = Field(
        default="", description="What is wrong here, in the words of the region's API server where it refused."
    )
    applied: Digest = Field(
        default="", description="Digest of the region's objects as they were applied; drift is seen by it."
    )
    input: Digest = Field(default="", description="Digest of everything that the region's objects were made from.")


class RolloutStatus(Model):
    """The rollout of the current revision."""

    revision: RevisionName = Field(default="", description="Revision that is rolled out.")
    previous: RevisionName = Field(
        default="",
        description="Revision with which a rollout last completed; a rollback returns the service to it.",
    )
    previous_image: ImageName = Field(default="", description="Image of that revision.")
    phase: RolloutPhase = Field(default=RolloutPhase.COMPLETE, description="How far it is, in one word.")
    started_at: Timestamp | None = Field(default=None, description="When it began.")
    region: Annotated[str, StringConstraints(max_length=253), shortened(253)] = Field(
        default="", description="The region, or the regions with commas between, that it is at."
    )
    regions_done: Integer = Field(default=0, ge=0, le=MAX_REGIONS, description="Number of regions that have it.")
    regions_total: Integer = Field(default=0, ge=0, le=MAX_REGIONS, description="Number of regions.")
    message: StatusMessage = Field(default="", description="What it waits for, or why it failed.")


class ChatServiceStatus(Model):
    """What the service is."""

    observed_generation: Integer = Field(
        default=0, ge=0, le=2**53, description="The metadata.generation that this status was derived from."
    )
    revision: RevisionName = Field(default="", description="Revision that the spec stands for.")
    image: StatusMessage = Field(
        default="",
        description="Image that the regions run; several with commas between while they differ. After a rollback it is "
        "not that of the spec.",
    )
    ready_regions: Annotated[str, StringConstraints(max_length=16)] = Field(
        default="", description="Regions that are ready, of all: 2/2."
    )
    regions: Annotated[tuple[ServiceRegionStatus, ...], Field(max_length=MAX_STATUS_REGIONS), MapList("name")] = Field(
        default=(), description="Every region of the topology, and those that are still being left."
    )
    rollout: RolloutStatus = Field(default=RolloutStatus(), description="The rollout of the current revision.")
    active_peaks: Annotated[tuple[DnsLabel, ...], Field(max_length=32), SetList()] = Field(
        default=(), description="Names of the peaks for which pods are raised at present."
    )
    conditions: Conditions = Field(
        default=(),
        description="Ready, Reconciling, Stalled (as kstatus has them), Placed, RolledOut and, where they say "
        "something, Conflict, Autoscaled and Deleting.",
    )
