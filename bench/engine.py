"""The operator under many services: ``python -m bench.engine --services 1000``; prints JSON, see README.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "operator")]

from localkube import bare, crds  # noqa: E402
from localoperator import NAMESPACE as SYSTEM  # noqa: E402
from localoperator import Operator, connect, cpu_seconds, grant, kubectl  # noqa: E402
from roadstead.kernel import objects  # noqa: E402
from roadstead.kernel.client import ClusterClient, hub_configuration  # noqa: E402
from roadstead.kernel.objects import CHAT_SERVICES, CHILD_TYPES, HUB_ONLY_TYPES, OPTIONAL_TYPES, Gvr  # noqa: E402
from worlds import Objects, chat, make_certificate  # noqa: E402

NAMESPACE = "chat"
REGIONS = ("hkg", "sgp")
CONCURRENCIES = (8, 16, 32)
UNLOADED = 100
RAW_BODIES = 8000
"""Bodies sent raw to each member: more of them only take longer."""
LONGEST_START = 600.0
QUIET = 20.0
"""Seconds until what a burst has left behind is gone."""
CREATORS = 16
TYPES = [gvr for gvr in CHILD_TYPES if gvr not in HUB_ONLY_TYPES and gvr not in OPTIONAL_TYPES]


def clusters(names: Iterable[str]) -> Iterator[bare.BareCluster]:
    """Clusters of API servers only."""
    for name in names:
        cluster = bare.start(name, controllers=False, scheduler=False, kwok=False)
        kubectl(cluster, "create", "namespace", NAMESPACE)
        yield cluster


async def client_of(cluster: bare.BareCluster) -> ClusterClient:
    """The operator's own client, with the administrator's rights."""
    return ClusterClient(cluster.name, await hub_configuration(str(cluster.kubeconfig)))


def service(name: str) -> dict[str, Any]:
    """A service in every region; no pod ever becomes ready here, and a deadline that passes would be written."""
    return chat(name, REGIONS, spec__rollout__progressDeadline="1d")


async def create(hub: ClusterClient, names: list[str]) -> None:
    """Create services from several creators at once."""
    pending = iter(names)

    async def creator() -> None:
        for name in pending:
            await hub.create(CHAT_SERVICES, NAMESPACE, service(name), manager="bench")

    await asyncio.gather(*(creator() for _ in range(CREATORS)))


async def latencies(hub: ClusterClient, members: list[ClusterClient]) -> list[float]:
    """Seconds from a created service to its last child, one service at a time, as watches of ours see it."""
    seen: dict[str, list[float]] = {}
    watches = [asyncio.create_task(_arrivals(member, gvr, seen)) for member in members for gvr in TYPES]
    try:
        await asyncio.sleep(1.0)
        found, children = [], 0
        for number in range(UNLOADED):
            name = f"one-{number}"
            arrivals = seen.setdefault(name, [])
            started = time.perf_counter()
            await hub.create(CHAT_SERVICES, NAMESPACE, service(name), manager="bench")
            while len(arrivals) < children or not arrivals or time.perf_counter() - arrivals[-1] < 0.3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            children = len(arrivals)
            found.append(arrivals[-1] - started)
        return found
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def _arrivals(member: ClusterClient, gvr: Gvr, seen: dict[str, list[float]]) -> None:
    labels = f"{objects.MANAGED_BY_LABEL}={objects.MANAGED_BY}"
    version = await _version(member, gvr, labels)
    async for event in member.watch(gvr, NAMESPACE, resource_version=version, labels=labels, metadata_only=True):
        if event.type == "ADDED":
            seen[event.object["metadata"]["labels"][objects.OWNER_NAME_LABEL]].append(time.perf_counter())


async def _version(client: ClusterClient, gvr: Gvr, labels: str = "") -> str:
    """From where a watch of a collection goes on."""
    version = ""
    async for _, version in client.pages(gvr, NAMESPACE, labels=labels, metadata_only=True):  # noqa: B007
        continue
    return version


class Statuses:
    """What is written into the services' statuses, in words: a metric only counts."""

    def __init__(self, hub: ClusterClient) -> None:
        self._hub = hub
        self._words: dict[str, list[str]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Statuses:
        version = await _version(self._hub, CHAT_SERVICES)
        self._task = asyncio.create_task(self._follow(version))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task  # a watch that failed meanwhile would have counted too few

    def commonest(self, count: int = 8) -> dict[str, int]:
        """The most frequent sequences of different statuses, each with the number of services that had it."""
        return dict(Counter(" > ".join(words) for words in self._words.values()).most_common(count))

    async def _follow(self, version: str) -> None:
        while True:
            async for event in self._hub.watch(CHAT_SERVICES, NAMESPACE, resource_version=version):
                metadata = event.object["metadata"]
                version = metadata["resourceVersion"]
                if words := _words(event.object.get("status") or {}):
                    seen = self._words.setdefault(metadata["name"], [])
                    if not seen or seen[-1] != words:
                        seen.append(words)


def _words(status: dict[str, Any]) -> str:
    """A status without its numbers and names, so that those of many services can be counted."""
    found = [f"{c['type']} {c['reason']}" for c in status.get("conditions") or () if c["status"] == "True"]
    found += [f"{region['phase']} {region.get('message', '')}".strip() for region in status.get("regions") or ()]
    return re.sub(r"\b(svc|one)-\d+\b|\d+", "#", ", ".join(found))


async def settle(operator: Operator, expected: int) -> float:
    """Wait until so many children are written and nothing more happens; returns when the last write was seen.

    A write whose answer was lost is not counted, and found done: then the longer silence is the end.
    """
    last, seen = -1.0, time.perf_counter()
    while True:
        writes = operator.metric("roadstead_child_writes_total")
        idle = operator.metric("workqueue_depth") == 0
        if writes != last:
            last, seen = writes, time.perf_counter()
        elif idle and time.perf_counter() - seen > (3 if writes >= expected else QUIET):
            return seen
        await asyncio.sleep(0.5)


async def bodies_of(client: ClusterClient) -> list[tuple[Gvr, dict[str, Any]]]:
    """The children in one region, as bodies that can be applied elsewhere."""
    found = []
    for gvr in TYPES:
        async for items, _ in client.pages(gvr, NAMESPACE, labels="roadstead.dev/region"):
            for item in items:
                metadata = item["metadata"]
                body = {
                    "apiVersion": gvr.api_version,
                    "kind": gvr.kind,
                    "metadata": {"name": metadata["name"], "labels": _not_ours(metadata["labels"])},
                    **{k: v for k, v in item.items() if k not in ("apiVersion", "kind", "metadata", "status")},
                }
                (body.get("spec") or {}).pop("clusterIP", None)
                (body.get("spec") or {}).pop("clusterIPs", None)
                found.append((gvr, body))
    return found


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    """The same labels, of the same length, by which no operator takes the copies for its own."""
    assert objects.MANAGED_BY == "roadstead"
    return labels | {objects.MANAGED_BY_LABEL: "daetsdaor"}


async def raw(bodies: list[tuple[Gvr, dict[str, Any]]], concurrency: int) -> float:
    """Objects a second when the same bodies are only sent, to two new members at once, at one concurrency in all.

    To new ones, because an API server with more objects is slower.
    """
    started_clusters = list(clusters(REGIONS))
    members = [await client_of(cluster) for cluster in started_clusters]
    try:
        for member in members:
            for gvr in TYPES:
                await member.serves(gvr)
        work = iter([(member, gvr, child) for gvr, child in bodies for member in members])
        started = time.perf_counter()

        async def sender() -> None:
            for member, gvr, child in work:
                await member.apply(gvr, NAMESPACE, child["metadata"]["name"], child, manager="bench")

        await asyncio.gather(*(sender() for _ in range(concurrency)))
        return len(bodies) * len(members) / (time.perf_counter() - started)
    finally:
        for member in members:
            await member.close()
        for cluster in started_clusters:
            cluster.stop()


KOPF_ALONE = """
import asyncio, sys, time, kopf
sys.path.insert(0, sys.argv[3])
from roadstead.kernel import informer
from roadstead.kernel.client import hub_configuration
async def main():
    wanted, seen, started = int(sys.argv[2]), 0, time.perf_counter()
    done = asyncio.Event()
    registry = kopf.OperatorRegistry()
    informer.register_login(registry, await hub_configuration(sys.argv[1]))
    async def event(**_):
        nonlocal seen
        seen += 1
        if seen == wanted: done.set()
    kopf.on.event("roadstead.dev", "v1alpha1", "chatservices", registry=registry)(event)
    settings = informer.settings(streaming=True)
    task = asyncio.create_task(kopf.operator(registry=registry, settings=settings, clusterwide=True, standalone=True))
    await done.wait()
    print(time.perf_counter() - started, flush=True)
    import os; os._exit(0)
asyncio.run(main())
"""


def kopf_alone(hub: bare.BareCluster, services: int) -> float:
    """Seconds in which kopf, with our settings and a handler that only counts, delivers every service."""
    done = subprocess.run(
        [sys.executable, "-c", KOPF_ALONE, str(hub.kubeconfig), str(services), str(ROOT / "operator")],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return float(done.stdout.strip().splitlines()[-1])


def note(result: dict[str, Any]) -> None:
    """Tell what is known so far: the next part may fail, and an hour is long."""
    print(json.dumps(result), file=sys.stderr, flush=True)


def settled(operator: Operator, services: int) -> bool:
    """Whether a new operator has looked at every service and has nothing more to do."""
    looked = operator.metric("controller_runtime_reconcile_total")
    return looked >= services and operator.metric("workqueue_depth") == 0


def memory(pid: int) -> dict[str, float]:
    """Resident memory in MiB, now and at its highest."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: round(int(lines[key].split()[0]) / 1024, 1) for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}


async def measure(services: int, idle_seconds: float, *, with_raw: bool) -> dict[str, Any]:
    """Everything, on clusters of this run."""
    hub, *members = running = list(clusters(("hub", *REGIONS)))
    try:
        crds.apply(hub.api, sorted((ROOT / "crds").glob("*.yaml")))
        grant(hub)
        make_certificate(Objects(hub), "chat-tls")
        for name, member in zip(REGIONS, members, strict=True):
            connect(hub, member, name)
        return await _measured(hub, members, services, idle_seconds, with_raw=with_raw)
    finally:
        for cluster in running:
            cluster.stop()


async def _measured(
    hub: bare.BareCluster, members: list[bare.BareCluster], services: int, idle_seconds: float, *, with_raw: bool
) -> dict[str, Any]:
    hub_client = await client_of(hub)
    clients = [await client_of(member) for member in members]
    result: dict[str, Any] = {"services": services, "regions": len(REGIONS)}
    with Operator(hub) as operator:
        operator.wait_leading()
        kubectl(hub, "wait", "--for=condition=Ready", "region", "--all", "--timeout=30s")
        single = sorted(await latencies(hub_client, clients))
        result["latency_ms"] = {
            "p50": round(1000 * statistics.median(single)),
            "p99": round(1000 * single[min(len(single) - 1, int(len(single) * 0.99))]),
            "samples": len(single),
        }
        written = operator.metric("roadstead_child_writes_total")
        statuses = operator.metric('roadstead_status_writes_total{kind="ChatService"}')
        per_service = written / UNLOADED
        async with Statuses(hub_client) as statuses_written:
            started = time.perf_counter()
            await create(hub_client, [f"svc-{number}" for number in range(services)])
            end = await settle(operator, int(written + per_service * services))
        result["statuses"] = statuses_written.commonest()
        children = operator.metric("roadstead_child_writes_total") - written
        result["children"] = int(children)
        result["operator_children_per_second"] = round(children / (end - started), 1)
        result["child_writes_per_child"] = round(children / (per_service * services), 4)
        statuses = operator.metric('roadstead_status_writes_total{kind="ChatService"}') - statuses
        own = round(statuses / services + 1, 2)  # and one for the finalizer
        result["writes_per_service"] = own
        per_second = (children + (own + 1) * services) / (end - started)  # and one revision
        result["operator_writes_per_second"] = round(per_second, 1)
        await asyncio.sleep(QUIET)  # idle connections are closed after 15 s
        result["memory_mib"] = memory(operator.pid)
    note(result)
    if with_raw:
        bodies = (await bodies_of(clients[0]))[:RAW_BODIES]
        rates = {concurrency: await raw(bodies, concurrency) for concurrency in CONCURRENCIES}
        best = max(rates.values())
        result["raw_children_per_second"] = {str(k): round(v, 1) for k, v in rates.items()}
        result["write_efficiency"] = round(result["operator_children_per_second"] / best, 3)
        result["write_efficiency_with_own_writes"] = round(result["operator_writes_per_second"] / best, 3)
    result["kopf_alone_s"] = round(kopf_alone(hub, services + UNLOADED), 2)
    note(result)
    with Operator(hub) as operator:
        started = time.perf_counter()
        operator.wait_leading(LONGEST_START)
        result["cold_start_to_leading_s"] = round(time.perf_counter() - started, 2)
        async with Statuses(hub_client) as statuses_after:
            while not settled(operator, services + UNLOADED):  # noqa: ASYNC110
                await asyncio.sleep(0.25)
        result["cold_start_s"] = round(time.perf_counter() - started, 2)
        result["cold_start_to_kopf"] = round(result["cold_start_s"] / result["kopf_alone_s"], 2)
        await asyncio.sleep(QUIET)
        result["child_writes_after_restart"] = operator.metric("roadstead_child_writes_total")
        result["statuses_after_restart"] = statuses_after.commonest()
        result["status_writes_after_restart"] = operator.metric('roadstead_status_writes_total{kind="ChatService"}')
        result["memory_after_restart_mib"] = memory(operator.pid)
        before = cpu_seconds(operator.pid)
        await asyncio.sleep(idle_seconds)
        result["idle_cores"] = round((cpu_seconds(operator.pid) - before) / idle_seconds, 4)
    for client in (hub_client, *clients):
        await client.close()
    return result


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--without-raw", action="store_true", help="leave out what only the write efficiency needs")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    result = asyncio.run(measure(options.services, options.idle_seconds, with_raw=not options.without_raw))
    result |= {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "load_before": round(load, 1),
        "command": f"python -m bench.engine --services {options.services}",
        "system_namespace": SYSTEM,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
