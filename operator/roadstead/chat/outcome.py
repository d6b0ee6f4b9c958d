"""How a pass over one region ended: what the shell tells the status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from roadstead.api.conditions import Reason
from roadstead.kernel.store import WorkloadStatus


class OutcomeKind(StrEnum):
    """How a pass over one region ended."""

    APPLIED = "Applied"
    """Every object is as it should be."""
    WAITING = "Waiting"
    """Not all could be done now; it is tried again."""
    BUSY = "Busy"
    """The region answers slowly, and as many services as it has places for are under way there already."""
    UNREACHABLE = "Unreachable"
    """The region's API server gave no answer."""
    NAMESPACE_MISSING = "NamespaceMissing"
    """The service's namespace is not there in the region."""
    BLOCKED = "Blocked"
    """Something is missing before anything can be made there."""
    REFUSED = "Refused"
    """The API server, a quota, a webhook or Pod Security refused an object; the message has their own words."""
    CONFLICT = "Conflict"
    """An object that is not ours has the name of a child."""
    CONTESTED = "Contested"
    """All objects are as they should be, but somebody keeps changing one back."""
    REMOVING = "Removing"
    """The region left the topology, or the service is deleted: what is there is being removed."""


_REASONS: Final[Mapping[OutcomeKind, Reason]] = {
    OutcomeKind.WAITING: Reason.WAITING,
    OutcomeKind.BUSY: Reason.WAITING,
    OutcomeKind.UNREACHABLE: Reason.REGION_UNREACHABLE,
    OutcomeKind.NAMESPACE_MISSING: Reason.NAMESPACE_MISSING,
    OutcomeKind.BLOCKED: Reason.NOT_AVAILABLE,
    OutcomeKind.REFUSED: Reason.REFUSED,
    OutcomeKind.CONFLICT: Reason.NOT_OURS,
    OutcomeKind.CONTESTED: Reason.FOUGHT_OVER,
    OutcomeKind.REMOVING: Reason.DELETING,
}


@dataclass(frozen=True, slots=True)
class RegionOutcome:
    """What the shell found and did in one region.

    Attributes:
        region: its name.
        kind: how the pass ended.
        message: in words for people, the cluster's own where it refused.
        reason: instead of the kind's usual one, such as SecretMissing for Blocked.
        workload: the Deployment's or StatefulSet's state; None when there is none or it is not known.
        applied: digest of the children as they were applied.
        input: digest of what they were made from.
        pods: what keeps its pods from being ready, in the kubelet's or the scheduler's words; empty when unknown.
        address: where clients reach the region from outside its cluster, when that is known.
    """

    region: str
    kind: OutcomeKind
    message: str = ""
    reason: Reason | None = None
    workload: WorkloadStatus | None = None
    applied: str = ""
    input: str = ""
    address: str = ""
    pods: str = ""

    @property
    def why(self) -> Reason | None:
        """The reason for a condition; None when all is well."""
        return self.reason or _REASONS.get(self.kind)

    @property
    def settled(self) -> bool:
        """Whether the objects are as they should be."""
        return self.kind in (OutcomeKind.APPLIED, OutcomeKind.CONTESTED)
