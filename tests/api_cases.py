"""What is wrong with a ChatService, as edits of the minimal one: said by Python in unit tests, by an API server in
integration tests. A rule in roadstead.api without a line here fails a test."""

from __future__ import annotations

from typing import Any

PASSIVE = {"mode": "ActivePassive", "regions": [{"name": "hkg", "role": "Primary"}, {"name": "sin"}]}
PEAK = {"name": "eve", "timeZone": "UTC", "schedule": "0 9 31 12 *", "duration": "1h", "replicas": 5}


def peak(**edits: Any) -> dict[str, Any]:
    return {"maxReplicas": 10, "peaks": [PEAK | edits]}


def peers(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"allowFrom": list(entries)}


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"metadata.name": "x" * 29}, "metadata.name", "longer than 28 characters"),
    ({"metadata.name": "1st"}, "metadata.name", "is 1st, which is not a DNS label that starts with a letter"),
    ({"metadata.name": "a.b"}, "metadata.name", "is a.b, which is not a DNS label"),
    (
        {"spec.topology.regions[1].role": "Standby"},
        "spec.topology.regions[sin].role",
        "is Standby, but with mode ActiveActive regions have no roles",
    ),
    ({"spec.topology": {**PASSIVE, "regions": [{"name": "a"}]}}, "spec.topology.regions", "has 0 regions with role"),
    (
        {"spec.topology": {**PASSIVE, "regions": [{"name": n, "role": "Primary"} for n in "ab"]}},
        "spec.topology.regions",
        "has 2 regions with role Primary",
    ),
    (
        {"spec.autoscaling": {"minReplicas": 6, "maxReplicas": 5}},
        "spec.autoscaling.minReplicas",
        "is 6, above maxReplicas 5; write 5 or less",
    ),
    (
        {"spec.autoscaling": {"maxReplicas": 5}, "spec.topology.regions[1].replicas": 7},
        "spec.autoscaling.maxReplicas",
        "is 5, below the 7 replicas of region sin",
    ),
    ({"spec.autoscaling": peak(replicas=11)}, "spec.autoscaling.peaks[eve].replicas", "is 11, above maxReplicas 10"),
    ({"spec.autoscaling": peak(timeZone="Asia/Hongkong")}, "spec.autoscaling.peaks[eve].timeZone", "is Asia/Hongkong"),
    ({"spec.autoscaling": peak(timeZone="America")}, "spec.autoscaling.peaks[eve].timeZone", "is America, which"),
    ({"spec.autoscaling": peak(schedule="0 25 * * *")}, "spec.autoscaling.peaks[eve].schedule", "bad hour"),
    ({"spec.autoscaling": peak(schedule="0 0 30 2 *")}, "spec.autoscaling.peaks[eve].schedule", "bad day-of-month"),
    (
        {"spec.autoscaling": {"maxReplicas": 5}, "spec.resources": {"requests": {"memory": "1Gi"}}},
        "spec.resources.requests",
        "has no cpu, which spec.autoscaling counts",
    ),
    (
        {"spec.resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1000Mi"}}},
        "spec.resources.limits.memory",
        "is 1000Mi, below the request 1Gi; write 1Gi or more",
    ),
    ({"spec.resources": {"requests": {"gpu": 1}}}, "spec.resources.requests", "has the key gpu, which is no resource"),
    ({"spec.resources": {"limits": {"ram": 1}}}, "spec.resources.limits", "has the key ram, which is no resource"),
    ({"spec.tls": {}}, "spec.tls", "sets none of secretName and issuerRef; write exactly one"),
    ({"spec.tls.issuerRef": {"name": "ca"}}, "spec.tls", "sets both of secretName and issuerRef"),
    ({"spec.disruptionBudget": {}}, "spec.disruptionBudget", "sets none of maxUnavailable and minAvailable"),
    (
        {"spec.disruptionBudget": {"maxUnavailable": 1, "minAvailable": 1}},
        "spec.disruptionBudget",
        "sets both of maxUnavailable and minAvailable",
    ),
    ({"spec.config": {"CHAT_REGION": "x"}}, "spec.config", "has the key CHAT_REGION, which the operator sets itself"),
    (
        {"spec.traffic": {"serviceAnnotations": {"roadstead.dev/owner-uid": "x"}}},
        "spec.traffic.serviceAnnotations",
        "has the key roadstead.dev/owner-uid, which is the operator's own",
    ),
    (
        {"spec.monitoring": {"labels": {"app.kubernetes.io/managed-by": "me"}}},
        "spec.monitoring.labels",
        "has the key app.kubernetes.io/managed-by, which is the operator's own",
    ),
    (
        {"spec.residency": {"jurisdictions": ["HK", "UK"]}},
        "spec.residency.jurisdictions",
        "has UK, whose country ISO 3166-1 does not list; write an alpha-2 code such as HK or GB",
    ),
    ({"spec.traffic": peers({})}, "spec.traffic.allowFrom[0]", "sets none of ipBlock and the selectors"),
    (
        {"spec.traffic": peers({"podSelector": {}}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})},
        "spec.traffic.allowFrom[1]",
        "sets both of ipBlock and the selectors",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.256/8"}})},
        "spec.traffic.allowFrom[0].ipBlock.cidr",
        "is 10.0.0.256/8, which is not a range of addresses",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})},
        "spec.traffic.allowFrom[0].ipBlock.except",
        "has 11.0.0.0/16, which is not a smaller range within 10.0.0.0/8",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})},
        "spec.traffic.allowFrom[0].ipBlock.except",
        "has 10.0.0.0/8, which is not a smaller range within 10.0.0.0/8",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.0/33", "except": ["10.0.0.0/16"]}})},
        "spec.traffic.allowFrom[0].ipBlock.cidr",
        "is 10.0.0.0/33, which is not a range of addresses",
    ),
    (
        {"spec.traffic": peers({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/64"]}})},
        "spec.traffic.allowFrom[0].ipBlock.except",
        "has fd00::/64, which is not a smaller range within 10.0.0.0/8",
    ),
    (
        {"spec.traffic": peers({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})},
        "spec.traffic.allowFrom[0].podSelector.matchExpressions",
        "has the operator In for a with the wrong number of values",
    ),
    (
        {
            "spec.traffic": peers(
                {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}
            )
        },
        "spec.traffic.allowFrom[0].namespaceSelector.matchExpressions",
        "has the operator Exists for a with the wrong number of values",
    ),
    (
        {"spec.config": {"A": "a\0b"}},
        "spec.config.A",
        "has a NUL character, which ends the text of a variable; remove it",
    ),
    (
        {"spec.config": {f"K{i}": "\u597d" * 8192 for i in range(43)}},
        "spec.config",
        "has more than 1048576 bytes in its values, which no ConfigMap holds; shorten them",
    ),
    (
        {"spec.image": "localhost:70000/chat:1"},
        "spec.image",
        "is localhost:70000/chat:1, whose registry has a port that is none; write a port from 1 to 65535",
    ),
    (
        {"spec.image": "localhost:0/chat:1"},
        "spec.image",
        "is localhost:0/chat:1, whose registry has a port that is none",
    ),
    ({"spec.storage": {"size": "0Gi"}}, "spec.storage.size", "is 0; write a size such as 1Gi"),
]

STORED = {"spec.storage": {"size": "1Gi"}}
CLASSY = {"spec.storage": {"size": "1Gi", "storageClassName": "fast"}}
ENCRYPTED = {"spec.encryption": {"keyRingRef": {"name": "chat"}}}
CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"spec.topology": PASSIVE}, "spec.topology.mode changes from ActiveActive to ActivePassive"),
    (
        {"spec.topology": PASSIVE},
        {"spec.topology": {**PASSIVE, "regions": [{"name": "hkg"}, {"name": "sin", "role": "Primary"}]}},
        "spec.topology.regions takes role Primary from hkg, which is a promotion",
    ),
    (
        {"spec.topology": PASSIVE},
        {"spec.topology": {**PASSIVE, "regions": [{"name": "lon", "role": "Primary"}]}},
        "spec.topology.regions takes role Primary from hkg",
    ),
    ({}, STORED, "spec.storage is added, but it can only be decided when the service is made"),
    (STORED, {}, "spec.storage is removed, but it can only be decided when the service is made"),
    (STORED, {"spec.storage": {"size": "2Gi"}}, "spec.storage.size changes from 1Gi to 2Gi"),
    (ENCRYPTED, {}, "spec.encryption is taken away, but what is stored is encrypted with KeyRing chat"),
    (
        ENCRYPTED,
        {"spec.encryption": {"keyRingRef": {"name": "other"}}},
        "spec.encryption is changed to other, but what is stored is encrypted with KeyRing chat",
    ),
    (STORED, CLASSY, "spec.storage.storageClassName changes from the default to fast"),
    (CLASSY, STORED, "spec.storage.storageClassName changes from fast to the default"),
]
