"""How long nobody works when the leader goes: ``python -m bench.leadership``; prints JSON, see README.md."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "operator")]

from localkube import bare, crds  # noqa: E402
from localoperator import Operator, connect, grant, kubectl  # noqa: E402
from roadstead.kernel.client import ClusterClient, hub_configuration  # noqa: E402
from roadstead.kernel.lease import LeaseTimes  # noqa: E402
from roadstead.kernel.objects import CHAT_SERVICES, DEPLOYMENTS  # noqa: E402
from worlds import NAMESPACE, SECRET, Objects, chat, make_certificate  # noqa: E402

REGION = "hkg"


async def gap(hub: bare.BareCluster, member: bare.BareCluster, number: int, how: signal.Signals) -> float:
    """Seconds from the signal to the leader until a service that was created right after it has its Deployment."""
    clients = [ClusterClient(c.name, await hub_configuration(str(c.kubeconfig))) for c in (hub, member)]
    at_hub, at_member = clients
    leader, standby = Operator(hub, f"--identity=a{number}"), None
    try:
        leader.wait_leading()
        standby = Operator(hub, f"--identity=b{number}")
        standby.wait_ready()
        await asyncio.sleep(5)  # the standby has connected its region and the leader has renewed
        name = f"gap-{number}"
        started = time.perf_counter()
        leader.signal(how)
        await at_hub.create(CHAT_SERVICES, NAMESPACE, chat(name, [REGION]), manager="bench")
        while await at_member.find(DEPLOYMENTS, NAMESPACE, f"{name}-{REGION}", metadata_only=True) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return time.perf_counter() - started
    finally:
        for operator in (leader, standby):
            if operator is not None:
                operator.stop()
        for client in clients:
            await client.close()


async def measure(rounds: int) -> dict[str, object]:
    """Crashes and graceful stops, each so often, on clusters of this run."""
    hub, member = running = [
        bare.start(name, controllers=False, scheduler=False, kwok=False) for name in ("hub", REGION)
    ]
    try:
        crds.apply(hub.api, sorted((ROOT / "crds").glob("*.yaml")))
        for cluster in running:
            kubectl(cluster, "create", "namespace", NAMESPACE)
        grant(hub)
        make_certificate(Objects(hub), SECRET)
        connect(hub, member, REGION)
        found = {
            how.name: [round(await gap(hub, member, 100 * how + number, how), 2) for number in range(rounds)]
            for how in (signal.SIGKILL, signal.SIGTERM)
        }
    finally:
        for cluster in running:
            cluster.stop()
    times = LeaseTimes()
    return {
        "crash_s": found["SIGKILL"],
        "graceful_s": found["SIGTERM"],
        "lease_s": times.duration,
        "worst_crash_to_lease": round(max(found["SIGKILL"]) / times.duration, 3),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    result = asyncio.run(measure(options.rounds)) | {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "load_before": round(load, 1),
        "command": f"python -m bench.leadership --rounds {options.rounds}",
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
