"""The wire lint: a request that breaks a rule is seen, one that keeps them all is not; each rule has both here."""

from __future__ import annotations

from typing import Any

import pytest

from faults.wire import APPLY, Request, lint, rights

CONFIG_MAP = "/api/v1/namespaces/n/configmaps/c"
SERVICE = "/apis/roadstead.dev/v1alpha1/namespaces/n/chatservices/s"
UID = {"metadata": {"name": "c", "uid": "u"}}
OURS = {"fieldManager": "roadstead", "force": "true"}
LEDGER = "/apis/roadstead.dev/v1alpha1/namespaces/n/keyversions"
ENTRY = f"{LEDGER}/ring-v1"
STATUS = {"fieldManager": "roadstead-status", "force": "true"}


def request(method: str, path: str, body: Any = None, query: dict[str, str] | None = None, type_: str = "") -> Request:
    return Request(1, method, path, query or {}, {"content-type": type_} if type_ else {}, body)


def apply(path: str, body: Any, query: dict[str, str] | None = None) -> Request:
    return request("PATCH", path, body, OURS if query is None else query, APPLY)


KEPT: dict[str, Request] = {
    "a bounded list": request("GET", "/api/v1/configmaps", query={"limit": "500"}),
    "a watch with bookmarks": request(
        "GET", "/api/v1/configmaps", query={"watch": "true", "allowWatchBookmarks": "true"}
    ),
    "a read": request("GET", CONFIG_MAP),
    "a list of what is no resource": request("GET", "/apis/apps/v1"),
    "the version": request("GET", "/version"),
    "a create": apply(CONFIG_MAP, {"metadata": {"name": "c", "resourceVersion": "1"}, "data": {}}),
    "an update": apply(CONFIG_MAP, UID),
    "a hand-over": apply(CONFIG_MAP, UID, {"fieldManager": "roadstead-handover"}),
    "a delete with uid": request("DELETE", CONFIG_MAP, {"preconditions": {"uid": "u"}}),
    "a status": apply(f"{SERVICE}/status", {**UID, "status": {}}, STATUS),
    "a finalizer": request(
        "PATCH", SERVICE, {"metadata": {"finalizers": ["x"], "resourceVersion": "5"}}, {"fieldManager": "roadstead"}
    ),
    "a review": request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {}}),
    "a dry run": apply(SERVICE, {"spec": {}}, {"fieldManager": "x", "dryRun": "All"}),
    "an entry of the ledger made": request("POST", LEDGER, {"spec": {}, "status": {}}, OURS),
    "an entry of the ledger moved": request("PUT", ENTRY, {"metadata": {"resourceVersion": "5"}, "spec": {}}, OURS),
    "an event": request("POST", "/apis/events.k8s.io/v1/namespaces/n/events", {}, {"fieldManager": "roadstead"}),
}
BROKEN: dict[str, tuple[Request, str]] = {
    "a list without limit": (request("GET", "/api/v1/configmaps"), "limit"),
    "a list with a huge limit": (request("GET", "/api/v1/configmaps", query={"limit": "5000"}), "limit"),
    "a list of all": (request("GET", "/api/v1/configmaps", query={"limit": "0"}), "limit"),
    "a watch without bookmarks": (request("GET", "/api/v1/configmaps", query={"watch": "true"}), "bookmarks"),
    "a delete without body": (request("DELETE", CONFIG_MAP), "uid"),
    "a delete without uid": (request("DELETE", CONFIG_MAP, {"preconditions": {"resourceVersion": "1"}}), "uid"),
    "a delete of a collection": (request("DELETE", "/api/v1/namespaces/n/configmaps"), "collection"),
    "nobody's write": (request("POST", "/api/v1/namespaces/n/configmaps", {}), "nobody"),
    "a foreign manager": (apply(CONFIG_MAP, UID, {"fieldManager": "kubectl"}), "kubectl is no declared"),
    "the status manager on a main resource": (apply(CONFIG_MAP, UID, STATUS), "no declared"),
    "the main manager on a status": (apply(f"{SERVICE}/status", {**UID, "status": {}}), "a status is written by"),
    "a status in a main write": (apply(CONFIG_MAP, {**UID, "status": {}}), "/status only"),
    "a spec in a status write": (apply(f"{SERVICE}/status", {**UID, "spec": {}}, STATUS), "no spec"),
    "a spec of ours": (apply(SERVICE, {**UID, "spec": {"replicas": 1}}), "belongs to people"),
    "a label on one of ours": (apply(SERVICE, {"metadata": {"uid": "u", "labels": {}}}), "only the finalizer"),
    "one of ours deleted": (request("DELETE", SERVICE, {"preconditions": {"uid": "u"}}), "belong to people"),
    "one of ours made": (request("POST", SERVICE.rpartition("/")[0], {}, OURS), "belong to people"),
    "one of ours replaced": (request("PUT", SERVICE, {}, OURS), "belong to people"),
    "an entry of the ledger replaced blindly": (request("PUT", ENTRY, {"spec": {}}, OURS), "only as it was read"),
    "an entry of the ledger deleted": (request("DELETE", ENTRY, {"preconditions": {"uid": "u"}}), "in one piece"),
    "an entry of the ledger patched": (request("PATCH", ENTRY, {"spec": {}}, OURS), "in one piece"),
    "an apply that may raise the dead": (apply(CONFIG_MAP, {"metadata": {"name": "c"}}), "resourceVersion 1"),
}


@pytest.mark.parametrize("case", KEPT)
def test_keeps_every_rule(case: str) -> None:
    assert lint([KEPT[case]]) == []


@pytest.mark.parametrize("case", BROKEN)
def test_breaks_a_rule(case: str) -> None:
    broken, words = BROKEN[case]
    found = lint([broken])
    assert len(found) == 1 and words in found[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces", ("", "namespaces", "", "", "")),
        ("/api/v1/namespaces/n", ("", "namespaces", "", "n", "")),
        ("/api/v1/namespaces/n/status", ("", "namespaces", "", "n", "status")),
        ("/api/v1/namespaces/n/pods", ("", "pods", "n", "", "")),
        ("/api/v1/nodes/x", ("", "nodes", "", "x", "")),
        ("/apis/apps/v1/namespaces/n/deployments/d/scale", ("apps", "deployments", "n", "d", "scale")),
        ("/apis/roadstead.dev/v1alpha1/regions/hkg/status", ("roadstead.dev", "regions", "", "hkg", "status")),
        ("/apis/apps/v1", ("", "", "", "", "")),
        ("/api/v1", ("", "", "", "", "")),
        ("/version", ("", "", "", "", "")),
        ("/", ("", "", "", "", "")),
    ],
)
def test_a_path_is_read_as_kubernetes_reads_it(path: str, expected: tuple[str, ...]) -> None:
    made = Request(1, "GET", path)
    assert (made.group, made.resource, made.namespace, made.name, made.subresource) == expected


def test_rights_are_what_rbac_must_grant() -> None:
    used = rights([*KEPT.values()])
    assert ("", "configmaps", "patch") in used
    assert ("roadstead.dev", "chatservices/status", "patch") in used
    assert ("", "/version", "get") in used
    assert ("", "configmaps", "watch") in used and ("", "configmaps", "list") in used
