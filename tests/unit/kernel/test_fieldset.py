"""Reading ``fieldsV1`` without a schema; `tests/integration/kernel/test_fieldset.py` has what real servers write.

Mutants that these tests were seen to kill: keys compared as text; an element found although one of its keys differs;
metadata taken as a whole when nothing of it is owned.
"""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.kernel.fieldset import digest, managers_of, missing, other_managers, owned_fields, taken_over

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


OURS = frozenset({"roadstead"})
BODY = {"spec": {"replicas": 2, "ports": [{"name": "wss", "port": 443}], "selector": {"a": "b"}}}


@pytest.mark.parametrize(
    ("theirs", "subresource", "expected"),
    [
        pytest.param({"f:spec": {"f:replicas": {}}}, "", ("kubectl",), id="a field that we set"),
        pytest.param({"f:spec": {"f:ports": {'k:{"port":8443}': {"f:name": {}}}}}, "", ("kubectl",), id="an element"),
        pytest.param({"f:spec": {}}, "", ("kubectl",), id="all of it"),
        pytest.param({"f:spec": {"f:minAvailable": {}}}, "", ("kubectl",), id="only what we do not set"),
        pytest.param({"f:metadata": {"f:annotations": {"f:note": {}}}}, "", (), id="an annotation"),
        pytest.param({"f:spec": {"f:replicas": {}}}, "scale", (), id="through a subresource"),
    ],
)
def test_who_may_have_changed_it(theirs: dict[str, Any], subresource: str, expected: tuple[str, ...]) -> None:
    entry = {"manager": "kubectl", "operation": "Update", "fieldsV1": theirs, "subresource": subresource}
    own = {"manager": "roadstead", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    assert managers_of({"managedFields": [own, entry]}, OURS, BODY) == expected


def test_who_touches_what_we_set_is_named_before_those_who_do_not() -> None:
    entries = [
        {"manager": "mesh", "operation": "Apply", "fieldsV1": {"f:spec": {"f:other": {}}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]
    assert managers_of({"managedFields": entries}, OURS, BODY) == ("kubectl",)


def test_taking_over_leaves_metadata_statuses_and_our_own_managers_alone() -> None:
    own = {"manager": "roadstead", "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {'k:{"port":443}': {}}}}}
    scaled = {
        "manager": "hpa",
        "operation": "Update",
        "subresource": "scale",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }
    handed = {"manager": "roadstead-handover", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    noted: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:note": {}}}}
    theirs = {"f:spec": {"f:ports": {'k:{"port":8443}': {".": {}, "f:name": {}}}}, **noted}
    other = {"manager": "kubectl", "operation": "Update", "fieldsV1": theirs}
    metadata = {"managedFields": [own, scaled, handed, other]}
    assert taken_over(metadata, "roadstead", OURS | {"roadstead-handover"}) == [
        {
            **own,
            "fieldsV1": {"f:spec": {"f:ports": {'k:{"port":443}': {}, 'k:{"port":8443}': {".": {}, "f:name": {}}}}},
        },
        scaled,
        handed,
        {**other, "fieldsV1": noted},
    ]
    assert metadata["managedFields"][0] is own and own["fieldsV1"] != theirs, "what was given is not changed"


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([], id="nobody owns anything"),
        pytest.param([{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}], id="we own nothing"),
        pytest.param([{"manager": "roadstead", "operation": "Apply", "fieldsV1": {"f:spec": {}}}], id="only we"),
    ],
)
def test_there_may_be_nothing_to_take_over(entries: list[dict[str, Any]]) -> None:
    assert taken_over({"managedFields": entries}, "roadstead", OURS) is None
