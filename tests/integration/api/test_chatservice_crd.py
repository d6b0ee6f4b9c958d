"""What a real API server takes and refuses, alone: no webhook, no operator."""

from __future__ import annotations

import http
import re
from typing import Any

import pytest

from api_cases import BROKEN, CHANGES, PASSIVE, STORED, peak, peers
from clusters import fresh_namespace
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.chatservice import ChatService
from roadstead.api.chatservice_rules import CHAT_SERVICE_RULES
from roadstead.api.parse import dump, parse
from roadstead.api.problems import SpecError
from specs import ABSENT, Body, chat, samples


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    """One for the module: nearly everything here is a dry run, and the rest deletes what it made."""
    return fresh_namespace(hub, "api")


@pytest.fixture
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


def url(namespace: str, name: str = "", query: str = "dryRun=All&fieldValidation=Strict") -> str:
    path = f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/chatservices"
    return f"{path}/{name}?{query}" if name else f"{path}?{query}"


def create(api: Api, body: Body) -> Body:
    """Create in a dry run; returns the object with the server's defaults."""
    answer: Body = api.request("POST", url(body["metadata"]["namespace"]), body)
    return answer


def refused(api: Api, body: Body) -> str:
    """The server's words about an object that it must refuse as invalid."""
    with pytest.raises(ApiError) as caught:
        create(api, body)
    assert caught.value.status in (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.BAD_REQUEST), caught.value
    return str(caught.value)


def without_empty(value: Any) -> Any:
    """Without empty lists and maps: absent and empty mean the same, and a server does not fill them in."""
    if isinstance(value, dict):
        inner = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in ({}, [])}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({}, id="only what is required"),
        pytest.param({"metadata.name": "x" * 28}, id="a name of 28 characters"),
        pytest.param({"spec.topology": PASSIVE}, id="a standby without a role"),
        pytest.param({"spec.replicas": 0}, id="no pods"),
        pytest.param({"spec.topology.regions[0].replicas": 0}, id="no pods in one region"),
        pytest.param({"spec.topology.regions": [{"name": f"r{i}"} for i in range(32)]}, id="32 regions"),
        pytest.param({"spec.topology.regions[0].name": "r" * 23}, id="a region name of 23 characters"),
        pytest.param({"spec.autoscaling": peak()}, id="a peak"),
        pytest.param({"spec.autoscaling": {"minReplicas": 5, "maxReplicas": 5}}, id="as many at least as at most"),
        pytest.param({"spec.resources": {"requests": {"cpu": 1}}}, id="a quantity as a number"),
        pytest.param({"spec.resources": {"requests": {"cpu": "1.5"}}}, id="a quantity with a point, in quotes"),
        pytest.param(
            {"spec.resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1024Mi"}}},
            id="a limit that equals the request in other words",
        ),
        pytest.param({"spec.disruptionBudget": {"minAvailable": "50%"}}, id="a percentage"),
        pytest.param({"spec.retention.transactions": "100y"}, id="the longest duration"),
        pytest.param({"spec.retention.sessions": "1m"}, id="the shortest duration"),
        pytest.param({"spec.rollout.bakeTime": "0s"}, id="no bake time"),
        pytest.param({"spec.tls": {"issuerRef": {"name": "ca"}}}, id="an issuer"),
        pytest.param({"spec.traffic": peers({"namespaceSelector": {}})}, id="an empty selector"),
        pytest.param({"spec.traffic": peers({"ipBlock": {"cidr": "fd00::/8", "except": ["fd01::/16"]}})}, id="IPv6"),
        pytest.param({"spec.config": {f"K{i}": "v" * 8192 for i in range(64)}}, id="the largest config"),
        pytest.param({"spec.image": f"localhost:5000/a/b_c@sha256:{'0' * 64}"}, id="a port and a digest"),
        pytest.param(STORED, id="storage"),
    ],
)
def test_accepted(api: Api, namespace: str, edits: dict[str, Any]) -> None:
    body = chat(namespace=namespace, **edits)
    stored = create(api, body)
    assert parse("ChatService", stored).spec == parse("ChatService", body).spec


@pytest.mark.parametrize(
    ("edits", "field", "message"),
    [
        pytest.param({"spec": ABSENT}, "spec", "Required value", id="no spec"),
        pytest.param({"spec.image": ABSENT}, "spec.image", "Required value", id="no image"),
        pytest.param({"spec.image": ""}, "spec.image", "at least 1 chars long", id="an empty image"),
        pytest.param({"spec.image": "x" * 513}, "spec.image", "may not be more than 512", id="a long image"),
        pytest.param(
            {"spec.image": "Upper/Case:1"}, "spec.image", "not the name of an image; write [", id="an image in capitals"
        ),
        pytest.param(
            {"spec.image": "a:1 --rm"},
            "spec.image",
            "is a:1 --rm, not the name of an image",
            id="an image with a space",
        ),
        pytest.param({"spec.replicas": -1}, "spec.replicas", "greater than or equal to 0", id="-1 pods"),
        pytest.param({"spec.replicas": 1001}, "spec.replicas", "less than or equal to 1000", id="1001 pods"),
        pytest.param({"spec.replicas": "3"}, "spec.replicas", "must be of type integer", id="text for a number"),
        pytest.param(
            {"spec.imagePullPolicy": "always"}, "spec.imagePullPolicy", "supported values", id="no such choice"
        ),
        pytest.param({"spec.topology.mode": "Both"}, "spec.topology.mode", "supported values", id="no such mode"),
        pytest.param({"spec.topology.regions": []}, "spec.topology.regions", "at least 1 items", id="no region"),
        pytest.param(
            {"spec.topology.regions": [{"name": f"r{i}"} for i in range(33)]},
            "spec.topology.regions",
            "must have at most 32 items",
            id="33 regions",
        ),
        pytest.param(
            {"spec.topology.regions[1].name": "hkg"}, "spec.topology.regions[1]", "Duplicate value", id="a region twice"
        ),
        pytest.param(
            {"spec.autoscaling": {"maxReplicas": 9, "peaks": 2 * peak()["peaks"]}},
            "spec.autoscaling.peaks[1]",
            "Duplicate value",
            id="a peak twice",
        ),
        pytest.param(
            {"spec.residency": {"jurisdictions": ["HK", "HK"]}}, "jurisdictions[1]", "Duplicate value", id="HK twice"
        ),
        pytest.param(
            {"spec.topology.regions[0].name": "a.b"},
            "spec.topology.regions[0].name",
            "spec.topology.regions[*].name is a.b, not a DNS label; write",
            id="a dot in a name",
        ),
        pytest.param(
            {"spec.topology.regions[0].name": "x" * 10_000},
            "spec.topology.regions[0].name",
            "may not be more than 23",
            id="a region name of 10,000 characters",
        ),
        pytest.param(
            {"spec.retention.sessions": "30"},
            "spec.retention.sessions",
            "spec.retention.sessions is 30, not a duration; write numbers with ms",
            id="30 of what",
        ),
        pytest.param(
            {"spec.rollout.bakeTime": "5 minutes"},
            "spec.rollout.bakeTime",
            "spec.rollout.bakeTime is 5 minutes, not a duration; write numbers with ms",
            id="a duration in words",
        ),
        pytest.param(
            {"spec.storage": {"size": "256MB"}},
            "spec.storage.size",
            "spec.storage.size is 256MB, not a quantity; write a number",
            id="a unit that Kubernetes has not",
        ),
        pytest.param(
            {"spec.monitoring": {"labels": {"a..b/x": "y"}}},
            "spec.monitoring.labels",
            "spec.monitoring.labels has the key a..b/x, not a key of a label or annotation; write up to 63",
            id="a label's key whose prefix is no DNS name",
        ),
        pytest.param(
            {"spec.retention.sessions": "59s"},
            "spec.retention.sessions",
            "spec.retention.sessions is 59s, below 1m; write 1m or more",
            id="a short duration",
        ),
        pytest.param(
            {"spec.retention.sessions": "9999999y"},
            "spec.retention.sessions",
            "spec.retention.sessions is 9999999y, above 100y; write 100y or less",
            id="a very long duration",
        ),
        pytest.param(
            {"spec.retention.sessions": "9999999y" * 4},
            "spec.retention.sessions",
            "above 100y; write 100y or less",
            id="the longest text of a duration does not overflow",
        ),
        pytest.param(
            {"spec.autoscaling": peak(duration="30s")},
            "spec.autoscaling.peaks[0].duration",
            "spec.autoscaling.peaks[*].duration is 30s, below 1m; write 1m or more",
            id="a short peak",
        ),
        pytest.param(
            {"spec.resources": {"requests": {"cpu": "-1"}}},
            "spec.resources.requests[cpu]",
            "is -1, not a quantity",
            id="-1 core",
        ),
        pytest.param(
            {"spec.resources": {"requests": {"cpu": 0.5}}},
            "spec.resources.requests.cpu",
            "must be",
            id="a float for a quantity",
        ),
        pytest.param(
            {"spec.disruptionBudget": {"maxUnavailable": "101%"}},
            "spec.disruptionBudget.maxUnavailable",
            "is 101%, neither a count nor a percentage; write a number",
            id="101 percent",
        ),
        pytest.param(
            {"spec.config": {"1ST": "x"}},
            "spec.config",
            "spec.config has the key 1ST, not a name of a variable; write letters, digits and _",
            id="no name of a variable",
        ),
        pytest.param(
            {"spec.config": {"A" * 129: "x"}},
            "spec.config",
            "spec.config has a key longer than 128 characters; shorten it",
            id="a long name of a variable",
        ),
        pytest.param(
            {"spec.config": {f"K{i}": "" for i in range(65)}}, "spec.config", "must have at most 64", id="65 variables"
        ),
        pytest.param(
            {"spec.config": {"A": "x" * 8193}}, "spec.config.A", "may not be more than 8192", id="a long value"
        ),
        pytest.param({"spec.traffic.port": 0}, "spec.traffic.port", "greater than or equal to 1", id="port 0"),
        pytest.param(
            {"spec.traffic.hostname": f"{'x' * 64}.example.com"},
            "spec.traffic.hostname",
            "not a DNS name; write it alone, in lower case, without scheme",
            id="a label of 64 characters in a hostname",
        ),
        pytest.param({"spec.replcas": 3}, "spec.replcas", "unknown field", id="a misspelt field, for strict clients"),
    ],
)
def test_refused_by_the_schema(api: Api, namespace: str, edits: dict[str, Any], field: str, message: str) -> None:
    body = chat(namespace=namespace, **edits)
    words = refused(api, body)
    assert field in words
    assert message in words
    # No rule fails over a value that another one refuses; what it then says has no values.
    assert "evaluating rule" not in words
    with pytest.raises(SpecError):
        parse("ChatService", body, strict=True)


@pytest.mark.parametrize(
    ("edits", "field", "message"), [pytest.param(*case, id=f"{case[1]} {case[2]}") for case in BROKEN]
)
def test_a_broken_rule_is_refused_in_the_words_of_python(
    api: Api, namespace: str, edits: dict[str, Any], field: str, message: str
) -> None:
    body = chat(namespace=namespace, **edits)
    with pytest.raises(SpecError) as caught:
        parse("ChatService", body)
    (problem,) = caught.value.problems
    broken = next(rule for rule in CHAT_SERVICE_RULES if rule.problems(ChatService.model_validate(body)))
    if broken.cel is None:
        create(api, body)  # admission's part: the server alone cannot know
        return
    words = refused(api, body)
    # In an item's rule, CEL does not know which item it is; the server names it in the path before the message.
    assert re.sub(r"\[\d+\]", "[*]", str(problem)) in words
    assert field in words


def _put(api: Api, namespace: str, before: dict[str, Any], after: dict[str, Any]) -> Body:
    stored = api.request("POST", url(namespace, query=""), chat(namespace=namespace, **before))
    body = chat(namespace=namespace, **after)
    body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    try:
        answer: Body = api.request("PUT", url(namespace, "hello"), body)
        return answer
    finally:
        api.request("DELETE", url(namespace, "hello", query=""))


@pytest.mark.parametrize(("before", "after", "message"), [pytest.param(*case, id=case[2]) for case in CHANGES])
def test_a_forbidden_edit_is_refused(
    api: Api, namespace: str, before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        _put(api, namespace, before, after)
    assert caught.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY
    assert message in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(STORED, {"spec.storage": {"size": "1024Mi"}}, id="the same size in other words"),
        pytest.param(STORED, {"spec.storage": {"size": "1Gi", "onDelete": "Delete"}}, id="onDelete"),
        pytest.param({}, {"spec.topology.regions": [{"name": "lon"}]}, id="other regions"),
        pytest.param(
            {"spec.topology": PASSIVE},
            {"spec.topology": {**PASSIVE, "regions": [{"name": "lon"}, {"name": "hkg", "role": "Primary"}]}},
            id="another standby, another order",
        ),
    ],
)
def test_a_permitted_edit(api: Api, namespace: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    _put(api, namespace, before, after)


def test_the_servers_defaults_are_the_models_defaults(api: Api, namespace: str) -> None:
    body = chat(namespace=namespace)
    stored = create(api, body)
    assert without_empty(stored["spec"]) == without_empty(dump(parse("ChatService", body))["spec"])


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({"spec.autoscaling": peak()}, id="in autoscaling and its peaks"),
        pytest.param({"spec.storage": {"size": "1Gi"}}, id="in storage"),
        pytest.param({"spec.tls": {"issuerRef": {"name": "ca"}}}, id="in the issuer"),
        pytest.param({"spec.rollout": {"state": "Paused"}}, id="beside a field that is given"),
        pytest.param({"spec.resources": {"limits": {"memory": "1Gi"}}}, id="none in resources that are given"),
    ],
)
def test_defaults_of_optional_parts(api: Api, namespace: str, edits: dict[str, Any]) -> None:
    body = chat(namespace=namespace, **edits)
    assert without_empty(create(api, body)["spec"]) == without_empty(dump(parse("ChatService", body))["spec"])


def test_null_is_absent_for_both(api: Api, namespace: str) -> None:
    body = chat(namespace=namespace, spec__replicas=None, spec__storage=None, spec__rollout={"bakeTime": None})
    stored = create(api, body)
    assert parse("ChatService", stored).spec == parse("ChatService", body).spec


def test_unknown_fields_are_pruned_for_lenient_clients(api: Api, namespace: str) -> None:
    body = chat(namespace=namespace, spec__replcas=3)
    stored: Body = api.request("POST", url(namespace, query="dryRun=All&fieldValidation=Ignore"), body)
    assert "replcas" not in stored["spec"]


def test_the_full_sample_is_stored_unpruned(api: Api, namespace: str) -> None:
    body = samples()["chatservice-full.yaml"]
    body["metadata"]["namespace"] = namespace
    stored = create(api, body)
    assert stored["spec"] == body["spec"]
