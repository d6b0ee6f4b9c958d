"""The values that the templates of manifests/chat may name: everything with logic in it is worked out here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from roadstead.api.chatservice import Autoscaling, ChatService, Role
from roadstead.api.keyring_names import consumer_label, keyset_name, receipts_name, rewrap_name
from roadstead.api.selectors import LabelSelector, NetworkPeer
from roadstead.chat.names import Names
from roadstead.chat.observed import Observed, Scale
from roadstead.chat.placement import RegionFacts
from roadstead.chat.revisions import Revision

EXTERNAL_DNS_HOSTNAME: Final = "external-dns.alpha.kubernetes.io/hostname"
PRE_STOP: Final = timedelta(seconds=5)
"""How long a pod that is going goes on as if nothing were: until the last proxy has stopped sending clients to it."""
FLUSH: Final = timedelta(seconds=5)
"""What is left between the end of the drain and the kill."""
KEYS_DIR: Final = "/etc/chat/keys"
REWRAP_DIR: Final = "/etc/chat/rewrap"
TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where every client looks for it
TOKEN_SECONDS: Final = 3607
"""As kubelets ask for by themselves: an hour and a few seconds."""
API_PORTS: Final = (443, 6443)
"""Of API servers. Where theirs is, seen from a pod, differs from cluster to cluster; some network plugins see the
Service's port, some the server's own."""
SHORT_GRACE: Final = timedelta(seconds=20)
"""Below this grace period there is no time for either; the drain has all of it but a second."""


def variables(
    service: ChatService, region: RegionFacts, revision: Revision, observed: Observed, size: Scale, names: Names
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
        **_keys_variables(service, revision, names),
        **_workload_variables(service, size),
        **_traffic_variables(service, names),
        **_certificate_variables(service, revision, observed, names),
        **_monitoring_variables(service, names),
    }


def _pod_variables(service: ChatService, region: RegionFacts, revision: Revision, names: Names) -> dict[str, Any]:
    spec = revision.spec
    config = names.config(revision)
    stop = _stopping(spec.termination.grace_period)
    return {
        "pod_labels": {**names.labels, **_consumer_label(revision, names)},
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


def _consumer_label(revision: Revision, names: Names) -> dict[str, str]:
    """By which the ring knows the pods whose proofs it waits for."""
    encryption = revision.spec.encryption
    return {} if encryption is None else {consumer_label(encryption.key_ring_ref.name): names.region}


def _keys_variables(service: ChatService, revision: Revision, names: Names) -> dict[str, Any]:
    """What a pod needs to have the keys of a ring and to prove it; everything None when the revision has no ring."""
    encryption, asked = revision.spec.encryption, service.spec.encryption
    # The pods of the revision before, too, may go on with what the spec asks for now: it is never taken away.
    api = [{"ports": [{"protocol": "TCP", "port": port} for port in API_PORTS]}] if asked is not None else None
    receipts = receipts_name(asked.key_ring_ref.name, names.region) if asked is not None else ""
    given: dict[str, Any] = {"keys_name": names.keys, "keys_receipts": receipts, "keys_egress": api and api[0]}
    if encryption is None:
        return {**given, "keys": dict.fromkeys(_KEYS)}
    ring = encryption.key_ring_ref.name
    uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    token = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": authority},
        {"downwardAPI": {"items": [namespace]}},
    ]
    secret = {"defaultMode": 0o440}
    return {
        **given,
        "keys": {
            "pod_uid": {"name": "POD_UID", "valueFrom": uid},
            "directory": {"name": "CHAT_KEYS_DIR", "value": KEYS_DIR},
            "rewrap_directory": {"name": "CHAT_KEYS_REWRAP_DIR", "value": REWRAP_DIR},
            "receipts": {"name": "CHAT_KEYS_RECEIPTS", "value": receipts_name(ring, names.region)},
            "mount": {"name": "keys", "mountPath": KEYS_DIR, "readOnly": True},
            "rewrap_mount": {"name": "rewrap", "mountPath": REWRAP_DIR, "readOnly": True},
            "token_mount": {"name": "token", "mountPath": TOKEN_DIR, "readOnly": True},
            "volume": {"name": "keys", "secret": {"secretName": keyset_name(ring, names.region), **secret}},
            "rewrap_volume": {
                "name": "rewrap",
                "secret": {"secretName": rewrap_name(ring, names.region), "optional": True, **secret},
            },
            "token_volume": {"name": "token", "projected": {"sources": token, **secret}},
        },
    }


_KEYS: Final = (
    *("pod_uid", "directory", "rewrap_directory", "receipts"),
    *("mount", "rewrap_mount", "token_mount", "volume", "rewrap_volume", "token_volume"),
)


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


def _topology_spread(service: ChatService, region: RegionFacts, names: Names) -> list[dict[str, Any]]:
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
        "max_unavailable": spec.budget.max_unavailable,
        "min_available": spec.budget.min_available,
    }


def _traffic_variables(service: ChatService, names: Names) -> dict[str, Any]:
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
    service: ChatService, revision: Revision, observed: Observed, names: Names
) -> dict[str, Any]:
    issuer = revision.spec.tls.issuer_ref
    inside = [f"{names.base}.{names.namespace}.svc", f"{names.peers}.{names.namespace}.svc"]
    hostname = service.spec.traffic.hostname
    return {
        "tls_data": None if observed.certificate is None else observed.certificate.data,
        "issuer": None if issuer is None else {"name": issuer.name, "kind": issuer.kind.value, "group": issuer.group},
        "dns_names": ([hostname] if hostname else []) + inside,
    }


def _monitoring_variables(service: ChatService, names: Names) -> dict[str, Any]:
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
