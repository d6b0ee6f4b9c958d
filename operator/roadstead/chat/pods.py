"""Why pods do not become ready, in the words of the kubelet and the scheduler. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from roadstead.api.chatservice import RegionStage, ServiceRegionStatus
from roadstead.chat.status import is_ready
from roadstead.kernel.store import WorkloadStatus

PATIENCE: Final = timedelta(seconds=10)
"""What pods get to start before they are asked what keeps them; most never are."""
AGAIN: Final = timedelta(seconds=20)
"""After how long pods that still wait are asked again: a probe that fails becomes a crash loop, an image is found."""
SHARE: Final = 20
"""The longer a region waits, the less often its pods are asked: not before a twentieth of that time is over."""
SELDOM: Final = timedelta(minutes=1)
"""After how long they are asked again at the latest."""
MESSAGE_LENGTH: Final = 300
_ON_ITS_WAY: Final = frozenset({"ContainerCreating", "PodInitializing", ""})


@dataclass(frozen=True, slots=True)
class Told:
    """What the pods of a region said when they were asked; ``words`` are empty when none of them told anything."""

    at: datetime
    words: str


def ask_in(
    entry: ServiceRegionStatus | None,
    workload: WorkloadStatus | None,
    limit: timedelta,
    now: datetime,
    asked: datetime | None = None,
) -> float | None:
    """In how many seconds the pods of a region should be asked what keeps them; None when nothing waits for them.

    Args:
        entry: what the status records of the region.
        workload: its Deployment or StatefulSet.
        limit: ``spec.rollout.progressDeadline``; by then they have been asked.
        now: the present moment.
        asked: when they were asked last; what they said before the region was moved is of other pods.
    """
    if entry is None or entry.since is None or entry.stage not in (RegionStage.UPDATING, RegionStage.BAKING):
        return None
    if workload is None or not workload.replicas or is_ready(workload):
        return None
    due = entry.since + min(PATIENCE, limit / 2)
    if asked is not None and entry.since <= asked <= now:
        due = asked + _pause(now - entry.since, limit)
    return max(0.0, (due - now).total_seconds())


def _pause(waited: timedelta, limit: timedelta) -> timedelta:
    """How long pods are left alone once they were asked."""
    pause = min(max(AGAIN, waited / SHARE), SELDOM)
    return min(pause, limit / 2) if waited < limit else pause


def obstacle(pods: Iterable[Mapping[str, Any]]) -> str:
    """What keeps a pod from being ready; empty when none of them tells.

    The newest pod that tells something speaks for all: they have one template.

    Args:
        pods: of one workload, as the API server has them.
    """
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    alive.sort(key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]), reverse=True)
    for look in (_obstacles, _steps):
        for pod in alive:
            found = next(look(pod), "")
            if found:
                return f"pod {pod['metadata']['name']}: {found}"
    return ""


def _obstacles(pod: Mapping[str, Any]) -> Iterator[str]:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _said(condition.get("reason", ""), condition.get("message", ""))
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        last = (container.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") == "CrashLoopBackOff" and last:
            # The kubelet's own message tells how long it waits, which changes, and not what happened.
            yield f"CrashLoopBackOff, {_exit(container, last)}"
        elif waiting.get("reason", "") not in _ON_ITS_WAY:
            yield _said(waiting["reason"], waiting.get("message", ""))
        elif ended.get("exitCode"):
            yield _exit(container, ended)
        elif "running" in state and container.get("ready") is False:
            if last.get("exitCode"):  # between two crashes; the probe fails because of the last one
                yield f"{_exit(container, last)} and was started again"
            yield f"container {container.get('name')} runs, but its readiness probe fails"


def _steps(pod: Mapping[str, Any]) -> Iterator[str]:
    """What a pod is busy with, when none has failed: an image that takes long looks like this."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        reason = ((container.get("state") or {}).get("waiting") or {}).get("reason", "")
        if reason:
            yield f"container {container.get('name')} is still {reason}"


def _exit(container: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    why = _said(ended.get("reason", ""), ended.get("message", ""))
    return (
        f"container {container.get('name')} ended with exit code {ended.get('exitCode')} ({why or 'no reason given'})"
    )


def _said(reason: str, message: str) -> str:
    message = " ".join(str(message).split())
    if len(message) > MESSAGE_LENGTH:  # the cause comes last: "failed to pull ...: ...: i/o timeout"
        message = f"{message[: MESSAGE_LENGTH // 3]} ... {message[-2 * MESSAGE_LENGTH // 3 :]}"
    return f"{reason}: {message}" if reason and message else str(reason or message)
