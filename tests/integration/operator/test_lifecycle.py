"""A ChatService from its first apply to its deletion: what appears where, what stays as it is, what is said of it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import worlds
from clusters import eventually, kubectl
from localkube import crds, nodes
from specs import edited
from worlds import SETTLE_SECONDS, World, chat, children_of, pool, versions

from .conftest import MakeService

REPLICAS = "f:replicas"
HOST = "chat.example.com"


def test_a_service_becomes_ready_in_both_regions(world: World, service: MakeService) -> None:
    body = service(ready=False, spec__config={"CHAT_X": "1"})
    name = body["metadata"]["name"]
    said = kubectl(world.hub, "-n", "chat", "wait", "--for=condition=Ready", f"chatservice/{name}", "--timeout=40s")
    assert "condition met" in said
    hub_id = world.at_hub.get("namespaces", "kube-system")["metadata"]["uid"]
    uid = world.service(name)["metadata"]["uid"]
    for region, objects in world.at.items():
        found = objects.children(name)
        config = next(key for key in found if key.startswith("configmaps/"))
        assert config.startswith(f"configmaps/{name}-{region}-config-")
        assert set(found) == children_of(name, region, config)
        for child in found.values():
            metadata = child["metadata"]
            assert (
                metadata["labels"]
                | {
                    "app.kubernetes.io/managed-by": "roadstead",
                    "app.kubernetes.io/instance": name,
                    "roadstead.dev/hub": hub_id,
                    "roadstead.dev/owner-kind": "ChatService",
                    "roadstead.dev/owner-namespace": "chat",
                    "roadstead.dev/owner-name": name,
                    "roadstead.dev/region": region,
                }
                == metadata["labels"]
            )
            assert metadata["annotations"]["roadstead.dev/owner-uid"] == uid
            assert "ownerReferences" not in metadata, "an owner in another cluster would have it collected"
        assert found[config]["data"] == {"CHAT_X": "1"}
        assert found[f"secrets/{name}-{region}-tls"]["data"] == world.at_hub.get("secrets", worlds.SECRET)["data"]
        assert not objects.revisions(name), "revisions are in the hub only"
    assert not world.at_hub.children(name)
    (revision,) = world.at_hub.revisions(name)
    assert revision["metadata"]["ownerReferences"][0]["uid"] == uid


def test_its_status_and_columns_say_so(world: World, service: MakeService) -> None:
    name = service()["metadata"]["name"]
    found = world.service(name)
    assert found["metadata"]["finalizers"] == ["roadstead.dev/children"]
    status = found["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Placed": "True",
        "RolledOut": "True",
    }
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert status["readyRegions"] == "2/2"
    assert status["rollout"]["phase"] == "Complete"
    for entry in status["regions"]:
        assert entry["phase"] == "Ready"
        assert entry["revision"] == entry["lastGoodRevision"] == status["revision"]
        assert (entry["desiredReplicas"], entry["readyReplicas"]) == (1, 1)
        assert entry["address"] == f"{name}-{entry['name']}.chat.svc"
    printed = kubectl(world.hub, "-n", "chat", "get", "chat", name, "-o", "wide").splitlines()
    assert printed[0].split() == ["NAME", "READY", "REASON", "REGIONS", "ROLLOUT", "VERSION", "RUNS", "MESSAGE", "AGE"]
    assert printed[1].split()[:6] == [name, "True", "Ready", "2/2", "Complete", found["spec"]["image"]]
    regions = kubectl(world.hub, "get", "rgn").splitlines()
    assert {line.split()[0]: line.split()[1] for line in regions[1:]} == {"hkg": "Healthy", "sgp": "Healthy"}


def test_looking_again_writes_nothing(world: World, service: MakeService) -> None:
    name = service()["metadata"]["name"]
    world.look_again(name)
    writes, state = world.writes(), versions(world.state(name))
    for _ in range(3):
        world.look_again(name)
    after = versions(world.state(name))
    touched = {"hub/chatservice"}  # by our own annotation
    assert {key for key in state if state[key] != after[key]} == touched
    assert set(after) == set(state)
    assert world.writes() == writes


def test_a_service_that_comes_back_with_its_finalizer_can_be_deleted(world: World) -> None:
    """As `kubectl get -o yaml` or a backup has it: then it is not ours alone."""
    name = world.fresh_name()
    body = chat(name, ["hkg"])
    body["metadata"]["finalizers"] = ["roadstead.dev/children", "example.com/theirs"]
    world.at_hub.create("chatservices", body)
    world.wait_ready(name)
    world.at_hub.delete("chatservices", name)
    eventually(lambda: world.service(name)["metadata"]["finalizers"] == ["example.com/theirs"], deadline=SETTLE_SECONDS)
    assert not world.at["hkg"].children(name)
    world.at_hub.patch("chatservices", name, {"metadata": {"finalizers": None}})


def test_the_certificate_is_waited_for_and_followed(world: World, service: MakeService) -> None:
    secret = world.fresh_name("tls")
    name = service(ready=False, spec__tls={"secretName": secret})["metadata"]["name"]
    said = world.wait(name, "Ready", "False", reason="SecretMissing")
    assert f"spec.tls.secretName is {secret}" in worlds.condition_of(said, "Ready")["message"]
    assert not any(objects.children(name) for objects in world.at.values())

    worlds.make_certificate(world.at_hub, secret, "one")
    world.wait_ready(name)
    worlds.make_certificate(world.at_hub, secret, "two")
    rotated = world.at_hub.get("secrets", secret)["data"]
    copies = {f"{name}-{region}-tls": objects for region, objects in world.at.items()}
    eventually(
        lambda: all(objects.get("secrets", copy)["data"] == rotated for copy, objects in copies.items()),
        deadline=SETTLE_SECONDS,
    )
    world.wait_ready(name)
    deployments = {region: o.get("deployments", f"{name}-{region}") for region, o in world.at.items()}
    assert {d["metadata"]["generation"] for d in deployments.values()} == {1}, "a new certificate restarts no pod"

    world.at_hub.delete("secrets", secret)
    world.wait(name, "Ready", "False", reason="SecretMissing")
    for region, objects in world.at.items():
        assert objects.get("secrets", f"{name}-{region}-tls")["data"] == rotated, "what runs keeps its certificate"


def test_an_autoscaler_takes_over_without_losing_a_pod_and_peaks_raise_it(world: World, service: MakeService) -> None:
    body = service("hkg", spec__replicas=7)
    name = body["metadata"]["name"]
    deployment = f"{name}-hkg"
    objects = world.at["hkg"]
    seen: list[int] = []

    def replicas() -> int:
        count = int(objects.get("deployments", deployment)["spec"]["replicas"])
        seen.append(count)
        return count

    def scaler(field: str) -> Any:
        found = objects.find("horizontalpodautoscalers", deployment)
        return None if found is None else found["spec"].get(field)

    scaled = edited(body, {"spec.autoscaling": {"minReplicas": 2, "maxReplicas": 12}})
    world.apply(scaled)
    eventually(lambda: replicas() and scaler("minReplicas") == 2, deadline=SETTLE_SECONDS, interval=0.01)
    world.wait_ready(name)
    assert world.condition(name, "Autoscaled")["reason"] == "FollowingLoad"
    assert replicas() == 7
    assert set(seen) == {7}, "not for a moment fewer than before"
    owners = {
        entry["manager"]
        for entry in objects.get("deployments", deployment)["metadata"]["managedFields"]
        if REPLICAS in entry["fieldsV1"].get("f:spec", {}) and not entry.get("subresource")
    }
    assert "roadstead" not in owners

    # a peak that starts in half an hour, and has to be prepared for in a few seconds from now
    start = (datetime.now(UTC) + timedelta(minutes=30)).replace(second=0, microsecond=0)
    ahead = start - datetime.now(UTC) - timedelta(seconds=6)
    peak = {
        "name": "sale",
        "timeZone": "UTC",
        "schedule": f"{start.minute} {start.hour} * * *",
        "duration": "1m",
        "scaleUpBefore": f"{int(ahead.total_seconds())}s",
        "replicas": 9,
    }
    scaled["spec"]["autoscaling"]["peaks"] = [peak]
    world.apply(scaled)
    eventually(lambda: scaler("minReplicas") == 9, deadline=SETTLE_SECONDS)
    eventually(lambda: replicas() == 9, deadline=SETTLE_SECONDS, what="the autoscaler follows its new minimum")
    world.wait(name, "Autoscaled", "True", reason="AtPeak")
    assert world.status(name)["activePeaks"] == ["sale"]

    world.apply(body)  # no autoscaler any more
    eventually(lambda: objects.find("horizontalpodautoscalers", deployment) is None, deadline=SETTLE_SECONDS)
    eventually(lambda: replicas() == 7, deadline=SETTLE_SECONDS)
    world.wait_ready(name)
    assert not world.condition(name, "Autoscaled")


def test_a_region_that_leaves_the_topology_is_emptied_and_may_come_back(world: World, service: MakeService) -> None:
    body = service()
    name = body["metadata"]["name"]
    kept = versions(world.at["hkg"].children(name))
    world.apply(edited(body, {"spec.topology.regions": [{"name": "hkg"}]}))
    eventually(lambda: not world.at["sgp"].children(name), deadline=SETTLE_SECONDS)
    world.wait_ready(name)
    status = world.status(name)
    assert [entry["name"] for entry in status["regions"]] == ["hkg"]
    assert status["readyRegions"] == "1/1"
    world.apply(body)
    world.wait_ready(name)
    assert set(world.at["sgp"].children(name)) == children_of(name, "sgp")
    assert versions(world.at["hkg"].children(name)) == kept, "the other region saw nothing of it"


def test_changes_that_make_no_new_version_restart_nothing(world: World, service: MakeService) -> None:
    body = service()
    name = body["metadata"]["name"]
    revision = world.status(name)["revision"]
    templates = {r: o.get("deployments", f"{name}-{r}")["spec"]["template"] for r, o in world.at.items()}
    source = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    edits = {
        "spec.replicas": 2,
        "spec.traffic": {"hostname": HOST, "serviceType": "NodePort", "port": 8443, "allowFrom": [source]},
        "spec.disruptionBudget": {"minAvailable": "50%"},
    }
    world.apply(edited(body, edits))
    world.wait_ready(name)
    for region, objects in world.at.items():
        base = f"{name}-{region}"
        deployment = objects.get("deployments", base)
        assert deployment["spec"]["replicas"] == 2
        assert deployment["spec"]["template"] == templates[region]
        front = objects.get("services", base)
        assert (front["spec"]["type"], front["spec"]["ports"][0]["port"]) == ("NodePort", 8443)
        assert front["metadata"]["annotations"]["external-dns.alpha.kubernetes.io/hostname"] == HOST
        budget = objects.get("poddisruptionbudgets", base)["spec"]
        assert budget["minAvailable"] == "50%"
        assert "maxUnavailable" not in budget
        assert source in objects.get("networkpolicies", f"{base}-allow")["spec"]["ingress"][0]["from"]
    assert world.status(name)["revision"] == revision
    assert len(world.at_hub.revisions(name)) == 1


def test_volumes_and_roles(world: World, service: MakeService) -> None:
    regions = [{"name": "hkg", "role": "Primary"}, {"name": "sgp", "role": "Standby"}]
    body = service(
        spec__topology={"mode": "ActivePassive", "regions": regions},
        spec__storage={"size": "1Gi", "onDelete": "Delete"},
    )
    name = body["metadata"]["name"]
    for region, role in (("hkg", "primary"), ("sgp", "standby")):
        expected = {key.replace("deployments/", "statefulsets/") for key in children_of(name, region)}
        assert set(world.at[region].children(name)) == expected
        workload = world.at[region].get("statefulsets", f"{name}-{region}")
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        assert {"name": "CHAT_ROLE", "value": role} in container["env"]
        assert world.entry(name, region)["role"] == role.capitalize()
        assert world.at[region].find("persistentvolumeclaims", f"data-{name}-{region}-0")
    world.delete(name)
    claims = {f"data-{name}-{region}-0": objects for region, objects in world.at.items()}
    eventually(
        lambda: not any(objects.find("persistentvolumeclaims", claim) for claim, objects in claims.items()),
        deadline=SETTLE_SECONDS,
    )


def test_deletion_leaves_nothing_anywhere(world: World, service: MakeService) -> None:
    body = service(spec__autoscaling={"maxReplicas": 3}, spec__config={"CHAT_X": "1"})
    name = body["metadata"]["name"]
    world.apply(edited(body, {"spec.image": worlds.IMAGE.format("2.0")}))
    world.wait_ready(name)
    assert len(world.at_hub.revisions(name)) == 2
    world.at_hub.delete("chatservices", name)
    world.wait_gone(name)
    # the children went before the finalizer did, not after
    for region, objects in world.at.items():
        assert not objects.children(name), region
    pods = f"app.kubernetes.io/instance={name}"
    eventually(
        lambda: not any(objects.items("pods", "chat", labels=pods) for objects in world.at.values()),
        deadline=SETTLE_SECONDS,
    )
    eventually(lambda: not world.at_hub.revisions(name), deadline=SETTLE_SECONDS)
    world.wait_told(name, "Ready", "RolledOut", "RollingOut")


def test_two_node_pools_of_the_hub_side_by_side(world: World, service: MakeService) -> None:
    pools = ("kln", "nte")
    for region in pools:
        world.hub.add_nodes(1, labels={nodes.REGION_LABEL: region}, prefix=region)
        world.at_hub.apply("regions", pool(region, {nodes.REGION_LABEL: region}), "")
        world.wait(region, "Ready", "True", resource="regions", namespace="")
    body = service(*pools, "hkg", spec__replicas=2)
    name = body["metadata"]["name"]
    uid = world.service(name)["metadata"]["uid"]
    found = world.at_hub.children(name)
    assert set(found) == children_of(name, "kln") | children_of(name, "nte")
    for child in found.values():
        (reference,) = child["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["kind"], reference["controller"]) == (uid, "ChatService", True)
    for region in pools:
        labels = f"app.kubernetes.io/instance={name},roadstead.dev/region={region}"
        placed = [pod["spec"]["nodeName"] for pod in world.at_hub.items("pods", "chat", labels=labels)]
        assert placed == [f"{region}-0"] * 2
        assert world.at_hub.get("regions", region, "")["status"]["capacity"]["nodes"] == 1
    assert set(world.at["hkg"].children(name)) == children_of(name, "hkg")
    world.look_again(name)
    writes = world.writes()
    world.look_again(name)
    assert world.writes() == writes, "two regions in one cluster must not take each other's children for their own"

    world.apply(edited(body, {"spec.topology.regions": [{"name": "kln"}]}))
    eventually(lambda: set(world.at_hub.children(name)) == children_of(name, "kln"), deadline=SETTLE_SECONDS)
    world.delete(name)
    assert not world.at_hub.children(name)
    for region in pools:
        world.at_hub.delete("regions", region, "")


def test_kinds_that_a_member_comes_to_serve_are_used_where_they_are(world: World, service: MakeService) -> None:
    """ServiceMonitors and Certificates only where a cluster serves them; a missing kind is one region's matter."""
    crds.apply(world.at["sgp"].cluster.api, [crds.path("servicemonitors"), crds.path("certificates")])
    # a watch that found nothing to watch looks again after minutes: a new kubeconfig is a new connection at once
    secret = world.at_hub.get("secrets", "region-sgp", "roadstead-system")["data"]["kubeconfig"]
    world.at_hub.patch("secrets", "region-sgp", {"data": {"kubeconfig": touched(secret)}}, "roadstead-system")
    name = service(ready=False, spec__tls={"issuerRef": {"name": "internal-ca"}})["metadata"]["name"]
    monitored = {
        f"certificates/{name}-sgp-issued-tls",
        f"servicemonitors/{name}-sgp",
    }
    expected = children_of(name, "sgp", *monitored) - {f"secrets/{name}-sgp-tls"}
    eventually(lambda: set(world.at["sgp"].children(name)) == expected, deadline=SETTLE_SECONDS)
    said = world.wait(name, "Ready", "False", reason="NotAvailable")
    assert "install cert-manager there or use spec.tls.secretName" in worlds.condition_of(said, "Ready")["message"]
    assert not world.at["hkg"].children(name)


def touched(kubeconfig: str) -> str:
    """The same kubeconfig with other bytes."""
    return base64.b64encode(base64.b64decode(kubeconfig) + b"\n# again\n").decode()
