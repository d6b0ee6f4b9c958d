"""Who is refused and who is warned, and in which words."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from api_key_cases import ring
from roadstead.admission.rules import (
    ABANDON_ANNOTATION,
    Operation,
    PlacedService,
    RegionFacts,
    RingFact,
    RingFacts,
    RingUser,
    SecretFact,
    ServiceFacts,
    judge_region,
    judge_ring,
    judge_service,
    needs_services,
    placed_in,
    ring_in,
    user_of,
)
from roadstead.api.parse import parse
from roadstead.api.region import Region

HOME = "roadstead-system"
CERTIFICATE = SecretFact(frozenset({"tls.crt", "tls.key"}))


def region_body(name: str = "hkg", jurisdiction: str = "HK", **more: Any) -> dict[str, Any]:
    spec = {"cluster": {"inCluster": {}}, "jurisdiction": jurisdiction} | more.pop("spec", {})
    metadata = {"name": name} | more.pop("metadata", {})
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Region", "metadata": metadata, "spec": spec, **more}


def region(name: str, jurisdiction: str, **more: Any) -> Region:
    return parse("Region", region_body(name, jurisdiction, **more))


REGIONS: Mapping[str, Region] = {
    "hkg": region("hkg", "HK"),
    "sin": region("sin", "SG"),
    "sfo": region("sfo", "US-CA"),
    "shut": region("shut", "HK", spec={"scheduling": "Cordoned"}),
    "lost": region("lost", "HK", status={"phase": "Unreachable"}),
    "leaving": region("leaving", "HK", metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}),
}


def chat(*regions: str, residency: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "image": "registry.example/chat:1.4.0",
        "topology": {"mode": "ActiveActive", "regions": [{"name": name} for name in regions or ("hkg", "sin")]},
        "replicas": 2,
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
        "tls": {"secretName": "chat-tls"},
        "config": {"CHAT_TOKEN_PUBLIC_KEYS": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
        **spec,
    }
    if residency:
        body["residency"] = {"jurisdictions": list(residency)}
    metadata = {"name": "chat", "namespace": "bank"}
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "ChatService", "metadata": metadata, "spec": body}


def scaled(**peak: Any) -> dict[str, Any]:
    whole = {"name": "sale", "timeZone": "Asia/Hong_Kong", "schedule": "0 9 11 11 *", "duration": "15h", "replicas": 5}
    return {"maxReplicas": 10, "peaks": [whole | peak]}


FACTS = ServiceFacts(REGIONS, CERTIFICATE)


def test_a_sound_service_is_let_through_without_a_word() -> None:
    verdict = judge_service(chat(), None, FACTS)
    assert not verdict.refusals
    assert not verdict.warnings


@pytest.mark.parametrize(
    ("new", "field", "value", "cure"),
    [
        pytest.param(
            chat("hkg", "sin", residency=("HK",)),
            "spec.topology.regions[1].name",
            "sin",
            "choose a region in HK, or add SG",
            id="a region outside the residency",
        ),
        pytest.param(
            chat("sfo", "hkg", residency=("US-NY", "HK")),
            "spec.topology.regions[0].name",
            "sfo",
            "US-CA",
            id="another state of the same country",
        ),
        pytest.param(
            chat(autoscaling=scaled(timeZone="Asia/Atlantis")),
            "timeZone",
            "Asia/Atlantis",
            "",
            id="a time zone that the world does not have",
        ),
        pytest.param(
            chat(autoscaling=scaled(schedule="0 25 * * *")),
            "schedule",
            "0 25 * * *",
            "",
            id="a schedule in the 25th hour",
        ),
        pytest.param(
            chat(autoscaling=scaled(schedule="0 9 30 2 *")),
            "schedule",
            "0 9 30 2 *",
            "",
            id="a schedule on the 30th of February",
        ),
        pytest.param(
            chat(residency=("UK",)),
            "spec.residency.jurisdictions",
            "UK",
            "",
            id="a code that is no country, which is a typing error across a border",
        ),
    ],
)
def test_a_service_is_refused_with_field_value_and_cure(new: dict[str, Any], field: str, value: str, cure: str) -> None:
    refusals = judge_service(new, None, FACTS).refusals
    assert len(refusals) == 1, refusals
    assert field in refusals[0].field
    assert value in str(refusals[0])
    assert cure in refusals[0].cure
    assert refusals[0].cure


@pytest.mark.parametrize(
    ("new", "facts", "words"),
    [
        pytest.param(
            chat("hkg", "nrt"),
            FACTS,
            ("regions[1].name is nrt", "no Region of that name", "sin"),
            id="a region that does not exist yet, for GitOps may create it a moment later",
        ),
        pytest.param(
            chat("hkg", "nrt"), ServiceFacts({}, CERTIFICATE), ("there are: none yet",), id="a fleet without regions"
        ),
        pytest.param(
            chat("hkg", "shut"), FACTS, ("regions[1].name is shut", "cordoned", "Enabled"), id="a cordoned region"
        ),
        pytest.param(chat("hkg", "lost"), FACTS, ("is lost", "unreachable"), id="an unreachable region"),
        pytest.param(chat("hkg", "leaving"), FACTS, ("is leaving", "being deleted"), id="a region that is going away"),
        pytest.param(
            chat(),
            ServiceFacts(REGIONS, SecretFact(None)),
            ("no Secret bank/chat-tls", "no pod starts"),
            id="a certificate that is not there yet",
        ),
        pytest.param(
            chat(),
            ServiceFacts(REGIONS, SecretFact(frozenset({"tls.crt"}))),
            ("has no tls.key",),
            id="a Secret without the key",
        ),
        pytest.param(
            chat(),
            ServiceFacts(REGIONS, SecretFact(frozenset({"tls.crt", "tls.key"}), "Opaque")),
            ("Secret bank/chat-tls has the type Opaque", "kubectl create secret tls chat-tls"),
            id="a Secret of another type",
        ),
        pytest.param(chat(image="registry.example/chat:latest"), FACTS, ("latest",), id="an image that moves"),
    ],
)
def test_what_is_legal_but_unwise_is_said_and_let_through(
    new: dict[str, Any], facts: ServiceFacts, words: tuple[str, ...]
) -> None:
    verdict = judge_service(new, None, facts)
    assert not verdict.refusals
    said = "\n".join(verdict.warnings)
    assert all(word in said for word in words), said


def edited(body: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**body, "spec": {**body["spec"], **spec}}


OUTSIDE = chat("hkg", "sin", residency=("HK",))
FINE = chat("hkg", residency=("HK",))


@pytest.mark.parametrize(
    ("new", "old", "refused"),
    [
        pytest.param(
            edited(OUTSIDE, image="registry.example/chat:1.4.1"),
            OUTSIDE,
            False,
            id="a fix gets through although a region was outside the residency before",
        ),
        pytest.param(OUTSIDE, FINE, True, id="a region outside the residency is not added"),
        pytest.param(OUTSIDE, chat("hkg", "sin"), True, id="a residency is not set that a region breaks"),
        pytest.param(
            chat("sin", "hkg", residency=("HK",)),
            OUTSIDE,
            False,
            id="an old fault is not held against another order of regions",
        ),
        pytest.param(chat("hkg", "sin", "sfo", residency=("HK",)), OUTSIDE, True, id="an old fault excuses no new one"),
        pytest.param(
            edited(FINE, autoscaling=scaled(timeZone="Asia/Atlantis")),
            FINE,
            True,
            id="an edit brings in a bad time zone",
        ),
        pytest.param(
            {**chat(residency=("UK",)), "metadata": {"name": "chat", "finalizers": []}},
            chat(residency=("UK",)),
            False,
            id="a finalizer is let go of although the stored spec is bad",
        ),
        pytest.param(chat(), chat(residency=("UK",)), False, id="a bad stored spec is mended"),
    ],
)
def test_an_edit_is_judged_by_what_it_makes_worse(new: dict[str, Any], old: dict[str, Any], refused: bool) -> None:
    assert bool(judge_service(new, old, FACTS).refusals) is refused


def serving(*regions: str, of: dict[str, Any], phase: str = "Ready", ready: int = 2) -> dict[str, Any]:
    """A service as the operator has left it."""
    entries = [{"name": name, "phase": phase, "readyReplicas": ready, "stage": "Settled"} for name in regions]
    others = [{"name": name} for name in ("hkg", "sin", "sfo") if name not in regions]
    return {**of, "status": {"regions": entries + others}}


def given_up(body: dict[str, Any], names: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "annotations": {ABANDON_ANNOTATION: names}}}


PASSIVE = {"mode": "ActivePassive", "regions": [{"name": "hkg", "role": "Primary"}, {"name": "sin"}]}
ALONE = {"mode": "ActivePassive", "regions": [{"name": "hkg", "role": "Primary"}]}
BOTH = serving("hkg", "sin", of=chat("hkg", "sin"))


@pytest.mark.parametrize(
    ("new", "old", "words"),
    [
        pytest.param(
            chat("hgk", "sin"),
            BOTH,
            ("spec.topology.regions[0].name is hgk", "there are: hkg, ", "while hkg is taken out", "abandon=hkg"),
            id="a misspelt region beside one that serves",
        ),
        pytest.param(
            chat("sin", "hgk"),
            serving("hkg", "sin", of=chat("hkg", "sin"), ready=0),
            ("regions[1].name is hgk", "while hkg is taken out"),
            id="a misspelt region, of a service that has no ready pod anywhere but may have volumes",
        ),
        pytest.param(
            chat("sin"),
            serving("hkg", of=chat("hkg")),
            (
                "regions is sin",
                "not hkg any more",
                "keep hkg until another region that stays is reachable and has ready pods",
                "abandon=hkg",
            ),
            id="a move in one step",
        ),
        pytest.param(
            chat("sin"),
            serving("hkg", of=chat("hkg", "sin")),
            ("not hkg any more",),
            id="the second step of a move before the first is done",
        ),
        pytest.param(
            chat(topology={"mode": "ActiveActive", "regions": [{"name": "sin", "replicas": 0}]}),
            BOTH,
            ("not hkg any more",),
            id="the other region loses its pods in the same edit",
        ),
        pytest.param(
            chat("sin", replicas=0), BOTH, ("not hkg any more",), id="the other region loses them with the service"
        ),
        pytest.param(
            chat("hgk"),
            serving("hkg", of=chat("hkg")),
            ("no Region of that name",),
            id="a misspelt region, the only one",
        ),
        pytest.param(
            chat("sin", "gone"),
            serving("hkg", "gone", of=chat("hkg", "sin", "gone")),
            ("is sin, gone, where no pod would be ready",),
            id="the other region's Region was deleted, so nothing newer is known of it",
        ),
        pytest.param(
            chat("sin", residency=("HK",)),
            {**BOTH, "spec": chat("hkg", "sin", residency=("HK",))["spec"]},
            ("is sin, where no pod would be ready",),
            id="the other region is refused, and was before",
        ),
        pytest.param(
            chat(topology=ALONE),
            serving("sin", of=chat(topology=PASSIVE)),
            ("not sin any more",),
            id="the last standby, while the primary has no pod",
        ),
        pytest.param(
            chat("sfo"), given_up(BOTH, "hkg,sin"), ("not hkg, sin any more",), id="given up before, but not any more"
        ),
        pytest.param(given_up(chat("sfo"), "hkg"), BOTH, ("not sin any more",), id="one of two is given up"),
    ],
)
def test_what_serves_is_not_taken_away_before_something_else_does(
    new: dict[str, Any], old: dict[str, Any], words: tuple[str, ...]
) -> None:
    [refusal] = judge_service(new, old, FACTS).refusals
    assert all(word in str(refusal) for word in words), refusal


@pytest.mark.parametrize(
    ("new", "old"),
    [
        pytest.param(chat("hkg", "sin", "nrt"), BOTH, id="a region that does not exist yet is added"),
        pytest.param(
            chat("sin", "nrt"),
            serving("hkg", "sin", of=chat("hkg", "sin", "nrt")),
            id="one is taken out beside a name that nobody knew before",
        ),
        pytest.param(
            chat("sin", "nrt"), serving("sin", of=chat("hkg", "sin")), id="one is taken out where nothing was made"
        ),
        pytest.param(
            chat("sin", "nrt"),
            serving("gone", "sin", of=chat("gone", "sin")),
            id="a Region that was deleted is replaced",
        ),
        pytest.param(given_up(chat("nrt"), "hkg, sin"), BOTH, id="all that is taken out is given up"),
        pytest.param(given_up(chat("nrt"), "*"), BOTH, id="everything is given up"),
        pytest.param(chat("sin"), BOTH, id="the second step of a move"),
        pytest.param(
            chat("sin"),
            serving("hkg", of=chat("hkg"), phase="Unreachable"),
            id="a move away from what cannot be reached",
        ),
        pytest.param(
            chat("sin"), serving("hkg", of=chat("hkg"), ready=0), id="a move away from where nothing is ready"
        ),
        pytest.param(
            chat(topology=ALONE),
            serving("hkg", "sin", of=chat(topology=PASSIVE), ready=0),
            id="a standby goes, and no pod is ready anywhere",
        ),
        pytest.param(chat("sin"), serving("gone", of=chat("gone")), id="a move away from a Region that was deleted"),
    ],
)
def test_a_region_is_taken_out_where_nothing_is_lost_by_it(new: dict[str, Any], old: dict[str, Any]) -> None:
    verdict = judge_service(new, old, FACTS)
    assert not verdict.refusals, verdict.message


def test_a_region_that_exists_and_cannot_be_read_is_not_said_to_be_missing() -> None:
    facts = ServiceFacts({**REGIONS, "nrt": None}, CERTIFICATE)
    assert not judge_service(chat("nrt", "sin"), BOTH, facts).refusals


def test_a_region_that_holds_the_service_already_is_not_warned_about() -> None:
    before = chat("hkg", "shut")
    assert not judge_service(edited(before, replicas=3), before, FACTS).warnings


def test_every_problem_is_listed_on_its_own_line() -> None:
    verdict = judge_service(chat("sin", "sfo", residency=("HK",)), None, FACTS)
    assert verdict.message.count("\n") == 1


# --- Regions ----------------------------------------------------------------------------------------------------------


def kubeconfig(**user: Any) -> bytes:
    ca = base64.b64encode(CA.encode()).decode()
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": ca}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
    }
    return json.dumps(config).encode()


def _make_ca() -> str:
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.serialization import Encoding

    from roadstead.admission.certificates import issue_authority

    return issue_authority(datetime.now(UTC)).certificate.public_bytes(Encoding.PEM).decode()


CA = _make_ca()


def member(namespace: str = HOME, name: str = "region-hkg", **more: Any) -> dict[str, Any]:
    return region_body(
        spec={"cluster": {"kubeconfigSecretRef": {"namespace": namespace, "name": name, "key": "kubeconfig"}}} | more
    )


GOOD = SecretFact(frozenset({"kubeconfig"}), value=kubeconfig())
BOUND = PlacedService("bank", "chat", named=True, jurisdictions=("HK",))
FREE = PlacedService("shop", "chat", named=True)


def test_a_sound_member_is_let_through_without_a_word() -> None:
    verdict = judge_region(Operation.CREATE, member(), None, RegionFacts(HOME, {}, (), GOOD))
    assert not verdict.refusals
    assert not verdict.warnings


@pytest.mark.parametrize(
    ("new", "old", "facts", "words"),
    [
        pytest.param(
            member("default"),
            None,
            RegionFacts(HOME),
            ("kubeconfigSecretRef.namespace is default", f"put the Secret into {HOME}"),
            id="a kubeconfig outside the operator's namespace",
        ),
        pytest.param(
            member(),
            None,
            RegionFacts(HOME, kubeconfig=SecretFact(frozenset())),
            ("key is kubeconfig", "add kubeconfig to it"),
            id="an empty Secret",
        ),
        pytest.param(
            member(),
            None,
            RegionFacts(HOME, kubeconfig=SecretFact(frozenset({"config"}))),
            ("key is kubeconfig", "write one that it has (config)"),
            id="a key that the Secret does not have",
        ),
        pytest.param(
            member(),
            None,
            RegionFacts(
                HOME, kubeconfig=SecretFact(frozenset({"kubeconfig"}), value=kubeconfig(exec={"command": "sh"}))
            ),
            ("user.exec", "ServiceAccount"),
            id="a kubeconfig that would run a command",
        ),
        pytest.param(
            member(),
            None,
            RegionFacts(HOME, kubeconfig=SecretFact(frozenset({"kubeconfig"}), value=kubeconfig(tokenFile="/etc/x"))),
            ("user.tokenFile", "put the token itself"),
            id="a kubeconfig that would read a file",
        ),
        pytest.param(
            region_body(jurisdiction="UK"),
            None,
            RegionFacts(HOME),
            ("spec.jurisdiction", "UK"),
            id="a jurisdiction that is no country",
        ),
        pytest.param(
            region_body(jurisdiction="SG"),
            region_body(),
            RegionFacts(HOME, services=(BOUND, FREE)),
            ("spec.jurisdiction is SG", "1 service (bank/chat)", "take this region out"),
            id="a new jurisdiction with services bound to the old one",
        ),
    ],
)
def test_a_region_is_refused_with_field_value_and_cure(
    new: dict[str, Any], old: dict[str, Any] | None, facts: RegionFacts, words: tuple[str, ...]
) -> None:
    operation = Operation.CREATE if old is None else Operation.UPDATE
    verdict = judge_region(operation, new, old, facts)
    assert len(verdict.refusals) == 1
    assert all(word in verdict.message for word in words), verdict.message


@pytest.mark.parametrize(
    ("new", "old", "facts"),
    [
        pytest.param(
            region_body(jurisdiction="SG"),
            region_body(),
            RegionFacts(HOME, services=(FREE,)),
            id="a new jurisdiction with services that may be anywhere",
        ),
        pytest.param(
            region_body(jurisdiction="HK"),
            region_body(jurisdiction="SG"),
            RegionFacts(HOME, services=(BOUND,)),
            id="a jurisdiction corrected to where its services belong",
        ),
        pytest.param(
            member("default", zones=["a"]),
            member("default"),
            RegionFacts(HOME),
            id="an edit of a region whose kubeconfig lay elsewhere before",
        ),
        pytest.param(
            member(zones=["a"]),
            member(),
            RegionFacts(HOME, kubeconfig=SecretFact(frozenset({"kubeconfig"}), value=b"nonsense")),
            id="an edit of a region whose kubeconfig went bad meanwhile",
        ),
        pytest.param(
            {**member("default"), "metadata": {"name": "hkg", "labels": {"a": "b"}}},
            member("default"),
            RegionFacts(HOME),
            id="a label",
        ),
    ],
)
def test_an_edit_of_a_region_that_makes_nothing_worse_is_let_through(
    new: dict[str, Any], old: dict[str, Any], facts: RegionFacts
) -> None:
    assert not judge_region(Operation.UPDATE, new, old, facts).refusals


def test_a_kubeconfig_that_is_not_there_yet_is_a_warning() -> None:
    verdict = judge_region(Operation.CREATE, member(), None, RegionFacts(HOME, kubeconfig=SecretFact(None)))
    assert not verdict.refusals
    assert "no such Secret" in verdict.warnings[0]


def test_two_regions_that_are_one_cluster_are_a_warning() -> None:
    other = parse("Region", {**member(), "metadata": {"name": "mfm"}})
    verdict = judge_region(Operation.CREATE, member(), None, RegionFacts(HOME, {"mfm": other}, (), GOOD))
    assert not verdict.refusals
    assert "Region mfm" in verdict.warnings[0]
    assert "fail together" in verdict.warnings[0]


def deleted(services: tuple[PlacedService, ...], **annotations: str) -> Any:
    body = region_body(metadata={"annotations": annotations})
    return judge_region(Operation.DELETE, None, body, RegionFacts(HOME, services=services))


def test_a_region_with_keys_is_not_deleted() -> None:
    rings = [f"chat/ring-{number}" for number in range(5)]
    facts = RegionFacts(HOME, rings=rings, services=(BOUND,))
    message = judge_region(Operation.DELETE, None, region_body(), facts).message
    assert "has keys of KeyRings (chat/ring-0, chat/ring-1, chat/ring-2 and 2 more)" in message
    assert "take hkg out of spec.regions of each" in message


def test_a_ring_holds_the_regions_of_its_spec_and_those_that_it_is_leaving() -> None:
    body = {
        "metadata": {"namespace": "chat", "name": "ring"},
        "spec": {"regions": ["hkg"]},
        "status": {"regions": [{"name": "hkg"}, {"name": "sin"}]},
    }
    assert [ring_in(name, body) for name in ("hkg", "sin", "sfo")] == ["chat/ring", "chat/ring", ""]


def test_a_ring_of_regions_that_are_not_there_is_a_warning() -> None:
    facts = RingFacts({"hkg"})
    verdict = judge_ring(Operation.CREATE, ring("chat"), None, facts)
    assert not verdict.refusals
    assert "spec.regions[1] is sin, and there is no Region of that name" in verdict.warnings[0]
    assert not judge_ring(Operation.UPDATE, ring("chat"), ring("chat"), RingFacts()).warnings, "nothing was changed"
    assert judge_ring(Operation.CREATE, ring("chat", **{"spec.lead": "1x"}), None, facts).refusals


USERS = tuple(RingUser(f"bank/chat-{number}", frozenset({"hkg"})) for number in range(5))


def test_a_ring_that_services_encrypt_with_is_not_deleted() -> None:
    message = judge_ring(Operation.DELETE, None, ring("chat"), RingFacts(users=USERS)).message
    assert "metadata.name is chat" in message
    assert "ChatService bank/chat-0, bank/chat-1, bank/chat-2 and 2 more encrypts with" in message
    assert "delete these services first" in message
    assert not judge_ring(Operation.DELETE, None, ring("chat"), RingFacts()).refusals


def test_a_region_where_a_service_encrypts_with_the_ring_stays_in_it() -> None:
    fewer = ring("chat", spec__regions=["sin"])
    facts = RingFacts({"hkg", "sin"}, USERS[:1])
    message = judge_ring(Operation.UPDATE, fewer, ring("chat"), facts).message
    assert "spec.regions has no hkg any more, where ChatService bank/chat-0 encrypts with the ring" in message
    assert not judge_ring(Operation.UPDATE, fewer, ring("chat"), RingFacts({"hkg", "sin"})).refusals
    assert not judge_ring(Operation.UPDATE, ring("chat"), fewer, facts).refusals, "one more hurts nobody"


def test_a_ring_that_services_encrypt_with_stays_in_clear_text() -> None:
    sealed = ring("chat", spec__distribution="Encrypted")
    facts = RingFacts({"hkg", "sin"}, USERS[:1])
    message = judge_ring(Operation.UPDATE, sealed, ring("chat"), facts).message
    assert "spec.distribution is Encrypted, and ChatService bank/chat-0 encrypts with the ring" in message
    assert "write Cleartext, or make another ring" in message
    assert not judge_ring(Operation.UPDATE, sealed, ring("chat"), RingFacts({"hkg", "sin"})).refusals
    again = ring("chat", spec__distribution="Encrypted", spec__lead="3h")
    assert not judge_ring(Operation.UPDATE, again, sealed, facts).refusals, "it was so before"


def test_who_encrypts_with_a_ring_is_there_where_it_runs_and_where_it_still_goes() -> None:
    body = chat("hkg", encryption={"keyRingRef": {"name": "ring"}}) | {"status": {"regions": [{"name": "sin"}]}}
    assert user_of("ring", body) == RingUser("bank/chat", frozenset({"hkg", "sin"}))
    assert user_of("other", body) is None
    assert user_of("ring", chat()) is None


@pytest.mark.parametrize(
    ("known", "words"),
    [
        pytest.param(RingFact(None), ("is ring, and there is no KeyRing bank/ring", "create it first"), id="no ring"),
        pytest.param(
            RingFact(frozenset({"hkg", "sin"}), deleted=True), ("is being deleted",), id="one that is being deleted"
        ),
        pytest.param(
            RingFact(frozenset({"hkg", "sin"}), sealed=True),
            ("is ring, and KeyRing bank/ring has spec.distribution Encrypted", "Cleartext"),
            id="a ring whose keysets its pods cannot open",
        ),
        pytest.param(
            RingFact(frozenset({"hkg"})),
            ("spec.topology.regions[1].name is sin", "KeyRing bank/ring", "it has: hkg", "add sin to the ring's"),
            id="a ring without one of the regions",
        ),
    ],
)
def test_a_service_is_refused_keys_that_it_could_not_have(known: RingFact, words: tuple[str, ...]) -> None:
    new = chat(encryption={"keyRingRef": {"name": "ring"}})
    facts = ServiceFacts(REGIONS, CERTIFICATE, known)
    message = judge_service(new, None, facts).message
    assert all(word in message for word in words), message
    assert not judge_service(chat(), None, facts).refusals
    patched = chat(encryption={"keyRingRef": {"name": "ring"}}, replicas=3)
    assert not judge_service(patched, new, facts).refusals, "what was wrong before is not held against an edit"


def test_a_service_with_a_ring_that_has_its_regions_is_let_through() -> None:
    facts = ServiceFacts(REGIONS, CERTIFICATE, RingFact(frozenset({"hkg", "sin", "sfo"})))
    assert not judge_service(chat(encryption={"keyRingRef": {"name": "ring"}}), None, facts).refusals


def test_an_empty_region_is_deleted() -> None:
    assert not deleted(()).refusals


def test_a_region_that_holds_services_is_not_deleted() -> None:
    many = tuple(PlacedService("bank", f"chat-{number}", named=True) for number in range(5))
    message = deleted(many).message
    assert "metadata.name is hkg" in message
    assert "5 services (bank/chat-0, bank/chat-1, bank/chat-2 and 2 more)" in message
    assert "take hkg out of spec.topology.regions" in message
    assert f"{ABANDON_ANNOTATION}=true" in message


def test_a_service_that_is_still_being_removed_holds_its_region() -> None:
    assert "bank/chat (still being removed)" in deleted((PlacedService("bank", "chat", named=False),)).message


def test_an_abandoned_region_is_deleted_with_a_warning() -> None:
    verdict = deleted((FREE,), **{ABANDON_ANNOTATION: "true"})
    assert not verdict.refusals
    assert "left running unattended" in verdict.warnings[0]


def test_only_the_word_true_abandons() -> None:
    assert deleted((FREE,), **{ABANDON_ANNOTATION: ""}).refusals


def leaving(named: str, given_up: str) -> dict[str, Any]:
    body = chat(named) | {"status": {"regions": [{"name": "hkg"}]}}
    body["metadata"] = body["metadata"] | {"annotations": {ABANDON_ANNOTATION: given_up}}
    return body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            chat("hkg", residency=("HK",)), PlacedService("bank", "chat", True, ("HK",)), id="by its topology"
        ),
        pytest.param(
            chat("sin") | {"status": {"regions": [{"name": "hkg"}]}},
            PlacedService("bank", "chat", False),
            id="by what is left of it there",
        ),
        pytest.param(chat("sin"), None, id="not at all"),
        pytest.param(leaving("sin", "mfm, hkg"), None, id="not when it leaves without waiting for the region"),
        pytest.param(leaving("sin", "*"), None, id="not when it leaves without waiting for any"),
        pytest.param(
            leaving("sin", "mfm"), PlacedService("bank", "chat", False), id="when it gave up another region only"
        ),
        pytest.param(
            leaving("hkg", "hkg"),
            PlacedService("bank", "chat", True),
            id="when it is to stay there after all",
        ),
        pytest.param({"metadata": {"name": "chat", "namespace": "bank"}}, None, id="not when it has no spec"),
    ],
)
def test_a_service_is_in_a_region(body: dict[str, Any], expected: PlacedService | None) -> None:
    assert placed_in("hkg", body) == expected


@pytest.mark.parametrize(
    ("operation", "new", "old", "expected"),
    [
        pytest.param(Operation.DELETE, None, region_body(), True, id="for a deletion"),
        pytest.param(
            Operation.DELETE,
            None,
            region_body(metadata={"annotations": {ABANDON_ANNOTATION: "true"}}),
            False,
            id="not for the deletion of an abandoned region, which must work however many there are",
        ),
        pytest.param(
            Operation.UPDATE, region_body(jurisdiction="SG"), region_body(), True, id="for a new jurisdiction"
        ),
        pytest.param(Operation.UPDATE, region_body(), region_body(), False, id="not for any other edit"),
        pytest.param(Operation.CREATE, region_body(), None, False, id="not for a new region"),
    ],
)
def test_all_services_are_looked_at_only_where_needed(
    operation: Operation, new: dict[str, Any] | None, old: dict[str, Any] | None, expected: bool
) -> None:
    assert needs_services(operation, new, old) is expected


def test_judging_changes_nothing_in_what_it_is_given() -> None:
    body = chat("hkg", "nrt", residency=("HK",))
    before = copy.deepcopy(body)
    judge_service(body, None, FACTS)
    assert body == before
