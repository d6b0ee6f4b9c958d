"""Leadership on a real API server: two candidates, a crash, a release, a frozen leader, hands in the Lease.

Mutants that these tests were seen to kill: `guard` that always passes; a standby that polls; `release` that does
nothing; a deleted Lease taken at once; an edit by hand that ends the leader; a lease taken before its time.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from clusters import eventually_async, kubectl
from localkube.bare import BareCluster
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.errors import Fatal
from roadstead.kernel.lease import Leadership, LeaseTimes
from roadstead.kernel.objects import CONFIG_MAPS, LEASES

TIMES = LeaseTimes(duration=4.0, renew_deadline=2.5, retry_period=0.5)
LEADER = Path(__file__).with_name("leader.py")
SLACK = 30.0
"""Seconds that a busy machine may add: the end of a wait, not a limit that is tested."""

Candidate = Callable[[str], Leadership]


class Clients:
    def __init__(self, cluster: BareCluster, space: str) -> None:
        self.cluster, self.space = cluster, space
        self.made: list[ClusterClient] = []
        self.holding: list[asyncio.Task[None]] = []

    async def candidate(self, name: str, times: LeaseTimes = TIMES) -> Leadership:
        client = ClusterClient(name, await hub_configuration(str(self.cluster.kubeconfig)))
        self.made.append(client)
        return Leadership(client, self.space, "lead", name, SystemClock(), times)

    async def leader(self, name: str) -> tuple[Leadership, asyncio.Task[None]]:
        leadership = await self.candidate(name)
        await asyncio.wait_for(leadership.acquire(), 10)
        task = asyncio.create_task(leadership.hold())
        self.holding.append(task)
        return leadership, task

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(kubectl, self.cluster, "-n", self.space, *arguments)

    async def spec(self) -> dict[str, Any]:
        found = await self.made[0].get(LEASES, self.space, "lead")
        spec: dict[str, Any] = found["spec"]
        return spec

    async def close(self) -> None:
        for task in self.holding:
            task.cancel()
        await asyncio.gather(*self.holding, return_exceptions=True)
        for client in self.made:
            await client.close()


@pytest.fixture
async def clients(cluster: BareCluster, space: str) -> AsyncIterator[Clients]:
    made = Clients(cluster, space)
    yield made
    await made.close()


async def test_one_leads_and_renews_and_the_other_waits(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    first.guard()
    second = await clients.candidate("b")
    waiting = asyncio.create_task(second.acquire())
    before = (await clients.spec())["renewTime"]
    await asyncio.sleep(TIMES.duration + 1)  # longer than the lease without renewal would hold
    assert not waiting.done() and not holding.done() and first.leading and not second.leading
    with pytest.raises(Fatal, match="b does not hold"):
        second.guard()
    spec = await clients.spec()
    assert spec["renewTime"] > before
    assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("a", 0, 4)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_after_a_crash_the_standby_takes_over_when_the_time_is_up_and_not_before(clients: Clients) -> None:
    _, holding = await clients.leader("a")
    second = await clients.candidate("b")
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(TIMES.retry_period * 3)
    holding.cancel()
    crashed = time.monotonic()
    await asyncio.wait_for(waiting, TIMES.duration + TIMES.retry_period + SLACK)
    took = time.monotonic() - crashed
    assert took > TIMES.duration - TIMES.retry_period - 0.5, "the last renewal was just before the crash"
    spec = await clients.spec()
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)


async def test_expiry_is_judged_by_our_own_clock_and_not_by_the_times_in_the_lease(clients: Clients) -> None:
    """The clock of the other machine is an hour slow: its lease looks expired and is not."""
    await clients.leader("a")
    second = await clients.candidate("b")
    old = '{"spec":{"renewTime":"2001-01-01T00:00:00.000000Z"}}'
    await clients.kubectl("patch", "lease", "lead", "--type=merge", "-p", old)
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(1.0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_graceful_release_is_taken_up_at_once(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    second = await clients.candidate("b", LeaseTimes(600, 400, 300))  # one that polled would come in five minutes
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(1.0)
    holding.cancel()
    await first.release()
    with pytest.raises(Fatal):
        first.guard()
    await asyncio.wait_for(waiting, 60)
    await first.release()  # harmless: it is not ours any more
    assert (await clients.spec())["holderIdentity"] == "b"


async def test_a_release_after_a_renewal_whose_answer_was_lost_gives_the_lease_up_all_the_same(
    clients: Clients,
) -> None:
    """As at a stop in the middle of a renewal: called off here, carried out there."""
    first, holding = await clients.leader("a")
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await clients.kubectl("annotate", "lease", "lead", "changed=meanwhile")
    await first.release()
    assert (await clients.spec())["holderIdentity"] == ""


async def test_a_release_takes_nothing_from_a_successor(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await clients.kubectl("patch", "lease", "lead", "--type=merge", "-p", '{"spec":{"holderIdentity":"b"}}')
    await first.release()
    assert (await clients.spec())["holderIdentity"] == "b"


async def test_who_comes_first_after_a_release_leads_at_once(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    holding.cancel()
    await first.release()
    await clients.leader("c")
    assert (await clients.spec())["leaseTransitions"] == 1


async def test_only_one_of_many_becomes_the_first_leader(clients: Clients) -> None:
    several = [await clients.candidate(f"c{n}") for n in range(5)]
    waiting = [asyncio.create_task(each.acquire()) for each in several]
    await eventually_async(lambda: any(task.done() for task in waiting))
    await asyncio.sleep(1.0)
    assert sum(each.leading for each in several) == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_lease_edited_by_hand_is_kept(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    for number in range(3):
        await clients.kubectl("annotate", "lease", "lead", f"note=n{number}", "--overwrite")
        await asyncio.sleep(TIMES.retry_period)
    await asyncio.sleep(TIMES.renew_deadline)
    assert first.leading and not holding.done()


async def test_a_lease_given_to_another_ends_the_leader_at_its_next_renewal(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    await clients.kubectl("patch", "lease", "lead", "--type=merge", "-p", '{"spec":{"holderIdentity":"z"}}')
    with pytest.raises(Fatal, match="taken by z"):
        await asyncio.wait_for(holding, TIMES.retry_period + SLACK)
    assert (await clients.spec())["holderIdentity"] == "z"
    await first.release()
    assert (await clients.spec())["holderIdentity"] == "z", "it is not ours to release"


async def test_a_deleted_lease_ends_the_leader(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    await clients.kubectl("delete", "lease", "lead")
    with pytest.raises(Fatal, match="deleted"):
        await asyncio.wait_for(holding, TIMES.retry_period + SLACK)
    assert not first.leading, "the guard closes at once, not at the deadline"
    assert await clients.made[0].find(LEASES, clients.space, "lead") is None, "and it made no other"


async def test_a_deleted_lease_is_taken_only_when_its_holder_must_have_stopped(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    second = await clients.candidate("b")
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(1.0)
    holding.cancel()  # it would not even find out
    deleted = time.monotonic()
    await clients.kubectl("delete", "lease", "lead")
    await asyncio.wait_for(waiting, TIMES.duration + 2 * TIMES.retry_period + SLACK)
    assert time.monotonic() - deleted > TIMES.duration - 0.5
    assert second.leading and not first.leading


async def test_a_leader_cut_off_stops_writing_at_its_deadline_and_ends(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    clients.made[0]._base = "https://127.0.0.1:1"
    cut = asked = time.monotonic()
    while first.leading:
        assert asked <= cut + TIMES.renew_deadline, "it says that it leads, asked after its deadline"
        await asyncio.sleep(0.01)
        asked = time.monotonic()
    with pytest.raises(Fatal, match="not renewed"):
        await asyncio.wait_for(holding, TIMES.retry_period + SLACK)


async def test_a_short_outage_is_survived(clients: Clients) -> None:
    first, holding = await clients.leader("a")
    base, clients.made[0]._base = clients.made[0]._base, "https://127.0.0.1:1"
    await asyncio.sleep(TIMES.retry_period * 2)
    clients.made[0]._base = base
    await asyncio.sleep(TIMES.renew_deadline)
    assert first.leading and not holding.done()


def is_stopped(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


async def test_a_frozen_leader_that_wakes_up_writes_nothing(clients: Clients) -> None:
    """It stops with a write about to go, for longer than the lease; SIGCONT, and that write must not go."""
    arguments = [str(clients.cluster.kubeconfig), clients.space, "4", "2.5", "0.5"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(LEADER),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert line.startswith("leading")
        second = await clients.candidate("b")
        await eventually_async(lambda: is_stopped(process.pid), deadline=30)
        await asyncio.wait_for(second.acquire(), TIMES.duration + TIMES.retry_period + SLACK)
        before = await clients.made[0].get(CONFIG_MAPS, clients.space, "written")
        assert before["data"]["count"] == "4"
        process.send_signal(signal.SIGCONT)
        rest = (await asyncio.wait_for(process.stdout.read(), 20)).decode()
        assert "refused" in rest or "lost" in rest
        after = await clients.made[0].get(CONFIG_MAPS, clients.space, "written")
        assert after["data"] == before["data"], "the old leader wrote after the new one had begun"
        assert (await clients.spec())["holderIdentity"] == "b"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
