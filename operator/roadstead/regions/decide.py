"""Is the region healthy? Decided from what a probe saw, as a list of named checks; the first finding counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from roadstead.api.conditions import Reason

PATIENCE = 20.0
"""Seconds in which the first reading of a cluster may stand still; services wait for it, so it must have an end."""
SILENCE_LIMIT = 240.0
"""Seconds without a word on a watch after which what it said no longer counts; bookmarks come about once a minute."""


class Access(Enum):
    """Whether there is a connection to probe at all."""

    READY = "ready"
    SECRET_MISSING = "secret missing"  # noqa: S105 - a state, not a secret
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a region's cluster after a probe.

    Attributes:
        access: whether there is a usable kubeconfig.
        access_message: why not, in words.
        failures: failed probes in a row, this one included.
        failure: why the last one failed, in words.
        unauthorised: the credentials were not accepted.
        cluster_id: uid of the cluster's kube-system; empty while this process has had no answer from it.
        known_cluster_id: the one that the status remembers.
        synced: every type of child has been listed.
        watch_forbidden: the API server's words when it does not let us watch our own objects.
        watch_error: what keeps a type from being listed or watched.
        silence: seconds since the quietest watch was heard.
        unsynced: seconds in which the first list of what runs there got no further; 0 when all has been listed.
    """

    access: Access = Access.READY
    access_message: str = ""
    failures: int = 0
    failure: str = ""
    unauthorised: bool = False
    cluster_id: str = ""
    known_cluster_id: str = ""
    synced: bool = True
    watch_forbidden: str = ""
    watch_error: str = ""
    silence: float = 0.0
    unsynced: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps a region from being used; becomes the condition as it stands.

    ``lasting`` says that it will not mend itself: somebody has to change something.
    """

    reason: Reason
    message: str
    lasting: bool = False


def kubeconfig_is_missing(seen: Observation, _threshold: int) -> Finding | None:
    """The Secret or its key is not there."""
    if seen.access is not Access.SECRET_MISSING:
        return None
    return Finding(Reason.KUBECONFIG_MISSING, seen.access_message, lasting=True)


def kubeconfig_is_refused(seen: Observation, _threshold: int) -> Finding | None:
    """The kubeconfig asks for what is never done."""
    if seen.access is not Access.REFUSED:
        return None
    return Finding(Reason.KUBECONFIG_REFUSED, seen.access_message, lasting=True)


def cluster_has_changed(seen: Observation, _threshold: int) -> Finding | None:
    """The kubeconfig leads to another cluster than it used to."""
    if not seen.known_cluster_id or not seen.cluster_id or seen.cluster_id == seen.known_cluster_id:
        return None
    message = (
        f"the kubeconfig leads to cluster {seen.cluster_id}, but this region was {seen.known_cluster_id}; put the old "
        "kubeconfig back, or delete the Region and make it anew"
    )
    return Finding(Reason.CLUSTER_CHANGED, message, lasting=True)


def credentials_are_not_accepted(seen: Observation, _threshold: int) -> Finding | None:
    """The API server does not know the token or certificate."""
    if not seen.unauthorised:
        return None
    message = f"{seen.failure}; put a valid token into the kubeconfig Secret"
    return Finding(Reason.UNAUTHORIZED, message, lasting=True)


def does_not_answer(seen: Observation, threshold: int) -> Finding | None:
    """So many probes in a row have failed that the region counts as unreachable.

    One that has never answered this process has no good name to lose: the first failure counts.
    """
    if seen.failures == 0 or (seen.failures < threshold and seen.cluster_id):
        return None
    # How many probes have failed is no part of it: every service there says this too, and would say it anew each time.
    return Finding(Reason.UNREACHABLE, seen.failure)


def watch_is_refused(seen: Observation, _threshold: int) -> Finding | None:
    """The API server answers, but does not let us see our own objects."""
    if seen.synced or not seen.watch_forbidden:
        return None
    message = f"{seen.watch_forbidden}; install the chart's member profile in the region's cluster"
    return Finding(Reason.UNAUTHORIZED, message, lasting=True)


def watch_is_broken(seen: Observation, _threshold: int) -> Finding | None:
    """The API server answers, but what runs there cannot be read, or is no longer told."""
    if seen.synced and seen.silence <= SILENCE_LIMIT:
        return None
    if seen.synced:
        why = f": {seen.watch_error}" if seen.watch_error else ""
        return Finding(Reason.UNREACHABLE, f"nothing was heard of what runs there for some minutes{why}")
    if seen.watch_error or seen.unsynced > PATIENCE:
        return Finding(Reason.UNREACHABLE, f"what runs there cannot be read: {seen.watch_error or 'no list in time'}")
    return None


def is_not_synced(seen: Observation, _threshold: int) -> Finding | None:
    """Connected, and still listing."""
    return None if seen.synced else Finding(Reason.NOT_PROBED, "reading what runs there")


CHECKS: tuple[Callable[[Observation, int], Finding | None], ...] = (
    kubeconfig_is_missing,
    kubeconfig_is_refused,
    cluster_has_changed,
    credentials_are_not_accepted,
    does_not_answer,
    watch_is_refused,
    watch_is_broken,
    is_not_synced,
)


def find(seen: Observation, threshold: int) -> Finding | None:
    """The first thing that keeps the region from being used; None when it is usable.

    Args:
        seen: what is known.
        threshold: failed probes in a row that make a region unreachable.
    """
    return next((finding for check in CHECKS if (finding := check(seen, threshold)) is not None), None)


def is_suspect(seen: Observation, threshold: int) -> bool:
    """The last probe failed, but not yet often enough to act on it."""
    return 0 < seen.failures < threshold
