"""What we know of our children: news, stale news, and objects whose labels somebody edited.

Mutants that these tests were seen to kill: stale events taken in; `expected` kept for another uid; the former owner of
a moved object not told; an object that lost its owner labels kept; a late answer that raises a deleted object.
"""

from __future__ import annotations

import pytest

from roadstead.kernel import objects
from roadstead.kernel.objects import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, STATEFUL_SETS, Key
from roadstead.kernel.store import (
    BURIED,
    NOTHING,
    ChildStore,
    WorkloadStatus,
    digest_of_owned,
    owner_of,
    project_workload,
    to_record,
)
from unit.kernel.objects_as_seen import HUB, seen, uid

A, B = Key("ChatService", "n", "a"), Key("ChatService", "n", "b")


@pytest.fixture
def store() -> ChildStore:
    return ChildStore(HUB)


def names(store: ChildStore, owner: Key) -> list[str]:
    return [record.name for record in store.children(owner)]


def test_an_object_is_news_once(store: ChildStore) -> None:
    assert store.upsert(SERVICES, seen(A)) == [A]
    assert store.upsert(SERVICES, seen(A)) == []
    assert store.upsert(SERVICES, seen(A, version=2)) == [], "a new version that changes nothing we look at is no news"
    assert store.children(A)[0].resource_version == 2


def test_a_stale_event_is_ignored(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=5, body_hash="ff" * 8))
    assert store.upsert(SERVICES, seen(A, version=4)) == []
    assert store.children(A)[0].body_hash == b"\xff" * 8


def test_a_stale_event_of_the_object_before_is_ignored(store: ChildStore) -> None:
    """We deleted it and made it anew; the last event of the old one comes after the answer about the new one."""
    store.upsert(SERVICES, seen(A, number=1, version=5))
    store.upsert(SERVICES, seen(A, number=2, version=9), expected=True)
    assert store.upsert(SERVICES, seen(A, number=1, version=7, deletionTimestamp="now")) == []
    assert store.remove(SERVICES, seen(A, number=1, version=8)) == []
    assert [record.uid for record in store.children(A)] == [uid(2)]


def test_another_object_of_the_same_name_replaces_it_and_nothing_is_expected_of_it(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, number=1), expected=True)
    assert store.upsert(SERVICES, seen(A, number=2, version=2)) == [A]
    assert [(r.uid, r.expected) for r in store.children(A)] == [(uid(2), NOTHING)]


def test_what_our_write_left_is_expected_until_the_next_one(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=1, fields={"f:spec": {}}), expected=True)
    record = store.children(A)[0]
    assert record.expected == record.fields != NOTHING
    assert store.upsert(SERVICES, seen(A, version=2, fields={"f:other": {}})) == [A], "somebody took a field"
    drifted = store.children(A)[0]
    assert drifted.expected == record.expected != drifted.fields


@pytest.mark.parametrize("meanwhile", ["f:spec", "f:other"])
def test_an_answer_that_comes_after_the_next_event_still_says_what_is_expected(
    store: ChildStore, meanwhile: str
) -> None:
    """A controller writes a status before our answer is back: without this, each such child costs a read."""
    store.upsert(DEPLOYMENTS, seen(A, version=2, fields={meanwhile: {}}))
    store.upsert(DEPLOYMENTS, seen(A, version=1, fields={"f:spec": {}}), expected=True)
    (record,) = store.children(A)
    assert record.resource_version == 2
    assert record.expected == to_record(DEPLOYMENTS, seen(A, fields={"f:spec": {}})).fields
    assert (record.fields == record.expected) is (meanwhile == "f:spec"), "a foreign change in between is drift"


def test_a_late_answer_about_another_object_says_nothing(store: ChildStore) -> None:
    store.upsert(DEPLOYMENTS, seen(A, number=2, version=2))
    store.upsert(DEPLOYMENTS, seen(A, number=1, version=1), expected=True)
    assert store.children(A)[0].expected == NOTHING


def test_confirming_takes_the_present_fields_as_expected_unless_they_moved_on(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=1))
    store.upsert(SECRETS, seen(A, version=1, number=2, fields={"f:a": {}}))
    looked_at = store.children(A)
    store.upsert(SECRETS, seen(A, version=2, number=2, fields={"f:b": {}}))
    store.confirm(A, looked_at)
    secret, service = store.children(A)
    assert (secret.gvr, service.gvr) == (SECRETS, SERVICES)
    assert service.expected == service.fields
    assert secret.expected == NOTHING, "what was looked at is no longer what is there"


def test_objects_of_other_hubs_and_other_managers_are_not_ours(store: ChildStore) -> None:
    other = seen(A)
    other["metadata"]["labels"][objects.HUB_LABEL] = "hub-2"
    assert store.upsert(SERVICES, other) == []
    invented = seen(Key("Invented", A.namespace, A.name))
    assert store.upsert(SERVICES, invented) == [], "each kind would have a queue and series of its own, for ever"
    unmanaged = seen(A)
    del unmanaged["metadata"]["labels"][objects.MANAGED_BY_LABEL]
    assert store.upsert(SERVICES, unmanaged) == []
    assert len(store) == 0


def test_the_former_owner_forgets_an_object_that_was_given_to_another(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=1))
    assert set(store.upsert(SERVICES, seen(B, version=2), moved=True)) == {A, B}
    assert (names(store, A), names(store, B)) == ([], ["x"])


def test_an_object_that_lost_the_labels_of_its_owner_is_drift_of_its_owner(store: ChildStore) -> None:
    """The watch selects by hub only, so this is a MODIFIED event and no deletion."""
    store.upsert(SERVICES, seen(A, version=1))
    assert store.upsert(SERVICES, seen(None, version=2), moved=True) == [A]
    assert store.children(A) == []


def test_old_news_about_labels_takes_nothing_from_its_owner(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=5), expected=True)
    assert store.upsert(SERVICES, seen(None, version=4), moved=True) == []
    assert store.remove(SERVICES, seen(None, version=4)) == [], "the deletion from a selecting watch is old as well"
    assert names(store, A) == ["x"]


def test_a_deletion_whose_last_state_names_another_owner_reaches_the_one_who_knew_it(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=1))
    assert store.remove(SERVICES, seen(B, version=2)) == [A]


def test_a_deletion_of_what_nobody_knows_is_no_news(store: ChildStore) -> None:
    assert store.remove(SERVICES, seen(A, version=1)) == []


def test_a_list_drops_what_it_does_not_hold_and_keeps_what_is_newer(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, "gone", number=1, version=3))
    store.upsert(SERVICES, seen(A, "there", number=2, version=3))
    store.upsert(SERVICES, seen(A, "newer", number=3, version=12), expected=True)
    store.upsert(SECRETS, seen(A, "other-type", number=4, version=3))
    assert store.retain(SERVICES, {uid(2)}, 10) == [A]
    assert sorted(names(store, A)) == ["newer", "other-type", "there"]


def test_a_list_settles_whose_an_object_is_that_moved_while_nobody_looked(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=1))
    store.upsert(SERVICES, seen(B, version=5), moved=False)
    assert store.retain(SERVICES, {uid(1)}, 9) == [A]
    assert (names(store, A), names(store, B)) == ([], ["x"])


def test_a_late_answer_does_not_raise_an_object_that_was_deleted(store: ChildStore) -> None:
    assert store.remove(SERVICES, seen(A, version=8)) == []
    assert store.upsert(SERVICES, seen(A, version=7), expected=True) == []
    assert len(store) == 0


def test_a_late_answer_does_not_raise_an_object_that_a_later_list_did_not_hold(store: ChildStore) -> None:
    store.retain(SERVICES, set(), 20)
    assert store.upsert(SERVICES, seen(A, version=7), expected=True) == []
    assert store.upsert(SERVICES, seen(A, version=21), expected=True) == [A]


def test_an_object_whose_labels_came_back_is_known_again(store: ChildStore) -> None:
    """Losing the label is a deletion to the watch, but the object lives on under its uid."""
    store.upsert(SERVICES, seen(A, version=1))
    assert store.remove(SERVICES, seen(A, version=2)) == [A]
    assert store.upsert(SERVICES, seen(A, version=3)) == [A]


def test_an_object_that_we_deleted_stays_forgotten(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=1))
    store.forget(A, SERVICES, uid(1))
    assert store.upsert(SERVICES, seen(A, version=2)) == [], "an event from before the deletion"


def test_remembered_deletions_are_bounded(store: ChildStore) -> None:
    for number in range(BURIED + 10):
        store.remove(SERVICES, seen(A, number=number, version=5))
    assert len(store._buried) == BURIED
    assert store.upsert(SERVICES, seen(A, number=BURIED + 9, version=4)) == []


def test_children_of_one_region_in_a_stable_order(store: ChildStore) -> None:
    store.upsert(DEPLOYMENTS, seen(A, "b", number=1, region="hkg"))
    store.upsert(SERVICES, seen(A, "z", number=2, region="hkg"))
    store.upsert(SERVICES, seen(A, "a", number=3, region="hkg"))
    store.upsert(SERVICES, seen(A, "a2", number=4, region="sin"))
    assert [r.name for r in store.children(A, "hkg")] == ["a", "z", "b"]
    assert [r.name for r in store.children(A)] == ["a", "a2", "z", "b"]
    assert list(store.owners()) == [A]


def test_a_workload_keeps_what_readiness_needs(store: ChildStore) -> None:
    body = seen(A, generation=4)
    body["spec"] = {"replicas": 3}
    failure = {"type": "ReplicaFailure", "status": "True", "message": "quota é" * 200}
    counts = {"replicas": 5, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}
    body["status"] = {"observedGeneration": 3, "conditions": [failure], **counts}
    store.upsert(STATEFUL_SETS, body)
    status = store.children(A)[0].workload
    assert status is not None
    assert (status.generation, status.observed_generation, status.wanted) == (4, 3, 3)
    assert (status.replicas, status.updated, status.ready, status.available) == (5, 2, 1, 1)
    assert status.failure == ("quota é" * 200)[:500]
    body["metadata"]["resourceVersion"] = "2"
    body["status"]["readyReplicas"] = 2
    assert store.upsert(STATEFUL_SETS, body) == [A], "a status that changed is news"


def test_a_new_workload_has_one_wanted_replica_and_no_status() -> None:
    assert project_workload({"metadata": {"name": "x"}, "spec": {}}) == WorkloadStatus(wanted=1)
    assert project_workload({"metadata": {"name": "x"}, "spec": {"replicas": 0}}).wanted == 0


@pytest.mark.parametrize("value", ["", "zz", "0102", "00" * 9, "not hex at all!!"])
def test_a_body_hash_that_is_none_counts_as_unknown(value: str) -> None:
    assert to_record(CONFIG_MAPS, seen(A, body_hash=value)).body_hash == NOTHING


def test_only_our_apply_entry_of_the_main_resource_counts() -> None:
    metadata = seen(A)["metadata"]
    ours = digest_of_owned(metadata)
    status = {**metadata["managedFields"][0], "subresource": "status", "fieldsV1": {"f:status": {}}}
    edit = {"manager": "roadstead", "operation": "Update", "fieldsV1": {"f:x": {}}}
    metadata["managedFields"] = [status, edit, *metadata["managedFields"]]
    assert digest_of_owned(metadata) == ours
    metadata["managedFields"] = [status, edit]
    assert digest_of_owned(metadata) == NOTHING


@pytest.mark.parametrize("label", [objects.OWNER_NAMESPACE_LABEL, objects.OWNER_NAME_LABEL, objects.OWNER_KIND_LABEL])
def test_without_each_of_the_owners_labels_there_is_no_owner(store: ChildStore, label: str) -> None:
    """One in no namespace would be "proven absent" by a read that has no namespace either, and the child deleted."""
    store.upsert(SERVICES, seen(A))
    body = seen(A, version=2)
    del body["metadata"]["labels"][label]
    assert owner_of(body["metadata"], HUB) is None
    assert store.upsert(SERVICES, body, moved=True) == [A], "the owner is told, and makes it its own again"


def test_a_copy_in_another_namespace_has_no_owner(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A))
    assert store.upsert(SERVICES, seen(A, number=2, version=2, namespace="elsewhere")) == []
    assert [record.uid for record in store.children(A)] == [uid(1)]


def test_old_news_of_another_owner_takes_nothing_from_the_present_one(store: ChildStore) -> None:
    store.upsert(SERVICES, seen(A, version=5), expected=True)
    assert store.upsert(SERVICES, seen(B, version=4), moved=True) == []
    assert (names(store, A), names(store, B)) == (["x"], [])
