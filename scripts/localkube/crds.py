"""CustomResourceDefinitions: those of other projects from their Go modules, and applying any to a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from localkube import binaries
from localkube.rest import Api, ApiError

ESTABLISHED_SECONDS = 30.0
_CERT_MANAGER = ("github.com/cert-manager/cert-manager", "deploy/crds/cert-manager.io_{name}.yaml")
_PROMETHEUS = (
    "github.com/prometheus-operator/prometheus-operator",
    "example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml",
)
KNOWN = {
    "certificaterequests": _CERT_MANAGER,
    "certificates": _CERT_MANAGER,
    "clusterissuers": _CERT_MANAGER,
    "issuers": _CERT_MANAGER,
    "podmonitors": _PROMETHEUS,
    "prometheusrules": _PROMETHEUS,
    "servicemonitors": _PROMETHEUS,
}
_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def path(name: str) -> Path:
    """Return the YAML file of another project's CRD by its plural name, for example ``servicemonitors``.

    Raises:
        LookupError: Not among `KNOWN`.
    """
    try:
        module, pattern = KNOWN[name]
    except KeyError:
        raise LookupError(f"no CRD named {name!r}; known are {', '.join(sorted(KNOWN))}") from None
    return binaries.module_dir(module) / pattern.format(name=name)


def apply(api: Api, files: Iterable[Path], *, seconds: float = ESTABLISHED_SECONDS) -> list[str]:
    """Apply every CRD of ``files`` server-side and wait until each is served; return their names.

    Raises:
        TimeoutError: One is not Established after ``seconds``; the message has its conditions.
    """
    names = []
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            if document and document["kind"] == "CustomResourceDefinition":
                name = document["metadata"]["name"]
                api.request("APPLY", f"{_PATH}/{name}?fieldManager=localkube&force=true", document)
                names.append(name)
    deadline = time.monotonic() + seconds
    for name in names:
        _wait_established(api, name, deadline)
    return names


def _wait_established(api: Api, name: str, deadline: float) -> None:
    while True:
        definition = api.request("GET", f"{_PATH}/{name}")
        conditions = definition.get("status", {}).get("conditions") or []
        if _is_true(conditions, "Established") and _is_served(api, definition):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"CustomResourceDefinition {name} is not served; conditions are {conditions}")
        time.sleep(0.05)


def _is_true(conditions: list[dict[str, Any]], kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def _is_served(api: Api, definition: dict[str, Any]) -> bool:
    """Established comes a moment before discovery knows the kind, and clients that ask too early cache its absence."""
    spec = definition["spec"]
    groups = api.request("GET", "/apis")["groups"]
    if spec["group"] not in {group["name"] for group in groups}:
        return False
    return all(
        spec["names"]["plural"] in _resources(api, spec["group"], version["name"])
        for version in spec["versions"]
        if version["served"]
    )


def _resources(api: Api, group: str, version: str) -> set[str]:
    try:
        return {resource["name"] for resource in api.request("GET", f"/apis/{group}/{version}")["resources"]}
    except ApiError:
        return set()  # 404 until the first kind of this version is served
