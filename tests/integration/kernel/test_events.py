"""Events that a real API server takes, whatever is in them.

Mutants that these tests were seen to kill: a note cut by characters; an event of a cluster-scoped object in another
namespace than ``default``.
"""

from __future__ import annotations

from typing import Any

import pytest

from localkube.bare import BareCluster
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.events import NOTE_LIMIT, EventRecorder
from roadstead.kernel.objects import CONFIG_MAPS, EVENTS, NAMESPACES


async def events(client: ClusterClient, namespace: str, uid: str) -> list[dict[str, Any]]:
    return [
        item
        async for items, _ in client.pages(EVENTS, namespace)
        for item in items
        if item["regarding"].get("uid") == uid
    ]


@pytest.fixture
async def regarding(client: ClusterClient, space: str) -> dict[str, Any]:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    return await client.create(CONFIG_MAPS, space, body, manager="test")


async def test_an_event_is_posted_with_everything(client: ClusterClient, space: str, regarding: dict[str, Any]) -> None:
    recorder = EventRecorder(client, SystemClock(), "host_1234")
    told: dict[str, Any] = {"reason": "RegionLost", "note": "hkg does not answer", "action": "Observe", "warning": True}
    assert await recorder.emit(regarding, "ConfigMap", **told)
    assert await recorder.emit(regarding, "ConfigMap", reason="RegionBack", note="hkg answers", action="Observe")
    assert await recorder.emit(regarding, "ConfigMap", **told)
    first, again, second = sorted(
        await events(client, space, regarding["metadata"]["uid"]), key=lambda event: event["reason"], reverse=True
    )
    assert first["note"] == again["note"] and first["metadata"]["name"] != again["metadata"]["name"]
    assert (first["type"], first["reason"], first["note"]) == ("Warning", "RegionLost", "hkg does not answer")
    assert first["reportingInstance"] == "host_1234"
    assert second["type"] == "Normal"


@pytest.mark.parametrize("note", ["é" * 1000, "x" * 5000, "x" * 1023 + "é", "", "汉" * 400, "a\nb\t\x00c"])
async def test_any_note_is_taken(client: ClusterClient, space: str, regarding: dict[str, Any], note: str) -> None:
    recorder = EventRecorder(client, SystemClock(), "h" * 300)
    assert await recorder.emit(regarding, "ConfigMap", reason="Told", note=note, action="Tell")
    (event,) = await events(client, space, regarding["metadata"]["uid"])
    assert len(event.get("note", "").encode()) <= NOTE_LIMIT
    if note:
        assert event["note"][:100] == note[:100]


async def test_an_event_about_a_cluster_scoped_object_is_in_the_namespace_default(
    client: ClusterClient, cluster: BareCluster, space: str
) -> None:
    namespace = await client.get(NAMESPACES, "", space)
    recorder = EventRecorder(client, SystemClock(), "host")
    assert await recorder.emit(namespace, "Namespace", reason="Told", note="x", action="Tell")
    assert len(await events(client, "default", namespace["metadata"]["uid"])) == 1


async def test_an_event_that_is_refused_is_no_failure(
    client: ClusterClient, space: str, regarding: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = EventRecorder(client, SystemClock(), "host")
    assert not await recorder.emit(regarding, "ConfigMap", reason="x" * 500, note="x", action="Tell")
    assert "could not post" in caplog.text
