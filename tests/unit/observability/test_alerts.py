"""Every alert fires when it should and is quiet when it should, as Prometheus' own rule tester sees it.

Time begins at 0.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from localkube import binaries
from roadstead.api.conditions import Reason
from roadstead.kernel.metrics import Metrics
from roadstead.keys.gauges import FAMILIES
from roadstead.observability.alerts import RUNBOOKS, alerts
from roadstead.observability.rules import FILE

ROOT = Path(__file__).resolve().parents[3]
RUNBOOK_FOLDER = ROOT / RUNBOOKS
ALERTS = {alert.name: alert for alert in alerts()}
RING = {"roadstead_namespace": "chat", "ring": "vault"}
MINUTES_A_STEP = 5
"""As long as Prometheus takes a sample for the present one."""
STEPS_AN_HOUR = 12
ALL_ALONG = "xALL"
HOUR = 3600
PERIOD = 72 * HOUR
ROTATION = 3 * HOUR + 600
"""Lead, soak and jitter by default."""


def series(metric: str, value: object, *more: str, **labels: str) -> tuple[str, str]:
    """A series that has one value all along, or the values that are given in promtool's notation."""
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{metric}{{{inside}}}", " ".join(map(str, (value, *more))) if more else f"{value}{ALL_ALONG}"


def of_ring(metric: str, value: object, *more: str, **labels: str) -> tuple[str, str]:
    return series(f"roadstead_keyring_{metric}", value, *more, **RING, **labels)


def steps(*moments: tuple[int, int]) -> tuple[str, str]:
    """The primary's moment over time: pairs of (hours at which it is seen, hours at which it came)."""
    values, ends = [], [*(seen for seen, _ in moments[1:]), 30 * 24]
    for (seen, came), end in zip(moments, ends, strict=True):
        values.append(f"{came * HOUR}x{(end - seen) * STEPS_AN_HOUR - 1}")
    return of_ring("primary_timestamp_seconds", values[0], *values[1:], "_")


LEADER = (
    series("leader_election_master_status", 1, name="l", job="o", instance="a"),
    series("leader_election_master_status", 0, name="l", job="o", instance="b"),
    series("roadstead_event_loop_lag_seconds", 0, job="o", instance="a"),
    series("roadstead_event_loop_lag_seconds", 0, job="o", instance="b"),
)
SCHEDULE = (of_ring("period_seconds", PERIOD), of_ring("rotation_seconds", ROTATION), of_ring("suspended", 0))
OLD = (*LEADER, of_ring("primary_timestamp_seconds", 0), *SCHEDULE)


def waits(reason: str, region: str = "sgp", since: int = 0) -> tuple[tuple[str, str], ...]:
    return (*LEADER, of_ring("wait_timestamp_seconds", since, region=region, reason=reason))


@dataclass(frozen=True)
class Case:
    """What is scraped, and which alerts fire at a moment."""

    about: str
    scraped: tuple[tuple[str, str], ...]
    at: str
    fires: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: RING)
    value: str = ""


AGEING, OVERDUE = "RoadsteadKeyRingPrimaryAgeing", "RoadsteadKeyRingPrimaryOverdue"
WAITING = {**RING, "region": "sgp"}
CASES = (
    Case("a primary of less than 1.25 periods", OLD, "89h55m"),
    Case("a primary of 1.25 periods", OLD, "90h20m", (AGEING,), value="3d 18h 20m 0s"),
    Case("a primary of less than two periods", OLD, "143h50m", (AGEING,), value="5d 23h 50m 0s"),
    Case("a primary of two periods", OLD, "144h20m", (OVERDUE, AGEING), value="6d 0h 20m 0s"),
    Case(
        "a primary of two periods, while the schedule is suspended",
        (*OLD[:-1], of_ring("suspended", 1)),
        "150h",
        (AGEING,),
        value="6d 6h 0m 0s",
    ),
    Case(
        "a schedule that was resumed an hour ago",
        (*OLD[:-1], of_ring("suspended", f"1x{150 * STEPS_AN_HOUR - 1}", "0x2000")),
        "151h",
        (AGEING,),
        value="6d 7h 0m 0s",
    ),
    Case(
        "a schedule that was resumed more than a day ago, and nothing came of it",
        (*OLD[:-1], of_ring("suspended", f"1x{150 * STEPS_AN_HOUR - 1}", "0x2000")),
        "175h",
        (OVERDUE, AGEING),
        value="7d 7h 0m 0s",
    ),
    Case(
        "a ring with a lead of more than half its period, which rotates as it should",
        (
            *LEADER,
            of_ring("primary_timestamp_seconds", 0),
            of_ring("period_seconds", HOUR),
            of_ring("rotation_seconds", 40 * 60),
            of_ring("suspended", 0),
        ),
        "95m",
    ),
    Case(
        "the same, when it should have",
        (
            *LEADER,
            of_ring("primary_timestamp_seconds", 0),
            of_ring("period_seconds", HOUR),
            of_ring("rotation_seconds", 40 * 60),
            of_ring("suspended", 0),
        ),
        "110m",
        (AGEING,),
        value="1h 50m 0s",
    ),
    Case(
        "a period that was made shorter an hour ago",
        (
            *OLD[:-3],
            of_ring("period_seconds", f"{30 * 24 * HOUR}x{120 * STEPS_AN_HOUR - 1}", f"{PERIOD}x2000"),
            *OLD[-2:],
        ),
        "121h",
    ),
    Case(
        "half a month of rotations, each with its barriers, some an hour late",
        (*LEADER, steps((0, 0), (75, 74), (148, 147), (220, 219), (292, 291), (364, 363)), *SCHEDULE),
        "400h",
    ),
    Case(
        "scrapes that fail for a day",
        (
            *LEADER,
            steps((0, 0), (75, 74)),
            *SCHEDULE[:1],
            of_ring("rotation_seconds", f"{ROTATION}x300", "_x288", f"{ROTATION}x900"),
        ),
        "120h",
    ),
    Case(
        "a standby that shows an older primary",
        (
            *LEADER,
            of_ring("primary_timestamp_seconds", 0, instance="b"),
            of_ring("primary_timestamp_seconds", 74 * HOUR, instance="a"),
            *SCHEDULE,
        ),
        "100h",
    ),
    Case("a ring that was made just now", (*LEADER, of_ring("keyset_versions", 0)), "10m"),
    Case(
        "a ring that never gets a version",
        (*LEADER, of_ring("keyset_versions", 0)),
        "30m",
        ("RoadsteadKeyRingWithoutPrimary",),
    ),
    Case(
        "a ring that is suspended from the beginning",
        (*LEADER, of_ring("keyset_versions", 0), of_ring("suspended", 1)),
        "30m",
    ),
    Case("pods that are slow", waits("NotProved"), "14m"),
    Case(
        "pods that do not prove that they read a version",
        waits("NotProved"),
        "20m",
        ("RoadsteadKeyRingAcknowledgementLate",),
        {**WAITING, "reason": "NotProved"},
        "20m 0s",
    ),
    Case(
        "pods that do not prove that they write with a version",
        waits("OldPrimaryInUse"),
        "30m",
        ("RoadsteadKeyRingAcknowledgementLate",),
        {**WAITING, "reason": "OldPrimaryInUse"},
        "30m 0s",
    ),
    Case(
        "a rotation every hour, each waiting for 10 minutes",
        (
            *LEADER,
            of_ring(
                "wait_timestamp_seconds",
                *(f"{hour * HOUR}x1 _x9" for hour in range(48)),
                region="sgp",
                reason="NotProved",
            ),
        ),
        "47h",
    ),
    Case("a version that waits for its lead", waits("Lead", ""), "3h"),
    Case("a version that soaks", waits("Soak", ""), "3h"),
    Case("a region that is away for half an hour", waits("RegionUnreadable"), "30m"),
    Case(
        "a region that is away",
        waits("RegionUnreadable"),
        "70m",
        ("RoadsteadKeyRingRotationBlocked",),
        {**WAITING, "reason": "RegionUnreadable"},
        "1h 10m 0s",
    ),
    Case(
        "a region that does not get its keyset",
        waits("NotDistributed"),
        "70m",
        ("RoadsteadKeyRingRotationBlocked",),
        {**WAITING, "reason": "NotDistributed"},
        "1h 10m 0s",
    ),
    Case("a region that takes part", (*LEADER, of_ring("excluded", 0, region="sgp")), "3h"),
    Case(
        "a region that is excluded",
        (*LEADER, of_ring("excluded", 1, region="sgp")),
        "70m",
        ("RoadsteadKeyRingRegionExcluded",),
        WAITING,
    ),
    Case("data that was compromised today", (*LEADER, of_ring("compromised_timestamp_seconds", 0)), "24h"),
    Case(
        "data that was compromised yesterday",
        (*LEADER, of_ring("compromised_timestamp_seconds", 0)),
        "25h",
        ("RoadsteadKeyRingRewrapLate",),
        value="1d 1h 0m 0s",
    ),
    Case("a keyset that was looked at once before its ledger", waits("LedgerBehind"), "1m"),
    Case(
        "a region with keys that the hub does not know",
        waits("LedgerBehind"),
        "10m",
        ("RoadsteadKeyRingLedgerBehind",),
        {**WAITING, "reason": "LedgerBehind"},
    ),
    Case(
        "a key that is gone from the hub",
        waits("MaterialLost", ""),
        "10m",
        ("RoadsteadKeyRingMaterialLost",),
        {**RING, "reason": "MaterialLost"},
    ),
    Case(
        "clocks that differ",
        waits("ClocksDiffer", ""),
        "10m",
        ("RoadsteadKeyRingClocksDiffer",),
        {**RING, "reason": "ClocksDiffer"},
    ),
    Case("a provider that refuses for some minutes", waits("ProviderFailed", ""), "10m"),
    Case(
        "a provider that refuses",
        waits("ProviderFailed", ""),
        "20m",
        ("RoadsteadKeyRingProviderFailed",),
        {**RING, "reason": "ProviderFailed"},
        "20m 0s",
    ),
    Case(
        "a key-encryption key of less than 1.25 periods",
        (*LEADER, of_ring("kek_timestamp_seconds", 0), of_ring("kek_period_seconds", PERIOD)),
        "89h50m",
    ),
    Case(
        "a key-encryption key of 1.25 periods",
        (*LEADER, of_ring("kek_timestamp_seconds", 0), of_ring("kek_period_seconds", PERIOD)),
        "90h30m",
        ("RoadsteadKeyRingKekAgeing",),
        value="3d 18h 30m 0s",
    ),
    Case("500 versions", (*LEADER, of_ring("keyset_versions", 500), of_ring("primary_timestamp_seconds", 0)), "1h"),
    Case(
        "501 versions",
        (*LEADER, of_ring("keyset_versions", 501), of_ring("primary_timestamp_seconds", 0)),
        "1h",
        ("RoadsteadKeyRingKeysetLarge",),
        value="501",
    ),
    Case(
        "1,500 versions",
        (*LEADER, of_ring("keyset_versions", 1500), of_ring("primary_timestamp_seconds", 0)),
        "1h",
        ("RoadsteadKeyRingKeysetFull", "RoadsteadKeyRingKeysetLarge"),
        value="1500",
    ),
    Case("nothing that was retired is needed", (*LEADER, of_ring("returned_versions", 0)), "1h"),
    Case(
        "a retired version that is handed out again",
        (*LEADER, of_ring("returned_versions", 1)),
        "1h",
        ("RoadsteadKeyRingVersionReturned",),
        value="1",
    ),
    Case(
        "workloads that read all they are asked for",
        (*LEADER, series("chat_key_unknown_version_decrypts_total", 0, job="chat", namespace="chat", instance="c")),
        "1h",
    ),
    Case(
        "a workload that meets a version that it does not have",
        (
            *LEADER,
            series(
                "chat_key_unknown_version_decrypts_total", "0x11", "1x40", job="chat", namespace="chat", instance="c"
            ),
        ),
        "62m",
        ("RoadsteadKeyUnknownVersion",),
        {"job": "chat", "namespace": "chat"},
    ),
    Case(
        "the same, half an hour later",
        (
            *LEADER,
            series(
                "chat_key_unknown_version_decrypts_total", "0x11", "1x40", job="chat", namespace="chat", instance="c"
            ),
        ),
        "90m",
    ),
    Case("an operator that nobody scrapes", (), "10m", ("RoadsteadNoLeader",), {}),
    Case(
        "only standbys, while another operator has a leader",
        (*LEADER[1:], series("leader_election_master_status", 1, name="other", job="x", instance="x")),
        "10m",
        ("RoadsteadNoLeader",),
        {},
    ),
    Case("another replica takes the lead", LEADER, "10m"),
    Case("clocks that agree", (*LEADER, series("roadstead_clock_ahead_seconds", 4, cluster="hub")), "1h"),
    Case(
        "a clock that is behind",
        (*LEADER, series("roadstead_clock_ahead_seconds", -6, cluster="hub")),
        "1h",
        ("RoadsteadClockSkew",),
        {"cluster": "hub"},
        "6s",
    ),
)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(binaries.path("promtool")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(ROOT / FILE))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_the_alerts_fire_and_no_others(case: Case, tmp_path: Path) -> None:
    firing = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in case.fires]
    told = [
        {"eval_time": case.at, "alertname": name, "exp_alerts": [_alert(case, name)] if name in case.fires else []}
        for name in ALERTS
    ]
    counted = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": case.at,
        "exp_samples": sorted(firing, key=str),
    }
    passes(case, {"promql_expr_test": [counted], "alert_rule_test": told}, tmp_path)


def passes(case: Case, expected: Mapping[str, Any], folder: Path) -> None:
    """Let promtool compare what comes of a case's series with what is expected."""
    hours = int(case.at.partition("h")[0]) if "h" in case.at else 0
    # No more than the case needs: most of the time goes into series that nobody looks at any more.
    needed = f"x{(hours + 2) * STEPS_AN_HOUR}"
    test = {
        "interval": f"{MINUTES_A_STEP}m",
        "input_series": [
            {"series": name, "values": values.replace(ALL_ALONG, needed)} for name, values in case.scraped
        ],
        **expected,
    }
    interval = "10m" if hours > 24 else "5m" if hours else "1m"
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(ROOT / FILE)], "evaluation_interval": interval, "tests": [test]})
    )
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def _alert(case: Case, name: str) -> dict[str, Any]:
    alert = ALERTS[name]
    annotations = alert.rule()["annotations"]
    return {
        "exp_labels": {"severity": alert.severity.value, **case.labels},
        "exp_annotations": {key: _filled(text, case) for key, text in annotations.items()},
    }


def _filled(template: str, case: Case) -> str:
    """What Prometheus makes of a template of ours."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: case.labels.get(match[1], ""), template)
    return re.sub(r"\{\{ \$value(?: \| humanizeDuration)? \}\}", case.value, text)


def test_a_healthy_fortnight_has_no_alert_at_any_moment(tmp_path: Path) -> None:
    """Rotations come and go, by day and night; at no evaluation is anything even pending."""
    case = next(case for case in CASES if case.about.startswith("half a month"))
    ever = {"expr": "count_over_time(ALERTS[400h])", "eval_time": "400h", "exp_samples": []}
    passes(case, {"promql_expr_test": [ever]}, tmp_path)


def test_every_alert_has_fired() -> None:
    assert {name for case in CASES for name in case.fires} == set(ALERTS)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    files = {path.stem for path in RUNBOOK_FOLDER.glob("*.md")} - {"README"}
    assert files == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_whoever_is_called_needs(name: str) -> None:
    text = (RUNBOOK_FOLDER / f"{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    assert headings == [name, "Meaning", "Impact", "Look here", "Mend", "Verify"]
    assert "```sh" in text.partition("## Look here")[2].partition("## Mend")[0]
    assert f"severity **{ALERTS[name].severity}**" in text


def test_the_list_of_runbooks_names_each() -> None:
    listed = re.findall(r"\]\((\w+)\.md\)", (RUNBOOK_FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(ALERTS)


def test_alerts_ask_for_reasons_and_series_that_there_are() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    Metrics(registry)
    ours = {metric.name for metric in registry.collect()} | set(FAMILIES)
    for alert in alerts():
        named = set(re.findall(r"\b((?:roadstead|leader)_[a-z_]+)(?=[{)\[ ])", alert.expression))
        assert named - {"roadstead_namespace"} <= ours, alert.name
        for reasons in re.findall(r'reason=~"([^"]+)"', alert.expression):
            assert set(reasons.split("|")) <= {reason.value for reason in Reason}
