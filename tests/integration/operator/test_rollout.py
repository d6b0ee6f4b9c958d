"""A new version goes from region to region, and back when it is bad: seen from the regions, not from the status."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

import worlds
from clusters import eventually
from localkube import nodes
from specs import edited
from worlds import SETTLE_SECONDS, Body, Recorder, World, pool, versions

from .conftest import MakeService

TOO_BIG = {"requests": {"cpu": "100"}}
"""No node has so much: pods of such a version never start, whatever the image."""
POOLS = tuple(f"pool-{number:02}" for number in range(1, 13))


def version(body: Body, tag: str, **edits: Any) -> Body:
    """The service with another image."""
    image = {"spec.image": worlds.IMAGE.format(tag)}
    return edited(body, image | {path.replace("__", "."): value for path, value in edits.items()})


def phase(world: World, name: str) -> str:
    return str(world.status(name).get("rollout", {}).get("phase"))


def wait_phase(world: World, name: str, *phases: str, revision_not: str = "") -> Body:
    def reached() -> Body | None:
        status = world.status(name)
        rollout = status["rollout"]
        return status if rollout["phase"] in phases and rollout["revision"] != revision_not else None

    found = eventually(reached, deadline=SETTLE_SECONDS, what=f"the rollout of {name} is {' or '.join(phases)}")
    assert found is not None
    return found


def tags(world: World, name: str) -> dict[str, str]:
    """Which version each region's Deployment has now."""
    return {
        region: worlds.image_of(objects.get("deployments", f"{name}-{region}")).rpartition(":")[2]
        for region, objects in world.at.items()
    }


def test_a_new_version_goes_region_by_region_and_bakes_in_between(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "3s"}, spec__replicas=2)
    name = body["metadata"]["name"]
    before = world.status(name)["revision"]
    with Recorder(world.at, name) as seen:
        world.apply(version(body, "2.0"))
        wait_phase(world, name, "Baking", revision_not=before)
        assert tags(world, name) == {"hkg": "2.0", "sgp": "1.0"}
        world.wait_ready(name)
    assert seen.images("hkg") == seen.images("sgp") == ["1.0", "2.0"]
    assert seen.most_unsettled() == 1
    assert seen.moved("sgp", "2.0") - seen.settled("hkg", "2.0") >= 2.5, "the bake was cut short"
    assert min(seen.fewest_ready(region) for region in ("hkg", "sgp")) == 2
    status = world.status(name)
    assert status["rollout"]["phase"] == "Complete"
    assert status["revision"] == status["rollout"]["previous"] != before
    assert {entry["lastGoodRevision"] for entry in status["regions"]} == {status["revision"]}
    world.wait_told(name, "RolledOut")


def test_the_primary_comes_last(world: World, service: MakeService) -> None:
    regions = [{"name": "hkg", "role": "Primary"}, {"name": "sgp", "role": "Standby"}]
    body = service(spec__topology={"mode": "ActivePassive", "regions": regions})
    name = body["metadata"]["name"]
    with Recorder(world.at, name) as seen:
        world.apply(version(body, "2.0"))
        world.wait_ready(name)
    assert seen.moved("sgp", "2.0") < seen.moved("hkg", "2.0")
    assert seen.most_unsettled() <= 1


def test_a_version_that_never_becomes_ready_is_rolled_back_and_not_tried_again(
    world: World, service: MakeService
) -> None:
    body = service(spec__rollout={"bakeTime": "0s", "progressDeadline": "6s"})
    name = body["metadata"]["name"]
    good = world.status(name)["revision"]
    with Recorder(world.at, name) as seen:
        world.apply(version(body, "2.0", spec__resources=TOO_BIG))
        said = world.wait(name, "Stalled", "True", reason="RolledBack")
    assert seen.images("hkg") == ["1.0", "2.0", "1.0"]
    assert seen.images("sgp") == ["1.0"], "one bad region is enough"
    assert min(seen.fewest_ready(region) for region in ("hkg", "sgp")) == 1, "the old pods served all the while"
    status = said["status"]
    bad = status["revision"]
    assert bad != good
    assert status["rollout"]["phase"] == "RolledBack"
    assert {entry["revision"] for entry in status["regions"]} == {good}
    assert worlds.condition_of(said, "Ready")["status"] == "False"
    message = worlds.condition_of(said, "Ready")["message"]
    assert "hkg" in message
    assert bad in message
    assert "0 of 1 pods of the new revision are ready" in message
    assert "Unschedulable: " in message and "Insufficient" in message, "the scheduler's own words"
    world.wait_told(name, "RolledBack")

    for provoke in (world.look_again, lambda _: world.restart(), world.look_again):
        provoke(name)
        state = versions({region: o.get("deployments", f"{name}-{region}") for region, o in world.at.items()})
    world.look_again(name)
    again = versions({region: o.get("deployments", f"{name}-{region}") for region, o in world.at.items()})
    assert again == state
    assert phase(world, name) == "RolledBack"
    assert tags(world, name) == {"hkg": "1.0", "sgp": "1.0"}

    world.apply(version(body, "3.0"))
    world.wait_ready(name)
    assert tags(world, name) == {"hkg": "3.0", "sgp": "3.0"}
    assert not world.status(name)["rollout"].get("message")


def test_a_bad_version_in_the_second_region_takes_the_first_back_too(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "0s", "progressDeadline": "6s"})
    name = body["metadata"]["name"]
    space = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}}
    world.at["sgp"].create("resourcequotas", {**space, "spec": {"hard": {"limits.memory": "256Mi"}}})
    try:
        wide = {"requests": {"cpu": "100m"}, "limits": {"memory": "512Mi"}}
        world.apply(version(body, "2.0", spec__resources=wide))
        said = world.wait(name, "Stalled", "True", reason="RolledBack")
    finally:
        world.at["sgp"].delete("resourcequotas", "full")
    assert "exceeded quota" in worlds.condition_of(said, "Ready")["message"], "the member's own words"
    eventually(lambda: tags(world, name) == {"hkg": "1.0", "sgp": "1.0"}, deadline=SETTLE_SECONDS)


def test_with_pause_a_failure_leaves_everything_as_it_is(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "0s", "progressDeadline": "4s", "onFailure": "Pause"})
    name = body["metadata"]["name"]
    world.apply(version(body, "2.0", spec__resources=TOO_BIG))
    world.wait(name, "Stalled", "True", reason="ProgressDeadlineExceeded")
    assert phase(world, name) == "Failed"
    world.look_again(name)
    assert tags(world, name) == {"hkg": "2.0", "sgp": "1.0"}
    world.apply(version(body, "3.0"))
    world.wait_ready(name)
    assert tags(world, name) == {"hkg": "3.0", "sgp": "3.0"}


def test_a_paused_rollout_moves_nothing_until_it_runs_again(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "2s"})
    name = body["metadata"]["name"]
    world.apply(version(body, "2.0", spec__rollout__state="Paused"))
    said = world.wait(name, "RolledOut", "False", reason="Paused")
    assert "spec.rollout.state" in worlds.condition_of(said, "RolledOut")["message"]
    assert worlds.condition_of(said, "Stalled")["status"] == "False"
    world.look_again(name)
    assert tags(world, name) == {"hkg": "1.0", "sgp": "1.0"}
    world.apply(version(body, "2.0", spec__rollout__state="Running", spec__replicas=2))
    wait_phase(world, name, "Baking")
    world.apply(version(body, "2.0", spec__rollout__state="Paused", spec__replicas=2))
    world.wait(name, "RolledOut", "False", reason="Paused")
    # whatever was moved before may bake to its end, nothing else is moved
    eventually(lambda: world.entry(name, "hkg")["stage"] == "Settled", deadline=SETTLE_SECONDS)
    world.look_again(name)
    assert tags(world, name) == {"hkg": "2.0", "sgp": "1.0"}
    replicas = {r: o.get("deployments", f"{name}-{r}")["spec"]["replicas"] for r, o in world.at.items()}
    assert replicas == {"hkg": 2, "sgp": 2}, "scaling is no new version"
    world.apply(version(body, "2.0", spec__replicas=2))
    world.wait_ready(name)
    assert tags(world, name) == {"hkg": "2.0", "sgp": "2.0"}


def test_a_newer_version_overtakes_the_one_under_way(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "60s"})
    name = body["metadata"]["name"]
    before = world.status(name)["revision"]
    with Recorder(world.at, name) as seen:
        world.apply(version(body, "2.0"))
        wait_phase(world, name, "Baking", revision_not=before)
        world.apply(version(body, "3.0", spec__rollout__bakeTime="0s"))
        world.wait_ready(name)
    assert seen.images("hkg") == ["1.0", "2.0", "3.0"]
    assert seen.images("sgp") == ["1.0", "3.0"]
    assert seen.most_unsettled() == 1


def test_a_killed_operator_goes_on_where_it_was(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "4s"})
    name = body["metadata"]["name"]
    before = world.status(name)["revision"]
    with Recorder(world.at, name) as seen:
        world.apply(version(body, "2.0"))
        wait_phase(world, name, "Baking", revision_not=before)
        world.restart()
        world.wait_ready(name)
    assert seen.images("hkg") == seen.images("sgp") == ["1.0", "2.0"]
    assert seen.most_unsettled() == 1
    assert seen.moved("sgp", "2.0") - seen.settled("hkg", "2.0") >= 3.0


def test_old_revisions_are_forgotten_but_not_those_in_use(world: World, service: MakeService) -> None:
    body = service(spec__rollout={"bakeTime": "0s", "revisionHistoryLimit": 2})
    name = body["metadata"]["name"]
    for tag in ("2.0", "3.0", "4.0", "5.0"):
        world.apply(version(body, tag))
        world.wait_ready(name)
    eventually(lambda: len(world.at_hub.revisions(name)) == 3, deadline=SETTLE_SECONDS)
    kept = [revision["data"]["spec"]["image"].rpartition(":")[2] for revision in world.at_hub.revisions(name)]
    assert kept == ["3.0", "4.0", "5.0"]
    world.apply(version(body, "3.0"))  # one that is still known becomes the newest again
    world.wait_ready(name)
    kept = [revision["data"]["spec"]["image"].rpartition(":")[2] for revision in world.at_hub.revisions(name)]
    assert kept == ["4.0", "5.0", "3.0"]


def test_a_configuration_is_kept_for_pods_of_the_version_before(world: World, service: MakeService) -> None:
    body = service("hkg", spec__config={"CHAT_X": "1"})
    name = body["metadata"]["name"]
    objects = world.at["hkg"]

    def values() -> set[str]:
        maps = objects.items("configmaps", "chat", labels=f"roadstead.dev/owner-name={name}")
        return {found["data"]["CHAT_X"] for found in maps}

    # the region has the new map, and the old one for as long as pods of the old version may start again
    bad = edited(body, {"spec.config": {"CHAT_X": "2"}, "spec.resources": TOO_BIG})
    world.apply(bad)
    eventually(lambda: values() == {"1", "2"}, deadline=SETTLE_SECONDS)
    world.apply(edited(body, {"spec.config": {"CHAT_X": "3"}}))
    world.wait_ready(name)
    eventually(lambda: values() == {"3"}, deadline=SETTLE_SECONDS)


@pytest.fixture
def pools(world: World) -> Iterator[tuple[str, ...]]:
    """Twelve node pools of the hub, each a region."""
    for region in POOLS:
        world.hub.add_nodes(1, labels={nodes.REGION_LABEL: region}, prefix=region)
        world.at_hub.apply("regions", pool(region, {nodes.REGION_LABEL: region}), "")
    for region in POOLS:
        world.wait(region, "Ready", "True", resource="regions", namespace="")
    yield POOLS
    for region in POOLS:
        world.at_hub.delete("regions", region, "")


def test_twelve_regions_are_upgraded_one_after_the_other(
    world: World, service: MakeService, pools: tuple[str, ...]
) -> None:
    body = service(*pools)
    name = body["metadata"]["name"]
    with Recorder(dict.fromkeys(pools, world.at_hub), name) as seen:
        world.apply(version(body, "2.0"))
        world.wait_ready(name, seconds=120)
    moves = [seen.moved(region, "2.0") for region in pools]
    assert moves == sorted(moves), "in the order of the topology"
    assert seen.most_unsettled() <= 1
    for region, following in pairwise(pools):
        assert seen.moved(following, "2.0") > seen.settled(region, "2.0")
    assert world.status(name)["readyRegions"] == "12/12"
    world.delete(name)
