"""What people are woken up for, and what waits for them: the alerting rules. Pure.

Two severities: ``page`` asks for somebody now, ``ticket`` waits for a person. Each alert has a runbook of its name in
docs/runbooks. What is averaged over replicas of the operator is a maximum: each shows the same, or lags.

A rule about time looks at a moment that was exported, not at an age: it holds when scrapes are missed, and when nobody
is there to count. A test fires every one of them (tests/unit/observability/test_alerts.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

RUNBOOKS: Final = "docs/runbooks"
"""Where runbooks are, in the repository; the chart's value alerts.runbookURL takes its place."""

_RING: Final = "roadstead_namespace, ring"
_NAMED: Final = "KeyRing {{ $labels.roadstead_namespace }}/{{ $labels.ring }}"
_WAIT: Final = "roadstead_keyring_wait_timestamp_seconds"


class Severity(StrEnum):
    """Who is told, and when."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule.

    Attributes:
        name: also that of its runbook.
        expression: PromQL; it fires where this has a series.
        lasting: how long it has to, before somebody is told.
        severity: who is told.
        summary: what is the matter, in a line; a template of Prometheus.
        description: what it means, and what happens if nobody comes.
    """

    name: str
    expression: str
    lasting: str
    severity: Severity
    summary: str
    description: str

    def rule(self) -> dict[str, Any]:
        """The same as a rule file has it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasting,
            "labels": {"severity": self.severity.value},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}/{self.name}.md",
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together."""

    name: str
    alerts: tuple[Alert, ...]


def _of(metric: str, by: str = _RING) -> str:
    return f"max by ({by}) ({metric})"


_AGE: Final = f"(time() - {_of('roadstead_keyring_primary_timestamp_seconds')})"
# The longest of a day: who shortens the period, or resumes a schedule, is not told that it was missed meanwhile.
_PERIOD: Final = _of("max_over_time(roadstead_keyring_period_seconds[1d])")
_KEK_PERIOD: Final = _of("max_over_time(roadstead_keyring_kek_period_seconds[1d])")
_SUSPENDED: Final = f"{_of('max_over_time(roadstead_keyring_suspended[1d])')} == 1"
# A primary lives for a period and, where the next one waits for lead and soak and it did not, that much longer.
_LONGEST: Final = f"{_AGE} > {_PERIOD} + {_of('roadstead_keyring_rotation_seconds')}"


def _older_than(periods: str) -> str:
    return f"{_AGE} > {periods} * {_PERIOD}\nand\n{_LONGEST}"


def _waiting(reasons: str, seconds: int = 0) -> str:
    """For how many seconds rings have waited for one of these reasons, where it is that many."""
    since = _of(f'{_WAIT}{{reason=~"{reasons}"}}', f"{_RING}, region, reason")
    return f"time() - {since} >= {seconds}" if seconds else f"time() - {since}"


KEYS: Final = Group(
    "roadstead-keys",
    (
        Alert(
            "RoadsteadKeyRingPrimaryAgeing",
            _older_than("1.25"),
            "5m",
            Severity.TICKET,
            f"{_NAMED} should have rotated",
            "Its primary is {{ $value | humanizeDuration }} old, more than 1.25 times its period. It goes on to serve.",
        ),
        Alert(
            "RoadsteadKeyRingPrimaryOverdue",
            f"(\n{_older_than('2')}\n)\nunless\n{_SUSPENDED}",
            "5m",
            Severity.PAGE,
            f"{_NAMED} has missed a rotation",
            "Its primary is {{ $value | humanizeDuration }} old, more than twice its period. It goes on to serve, with "
            "a key that is older than was promised.",
        ),
        Alert(
            "RoadsteadKeyRingWithoutPrimary",
            f"{_of('roadstead_keyring_keyset_versions')}\nunless\n"
            f"({_of('roadstead_keyring_primary_timestamp_seconds')} or {_of('roadstead_keyring_suspended')} == 1)",
            "15m",
            Severity.TICKET,
            f"{_NAMED} has no version to write with",
            "It never had one: workloads that need it cannot encrypt anything.",
        ),
        Alert(
            "RoadsteadKeyRingAcknowledgementLate",
            _waiting("NotProved|OldPrimaryInUse", 900),
            "1m",
            Severity.TICKET,
            f"{_NAMED} waits for pods in region {{{{ $labels.region }}}}",
            "For {{ $value | humanizeDuration }} not every pod there has proved what the rotation needs "
            "({{ $labels.reason }}). Nothing breaks, and the rotation does not go on.",
        ),
        Alert(
            "RoadsteadKeyRingRotationBlocked",
            _waiting("RegionUnreadable|NotDistributed", 3600),
            "1m",
            Severity.TICKET,
            f"{_NAMED} waits for region {{{{ $labels.region }}}}",
            "For {{ $value | humanizeDuration }} the region cannot be read, or does not get its keyset "
            "({{ $labels.reason }}). The rotation does not go on.",
        ),
        Alert(
            "RoadsteadKeyRingRegionExcluded",
            f"{_of('roadstead_keyring_excluded', f'{_RING}, region')} == 1",
            "1h",
            Severity.TICKET,
            f"{_NAMED} does not wait for region {{{{ $labels.region }}}}",
            "It was excluded by an Approval and has not proved since what the others have: what is written elsewhere "
            "may be unreadable there.",
        ),
        Alert(
            "RoadsteadKeyRingRewrapLate",
            f"time() - {_of('roadstead_keyring_compromised_timestamp_seconds')} > 86400",
            "15m",
            Severity.TICKET,
            f"{_NAMED}: data of a compromised version is not written anew",
            "For {{ $value | humanizeDuration }} pods have stored what it encrypted, or have not said that they store "
            "nothing of it.",
        ),
        Alert(
            "RoadsteadKeyRingLedgerBehind",
            _waiting("LedgerBehind"),
            "2m",
            Severity.PAGE,
            f"{_NAMED}: region {{{{ $labels.region }}}} has keys that the hub does not know",
            "The hub was restored from an older backup, or somebody has edited the region's keyset. Nothing is written "
            "anywhere; the region may have the only copy of a key.",
        ),
        Alert(
            "RoadsteadKeyRingMaterialLost",
            _waiting("MaterialLost"),
            "2m",
            Severity.PAGE,
            f"{_NAMED}: the hub has lost a key",
            "The Secret of a version is gone or was replaced. Regions have it still, and are the only ones; whatever "
            "loses its keyset there loses data.",
        ),
        Alert(
            "RoadsteadKeyRingClocksDiffer",
            _waiting("ClocksDiffer", 300),
            "1m",
            Severity.TICKET,
            f"{_NAMED} stands still because clocks differ",
            "Our clock and the hub's API server's differ by more than 30 s, so that nothing irreversible is done.",
        ),
        Alert(
            "RoadsteadKeyRingProviderFailed",
            _waiting("ProviderFailed", 900),
            "1m",
            Severity.TICKET,
            f"{_NAMED}: keys cannot be wrapped or unwrapped",
            "For {{ $value | humanizeDuration }} the place that keeps its KEK refuses. Regions go on with what they "
            "have; no version can be made, and no keyset be written.",
        ),
        Alert(
            "RoadsteadKeyRingKekAgeing",
            f"(time() - {_of('roadstead_keyring_kek_timestamp_seconds')})\n> 1.25 * {_KEK_PERIOD}",
            "15m",
            Severity.TICKET,
            f"{_NAMED} should have another key-encryption key",
            "Its KEK is {{ $value | humanizeDuration }} old, more than 1.25 times spec.kek.rotateEvery. It goes on to "
            "wrap.",
        ),
        Alert(
            "RoadsteadKeyRingKeysetLarge",
            f"{_of('roadstead_keyring_keyset_versions')} > 500",
            "15m",
            Severity.TICKET,
            f"{_NAMED} has {{{{ $value }}}} versions in its keysets",
            "Nothing is dropped, and at 1,500 no version is added: let versions retire (spec.retention, "
            "spec.attestation) before.",
        ),
        Alert(
            "RoadsteadKeyRingKeysetFull",
            f"{_of('roadstead_keyring_keyset_versions')} >= 1500",
            "15m",
            Severity.TICKET,
            f"{_NAMED} is full and does not rotate",
            "Its keysets have {{ $value }} versions, the most that is allowed. Nothing is dropped, and nothing added.",
        ),
        Alert(
            "RoadsteadKeyRingVersionReturned",
            f"{_of('roadstead_keyring_returned_versions')} > 0",
            "5m",
            Severity.TICKET,
            f"{_NAMED}: {{{{ $value }}}} retired versions are handed out again",
            "Data was met that nothing should have needed any more: the retention is shorter than the data's life, or "
            "an inventory was wrong.",
        ),
        Alert(
            "RoadsteadKeyUnknownVersion",
            "sum by (namespace, job) (increase(chat_key_unknown_version_decrypts_total[15m])) > 0",
            "0s",
            Severity.PAGE,
            "{{ $labels.job }} meets ciphertexts that no key here reads",
            "A workload was asked for data of a version that is in no keyset of its region. That data cannot be read "
            "until the version is handed out again.",
        ),
    ),
)

OPERATOR: Final = Group(
    "roadstead-operator",
    (
        Alert(
            "RoadsteadNoLeader",
            "absent((leader_election_master_status == 1) and on (job, instance) roadstead_event_loop_lag_seconds)",
            "5m",
            Severity.PAGE,
            "No replica of the operator leads",
            "Nothing is reconciled, and nothing else that is told of the operator can be relied upon. What runs in the "
            "regions goes on.",
        ),
        Alert(
            "RoadsteadClockSkew",
            "max by (cluster) (abs(roadstead_clock_ahead_seconds)) > 5",
            "10m",
            Severity.TICKET,
            "The operator's clock and that of cluster {{ $labels.cluster }} differ by {{ $value | humanizeDuration }}",
            "From 30 s on rings of keys stand still.",
        ),
    ),
)

GROUPS: Final = (OPERATOR, KEYS)


def alerts() -> tuple[Alert, ...]:
    """Every alert there is."""
    return tuple(alert for group in GROUPS for alert in group.alerts)


def rule_file() -> dict[str, Any]:
    """The content of a rule file."""
    return {"groups": [{"name": group.name, "rules": [alert.rule() for alert in group.alerts]} for group in GROUPS]}
