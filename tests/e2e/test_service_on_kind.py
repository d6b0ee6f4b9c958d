"""The demo as a test, and what goes wrong in real clusters: pods, nodes and API servers that go away and come back.

One stage (a hub and two regions with real nodes, the chart installed by helm) for the whole module; the tests build on
each other in the order in which they stand, as a person's day would.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import KEEP, eventually
from demonstration import acts, stage
from demonstration.stage import NAMESPACE, REGIONS, SERVICE, Stage
from localkube import kind

pytestmark = pytest.mark.skipif(not kind.available(), reason="neither Docker nor root to start one: no real nodes here")

HKG, SIN = REGIONS
TARGET = f"chatservice/{SERVICE}"


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="roadstead-e2e-"))
    try:
        keys = stage.make_keys(folder)
        built = stage.build_images()
        clusters = stage.start_clusters(built)
        made = Stage(clusters.pop("hub"), clusters, built, keys)
        stage.install(made)
        acts.create(made)
        stage.deliver(made, built.second)
        yield made
    finally:
        if KEEP:
            kind.keep()
        else:
            kind.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def region_status(scene: Stage, region: str) -> dict[str, Any]:
    service = json.loads(scene.kubectl("-n", NAMESPACE, "get", TARGET, "-o", "json"))
    return next(entry for entry in service["status"]["regions"] if entry["name"] == region)


LOOK = """
import collections, json, sqlite3
db = sqlite3.connect("file:/data/chat.db?mode=ro", uri=True)
rows = db.execute("SELECT key_version, payload FROM messages").fetchall()
found = collections.Counter(str(version) for version, _ in rows)
# what a ring encrypts begins with 1 and the version; what a client seals is random
unencrypted = sum(payload[:5] != b"\\x01" + version.to_bytes(4, "big") for version, payload in rows)
print(json.dumps([found, unencrypted]))
"""


def on_disk(scene: Stage, region: str) -> tuple[dict[str, int], int]:
    """Messages in a region's store by the version that they are encrypted with, and how many are not."""
    pod = f"{SERVICE}-{region}-0"
    said = scene.region_kubectl(region, "-n", NAMESPACE, "exec", pod, "--", "python3", "-c", LOOK)
    stored, unencrypted = json.loads(said)
    return stored, unencrypted


def wait_ready(scene: Stage, seconds: int = 180) -> None:
    scene.kubectl(
        "-n", NAMESPACE, "wait", "--for=condition=Ready", TARGET, f"--timeout={seconds}s", seconds=seconds + 10
    )


def test_ten_thousand_messages_pass_through_both_regions_and_none_is_lost(scene: Stage) -> None:
    report = acts.load(scene)
    assert report["ratio"] == 1.0
    assert report["acknowledged_but_lost"] == 0
    assert report["messages"] == acts.MESSAGES


def test_the_key_changes_over_both_regions_with_proofs_by_their_pods_and_an_old_message_is_read(scene: Stage) -> None:
    primary = acts.rotate(scene)
    for region in REGIONS:
        stored, unencrypted = on_disk(scene, region)
        assert set(stored) <= {str(primary)}, "what older versions encrypted was encrypted anew"
        assert unencrypted == 0, "a payload lies on the disk as its sender handed it in"
    assert sum(sum(on_disk(scene, region)[0].values()) for region in REGIONS) > acts.MESSAGES


def test_a_ring_that_a_service_encrypts_with_is_not_deleted(scene: Stage) -> None:
    with pytest.raises(RuntimeError, match=f"ChatService {NAMESPACE}/{SERVICE} encrypts with"):
        scene.kubectl("-n", NAMESPACE, "delete", f"keyring/{acts.RING}")


def test_kubectl_does_what_people_expect(scene: Stage) -> None:
    assert "ActivePassive" in scene.kubectl("explain", "chatservice.spec.topology.mode")
    wide = scene.kubectl("-n", NAMESPACE, "get", "chatservice", "-o", "wide")
    assert wide.splitlines()[0].split() == [
        "NAME",
        "READY",
        "REASON",
        "REGIONS",
        "ROLLOUT",
        "VERSION",
        "RUNS",
        "MESSAGE",
        "AGE",
    ]
    everything = scene.kubectl("get", "roadstead", "-A")
    assert all(name in everything for name in (SERVICE, *REGIONS))


def test_a_spec_that_cannot_be_is_refused_by_the_webhook_through_the_service(scene: Stage) -> None:
    wrong = acts.service(scene, "registry.example/chat:1")
    wrong["spec"]["residency"] = {"jurisdictions": ["CH"]}
    with pytest.raises(RuntimeError, match="residency"):
        scene.kubectl("apply", "-f", "-", stdin=json.dumps(wrong))


def test_an_object_edited_by_hand_is_restored(scene: Stage) -> None:
    acts.repair(scene)


def test_a_deleted_pod_comes_back_and_the_service_is_ready_again(scene: Stage) -> None:
    scene.region_kubectl(HKG, "-n", NAMESPACE, "delete", "pod", f"{SERVICE}-{HKG}-0", "--wait=false")
    eventually(lambda: region_status(scene, HKG)["readyReplicas"] == 0, deadline=60, interval=0.2)
    wait_ready(scene)


def test_no_acknowledged_message_is_lost_while_a_version_goes_from_region_to_region(scene: Stage) -> None:
    reports: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def keep_sending() -> None:
        while not stop.is_set():
            try:
                reports.append(acts.load(scene, messages=1500, rate=100))
            except RuntimeError as error:
                errors.append(error)
                return

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        acts.roll_out(scene)
    finally:
        stop.set()
        sender.join()
    assert not errors, "\n".join(str(error) for error in errors)
    assert reports
    assert sum(report["reconnects"] for report in reports) > 0, "no client noticed the rollout: this proves nothing"
    assert all(report["acknowledged_but_lost"] == 0 for report in reports)


def test_a_version_that_cannot_start_goes_back_by_itself(scene: Stage) -> None:
    acts.roll_back(scene)
    acts.apply(scene, scene.images.second.reference)
    wait_ready(scene)


def test_a_region_whose_api_server_is_away_slows_nobody_and_recovers(scene: Stage) -> None:
    scene.regions[SIN].stop_apiserver()
    try:
        eventually(lambda: region_status(scene, SIN)["phase"] == "Unreachable", deadline=90, interval=0.5)
        assert region_status(scene, HKG)["phase"] == "Ready"
        acts.repair(scene)
    finally:
        scene.regions[SIN].start_apiserver()
    wait_ready(scene)


def test_a_node_that_loses_power_comes_back_with_its_messages(scene: Stage) -> None:
    node = scene.regions[SIN].control_plane
    scene.regions[SIN].stop_node(node)
    try:
        eventually(lambda: region_status(scene, SIN)["phase"] == "Unreachable", deadline=90, interval=0.5)
    finally:
        scene.regions[SIN].start_node(node)
    wait_ready(scene)
    assert acts.load(scene, messages=500)["acknowledged_but_lost"] == 0


def test_a_killed_operator_is_replaced_and_the_service_stays_as_it_is(scene: Stage) -> None:
    before = region_status(scene, HKG)
    scene.kubectl(
        "-n", stage.SYSTEM, "delete", "pod", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force"
    )
    scene.kubectl("-n", stage.SYSTEM, "rollout", "status", "deployment/roadstead-operator", "--timeout=90s")
    acts.repair(scene)
    assert region_status(scene, HKG)["applied"] == before["applied"]


def test_deleting_the_service_leaves_nothing_in_any_region(scene: Stage) -> None:
    acts.remove(scene)
