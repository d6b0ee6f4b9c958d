"""When this process counts as alive, when as ready, and what a scrape brings up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from roadstead.admission.server import WebhookServer
from roadstead.admission.tls import ServingTls
from roadstead.kernel.context import Context
from roadstead.kernel.fleet import HUB_MEMBER
from roadstead.kernel.health import Check, HealthServer
from roadstead.kernel.watch import STALE_AFTER, Watcher
from roadstead.keys.collector import RingCollector


@dataclass(frozen=True, slots=True)
class Checks:
    """What is looked at.

    Attributes:
        ctx: hub, fleet, queue, resources and metrics.
        informed: whether kopf has delivered the first list of our resources.
        tls_secrets: the watch of the Secrets that services refer to; nobody can lead before it has listed them.
        server: the webhooks; None when they are off.
        tls: their certificate.
        secret: the name of the Secret with it.
    """

    ctx: Context
    informed: Callable[[], bool]
    tls_secrets: Watcher
    server: WebhookServer | None
    tls: ServingTls
    secret: str

    def health_server(self) -> HealthServer:
        """A server that answers with these checks, and shows what there is to tell of rings. Made once."""
        ready: dict[str, Check] = {"informer": self._informer, "hub": self._hub, "secrets": self._secrets}
        ready["webhooks"] = self._webhooks
        self.ctx.metrics.registry.register(RingCollector(self.ctx.resources, self.ctx.clock.now))
        return HealthServer(
            self.ctx.metrics,
            self.ctx.clock,
            live={"watches": self._watches},
            ready=ready,
            before_scrape=self._before_scrape,
        )

    def _watches(self) -> str:
        # Only when another watch is heard: a hub that is away is no reason to restart us, let alone all of us.
        ages = [watcher.age() for watcher in self.ctx.hub.watchers if not watcher.error]
        stuck = len(ages) > 1 and min(ages) < STALE_AFTER < max(ages)
        return f"a watch of the hub was last heard {max(ages):.0f} s ago, others just now" if stuck else ""

    def _informer(self) -> str:
        return "" if self.informed() else "the first list of our resources is not complete"

    def _hub(self) -> str:
        return "" if self.ctx.hub.synced else "the first list of our children in the hub is not complete"

    def _secrets(self) -> str:
        if self.tls_secrets.synced.is_set():
            return ""
        return f"the TLS Secrets of the hub have not been listed: {self.tls_secrets.error or 'under way'}"

    def _webhooks(self) -> str:
        if self.server is None or self.server.serving.is_set():
            return ""
        return f"webhooks are not served: Secret {self.secret} is not loaded yet"

    def _before_scrape(self) -> None:
        ctx, metrics = self.ctx, self.ctx.metrics
        metrics.observe_queue(ctx.queue)
        metrics.observe_resources(ctx.resources.readiness())
        if ctx.hub.client.clock_ahead is not None:
            metrics.clock_ahead.labels(HUB_MEMBER).set(ctx.hub.client.clock_ahead)
        if self.tls.not_after is not None:
            metrics.webhook_certificate.set(self.tls.not_after.timestamp())
        ages = {HUB_MEMBER: ctx.hub.oldest_watch()}
        for site in ctx.fleet.sites():
            if site.member is not None and not site.in_hub:
                ages[site.name] = site.member.oldest_watch()
        metrics.observe_watches(ages)
