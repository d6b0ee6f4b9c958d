"""A ChatService that encrypts with a ring: what its pods get, when it is Ready, and what its pods may do.

The pods are KWOK's, which call everything ready at once; so what is seen here is what the operator asks for besides.
Real pods are in tests/e2e.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from roadstead_keys.poster import Poster, PostError

import worlds
from clusters import StartCluster, eventually, kubectl, run_kubectl
from keyconsumers import Consumer
from worlds import NAMESPACE, SETTLE_SECONDS, Body, World

REGIONS = ("hkg", "sgp")


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    with worlds.running(start_cluster) as made:
        yield made


def make_ring(world: World, name: str, *regions: str) -> None:
    spec = {
        "regions": list(regions or REGIONS),
        "distribution": "Cleartext",
        "schedule": {"every": "72h", "jitter": "0s"},
        "lead": "0s",
        "soak": "0s",
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    world.at_hub.apply(
        "keyrings", {"apiVersion": "roadstead.dev/v1alpha1", "kind": "KeyRing", "metadata": metadata, "spec": spec}
    )


@pytest.fixture
def encrypted(world: World) -> Iterator[Callable[..., tuple[str, str]]]:
    """Make a ring's name and a service that encrypts with it; the service is deleted after the test, then the ring."""
    made: list[tuple[str, str]] = []

    def make(first: Callable[[World, str], None] | None = None) -> tuple[str, str]:
        ring, name = world.fresh_name("ring"), world.fresh_name("desk")
        made.append((ring, name))
        if first is not None:
            first(world, ring)
            eventually(lambda: world.at_hub.get("keyrings", ring).get("status", {}).get("primary"))
        world.apply(worlds.chat(name, REGIONS, spec__encryption={"keyRingRef": {"name": ring}}))
        return ring, name

    yield make
    for ring, name in made:
        world.delete(name)
        with contextlib.suppress(OSError, RuntimeError):
            world.at_hub.delete("keyrings", ring)


def pods_of(world: World, ring: str, region: str) -> list[Body]:
    return world.at[region].items("pods", NAMESPACE, labels=f"keyring.roadstead.dev/{ring}={region}")


def consumers(world: World, ring: str, directory: Path) -> list[Consumer]:
    """The processes in the service's pods."""
    found = []
    for region in REGIONS:
        for pod in pods_of(world, ring, region):
            name = pod["metadata"]["name"]
            (directory / name).mkdir()
            found.append(Consumer(world.at[region], ring, region, name, directory / name, made=True))
    return found


def test_a_service_is_ready_when_its_pods_have_proved(
    world: World, encrypted: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    ring, name = encrypted()
    said = worlds.condition_of(world.wait(name, "Stalled", "True", reason="KeyRingMissing"), "Ready")
    assert f"KeyRing chat/{ring}, which does not exist; create it" in said["message"]
    assert not any(objects.children(name) for objects in world.at.values()), "pods without keys would only wait"

    make_ring(world, ring, "hkg")
    found = world.wait(name, "Stalled", "True", reason="RegionNotInKeyRing")
    assert "add sgp there" in worlds.condition_of(found, "Ready")["message"]
    assert world.at["hkg"].children(name)
    assert not world.at["sgp"].children(name)

    make_ring(world, ring)
    eventually(lambda: all(len(pods_of(world, ring, region)) == 1 for region in REGIONS), deadline=SETTLE_SECONDS)
    found = world.wait(name, "Ready", "False", reason="NotProved")
    assert "has no version to write with yet" in worlds.condition_of(found, "Ready")["message"], "its pods came first"
    processes = consumers(world, ring, tmp_path)

    def caught_up() -> bool:
        for process in processes:
            process.catch_up()
        return bool(world.condition(name, "Ready")["status"] == "True")

    eventually(caught_up, deadline=SETTLE_SECONDS)
    assert world.condition(name, "Encrypted")["reason"] == "Proved"
    for region in REGIONS:
        children = world.at[region].children(name)
        assert {f"roles/{name}-{region}-keys", f"rolebindings/{name}-{region}-keys"} <= set(children)

    world.look_again(name)
    before = world.writes()
    world.look_again(name)
    assert world.writes() == before, "nothing is written when nothing is due"


def test_each_pod_proves_and_a_rotation_leaves_the_service_ready(
    world: World, encrypted: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    ring, name = encrypted(first=make_ring)
    eventually(lambda: all(len(pods_of(world, ring, region)) == 1 for region in REGIONS), deadline=SETTLE_SECONDS)
    found = world.wait(name, "Ready", "False", reason="NotProved")
    said = worlds.condition_of(found, "Ready")["message"]
    assert "region hkg: 0 of 1 pods have proved that they hold version 1" in said
    assert "region sgp: 0 of 1 pods" in said
    processes = consumers(world, ring, tmp_path)
    processes[0].catch_up()
    eventually(lambda: "region hkg" not in world.condition(name, "Encrypted")["message"], deadline=SETTLE_SECONDS)
    assert world.condition(name, "Ready")["status"] == "False"
    processes[1].catch_up()
    world.wait_ready(name)
    since = world.condition(name, "Ready")["lastTransitionTime"]
    world.at_hub.patch("keyrings", ring, {"spec": {"schedule": {"rotateAt": datetime.now(UTC).isoformat()}}})

    def rotated() -> bool:
        for process in processes:
            process.catch_up()
        return bool(world.at_hub.get("keyrings", ring)["status"].get("primary") == 2)

    eventually(rotated, deadline=SETTLE_SECONDS)
    world.look_again(name)
    assert world.condition(name, "Ready") | {"status": "True", "lastTransitionTime": since} == world.condition(
        name, "Ready"
    )


async def test_a_pod_may_hand_in_its_proof_and_nothing_else(
    world: World, encrypted: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    ring, name = encrypted()
    make_ring(world, ring)
    objects, cluster = world.at["hkg"], world.members["hkg"]
    eventually(lambda: objects.find("rolebindings", f"{name}-hkg-keys"), deadline=SETTLE_SECONDS)
    eventually(lambda: objects.find("configmaps", f"{ring}.hkg.receipts"), deadline=SETTLE_SECONDS)
    account = tmp_path / "account"
    account.mkdir()
    (account / "namespace").write_text(NAMESPACE)
    (account / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
    (account / "token").write_text(kubectl(cluster, "-n", NAMESPACE, "create", "token", f"{name}-hkg"))
    receipts = f"{ring}.hkg.receipts"
    for pod, text in (("uid-1", "one"), ("uid-2", "two"), ("uid-1", "three")):
        await Poster(cluster.url, account, receipts, pod).hand_in(text)
    found = objects.get("configmaps", receipts)
    assert found["data"] == {"uid-1": "three", "uid-2": "two"}, "one pod's entry is not lost by another's"
    version = found["metadata"]["resourceVersion"]
    await Poster(cluster.url, account, receipts, "uid-2").hand_in("two")
    assert objects.get("configmaps", receipts)["metadata"]["resourceVersion"] == version, "no news is no write"

    with pytest.raises(PostError, match="403"):
        await Poster(cluster.url, account, "another", "uid-1").hand_in("text")
    user = f"system:serviceaccount:{NAMESPACE}:{name}-hkg"
    for verb, what in (
        ("get", f"configmaps/{receipts}"),
        ("delete", f"configmaps/{receipts}"),
        ("create", "configmaps"),
        ("get", f"secrets/{ring}.hkg.keyset"),
        ("list", "pods"),
    ):
        answer = run_kubectl(cluster, "-n", NAMESPACE, "auth", "can-i", verb, what, f"--as={user}")
        assert answer.stdout.strip() == "no", json.dumps([verb, what])


def test_answers_of_pods_that_are_no_more_do_not_fill_the_place(
    world: World, encrypted: Callable[..., tuple[str, str]]
) -> None:
    ring, _ = encrypted(first=make_ring)
    eventually(lambda: len(pods_of(world, ring, "hkg")) == 1, deadline=SETTLE_SECONDS)
    (pod,) = pods_of(world, ring, "hkg")
    receipts = f"{ring}.hkg.receipts"
    answers = {pod["metadata"]["uid"]: "kept", **{f"gone-{number}": "gone" for number in range(60)}}
    for uid, text in answers.items():
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": receipts, "namespace": NAMESPACE},
            "data": {uid: text},
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{receipts}?fieldManager=of-{uid}&force=true"
        world.at["hkg"].request("APPLY", path, body)

    def tidy() -> bool:
        world.at_hub.patch("keyrings", ring, {"metadata": {"annotations": {"example.com/at": world.fresh_name("t")}}})
        found = world.at["hkg"].get("configmaps", receipts)
        assert len(found["data"]) < 50, sorted(found["data"])
        assert found["data"][pod["metadata"]["uid"]] == "kept"
        assert len(found["metadata"]["managedFields"]) < 50, "nor do those who wrote them"
        return True

    eventually(tidy, deadline=SETTLE_SECONDS, interval=0.5)
