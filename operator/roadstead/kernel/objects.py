"""Names of things: our keys, Kubernetes' types, and the children that rooms ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from roadstead.api.kinds import APPROVAL, CHAT_SERVICE, KEY_RING, KEY_VERSION, REGION, Kind

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "roadstead"
HUB_LABEL = "roadstead.dev/hub"
OWNER_KIND_LABEL = "roadstead.dev/owner-kind"
OWNER_NAMESPACE_LABEL = "roadstead.dev/owner-namespace"
OWNER_NAME_LABEL = "roadstead.dev/owner-name"
REGION_LABEL = "roadstead.dev/region"
OWNER_UID_ANNOTATION = "roadstead.dev/owner-uid"
BODY_HASH_ANNOTATION = "roadstead.dev/body-hash"
FINALIZER = "roadstead.dev/children"

FIELD_MANAGER = "roadstead"
STATUS_MANAGER = "roadstead-status"
HANDOVER_MANAGER = "roadstead-handover"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One of our custom resources. Every trigger enqueues a key and nothing else.

    ``namespace`` is empty for cluster-scoped kinds.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Gvr:
    """A resource type of the Kubernetes API, with what is needed to build its URL and its bodies."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``group/version``, or only the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object or a subresource."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [base]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.resource)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True, slots=True)
class Child:
    """An object that should exist in one cluster; ``body`` is complete but for our labels and annotations."""

    gvr: Gvr
    namespace: str
    name: str
    body: Mapping[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.gvr.kind} {self.namespace}/{self.name}"


def gvr_of(kind: Kind) -> Gvr:
    """The resource type of one of our own kinds."""
    return Gvr(kind.group, kind.version, kind.plural, kind.kind, namespaced=kind.namespaced)


REGIONS = gvr_of(REGION)
CHAT_SERVICES = gvr_of(CHAT_SERVICE)
KEY_RINGS = gvr_of(KEY_RING)
KEY_VERSIONS = gvr_of(KEY_VERSION)
APPROVALS = gvr_of(APPROVAL)
WITHOUT_CONDITIONS = frozenset({KEY_VERSIONS.kind})
"""Kinds that are never Ready or not: entries of a ledger."""
TLS_TYPE = "kubernetes.io/tls"
"""Type of a Secret with a certificate and its key; no other can be told from all Secrets by a field selector."""
OWNER_KINDS = frozenset({CHAT_SERVICES.kind, KEY_RINGS.kind})
"""Kinds that have children."""

NAMESPACES = Gvr("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Gvr("", "v1", "nodes", "Node", namespaced=False)
PODS = Gvr("", "v1", "pods", "Pod")
CONFIG_MAPS = Gvr("", "v1", "configmaps", "ConfigMap")
SECRETS = Gvr("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Gvr("", "v1", "serviceaccounts", "ServiceAccount")
SERVICES = Gvr("", "v1", "services", "Service")
DEPLOYMENTS = Gvr("apps", "v1", "deployments", "Deployment")
STATEFUL_SETS = Gvr("apps", "v1", "statefulsets", "StatefulSet")
CONTROLLER_REVISIONS = Gvr("apps", "v1", "controllerrevisions", "ControllerRevision")
HORIZONTAL_POD_AUTOSCALERS = Gvr("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
POD_DISRUPTION_BUDGETS = Gvr("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICIES = Gvr("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
SERVICE_MONITORS = Gvr("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor")
CERTIFICATES = Gvr("cert-manager.io", "v1", "certificates", "Certificate")
ROLES = Gvr("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Gvr("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASES = Gvr("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Gvr("events.k8s.io", "v1", "events", "Event")

WORKLOAD_TYPES = (DEPLOYMENTS, STATEFUL_SETS)
"""Types whose status says whether a region is ready."""

CHILD_TYPES: tuple[Gvr, ...] = (
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICES,
    DEPLOYMENTS,
    STATEFUL_SETS,
    HORIZONTAL_POD_AUTOSCALERS,
    POD_DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    SERVICE_MONITORS,
    CERTIFICATES,
    CONTROLLER_REVISIONS,
    ROLES,
    ROLE_BINDINGS,
)
"""Every type of child that any version of this operator has created; prune looks at all of them.

Only ever append: the position in this tuple is stored in the packed cache and in digests.
"""

HUB_ONLY_TYPES = frozenset({CONTROLLER_REVISIONS})
"""Types of which there are children beside their owner only, never in a member."""

FULL_TYPES = frozenset({*WORKLOAD_TYPES, SERVICES})
"""Types watched in full, because something in them beside the metadata is needed; all others by metadata only."""

OPTIONAL_TYPES = frozenset({SERVICE_MONITORS, CERTIFICATES})
"""Types that a cluster may not serve; their absence is normal."""
