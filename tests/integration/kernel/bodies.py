"""Bodies of every child type, as small as they can be and with everything that a server defaults or rewrites."""

from __future__ import annotations

from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.objects import Child, Gvr

SELECTOR = {"app.kubernetes.io/instance": "x", objects.REGION_LABEL: "kern"}
NOBODY = {
    "podSelector": {
        "matchExpressions": [
            {"key": objects.REGION_LABEL, "operator": "Exists"},
            {"key": objects.REGION_LABEL, "operator": "DoesNotExist"},
        ]
    }
}
"""A NetworkPolicy peer that matches no pod: the deny that is not an empty list."""
IMAGE = "registry.example/chat:1"


def pod_template(*, env: list[dict[str, Any]] | None = None, image: str = IMAGE) -> dict[str, Any]:
    """Ports without protocol, ``1000m``, ``value: ""``: each is rewritten or defaulted by the server."""
    return {
        "metadata": {"labels": dict(SELECTOR)},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [
                {
                    "name": "chat",
                    "image": image,
                    "env": env if env is not None else [{"name": "EMPTY", "value": ""}, {"name": "FULL", "value": "1"}],
                    "ports": [{"containerPort": 8443}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
                    "resources": {
                        "requests": {"cpu": "1000m", "memory": "0.5Gi"},
                        "limits": {"cpu": "2.50", "memory": "1024Mi"},
                    },
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "dns"}},
                    "securityContext": {"capabilities": {"drop": ["ALL"]}},
                }
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "tolerations": [{"key": "x", "operator": "Exists"}],
        },
    }


def deployment(name: str = "x", *, replicas: int | None = 2, **template: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"selector": {"matchLabels": dict(SELECTOR)}, "template": pod_template(**template)}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str = "x") -> dict[str, Any]:
    template = pod_template()
    template["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1024Mi"}}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "serviceName": "x-peers",
            "selector": {"matchLabels": dict(SELECTOR)},
            "template": template,
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
                }
            ],
        },
    }


BODIES: dict[Gvr, dict[str, Any]] = {
    objects.SERVICE_ACCOUNTS: {"automountServiceAccountToken": False},
    objects.CONFIG_MAPS: {"data": {"KEY": "value", "EMPTY": ""}, "immutable": True},
    objects.SECRETS: {"type": "Opaque", "data": {"tls.crt": "Zm9v"}, "stringData": {"word": "<&>"}},
    objects.SERVICES: {
        "spec": {
            "selector": dict(SELECTOR),
            "ports": [{"name": "wss", "port": 443, "targetPort": 8443}, {"name": "d", "port": 53, "protocol": "UDP"}],
        }
    },
    objects.DEPLOYMENTS: {"spec": deployment()["spec"]},
    objects.STATEFUL_SETS: {"spec": stateful_set()["spec"]},
    objects.HORIZONTAL_POD_AUTOSCALERS: {
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
            "minReplicas": 2,
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                }
            ],
            "behavior": {"scaleDown": {"policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}},
        }
    },
    objects.POD_DISRUPTION_BUDGETS: {"spec": {"maxUnavailable": "25%", "selector": {"matchLabels": dict(SELECTOR)}}},
    objects.NETWORK_POLICIES: {
        "spec": {
            "podSelector": {"matchLabels": dict(SELECTOR)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [NOBODY]}, {"ports": [{"port": 8443}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
        }
    },
    objects.CONTROLLER_REVISIONS: {"data": {"template": "1"}, "revision": 1},
    objects.ROLES: {
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"], "verbs": ["patch"]}]
    },
    objects.ROLE_BINDINGS: {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"},
        "subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": "default"}],
    },
}
"""One body of every type that every cluster serves, without metadata."""

SERVED = tuple(gvr for gvr in objects.CHILD_TYPES if gvr not in objects.OPTIONAL_TYPES)
"""Every child type of which `BODIES` must have one; a type that is added to the engine is tested or fails here."""


def child(gvr: Gvr, namespace: str, name: str = "x", **over: Any) -> Child:
    """A desired child of that type; ``over`` replaces parts of its body."""
    body = {
        "apiVersion": gvr.api_version,
        "kind": gvr.kind,
        "metadata": {"name": name, "namespace": namespace},
        **BODIES[gvr],
        **over,
    }
    return Child(gvr, namespace, name, body)
