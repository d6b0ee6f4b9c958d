"""Fixtures and waiters for tests against real control planes; tests/README.md says which to use when.

Every cluster here is a bare control plane (`localkube.bare`), stopped at the end of its scope and gone with this
process however it ends. Nodes and pods are played by KWOK.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import pytest

from localkube import bare, binaries, crds, nodes
from localkube.bare import BareCluster

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[1]
CRD_FOLDER = REPOSITORY / "crds"
DEADLINE_SECONDS = 15.0
INTERVAL_SECONDS = 0.05
KUBECTL_SECONDS = 60.0
KEEP = bool(os.environ.get("ROADSTEAD_KEEP"))
"""Set by `scripts/test --keep`: clusters outlive the tests, to look around in."""


class HasKubeconfig(Protocol):
    """Bare or kind: whatever has an administrator's kubeconfig."""

    @property
    def kubeconfig(self) -> Path: ...


class StartCluster(Protocol):
    """What the fixture `start_cluster` gives."""

    def __call__(self, name: str, *, with_crds: bool = False, **options: Any) -> BareCluster: ...


class RegionCluster(Protocol):
    """What the fixture `region_cluster` gives."""

    def __call__(self, region: str) -> BareCluster: ...


@pytest.fixture(scope="session")
def hub() -> Iterator[BareCluster]:
    """The session's hub: Roadstead's CRDs applied, two fake nodes. Use a namespace of your own in it (`namespace`)."""
    cluster = _start("hub")
    try:
        apply_our_crds(cluster)
        cluster.add_nodes(2, prefix="hub")
        yield cluster
    finally:
        _end(cluster)


@pytest.fixture(scope="session")
def region_cluster() -> Iterator[RegionCluster]:
    """Member clusters by region name, started when first asked for, shared by all; one node in each of two zones."""
    started: dict[str, BareCluster] = {}

    def get(region: str) -> BareCluster:
        if region not in started:
            started[region] = _start(region)
            for zone in ("a", "b"):
                labels = {nodes.REGION_LABEL: region, nodes.ZONE_LABEL: f"{region}-{zone}"}
                started[region].add_nodes(1, labels=labels, prefix=f"{region}-{zone}")
        return started[region]

    try:
        yield get
    finally:
        for cluster in started.values():
            _end(cluster)


@pytest.fixture(scope="module")
def start_cluster() -> Iterator[StartCluster]:
    """Clusters of this module alone: to be stopped, frozen, restarted. Options are those of `localkube.bare.start`."""
    with contextlib.ExitStack() as stack:

        def begin(name: str, *, with_crds: bool = False, **options: Any) -> BareCluster:
            cluster = _start(name, **options)
            stack.callback(_end, cluster)
            if with_crds:
                apply_our_crds(cluster)
            return cluster

        yield begin


@pytest.fixture
def namespace(hub: BareCluster) -> Iterator[str]:
    """A fresh namespace in the hub, with its `default` ServiceAccount; deleted afterwards without waiting."""
    name = fresh_namespace(hub)
    yield name
    with contextlib.suppress(OSError, RuntimeError):
        hub.api.request("DELETE", f"/api/v1/namespaces/{name}")


def fresh_namespace(cluster: BareCluster, prefix: str = "test") -> str:
    """Create a namespace with a random name and wait for its `default` ServiceAccount; return the name."""
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    api = cluster.api
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    path = f"/api/v1/namespaces/{name}/serviceaccounts"
    eventually(lambda: api.request("GET", path)["items"], what=f"the default ServiceAccount of {name}")
    return name


def apply_our_crds(cluster: BareCluster) -> list[str]:
    """Apply the generated CRDs of this repository and wait until they are served; return their names."""
    return crds.apply(cluster.api, sorted(CRD_FOLDER.glob("*.yaml")))


def kubectl(cluster: HasKubeconfig, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kubectl as administrator and return its output (both streams when it may fail: ``check=False``).

    Raises:
        AssertionError: kubectl failed and ``check`` is set; the message holds both streams.
    """
    done = run_kubectl(cluster, *arguments, stdin=stdin)
    if not check:
        return done.stdout + done.stderr
    assert done.returncode == 0, (
        f"kubectl {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


def kubectl_json(cluster: HasKubeconfig, *arguments: str) -> Any:
    """Run ``kubectl ... -o json`` and return the decoded answer."""
    return json.loads(kubectl(cluster, *arguments, "-o", "json"))


def run_kubectl(cluster: HasKubeconfig, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl as administrator, whatever comes of it."""
    return subprocess.run(
        [str(binaries.path("kubectl")), f"--kubeconfig={cluster.kubeconfig}", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=KUBECTL_SECONDS,
        env={"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent"},  # nobody's kuberc, proxies or plugins
    )


def eventually(
    condition: Callable[[], T],
    *,
    deadline: float = DEADLINE_SECONDS,
    interval: float = INTERVAL_SECONDS,
    what: str = "",
) -> T:
    """Return the first truthy value of ``condition()``.

    Args:
        condition: Asked again and again; an `AssertionError` from it counts as "not yet".
        deadline: Seconds.
        interval: Seconds between two askings.
        what: What is waited for, in words; default the condition's own source.

    Raises:
        AssertionError: Not within ``deadline``; the message has the last value or the last assertion.
    """
    end = time.monotonic() + deadline
    while True:
        last: Any
        try:
            last = value = condition()
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
        if time.monotonic() >= end:
            raise AssertionError(_never(what or _words(condition), deadline, last))
        time.sleep(interval)


@overload
async def eventually_async(
    condition: Callable[[], Awaitable[T]], *, deadline: float = ..., interval: float = ..., what: str = ...
) -> T: ...
@overload
async def eventually_async(
    condition: Callable[[], T], *, deadline: float = ..., interval: float = ..., what: str = ...
) -> T: ...
async def eventually_async(
    condition: Callable[[], Any],
    *,
    deadline: float = DEADLINE_SECONDS,
    interval: float = INTERVAL_SECONDS,
    what: str = "",
) -> Any:
    """Like `eventually`, leaving the event loop free; ``condition`` may be a coroutine function."""
    end = time.monotonic() + deadline
    while True:
        last: Any
        try:
            last = condition()
            if inspect.isawaitable(last):
                last = await last
        except AssertionError as error:
            last = error
        else:
            if last:
                return last
        if time.monotonic() >= end:
            raise AssertionError(_never(what or _words(condition), deadline, last))
        await asyncio.sleep(interval)


def _never(what: str, deadline: float, last: Any) -> str:
    return f"not within {deadline:g} s: {what}\nlast value: {last!r}"


def _words(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)


def _start(name: str, **options: Any) -> BareCluster:
    return bare.start(name, **{"live_on": KEEP} | options)


def _end(cluster: BareCluster) -> None:
    if KEEP:
        cluster.release()
        print(f"\nkept {cluster.name}: export KUBECONFIG={cluster.kubeconfig}; stop it with: scripts/clusters down")
    else:
        cluster.stop()
