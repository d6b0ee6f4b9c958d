"""What a scrape says of rings. Pure: from KeyRings, KeyVersions and a clock.

Series carry the names of namespaces, rings and regions, because a ticket must say which ring it is about. All three are
what people make, and few: some twenty series a ring and five for each of its regions. Nothing that grows by itself
(versions, pods, fingerprints) is ever a label. Moments are exported as moments, not as ages: an age goes on when the
operator does not, and needs no scrape to be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from roadstead.api.keyring import DEFAULT_PERIOD, KeyRing, KeyRingStatus, ScheduleState
from roadstead.api.keyversion import KeyPhase
from roadstead.api.parse import parse, status_of
from roadstead.api.problems import SpecError
from roadstead.keys.schedule import cron_period
from roadstead.keys.versions import REMOVABLE

RING: Final = ("roadstead_namespace", "ring")
"""Not ``namespace``: a scrape through a ServiceMonitor has that label already, for the operator's own."""
REGION: Final = (*RING, "region")

FAMILIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "roadstead_keyrings": ("KeyRings by phase", ("phase",)),
    "roadstead_keyring_primary_timestamp_seconds": ("Since when the primary is the primary", RING),
    "roadstead_keyring_next_rotation_timestamp_seconds": ("When the next version is due, jitter included", RING),
    "roadstead_keyring_period_seconds": ("Time between two slots of the schedule", RING),
    "roadstead_keyring_rotation_seconds": ("What a rotation takes at least: lead, soak and jitter", RING),
    "roadstead_keyring_suspended": ("1 while the schedule is suspended", RING),
    "roadstead_keyring_versions": ("Versions by phase", (*RING, "phase")),
    "roadstead_keyring_keyset_versions": ("Versions in the keysets", RING),
    "roadstead_keyring_returned_versions": ("Versions that were retired, and are handed out again", RING),
    "roadstead_keyring_retirement_timestamp_seconds": ("When the next version leaves the regions by retention", RING),
    "roadstead_keyring_removal_timestamp_seconds": ("From when on the next version may be removed", RING),
    "roadstead_keyring_compromised_timestamp_seconds": ("Since when data waits to be written anew", RING),
    "roadstead_keyring_rewrap_remaining": ("Ciphertexts that pods store, of versions nobody writes with", RING),
    "roadstead_keyring_rewrap_silent_pods": ("Pods that have not said what they store, the most of a version", RING),
    "roadstead_keyring_kek_timestamp_seconds": ("When the present key-encryption key was asked for", RING),
    "roadstead_keyring_kek_period_seconds": ("Time after which the key-encryption key is to be another one", RING),
    "roadstead_keyring_kek_rewraps_remaining": ("Stored versions that the present KEK does not wrap yet", RING),
    "roadstead_keyring_wait_timestamp_seconds": (
        "Since when the ring waits for this; no series when it does not",
        (*REGION, "reason"),
    ),
    "roadstead_keyring_generation": ("Generation of the region's keyset", REGION),
    "roadstead_keyring_pods": ("Pods that use the ring", REGION),
    "roadstead_keyring_proved_pods": ("Pods that have proved the version to write with", REGION),
    "roadstead_keyring_excluded": ("1 while nothing waits for the region", REGION),
}

Samples = Iterator[tuple[str, tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is counted of a KeyVersion.

    Attributes:
        namespace: where it is.
        ring_id: identity of its ring.
        phase: where it stands.
        since: when it got there, in seconds since 1970; None: nobody can read it.
        returned: it was retired, and is handed out again.
        rewrapped: it is compromised, and nothing is stored any more that it has encrypted.
    """

    namespace: str
    ring_id: str
    phase: str
    since: float | None
    returned: bool
    rewrapped: bool


def entry_of(body: Mapping[str, Any]) -> Entry:
    """What is counted of a KeyVersion as the API server has it."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    phase = str(status.get("phase"))
    try:
        since = datetime.fromisoformat(str(status.get("since"))).timestamp()
    except ValueError:
        since = None
    return Entry(
        namespace=str(body["metadata"].get("namespace", "")),
        ring_id=str(spec.get("ringID")),
        phase=phase,
        since=since,
        returned=phase == KeyPhase.RETIRED and status.get("returned") is True,
        rewrapped=status.get("rewrapped") is True,
    )


def samples(rings: Iterable[Mapping[str, Any]], entries: Iterable[Entry], now: datetime) -> Samples:
    """Name, labels and value of every series.

    Args:
        rings: KeyRings as the API server has them.
        entries: the ledgers of all of them.
        now: with a time zone; only a cron schedule needs it, where there is no primary yet.
    """
    ledgers: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        ledgers.setdefault((entry.namespace, entry.ring_id), []).append(entry)
    phases: Counter[str] = Counter()
    for body in rings:
        status = status_of(KeyRingStatus, body)
        phases[status.phase.value] += 1
        metadata = body["metadata"]
        labels = (str(metadata.get("namespace", "")), str(metadata["name"]))
        ledger = ledgers.get((labels[0], status.ring_id or ""), [])
        for name, more, value in _of_ring(body, status, ledger, now):
            yield name, (*labels, *more), value
    for phase, count in phases.items():
        yield "roadstead_keyrings", (phase,), count


def _of_ring(body: Mapping[str, Any], status: KeyRingStatus, ledger: Sequence[Entry], now: datetime) -> Samples:
    if status.primary_since is not None:
        yield "roadstead_keyring_primary_timestamp_seconds", (), status.primary_since.timestamp()
    if status.next_rotation is not None:
        yield "roadstead_keyring_next_rotation_timestamp_seconds", (), status.next_rotation.timestamp()
    yield "roadstead_keyring_keyset_versions", (), status.versions
    if (kek := status.kek) is not None:
        yield "roadstead_keyring_kek_rewraps_remaining", (), kek.stored - kek.wrapped
        if kek.since is not None:
            yield "roadstead_keyring_kek_timestamp_seconds", (), kek.since.timestamp()
    for wait in status.waits:
        yield "roadstead_keyring_wait_timestamp_seconds", (wait.region, wait.reason), wait.since.timestamp()
    for region in status.regions:
        where = (region.name,)
        yield "roadstead_keyring_generation", where, region.generation
        yield "roadstead_keyring_pods", where, region.consumers
        yield "roadstead_keyring_proved_pods", where, region.proved
        yield "roadstead_keyring_excluded", where, region.excluded
    if status.rewrap:
        yield "roadstead_keyring_rewrap_remaining", (), sum(entry.remaining for entry in status.rewrap)
        yield "roadstead_keyring_rewrap_silent_pods", (), max(entry.silent for entry in status.rewrap)
    try:
        ring = parse("KeyRing", body)
    except SpecError:
        ring = None  # what is not to be carried out tells nothing; the condition Stalled says so
    if ring is not None:
        yield from _of_schedule(ring, now)
    yield from _of_ledger(ring, ledger)


def _of_schedule(ring: KeyRing, now: datetime) -> Samples:
    schedule = ring.spec.schedule
    period: timedelta | None
    if schedule.cron is None:
        period = schedule.every or DEFAULT_PERIOD
    else:
        moment = ring.status.primary_since or now
        period = cron_period(schedule.cron.schedule, schedule.cron.time_zone, moment)
    if period is not None:
        yield "roadstead_keyring_period_seconds", (), period.total_seconds()
    takes = ring.spec.lead + ring.spec.soak + schedule.jitter
    yield "roadstead_keyring_rotation_seconds", (), takes.total_seconds()
    yield "roadstead_keyring_suspended", (), schedule.state is ScheduleState.SUSPENDED
    yield "roadstead_keyring_kek_period_seconds", (), ring.spec.kek.rotate_every.total_seconds()


def _of_ledger(ring: KeyRing | None, ledger: Sequence[Entry]) -> Samples:
    for phase, count in Counter(entry.phase for entry in ledger).items():
        yield "roadstead_keyring_versions", (phase,), count
    yield "roadstead_keyring_returned_versions", (), sum(entry.returned for entry in ledger)
    if compromised := _moments(ledger, lambda entry: entry.phase == KeyPhase.COMPROMISED and not entry.rewrapped):
        yield "roadstead_keyring_compromised_timestamp_seconds", (), min(compromised)
    if ring is None:
        return
    draining = _moments(ledger, lambda entry: entry.phase == KeyPhase.DRAINING)
    if draining and ring.spec.retention is not None:
        ends = min(draining) + ring.spec.retention.total_seconds()
        yield "roadstead_keyring_retirement_timestamp_seconds", (), ends
    if ended := _moments(ledger, lambda entry: entry.phase in REMOVABLE and not entry.returned):
        yield "roadstead_keyring_removal_timestamp_seconds", (), min(ended) + ring.spec.removal_delay.total_seconds()


def _moments(ledger: Sequence[Entry], counts: Callable[[Entry], bool]) -> list[float]:
    """When those entries came into their phase that count."""
    return [entry.since for entry in ledger if entry.since is not None and counts(entry)]
