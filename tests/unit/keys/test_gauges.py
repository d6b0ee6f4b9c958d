"""What a scrape shows of rings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

import api_key_cases
from roadstead.kernel.resources import ResourceStore
from roadstead.keys.collector import RingCollector
from roadstead.keys.gauges import FAMILIES, entry_of, samples

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = 86400


def moment(hours: float) -> str:
    return (NOON + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def at(hours: float) -> float:
    return (NOON + timedelta(hours=hours)).timestamp()


STATUS = {
    "ringID": "r0123456789ab",
    "phase": "Rotating",
    "primary": 6,
    "primarySince": moment(-24),
    "nextRotation": moment(45),
    "versions": 3,
    "regions": [{"name": "hkg", "generation": 12, "proved": 1, "consumers": 2}],
    "kek": {
        "generation": 2,
        "operation": "0123456789abcdef",
        "since": moment(-100),
        "wrapped": 5,
        "stored": 7,
    },
    "waits": [{"reason": "NotProved", "region": "hkg", "since": moment(-0.5), "message": "words"}],
}


def ring(name: str = "chat", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    body = api_key_cases.ring(
        name, "bank", **{f"spec.{path.replace('__', '.')}": value for path, value in spec.items()}
    )
    body["metadata"] |= {"uid": name, "resourceVersion": "1"}
    return body | {"status": STATUS if status is None else status}


def version(number: int, phase: str, hours: float = 0, **status: Any) -> dict[str, Any]:
    body = api_key_cases.key_version("bank", **{"spec.number": number, "metadata.name": f"chat-v{number}"})
    body["metadata"] |= {"uid": f"v{number}", "resourceVersion": "1"}
    body["status"] = {"phase": phase, "since": moment(hours), **status}
    return body


def shown(rings: list[dict[str, Any]], *versions: dict[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels, value in samples(rings, map(entry_of, versions), NOON):
        assert len(labels) == len(FAMILIES[name][1])
        assert labels not in found.setdefault(name, {})
        found[name][labels] = value
    return found


def of(found: dict[str, dict[tuple[str, ...], float]], name: str, *labels: str) -> float | None:
    return found.get(f"roadstead_keyring_{name}", {}).get(("bank", "chat", *labels))


def test_a_ring_is_shown() -> None:
    found = shown([ring(retention="90d")], version(5, "Draining", -48), version(6, "Primary"), version(7, "Published"))
    assert found["roadstead_keyrings"] == {("Rotating",): 1}
    assert of(found, "primary_timestamp_seconds") == at(-24)
    assert of(found, "next_rotation_timestamp_seconds") == at(45)
    assert of(found, "period_seconds") == 3 * DAY
    assert of(found, "rotation_seconds") == 2 * 3600 + 600 + 3600
    assert of(found, "suspended") == 0
    assert of(found, "keyset_versions") == 3
    assert of(found, "versions", "Draining") == 1
    assert of(found, "wait_timestamp_seconds", "hkg", "NotProved") == at(-0.5)
    assert of(found, "generation", "hkg") == 12
    assert (of(found, "pods", "hkg"), of(found, "proved_pods", "hkg")) == (2, 1)
    assert of(found, "retirement_timestamp_seconds") == at(-48) + 90 * DAY
    assert of(found, "returned_versions") == 0
    assert of(found, "kek_timestamp_seconds") == at(-100)
    assert of(found, "kek_period_seconds") == 90 * DAY
    assert of(found, "kek_rewraps_remaining") == 2


def test_a_ring_that_nobody_has_looked_at_says_little() -> None:
    found = shown([ring(status={})])
    assert found["roadstead_keyrings"] == {("Pending",): 1}
    assert of(found, "keyset_versions") == 0
    for absent in ("primary_timestamp_seconds", "next_rotation_timestamp_seconds", "retirement_timestamp_seconds"):
        assert of(found, absent) is None


def test_the_period_of_a_calendar_is_the_time_between_the_slots_around_the_primary() -> None:
    schedule = {"cron": {"schedule": "0 3 * * 1,4", "timeZone": "UTC"}, "state": "Suspended"}
    found = shown([ring(schedule=schedule)])  # 22 November 2026 is a Sunday: from Thursday to Monday
    assert of(found, "period_seconds") == 4 * DAY
    assert of(found, "suspended") == 1


def test_a_spec_that_cannot_be_read_hides_its_schedule_and_nothing_else() -> None:
    found = shown([ring(lead="soon")], version(6, "Primary"))
    assert of(found, "primary_timestamp_seconds") == at(-24)
    assert of(found, "versions", "Primary") == 1
    assert of(found, "period_seconds") is None


def test_a_retired_version_that_is_handed_out_again_is_counted() -> None:
    back = version(1, "Retired", returned=True)
    assert of(shown([ring()], back, version(2, "Retired"), version(3, "Draining", since="?")), "returned_versions") == 1


def test_the_end_of_versions_is_shown() -> None:
    found = shown(
        [ring()],
        version(1, "Removed", -900),
        version(2, "Retired", -600, returned=True),
        version(3, "Retired", -500),
        version(4, "Compromised", -480, rewrapped=True),
        version(5, "Compromised", -100),
        version(6, "Primary"),
    )
    assert of(found, "removal_timestamp_seconds") == at(-500) + 30 * DAY
    assert of(found, "compromised_timestamp_seconds") == at(-100)
    assert of(shown([ring()], version(6, "Primary")), "compromised_timestamp_seconds") is None


def test_what_is_to_be_written_anew_is_shown() -> None:
    rewrap = [{"version": 3, "remaining": 5, "silent": 0}, {"version": 5, "remaining": 7, "silent": 2}]
    regions = [{"name": "hkg", "excluded": True}, {"name": "sgp"}]
    found = shown([ring(status=STATUS | {"rewrap": rewrap, "regions": regions})])
    assert (of(found, "rewrap_remaining"), of(found, "rewrap_silent_pods")) == (12, 2)
    assert (of(found, "excluded", "hkg"), of(found, "excluded", "sgp")) == (1, 0)
    assert of(shown([ring()]), "rewrap_remaining") is None, "nobody has said anything, which is not zero"


def test_ledgers_are_told_apart() -> None:
    other = version(9, "Primary")
    other["spec"]["ringID"] = "rzzzzzzzzzzzz"
    elsewhere = version(8, "Primary")
    elsewhere["metadata"]["namespace"] = "other"
    assert of(shown([ring()], other, elsewhere), "versions", "Primary") is None


def test_a_scrape_shows_what_is_there_now() -> None:
    """No series outlives its ring. (Mutant: the versions that are remembered are never forgotten.)"""
    store = ResourceStore(lambda _kind, _body: frozenset())
    registry = CollectorRegistry()
    registry.register(RingCollector(store, lambda: NOON))
    body, entry = ring(), version(6, "Primary")
    for kind, made in (("KeyRing", body), ("KeyVersion", entry)):
        store.upsert(kind, made)
    labels = 'ring="chat",roadstead_namespace="bank"'
    assert f'roadstead_keyring_versions{{phase="Primary",{labels}}} 1.0' in generate_latest(registry).decode()
    later = version(6, "Superseded")
    later["metadata"]["resourceVersion"] = "2"
    store.upsert("KeyVersion", later)
    assert f'roadstead_keyring_versions{{phase="Superseded",{labels}}} 1.0' in generate_latest(registry).decode()
    store.remove("KeyVersion", later)
    text = generate_latest(registry).decode()
    assert "roadstead_keyring_versions{" not in text and f"roadstead_keyring_keyset_versions{{{labels}}}" in text
    store.remove("KeyRing", body)
    assert "bank" not in generate_latest(registry).decode()
