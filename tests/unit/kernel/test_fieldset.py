"""Reading ``fieldsV1`` without a schema; `tests/integration/kernel/test_fieldset.py` has what real servers write.

Mutants that these tests were seen to kill: keys compared as text; an element found although one of its keys differs;
metadata taken as a whole when nothing of it is owned.
"""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.kernel.fieldset import digest, missing, other_managers, owned_fields

PORTS: dict[str, Any] = {
    "f:spec": {
        "f:ports": {
            'k:{"port":443,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}, "f:protocol": {}},
            'k:{"port":53,"protocol":"UDP"}': {".": {}, "f:port": {}, "f:protocol": {}},
        },
        "f:selector": {},
        "f:template": {"f:labels": {"f:a": {}}, "f:taints": {}},
    }
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "everything is owned": ({"spec": {"selector": {"a": "b"}}}, PORTS, []),
    "a field is not": ({"spec": {"replicas": 1}}, PORTS, ["spec.replicas"]),
    "a whole part is not": ({"data": {"a": "b"}}, PORTS, ["data"]),
    "an element by its keys": ({"spec": {"ports": [{"port": 443, "protocol": "TCP", "name": "x"}]}}, PORTS, []),
    "an element whose key was defaulted": ({"spec": {"ports": [{"port": 443, "name": "x"}]}}, PORTS, []),
    "an element of another key": ({"spec": {"ports": [{"port": 80}]}}, PORTS, ["spec.ports[0]"]),
    "an element that is written otherwise": (
        {"spec": {"ports": [{"port": 443, "protocol": "UDP"}]}},
        PORTS,
        ["spec.ports[0]"],
    ),
    "a field of an element": (
        {"spec": {"ports": [{"port": 53, "protocol": "UDP", "name": "x"}]}},
        PORTS,
        ["spec.ports[0].name"],
    ),
    "an atomic list": ({"spec": {"template": {"taints": [{"key": "a"}, {"key": "b"}]}}}, PORTS, []),
    "a nested label": ({"spec": {"template": {"labels": {"a": "1", "b": "2"}}}}, PORTS, ["spec.template.labels.b"]),
    "two at once": ({"spec": {"x": 1, "y": 2}}, PORTS, ["spec.x", "spec.y"]),
    "a set": ({"finalizers": ["a", "b<&>"]}, {"f:finalizers": {'v:"a"': {}, 'v:"b\\u003c\\u0026\\u003e"': {}}}, []),
    "an element of a set": ({"finalizers": ["a"]}, {"f:finalizers": {'v:"b"': {}}}, ["finalizers[0]"]),
    "no metadata of ours": ({"metadata": {"labels": {"a": "b"}}}, {}, ["metadata.labels"]),
    "identity is never owned": ({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "uid": "u"}}, {}, []),
    "an owner reference of another uid": (
        {"metadata": {"ownerReferences": [{"uid": "2", "name": "x"}]}},
        {"f:metadata": {"f:ownerReferences": {'k:{"uid":"1"}': {}}}},
        ["metadata.ownerReferences[0]"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_missing(case: str) -> None:
    body, fields, expected = CASES[case]
    assert list(missing(body, fields)) == expected


def entry(manager: str, operation: str = "Apply", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:data": {}}, **more}


def test_owned_fields_are_those_of_our_apply_entry() -> None:
    metadata = {
        "managedFields": [
            entry("roadstead", "Update", fieldsV1={"f:a": {}}),
            entry("roadstead", subresource="status", fieldsV1={"f:b": {}}),
            entry("helm", fieldsV1={"f:c": {}}),
            entry("roadstead", fieldsV1={"f:d": {}}),
        ]
    }
    assert owned_fields(metadata, "roadstead") == {"f:d": {}}
    assert owned_fields({"managedFields": metadata["managedFields"][:3]}, "roadstead") is None
    assert owned_fields({}, "roadstead") is None and owned_fields({"managedFields": None}, "roadstead") is None


def test_others_are_named_once_and_writers_of_status_are_none_of_them() -> None:
    metadata = {
        "managedFields": [
            entry("kubectl-edit", "Update"),
            entry("argocd"),
            entry("argocd", "Update"),
            entry("kube-controller-manager", "Update", subresource="status"),
            entry("roadstead"),
        ]
    }
    assert other_managers(metadata, frozenset({"roadstead"})) == ("argocd", "kubectl-edit")


def test_a_digest_does_not_depend_on_the_order_of_keys_but_on_that_of_elements() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"b": [1, 2]}) != digest({"b": [2, 1]})
    assert len(digest({})) == 8
