"""One world for each module here: a hub, two members, the operator. Ask for `world`; make services by `service`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import worlds
from clusters import StartCluster
from worlds import Body, World

MakeService = Callable[..., Body]


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    """Hub and two members with a running operator; a test that changes a Region puts it back."""
    with worlds.running(start_cluster) as made:
        yield made


@pytest.fixture
def service(world: World) -> Iterator[MakeService]:
    """Make services with names of their own; they are deleted after the test, without waiting."""
    made: list[Body] = []

    def make(*regions: str, name: str = "", ready: bool = True, **edits: Any) -> Body:
        body = worlds.chat(name or world.fresh_name(), regions or tuple(world.members), **edits)
        made.append(body)
        world.apply(body)
        if ready:
            world.wait_ready(body["metadata"]["name"])
        return body

    yield make
    for body in made:
        with contextlib.suppress(OSError, RuntimeError):
            world.at_hub.delete("chatservices", body["metadata"]["name"], body["metadata"]["namespace"])
