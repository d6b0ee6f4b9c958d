"""The objects of a chat service on a real API server: every template is accepted as it stands, and settles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusters import StartCluster, fresh_namespace, kubectl
from localkube import crds
from localkube.bare import BareCluster
from localkube.rest import ApiError
from roadstead.kernel import objects
from roadstead.kernel.objects import Child
from unit.chat import cases
from unit.chat.services import TEMPLATES


@pytest.fixture(scope="module")
def quiet(start_cluster: StartCluster) -> BareCluster:
    """An API server with no controller that would write after us, and with the kinds that a cluster need not serve."""
    cluster = start_cluster("quiet", kwok=False, scheduler=False, controllers=True)
    crds.apply(cluster.api, [crds.path("servicemonitors"), crds.path("certificates")])
    return cluster


@pytest.fixture
def restricted(quiet: BareCluster) -> str:
    """A namespace that enforces Pod Security "restricted"."""
    name = fresh_namespace(quiet, "restricted")
    kubectl(quiet, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    return name


def moved(child: Child, namespace: str) -> dict[str, Any]:
    """The child's body in another namespace than that of the golden files."""
    return {**child.body, "metadata": {**child.body["metadata"], "namespace": namespace}}


def apply(cluster: BareCluster, child: Child, namespace: str) -> Any:
    """Server-side apply that refuses unknown and duplicate fields."""
    query = "fieldManager=roadstead&force=true&fieldValidation=Strict"
    return cluster.api.request("APPLY", f"{child.gvr.path(namespace, child.name)}?{query}", moved(child, namespace))


def owned(answer: Any) -> Any:
    (entry,) = (
        e for e in answer["metadata"]["managedFields"] if e["manager"] == "roadstead" and e["operation"] == "Apply"
    )
    return entry


@pytest.mark.parametrize("case", cases.CASES)
def test_every_template_applied_twice_changes_nothing_the_second_time(
    quiet: BareCluster, restricted: str, case: str
) -> None:
    for child in cases.children(case).values():
        first, second = (apply(quiet, child, restricted) for _ in range(2))
        assert owned(first) == owned(second), f"{child} does not settle"
        others = {entry["manager"] for entry in second["metadata"]["managedFields"]} - {"roadstead"}
        # A controller may have written a status in between; without one, nothing at all was written.
        assert others or first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"], f"{child}"


def pod_of(child: Child, namespace: str) -> dict[str, Any]:
    """A pod as the workload's controller would make it."""
    template = child.body["spec"]["template"]
    spec = dict(template["spec"])
    if child.gvr == objects.STATEFUL_SETS:  # its controller adds the volume of the claim
        spec["volumes"] = [*spec["volumes"], {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    metadata = {**template["metadata"], "name": "probe", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("case", cases.CASES)
def test_pods_are_admitted_under_pod_security_restricted(quiet: BareCluster, restricted: str, case: str) -> None:
    children = cases.children(case)
    (account,) = (child for child in children.values() if child.gvr == objects.SERVICE_ACCOUNTS)
    (workload,) = (child for child in children.values() if child.gvr in objects.WORKLOAD_TYPES)
    apply(quiet, account, restricted)
    pod = pod_of(workload, restricted)
    path = f"/api/v1/namespaces/{restricted}/pods"
    with pytest.raises(ApiError, match="violates PodSecurity"):
        quiet.api.create(path, {**pod, "spec": {**pod["spec"], "securityContext": {"runAsNonRoot": True}}})
    assert quiet.api.create(path, pod)


def test_the_cases_use_every_template() -> None:
    written = {json.loads(TEMPLATES[name].source).get("kind") for name in TEMPLATES.names} - {None}
    assert {child.gvr.kind for case in cases.CASES for child in cases.children(case).values()} == written
