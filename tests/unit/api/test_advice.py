from typing import Any

import pytest

from api_cases import PASSIVE, peak
from roadstead.api.advice import advise
from roadstead.api.parse import parse
from specs import chat, region, samples

KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
CALM = {"spec.image": "registry.example/chat:1.4.0", "spec.config": {"CHAT_TOKEN_PUBLIC_KEYS": KEY}}


def advice(**edits: Any) -> list[str]:
    return advise(parse("ChatService", chat(**edits)))


def test_nothing_to_say_about_a_sound_service() -> None:
    assert advice(**CALM) == []


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        pytest.param({"spec.image": "a/b"}, "spec.image is a/b, which has neither tag nor digest", id="no tag"),
        pytest.param({"spec.image": "host:5000/b"}, "which has neither tag nor digest", id="a port is no tag"),
        pytest.param({"spec.image": "a/b:latest"}, "spec.image is a/b:latest, which has the tag latest", id="latest"),
        pytest.param(
            {"spec.resources": {"requests": {"cpu": "1"}}}, "spec.resources.limits has no memory", id="no memory limit"
        ),
        pytest.param(
            {"spec.topology.regions": [{"name": "hkg"}]}, "spec.topology.regions has only hkg", id="one region"
        ),
        pytest.param({"spec.rollout.bakeTime": "0s"}, "spec.rollout.bakeTime is 0s", id="no bake time"),
        pytest.param(
            {"spec.rollout.maxParallelRegions": 2},
            "spec.rollout.maxParallelRegions is 2 and there are 2 regions",
            id="all regions at once",
        ),
        pytest.param(
            {"spec.disruptionBudget": {"maxUnavailable": 0}, "spec.topology.regions[1].replicas": 0},
            "spec.disruptionBudget.maxUnavailable is 0: no node in hkg with one of its 2 pods can be drained",
            id="no pod to spare; a region without pods has no drain to block",
        ),
        pytest.param(
            {"spec.disruptionBudget": {"minAvailable": "51%"}, "spec.topology.regions[1].replicas": 3},
            "spec.disruptionBudget.minAvailable is 51%: no node in hkg",
            id="51 percent of two are two, of three too, but one is to spare",
        ),
        pytest.param(
            {"spec.topology.regions[1].replicas": 1}, "spec.replicas leaves sin with 1 pod", id="one pod in a region"
        ),
        pytest.param(
            {"spec.topology": PASSIVE}, "spec.topology.mode is ActivePassive and spec.storage", id="no storage"
        ),
        pytest.param(
            {"spec.config": {"CHAT_MAX_ROOM": "9", "CHAT_TOKEN_PUBLIC_KEYS": KEY, "OTHER": "y"}},
            "spec.config has the key CHAT_MAX_ROOM, which is no option of the relay and does nothing; write "
            "CHAT_MAX_ROOMS, if that is meant, or remove it",
            id="a misspelt option of the relay",
        ),
        pytest.param({"spec.config": {}}, "spec.config has no CHAT_TOKEN_PUBLIC_KEYS", id="no key"),
        pytest.param(
            {"spec.config": {"CHAT_TOKEN_PUBLIC_KEYS": " ,"}}, "is empty, which is no Ed25519 key", id="empty"
        ),
        pytest.param(
            {"spec.config": {"CHAT_TOKEN_PUBLIC_KEYS": f"{KEY}, PUBLIC-KEY"}},
            "key 2 in spec.config.CHAT_TOKEN_PUBLIC_KEYS is no Ed25519 key",
            id="a placeholder for a key",
        ),
        pytest.param({"spec.storage": {"size": "10"}}, "spec.storage.size is 10, less than 16Mi", id="ten bytes"),
        pytest.param(
            {"spec.retention": {"sessions": "2y", "transactions": "1y"}},
            "spec.retention.sessions is 2y, longer than transactions, which is 1y",
            id="sessions longer than records",
        ),
        pytest.param(
            {"spec.autoscaling": {"minReplicas": 5, "maxReplicas": 5}},
            "spec.autoscaling.minReplicas and maxReplicas are both 5",
            id="nothing to scale",
        ),
        pytest.param(
            {"spec.autoscaling": peak(), "spec.replicas": 0},
            "spec.autoscaling is set, but every region has 0 replicas",
            id="nothing to begin with",
        ),
        pytest.param(
            {"spec.autoscaling": {**peak(), "minReplicas": 5}},
            "spec.autoscaling.peaks[eve].replicas is 5, which every region has anyway",
            id="a peak without effect",
        ),
    ],
)
def test_unwise(edits: dict[str, Any], sentence: str) -> None:
    (said,) = advice(**{**CALM, **edits})
    assert sentence in said


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({"spec.image": f"a/b@sha256:{'0' * 64}"}, id="a digest"),
        pytest.param({"spec.image": f"a/b:latest@sha256:{'0' * 64}"}, id="latest with a digest"),
        pytest.param({"spec.disruptionBudget": {"maxUnavailable": "1%"}}, id="one percent of two is rounded up to one"),
        pytest.param({"spec.autoscaling": peak()}, id="a peak above the replicas"),
        pytest.param({"spec.retention": {"sessions": "1y", "transactions": "1y"}}, id="sessions as long as records"),
        pytest.param(
            {"spec.replicas": 1, "spec.autoscaling": {"minReplicas": 2, "maxReplicas": 9}},
            id="one replica, but two by the autoscaler",
        ),
    ],
)
def test_wise(edits: dict[str, Any]) -> None:
    assert advice(**{**CALM, **edits}) == []


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        pytest.param({"failureThreshold": 1}, "spec.probe.failureThreshold is 1", id="one failure is enough"),
        pytest.param({"interval": "10m"}, "spec.probe takes 20m5s to see", id="minutes to see a failure"),
    ],
)
def test_unwise_probes(probe: dict[str, Any], sentence: str) -> None:
    (said,) = advise(parse("Region", region(spec__probe=probe)))
    assert sentence in said


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param({}, id="the default"),
        pytest.param({"interval": "9m", "timeout": "1m", "failureThreshold": 2}, id="ten minutes to see a failure"),
    ],
)
def test_wise_probes(probe: dict[str, Any]) -> None:
    assert advise(parse("Region", region(spec__probe=probe))) == []


def test_one_region_needs_no_bake_time() -> None:
    (said,) = advice(**CALM, spec__topology__regions=[{"name": "hkg"}], spec__rollout__bakeTime="0s")
    assert said.startswith("spec.topology.regions has only hkg")


@pytest.mark.parametrize("name", samples())
def test_samples_are_wise(name: str) -> None:
    body = samples()[name]
    assert advise(parse(body["kind"], body)) == []
