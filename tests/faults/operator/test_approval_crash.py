"""kill -9 at every write that comes of an Approval: what was asked for is done, once, whatever was lost.

A reference run asks, approves, and counts the operator's writes: each status, and the one of the act. Then, for each of
them, another Approval goes the same way, and the operator is killed once before the write reaches the API server, and
once after it was made but before the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from approvals import Office
from clusters import StartCluster, eventually
from faults.background import proxied
from faults.proxy import Moment, Proxy
from faults.wire import Request, counted
from localkube import rbac
from localoperator import NAMESPACE, SERVICE_ACCOUNT

PHASES = ("Pending", "Approved", "Executing", "Done")


def of(name: str, request: Request) -> bool:
    """The writes that come of an Approval."""
    if not counted(request) or request.resource not in ("approvals", "configmaps"):
        return False
    return name in (request.name, request.body["metadata"]["name"].removesuffix("-done"))


def described(request: Request) -> str:
    """A write in a word."""
    if request.resource == "configmaps":
        return "act"
    return str(request.body["status"]["phase"])


@pytest.fixture(scope="module")
def crashing(start_cluster: StartCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, Proxy]]:
    """An office whose operator passes a proxy."""
    hub = start_cluster("crash", with_crds=True, scheduler=False, kwok=False)
    with proxied(hub) as proxy:
        token = rbac.service_account_token(hub.api, NAMESPACE, SERVICE_ACCOUNT)
        office = Office(hub, proxy.kubeconfig(tmp_path_factory.mktemp("crash") / "hub", token))
        try:
            office.start().wait_leading()
            yield office, proxy
        finally:
            office.stop()


def live(office: Office, name: str) -> dict[str, Any]:
    """Ask, approve, and wait until it is done, with an operator that is started again when it was killed."""
    body = office.ask(name)
    approved = False

    def done() -> dict[str, Any]:
        nonlocal approved
        assert office.operator is not None
        if office.operator._process.poll() is not None:
            office.start()
        status = office.status(body)
        if status.get("phase") == "Pending" and not approved:
            office.bob.approve(body)
            approved = True
        assert status.get("phase") == "Done", status
        return status

    status = eventually(done, deadline=60)
    assert office.left(body) is not None
    return status


def test_a_crash_at_any_write_leaves_it_done_once(crashing: tuple[Office, Proxy]) -> None:
    office, proxy = crashing
    live(office, "reference")
    reference = proxy.writes(partial(of, "reference"))
    assert [described(request) for request in reference] == ["Pending", "Approved", "Executing", "act", "Done"]

    def kill() -> None:
        assert office.operator is not None
        office.operator.kill()

    for write, request in enumerate(reference, start=1):
        for moment in Moment:
            name, what = f"life-{write}-{moment.value}", f"killed {moment.value} write {write} ({described(request)})"
            crash = proxy.crash(write, moment, kill, counts=partial(of, name))
            status = live(office, name)
            eventually(crash.done.is_set, what=what)
            proxy.clear_faults()
            committed = [r for r in proxy.log if of(name, r) and r.committed]
            counts = Counter(map(described, committed))
            assert counts == dict.fromkeys((*PHASES, "act"), 1), f"{what}: {counts}"
            order = [described(r) for r in committed]
            assert order.index("Executing") < order.index("act") < order.index("Done"), f"{what}: {order}"
            assert status["approved"] == "1/1"
            log = office.operator.log() if office.operator else []
            assert not [line for line in log if "unexpected error" in line["message"]], what
