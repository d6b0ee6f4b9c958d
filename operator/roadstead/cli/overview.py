"""The state of services and regions, drawn from their statuses alone: what to show, not how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roadstead.api.chatservice import ChatServiceStatus, RegionRolloutPhase, RolloutPhase
from roadstead.api.conditions import Condition, ConditionType, find_condition, is_true
from roadstead.api.parse import status_of
from roadstead.api.region import RegionPhase, RegionStatus

UNSEEN = "the operator has not seen this version of the object yet; is it running?"
_GOING = frozenset(
    {RolloutPhase.PROGRESSING, RolloutPhase.BAKING, RolloutPhase.PAUSED, RolloutPhase.ROLLING_BACK, RolloutPhase.FAILED}
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A service in one region."""

    region: str
    phase: str
    role: str
    ready: int
    desired: int
    revision: str
    message: str

    @property
    def replicas(self) -> str:
        """Ready pods of those that should be."""
        return f"{self.ready}/{self.desired}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is. ``going`` tells whether there is something to wait for."""

    phase: str
    region: str
    done: int
    total: int
    message: str
    going: bool


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service.

    Attributes:
        image: that the spec asks for.
        runs: that the regions run, several with commas between; empty when it is not known.
        ready: ``True``, ``False``, or ``Unknown`` while the operator has not looked at this version of it.
        stalled: nothing changes until somebody changes something.
        reason: of the Ready condition.
        message: why it is not ready; empty when it is.
        conditions: type, status, reason and message of each.
    """

    namespace: str
    name: str
    image: str
    runs: str
    ready: str
    stalled: bool
    reason: str
    message: str
    revision: str
    regions: tuple[Cell, ...]
    rollout: Progress
    peaks: tuple[str, ...]
    conditions: tuple[tuple[str, str, str, str], ...]

    @property
    def label(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class RegionRow:
    """One region."""

    name: str
    phase: str
    ready: str
    jurisdiction: str
    zones: tuple[str, ...]
    cluster: str
    version: str
    nodes: str
    cpu: str
    memory: str
    services: int
    message: str
    stalled: bool


def service_row(body: Mapping[str, Any]) -> ServiceRow:
    """A ChatService as the API has it."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    status = status_of(ChatServiceStatus, body)
    ready, reason, message = readiness(status.conditions, status.observed_generation, metadata)
    known = {entry.name: entry for entry in status.regions}
    entries = (spec.get("topology") or {}).get("regions") or ()
    roles = {str(entry.get("name")): str(entry.get("role") or "") for entry in entries}
    cells = []
    for name in (*roles, *(name for name in known if name not in roles)):
        entry = known.get(name)
        if entry is None:
            cells.append(Cell(name, RegionRolloutPhase.PENDING.value, roles[name], 0, 0, "", ""))
            continue
        role = entry.role.value if entry.role else roles.get(name, "")
        cells.append(
            Cell(
                name,
                entry.phase.value,
                role,
                entry.ready_replicas,
                entry.desired_replicas,
                entry.revision,
                entry.message,
            )
        )
    rollout = status.rollout
    return ServiceRow(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        image=str(spec.get("image", "")),
        runs=status.image,
        ready=ready,
        stalled=ready == "False" and is_true(status.conditions, ConditionType.STALLED),
        reason=reason,
        message=message,
        revision=status.revision,
        regions=tuple(cells),
        rollout=Progress(
            rollout.phase.value if status.revision else "",
            rollout.region,
            rollout.regions_done,
            rollout.regions_total,
            rollout.message,
            going=bool(status.revision) and rollout.phase in _GOING,
        ),
        peaks=status.active_peaks,
        conditions=tuple((c.type, c.status.value, c.reason, c.message) for c in status.conditions),
    )


def region_row(body: Mapping[str, Any]) -> RegionRow:
    """A Region as the API has it."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    status = status_of(RegionStatus, body)
    ready, reason, message = readiness(status.conditions, status.observed_generation, metadata)
    del reason
    capacity = status.capacity
    cluster = spec.get("cluster") or {}
    return RegionRow(
        name=metadata["name"],
        phase=status.phase.value if status.observed_generation else RegionPhase.PENDING.value,
        ready=ready,
        jurisdiction=str(spec.get("jurisdiction", "")),
        zones=tuple(map(str, spec.get("zones") or ())),
        cluster="hub" if cluster.get("inCluster") is not None else "member",
        version=status.version,
        nodes=f"{capacity.ready_nodes}/{capacity.nodes}",
        cpu=capacity.cpu,
        memory=capacity.memory,
        services=status.services,
        message=message,
        stalled=ready == "False" and is_true(status.conditions, ConditionType.STALLED),
    )


def readiness(conditions: tuple[Condition, ...], observed: int, metadata: Mapping[str, Any]) -> tuple[str, str, str]:
    """Ready's status, reason and message; Unknown until the operator has looked at this generation."""
    ready = find_condition(conditions, ConditionType.READY)
    if "deletionTimestamp" in metadata:
        found = find_condition(conditions, ConditionType.DELETING) or ready
        return "False", "Deleting", found.message if found else "being deleted"
    if ready is None or observed < int(metadata.get("generation", 0)):
        return "Unknown", "", UNSEEN
    return ready.status.value, ready.reason, "" if ready.status.value == "True" else ready.message


def services_as_data(rows: Iterable[ServiceRow]) -> list[dict[str, Any]]:
    """The services as JSON has them."""
    return [
        {
            "namespace": row.namespace,
            "name": row.name,
            "image": row.image,
            "runs": row.runs,
            "ready": row.ready,
            "stalled": row.stalled,
            "reason": row.reason,
            "message": row.message,
            "revision": row.revision,
            "rollout": {
                "phase": row.rollout.phase,
                "region": row.rollout.region,
                "regionsDone": row.rollout.done,
                "regionsTotal": row.rollout.total,
                "message": row.rollout.message,
            },
            "activePeaks": list(row.peaks),
            "regions": [
                {
                    "name": cell.region,
                    "phase": cell.phase,
                    "role": cell.role,
                    "readyReplicas": cell.ready,
                    "desiredReplicas": cell.desired,
                    "revision": cell.revision,
                    "message": cell.message,
                }
                for cell in row.regions
            ],
        }
        for row in rows
    ]


def regions_as_data(rows: Iterable[RegionRow]) -> list[dict[str, Any]]:
    """The regions as JSON has them."""
    return [
        {
            "name": row.name,
            "phase": row.phase,
            "ready": row.ready,
            "stalled": row.stalled,
            "jurisdiction": row.jurisdiction,
            "zones": list(row.zones),
            "cluster": row.cluster,
            "version": row.version,
            "nodes": row.nodes,
            "cpu": row.cpu,
            "memory": row.memory,
            "services": row.services,
            "message": row.message,
        }
        for row in rows
    ]


def all_ready(rows: Sequence[ServiceRow | RegionRow]) -> bool:
    """Whether there is something and all of it is Ready."""
    return bool(rows) and all(row.ready == "True" for row in rows)


def stalled(rows: Sequence[ServiceRow | RegionRow]) -> list[ServiceRow | RegionRow]:
    """What will not become Ready until somebody does something."""
    return [row for row in rows if row.stalled]
