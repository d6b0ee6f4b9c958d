"""The chart's webhooks on a control plane that calls them on loopback, where no Service leads."""

from __future__ import annotations

from typing import Any

import yaml

from clusters import kubectl, kubectl_json
from localkube.bare import BareCluster
from localoperator import NAMESPACE, chart

CONFIGURATION = "roadstead"


def install_webhooks(cluster: BareCluster, port: int, *, path: str | None = None) -> None:
    """Apply the chart's webhook configuration with URLs instead of its Service; everything else as the chart has it.

    Args:
        cluster: the hub.
        port: where the webhooks listen on loopback.
        path: another path for every webhook, as a typing error would have it.
    """
    configuration = next(item for item in chart() if item["kind"] == "ValidatingWebhookConfiguration")
    for webhook in configuration["webhooks"]:
        service = webhook["clientConfig"].pop("service")
        webhook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path or service['path']}"
    kubectl(cluster, "apply", "-f", "-", stdin=yaml.safe_dump(configuration))


def bundles(cluster: BareCluster) -> list[str]:
    """The caBundle of each webhook."""
    found = kubectl_json(cluster, "get", "validatingwebhookconfiguration", CONFIGURATION)
    return [webhook["clientConfig"].get("caBundle", "") for webhook in found["webhooks"]]


def region(name: str, jurisdiction: str = "HK", cluster: Any = None, **spec: Any) -> dict[str, Any]:
    """A Region."""
    whole = {"cluster": cluster or {"inCluster": {}}, "jurisdiction": jurisdiction, **spec}
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Region", "metadata": {"name": name}, "spec": whole}


def service(name: str, namespace: str, *regions: str, **spec: Any) -> dict[str, Any]:
    """A ChatService."""
    whole = {
        "image": "registry.example/chat:1.4.0",
        "topology": {"mode": "ActiveActive", "regions": [{"name": region} for region in regions]},
        "replicas": 2,
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
        "tls": {"secretName": "chat-tls"},
        **spec,
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "ChatService", "metadata": metadata, "spec": whole}


def apply(cluster: BareCluster, *objects: dict[str, Any]) -> str:
    """Apply; the words of kubectl, whether it was let or not."""
    return kubectl(cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all(objects), check=False)


__all__ = ["CONFIGURATION", "NAMESPACE", "apply", "bundles", "install_webhooks", "region", "service"]
