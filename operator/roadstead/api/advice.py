"""What is legal but unwise, in a sentence each: admission and ``roadstead lint`` show these as warnings.

Only what one object shows by itself. What depends on other objects (a region that does not exist) is admission's.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

from roadstead.api.chatservice import ChatService, ChatServiceSpec, TopologyMode
from roadstead.api.duration import format_duration
from roadstead.api.kinds import Resource
from roadstead.api.quantity import amount, percent_or_count
from roadstead.api.region import Region
from roadstead.api.relay import KEYS, OPTIONS, PREFIX, is_key, nearest_option

SMALLEST_VOLUME = 16 * 1024**2
"""Bytes; what is smaller is a forgotten unit."""


def advise(obj: Resource) -> list[str]:
    """What somebody should think about once more.

    Args:
        obj: An object that breaks no rule.

    Returns:
        A sentence for each finding: field, value, what follows from it and what to write instead.
    """
    if isinstance(obj, Region):
        return [sentence for advice in _REGION for sentence in advice(obj)]
    if isinstance(obj, ChatService):
        return [sentence for advice in _CHAT_SERVICE for sentence in advice(obj.spec)]
    return []


def _image_that_moves(spec: ChatServiceSpec) -> Iterator[str]:
    if "@" in spec.image:
        return
    tag = spec.image.rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest"):
        fault = "has the tag latest" if tag else "has neither tag nor digest"
        yield (
            f"spec.image is {spec.image}, which {fault}: pods of one revision can run different versions and a "
            "rollback may return to the same image; write a version such as :1.4.0, or a digest"
        )


def _memory_without_limit(spec: ChatServiceSpec) -> Iterator[str]:
    if "memory" not in spec.resources.limits:
        yield (
            "spec.resources.limits has no memory: one leaking pod can take down its node's other pods; write a limit "
            "such as 256Mi"
        )


def _one_region(spec: ChatServiceSpec) -> Iterator[str]:
    if len(spec.topology.regions) == 1:
        name = spec.topology.regions[0].name
        yield (
            f"spec.topology.regions has only {name}: when that region fails, the service is down, and a new version is "
            "tried on everybody; add a second region"
        )


def _no_bake_time(spec: ChatServiceSpec) -> Iterator[str]:
    if len(spec.topology.regions) > 1 and not spec.rollout.bake_time:
        yield (
            "spec.rollout.bakeTime is 0s: a version that fails a minute after its start reaches every region; write "
            "60s or more"
        )


def _all_regions_at_once(spec: ChatServiceSpec) -> Iterator[str]:
    regions = len(spec.topology.regions)
    if 1 < regions <= spec.rollout.max_parallel_regions:
        yield (
            f"spec.rollout.maxParallelRegions is {spec.rollout.max_parallel_regions} and there are {regions} regions: "
            "a bad version reaches all of them at once; write fewer than there are regions"
        )


def _replicas(spec: ChatServiceSpec) -> Iterator[tuple[str, int]]:
    """Every region that has pods, with the fewest that it has."""
    for region in spec.topology.regions:
        fewest = spec.replicas if region.replicas is None else region.replicas
        if fewest and spec.autoscaling is not None and spec.autoscaling.min_replicas is not None:
            fewest = spec.autoscaling.min_replicas
        if fewest:
            yield region.name, fewest


def _drains(spec: ChatServiceSpec) -> Iterator[str]:
    budget = spec.budget
    for region, fewest in _replicas(spec):
        if budget.max_unavailable is not None:
            said = f"spec.disruptionBudget.maxUnavailable is {budget.max_unavailable}"
            spare = percent_or_count(budget.max_unavailable, fewest, round_up=True)
        elif budget.min_available is not None:
            said = f"spec.disruptionBudget.minAvailable is {budget.min_available}"
            spare = fewest - percent_or_count(budget.min_available, fewest, round_up=True)
        else:
            continue
        if spare <= 0:
            yield f"{said}: no node in {region} with one of its {fewest} pods can be drained; leave one pod to spare"
        elif fewest == 1:
            yield f"spec.replicas leaves {region} with 1 pod: a node drain there interrupts all its clients; write 2"


def _passive_without_storage(spec: ChatServiceSpec) -> Iterator[str]:
    if spec.topology.mode is TopologyMode.ACTIVE_PASSIVE and spec.storage is None:
        yield (
            "spec.topology.mode is ActivePassive and spec.storage is absent: the primary's store is lost with its pod; "
            "write spec.storage with a size"
        )


def _sessions_outlive_transactions(spec: ChatServiceSpec) -> Iterator[str]:
    keep = spec.retention
    if keep.sessions > keep.transactions:
        yield (
            f"spec.retention.sessions is {format_duration(keep.sessions)}, longer than transactions, which is "
            f"{format_duration(keep.transactions)}: temporary data would outlive the records; check that they are not "
            "swapped"
        )


def _autoscaling_without_effect(spec: ChatServiceSpec) -> Iterator[str]:
    scaling = spec.autoscaling
    if scaling is None:
        return
    if scaling.min_replicas == scaling.max_replicas:
        yield (
            f"spec.autoscaling.minReplicas and maxReplicas are both {scaling.max_replicas}: nothing is scaled; raise "
            "maxReplicas, or remove spec.autoscaling"
        )
    lowest = min((fewest for _, fewest in _replicas(spec)), default=0)
    if not lowest:
        yield (
            "spec.autoscaling is set, but every region has 0 replicas, which no autoscaler changes; raise "
            "spec.replicas, or remove spec.autoscaling"
        )
        return
    for peak in scaling.peaks:
        if peak.replicas <= lowest:
            yield (
                f"spec.autoscaling.peaks[{peak.name}].replicas is {peak.replicas}, which every region has anyway "
                f"({lowest} or more): the peak changes nothing; raise it, or remove it"
            )


def _no_option_of_the_relay(spec: ChatServiceSpec) -> Iterator[str]:
    for key in spec.config:
        if key.startswith(PREFIX) and key not in OPTIONS:
            yield (
                f"spec.config has the key {key}, which is no option of the relay and does nothing; write "
                f"{nearest_option(key)}, if that is meant, or remove it"
            )


def _relay_without_keys(spec: ChatServiceSpec) -> Iterator[str]:
    cure = "write the public key that roadstead-chat-load keygen prints; several with commas between"
    if KEYS not in spec.config:
        yield f"spec.config has no {KEYS}, and without it the relay does not start; {cure}"
        return
    keys = [key for key in spec.config[KEYS].split(",") if key.strip()]
    faulty = [position for position, key in enumerate(keys, 1) if not is_key(key)]
    if faulty or not keys:
        which = f"key {faulty[0]} in spec.config.{KEYS} is" if faulty else f"spec.config.{KEYS} is empty, which is"
        yield f"{which} no Ed25519 key (32 bytes in base64), and the relay does not start with it; {cure}"


def _tiny_storage(spec: ChatServiceSpec) -> Iterator[str]:
    if spec.storage is not None and amount(spec.storage.size) < SMALLEST_VOLUME:
        yield f"spec.storage.size is {spec.storage.size}, less than 16Mi: it is read as bytes; write a unit, as in 10Gi"


def _hasty_probe(region: Region) -> Iterator[str]:
    if region.spec.probe.failure_threshold == 1:
        yield (
            "spec.probe.failureThreshold is 1: one lost request makes the region Unreachable; write 3, unless it is "
            "meant so"
        )


def _slow_probe(region: Region) -> Iterator[str]:
    probe = region.spec.probe
    until = probe.interval * (probe.failure_threshold - 1) + probe.timeout
    if until > timedelta(minutes=10):
        yield (
            f"spec.probe takes {format_duration(until)} to see that the region is gone: interval x "
            "(failureThreshold - 1) + timeout; shorten one of them"
        )


_CHAT_SERVICE: tuple[Callable[[ChatServiceSpec], Iterator[str]], ...] = (
    _image_that_moves,
    _memory_without_limit,
    _one_region,
    _no_bake_time,
    _all_regions_at_once,
    _drains,
    _passive_without_storage,
    _sessions_outlive_transactions,
    _autoscaling_without_effect,
    _no_option_of_the_relay,
    _relay_without_keys,
    _tiny_storage,
)
_REGION: tuple[Callable[[Region], Iterator[str]], ...] = (_hasty_probe, _slow_probe)
