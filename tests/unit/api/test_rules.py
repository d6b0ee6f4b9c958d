"""Every rule is broken once and kept once; the API server's side of it is in tests/integration/api."""

from typing import Any

import pytest

from api_cases import BROKEN, CHANGES, PASSIVE, STORED, peak, peers
from public_keys import NO_PUBLIC_KEYS, OFF_THE_CURVE, PUBLIC_KEY
from roadstead.api.chatservice import ChatService
from roadstead.api.chatservice_changes import CHAT_SERVICE_CHANGES
from roadstead.api.chatservice_rules import CHAT_SERVICE_RULES
from roadstead.api.kinds import CHAT_SERVICE, REGION
from roadstead.api.parse import parse, parse_change
from roadstead.api.problems import SpecError
from roadstead.api.region_rules import REGION_CHANGES, REGION_RULES
from roadstead.api.rules import Rule, cel_digits, cel_text, once
from specs import ABSENT, chat, region


@pytest.mark.parametrize(
    ("edits", "field", "message"), [pytest.param(*case, id=f"{case[1]} {case[2]}") for case in BROKEN]
)
def test_a_broken_rule_is_the_only_thing_said(edits: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse("ChatService", chat(**edits))
    (problem,) = caught.value.problems
    assert problem.field == field
    assert message in str(problem)


def test_every_rule_about_chat_services_is_broken_above() -> None:
    objects = [ChatService.model_validate(chat(**edits)) for edits, _, _ in BROKEN]
    assert [rule.name for rule in CHAT_SERVICE_RULES if not any(rule.problems(obj) for obj in objects)] == []


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({"metadata.name": "x" * 28}, id="a name of 28 characters"),
        pytest.param({"spec.topology": PASSIVE}, id="a standby without a role"),
        pytest.param(
            {"spec.autoscaling": {"maxReplicas": 5}, "spec.topology.regions[1].replicas": 0},
            id="a region without pods beside an autoscaled one",
        ),
        pytest.param({"spec.autoscaling": {"minReplicas": 5, "maxReplicas": 5}}, id="as many at least as at most"),
        pytest.param(
            {"spec.autoscaling": {"minReplicas": 1, "maxReplicas": 1}}, id="fewer than spec.replicas with minReplicas"
        ),
        pytest.param(
            {"spec.autoscaling": {"maxReplicas": 5}, "spec.resources": {"limits": {"cpu": 1}}},
            id="autoscaling with a cpu limit, which Kubernetes takes for the request too",
        ),
        pytest.param(
            {"spec.resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1024Mi"}}},
            id="a limit that equals the request in other words",
        ),
        pytest.param({"spec.resources": {"limits": {"example.com/gpu": 1}}}, id="an extended resource"),
        pytest.param({"spec.residency": {"jurisdictions": ["XK", "US-CA"]}}, id="user-assigned codes, subdivisions"),
        pytest.param({"spec.autoscaling": peak(schedule="0 0 29 2 *")}, id="a schedule of every fourth year"),
        pytest.param({"spec.autoscaling": peak(schedule="0 9 * * MON-FRI")}, id="names of days"),
        pytest.param({"spec.traffic": peers({"podSelector": {}, "namespaceSelector": {}})}, id="both selectors"),
        pytest.param({"spec.autoscaling": {"maxReplicas": 2}}, id="as many replicas as at most"),
        pytest.param({"spec.traffic": peers({"ipBlock": {"cidr": "0.0.0.0/0"}})}, id="every address"),
        pytest.param(
            {"spec.traffic": peers({"ipBlock": {"cidr": "fd00::/8", "except": ["fd00::/16"]}})}, id="an IPv6 range"
        ),
    ],
)
def test_kept(edits: dict[str, Any]) -> None:
    parse("ChatService", chat(**edits))


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        pytest.param({"metadata.name": "x" * 24}, "longer than 23 characters", id="a long name"),
        pytest.param({"metadata.name": "hkg.asia"}, "which is not a DNS label", id="a name with a dot"),
        pytest.param({"spec.cluster": {}}, "spec.cluster sets none of inCluster and", id="no cluster"),
        pytest.param(
            {"spec.cluster.kubeconfigSecretRef": {"namespace": "a", "name": "b"}}, "sets both of", id="two clusters"
        ),
        pytest.param({"spec.jurisdiction": "UK"}, "spec.jurisdiction is UK, whose country", id="no country"),
        pytest.param(
            {"spec.probe": {"interval": "2s", "timeout": "3s"}},
            "spec.probe.timeout is 3s, above spec.probe.interval, which is 2s; write a timeout of at most the interval",
            id="a probe longer than its interval",
        ),
    ],
)
def test_rules_of_regions(edits: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse("Region", region(**edits))
    (problem,) = caught.value.problems
    assert message in str(problem)


KEYS_RULE = "spec.keyEncryption.publicKeys has an entry that is not a public key on the curve P-256 in PEM; write what"


@pytest.mark.parametrize("what, key", [pytest.param(*case, id=case[0]) for case in [*NO_PUBLIC_KEYS, OFF_THE_CURVE]])
def test_what_is_no_public_key_of_a_region_is_refused_and_not_shown(what: str, key: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse("Region", region(spec__keyEncryption={"publicKeys": [PUBLIC_KEY, key]}))
    (problem,) = caught.value.problems
    assert KEYS_RULE in str(problem), what
    assert key[40:60] not in str(problem), "it may be a private key"


def test_public_keys_of_a_region_as_files_have_them() -> None:
    for key in (PUBLIC_KEY, PUBLIC_KEY.strip(), PUBLIC_KEY.replace("\n", "\r\n")):
        parse("Region", region(spec__keyEncryption={"publicKeys": [key]}))


def test_a_probe_may_last_as_long_as_its_interval() -> None:
    parse("Region", region(spec__probe={"interval": "5s", "timeout": "5s"}))


@pytest.mark.parametrize(("before", "after", "message"), [pytest.param(*case, id=case[2]) for case in CHANGES])
def test_a_forbidden_edit_is_the_only_thing_said(before: dict[str, Any], after: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_change("ChatService", chat(**before), chat(**after))
    (problem,) = caught.value.problems
    assert message in str(problem)
    assert problem.cure


def test_every_rule_about_edits_is_broken_above() -> None:
    edits = [
        (ChatService.model_validate(chat(**before)), ChatService.model_validate(chat(**after)))
        for before, after, _ in CHANGES
    ]
    assert [rule.name for rule in CHAT_SERVICE_CHANGES if not any(rule.problems(*edit) for edit in edits)] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(STORED, {"spec.storage": {"size": "1024Mi"}}, id="the same size in other words"),
        pytest.param(STORED, {"spec.storage": {"size": "1Gi", "onDelete": "Delete"}}, id="onDelete"),
        pytest.param(
            {"spec.topology": PASSIVE},
            {"spec.topology": {**PASSIVE, "regions": [{"name": "lon"}, {"name": "hkg", "role": "Primary"}]}},
            id="another standby, another order",
        ),
    ],
)
def test_a_permitted_edit(before: dict[str, Any], after: dict[str, Any]) -> None:
    parse_change("ChatService", chat(**before), chat(**after))


def test_an_edit_of_what_was_invalid_before_is_judged_by_the_new_object_alone() -> None:
    parse_change("ChatService", chat(spec__image=ABSENT), chat())


@pytest.mark.parametrize(
    ("before", "after", "old"),
    [
        pytest.param("inCluster", "kubeconfigSecretRef", "inCluster", id="a node pool becomes a member"),
        pytest.param("kubeconfigSecretRef", "inCluster", "kubeconfigSecretRef", id="a member becomes a node pool"),
    ],
)
def test_a_region_stays_what_it_is(before: str, after: str, old: str) -> None:
    clusters: dict[str, dict[str, Any]] = {
        "inCluster": {"inCluster": {}},
        "kubeconfigSecretRef": {"kubeconfigSecretRef": {"namespace": "a", "name": "b"}},
    }
    with pytest.raises(SpecError, match=f"spec.cluster changes from {old} to {after}.*; write {old} again"):
        parse_change("Region", region(spec__cluster=clusters[before]), region(spec__cluster=clusters[after]))


def test_the_registry_has_all_rules() -> None:
    assert CHAT_SERVICE.rules is CHAT_SERVICE_RULES
    assert CHAT_SERVICE.changes is CHAT_SERVICE_CHANGES
    assert REGION.rules is REGION_RULES
    assert REGION.changes is REGION_CHANGES


def test_a_sentence_becomes_a_cel_expression() -> None:
    rule = Rule(
        name="n",
        at="",
        field="spec.x",
        says="is {value}, the operator's own",
        cure="write {max}",
        found=lambda _: once(True, value=1, max=2),
        cel="true",
        values={"value": "self.x", "max": "self.y"},
    )
    assert rule.validation() == {
        "rule": "true",
        "message": "spec.x is <value>, the operator's own; write <max>",
        "messageExpression": r"'spec.x is ' + self.x + ', the operator\'s own; write ' + self.y",
    }
    assert [str(problem) for problem in rule.problems(None)] == ["spec.x is 1, the operator's own; write 2"]


@pytest.mark.parametrize(
    ("at", "field", "path"),
    [
        pytest.param("spec.a", "spec.a.b", ".b", id="a field below"),
        pytest.param("spec", "spec.a.b", ".a.b", id="two steps below"),
        pytest.param("spec.a", "spec.a", None, id="the object itself"),
        pytest.param("spec.a[].b", "spec.a[{index}].b.c", ".c", id="in a list"),
        pytest.param("spec", "spec.a[{name}].b", None, id="into a list, which a path cannot say"),
        pytest.param("spec.a", "spec.a.{name}", None, id="into a map, which a path cannot say"),
        pytest.param("spec.a", "spec.b", None, id="elsewhere"),
        pytest.param("", "metadata.name", None, id="metadata, which has no schema"),
    ],
)
def test_the_server_names_the_field_itself(at: str, field: str, path: str | None) -> None:
    rule = Rule(
        name="n",
        at=at,
        field=field,
        says="s",
        cure="c",
        found=lambda _: (),
        cel="true",
        values={"index": "'*'", "name": "'x'"},
    )
    assert rule.validation().get("fieldPath") == path


def test_a_rule_without_cel_has_no_validation() -> None:
    rule = Rule(name="n", at="", field="f", says="s", cure="c", found=lambda _: ())
    with pytest.raises(ValueError, match="'n' has no CEL"):
        rule.validation()


def test_cel_text_escapes() -> None:
    assert cel_text("a'b\\c") == r"'a\'b\\c'"


def test_cel_digits_has_one_branch_for_each_digit() -> None:
    assert cel_digits("n").count("substring") == 4
    assert cel_digits("n", digits=6).count("substring") == 6
