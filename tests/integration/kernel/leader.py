"""A process that leads and writes, and freezes: what `test_lease` wakes. Prints a line for each thing that happens.

It stops itself (SIGSTOP) when its fifth write has got a connection, just before the guard looks. Stopped from outside
it could be in the moment between the guard's look and the write to the socket, which no client can close.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid

from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.errors import Fatal, RoadsteadError
from roadstead.kernel.lease import Leadership, LeaseTimes
from roadstead.kernel.objects import CONFIG_MAPS


async def main(kubeconfig: str, namespace: str, duration: float, deadline: float, period: float) -> None:
    identity = f"process-{uuid.uuid4().hex[:6]}"
    plain = ClusterClient("hub", await hub_configuration(kubeconfig))
    leadership = Leadership(plain, namespace, "lead", identity, SystemClock(), LeaseTimes(duration, deadline, period))
    count = 0

    def guard() -> None:
        if count == 5:
            os.kill(os.getpid(), signal.SIGSTOP)
        leadership.guard()

    guarded = ClusterClient("hub", await hub_configuration(kubeconfig), guard=guard)
    await leadership.acquire()
    print("leading", identity, flush=True)
    holding = asyncio.create_task(leadership.hold())
    while not holding.done():
        count += 1
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "written"},
            "data": {"by": identity, "count": str(count)},
        }
        try:
            await guarded.apply(CONFIG_MAPS, namespace, "written", body, manager="roadstead")
        except Fatal as error:
            print("refused", error, flush=True)
            break
        except RoadsteadError as error:
            print("failed", error, flush=True)
        await asyncio.sleep(0.01)
    try:
        await holding
    except Fatal as error:
        print("lost", error, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *(float(value) for value in sys.argv[3:6])))
