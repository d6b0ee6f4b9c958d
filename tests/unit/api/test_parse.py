"""What pydantic finds wrong, in our words: field, value, cure."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from roadstead.api.chatservice import ChatService, ChatServiceStatus, Role, TopologyMode
from roadstead.api.parse import dump, is_status_readable, parse
from roadstead.api.problems import SpecError
from roadstead.api.region import Region, lies_within
from specs import ABSENT, Body, chat, region


def said(body: Body, *, strict: bool = False) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(body["kind"], body, strict=strict)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param("replicas", -1, "spec.replicas is -1, below 0; write 0 or more", id="below a bound"),
        pytest.param("replicas", 1001, "spec.replicas is 1001, above 1000; write 1000 or less", id="above a bound"),
        pytest.param(
            "replicas",
            "3",
            "spec.replicas is 3, not an integer; write a whole number without quotes",
            id="text for int",
        ),
        pytest.param(
            "replicas", True, "spec.replicas is true, not an integer; write a whole number without quotes", id="bool"
        ),
        pytest.param(
            "replicas",
            1.5,
            "spec.replicas is 1.5, not an integer; write a whole number without quotes",
            id="a fraction",
        ),
        pytest.param(
            "image",
            ABSENT,
            "spec.image is missing; write it, such as registry.example/roadstead-chat:1.4.0",
            id="a required field that is missing",
        ),
        pytest.param(
            "image",
            "UPPER CASE",
            "spec.image is UPPER CASE, not the name of an image; write [REGISTRY[:PORT]/]NAME[:TAG]",
            id="a pattern, in words",
        ),
        pytest.param(
            "image", 7, "spec.image is 7, not text; write text in quotes, such as registry", id="int for text"
        ),
        pytest.param(
            "imagePullPolicy",
            "always",
            "spec.imagePullPolicy is always, not one of the choices; write 'IfNotPresent', 'Always' or 'Never'",
            id="an enum in the wrong case",
        ),
        pytest.param(
            "topology.regions",
            [],
            "spec.topology.regions is [], shorter than 1; write 1 or more, such as",
            id="an empty list",
        ),
        pytest.param(
            "topology.regions[1].name",
            "hkg",
            "in which hkg is there twice; leave one of them out",
            id="a name twice in a map list",
        ),
        pytest.param(
            "topology.regions[0].name",
            "HKG",
            "spec.topology.regions[0].name is HKG, not a DNS label; write lower-case letters, digits and "
            "hyphens, such as hkg",
            id="the index of a list item",
        ),
        pytest.param(
            "topology.regions[0].name",
            "x" * 24,
            f"spec.topology.regions[0].name is {'x' * 24}, longer than 23; shorten it",
            id="text that is too long",
        ),
        pytest.param("topology", "hkg", "spec.topology is hkg, not a map; write fields", id="text for an object"),
        pytest.param("topology.regions", "hkg", "spec.topology.regions is hkg, not a list; write a list", id="text"),
        pytest.param(
            "retention.sessions",
            "30",
            "spec.retention.sessions is 30, not a duration; write numbers with ms, s, m, h, d, w or y, such as 1h30m",
            id="no duration",
        ),
        pytest.param(
            "retention.sessions", "1s", "spec.retention.sessions is 1s, below 1m; write 1m or more", id="a short one"
        ),
        pytest.param(
            "rollout.bakeTime", "8d", "spec.rollout.bakeTime is 8d, above 7d; write 7d or less", id="a long one"
        ),
        pytest.param(
            "resources.requests",
            {"cpu": 0.5},
            "spec.resources.requests.cpu is 0.5, not a quantity; write a number of 0 or more with an optional unit",
            id="a float for a quantity",
        ),
        pytest.param(
            "disruptionBudget",
            {"maxUnavailable": "half"},
            "spec.disruptionBudget.maxUnavailable is half, neither a count nor a percentage; write a number from 0",
            id="neither a count nor a percentage",
        ),
        pytest.param(
            "config",
            {"1ST": "x"},
            "spec.config has the key 1ST, not a name of a variable; write letters, digits and _",
            id="a map's key",
        ),
        pytest.param(
            "config", {"A" * 129: "x"}, ", longer than 128 characters; shorten it", id="a key that is too long"
        ),
        pytest.param(
            "traffic.hostname",
            "http://x",
            "spec.traffic.hostname is http://x, not a DNS name; write it alone, in lower case, without scheme",
            id="a URL for a hostname",
        ),
        pytest.param(
            "monitoring.labels",
            {"a..b/x": "y"},
            "spec.monitoring.labels has the key a..b/x, not a key of a label or annotation; write up to 63 letters",
            id="a label's key whose prefix is no DNS name",
        ),
        pytest.param("config", {"A": 1}, "spec.config.A is 1, not text; write text in quotes", id="a map's value"),
        pytest.param(
            "residency",
            {"jurisdictions": ["HK", "HK"]},
            "in which HK is there twice; leave one of them out",
            id="a value twice in a set",
        ),
    ],
)
def test_a_message_names_field_value_and_cure(field: str, value: Any, message: str) -> None:
    (problem,) = said(chat(**{"spec." + field: value}))
    assert message in problem


def test_everything_that_is_wrong_is_said_at_once() -> None:
    problems = said(chat(spec__replicas=-1, spec__image=ABSENT, spec__imagePullPolicy="x"))
    assert [problem.split()[0] for problem in problems] == ["spec.image", "spec.imagePullPolicy", "spec.replicas"]


def test_a_long_value_is_shortened() -> None:
    (problem,) = said(chat(spec__image="x" * 10_000))
    assert "(10002 characters)" in problem
    assert len(problem) < 400


def test_a_long_key_is_shortened() -> None:
    (problem,) = said(chat(spec__config={"A" * 10_000: "x"}))
    assert len(problem) < 400


def test_a_value_with_control_characters_stays_on_one_line() -> None:
    (problem,) = said(chat(spec__image="a\nb\x1b[31m"))
    assert "\n" not in problem
    assert "\x1b" not in problem


def test_the_spec_is_missing_altogether() -> None:
    assert said(chat(spec=ABSENT)) == ["spec is missing; write it"]


def test_null_counts_as_absent_as_the_api_server_prunes_it() -> None:
    parsed = parse("ChatService", chat(spec__replicas=None, spec__storage=None, spec__rollout__bakeTime=None))
    assert parsed.spec.replicas == 2
    assert parsed.spec.rollout.bake_time == timedelta(minutes=1)


def test_unknown_fields_are_ignored_as_the_api_server_prunes_them() -> None:
    assert parse("ChatService", chat(spec__replcas=3)).spec.replicas == 2


def test_unknown_fields_are_refused_when_strict() -> None:
    problems = said(chat(spec__replcas=3, spec__topology__regions=[{"name": "hkg", "rol": "Primary"}]), strict=True)
    assert problems == [
        "spec.topology.regions[0].rol is Primary, a field that does not exist; remove it, or correct its spelling "
        "(kubectl explain lists the fields)",
        "spec.replcas is 3, a field that does not exist; remove it, or correct its spelling "
        "(kubectl explain lists the fields)",
    ]


def test_unknown_fields_beside_spec_are_refused_when_strict() -> None:
    assert said(chat(sepc={}), strict=True) == [
        "sepc is {}, a field that does not exist; remove it, or correct its spelling (kubectl explain lists the fields)"
    ]


def test_the_wrong_api_version_is_refused_when_strict() -> None:
    assert said(chat(apiVersion="roadstead.dev/v1"), strict=True) == [
        "apiVersion is roadstead.dev/v1, not roadstead.dev/v1alpha1; write roadstead.dev/v1alpha1"
    ]


def test_a_missing_name_is_refused_when_strict() -> None:
    assert said(chat(metadata__name=ABSENT), strict=True) == ["metadata.name is missing; write it, such as hello"]


def test_generate_name_does_for_a_name() -> None:
    parse("ChatService", chat(metadata__name=ABSENT, metadata__generateName="hello-"), strict=True)


def test_a_status_that_cannot_be_read_counts_as_empty() -> None:
    parsed = parse("ChatService", chat(status={"observedGeneration": "seven", "revision": "r1"}))
    assert parsed.status.observed_generation == 0
    assert parsed.status.revision == ""


def test_a_status_of_a_newer_version_is_told_from_an_empty_one() -> None:
    """Taken for empty, it would have a rollout begin anew in all regions at once."""
    newer = chat(status={"regions": [{"name": "hkg", "phase": "SomethingNew"}]})
    assert not is_status_readable(ChatServiceStatus, newer)
    assert is_status_readable(ChatServiceStatus, chat())
    assert is_status_readable(ChatServiceStatus, chat(status={"observedGeneration": 7, "aNewField": 1}))


def test_a_status_is_read() -> None:
    parsed = parse(
        "ChatService", chat(status={"observedGeneration": 7, "regions": [{"name": "hkg", "phase": "Ready"}]})
    )
    assert parsed.status.observed_generation == 7
    assert parsed.status.regions[0].name == "hkg"


def test_metadata_is_read_as_the_api_server_writes_it() -> None:
    parsed = parse(
        "Region",
        region(
            metadata__uid="u",
            metadata__generation=4,
            metadata__resourceVersion="17",
            metadata__deletionTimestamp="2026-11-22T05:07:57Z",
            metadata__finalizers=["roadstead.dev/children"],
            metadata__managedFields=[{"manager": "kubectl"}],
        ),
    )
    assert (parsed.metadata.uid, parsed.metadata.generation, parsed.metadata.resource_version) == ("u", 4, "17")
    assert parsed.metadata.deletion_timestamp is not None
    assert parsed.metadata.finalizers == ("roadstead.dev/children",)


def test_a_model_cannot_be_changed() -> None:
    parsed = parse("ChatService", chat())
    with pytest.raises(ValueError, match="frozen"):
        parsed.spec.replicas = 5  # type: ignore[misc]


def test_dump_gives_back_what_was_read() -> None:
    body = chat(spec__retention__sessions="30d", spec__topology__regions=[{"name": "hkg", "replicas": 3}])
    spec = dump(parse("ChatService", body))["spec"]
    assert spec["retention"]["sessions"] == "30d"
    assert spec["topology"]["regions"] == [{"name": "hkg", "replicas": 3}]
    assert "storage" not in spec
    assert json.loads(json.dumps(spec)) == spec


def test_an_unknown_kind_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        parse("Pod", {})


def test_names_on_the_wire_that_camel_case_alone_would_spoil() -> None:
    body = chat(spec__autoscaling={"maxReplicas": 5, "targetCPUUtilizationPercentage": 50})
    parsed = parse("ChatService", body)
    assert parsed.spec.autoscaling is not None
    assert parsed.spec.autoscaling.target_cpu_utilization_percentage == 50
    assert parse("Region", region(status={"clusterID": "x"})).status.cluster_id == "x"


def test_an_empty_selector_is_not_an_absent_one() -> None:
    parsed = parse("ChatService", chat(spec__traffic__allowFrom=[{"namespaceSelector": {}}]))
    (peer,) = parsed.spec.traffic.allow_from
    assert peer.namespace_selector is not None
    assert peer.pod_selector is None
    assert dump(peer)["namespaceSelector"] == {"matchLabels": {}, "matchExpressions": []}


def test_the_role_of_a_region() -> None:
    topology = {"mode": "ActivePassive", "regions": [{"name": "hkg", "role": "Primary"}, {"name": "sin"}]}
    parsed = parse("ChatService", chat(spec__topology=topology)).spec.topology
    assert parsed.mode is TopologyMode.ACTIVE_PASSIVE
    assert parsed.role_of("hkg") is Role.PRIMARY
    assert parsed.role_of("sin") is Role.STANDBY
    with pytest.raises(KeyError):
        parsed.role_of("lon")
    assert parse("ChatService", chat()).spec.topology.role_of("hkg") is None


@pytest.mark.parametrize(
    ("jurisdiction", "allowed", "within"),
    [
        pytest.param("HK", ("HK",), True, id="the same country"),
        pytest.param("US-CA", ("US",), True, id="a country contains its subdivisions"),
        pytest.param("US", ("US-CA",), False, id="a subdivision does not contain its country"),
        pytest.param("US-NY", ("US-CA",), False, id="another subdivision"),
        pytest.param("CN", ("HK", "SG"), False, id="another country"),
    ],
)
def test_lies_within(jurisdiction: str, allowed: tuple[str, ...], within: bool) -> None:
    assert lies_within(jurisdiction, allowed) is within


@pytest.mark.parametrize("module", ["parse", "kinds", "advice", "conditions"])
def test_importing_the_api_is_cheap(module: str) -> None:
    code = f"import sys, roadstead.api.{module}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"kopf", "kubernetes", "yaml", "aiohttp", "jinja2"} & set(loaded)


def test_the_models_are_told_apart() -> None:
    assert isinstance(parse("Region", region()), Region)
    assert isinstance(parse("ChatService", chat()), ChatService)
