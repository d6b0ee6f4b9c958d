"""What a reconcile function is given, and the one way in which it says "not now"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roadstead.kernel.clock import Clock
from roadstead.kernel.objects import REGIONS, Key
from roadstead.kernel.resources import ResourceStore

if TYPE_CHECKING:
    from roadstead.kernel.events import EventRecorder
    from roadstead.kernel.fleet import Fleet, Member
    from roadstead.kernel.metrics import Metrics
    from roadstead.kernel.queue import WorkQueue


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that travels together, made once at the start."""

    hub: Member
    hub_id: str
    namespace: str
    fleet: Fleet
    resources: ResourceStore
    queue: WorkQueue
    clock: Clock
    events: EventRecorder
    metrics: Metrics

    def is_pending(self, region: str) -> bool:
        """Whether there is such a Region, and this process has not finished looking at it; the fleet tells when."""
        site = self.fleet.site(region)
        if site is None:
            return self.resources.version(Key(REGIONS.kind, "", region)) > 0
        return site.pending


@dataclass(frozen=True, slots=True)
class Result:
    """How a reconcile ended.

    Attributes:
        requeue_after: seconds after which to look again although nothing has happened; None to wait for a trigger.
        unfinished: what could not be done now, in words; the key is tried again with back-off. Empty when all is done.
        retry_after: seconds that a server asked us to wait before trying what is unfinished.
    """

    requeue_after: float | None = None
    unfinished: str = ""
    retry_after: float | None = None


Reconcile = Callable[[Key, Context], Awaitable[Result]]
