"""Two operators, one works: crash, freeze, release, restart. One hub whose only region is a node pool of it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import worlds
from clusters import StartCluster, eventually
from faults.background import proxied
from faults.proxy import Proxy, Slow
from localkube import rbac
from localkube.rest import ApiError
from localoperator import NAMESPACE, SERVICE_ACCOUNT, Operator, grant
from worlds import SETTLE_SECONDS, Objects, World, chat, pool, versions

LEASE = "roadstead-operator"
SHORT = ("--lease-duration=4s", "--renew-deadline=3s", "--retry-period=500ms")
"""Times with which a takeover takes seconds; the proportions are those of the defaults."""
SERVICES = 12

Start = Callable[..., Operator]


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> World:
    """The hub alone; every test starts its own operators."""
    hub = start_cluster("hub", with_crds=True)
    made = World(hub, {})
    grant(hub)
    hub.add_nodes(2)
    made.at_hub.namespace(worlds.NAMESPACE)
    worlds.make_certificate(made.at_hub, worlds.SECRET)
    made.at_hub.apply("regions", pool("here", {}), "")
    return made


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Start an operator under a name; all of them are ended afterwards, and the lease is free for the next test."""
    started: list[Operator] = []

    def begin(identity: str, *flags: str, leading: bool = True) -> Operator:
        operator = Operator(world.hub, f"--identity={identity}", *SHORT, *flags)
        started.append(operator)
        world.operator = operator
        if leading:
            operator.wait_leading()
        else:
            operator.wait_ready()
        return operator

    yield begin
    for operator in started:
        operator.kill()
        operator.stop()
    world.at_hub.delete("leases", LEASE, NAMESPACE)


@pytest.fixture
def names(world: World, start: Start) -> list[str]:
    """Services that are Ready, made by an operator that has left again."""
    first = start("maker")
    made = [world.fresh_name() for _ in range(2)]
    for name in made:
        world.apply(chat(name, ["here"]))
    for name in made:
        world.wait_ready(name)
    assert first.stop() == 0
    return made


def holder(objects: Objects) -> str:
    lease = objects.find("leases", LEASE, NAMESPACE)
    return str(lease["spec"].get("holderIdentity") or "") if lease else ""


def repaired(world: World, name: str) -> None:
    """Somebody works: drift is repaired."""
    world.at_hub.delete("networkpolicies", f"{name}-here-allow")
    eventually(lambda: world.at_hub.find("networkpolicies", f"{name}-here-allow"), deadline=SETTLE_SECONDS)


def test_one_of_two_works_and_the_other_is_ready_to(world: World, start: Start, names: list[str]) -> None:
    one = start("one")
    two = start("two", leading=False)
    assert holder(world.at_hub) == "one"
    repaired(world, names[0])
    assert one.metric("roadstead_child_writes_total") == 1
    assert two.metric("roadstead_child_writes_total") == 0
    assert two.metric("leader_election_master_status") == 0
    assert worlds.metric(two, "rest_client_requests_total", method="PATCH") == 0, "a standby writes nothing"
    assert two.fetch("/readyz")[0] == two.fetch("/healthz")[0] == 200


def test_a_type_that_is_not_served_for_a_while_costs_nobody_a_service(
    world: World, start: Start, names: list[str]
) -> None:
    """CRDs of another version, or a gateway: a 404 for the path is no proof that a service was deleted."""
    one = start("one")
    before = {name: world.state(name) for name in names}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/chatservices.roadstead.dev"
    stored = world.at_hub.request("GET", path)["spec"]["versions"]
    world.at_hub.request("PATCH", path, {"spec": {"versions": [{**version, "served": False} for version in stored]}})
    try:
        eventually(lambda: not is_served(world), deadline=SETTLE_SECONDS)
        for name in names:  # its repair has to be told in the status, which is not served either
            world.at_hub.delete("deployments", f"{name}-here")
        eventually(lambda: has_failed(one), deadline=SETTLE_SECONDS)
        for name in names:
            for key, body in before[name].items():
                resource = key.split("/")[1]
                if resource not in ("chatservice", "revision", "deployments"):
                    found = world.at_hub.find(resource, body["metadata"]["name"])
                    assert found is not None and found["metadata"]["uid"] == body["metadata"]["uid"], key
    finally:
        world.at_hub.request("PATCH", path, {"spec": {"versions": stored}})
    eventually(lambda: is_served(world), deadline=SETTLE_SECONDS)
    one.kill()
    start("two")
    for name in names:
        eventually(lambda name=name: world.at_hub.find("deployments", f"{name}-here"), deadline=SETTLE_SECONDS)  # type: ignore[misc]
        world.wait_ready(name)


def is_served(world: World) -> bool:
    try:
        world.at_hub.cluster.api.request("GET", "/apis/roadstead.dev/v1alpha1/chatservices")
    except ApiError:
        return False
    return True


def has_failed(operator: Operator) -> bool:
    """It has met an error, or has ended because of one."""
    return operator.fetch("/healthz")[0] == 0 or operator.metric("controller_runtime_reconcile_errors_total") > 0


def test_a_killed_leader_is_followed_when_its_lease_has_run_out(world: World, start: Start, names: list[str]) -> None:
    one = start("one")
    two = start("two", leading=False)
    before = {name: versions(world.state(name)) for name in names}
    one.kill()
    world.at_hub.delete("networkpolicies", f"{names[0]}-here-allow")  # while nobody looks
    two.wait_leading()
    assert holder(world.at_hub) == "two"
    eventually(lambda: world.at_hub.find("networkpolicies", f"{names[0]}-here-allow"), deadline=SETTLE_SECONDS)
    assert versions(world.state(names[1])) == before[names[1]], "what was as it should be is not touched"
    assert two.metric("roadstead_child_writes_total") == 1


def test_a_leader_that_leaves_gives_the_lease_up_at_once(world: World, start: Start, names: list[str]) -> None:
    one = start("one")
    two = start("two", leading=False)
    assert one.stop() == 0
    assert holder(world.at_hub) != "one", "it is given up when the process has ended, not when it runs out"
    two.wait_leading()
    repaired(world, names[0])


def test_a_frozen_leader_writes_nothing_when_it_wakes(
    world: World, start: Start, names: list[str], tmp_path: Path
) -> None:
    """It is stopped with a write on its way to the wire, for longer than its lease."""
    token = rbac.service_account_token(world.hub.api, NAMESPACE, SERVICE_ACCOUNT)
    with proxied(world.hub) as proxy:
        path = proxy.kubeconfig(tmp_path / "kubeconfig", token)
        one = start("one", f"--kubeconfig={path}")
        two = start("two", leading=False)
        # Work that keeps it busy: the answers to its reads come late, so that it is stopped in the middle of something.
        proxy.fault(Slow(1.0), when=lambda r: not r.writes and r.verb == "get", times=None)
        world.apply(chat("frozen", ["here"]))
        eventually(lambda: reached(proxy), deadline=SETTLE_SECONDS, interval=0.005)
        one.signal(signal.SIGSTOP)
        two.wait_leading()
        world.wait_ready("frozen")
        state = versions(world.state("frozen"))
        sent = len(proxy.log)
        one.signal(signal.SIGCONT)
        code = one.wait(timeout=30)
        assert code == 1
        late = [request for request in proxy.log[sent:] if request.writes]
        assert [request for request in late if request.resource != "leases"] == []
        assert not [request for request in late if request.committed], "nor did it take the lease back"
    assert versions(world.state("frozen")) == state
    assert holder(world.at_hub) == "two"
    repaired(world, "frozen")
    world.delete("frozen")


def reached(proxy: Proxy) -> bool:
    """Whether the operator has begun with the service: it asks for the certificate."""
    return any(r.resource == "secrets" and r.name == worlds.SECRET for r in proxy.log)


def test_a_leader_that_cannot_renew_ends_itself(world: World, start: Start, tmp_path: Path) -> None:
    token = rbac.service_account_token(world.hub.api, NAMESPACE, SERVICE_ACCOUNT)
    with proxied(world.hub) as proxy:
        one = start("one", f"--kubeconfig={proxy.kubeconfig(tmp_path / 'kubeconfig', token)}")
        proxy.fault(Slow(60.0), when=lambda r: r.resource == "leases", times=None)
        assert one.wait(timeout=30) == 1
        assert "the lease was not renewed" in one.log_path.read_text()
    two = start("two")
    assert two.metric("leader_election_master_status") == 1


def test_a_lease_that_somebody_takes_ends_the_leader(world: World, start: Start) -> None:
    one = start("one")
    world.at_hub.patch("leases", LEASE, {"spec": {"holderIdentity": "a person"}}, NAMESPACE)
    assert one.wait(timeout=30) == 1
    assert "the lease was taken by a person" in one.log_path.read_text()


def test_a_port_that_cannot_be_had_is_named(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        operator = Operator(world.hub, f"--metrics-port={port}", "--metrics-address=127.0.0.1")
        assert operator.wait(timeout=60) == 1
    (said,) = [line["message"] for line in operator.log() if line["level"] == "critical"]
    assert said.startswith(f"the process ends: --metrics-address=127.0.0.1 --metrics-port={port}: ")
    assert said.endswith("name an address of this machine and a port that nobody else has")
    operator.stop()


def test_a_restart_writes_nothing(world: World, start: Start) -> None:
    """Also with what was read late: revisions, statuses and children are left as they are."""
    first = start("first")
    made = [world.fresh_name("many") for _ in range(SERVICES)]
    for name in made:
        world.apply(chat(name, ["here"], spec__config={"CHAT_X": name}))
    for name in made:
        world.wait_ready(name)
    assert first.stop() == 0
    before = {name: versions(world.state(name)) for name in made}
    second = start("second")
    eventually(lambda: world.reconciles() >= SERVICES, deadline=SETTLE_SECONDS)
    for name in made[:2]:
        world.look_again(name)
        del before[name]
    assert world.writes() == {"children": 0, "statuses": 0}
    assert {name: versions(world.state(name)) for name in before} == before
    second.kill()
    third = start("second")  # the same identity: it need not wait for its own lease
    eventually(lambda: world.reconciles() >= SERVICES, deadline=SETTLE_SECONDS)
    assert third.metric("roadstead_child_writes_total") == 0
    assert {name: versions(world.state(name)) for name in before} == before
