"""Status, and what people see with kubectl."""

from __future__ import annotations

import http
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from clusters import fresh_namespace, kubectl, run_kubectl
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.chatservice import (
    ChatServiceStatus,
    RegionRolloutPhase,
    RegionStage,
    Role,
    RolloutPhase,
    RolloutStatus,
    ServiceRegionStatus,
)
from roadstead.api.conditions import ConditionType, Reason, set_condition
from roadstead.api.kinds import KINDS, Kind
from roadstead.api.parse import dump, parse
from roadstead.api.region import RegionCapacity, RegionPhase, RegionStatus
from specs import Body, chat, region, samples

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
READY = set_condition((), ConditionType.READY, True, Reason.READY, "all is well", generation=1, now=NOW)
CHAT_STATUS = ChatServiceStatus(
    observed_generation=1,
    revision="hello-5d8f",
    image="registry.example/roadstead-chat:0.0.9",
    ready_regions="1/1",
    regions=(
        ServiceRegionStatus(
            name="hkg",
            phase=RegionRolloutPhase.READY,
            role=Role.PRIMARY,
            revision="hello-5d8f",
            image="registry.example/roadstead-chat:0.0.9",
            last_good_revision="hello-4c7e",
            stage=RegionStage.SETTLED,
            since=NOW,
            desired_replicas=2,
            ready_replicas=2,
            address="10.0.0.1",
            message="m",
            applied="a1",
            input="b2",
        ),
    ),
    rollout=RolloutStatus(
        revision="hello-5d8f",
        previous="hello-4c7e",
        previous_image="registry.example/roadstead-chat:0.0.8",
        phase=RolloutPhase.COMPLETE,
        started_at=NOW,
        region="hkg",
        regions_done=1,
        regions_total=1,
        message="m",
    ),
    active_peaks=("eve",),
    conditions=READY,
)
REGION_STATUS = RegionStatus(
    observed_generation=1,
    phase=RegionPhase.HEALTHY,
    version="v1.36.3",
    cluster_id="0b9c",
    capacity=RegionCapacity(nodes=3, ready_nodes=2, cpu="8", memory="32Gi", pods=220),
    services=1,
    conditions=READY,
)


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    """One for the module: nearly everything here is a dry run, and the rest deletes what it made."""
    return fresh_namespace(hub, "api")


@pytest.fixture
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


@pytest.fixture
def placed(api: Api, namespace: str) -> Iterator[Body]:
    """A Region and a ChatService with every field of their status set through /status."""
    objects = [
        (f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/chatservices", chat(namespace=namespace), CHAT_STATUS),
        ("/apis/roadstead.dev/v1alpha1/regions", region("api-kubectl"), REGION_STATUS),
    ]
    stored: Body = {}
    for path, body, status in objects:
        api.request("POST", path, body)
        name = body["metadata"]["name"]
        stored[body["kind"]] = api.request("PATCH", f"{path}/{name}/status", {"status": dump(status)})
    yield stored
    for path, body, _ in objects:
        api.request("DELETE", f"{path}/{body['metadata']['name']}")


def unset(model: BaseModel) -> list[str]:
    """Fields that the status above leaves out: they would not be compared."""
    missing = [name for name in type(model).model_fields if name not in model.model_fields_set]
    for value in dict(model).values():
        for item in value if isinstance(value, tuple) else (value,):
            missing += unset(item) if isinstance(item, BaseModel) else []
    return missing


def test_every_field_of_a_status_is_in_the_schema(placed: Body) -> None:
    for kind, status in (("ChatService", CHAT_STATUS), ("Region", REGION_STATUS)):
        assert unset(status) == []
        assert placed[kind]["status"] == dump(status)
        assert parse(kind, placed[kind]).status == status


def test_status_is_dropped_when_an_object_is_created(api: Api, namespace: str) -> None:
    body = chat(namespace=namespace) | {"status": dump(CHAT_STATUS)}
    path = f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/chatservices?dryRun=All"
    assert "status" not in api.request("POST", path, body)


def test_a_status_that_breaks_the_schema_is_refused(api: Api, namespace: str, placed: Body) -> None:
    path = f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/chatservices/hello/status"
    with pytest.raises(ApiError) as caught:
        api.request("PATCH", path, {"status": {"rollout": {"phase": "Sideways"}}})
    assert caught.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY


def test_the_columns_of_a_chat_service(hub: BareCluster, namespace: str, placed: Body) -> None:
    head, row = kubectl(hub, "get", "chat", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "REGIONS", "ROLLOUT", "AGE"]
    assert row.split()[:5] == ["hello", "True", "Ready", "1/1", "Complete"]


def test_the_wide_columns_of_a_chat_service(hub: BareCluster, namespace: str, placed: Body) -> None:
    output = kubectl(hub, "get", "chatservices", "-n", namespace, "-o", "wide")
    assert "VERSION" in output
    assert "registry.example/roadstead-chat:0.1.0" in output
    assert "RUNS" in output and "registry.example/roadstead-chat:0.0.9" in output
    assert "all is well" in output


def test_the_columns_of_a_region(hub: BareCluster, placed: Body) -> None:
    head, row = kubectl(hub, "get", "rgn", "api-kubectl").splitlines()
    assert head.split() == ["NAME", "PHASE", "JURISDICTION", "VERSION", "NODES", "READY", "AGE"]
    assert row.split()[:6] == ["api-kubectl", "Healthy", "HK", "v1.36.3", "2", "True"]


def test_get_roadstead_lists_every_kind(hub: BareCluster, namespace: str, placed: Body) -> None:
    output = kubectl(hub, "get", "roadstead", "-n", namespace, "-o", "name")
    assert "region.roadstead.dev/api-kubectl" in output
    assert "chatservice.roadstead.dev/hello" in output


def test_wait_understands_the_conditions(hub: BareCluster, namespace: str, placed: Body) -> None:
    kubectl(hub, "wait", "--for=condition=Ready", "chat/hello", "-n", namespace, "--timeout=5s")
    assert run_kubectl(hub, "wait", "--for=condition=Stalled", "chat/hello", "-n", namespace, "--timeout=1s").returncode


@pytest.mark.parametrize(
    ("field", "words"),
    [
        pytest.param(
            "chatservice.spec.topology", ["Where the service runs", "mode", "regions", "ActivePassive"], id="a part"
        ),
        pytest.param(
            "chatservice.spec.autoscaling.peaks.scaleUpBefore", ["How long before each start", "0s to 7d"], id="a unit"
        ),
        pytest.param("chatservice.spec.storage.size", ["in bytes", "Cannot change"], id="what cannot change"),
        pytest.param("region.spec.cluster", ["Exactly one member", "inCluster", "kubeconfigSecretRef"], id="a choice"),
        pytest.param("chatservice.status.regions.phase", ["What the region is doing"], id="the status"),
    ],
)
def test_explain_is_the_manual(hub: BareCluster, field: str, words: list[str]) -> None:
    text = " ".join(kubectl(hub, "explain", field).split())
    for word in words:
        assert word in text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_server_finds_nothing_wrong_with_the_crd(api: Api, kind: Kind) -> None:
    definition = api.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.crd_name}")
    conditions = {item["type"]: item["status"] for item in definition["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("name", samples())
def test_every_sample_is_accepted_by_strict_clients(api: Api, namespace: str, name: str) -> None:
    body: dict[str, Any] = samples()[name]
    if body["kind"] == "Region":
        path = "/apis/roadstead.dev/v1alpha1/regions"
        body["metadata"]["name"] = f"x-{body['metadata']['name']}"  # the real name may be another test's
    else:
        path = f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/chatservices"
        body["metadata"]["namespace"] = namespace
    stored = api.request("POST", f"{path}?fieldValidation=Strict", body)
    api.request("DELETE", f"{path}/{body['metadata']['name']}")
    assert parse(body["kind"], stored).spec == parse(body["kind"], body, strict=True).spec
