"""The client against a real API server: what 10-engine.md says about it, sentence by sentence.

Mutants that these tests were seen to kill: `pages` without ``or []``; `pages` without ``continue``; `apply` without
``fieldManager``; `delete` without preconditions; `from_status` without the two texts of a 500; `watch` without
``allowWatchBookmarks``; `_event` that does not turn an ERROR line of code 410 into `Gone`; `allow_redirects` left out.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from clusters import eventually_async
from integration.kernel.bodies import SERVED, child, deployment
from localkube.bare import BareCluster
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient, WatchEvent
from roadstead.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from roadstead.kernel.objects import CONFIG_MAPS, DEPLOYMENTS, Gvr

MANAGER = objects.FIELD_MANAGER


def config_map(name: str, *, labels: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels or {"set": "all"}, **metadata},
        "data": {"k": "v"},
    }


async def put(client: ClusterClient, space: str, name: str, **metadata: Any) -> dict[str, Any]:
    return await client.apply(CONFIG_MAPS, space, name, config_map(name, **metadata), manager=MANAGER)


async def listed(client: ClusterClient, space: str, **options: Any) -> tuple[list[str], list[int], set[str]]:
    names, sizes, versions = [], [], set()
    async for items, version in client.pages(CONFIG_MAPS, space, **options):
        names += [item["metadata"]["name"] for item in items]
        sizes.append(len(items))
        versions.add(version)
    return names, sizes, versions


async def test_pages_hold_every_item_once_and_share_one_version(client: ClusterClient, space: str) -> None:
    for i in range(7):
        await put(client, space, f"c{i}")
    names, sizes, versions = await listed(client, space, labels="set=all", page_size=3)
    assert names == [f"c{i}" for i in range(7)]
    assert sizes == [3, 3, 1]
    assert len(versions) == 1 and int(versions.pop()) > 0


@pytest.mark.parametrize("metadata_only", [True, False])
async def test_an_empty_list_is_an_empty_page_although_the_server_says_null(
    client: ClusterClient, space: str, metadata_only: bool
) -> None:
    names, sizes, versions = await listed(client, space, labels="set=none", metadata_only=metadata_only)
    assert (names, sizes) == ([], [0])
    assert int(versions.pop()) > 0


async def test_the_server_does_say_null(client: ClusterClient, space: str) -> None:
    """The fact behind ``or []``: when this fails, the guard can go."""
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    query = {"labelSelector": "set=none"}
    answer = await client._json("GET", CONFIG_MAPS.path(space), query=query, accept=accept)
    assert answer["items"] is None


async def test_metadata_only_brings_managed_fields_and_no_data(client: ClusterClient, space: str) -> None:
    await put(client, space, "c")
    found = await client.get(CONFIG_MAPS, space, "c", metadata_only=True)
    assert found["kind"] == "PartialObjectMetadata"
    assert "data" not in found
    assert found["metadata"]["managedFields"][0]["manager"] == MANAGER


async def test_field_and_label_selectors_narrow_a_list(client: ClusterClient, space: str) -> None:
    await put(client, space, "a", labels={"set": "one"})
    await put(client, space, "b", labels={"set": "two"})
    assert (await listed(client, space, labels="set=two"))[0] == ["b"]
    assert (await listed(client, space, fields="metadata.name=a"))[0] == ["a"]


async def test_find_is_none_and_get_is_not_found(client: ClusterClient, space: str) -> None:
    assert await client.find(CONFIG_MAPS, space, "absent") is None
    with pytest.raises(NotFound, match="absent"):
        await client.get(CONFIG_MAPS, space, "absent")


async def test_apply_with_resource_version_one_creates_exactly_once(client: ClusterClient, space: str) -> None:
    body = config_map("c", resourceVersion="1")
    made = await client.apply(CONFIG_MAPS, space, "c", body, manager=MANAGER)
    with pytest.raises(Conflict):
        await client.apply(CONFIG_MAPS, space, "c", body, manager=MANAGER)
    assert (await client.get(CONFIG_MAPS, space, "c"))["metadata"] == made["metadata"]


@pytest.mark.parametrize("gvr", SERVED, ids=str)
async def test_apply_with_resource_version_one_creates_every_child_type(
    client: ClusterClient, space: str, gvr: Gvr
) -> None:
    body = dict(child(gvr, space).body)
    body["metadata"] = {**body["metadata"], "resourceVersion": "1"}
    await client.apply(gvr, space, "x", body, manager=MANAGER)
    with pytest.raises(Conflict):
        await client.apply(gvr, space, "x", body, manager=MANAGER)


async def test_only_one_of_many_creators_wins(client: ClusterClient, space: str) -> None:
    body = config_map("c", resourceVersion="1")
    calls = [client.apply(CONFIG_MAPS, space, "c", body, manager=f"m{i}") for i in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7


@pytest.mark.parametrize("gvr", SERVED, ids=str)
async def test_apply_with_a_uid_never_makes_a_ghost(client: ClusterClient, space: str, gvr: Gvr) -> None:
    body = dict(child(gvr, space).body)
    body["metadata"] = {**body["metadata"], "uid": str(uuid.uuid4())}
    with pytest.raises(Conflict):
        await client.apply(gvr, space, "x", body, manager=MANAGER)
    assert await client.find(gvr, space, "x") is None


@pytest.mark.parametrize("gvr", SERVED, ids=str)
async def test_apply_with_another_uid_changes_nothing(client: ClusterClient, space: str, gvr: Gvr) -> None:
    body = dict(child(gvr, space).body)
    made = await client.apply(gvr, space, "x", body, manager=MANAGER)
    body["metadata"] = {**body["metadata"], "uid": str(uuid.uuid4()), "labels": {"changed": "yes"}}
    with pytest.raises(Conflict):
        await client.apply(gvr, space, "x", body, manager=MANAGER)
    assert "changed" not in ((await client.get(gvr, space, "x"))["metadata"].get("labels") or {})
    body["metadata"] = {**body["metadata"], "uid": made["metadata"]["uid"]}
    await client.apply(gvr, space, "x", body, manager=MANAGER)
    assert "changed" in (await client.get(gvr, space, "x"))["metadata"]["labels"]


async def test_a_dry_run_writes_nothing(client: ClusterClient, space: str) -> None:
    await client.apply(CONFIG_MAPS, space, "c", config_map("c"), manager=MANAGER, dry_run=True)
    assert await client.find(CONFIG_MAPS, space, "c") is None


async def test_status_is_applied_through_its_subresource_by_a_manager_of_its_own(
    client: ClusterClient, space: str
) -> None:
    made = await client.apply(DEPLOYMENTS, space, "x", deployment(replicas=0), manager=MANAGER)
    status = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "uid": made["metadata"]["uid"]},
        "status": {"conditions": [{"type": "Ours", "status": "True"}]},
    }
    await client.apply(DEPLOYMENTS, space, "x", status, manager=objects.STATUS_MANAGER, subresource="status")
    live = await client.get(DEPLOYMENTS, space, "x")
    assert any(c["type"] == "Ours" for c in live["status"]["conditions"])
    entry = next(e for e in live["metadata"]["managedFields"] if e["manager"] == objects.STATUS_MANAGER)
    assert (entry["subresource"], entry["operation"]) == ("status", "Apply")


@pytest.mark.parametrize("gvr", SERVED, ids=str)
async def test_delete_takes_only_the_object_with_that_uid(client: ClusterClient, space: str, gvr: Gvr) -> None:
    made = await client.apply(gvr, space, "x", child(gvr, space).body, manager=MANAGER)
    with pytest.raises(Conflict):
        await client.delete(gvr, space, "x", uid=str(uuid.uuid4()))
    assert await client.find(gvr, space, "x") is not None
    assert await client.delete(gvr, space, "x", uid=made["metadata"]["uid"]) is False, "nothing holds it back"
    assert await client.find(gvr, space, "x") is None
    assert await client.delete(gvr, space, "x", uid=made["metadata"]["uid"]) is False, "deleting twice is no error"


async def test_delete_says_that_an_object_lingers(client: ClusterClient, space: str) -> None:
    made = await put(client, space, "c", finalizers=["example.com/hold"])
    assert await client.delete(CONFIG_MAPS, space, "c", uid=made["metadata"]["uid"]) is True
    assert await client.delete(CONFIG_MAPS, space, "c", uid=made["metadata"]["uid"]) is True, "and says so again"
    await client.apply(CONFIG_MAPS, space, "c", config_map("c"), manager=MANAGER)
    assert await client.find(CONFIG_MAPS, space, "c") is None


async def test_duplicate_env_names_are_terminal(client: ClusterClient, space: str) -> None:
    body = deployment(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
    with pytest.raises(Invalid, match=r"500.*duplicate"):
        await client.apply(DEPLOYMENTS, space, "x", body, manager=MANAGER)


async def test_an_undeclared_field_is_terminal(client: ClusterClient, space: str) -> None:
    body = deployment()
    body["spec"]["paused_for_lunch"] = True
    with pytest.raises(Invalid, match=r"500.*paused_for_lunch"):
        await client.apply(DEPLOYMENTS, space, "x", body, manager=MANAGER)


async def test_an_invalid_value_is_terminal_and_names_the_field(client: ClusterClient, space: str) -> None:
    with pytest.raises(Invalid, match=r"422.*spec\.replicas"):
        await client.apply(DEPLOYMENTS, space, "x", deployment(replicas=-1), manager=MANAGER)


async def test_a_changed_volume_template_is_terminal(client: ClusterClient, space: str) -> None:
    body = dict(child(objects.STATEFUL_SETS, space).body)
    await client.apply(objects.STATEFUL_SETS, space, "x", body, manager=MANAGER)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
    body["spec"] = {**body["spec"], "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}
    with pytest.raises(Invalid, match="422"):
        await client.apply(objects.STATEFUL_SETS, space, "x", body, manager=MANAGER)


async def test_a_missing_namespace_is_not_found(client: ClusterClient) -> None:
    with pytest.raises(NotFound, match=r"namespaces.*not found"):
        await client.apply(CONFIG_MAPS, "no-such-namespace", "c", config_map("c"), manager=MANAGER)


async def test_a_terminating_namespace_forbids(client: ClusterClient, cluster: BareCluster, space: str) -> None:
    await put(client, space, "hold", finalizers=["example.com/hold"])
    cluster.api.request("DELETE", f"/api/v1/namespaces/{space}")
    with pytest.raises(Forbidden, match="being terminated"):
        await put(client, space, "late")
    await client.apply(CONFIG_MAPS, space, "hold", config_map("hold"), manager=MANAGER)


async def test_replace_and_merge_patch_are_conditional(client: ClusterClient, space: str) -> None:
    made = await client.create(CONFIG_MAPS, space, config_map("c"), manager=MANAGER)
    with pytest.raises(Conflict):
        await client.create(CONFIG_MAPS, space, config_map("c"), manager=MANAGER)
    newer = await client.replace(CONFIG_MAPS, space, "c", {**made, "data": {"k": "2"}}, manager=MANAGER)
    with pytest.raises(Conflict):
        await client.replace(CONFIG_MAPS, space, "c", {**made, "data": {"k": "3"}}, manager=MANAGER)
    old = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"], "finalizers": ["example.com/x"]}}
    with pytest.raises(Conflict):
        await client.merge_patch(CONFIG_MAPS, space, "c", old, manager=MANAGER)
    now = {"metadata": {"resourceVersion": newer["metadata"]["resourceVersion"], "labels": None}}
    assert "labels" not in (await client.merge_patch(CONFIG_MAPS, space, "c", now, manager=MANAGER))["metadata"]


async def test_discovery_knows_what_is_served(client: ClusterClient) -> None:
    assert await client.serves(DEPLOYMENTS)
    assert await client.serves(CONFIG_MAPS)
    assert not await client.serves(objects.CERTIFICATES)
    assert (await client.version()).startswith("v1.")


async def first(client: ClusterClient, space: str, version: str, count: int, **options: Any) -> list[WatchEvent]:
    """The first events of a watch."""
    events = []
    async with asyncio.timeout(30):
        async for event in client.watch(CONFIG_MAPS, space, resource_version=version, **options):
            events.append(event)
            if len(events) == count:
                break
    return events


async def test_a_watch_tells_changes_in_order_and_resumes(client: ClusterClient, space: str) -> None:
    start = (await listed(client, space))[2].pop()
    made = await put(client, space, "c")
    await put(client, space, "c", labels={"set": "all", "more": "yes"})
    await client.delete(CONFIG_MAPS, space, "c", uid=made["metadata"]["uid"])
    options = {"labels": "set=all", "metadata_only": True}
    events = await first(client, space, start, 3, **options)
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions) and len(set(versions)) == 3
    assert all("data" not in event.object for event in events)
    resumed = await first(client, space, str(versions[0]), 2, **options)
    assert [event.type for event in resumed] == ["MODIFIED", "DELETED"]


async def test_losing_the_label_is_a_deletion_to_a_selecting_watch(client: ClusterClient, space: str) -> None:
    made = await put(client, space, "c")
    await put(client, space, "c", labels={"set": "other"})
    events = await first(client, space, made["metadata"]["resourceVersion"], 1, labels="set=all")
    assert events[0].type == "DELETED"


async def test_a_watch_that_the_server_ends_just_ends_and_says_a_bookmark_before(
    client: ClusterClient, space: str
) -> None:
    """A bookmark comes before the time-out ends a watch; the once-a-minute ones are the same line."""
    start = (await listed(client, space))[2].pop()
    await put(client, space, "c", labels={"set": "other"})  # moves the version on without matching
    events = []
    async with asyncio.timeout(30):
        async for event in client.watch(
            CONFIG_MAPS, space, resource_version=start, labels="set=all", timeout_seconds=4
        ):
            events.append(event)
    assert {event.type for event in events} == {"BOOKMARK"}
    assert int(events[-1].object["metadata"]["resourceVersion"]) > int(start)


async def test_a_line_longer_than_any_buffer_arrives_whole(client: ClusterClient, space: str) -> None:
    start = (await listed(client, space))[2].pop()
    body = config_map("big")
    body["data"] = {"k": "x" * 900_000}
    await client.create(CONFIG_MAPS, space, body, manager=MANAGER)
    events = await first(client, space, start, 1, labels="set=all")  # a controller puts one of its own there, some time
    assert len(events[0].object["data"]["k"]) == 900_000


async def test_many_events_at_once_are_all_told(client: ClusterClient, space: str) -> None:
    start = (await listed(client, space))[2].pop()
    seen: list[str] = []

    async def follow() -> None:
        async for event in client.watch(CONFIG_MAPS, space, resource_version=start, labels="set=all"):
            seen.append(event.object["metadata"]["name"])

    task = asyncio.create_task(follow())
    await asyncio.gather(*(put(client, space, f"c{i}") for i in range(100)))
    await eventually_async(lambda: len(seen) == 100, what="100 events")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(set(seen)) == 100
