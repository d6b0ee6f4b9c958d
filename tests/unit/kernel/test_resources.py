"""Our own resources as last seen: news once, in order, and gone for good when gone.

Mutants that these tests were seen to kill: a late answer that raises a deleted resource; old news taken in; the
deletion of a former object of a name that takes the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from roadstead.kernel.objects import Key
from roadstead.kernel.resources import ResourceStore

KEY = Key("ChatService", "n", "a")


def body(name: str = "a", *, version: int = 1, uid: str = "u1", **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": uid, "resourceVersion": str(version), "managedFields": [1]}
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "ChatService", "metadata": metadata, **parts}


def regions(kind: str, body: Mapping[str, Any]) -> frozenset[str]:
    return frozenset((body.get("spec") or {}).get("regions", ()))


@pytest.fixture
def store() -> ResourceStore:
    return ResourceStore(regions)


def test_a_body_is_news_once_and_never_goes_back(store: ResourceStore) -> None:
    assert store.upsert("ChatService", body(version=5)) == KEY
    assert store.upsert("ChatService", body(version=5)) is None
    assert store.upsert("ChatService", body(version=4)) is None
    assert store.version(KEY) == 5
    assert store.upsert("ChatService", body(version=6)) == KEY


def test_managed_fields_are_dropped_and_reads_do_not_share(store: ResourceStore) -> None:
    store.upsert("ChatService", body(spec={"a": 1}))
    first = store.get(KEY)
    assert first is not None and "managedFields" not in first["metadata"]
    first["spec"]["a"] = 2
    assert store.get(KEY) == {**first, "spec": {"a": 1}}


def test_a_late_answer_to_a_status_write_does_not_raise_a_deleted_resource(store: ResourceStore) -> None:
    store.upsert("ChatService", body(version=1))
    assert store.remove("ChatService", body(version=3)) == KEY
    assert store.upsert("ChatService", body(version=2, status={})) is None
    assert store.get(KEY) is None and store.readiness() == {}


def test_a_late_answer_does_not_raise_what_a_list_did_not_hold(store: ResourceStore) -> None:
    store.upsert("ChatService", body(version=1))
    assert store.retain("ChatService", set(), 9) == [KEY]
    assert store.upsert("ChatService", body(version=2)) is None
    assert store.get(KEY) is None


def test_a_resource_made_anew_is_known_again(store: ResourceStore) -> None:
    store.upsert("ChatService", body(version=1))
    store.remove("ChatService", body(version=3))
    assert store.upsert("ChatService", body(version=4, uid="u2")) == KEY


def test_the_deletion_of_the_former_object_leaves_the_new_one(store: ResourceStore) -> None:
    store.upsert("ChatService", body(version=4, uid="u2"))
    assert store.remove("ChatService", body(version=3, uid="u1")) is None
    assert store.get(KEY) is not None


def test_a_list_forgets_what_it_does_not_hold_but_not_what_is_newer_or_of_another_kind(store: ResourceStore) -> None:
    store.upsert("ChatService", body("gone", version=1, uid="1"))
    store.upsert("ChatService", body("there", version=2, uid="2"))
    store.upsert("ChatService", body("newer", version=12, uid="3"))
    store.upsert("Region", {"metadata": {"name": "r", "uid": "4", "resourceVersion": "1"}})
    there = Key("ChatService", "n", "there")
    assert store.retain("ChatService", {there}, 10) == [Key("ChatService", "n", "gone")]
    assert set(store.keys("ChatService")) == {there, Key("ChatService", "n", "newer")}
    assert set(store.keys("Region")) == {Key("Region", "", "r")}


def test_who_depends_on_a_region_is_found(store: ResourceStore) -> None:
    store.upsert("ChatService", body("a", uid="1", spec={"regions": ["hkg", "sin"]}))
    store.upsert("ChatService", body("b", uid="2", spec={"regions": ["sin"]}))
    assert list(store.mentioning("ChatService", "hkg")) == [KEY]
    store.upsert("ChatService", body("a", uid="1", version=2, spec={"regions": ["sin"]}))
    assert list(store.mentioning("ChatService", "hkg")) == []


def test_readiness_counts_by_kind_and_status(store: ResourceStore) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    store.upsert("ChatService", body("a", uid="1", status=ready))
    store.upsert("ChatService", body("b", uid="2"))
    assert store.readiness() == {("ChatService", "True"): 1, ("ChatService", "Unknown"): 1}
    store.remove("ChatService", body("a", uid="1", version=2))
    assert store.readiness() == {("ChatService", "Unknown"): 1}
