"""What is said of a ring in its status, its conditions, and the operator's metrics."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from roadstead.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from roadstead.api.keyring import KekProviderKind, KeyRing, KeyRingStatus
from roadstead.api.keyversion import KeyPhase
from roadstead.api.parse import dump, parse
from roadstead.keys.decide import target
from roadstead.keys.kek import Kek
from roadstead.keys.kek_rotation import KekState
from roadstead.keys.status import Facts, RegionFacts, deleting, derive, invalid
from roadstead.keys.steps import Decision, Wait
from roadstead.keys.stored import KekIntent
from roadstead.keys.versions import Version

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


RING = {
    "apiVersion": "roadstead.dev/v1alpha1",
    "kind": "KeyRing",
    "metadata": {"name": "ring", "namespace": "chat", "generation": 4},
    "spec": {"regions": ["hkg", "sgp"], "distribution": "Cleartext"},
}


def ring() -> KeyRing:
    return parse("KeyRing", RING)


def version(number: int, phase: KeyPhase) -> Version:
    return Version(number, phase, NOON - timedelta(days=1), fingerprint=f"{number:032x}")


def with_status(status: KeyRingStatus) -> KeyRing:
    return ring().model_copy(update={"status": parse("KeyRing", {**RING, "status": dump(status)}).status})


PRIMARY = version(1, KeyPhase.PRIMARY)
COMING = version(2, KeyPhase.PUBLISHED)


def facts(*versions: Version, waits: tuple[Wait, ...] = (), problem: Wait | None = None, **of: RegionFacts) -> Facts:
    versions = versions or (PRIMARY,)
    keyset = target(versions)
    regions = {name: RegionFacts(name, wanted=True, keyset=keyset, generation=3) for name in ("hkg", "sgp")} | of
    return Facts(
        ring(), "r0123456789ab", versions, Decision(waits=waits), tuple(regions.values()), None, problem=problem
    )


def condition(status: KeyRingStatus, type_: ConditionType) -> tuple[bool, str]:
    found = find_condition(status.conditions, type_)
    assert found is not None
    return found.status is ConditionStatus.TRUE, found.reason


def told(status: KeyRingStatus) -> dict[str, tuple[bool, str]]:
    types = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
    return {type_.value: condition(status, type_) for type_ in types}


def test_at_rest() -> None:
    status = derive(facts(), NOON)
    assert told(status) == {
        "Ready": (True, "Ready"),
        "Reconciling": (False, "Ready"),
        "Stalled": (False, "NotStalled"),
    }
    assert (status.phase, status.primary, status.coming, status.blocked_by) == ("Idle", 1, 0, "")
    assert (status.observed_generation, status.ring_id, status.versions) == (4, "r0123456789ab", 1)


@pytest.mark.parametrize(
    ("reason", "phase", "ready", "working", "stalled"),
    [
        (Reason.NOT_PROVED, "Rotating", True, True, False),
        (Reason.OLD_PRIMARY_IN_USE, "Rotating", True, True, False),
        (Reason.LEAD, "Rotating", True, True, False),
        (Reason.REGION_UNREADABLE, "Blocked", True, True, False),
        (Reason.CLOCKS_DIFFER, "Blocked", True, False, True),
        (Reason.LEDGER_BEHIND, "Blocked", True, False, True),
        (Reason.MATERIAL_LOST, "Blocked", True, False, True),
        (Reason.PROVIDER_FAILED, "Blocked", True, False, True),
    ],
)
def test_a_rotation_that_waits_says_for_what_and_takes_nothing_away(
    reason: Reason, phase: str, ready: bool, working: bool, stalled: bool
) -> None:
    status = derive(facts(PRIMARY, COMING, waits=(Wait(reason, "words", "sgp"),)), NOON)
    assert status.phase == phase
    assert (status.primary, status.coming) == (1, 2)
    assert status.blocked_by == f"{reason}: sgp"
    assert {name: holds for name, (holds, _) in told(status).items()} == {
        "Ready": ready,
        "Reconciling": working,
        "Stalled": stalled,
    }
    assert [(region.name, region.message) for region in status.regions] == [("hkg", ""), ("sgp", "words")]


def test_what_needs_somebody_is_named_before_what_passes() -> None:
    waits = (Wait(Reason.LEAD, "until then", until=NOON), Wait(Reason.NOT_PROVED, "a pod", "hkg"))
    assert derive(facts(PRIMARY, COMING, waits=waits), NOON).blocked_by == "NotProved: hkg"
    more = (*waits, Wait(Reason.MATERIAL_LOST, "gone"))
    assert derive(facts(PRIMARY, COMING, waits=more), NOON).blocked_by == "MaterialLost"
    problem = Wait(Reason.PROVIDER_FAILED, "the KEK is gone")
    status = derive(facts(PRIMARY, COMING, waits=more, problem=problem), NOON)
    assert told(status)["Stalled"] == (True, "ProviderFailed")


def test_before_the_first_version_nobody_can_write() -> None:
    status = derive(facts(version(1, KeyPhase.STAGED)), NOON)
    assert status.phase == "Pending"
    assert told(status)["Ready"] == (False, "Progressing")


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        (RegionFacts("sgp", True, None, problem="away", reason=Reason.REGION_UNREACHABLE), "RegionUnreachable"),
        (RegionFacts("sgp", True, target([COMING])), "NotDistributed"),
    ],
)
def test_a_region_that_cannot_use_the_primary_makes_it_not_ready(region: RegionFacts, reason: str) -> None:
    status = derive(facts(sgp=region), NOON)
    assert told(status)["Ready"] == (False, reason)
    assert told(status)["Reconciling"][0]


def test_a_region_that_is_being_left_is_no_reason() -> None:
    left = RegionFacts("sgp", wanted=False, keyset=target([COMING]))
    status = derive(facts(sgp=left), NOON)
    assert told(status)["Ready"][0]
    assert "does not name it any more" in status.regions[1].message


def test_until_the_keysets_are_written_it_is_not_at_rest() -> None:
    behind = RegionFacts("sgp", wanted=True, keyset=replace(target([PRIMARY]), primary=0))
    assert derive(facts(sgp=behind), NOON).phase == "Rotating"


def test_it_says_what_versions_are_wrapped_with() -> None:
    assert derive(facts(), NOON).kek is None
    intent = KekIntent(2, "0123456789abcdef", KekProviderKind.PKCS11, NOON - timedelta(days=1))
    said = {
        "generation": 2,
        "operation": "0123456789abcdef",
        "provider": "PKCS11",
        "since": "2026-02-28T12:00:00Z",
        "nextRotation": "2026-05-29T12:00:00Z",
        "wrapped": 1,
        "stored": 3,
    }
    state = KekState(intent, None, NOON + timedelta(days=89), 1, 3)
    assert dump(derive(replace(facts(), kek=state), NOON))["kek"] == said
    kek = Kek(intent.name("r0123456789ab"), "ab" * 16)
    told_of = dump(derive(replace(facts(), kek=replace(state, kek=kek)), NOON))["kek"]
    assert told_of == {**said, "fingerprint": "ab" * 16}


def test_deletion_and_a_bad_spec_keep_what_is_known() -> None:
    known = derive(facts(), NOON)
    held = deleting(known, {"hkg": "region hkg: 1 pods use the ring"}, 5, NOON)
    assert condition(held, ConditionType.DELETING) == (True, "DeletionBlocked")
    assert [region.message for region in held.regions] == ["region hkg: 1 pods use the ring", ""]
    bad = invalid(known, "spec.lead is 1x", 5, NOON)
    assert told(bad)["Stalled"] == (True, "InvalidSpec")
    assert (bad.primary, bad.regions, bad.observed_generation) == (known.primary, known.regions, 5)


def test_a_wait_says_since_when_until_it_ends() -> None:
    wait = Wait(Reason.NOT_PROVED, "words", "sgp")
    first = derive(facts(PRIMARY, COMING, waits=(wait, replace(wait, message="the same again"))), NOON)
    assert [(w.reason, w.region, w.since, w.message) for w in first.waits] == [("NotProved", "sgp", NOON, "words")]
    later = NOON + timedelta(minutes=20)
    known = replace(facts(PRIMARY, COMING, waits=(replace(wait, region="hkg"), wait)), ring=with_status(first))
    second = derive(known, later)
    assert [(w.region, w.since) for w in second.waits] == [("hkg", later), ("sgp", NOON)]
    assert derive(replace(facts(), ring=with_status(second)), later).waits == ()
    for over in (deleting(second, {}, 5, later), invalid(second, "spec.lead is 1x", 5, later)):
        assert over.waits == ()


def test_it_says_what_each_region_holds_and_has_proved() -> None:
    keyset = target((PRIMARY, COMING))
    here = RegionFacts("hkg", wanted=True, keyset=keyset, reads=frozenset({1, 2}), writes=1)
    status = derive(facts(PRIMARY, COMING, hkg=here), NOON)
    assert [(r.versions, r.reads, r.writes) for r in status.regions] == [("1-2", "1-2", 1), ("1-2", "", 0)]
