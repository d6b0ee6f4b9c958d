"""Every rule is broken once and kept once; the API server's side of it is in tests/integration/api."""

from typing import Any

import pytest
from specs import ABSENT, chat, region

from roadstead.api.chatservice_rules import CHAT_SERVICE_CHANGES, CHAT_SERVICE_RULES
from roadstead.api.kinds import CHAT_SERVICE, REGION
from roadstead.api.parse import parse, parse_change
from roadstead.api.problems import SpecError
from roadstead.api.region_rules import REGION_CHANGES, REGION_RULES
from roadstead.api.rules import Rule, cel_digits, cel_text, once

PASSIVE = {"mode": "ActivePassive", "regions": [{"name": "hkg", "role": "Primary"}, {"name": "sin"}]}
PEAK = {"name": "eve", "timeZone": "UTC", "schedule": "0 9 31 12 *", "duration": "1h", "replicas": 5}


def peak(**edits: Any) -> dict[str, Any]:
    return {"maxReplicas": 10, "peaks": [PEAK | edits]}


def peers(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"allowFrom": list(entries)}


BROKEN = [
    ({"metadata.name": "x" * 29}, "metadata.name", "longer than 28 characters"),
    ({"metadata.name": "1st"}, "metadata.name", "is 1st, which is not a DNS label that starts with a letter"),
    ({"metadata.name": "a.b"}, "metadata.name", "is a.b, which is not a DNS label"),
    (
        {"spec.topology.regions[1].role": "Standby"},
        "spec.topology.regions[sin].role",
        "is Standby, but with mode ActiveActive regions have no roles",
    ),
    ({"spec.topology": {**PASSIVE, "regions": [{"name": "a"}]}}, "spec.topology.regions", "has 0 regions with role"),
    (
        {"spec.topology": {**PASSIVE, "regions": [{"name": n, "role": "Primary"} for n in "ab"]}},
        "spec.topology.regions",
        "has 2 regions with role Primary",
    ),
    (
        {"spec.autoscaling": {"minReplicas": 6, "maxReplicas": 5}},
        "spec.autoscaling.minReplicas",
        "is 6, above maxReplicas 5; write 5 or less",
    ),
    (
        {"spec.autoscaling": {"maxReplicas": 5}, "spec.topology.regions[1].replicas": 7},
        "spec.autoscaling.maxReplicas",
        "is 5, below the 7 replicas of region sin",
    ),
    (
        {"spec.autoscaling": {"maxReplicas": 5}, "spec.topology.regions[1].replicas": 0},
        "spec.autoscaling",
        "is set, but region sin has 0 replicas",
    ),
    ({"spec.autoscaling": peak(replicas=11)}, "spec.autoscaling.peaks[eve].replicas", "is 11, above maxReplicas 10"),
    ({"spec.autoscaling": peak(timeZone="Asia/Hongkong")}, "spec.autoscaling.peaks[eve].timeZone", "is Asia/Hongkong"),
    ({"spec.autoscaling": peak(timeZone="America")}, "spec.autoscaling.peaks[eve].timeZone", "is America, which"),
    ({"spec.autoscaling": peak(schedule="0 25 * * *")}, "spec.autoscaling.peaks[eve].schedule", "bad hour"),
    ({"spec.autoscaling": peak(schedule="0 0 30 2 *")}, "spec.autoscaling.peaks[eve].schedule", "bad day-of-month"),
    (
        {"spec.autoscaling": {"maxReplicas": 5}, "spec.resources": {"requests": {"memory": "1Gi"}}},
        "spec.resources.requests",
        "has no cpu, which spec.autoscaling counts",
    ),
    (
        {"spec.resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1000Mi"}}},
        "spec.resources.limits.memory",
        "is 1000Mi, below the request 1Gi; write 1Gi or more",
    ),
    ({"spec.resources": {"requests": {"gpu": 1}}}, "spec.resources.requests", "has the key gpu, which is no resource"),
    ({"spec.resources": {"limits": {"ram": 1}}}, "spec.resources.limits", "has the key ram, which is no resource"),
    ({"spec.tls": {}}, "spec.tls", "sets none of secretName and issuerRef; write exactly one"),
    ({"spec.tls.issuerRef": {"name": "ca"}}, "spec.tls", "sets both of secretName and issuerRef"),
    ({"spec.disruptionBudget": {}}, "spec.disruptionBudget", "sets none of maxUnavailable and minAvailable"),
    (
        {"spec.disruptionBudget": {"maxUnavailable": 1, "minAvailable": 1}},
        "spec.disruptionBudget",
        "sets both of maxUnavailable and minAvailable",
    ),
    ({"spec.config": {"CHAT_REGION": "x"}}, "spec.config", "has the key CHAT_REGION, which the operator sets itself"),
    (
        {"spec.traffic": {"serviceAnnotations": {"roadstead.dev/owner-uid": "x"}}},
        "spec.traffic.serviceAnnotations",
        "has the key roadstead.dev/owner-uid, which is the operator's own",
    ),
    (
        {"spec.monitoring": {"labels": {"app.kubernetes.io/managed-by": "me"}}},
        "spec.monitoring.labels",
        "has the key app.kubernetes.io/managed-by, which is the operator's own",
    ),
    (
        {"spec.residency": {"jurisdictions": ["HK", "UK"]}},
        "spec.residency.jurisdictions",
        "has UK, whose country ISO 3166-1 does not list; write an alpha-2 code such as HK or GB",
    ),
    ({"spec.traffic": peers({})}, "spec.traffic.allowFrom[0]", "sets none of ipBlock and the selectors"),
    (
        {"spec.traffic": peers({"podSelector": {}}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})},
        "spec.traffic.allowFrom[1]",
        "sets both of ipBlock and the selectors",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.256/8"}})},
        "spec.traffic.allowFrom[0].ipBlock.cidr",
        "is 10.0.0.256/8, which is not a range of addresses",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})},
        "spec.traffic.allowFrom[0].ipBlock.except",
        "has 11.0.0.0/16, which is not a smaller range within 10.0.0.0/8",
    ),
    (
        {"spec.traffic": peers({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})},
        "spec.traffic.allowFrom[0].podSelector.matchExpressions",
        "has the operator In for a with the wrong number of values",
    ),
    (
        {
            "spec.traffic": peers(
                {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}
            )
        },
        "spec.traffic.allowFrom[0].namespaceSelector.matchExpressions",
        "has the operator Exists for a with the wrong number of values",
    ),
    ({"spec.storage": {"size": "0Gi"}}, "spec.storage.size", "is 0; write a size such as 1Gi"),
]


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
    seen = set()
    for edits, _, _ in BROKEN:
        with pytest.raises(SpecError) as caught:
            parse("ChatService", chat(**edits))
        seen.update(str(problem) for problem in caught.value.problems)
    for rule in CHAT_SERVICE_RULES:
        assert any(text.endswith(rule.cure.partition("{")[0]) or rule.cure.partition("{")[0] in text for text in seen)
    assert len(seen) >= len(CHAT_SERVICE_RULES)


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({"metadata.name": "x" * 28}, id="a name of 28 characters"),
        pytest.param({"spec.topology": PASSIVE}, id="a standby without a role"),
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


STORED = {"spec.storage": {"size": "1Gi"}}
CLASSY = {"spec.storage": {"size": "1Gi", "storageClassName": "fast"}}
CHANGES = [
    ({}, {"spec.topology": PASSIVE}, "spec.topology.mode changes from ActiveActive to ActivePassive"),
    (
        {"spec.topology": PASSIVE},
        {"spec.topology": {**PASSIVE, "regions": [{"name": "hkg"}, {"name": "sin", "role": "Primary"}]}},
        "spec.topology.regions takes role Primary from hkg, which is a promotion",
    ),
    (
        {"spec.topology": PASSIVE},
        {"spec.topology": {**PASSIVE, "regions": [{"name": "lon", "role": "Primary"}]}},
        "spec.topology.regions takes role Primary from hkg",
    ),
    ({}, STORED, "spec.storage is added, but it can only be decided when the service is made"),
    (STORED, {}, "spec.storage is removed, but it can only be decided when the service is made"),
    (STORED, {"spec.storage": {"size": "2Gi"}}, "spec.storage.size changes from 1Gi to 2Gi"),
    (STORED, CLASSY, "spec.storage.storageClassName changes from the default to fast"),
    (CLASSY, STORED, "spec.storage.storageClassName changes from fast to the default"),
]


@pytest.mark.parametrize(("before", "after", "message"), [pytest.param(*case, id=case[2]) for case in CHANGES])
def test_a_forbidden_edit_is_the_only_thing_said(before: dict[str, Any], after: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_change("ChatService", chat(**before), chat(**after))
    (problem,) = caught.value.problems
    assert message in str(problem)
    assert problem.cure


def test_every_rule_about_edits_is_broken_above() -> None:
    # One line per rule would not notice a rule that never fires; the words of each are looked for.
    for rule in CHAT_SERVICE_CHANGES:
        words = rule.field + " " + rule.says.partition("{")[0]
        assert any(message.startswith(words) for _, _, message in CHANGES), rule.name


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


def test_a_rule_without_cel_has_no_validation() -> None:
    rule = Rule(name="n", at="", field="f", says="s", cure="c", found=lambda _: ())
    with pytest.raises(ValueError, match="'n' has no CEL"):
        rule.validation()


def test_cel_text_escapes() -> None:
    assert cel_text("a'b\\c") == r"'a\'b\\c'"


def test_cel_digits_has_one_branch_for_each_digit() -> None:
    assert cel_digits("n").count("substring") == 4
