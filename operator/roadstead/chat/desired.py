"""The objects that a service is made of in one region.

Everything that restarts pods comes from the *revision*, which the rollout hands out region by region; all the rest
comes from the spec as it is now. The shell adds owner labels and annotations; nothing here knows a uid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import orjson

from roadstead.api.chatservice import Autoscaling, ChatService, Role, Tls
from roadstead.api.conditions import Reason
from roadstead.api.selectors import LabelSelector, NetworkPeer
from roadstead.chat.finding import Finding
from roadstead.chat.placement import RegionFacts
from roadstead.chat.revisions import Revision
from roadstead.kernel import objects
from roadstead.kernel.objects import Child, Gvr
from roadstead.kernel.templates import TemplateSet

APP: Final = "chat"
EXTERNAL_DNS_HOSTNAME: Final = "external-dns.alpha.kubernetes.io/hostname"
PRE_STOP: Final = timedelta(seconds=5)
"""How long a pod that is going goes on as if nothing were: until the last proxy has stopped sending clients to it."""
FLUSH: Final = timedelta(seconds=5)
"""What is left between the end of the drain and the kill."""
SHORT_GRACE: Final = timedelta(seconds=20)
"""Below this grace period there is no time for either; the drain has all of it but a second."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The content of a kubernetes.io/tls Secret, base64 as the API has it. Never shown in a repr."""

    data: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the objects of one region depend on beside spec, region and revision.

    Attributes:
        served: types that the region's API server serves, of those that it need not.
        certificate: the Secret that the revision's ``tls.secretName`` names in the hub; None when it is not there.
        floor: replicas that the active peaks ask for; 0 when there is none.
        present_replicas: what the status says the region was last meant to have; None before its first time. In a
            cordoned region it is the most that it gets.
        last_good: the revision that the region ran before, while pods of it may still run.
    """

    served: frozenset[Gvr] = frozenset()
    certificate: Certificate | None = None
    floor: int = 0
    present_replicas: int | None = None
    last_good: Revision | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How many pods a region should have: ``minimum`` to ``maximum``; without an autoscaler the two are the same."""

    autoscaled: bool
    minimum: int
    maximum: int


def build(
    service: ChatService, region: RegionFacts, revision: Revision, observed: Observed, templates: TemplateSet
) -> tuple[Child, ...]:
    """Every object of the service in one region, complete but for owner labels and annotations.

    Raises:
        ValueError: something in `PREREQUISITES` is missing; what is there must then be left as it is, because a partial
            answer would have the rest deleted.
        TemplateError: a template is wrong.
    """
    if (finding := missing(revision, observed)) is not None:
        raise ValueError(finding.message)
    names = _Names(service.metadata.name, region.name, service.metadata.namespace)
    size = scale(service, region, observed)
    variables = _variables(service, region, revision, observed, size, names)
    pod = revision.pod.render(variables)
    children = [
        names.child(gvr, name, templates[template].render(variables))
        for gvr, name, template in _plain_children(size, revision, observed, names)
    ]
    children.append(
        names.child(names.workload(service), names.base, revision.workload.render({**variables, "pod": pod}))
    )
    children += _config_maps(revision, observed, names, variables, templates)
    return tuple(children)


def missing(revision: Revision, observed: Observed) -> Finding | None:
    """What must be there before a region's objects can be made and is not; None when nothing is missing."""
    return next((finding for check in PREREQUISITES if (finding := check(revision, observed)) is not None), None)


def certificate_is_missing(revision: Revision, observed: Observed) -> Finding | None:
    """The Secret with the certificate must be in the hub."""
    secret = revision.spec.tls.secret_name
    if secret is None or observed.certificate is not None:
        return None
    return Finding(
        Reason.SECRET_MISSING,
        f"spec.tls.secretName is {secret}, but this namespace has no such Secret; create it (type kubernetes.io/tls)",
    )


def issuer_is_not_served(revision: Revision, observed: Observed) -> Finding | None:
    """A certificate from an issuer needs cert-manager in the region's cluster."""
    issuer = revision.spec.tls.issuer_ref
    if issuer is None or objects.CERTIFICATES in observed.served:
        return None
    return Finding(
        Reason.NOT_AVAILABLE,
        f"spec.tls.issuerRef names {issuer.kind} {issuer.name}, but the region's cluster does not serve "
        "certificates.cert-manager.io; install cert-manager there or use spec.tls.secretName",
    )


PREREQUISITES: Final[tuple[Callable[[Revision, Observed], Finding | None], ...]] = (
    certificate_is_missing,
    issuer_is_not_served,
)


def scale(service: ChatService, region: RegionFacts, observed: Observed) -> Scale:
    """How many pods the region should have. A cordoned region never gets more than it was meant to have before."""
    entry = next(entry for entry in service.spec.topology.regions if entry.name == region.name)
    wanted = service.spec.replicas if entry.replicas is None else entry.replicas
    autoscaling = service.spec.autoscaling
    ceiling = observed.present_replicas if region.cordoned else None
    if autoscaling is None or wanted == 0:  # 0 keeps a region prepared without pods; no autoscaler may wake it
        count = wanted if ceiling is None else min(wanted, ceiling)
        return Scale(autoscaled=False, minimum=count, maximum=count)
    least = max(autoscaling.min_replicas or wanted, observed.floor)
    most = autoscaling.max_replicas if ceiling is None else min(autoscaling.max_replicas, max(1, ceiling))
    return Scale(autoscaled=True, minimum=min(least, most), maximum=most)


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of everything in one region, and the labels by which it is told apart."""

    service: str
    region: str
    namespace: str

    @property
    def base(self) -> str:
        return f"{self.service}-{self.region}"

    @property
    def peers(self) -> str:
        return f"{self.base}-peers"

    @property
    def selector(self) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": APP,
            "app.kubernetes.io/instance": self.service,
            objects.REGION_LABEL: self.region,
        }

    @property
    def labels(self) -> dict[str, str]:
        return {**self.selector, "app.kubernetes.io/component": "relay"}

    def tls(self, tls: Tls) -> str:
        # Two names, so that a change from one source to the other never has two writers on one Secret.
        return f"{self.base}-tls" if tls.secret_name is not None else f"{self.base}-issued-tls"

    def config(self, revision: Revision) -> str:
        """The config map's name; empty when there is no configuration."""
        if not revision.spec.config:
            return ""
        content = orjson.dumps(revision.spec.config, option=orjson.OPT_SORT_KEYS)
        return f"{self.base}-config-{hashlib.sha256(content).hexdigest()[:8]}"

    def workload(self, service: ChatService) -> Gvr:
        return objects.DEPLOYMENTS if service.spec.storage is None else objects.STATEFUL_SETS

    def child(self, gvr: Gvr, name: str, body: dict[str, Any]) -> Child:
        return Child(gvr, self.namespace, name, body)


def _plain_children(size: Scale, revision: Revision, observed: Observed, names: _Names) -> list[tuple[Gvr, str, str]]:
    """Type, name and template of every object but the workload and the config maps."""
    tls = revision.spec.tls
    children = [
        (objects.SERVICE_ACCOUNTS, names.base, "serviceaccount"),
        (objects.SERVICES, names.base, "service"),
        (objects.SERVICES, names.peers, "service-peers"),
        (objects.POD_DISRUPTION_BUDGETS, names.base, "pdb"),
        (objects.NETWORK_POLICIES, f"{names.base}-default-deny", "networkpolicy-default-deny"),
        (objects.NETWORK_POLICIES, f"{names.base}-allow", "networkpolicy-allow"),
        (objects.SECRETS, names.tls(tls), "secret")
        if tls.secret_name is not None
        else (objects.CERTIFICATES, names.tls(tls), "certificate"),
    ]
    if size.autoscaled:
        children.append((objects.HORIZONTAL_POD_AUTOSCALERS, names.base, "hpa"))
    if objects.SERVICE_MONITORS in observed.served:
        children.append((objects.SERVICE_MONITORS, names.base, "servicemonitor"))
    return children


def _config_maps(
    revision: Revision, observed: Observed, names: _Names, variables: Mapping[str, Any], templates: TemplateSet
) -> list[Child]:
    """The map of the revision, and the one of the revision before: its pods may still restart."""
    wanted = {names.config(revision): revision.spec.config}
    if observed.last_good is not None:
        wanted.setdefault(names.config(observed.last_good), observed.last_good.spec.config)
    return [
        names.child(
            objects.CONFIG_MAPS,
            name,
            templates["configmap"].render({**variables, "config_name": name, "config": config}),
        )
        for name, config in wanted.items()
        if config
    ]


def _variables(
    service: ChatService, region: RegionFacts, revision: Revision, observed: Observed, size: Scale, names: _Names
) -> dict[str, Any]:
    """Everything that the templates may name.

    Names are only ever added: templates stored in older revisions use them too.
    """
    return {
        "name": names.base,
        "namespace": names.namespace,
        "service": names.service,
        "region": names.region,
        "peers_name": names.peers,
        "labels": names.labels,
        "selector": names.selector,
        **_pod_variables(service, region, revision, names),
        **_workload_variables(service, size),
        **_traffic_variables(service, names),
        **_certificate_variables(service, revision, observed, names),
        **_monitoring_variables(service, names),
    }


def _pod_variables(service: ChatService, region: RegionFacts, revision: Revision, names: _Names) -> dict[str, Any]:
    spec = revision.spec
    config = names.config(revision)
    stop = _stopping(spec.termination.grace_period)
    return {
        "pod_labels": names.labels,
        "image": spec.image,
        "image_pull_policy": spec.image_pull_policy.value,
        "image_pull_secrets": [{"name": secret.name} for secret in spec.image_pull_secrets],
        "resources": {key: value for key, value in _resources(revision).items() if value},
        "env_from": [{"configMapRef": {"name": config}}] if config else None,
        "role": _role(service, names.region),
        "retention": {
            "sessions": _seconds(spec.retention.sessions),
            "cookies": _seconds(spec.retention.cookies),
            "transactions": _seconds(spec.retention.transactions),
        },
        "grace_seconds": stop.grace,
        "drain_seconds": stop.drain,
        "lifecycle": {"preStop": {"sleep": {"seconds": stop.sleep}}} if stop.sleep else None,
        "tls_secret": names.tls(spec.tls),
        "data_volume": {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}} if service.spec.storage is None else None,
        "node_selector": dict(region.node_selector),
        "affinity": _affinity(region),
        "topology_spread": _topology_spread(service, region, names),
    }


@dataclass(frozen=True, slots=True)
class _Stop:
    """How a pod ends, in whole seconds: ``sleep``, then SIGTERM and ``drain``, and SIGKILL after ``grace``."""

    grace: int
    sleep: int
    drain: int


def _stopping(grace: timedelta) -> _Stop:
    seconds = _seconds(grace)
    if grace < SHORT_GRACE:
        return _Stop(seconds, 0, max(1, seconds - 1))
    sleep = _seconds(PRE_STOP)
    return _Stop(seconds, sleep, seconds - sleep - _seconds(FLUSH))


def _resources(revision: Revision) -> dict[str, dict[str, str]]:
    return {"requests": dict(revision.spec.resources.requests), "limits": dict(revision.spec.resources.limits)}


def _role(service: ChatService, region: str) -> str:
    match service.spec.topology.role_of(region):
        case None:
            return "active"
        case Role.PRIMARY:
            return "primary"
        case Role.STANDBY:
            return "standby"


def _affinity(region: RegionFacts) -> dict[str, Any] | None:
    """Only nodes in the region's zones."""
    if not region.zones:
        return None
    in_zones = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": sorted(region.zones)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [in_zones]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _topology_spread(service: ChatService, region: RegionFacts, names: _Names) -> list[dict[str, Any]]:
    """Pods apart from each other, over hosts and, with two zones or more, over zones.

    ScheduleAnyway: when a zone is lost its pods must be able to run in the others. ``matchLabelKeys`` counts only pods
    of the same rollout; the ones that are about to go would otherwise push new ones together.
    """
    keys = ["kubernetes.io/hostname"]
    if len(region.zones) > 1:
        keys.append("topology.kubernetes.io/zone")
    rollout = "pod-template-hash" if service.spec.storage is None else "controller-revision-hash"
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": names.selector},
            "matchLabelKeys": [rollout],
        }
        for key in keys
    ]


def _workload_variables(service: ChatService, size: Scale) -> dict[str, Any]:
    spec = service.spec
    autoscaling = spec.autoscaling or Autoscaling(max_replicas=1)  # its values are used only when there is one
    return {
        "replicas": None if size.autoscaled else size.minimum,
        "min_replicas": size.minimum,
        "max_replicas": size.maximum,
        "target_cpu": autoscaling.target_cpu_utilization_percentage,
        "scale_down_stabilization_seconds": _seconds(autoscaling.scale_down_stabilization),
        "workload_kind": "Deployment" if spec.storage is None else "StatefulSet",
        "progress_deadline_seconds": _seconds(spec.rollout.progress_deadline),
        "storage": None
        if spec.storage is None
        else {
            "size": spec.storage.size,
            "class_name": spec.storage.storage_class_name,
            "on_delete": spec.storage.on_delete.value,
        },
        "max_unavailable": spec.disruption_budget.max_unavailable,
        "min_available": spec.disruption_budget.min_available,
    }


def _traffic_variables(service: ChatService, names: _Names) -> dict[str, Any]:
    traffic = service.spec.traffic
    # A standby must never receive clients by name; it gets the name when it is promoted.
    serves = service.spec.topology.role_of(names.region) is not Role.STANDBY
    dns = {EXTERNAL_DNS_HOSTNAME: traffic.hostname} if traffic.hostname and serves else {}
    return {
        "service_type": traffic.service_type.value,
        "service_port": traffic.port,
        "service_annotations": {**dns, **traffic.service_annotations},
        "allow_from": [_peer(peer, names.namespace) for peer in traffic.allow_from],
    }


def _certificate_variables(
    service: ChatService, revision: Revision, observed: Observed, names: _Names
) -> dict[str, Any]:
    issuer = revision.spec.tls.issuer_ref
    inside = [f"{names.base}.{names.namespace}.svc", f"{names.peers}.{names.namespace}.svc"]
    hostname = service.spec.traffic.hostname
    return {
        "tls_data": None if observed.certificate is None else observed.certificate.data,
        "issuer": None if issuer is None else {"name": issuer.name, "kind": issuer.kind.value, "group": issuer.group},
        "dns_names": ([hostname] if hostname else []) + inside,
    }


def _monitoring_variables(service: ChatService, names: _Names) -> dict[str, Any]:
    monitoring = service.spec.monitoring
    return {
        "monitor_labels": {**monitoring.labels, **names.labels},
        "monitor_interval": f"{_seconds(monitoring.interval)}s",
    }


def _peer(peer: NetworkPeer, namespace: str) -> dict[str, Any]:
    """A peer of a NetworkPolicy, with the same meaning and without empty selectors.

    An empty map is never a no-op under server-side apply, so "all namespaces" is said by a label that every namespace
    has, and "all pods" by the namespace they are in.
    """
    if peer.ip_block is not None:
        block: dict[str, Any] = {"cidr": peer.ip_block.cidr}
        if peer.ip_block.except_:
            block["except"] = list(peer.ip_block.except_)
        return {"ipBlock": block}
    result: dict[str, Any] = {}
    if peer.namespace_selector is not None:
        result["namespaceSelector"] = _selector(peer.namespace_selector) or _requirement(_NAMESPACE_NAME, "Exists")
    if peer.pod_selector is not None and (pods := _selector(peer.pod_selector)):
        result["podSelector"] = pods
    return result or {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: namespace}}}


_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def _selector(selector: LabelSelector) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if selector.match_labels:
        result["matchLabels"] = dict(selector.match_labels)
    if selector.match_expressions:
        result["matchExpressions"] = [
            {"key": item.key, "operator": item.operator.value, **({"values": list(item.values)} if item.values else {})}
            for item in selector.match_expressions
        ]
    return result


def _requirement(key: str, operator: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator}]}


def _seconds(value: timedelta) -> int:
    """Whole seconds, rounded up: a length of time is never shortened by writing it down."""
    return -(-value // timedelta(seconds=1))
