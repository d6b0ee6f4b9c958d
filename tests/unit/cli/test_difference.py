from __future__ import annotations

from copy import deepcopy
from typing import Any

from roadstead.cli.difference import dropped, shown, unified, without_dropped

FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}, "f:annotations": {"f:x": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:containers": {
            'k:{"name":"chat"}': {
                ".": {},
                "f:name": {},
                "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}, 'k:{"name":"B"}': {".": {}}},
                "f:ports": {'k:{"containerPort":1,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
            }
        },
        "f:zones": {'v:"a"': {}, 'v:"b"': {}},
    },
}


def body(**spec: Any) -> dict[str, Any]:
    container = {"name": "chat", "env": [{"name": "A", "value": "1"}, {"name": "B"}], "ports": [{"containerPort": 1}]}
    whole = {"replicas": 2, "containers": [container], "zones": ["a", "b"], **spec}
    metadata = {"name": "n", "labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": whole}


def live(*managers: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    entries = [
        {"manager": name, "operation": "Apply", "fieldsV1": fields}
        for name, fields in (("roadstead", FIELDS), *managers)
    ]
    found = body()
    found["metadata"] |= {"managedFields": entries, "uid": "u", "resourceVersion": "7"}
    return found


def test_what_is_still_written_is_not_dropped() -> None:
    assert list(dropped(FIELDS, body())) == []


def test_dropped_labels_elements_and_values_are_found() -> None:
    smaller = body(zones=["b"])
    del smaller["metadata"]["labels"]["a"], smaller["metadata"]["annotations"]
    smaller["spec"]["containers"][0]["env"] = [{"name": "B"}]
    assert list(dropped(FIELDS, smaller)) == [
        ("metadata", "labels", "a"),
        ("metadata", "annotations"),
        ("spec", "containers", ("k", {"name": "chat"}), "env", ("k", {"name": "A"})),
        ("spec", "zones", ("v", "a")),
    ]


def test_what_the_operator_drops_goes_unless_somebody_else_wants_it() -> None:
    smaller = body(zones=["b"])
    del smaller["metadata"]["labels"]["a"], smaller["metadata"]["labels"]["b"], smaller["metadata"]["annotations"]
    other: dict[str, Any] = {"f:metadata": {"f:labels": {"f:b": {}}}}
    after = without_dropped(body(), live(("somebody", other)), smaller)
    assert after["metadata"] == {"name": "n", "labels": {"b": "2"}}
    assert after["spec"]["zones"] == ["b"]


def test_replicas_are_left_to_the_autoscaler() -> None:
    smaller = body()
    del smaller["spec"]["replicas"]
    assert without_dropped(body(), live(), smaller)["spec"]["replicas"] == 2


def test_an_object_without_our_entry_is_taken_as_the_dry_run_says() -> None:
    assert without_dropped(body(), {"metadata": {}}, {"metadata": {}}) == body()


def test_the_same_gives_no_diff_whatever_the_order_and_the_server_says() -> None:
    before, after = live(), deepcopy(body())
    before["status"] = {"replicas": 2}
    before["metadata"]["annotations"] = {"x": "y", "roadstead.dev/body-hash": "1", "roadstead.dev/owner-uid": "2"}
    after["spec"] = dict(reversed(after["spec"].items()))
    assert unified(before, after, "n") == ""


def test_a_diff_is_unified() -> None:
    after = body(replicas=3)
    lines = unified(body(), after, "hkg/Deployment/chat/x").splitlines()
    assert lines[:2] == ["--- live/hkg/Deployment/chat/x", "+++ planned/hkg/Deployment/chat/x"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  replicas: 2", "+  replicas: 3"]
    assert unified(None, after, "n").startswith("--- /dev/null\n+++ planned/n\n")
    assert unified(body(), None, "n").startswith("--- live/n\n+++ /dev/null\n")


def test_the_content_of_a_secret_is_never_shown_but_its_change_is() -> None:
    def secret(value: str) -> dict[str, Any]:
        return {"kind": "Secret", "metadata": {}, "data": {"tls.key": value}, "stringData": {"x": value}}

    assert "c2VjcmV0" not in str(shown(secret("c2VjcmV0")))
    diff = unified(secret("c2VjcmV0"), secret("b3RoZXI="), "n")
    assert diff and "c2VjcmV0" not in diff and "b3RoZXI=" not in diff
