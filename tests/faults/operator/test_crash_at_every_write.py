"""kill -9 at every write: the end is the same as without, and nothing is made or deleted twice.

A reference run takes a service through its life (made, upgraded, deleted) and counts the writes. Then, for each of
them, the operator is killed once before the write reaches the API server and once after it was made but before the
answer; another is started, and the life goes on. By default a part of the writes, spread over all; all of them with
``ROADSTEAD_FULL=1``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import worlds
from clusters import StartCluster, eventually
from faults.background import proxied
from faults.proxy import Moment, Proxy
from faults.wire import Request, counted, lint
from localkube import nodes, rbac
from localoperator import NAMESPACE, SERVICE_ACCOUNT, Operator, grant
from specs import edited
from worlds import Body, World, chat, condition_of, pool

REGIONS = ("one", "two")
NAME = "life"
PART = 12
"""Writes, of all, at which a run that is not full crashes."""
SECONDS = 60.0
BODY = chat(NAME, REGIONS, spec__config={"CHAT_X": "1"}, spec__autoscaling={"maxReplicas": 3})
NEWER = edited(BODY, {"spec.image": worlds.IMAGE.format("2.0"), "spec.config": {"CHAT_X": "2"}})

State = dict[str, Any]
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def of_the_service(request: Request) -> bool:
    """The writes that are counted: to the service and what belongs to it, but for what is deleted by others as well."""
    collected = request.resource == "controllerrevisions" and request.verb == "delete"
    return counted(request) and request.namespace == worlds.NAMESPACE and not collected


class Life:
    """The world behind a proxy, and an operator that is started again whenever it has been killed."""

    def __init__(self, world: World, proxy: Proxy, kubeconfig: Path) -> None:
        self.world = world
        self.proxy = proxy
        self._kubeconfig = kubeconfig
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start an operator; under the same name, so that it need not wait for the lease of a dead one."""
        self.starts += 1
        flags = ("--identity=phoenix", f"--kubeconfig={self._kubeconfig}")
        self.world.operator = Operator(self.world.hub, *flags)

    def kill(self) -> None:
        """As kill -9 does."""
        self.world.running.kill()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait, with an operator that runs."""

        def holds() -> bool:
            if self.world.running._process.poll() is not None:
                self.world.stop()
                self.start()
            return bool(condition())

        eventually(holds, deadline=SECONDS, what=what)

    def run(self, expected: list[State] | None = None) -> list[State]:
        """One life; returns the state after each of its steps, which come to be the expected ones."""
        self.until(lambda: self.world.running.metric("leader_election_master_status") == 1.0, "somebody leads")
        states = []
        for step, body in enumerate((BODY, NEWER)):
            self.world.apply(body)
            self.until(self._is_ready, f"{body['spec']['image']} is ready")
            if expected is None:
                self.world.look_again(NAME)
            else:
                self.until(partial(self._has_become, expected[step]), f"step {step + 1} ends as without a crash")
            states.append(self._state())
        self.world.at_hub.delete("chatservices", NAME)
        self.until(self._is_gone, "nothing is left")
        return states

    def _is_ready(self) -> bool:
        body = self.world.service(NAME)
        ready = condition_of(body, "Ready")
        current = ready.get("observedGeneration") == body["metadata"]["generation"]
        return current and ready["status"] == "True" and len(self.world.at_hub.children(NAME)) > 0

    def _has_become(self, expected: State) -> bool:
        differing = differences(self._state(), expected)
        assert not differing, "\n".join(differing)
        return True

    def _is_gone(self) -> bool:
        if self.world.at_hub.find("chatservices", NAME) is not None:
            return False
        return not self.world.at_hub.children(NAME) and not self.world.at_hub.revisions(NAME)

    def _state(self) -> State:
        return {key: essence(key, body) for key, body in self.world.state(NAME).items()}


def essence(key: str, body: Body) -> Any:
    """What is the same in every life: all but identities, times, and digests of them."""
    metadata = body["metadata"]
    ours = sorted(
        (entry["manager"], entry.get("subresource", ""), UID.sub("uid", str(entry["fieldsV1"])))
        for entry in metadata["managedFields"]
        if entry["manager"].startswith("roadstead")
    )
    said = (body.get("status") or {}) if key == "hub/chatservice" else {}
    return {
        "metadata": {key: metadata.get(key) for key in ("labels", "finalizers", "generation")},
        "fields": ours,
        "content": {part: body.get(part) for part in ("spec", "data", "revision")} | clusterless(key, body),
        "status": timeless(said),
    }


def clusterless(key: str, body: Body) -> Body:
    """A Service's addresses are given out by the cluster."""
    if not key.startswith("hub/services/"):
        return {}
    given = ("clusterIP", "clusterIPs")
    return {"spec": {part: value for part, value in body["spec"].items() if part not in given}}


def timeless(value: Any) -> Any:
    """A status without times, and without digests that have a uid in them."""
    if isinstance(value, dict):
        varying = ("lastTransitionTime", "since", "startedAt", "applied", "input")
        return {key: timeless(inner) for key, inner in value.items() if key not in varying}
    if isinstance(value, list):
        return [timeless(inner) for inner in value]
    return value


def differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where two states differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted({*found, *expected})
        return [each for key in keys for each in differences(found.get(key), expected.get(key), f"{path}.{key}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [each for place, (one, two) in pairs for each in differences(one, two, f"{path}[{place}]")]
    return [] if found == expected else [f"{path}: {found!r} and not {expected!r}"]


def made(log: list[Request]) -> Counter[str]:
    """How often each object was made by us."""
    return Counter(f"{r.resource}/{r.name}" for r in log if r.applies and r.decided == 201)


def deleted(log: list[Request]) -> Counter[str]:
    """How often each object was deleted by us; revisions are deleted by the garbage collector as well."""
    gone = [r for r in log if r.verb == "delete" and r.committed and r.resource != "controllerrevisions"]
    return Counter(f"{r.resource}/{r.name}" for r in gone)


@pytest.fixture(scope="module")
def life(start_cluster: StartCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One hub with two node pools, each a region, behind one proxy: every write passes one place, in one order."""
    hub = start_cluster("hub", with_crds=True)
    world = World(hub, {})
    grant(hub)
    world.at_hub.namespace(worlds.NAMESPACE)
    worlds.make_certificate(world.at_hub, worlds.SECRET)
    for region in REGIONS:
        hub.add_nodes(1, labels={nodes.REGION_LABEL: region}, prefix=region)
        world.at_hub.apply("regions", pool(region, {nodes.REGION_LABEL: region}), "")
    token = rbac.service_account_token(hub.api, NAMESPACE, SERVICE_ACCOUNT)
    with proxied(hub) as proxy:
        path = proxy.kubeconfig(tmp_path_factory.mktemp("crash") / "kubeconfig", token)
        lived = Life(world, proxy, path)
        try:
            world.running.wait_leading()
            for region in REGIONS:
                world.wait(region, "Ready", "True", resource="regions", namespace="")
            yield lived
        finally:
            world.stop()


def chosen(writes: int) -> list[int]:
    """Which writes to crash at, counted from 1: all, or a part that is spread over all of them."""
    if os.environ.get("ROADSTEAD_FULL") or writes <= PART:
        return list(range(1, writes + 1))
    return sorted({1 + round(step * (writes - 1) / (PART - 1)) for step in range(PART)})


def test_a_crash_at_any_write_changes_nothing_in_the_end(life: Life) -> None:
    reference = life.run()
    log = list(life.proxy.log)
    writes = life.proxy.writes(of_the_service)
    certain = len([write for write in writes if write.subresource != "status" and write.committed])
    assert len(made(log)) >= 20
    assert set(made(log).values()) == set(deleted(log).values()) == {1}
    assert lint(log) == []

    for write in chosen(len(writes)):
        for moment in Moment:
            where = f"killed {moment.value} write {write} of {len(writes)}"
            before, starts = len(life.proxy.log), life.starts
            crash = life.proxy.crash(write, moment, life.kill, counts=of_the_service)
            try:
                life.run(reference)
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from error
            life.proxy.clear_faults()
            run = life.proxy.log[before:]
            assert differences(made(run), made(log)) == [], where
            assert differences(deleted(run), deleted(log)) == [], where
            assert lint(run) == [], where
            # how many statuses are written on the way depends on what is seen when
            assert crash.done.is_set() or write > certain, f"{where}: there were only {crash.seen} writes"
            assert life.starts <= starts + 1, where
