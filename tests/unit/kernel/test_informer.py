"""What the informer asks of kopf."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from roadstead.kernel.informer import catch_up, settings, streams_lists
from roadstead.kernel.objects import CHAT_SERVICES, Key
from roadstead.kernel.resources import ResourceStore


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("v1.30.4", False, id="before the gate was on"),
        pytest.param("v1.32.0", True, id="on by default"),
        pytest.param("v1.33.1", False, id="off again"),
        pytest.param("v1.34.0", True, id="on for good"),
        pytest.param("v1.36.3", True, id="what we test on"),
        pytest.param("v1.36.3+vendor.2", True, id="with a distribution's suffix"),
        pytest.param("v2.0.0", True, id="a later major version"),
        pytest.param("", False, id="unknown"),
        pytest.param("latest", False, id="not a version"),
    ],
)
def test_lists_are_streamed_where_the_api_server_can(version: str, expected: bool) -> None:
    assert streams_lists(version) is expected
    assert settings(streaming=expected).watching.initial_streaming is expected


def test_kopf_neither_posts_events_nor_limits_its_workers() -> None:
    """A worker limit can starve or deadlock; kopf's own events would tell of our internals."""
    chosen = settings(streaming=True)
    assert chosen.queueing.worker_limit is None
    assert not chosen.posting.enabled
    assert chosen.admission.managed is None


class Hub:
    """Lists and gives what is in ``bodies``; ``read`` tells which were asked for one by one."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self.bodies = {body["metadata"]["name"]: body for body in bodies}
        self.read: list[str] = []

    async def pages(self, *_: object, metadata_only: bool) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        yield [{"metadata": body["metadata"]} for body in self.bodies.values()], "100"

    async def find(self, _gvr: object, _namespace: str, name: str) -> dict[str, Any] | None:
        self.read.append(name)
        return self.bodies.get(name)


def service(name: str, version: int, image: str = "chat:1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "bank", "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"image": image}}


async def test_what_the_watch_has_missed_is_read_and_no_more() -> None:
    """A standby whose watch is behind would take every region of a service back to its old version at a take-over."""
    resources = ResourceStore(lambda kind, body: frozenset())
    for known in (service("gone", 5), service("same", 6), service("changed", 7)):
        resources.upsert("ChatService", known)
    hub: Any = Hub(service("same", 6), service("changed", 9, "chat:2"), service("new", 8))
    keys = await catch_up(hub, CHAT_SERVICES, resources)
    assert sorted(key.name for key in keys) == ["changed", "gone", "new"]
    assert sorted(hub.read) == ["changed", "new"]
    changed = resources.get(Key("ChatService", "bank", "changed"))
    assert changed is not None and changed["spec"]["image"] == "chat:2"
    assert resources.get(Key("ChatService", "bank", "gone")) is None
    assert await catch_up(hub, CHAT_SERVICES, resources) == []
