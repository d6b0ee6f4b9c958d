"""What is made of pods that do not become ready.

Mutants that these tests were seen to kill: the oldest pod speaks; a pod that is going speaks; a container that is being
made counts as an obstacle; a settled region is asked; patience beyond the deadline; a region that was asked is never
asked again; what was told before a region was moved counts as an answer; a probe blamed for a container that crashes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roadstead.api.chatservice import RegionStage, ServiceRegionStatus
from roadstead.chat.pods import MESSAGE_LENGTH, ask_in, obstacle
from roadstead.kernel.store import WorkloadStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def pod(name: str = "p", *containers: dict[str, Any], created: int = 0, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": f"2026-03-01T00:00:{created:02}Z"}
    return {"metadata": metadata, "status": {"containerStatuses": list(containers), **status}}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "chat", "ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}
ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (pod("p", conditions=[UNSCHEDULABLE]), "Unschedulable: 0/3 nodes are available: 3 Insufficient memory."),
        (
            pod("p", waiting("ImagePullBackOff", 'Back-off pulling image "x"')),
            'ImagePullBackOff: Back-off pulling image "x"',
        ),
        (pod("p", waiting("CreateContainerConfigError")), "CreateContainerConfigError"),
        (
            pod("p", waiting("CrashLoopBackOff", "back-off 40s restarting", lastState=ENDED)),
            "CrashLoopBackOff, container chat ended with exit code 1 (Error)",
        ),
        (
            pod("p", {"name": "chat", "ready": False, "state": KILLED}),
            "container chat ended with exit code 137 (OOMKilled)",
        ),
        (
            pod("p", {"name": "chat", "ready": False, "state": {"running": {}}}),
            "container chat runs, but its readiness probe fails",
        ),
        (
            pod("p", {"name": "chat", "ready": False, "state": {"running": {}}, "lastState": ENDED}),
            "container chat ended with exit code 1 (Error) and was started again",
        ),
        (pod("p", initContainerStatuses=[waiting("ErrImagePull", "no such host")]), "ErrImagePull: no such host"),
    ],
    ids=["unschedulable", "image", "config", "crash loop", "killed", "probe", "started again", "init container"],
)
def test_the_words_are_theirs(status: dict[str, Any], expected: str) -> None:
    assert obstacle([status]) == f"pod p: {expected}"


@pytest.mark.parametrize(
    "status",
    [
        pod(),
        pod("p", {"name": "chat", "ready": True, "state": {"running": {}}}),
        pod("p", {"name": "chat", "ready": False, "state": {"terminated": {"exitCode": 0}}}),
        {"metadata": {"name": "p"}},
    ],
    ids=["new", "ready", "done", "no status"],
)
def test_what_is_on_its_way_is_no_obstacle(status: dict[str, Any]) -> None:
    assert obstacle([status]) == ""


def test_the_newest_pod_that_tells_something_speaks() -> None:
    old, new = pod("old", waiting("ErrImagePull"), created=1), pod("new", waiting("CrashLoopBackOff"), created=3)
    silent = pod("silent", created=5)
    assert obstacle([old, silent, new]) == "pod new: CrashLoopBackOff"
    new["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:09Z"
    assert obstacle([old, silent, new]) == "pod old: ErrImagePull"
    assert obstacle([]) == ""


def test_a_long_message_is_cut_and_put_on_one_line() -> None:
    said = obstacle([pod("p", waiting("ErrImagePull", "a\n b" * 500))])
    assert "\n" not in said and len(said) <= len("pod p: ErrImagePull:  ... ") + MESSAGE_LENGTH
    assert obstacle([pod("p", waiting("ErrImagePull", "x" * 500 + ": i/o timeout"))]).endswith(": i/o timeout")


def test_a_pod_that_is_busy_says_so_only_when_none_has_failed() -> None:
    busy = pod("busy", waiting("ContainerCreating"), created=5)
    assert obstacle([busy]) == "pod busy: container chat is still ContainerCreating"
    assert obstacle([busy, pod("bad", waiting("ErrImagePull"))]) == "pod bad: ErrImagePull"


ENTRY = ServiceRegionStatus(name="hkg", stage=RegionStage.UPDATING, since=NOW)
WORKLOAD = WorkloadStatus(1, 1, wanted=2, replicas=2, updated=2, ready=1, available=1)
LIMIT = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("seconds", "limit", "expected"),
    [(0, LIMIT, 10), (4, LIMIT, 6), (10, LIMIT, 0), (500, LIMIT, 0), (0, timedelta(seconds=4), 2)],
)
def test_pods_get_a_while_and_are_asked_before_the_deadline(seconds: int, limit: timedelta, expected: float) -> None:
    assert ask_in(ENTRY, WORKLOAD, limit, NOW + timedelta(seconds=seconds)) == expected


@pytest.mark.parametrize(
    ("entry", "workload"),
    [
        (None, WORKLOAD),
        (ENTRY.model_copy(update={"stage": RegionStage.SETTLED}), WORKLOAD),
        (ENTRY.model_copy(update={"stage": RegionStage.LOST}), WORKLOAD),
        (ENTRY, None),
        (ENTRY, replace(WORKLOAD, replicas=0)),
        (ENTRY, replace(WORKLOAD, ready=2, available=2)),
    ],
    ids=["unknown", "settled", "lost", "no workload", "no pods", "ready"],
)
def test_nobody_is_asked_where_nothing_is_waited_for(
    entry: ServiceRegionStatus | None, workload: WorkloadStatus | None
) -> None:
    assert ask_in(entry, workload, LIMIT, NOW + timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("waited", "since_asked", "limit", "expected"),
    [
        pytest.param(30, 0, LIMIT, 20, id="asked just now"),
        pytest.param(30, 15, LIMIT, 5, id="asked a while ago"),
        pytest.param(30, 20, LIMIT, 0, id="it is time"),
        pytest.param(595, 0, LIMIT, 29.75, id="the longer it waits, the less often"),
        pytest.param(86_400, 0, LIMIT, 60, id="never less often than once a minute"),
        pytest.param(2, 0, timedelta(seconds=4), 2, id="once more at a short deadline"),
        pytest.param(86_400, 0, timedelta(seconds=4), 60, id="a short deadline that is long over"),
        pytest.param(30, 40, LIMIT, 0, id="asked before it was moved"),
        pytest.param(5, 40, LIMIT, 5, id="asked before it was moved, and it was moved just now"),
        pytest.param(30, -3600, LIMIT, 0, id="the clock went back"),
    ],
)
def test_pods_are_asked_again_while_they_are_waited_for(
    waited: int, since_asked: int, limit: timedelta, expected: float
) -> None:
    now = NOW + timedelta(seconds=waited)
    assert ask_in(ENTRY, WORKLOAD, limit, now, asked=now - timedelta(seconds=since_asked)) == expected
