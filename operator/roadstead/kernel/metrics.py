"""The operator's metrics: controller-runtime's names where it has one, ours in base units elsewhere.

Labels are kinds, regions, results and types, never names of objects. A room may register what it tells besides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from roadstead.kernel.queue import QueueMetrics, WorkQueue

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics(QueueMetrics):
    """Every metric of the engine, in one registry.

    Args:
        registry: where they are registered; served by `roadstead.kernel.health`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        self._reconciles = Counter(
            "controller_runtime_reconcile", "Reconciles by result", ["controller", "result"], registry=registry
        )
        self._reconcile_errors = Counter(
            "controller_runtime_reconcile_errors", "Reconciles that failed", ["controller"], registry=registry
        )
        self._panics = Counter(
            "controller_runtime_reconcile_panics",
            "Reconciles with an unexpected error",
            ["controller"],
            registry=registry,
        )
        self._reconcile_time = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time of a reconcile",
            ["controller"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._adds = Counter("workqueue_adds", "Keys added", ["name"], registry=registry)
        self._retries = Counter("workqueue_retries", "Keys put back after a failure", ["name"], registry=registry)
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Time a key waited for a worker",
            ["name"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._depth = Gauge("workqueue_depth", "Keys that wait", ["name"], registry=registry)
        self._oldest = Gauge("workqueue_oldest_key_age_seconds", "Age of the oldest waiting key", registry=registry)
        self._requests = Counter(
            "rest_client_requests",
            "Requests by status (0: no answer)",
            ["cluster", "method", "code"],
            registry=registry,
        )
        self._request_time = Histogram(
            "rest_client_request_duration_seconds",
            "Time of a request",
            ["cluster", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.children_written = Counter(
            "roadstead_child_writes", "Writes of children by outcome", ["kind", "action"], registry=registry
        )
        self.drift = Counter(
            "roadstead_drift_repaired", "Children put back after a foreign change", ["kind"], registry=registry
        )
        self.status_written = Counter("roadstead_status_writes", "Status writes", ["kind"], registry=registry)
        self.leader = Gauge("leader_election_master_status", "1 when this process leads", ["name"], registry=registry)
        self.loop_lag = Gauge("roadstead_event_loop_lag_seconds", "How late the event loop runs", registry=registry)
        self._watch_age = Gauge(
            "roadstead_watch_age_seconds",
            "Seconds since a cluster's quietest watch was heard",
            ["cluster"],
            registry=registry,
        )
        self._resources = Gauge(
            "roadstead_resources", "Custom resources by readiness", ["kind", "ready"], registry=registry
        )
        self.region_up = Gauge(
            "roadstead_region_up", "1 when the region can be read and written", ["region"], registry=registry
        )
        self.region_probe = Gauge(
            "roadstead_region_probe_seconds", "Time of the last probe that was answered", ["region"], registry=registry
        )
        self.clock_ahead = Gauge(
            "roadstead_clock_ahead_seconds",
            "By how much our clock is ahead of an API server's, to a second",
            ["cluster"],
            registry=registry,
        )
        self._kek_failures = Counter(
            "roadstead_kek_provider_errors",
            "Requests that a provider of KEKs did not fulfil, by reason",
            ["provider", "reason"],
            registry=registry,
        )
        self.webhook_certificate = Gauge(
            "roadstead_webhook_certificate_expiry_timestamp_seconds",
            "When the webhooks' certificate expires, in seconds since 1970; 0 while there is none",
            registry=registry,
        )

    def added(self, kind: str) -> None:
        """See `QueueMetrics.added`."""
        self._adds.labels(kind).inc()

    def started(self, kind: str, waited: float) -> None:
        """See `QueueMetrics.started`."""
        self._waited.labels(kind).observe(waited)

    def retried(self, kind: str) -> None:
        """See `QueueMetrics.retried`."""
        self._retries.labels(kind).inc()

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """A reconcile ended as ``success``, ``requeue``, ``requeue_after`` or ``error``."""
        self._reconciles.labels(kind, result).inc()
        self._reconcile_time.labels(kind).observe(seconds)
        if result == "error":
            self._reconcile_errors.labels(kind).inc()

    def panics(self, kind: str) -> None:
        """A reconcile met an error that nobody foresaw."""
        self._panics.labels(kind).inc()

    def requested(self, cluster: str, method: str, status: int, seconds: float) -> None:
        """A request to an API server ended; see `roadstead.kernel.client.Observer`."""
        self._requests.labels(cluster, method, str(status)).inc()
        self._request_time.labels(cluster, method).observe(seconds)

    def observe_resources(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Take how many resources of each kind are ready; called before each scrape."""
        self._resources.clear()
        for (kind, ready), count in counts.items():
            self._resources.labels(kind, ready).set(count)

    def kek_failed(self, provider: str, reason: str) -> None:
        """A provider of KEKs did not do what it was asked for."""
        self._kek_failures.labels(provider, reason).inc()

    def forget_region(self, region: str) -> None:
        """The region is gone: so are its series."""
        for gauge in (self.region_up, self.region_probe):
            with contextlib.suppress(KeyError):
                gauge.remove(region)
        for metric in (self._requests, self._request_time):
            metric.remove_by_labels({"cluster": region})

    def observe_watches(self, ages: Mapping[str, float]) -> None:
        """Take how long ago each connected cluster was heard; one without a connection has no series."""
        self._watch_age.clear()
        for cluster, age in ages.items():
            self._watch_age.labels(cluster).set(age)

    def observe_queue(self, queue: WorkQueue) -> None:
        """Take the queue's depth and age; called before each scrape."""
        for kind, depth in queue.depth().items():
            self._depth.labels(kind).set(depth)
        self._oldest.set(queue.oldest_age())
