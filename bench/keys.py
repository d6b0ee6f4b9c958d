"""Rings of keys under load: ``python -m bench.keys --rings 100``; prints JSON, see README.md."""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "operator")]

from roadstead_keys import keyset as keysets  # noqa: E402
from roadstead_keys import proof  # noqa: E402
from roadstead_keys.ring import Ring  # noqa: E402
from tink import JsonKeysetReader, cleartext_keyset_handle  # noqa: E402

import api_key_cases  # noqa: E402
from keyconsumers import Consumer  # noqa: E402
from localkube import bare, crds  # noqa: E402
from localoperator import Operator, connect, cpu_seconds, grant, kubectl  # noqa: E402
from roadstead.api.keyversion import KeyType  # noqa: E402
from roadstead.keys import challenge, regional  # noqa: E402
from roadstead.keys.material import Material, fingerprint, keyset  # noqa: E402
from roadstead.keys.state import Keyset  # noqa: E402
from worlds import Objects  # noqa: E402

NAMESPACE = "chat"
REGIONS = ("hkg", "sgp", "fra")
LONGEST = 1800.0
SOAK = 10.0
PODS = 2
SEVEN_YEARS = 852
"""Versions of 72 hours in seven years."""
LOOK = 5.0
"""Seconds between two looks at answers: they wake nobody (`PROOF_POLL` of the reconciler)."""

# What the protocol needs for one rotation of a ring over R regions, when every step is a compare-and-swap of its own:
# the version's entry and its material are created; four steps bring it to Primary, two bring the former to Draining;
# every region is given the version, and later told to write with it.
MINIMUM_LEDGER = 1 + 4 + 2
MINIMUM_MATERIAL = 1


def minimum(regions: int) -> int:
    """Writes that one rotation needs, statuses and events not counted."""
    return MINIMUM_LEDGER + MINIMUM_MATERIAL + 2 * regions


class Bench:
    """A hub, three regions, the operator, and rings.

    Args:
        hub: with our CRDs.
        members: by region.
        operator: that leads.
    """

    def __init__(self, hub: bare.BareCluster, members: dict[str, bare.BareCluster], operator: Operator) -> None:
        self.hub = Objects(hub)
        self.at = {name: Objects(member) for name, member in members.items()}
        self.operator = operator

    def ring(self, name: str, **edits: Any) -> None:
        """Make a ring over all regions that rotates only when it is told to."""
        fixed = {"spec.regions": list(REGIONS), "spec.schedule.every": "5y", **api_key_cases.NO_HASTE}
        self.hub.apply("keyrings", api_key_cases.ring(name, NAMESPACE, **{**fixed, **edits}), NAMESPACE)

    def due(self, names: list[str], moment: datetime.datetime) -> None:
        """Make a version of each ring due at one moment."""
        patch = {"spec": {"schedule": {"rotateAt": moment.isoformat()}}}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.hub.patch("keyrings", name, patch, NAMESPACE), names))

    def reached(self, names: list[str], version: int) -> float:
        """Wait until each ring has this version as its primary and is at rest; when the last one was seen to be."""
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            found = self.hub.items("keyrings", NAMESPACE)
            statuses = {ring["metadata"]["name"]: ring.get("status") or {} for ring in found}
            now = {(statuses[name].get("primary"), statuses[name].get("phase")) for name in names}
            if now == {(version, "Idle")} and self.operator.metric("workqueue_depth") == 0:
                return time.monotonic()
            time.sleep(0.25)
        raise TimeoutError(f"not every ring has version {version}")

    def counts(self) -> dict[str, float]:
        """What the operator has done so far."""
        return {
            "reconciles": self._sum('controller_runtime_reconcile_total{controller="KeyRing"'),
            "statuses": self._sum('roadstead_status_writes_total{kind="KeyRing"'),
        }

    def protocol(self) -> dict[str, int]:
        """Writes that rotations need, as the objects themselves count them: no lease is among them."""
        ledger = self.hub.items("keyversions", NAMESPACE)
        stored = self.hub.items("secrets", "roadstead-system", labels="roadstead.dev/key-role=dek")
        rings = self.hub.items("keyrings", NAMESPACE)
        return {
            # Without a status subresource every write of a KeyVersion is another generation.
            "ledger": sum(entry["metadata"]["generation"] for entry in ledger),
            "material": len(stored),
            "keysets": sum(r["generation"] for ring in rings for r in (ring.get("status") or {}).get("regions") or ()),
        }

    def _sum(self, prefix: str) -> float:
        _, text = self.operator.fetch("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(prefix))

    def versions(self) -> dict[str, str]:
        """The version of everything that rings are made of: what is written in vain shows, too."""
        found = {}
        for name, objects in {"hub": self.hub, **self.at}.items():
            for resource in ("keyrings", "keyversions", "events", "secrets", "configmaps"):
                for item in objects.items(resource):
                    metadata = item["metadata"]
                    found[f"{name}/{resource}/{metadata['namespace']}/{metadata['name']}"] = metadata["resourceVersion"]
        return found


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Clusters and an operator of this run."""
    running = [bare.start(name, controllers=False, scheduler=False, kwok=False) for name in ("hub", *REGIONS)]
    try:
        hub, *members = running
        for cluster in running:
            kubectl(cluster, "create", "namespace", NAMESPACE)
            kubectl(cluster, "-n", NAMESPACE, "create", "serviceaccount", "default")  # no controller makes it
        crds.apply(hub.api, sorted((ROOT / "crds").glob("*.yaml")))
        grant(hub)
        for name, member in zip(REGIONS, members, strict=True):
            connect(hub, member, name)
        with Operator(hub) as operator:
            operator.wait_leading()
            kubectl(hub, "wait", "--for=condition=Ready", "region", "--all", "--timeout=60s")
            yield Bench(hub, dict(zip(REGIONS, members, strict=True)), operator)
    finally:
        for cluster in running:
            cluster.stop()


def all_due_at_once(found: Bench, rings: int, versions: int) -> dict[str, Any]:
    """Rings with so many versions, due in the same minute."""
    names = [f"ring-{number}" for number in range(rings)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(found.ring, names))
    found.reached(names, 1)
    for version in range(2, versions):
        found.due(names, datetime.datetime.now(UTC))
        found.reached(names, version)
        print(f"version {version}", file=sys.stderr, flush=True)
    time.sleep(5)
    before, protocol, events = found.counts(), found.protocol(), len(found.hub.items("events"))
    cpu = cpu_seconds(found.operator.pid)
    moment = datetime.datetime.now(UTC) + timedelta(seconds=5)
    found.due(names, moment)
    end = found.reached(names, versions)
    seconds = end - time.monotonic() + (datetime.datetime.now(UTC) - moment).total_seconds()
    spent = cpu_seconds(found.operator.pid) - cpu
    after, told = found.counts(), len(found.hub.items("events")) - events
    needed = {kind: (count - protocol[kind]) / rings for kind, count in found.protocol().items()}
    return {
        "rings": rings,
        "versions": versions,
        "seconds_until_all_are_done": round(seconds, 1),
        "reconciles_per_rotation": round((after["reconciles"] - before["reconciles"]) / rings, 2),
        "protocol_writes_per_rotation": {kind: round(count, 2) for kind, count in needed.items()},
        "minimum_of_the_protocol": minimum(len(REGIONS)),
        "protocol_to_minimum": round(sum(needed.values()) / minimum(len(REGIONS)), 2),
        "statuses_per_rotation": round((after["statuses"] - before["statuses"]) / rings, 2),
        "events_per_rotation": round(told / rings, 2),
        "cpu_ms_per_rotation": round(1000 * spent / rings, 1),
    }


def nothing_due(found: Bench, rings: int, seconds: float) -> dict[str, Any]:
    """What a ring costs at which nothing happens."""
    time.sleep(20)
    before, versions, cpu = found.counts(), found.versions(), cpu_seconds(found.operator.pid)
    time.sleep(seconds)
    spent = cpu_seconds(found.operator.pid) - cpu
    changed = sum(1 for name, version in found.versions().items() if versions.get(name) != version)
    return {
        "seconds": seconds,
        "objects_written": changed,
        "reconciles": found.counts()["reconciles"] - before["reconciles"],
        "cores": round(spent / seconds, 5),
        "cpu_us_per_ring_and_second": round(1e6 * spent / seconds / rings, 2),
    }


def with_proofs(found: Bench) -> dict[str, Any]:
    """From due to Primary with pods in every region that answer at once, against soak and two looks at answers."""
    soak = {"spec.soak": f"{SOAK:g}s"}
    found.ring("proved", **soak)
    found.reached(["proved"], 1)
    with tempfile.TemporaryDirectory() as folder, _answering(found, "proved", Path(folder)):
        time.sleep(2)
        moment = datetime.datetime.now(UTC)
        found.due(["proved"], moment)
        ready = primary = drained = 0.0
        start = time.monotonic()
        while not drained:
            phases = {
                entry["spec"]["number"]: entry["status"]["phase"]
                for entry in found.hub.items("keyversions", NAMESPACE)
                if entry["spec"]["ring"] == "proved"
            }
            now = time.monotonic() - start
            ready = ready or (now if phases.get(2) in ("Ready", "Primary") else 0.0)
            primary = primary or (now if phases.get(2) == "Primary" else 0.0)
            drained = drained or (now if phases.get(1) == "Draining" else 0.0)
            time.sleep(0.05)
    return {
        "pods": PODS * len(REGIONS),
        "seconds_to_ready": round(ready, 2),
        "seconds_to_primary": round(primary, 2),
        "soak_and_one_look": SOAK + LOOK,
        "primary_to_limit": round(primary / (SOAK + LOOK), 2),
        "seconds_from_primary_to_draining": round(drained - primary, 2),
        "one_look": LOOK,
    }


@contextlib.contextmanager
def _answering(found: Bench, ring: str, folder: Path) -> Iterator[None]:
    """Pods that load and prove as soon as there is something new."""
    consumers = []
    for name, objects in found.at.items():
        for number in range(PODS):
            directory = folder / f"{name}-{number}"
            directory.mkdir()
            consumers.append(Consumer(objects, ring, name, f"{name}-{number}", directory))
    stop = threading.Event()

    def answer(consumer: Consumer) -> None:
        last = -1
        while not stop.is_set():
            with contextlib.suppress(Exception):
                if consumer.load() and consumer.ring.held.bundle.generation != last:
                    consumer.prove()
                    last = consumer.ring.held.bundle.generation
            stop.wait(0.2)

    threads = [threading.Thread(target=answer, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def repeated(work: Callable[[], object], times: int) -> float:
    """Median milliseconds of one call."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return 1000 * statistics.median(spent)


def mounted(data: dict[str, str], folder: Path) -> Ring:
    """A ring as a process has it, from the Secret's content."""
    (folder / "..1").mkdir()
    for name, value in data.items():
        (folder / "..1" / name).write_bytes(base64.b64decode(value))
    (folder / "..data").symlink_to("..1")
    return Ring.open(folder)


def costs() -> dict[str, Any]:
    """What a proof costs on both sides, and a keyset of seven years."""
    asked = challenge.Asked("r0123456789ab", "hkg")
    keys = [Material(number, KeyType.XAES_256_GCM, os.urandom(32)) for number in (1, 2)]
    fingerprints = tuple((key.number, fingerprint(asked.ring, key)) for key in keys)
    child = regional.keyset_secret(asked, NAMESPACE, "ring", Keyset(fingerprints, 1), keys, 1)
    with tempfile.TemporaryDirectory() as folder:
        ring = mounted(child.body["data"], Path(folder))
        aead = ring.held.keys.versions[1]
        sealed = aead.encrypt(b"x" * 32, b"context")
        handed_in = proof.receipt(proof.answer(ring, "pod", "instance"), "instance")
        [answer] = regional.answers_in({"data": {"pod": handed_in}})
        proved = challenge.verify(asked, keys, answer)
        if proved.reads != {1, 2} or proved.writes != 1:
            raise AssertionError(f"the proof is none: {proved}")
        answering = repeated(lambda: proof.answer(ring, "pod", "instance"), 200)
        verifying = repeated(lambda: challenge.verify(asked, keys, answer), 200)
        decrypting = repeated(lambda: aead.decrypt(sealed, b"context"), 200)
    many = keyset([Material(n, KeyType.XAES_256_GCM, os.urandom(32)) for n in range(1, SEVEN_YEARS + 1)], SEVEN_YEARS)
    seven_years = repeated(lambda: keysets.load(many), 5)
    parsed = repeated(lambda: cleartext_keyset_handle.read(JsonKeysetReader(many.decode())), 5)
    return {
        "answer_ms": round(answering, 3),
        "verify_ms": round(verifying, 3),
        "decrypt_ms": round(decrypting, 4),
        "answer_to_its_four_operations": round(answering / (4 * decrypting), 1),
        "keyset_bytes": len(many),
        "keyset_load_ms": round(seven_years, 1),
        "tink_reads_it_ms": round(parsed, 1),
        "load_to_read": round(seven_years / parsed, 2),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rings", type=int, default=100)
    parser.add_argument("--versions", type=int, default=16)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    result: dict[str, Any] = {"costs": costs()}
    with bench() as found:
        result["due_at_once"] = all_due_at_once(found, options.rings, options.versions)
        print(json.dumps(result), file=sys.stderr, flush=True)
        result["idle"] = nothing_due(found, options.rings, options.idle_seconds)
        result["with_proofs"] = with_proofs(found)
    result |= {
        "date": datetime.datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "load_before": round(load, 1),
        "command": f"python -m bench.keys --rings {options.rings} --versions {options.versions}",
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
