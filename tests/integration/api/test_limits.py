"""The largest objects that the schema allows, and numbers as JSON may write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusters import fresh_namespace
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from specs import chat


def key(number: int, length: int) -> str:
    """A label key that is dear to match: dots, hyphens, and the longest name."""
    prefix = ".".join(["a-b"] * 80)[: max(0, length - 64)].rstrip(".-")
    return f"{prefix}/{number:05d}{'x' * 58}" if prefix else f"k{number:05d}"


def selector(length: int, values: int, size: int) -> dict[str, Any]:
    return {
        "matchLabels": {key(i, length): "v" * size for i in range(16)},
        "matchExpressions": [
            {"key": key(i, length), "operator": "In", "values": [f"{j:03d}".ljust(size, "v") for j in range(values)]}
            for i in range(16)
        ],
    }


LARGE: dict[str, dict[str, Any]] = {
    "selectors, long keys": {
        "spec.traffic": {
            "allowFrom": [{n: selector(316, 8, 20) for n in ("namespaceSelector", "podSelector")} for _ in range(32)]
        }
    },
    "selectors, many values": {
        "spec.traffic": {
            "allowFrom": [{n: selector(10, 32, 20) for n in ("namespaceSelector", "podSelector")} for _ in range(32)]
        }
    },
    "ranges": {
        "spec.traffic": {
            "allowFrom": [
                {
                    "ipBlock": {
                        "cidr": "fd00:0000:0000:0000:0000:0000:0000:0000/8",
                        "except": [f"fd00:0000:0000:0000:0000:0000:0000:{i:04x}/128" for i in range(16)],
                    }
                }
                for _ in range(32)
            ]
        }
    },
    "annotations": {"spec.traffic": {"serviceAnnotations": {key(i, 316): "v" * 1024 for i in range(32)}}},
    "config": {"spec.config": {f"A{'B' * 120}{i:03d}": "é" * 8192 for i in range(63)}},
    "resources": {
        "spec.resources": {
            n: {key(i, 316): "100000000000000.000000000m"[:32] for i in range(16)} for n in ("requests", "limits")
        }
    },
    "topology": {
        "spec.topology": {
            "mode": "ActivePassive",
            "regions": [
                {
                    "name": f"r{i:02d}".ljust(23, "r"),
                    "replicas": 1000,
                    **({"role": "Primary"} if i == 31 else {"role": "Standby"}),
                }
                for i in range(32)
            ],
        },
        "spec.residency": {"jurisdictions": [f"{c}-{i:03d}" for i, c in enumerate(["ZW", "ZM", "ZA", "YT"] * 8)]},
    },
    "peaks": {
        "spec.autoscaling": {
            "maxReplicas": 1000,
            "peaks": [
                {
                    "name": f"p{i:02d}".ljust(63, "p"),
                    "timeZone": "America/Argentina/Buenos_Aires",
                    "schedule": f"{','.join(map(str, range(60)))[:60].rstrip(',')} * * * *"[:128],
                    "duration": "1m1m1m1m1m1m1m1m",
                    "replicas": 1000,
                    "scaleUpBefore": "1m1m1m1m1m1m1m1m",
                    "scaleDownAfter": "1m1m1m1m1m1m1m1m",
                }
                for i in range(32)
            ],
        }
    },
}


def verdict(api: Api, space: str, body: dict[str, Any]) -> tuple[str, str]:
    try:
        parse("ChatService", body, strict=True)
        python = ""
    except SpecError as error:
        python = str(error)[:300]
    try:
        api.request(
            "POST",
            f"/apis/roadstead.dev/v1alpha1/namespaces/{space}/chatservices?dryRun=All&fieldValidation=Strict",
            body,
        )
        return python, ""
    except ApiError as error:
        return python, str(error)[:600]


@pytest.mark.parametrize("what", [*LARGE, "all but config"])
def test_the_largest_objects(hub: BareCluster, what: str) -> None:
    space = fresh_namespace(hub, "api")
    edits = dict(LARGE.get(what, {}))
    if what == "all but config":
        traffic: dict[str, Any] = {}
        for name, part in LARGE.items():
            if name in ("config", "ranges", "selectors, many values", "resources"):
                continue
            for path, value in part.items():
                traffic |= value if path == "spec.traffic" else {}
                edits[path] = traffic if path == "spec.traffic" else value
    body = chat(namespace=space, **{k.replace(".", "__"): v for k, v in edits.items()})
    python, server = verdict(Api(hub.kubeconfig), space, body)
    assert (bool(python), python) == (bool(server), server), len(json.dumps(body))


def test_whole_numbers_with_a_point(hub: BareCluster) -> None:
    space = fresh_namespace(hub, "api")
    api = Api(hub.kubeconfig)
    body = chat(namespace=space, spec__replicas=2.0)
    stored = api.request("POST", f"/apis/roadstead.dev/v1alpha1/namespaces/{space}/chatservices", body)
    again = api.request("GET", f"/apis/roadstead.dev/v1alpha1/namespaces/{space}/chatservices/hello")
    print("stored as", repr(stored["spec"]["replicas"]), repr(again["spec"]["replicas"]))
    parse("ChatService", again)
