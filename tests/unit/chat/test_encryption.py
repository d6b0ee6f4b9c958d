"""When a service has its keys, when it has proved them, and what is said when it has not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from roadstead.api.chatservice import RegionStage, RolloutPhase
from roadstead.api.conditions import Condition, Reason
from roadstead.api.keyring_names import consumer_label
from roadstead.chat import desired
from roadstead.chat.conditions import Service, Subject, derive
from roadstead.chat.encryption import InRegion, Pods, RingFacts, no_keyset, not_proved, ring_facts
from roadstead.chat.finding import Finding
from roadstead.chat.names import Names
from roadstead.chat.rollout import Decision, RegionState, State
from roadstead.kernel import objects
from unit.chat.services import build, env_of, observed, pod_of, revision, service

NAME = "bank/ring"
RING = {"keyRingRef": {"name": "ring"}}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def facts(primary: int = 7, **found: tuple[int, int]) -> RingFacts:
    return RingFacts(
        NAME, frozenset({"hkg", "sgp"}), primary, {name: InRegion(*counts) for name, counts in found.items()}
    )


def test_what_a_ring_says_is_read_from_its_status() -> None:
    body: dict[str, Any] = {
        "spec": {"regions": ["hkg", "sgp"]},
        "status": {"primary": 7, "regions": [{"name": "hkg", "consumers": 3, "proved": 2}, {"name": "sgp"}]},
    }
    assert ring_facts("bank", "ring", body) == facts(hkg=(3, 2), sgp=(0, 0))
    assert ring_facts("bank", "ring", None) is None
    assert ring_facts("bank", "ring", {"spec": {"regions": ["hkg"]}}) == RingFacts(NAME, frozenset({"hkg"}))


@pytest.mark.parametrize(
    ("ring", "region", "reason", "words"),
    [
        pytest.param(None, "hkg", Reason.KEY_RING_MISSING, ("KeyRing bank/ring", "create it"), id="no ring"),
        pytest.param(
            replace(facts(), sealed=True), "hkg", Reason.NOT_AVAILABLE, ("Encrypted", "Cleartext"), id="a sealed ring"
        ),
        pytest.param(
            facts(), "lon", Reason.REGION_NOT_IN_RING, ("(hkg, sgp)", "add lon there"), id="a ring without the region"
        ),
    ],
)
def test_a_region_that_can_have_no_keyset_is_told_why(
    ring: RingFacts | None, region: str, reason: Reason, words: tuple[str, ...]
) -> None:
    finding = no_keyset(NAME, ring, region)
    assert finding is not None
    assert finding.reason is reason
    assert all(word in finding.message for word in words)
    assert not_proved(NAME, ring, [Pods(region, 0, 0)]) == finding, "also where no pods are wanted"


@pytest.mark.parametrize(
    ("ring", "pods", "said"),
    [
        pytest.param(facts(hkg=(2, 2)), [Pods("hkg", 2, 2)], "", id="all have proved"),
        pytest.param(facts(hkg=(5, 5)), [Pods("hkg", 2, 2)], "", id="others use the ring, too"),
        pytest.param(facts(hkg=(2, 1)), [Pods("hkg", 2, 2)], "region hkg: 1 of 2 pods", id="one has not"),
        pytest.param(facts(hkg=(1, 1)), [Pods("hkg", 2, 2)], "region hkg: 1 of 2 pods", id="one was not counted yet"),
        pytest.param(facts(), [Pods("hkg", 2, 2)], "region hkg: 0 of 2 pods", id="the ring has not looked there yet"),
        pytest.param(facts(), [Pods("hkg", 0, 0)], "", id="no pods are wanted"),
        pytest.param(facts(0), [Pods("hkg", 2, 2)], "no version to write with yet", id="a ring without a primary"),
        pytest.param(
            facts(hkg=(1, 0), sgp=(1, 0)),
            [Pods("hkg", 1, 1), Pods("sgp", 1, 1)],
            "region sgp: 0 of 1 pods",
            id="each region that has not is named",
        ),
    ],
)
def test_a_service_has_proved_when_all_of_its_pods_have(ring: RingFacts, pods: list[Pods], said: str) -> None:
    finding = not_proved(NAME, ring, pods)
    assert (finding is None) == (not said)
    assert finding is None or (finding.reason is Reason.NOT_PROVED and said in finding.message)


def condition(encrypted: Finding | None, type_: str, *, ready: bool = True) -> Condition | None:
    settled = {"hkg": RegionState("r1", RegionStage.SETTLED, NOW)}
    state = State(target="r1", good="r1", phase=RolloutPhase.COMPLETE, regions=settled)
    subject = Subject("hkg", None if ready else Reason.PROGRESSING, "" if ready else "region hkg: 0 of 2", ready=ready)
    found = Service([subject], {}, Decision(state), False, (), 1, encrypted)
    return next((entry for entry in derive(found, (), NOW) if entry.type == type_), None)


def test_a_service_is_not_ready_before_its_pods_have_proved() -> None:
    waits = Finding(Reason.NOT_PROVED, "region hkg: 1 of 2 pods have proved")
    ready = condition(waits, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason, ready.message) == ("False", "NotProved", waits.message)
    encrypted = condition(waits, "Encrypted")
    assert encrypted is not None
    assert encrypted.status == "False"
    proved = Finding(Reason.PROVED, "every pod has")
    assert [entry.status for what in ("Ready", "Encrypted") if (entry := condition(proved, what))] == ["True", "True"]


def test_a_service_without_encryption_says_nothing_of_it() -> None:
    assert condition(None, "Encrypted") is None


def test_what_keeps_pods_comes_before_what_they_have_not_proved() -> None:
    ready = condition(Finding(Reason.NOT_PROVED, "region hkg: 0 of 2"), "Ready", ready=False)
    assert ready is not None
    assert ready.reason == "Progressing"


def test_pods_have_the_keyset_of_their_region_and_a_token_for_one_config_map() -> None:
    children = build(service(encryption=RING))
    pod = pod_of(children)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["keys"]["secret"]["secretName"] == "ring.hkg.keyset"
    assert volumes["rewrap"]["secret"] | {"defaultMode": 0} == {
        "secretName": "ring.hkg.rewrap",
        "optional": True,
        "defaultMode": 0,
    }
    env = env_of(children)
    assert env["POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert env["CHAT_KEYS_RECEIPTS"] == "ring.hkg.receipts"
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert (mounts["keys"], mounts["rewrap"]) == (env["CHAT_KEYS_DIR"], env["CHAT_KEYS_REWRAP_DIR"])
    assert pod["automountServiceAccountToken"] is False, "the token is mounted where it is needed, and bound to it"
    (rule,) = children["Role/desk-hkg-keys"].body["rules"]
    assert rule == {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": ["ring.hkg.receipts"],
        "verbs": ["patch"],
    }
    binding = children["RoleBinding/desk-hkg-keys"].body
    assert [subject["name"] for subject in binding["subjects"]] == [pod["serviceAccountName"]]


def test_the_ring_knows_the_pods_and_the_selector_stays() -> None:
    workload = build(service(encryption=RING))["Deployment/desk-hkg"].body["spec"]
    assert workload["template"]["metadata"]["labels"][consumer_label("ring")] == "hkg"
    assert consumer_label("ring") not in workload["selector"]["matchLabels"]


def test_without_encryption_nothing_of_it_is_there() -> None:
    children = build(service())
    assert not {key for key in children if key.startswith("Role")}
    assert "POD_UID" not in env_of(children)
    assert {volume["name"] for volume in pod_of(children)["volumes"]} == {"tls", "tmp", "data"}


def test_a_region_without_a_keyset_is_left_as_it_is() -> None:
    of, fault = service(encryption=RING), Finding(Reason.REGION_NOT_IN_RING, "no")
    assert desired.missing(revision(of), observed(no_keyset=fault), "bank") == fault
    plain = revision(service())
    assert desired.missing(plain, observed(no_keyset=fault), "bank") is None, "pods of a revision before it need none"


def test_what_may_be_looked_for_by_name_includes_the_rights() -> None:
    found = desired.possible(Names("desk", "hkg", "bank"), (), ())
    assert {(objects.ROLES, "desk-hkg-keys"), (objects.ROLE_BINDINGS, "desk-hkg-keys")} <= set(found)
