"""What one pass over one service knows: the service, its regions as they are, and what has come of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from roadstead.api.chatservice import ChatService, ServiceRegionStatus
from roadstead.api.conditions import Reason
from roadstead.chat import peaks, rollout
from roadstead.chat.encryption import RingFacts, no_keyset
from roadstead.chat.finding import Finding
from roadstead.chat.outcome import OutcomeKind, RegionOutcome
from roadstead.chat.placement import Placement, RegionFacts
from roadstead.chat.revisions import Revision
from roadstead.kernel.apply import applied_digest
from roadstead.kernel.context import Context
from roadstead.kernel.fleet import Site
from roadstead.kernel.gate import Gate
from roadstead.kernel.objects import Gvr
from roadstead.kernel.ownership import Owner
from roadstead.kernel.store import NOTHING, Record, WorkloadStatus


@dataclass(frozen=True, slots=True)
class View:
    """One region of the topology before anything is done there.

    ``entry`` is what the status records of it; ``records`` are the service's children there, as far as is known.
    Where a rollout waits for pods, ``pods`` says what keeps them.
    """

    site: Site
    facts: RegionFacts
    entry: ServiceRegionStatus | None
    records: tuple[Record, ...]
    served: frozenset[Gvr]
    pods: str = ""

    @property
    def applied(self) -> str:
        """Digest of the children as they are; empty when there are none."""
        return applied_digest(self.records) if self.records else ""

    @property
    def gate(self) -> Gate | None:
        """The circuit breaker of the region's cluster; None for the hub's own."""
        return self.site.member.client.gate if self.site.member is not None else None

    def may_miss_some(self, digest: str) -> bool:
        """Whether a child may be there that no record tells of and nobody wants any more.

        So it may when the children are not those that the status records, and, by the digest of the inputs, others are
        wanted than were.
        """
        entry = self.entry
        return entry is not None and entry.applied not in ("", self.applied) and entry.input != digest

    @property
    def workload(self) -> WorkloadStatus | None:
        """State of the Deployment or StatefulSet; what we never applied, a copy of it, says nothing."""
        return next((r.workload for r in self.records if r.workload is not None and r.fields != NOTHING), None)

    @property
    def address(self) -> str:
        """Where clients reach the region from outside its cluster; empty while that is not known."""
        return next((record.address for record in self.records if record.address and record.fields != NOTHING), "")

    def present_replicas(self, *, autoscaled: bool) -> int | None:
        """How many pods the service has here already, which a cordoned region may keep; None when it is new here."""
        if self.entry is None or not (self.entry.applied or self.records):
            return None
        # An autoscaler may have raised it since the status was written: a cordon takes nothing away that runs.
        running = self.workload.wanted if autoscaled and self.workload is not None else 0
        return max(self.entry.desired_replicas, running)

    def outcome(
        self,
        kind: OutcomeKind,
        message: str = "",
        reason: Reason | None = None,
        *,
        applied: str = "",
        input: str = "",  # noqa: A002
    ) -> RegionOutcome:
        """An outcome here; what is recorded of the region stays recorded unless something else is given."""
        recorded = self.entry
        return RegionOutcome(
            self.site.name,
            kind,
            message,
            reason,
            workload=self.workload,
            applied=applied or (recorded.applied if recorded is not None else ""),
            input=input or (recorded.input if recorded is not None else ""),
            address=self.address,
            pods=self.pods,
        )


@dataclass(slots=True)
class Work:
    """One pass over one service. What is above the line is given; what is below it grows.

    Attributes:
        service: with the status as it was stored before.
        body: the same as the API server has it.
        owner: the service as the owner of children.
        ctx: everything else.
        placements: of the topology.
        views: by region, of the regions that can be written.
        target: the revision that the spec stands for.
        floor: what the peaks ask for.
        templates: digest of the room's templates.
        certificates: by revision, identity and version of the TLS Secret that it names.
        ring: the KeyRing that the spec names; None: it names none, or there is none.

        secrets: by name, TLS Secrets that are being read or were read in this pass.
        outcomes: by region, what came of it.
        drifting: regions where something is not as it should be and is left so for now.
        again: look once more at once, since this pass changed what it decided from.
        unfinished: what could not be done, in words.
        retry_after: seconds that a server asked us to wait.
        look_again: seconds after which something may be different by itself.
    """

    service: ChatService
    body: Mapping[str, Any]
    owner: Owner
    ctx: Context
    placements: tuple[Placement, ...]
    views: Mapping[str, View]
    target: Revision
    floor: peaks.Floor
    templates: str
    certificates: dict[str, str]
    ring: RingFacts | None

    secrets: dict[str, asyncio.Future[dict[str, Any] | None]] = field(default_factory=dict)
    outcomes: dict[str, RegionOutcome] = field(default_factory=dict)
    drifting: set[str] = field(default_factory=set)
    again: bool = False
    unfinished: list[str] = field(default_factory=list)
    retry_after: float | None = None
    look_again: list[float] = field(default_factory=list)

    @property
    def ring_name(self) -> str:
        """``namespace/name`` of the KeyRing that the spec names; empty when it names none."""
        encryption = self.service.spec.encryption
        return f"{self.owner.key.namespace}/{encryption.key_ring_ref.name}" if encryption is not None else ""

    def no_keyset(self, region: str) -> Finding | None:
        """Why a region cannot have the keyset that the service's pods mount."""
        return no_keyset(self.ring_name, self.ring, region) if self.ring_name else None

    def present_replicas(self, view: View) -> int | None:
        """See `View.present_replicas`."""
        return view.present_replicas(autoscaled=self.service.spec.autoscaling is not None)

    def input_of(self, view: View, region: rollout.RegionState) -> str:
        """Digest of everything that a region's children are made from. The operator's version is not in it."""
        facts = view.facts
        parts = (
            self.service.metadata.uid,
            self.service.metadata.generation,
            region.revision,
            region.last_good,
            self.templates,
            facts.zones,
            sorted(facts.node_selector.items()),
            self.present_replicas(view) if facts.cordoned else None,
            self.floor.replicas,
            self.certificates.get(region.revision, ""),
            self.certificates.get(region.last_good, ""),
            sorted(map(str, view.served)),
            # Only where there is one: the digests of all other services stay as they were.
            *((finding.message,) if (finding := self.no_keyset(view.site.name)) is not None else ()),
        )
        return blake2b(orjson.dumps(parts), digest_size=12).hexdigest()

    def is_converged(self, view: View, region: rollout.RegionState) -> bool:
        """Whether the children are what the status records, and so is what they were made from."""
        entry = view.entry
        return (
            entry is not None
            and bool(entry.applied)
            and entry.applied == view.applied
            and entry.input == self.input_of(view, region)
        )
