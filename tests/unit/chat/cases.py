"""Services that between them use every field and every template."""

from typing import Any

from roadstead.api.chatservice import ChatService
from roadstead.chat.desired import Observed
from roadstead.chat.placement import RegionFacts
from roadstead.kernel import objects
from roadstead.kernel.objects import Child
from unit.chat import services
from unit.chat.services import EVERYTHING_SERVED, HONG_KONG, observed, service

TWO_REGIONS: dict[str, Any] = {
    "mode": "ActivePassive",
    "regions": [{"name": "hkg", "role": "Primary", "replicas": 3}, {"name": "sgp", "role": "Standby"}],
}
FULL: dict[str, Any] = {
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry-login"}],
    "topology": TWO_REGIONS,
    "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
    "autoscaling": {
        "maxReplicas": 40,
        "targetCPUUtilizationPercentage": 60,
        "scaleDownStabilization": "10m",
        "peaks": [
            {
                "name": "singles-day",
                "timeZone": "Asia/Hong_Kong",
                "schedule": "0 9 11 11 *",
                "duration": "15h",
                "replicas": 20,
            }
        ],
    },
    "traffic": {
        "hostname": "chat.example.com",
        "serviceType": "LoadBalancer",
        "port": 8443,
        "serviceAnnotations": {"example.com/balancer": "internal: yes # no"},
        "allowFrom": [
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
            {"namespaceSelector": {}},
            {"podSelector": {}},
            {"namespaceSelector": {"matchLabels": {"team": "web"}}, "podSelector": {"matchLabels": {"app": "gateway"}}},
            {"podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}},
        ],
    },
    "tls": {"issuerRef": {"name": "internal-ca", "kind": "ClusterIssuer"}},
    "storage": {"size": "10Gi", "storageClassName": "fast", "onDelete": "Delete"},
    "config": {"CHAT_TOKEN_PUBLIC_KEYS": "MCowBQYDK2VwAyEA", "GREETING": "a: {b} # 'c' \"d\"\n漢字"},
    "disruptionBudget": {"minAvailable": "50%"},
    "retention": {"sessions": "7d", "cookies": "1d", "transactions": "10y"},
    "monitoring": {"interval": "15s", "labels": {"release": "prometheus"}},
    "termination": {"gracePeriod": "10s"},
}

CASES: dict[str, tuple[ChatService, RegionFacts, Observed]] = {
    "minimal": (service(), HONG_KONG, observed()),
    "primary-at-peak": (
        service(**FULL),
        RegionFacts("hkg", "HK", ("hkg-a", "hkg-b"), {"topology.kubernetes.io/region": "hkg"}),
        observed(served=EVERYTHING_SERVED, certificate=None, floor=20),
    ),
    "encrypted": (service(encryption={"keyRingRef": {"name": "ring"}}), HONG_KONG, observed()),
    "standby": (
        service(**{**FULL, "tls": {"secretName": "chat-tls"}, "storage": None}),
        RegionFacts("sgp", "SG", ("sgp-a",)),
        observed(served=frozenset({objects.SERVICE_MONITORS})),
    ),
}


def children(case: str) -> dict[str, Child]:
    """The children of a case, by ``Kind/name``."""
    of, region, seen = CASES[case]
    return services.build(of, region, seen)
