"""Status, and what people see with kubectl."""

from __future__ import annotations

import http
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from api_key_cases import FINGERPRINT, key_version, ring
from approvals import approval
from clusters import fresh_namespace, kubectl, run_kubectl
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.approval import ApprovalPhase, ApprovalStatus
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
from roadstead.api.keyring import (
    KekProviderKind,
    KeyRingPhase,
    KeyRingStatus,
    RingKek,
    RingRegion,
    RingRewrap,
    RingWait,
)
from roadstead.api.keyversion import KeyMark, KeyPhase, KeyVersionStatus
from roadstead.api.kinds import BY_NAME, KINDS, Kind
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
KEY_RING_STATUS = KeyRingStatus(
    observed_generation=1,
    ring_id="r0123456789ab",
    phase=KeyRingPhase.BLOCKED,
    primary=6,
    primary_since=NOW,
    coming=7,
    next_rotation=NOW,
    blocked_by="NotProved in sin",
    versions=5,
    waits=(RingWait(reason="NotProved", region="sin", since=NOW, message="m"),),
    kek=RingKek(
        generation=2,
        operation="0123456789abcdef",
        fingerprint=FINGERPRINT,
        provider=KekProviderKind.PKCS11,
        since=NOW,
        next_rotation=NOW,
        wrapped=4,
        stored=5,
    ),
    regions=(
        RingRegion(
            name="hkg",
            generation=9,
            primary=6,
            versions="2-6",
            reads="6",
            writes=6,
            proved=2,
            consumers=3,
            keyset="0123456789abcdef",
            excluded=True,
            message="m",
        ),
    ),
    rewrap=(RingRewrap(version=3, remaining=4, silent=1),),
    removable=2,
    kek_above=1,
    retention="90d",
    conditions=READY,
)
KEY_VERSION_STATUS = KeyVersionStatus(
    phase=KeyPhase.RETIRED,
    since=NOW,
    staged_at=NOW,
    fingerprint=FINGERPRINT,
    mark=KeyMark.SUSPENDED,
    returned=True,
    retained_from=NOW,
    rewrapped=True,
)
APPROVAL_STATUS = ApprovalStatus(
    observed_generation=1,
    phase=ApprovalPhase.EXECUTING,
    approved="1/1",
    message="m",
    consumed_at=NOW,
    conditions=READY,
)
STATUSES = {
    "ChatService": CHAT_STATUS,
    "Region": REGION_STATUS,
    "KeyRing": KEY_RING_STATUS,
    "KeyVersion": KEY_VERSION_STATUS,
    "Approval": APPROVAL_STATUS,
}


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    """One for the module: nearly everything here is a dry run, and the rest deletes what it made."""
    return fresh_namespace(hub, "api")


@pytest.fixture
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


def folder(kind: str, namespace: str) -> str:
    """Where objects of a kind lie."""
    where = f"namespaces/{namespace}/" if BY_NAME[kind].namespaced else ""
    return f"/apis/roadstead.dev/v1alpha1/{where}{BY_NAME[kind].plural}"


@pytest.fixture
def placed(api: Api, namespace: str) -> Iterator[Body]:
    """An object of each kind with every field of its status set, through /status where there is that."""
    objects = [
        chat(namespace=namespace),
        region("api-kubectl"),
        ring(namespace=namespace),
        key_version(namespace=namespace, status=dump(KEY_VERSION_STATUS)),
        approval(namespace=namespace),
    ]
    stored: Body = {}
    for body in objects:
        kind, name = body["kind"], body["metadata"]["name"]
        stored[kind] = api.request("POST", folder(kind, namespace), body)
        if BY_NAME[kind].status_subresource:
            status = {"status": dump(STATUSES[kind])}
            stored[kind] = api.request("PATCH", f"{folder(kind, namespace)}/{name}/status", status)
    yield stored
    for body in objects:
        api.request("DELETE", f"{folder(body['kind'], namespace)}/{body['metadata']['name']}")


def unset(model: BaseModel) -> list[str]:
    """Fields that the status above leaves out: they would not be compared."""
    missing = [name for name in type(model).model_fields if name not in model.model_fields_set]
    for value in dict(model).values():
        for item in value if isinstance(value, tuple) else (value,):
            missing += unset(item) if isinstance(item, BaseModel) else []
    return missing


def test_every_field_of_a_status_is_in_the_schema(placed: Body) -> None:
    assert set(STATUSES) == set(BY_NAME)
    for kind, status in STATUSES.items():
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


def test_the_columns_of_a_key_ring(hub: BareCluster, namespace: str, placed: Body) -> None:
    head, row = kubectl(hub, "get", "ring", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "PRIMARY", "NEXT", "PHASE", "BLOCKED", "BY", "AGE"]
    assert row.split()[:6] == ["chat", "6", "2026-11-22T12:00:00Z", "Blocked", "NotProved", "in"]
    head, row = kubectl(hub, "get", "keyrings", "-n", namespace, "-o", "wide").splitlines()
    assert head.split()[6:] == ["VERSIONS", "MESSAGE", "AGE"]
    assert "5" in row.split()
    assert "all is well" in row


def test_the_columns_of_a_key_version(hub: BareCluster, namespace: str, placed: Body) -> None:
    head, row = kubectl(hub, "get", "kv", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "RING", "NUMBER", "PHASE", "MARK", "SINCE", "AGE"]
    assert row.split()[:5] == ["chat-v7", "chat", "7", "Retired", "Suspended"]
    assert "invalid" not in row


def test_get_roadstead_lists_every_kind(hub: BareCluster, namespace: str, placed: Body) -> None:
    output = kubectl(hub, "get", "roadstead", "-n", namespace, "-o", "name")
    assert "region.roadstead.dev/api-kubectl" in output
    assert "chatservice.roadstead.dev/hello" in output
    assert "keyring.roadstead.dev/chat" in output
    assert "keyversion.roadstead.dev/chat-v7" in output


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
        pytest.param("ring.spec.distribution", ["in the clear", "ENUM: Cleartext"], id="what must be said"),
        pytest.param("ring.spec", ["distribution <string> -required-", "lead", "Default: 2h"], id="what is required"),
        pytest.param("ring.spec.schedule.every", ["counted from the anchor", "1m to 5y", "72h"], id="a period"),
        pytest.param("kv.status", ["Required when the object is made", "phase", "mark"], id="a status that is its own"),
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
    path = folder(body["kind"], namespace)
    if BY_NAME[body["kind"]].namespaced:
        body["metadata"]["namespace"] = namespace
    else:
        body["metadata"]["name"] = f"x-{body['metadata']['name']}"  # the real name may be another test's
    stored = api.request("POST", f"{path}?fieldValidation=Strict", body)
    api.request("DELETE", f"{path}/{body['metadata']['name']}")
    assert parse(body["kind"], stored).spec == parse(body["kind"], body, strict=True).spec
