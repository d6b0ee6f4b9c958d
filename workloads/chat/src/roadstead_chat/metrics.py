"""The metrics of the workload. Names are part of the contract with the platform (docs/workload-contract.md).

No label carries an account, a room, a device or an address: their number has no bound, and they are nobody's business.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from roadstead_keys import Ring
from roadstead_keys.keeper import Keeper

from roadstead_chat.writer import Committed

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMMIT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """One registry; every series exists from the start, so that a rate over it sees its first event."""

    def __init__(self, service: str, region: str, role: str, version: str) -> None:
        registry = self.registry = CollectorRegistry()
        Gauge(
            "chat_info", "Constant 1; says what runs", ["service", "region", "role", "version"], registry=registry
        ).labels(service, region, role, version).set(1)
        self.connections = Gauge("chat_connections", "Open client connections", registry=registry)
        self.connects = Counter("chat_connects", "Attempts to connect, by outcome", ["outcome"], registry=registry)
        self.closes = Counter("chat_closes", "Closed client connections, by reason", ["reason"], registry=registry)
        self.accepted = Counter("chat_messages_accepted", "Messages that became durable here", registry=registry)
        self.duplicates = Counter(
            "chat_messages_duplicate", "Retries of a message that was held already", registry=registry
        )
        self.refused = Counter("chat_messages_refused", "Messages refused, by code", ["code"], registry=registry)
        self.replicated = Counter(
            "chat_messages_replicated", "Messages taken over from other replicas", registry=registry
        )
        self.delivered = Counter("chat_messages_delivered", "Live messages written to a client", registry=registry)
        self.fallbacks = Counter(
            "chat_backlog_fallbacks",
            "Times that a client had too much waiting and went on from the store",
            registry=registry,
        )
        self.acks = Counter("chat_acks", "Acknowledgements of receipt from clients", registry=registry)
        self.delivery = Histogram(
            "chat_delivery_seconds",
            "From acceptance by the first relay to the socket of a receiver",
            buckets=_LATENCY,
            registry=registry,
        )
        self.accept = Histogram(
            "chat_accept_seconds",
            "From receipt of a message to its acknowledgement: it is durable by then",
            buckets=_LATENCY,
            registry=registry,
        )
        self.commit = Histogram(
            "chat_store_commit_seconds", "Commit of one transaction, fsync included", buckets=_COMMIT, registry=registry
        )
        self.batch = Histogram(
            "chat_store_batch_size", "Commands that shared one transaction", buckets=_BATCH, registry=registry
        )
        self.expired = Counter(
            "chat_store_expired", "Rows removed by retention, by class", ["class"], registry=registry
        )
        self.login_failures = Counter("chat_login_failures", "Failed logins, by reason", ["reason"], registry=registry)
        self.lockouts = Counter("chat_lockouts", "Accounts locked after failed logins", registry=registry)
        self.peers = Gauge("chat_peers", "Other replicas whose log is being read", registry=registry)
        self.copies_given_up = Counter(
            "chat_copies_given_up", "Times that another replica did not store our messages in time", registry=registry
        )
        self.peer_failures = Counter(
            "chat_peer_failures", "Streams to other replicas that ended in an error", registry=registry
        )
        self.tls_reloads = Counter(
            "chat_tls_reloads", "Certificates loaded while running, by result", ["result"], registry=registry
        )
        self.draining = Gauge("chat_draining", "1 while the relay drains", registry=registry)
        for outcome in ("accepted", "token", "locked", "draining", "full"):
            self.connects.labels(outcome)
        for reason in ("client", "restart", "token_expired", "slow_consumer", "bad_frame", "store_failed"):
            self.closes.labels(reason)
        for code in ("standby", "room_forbidden", "message_too_large", "store_unavailable"):
            self.refused.labels(code)
        for reason in ("missing", "malformed", "signature", "expired", "claims"):
            self.login_failures.labels(reason)
        for kind in ("transactions", "sessions"):
            self.expired.labels(kind)
        for result in ("loaded", "failed"):
            self.tls_reloads.labels(result)

    def watch(self, ring: Ring, keeper: Keeper) -> None:
        """Show a ring from now on; without one there are none of these series."""
        self.registry.register(_RingCollector(ring, keeper))
        self._key_stored = Gauge(
            "chat_key_stored_messages",
            "Messages in the store by the version that they are encrypted with; 0: not encrypted",
            ["version"],
            registry=self.registry,
        )
        self._key_remaining = Gauge(
            "chat_key_rewrap_remaining",
            "Messages in the store that are not encrypted with the version that is written with",
            registry=self.registry,
        )
        self.key_stuck = Gauge(
            "chat_key_rewrap_stuck", "Messages that could not be encrypted anew the last time", registry=self.registry
        )
        self.key_rewrapped = Counter(
            "chat_key_rewrapped", "Messages in the store that were encrypted anew", registry=self.registry
        )

    def key_stored(self, stored: Mapping[int, int], primary: int) -> None:
        """Show how many messages are encrypted with each version."""
        self._key_stored.clear()
        for version, count in stored.items():
            self._key_stored.labels(version).set(count)
        self._key_remaining.set(sum(count for version, count in stored.items() if version != primary))

    def committed(self, committed: Committed) -> None:
        """Count one transaction of the store."""
        self.commit.observe(committed.seconds)
        self.batch.observe(committed.commands)

    def written(self, accepted_us: Sequence[int]) -> None:
        """Count messages that were just handed to a client's socket."""
        now = time.time_ns() // 1_000
        self.delivered.inc(len(accepted_us))
        for moment in accepted_us:
            self.delivery.observe(max(0, now - moment) / 1e6)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)


class _RingCollector(Collector):
    """What a ring counts by itself, read when somebody asks."""

    def __init__(self, ring: Ring, keeper: Keeper) -> None:
        self._ring = ring
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        """Yield every series of the ring."""
        counts, held = self._ring.counts, self._ring.held
        for name, words, numbers in (
            ("chat_key_encrypts", "Payloads encrypted, by version of the ring", counts.encrypts),
            ("chat_key_decrypts", "Payloads decrypted, by version of the ring", counts.decrypts),
        ):
            family = CounterMetricFamily(name, words, labels=["version"])
            # The one that is written with is there from the start.
            for version, count in ({self._ring.primary: 0} | dict(numbers) if self._ring.primary else numbers).items():
                family.add_metric([str(version)], count)
            yield family
        words = "Payloads of a version that is in no keyset here"
        yield CounterMetricFamily("chat_key_unknown_version_decrypts", words, value=counts.unknown)
        for name, words, value in (
            ("chat_key_generation", "Generation of the keyset that is in use", held.bundle.generation),
            ("chat_key_primary", "Version that is written with; 0: none", self._ring.primary),
            ("chat_key_versions", "Versions in the keyset that is in use", len(held.keys.versions)),
            ("chat_key_proved_generation", "Newest generation that was proved", self._keeper.generation),
            ("chat_key_proof_age_seconds", "Since the proof was last handed in", self._keeper.age),
        ):
            yield GaugeMetricFamily(name, words, value=value)
