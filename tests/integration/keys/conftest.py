"""A hub and two regions with an operator, rings in them, and pods that use these."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import worlds
from approvals import APPROVER, REQUESTER, Person, approval, bind
from clusters import StartCluster
from keyconsumers import Consumer
from rings import ring_of
from worlds import NAMESPACE, World

MakeRing = Callable[..., str]
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    with worlds.running(start_cluster) as made:
        yield made


@pytest.fixture
def make(world: World) -> Iterator[MakeRing]:
    """Make rings that rotate each minute at once when a test says so; they are deleted after the test."""
    made: list[str] = []

    def ring(*regions: str, **spec: Any) -> str:
        name = world.fresh_name("ring")
        body = {
            "apiVersion": "roadstead.dev/v1alpha1",
            "kind": "KeyRing",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "regions": list(regions or world.members),
                "distribution": "Cleartext",
                "schedule": {"every": "72h", "jitter": "0s"},
                "lead": "0s",
                "soak": "0s",
                **spec,
            },
        }
        made.append(name)
        world.at_hub.apply("keyrings", body)
        return name

    yield ring
    for name in made:
        with contextlib.suppress(OSError, RuntimeError):
            world.at_hub.delete("keyrings", name)


@pytest.fixture
def pod(world: World, tmp_path: Path) -> Iterator[Callable[[str, str], Consumer]]:
    """Make pods that use a ring; they are deleted after the test."""
    made: list[Consumer] = []

    def consumer(ring: str, region: str) -> Consumer:
        name = world.fresh_name("pod")
        directory = tmp_path / name
        directory.mkdir()
        made.append(Consumer(world.at[region], ring, region, name, directory))
        return made[-1]

    yield consumer
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def people(world: World) -> tuple[Person, Person]:
    bind(world.hub, REQUESTER, "roadstead-edit", NAMESPACE)
    bind(world.hub, APPROVER, "roadstead-approve", NAMESPACE)
    return Person(world.hub, REQUESTER), Person(world.hub, APPROVER)


@pytest.fixture
def ask(world: World, people: tuple[Person, Person]) -> Iterator[Ask]:
    """Have something approved; the name of the Approval."""
    asks, says_yes = people

    def asked(ring: str, operation: str, *, approved: bool = True, **parameters: str) -> str:
        subject = {"kind": "KeyRing", "name": ring, "uid": ring_of(world, ring)["metadata"]["uid"]}
        edits: dict[str, Any] = {"spec__subject": subject, "spec__operation": operation, "spec__parameters": parameters}
        body = approval(namespace=NAMESPACE, **edits)
        asks.ask(body)
        if approved:
            says_yes.approve(body)
        return str(body["metadata"]["name"])

    yield asked
