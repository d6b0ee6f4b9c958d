"""When a kind cluster is worth handing out: nodes, DNS, the default ServiceAccount, and a Service that answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localkube.kind_cluster import KindCluster

READY_SECONDS = 300.0
"""Generous: it is the limit of a machine that has other work to do. An idle one needs 20 s."""
DNS_SERVICE = "10.96.0.10"
API_SERVICE = "10.96.0.1"


class NotReadyError(RuntimeError):
    """The cluster did not come to work in time; the message says what is missing."""


def wait(cluster: KindCluster) -> None:
    """Return when the cluster works.

    Raises:
        NotReadyError: It does not in time.
    """
    api(cluster)
    limit = f"--timeout={READY_SECONDS:.0f}s"
    longer = READY_SECONDS + 10
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", limit, seconds=longer)
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", "default", limit, seconds=longer)
    cluster.kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", limit, seconds=longer)
    # kube-proxy without some library of iptables fails silently: ask through it, on every node, before trusting it.
    # The second address also needs the pod network, from this node to wherever CoreDNS runs.
    for node in cluster.node_names():
        for what, address, port in (("the API's Service", API_SERVICE, 443), ("the DNS Service", DNS_SERVICE, 53)):
            until(f"{what} to answer on {node}", lambda n=node, a=address, p=port: _connects(cluster, n, a, p))  # type: ignore[misc]


def api(cluster: KindCluster) -> None:
    """Return when the API server says that it is ready.

    Raises:
        NotReadyError: It does not in time.
    """

    def ready() -> bool:
        with contextlib.suppress(RuntimeError):
            return cluster.kubectl("get", "--raw=/readyz", "--request-timeout=5s", seconds=10) == "ok"
        return False

    until("the API server to be ready", ready)


def pod_ranges(cluster: KindCluster, nodes: int) -> dict[str, str]:
    """Return node -> its pod range, when all ``nodes`` have one.

    Raises:
        NotReadyError: They do not in time.
    """
    found: dict[str, str] = {}

    def complete() -> bool:
        template = "jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR}{'\\n'}{end}"
        lines = [line.split() for line in cluster.kubectl("get", "nodes", "-o", template).splitlines()]
        found.update({words[0]: words[1] for words in lines if len(words) == 2})
        return len(found) == nodes

    until("every node to have a pod range", complete)
    return found


def until(what: str, holds: Callable[[], bool], *, seconds: float = READY_SECONDS, every: float = 0.3) -> None:
    """Return when ``holds``; it is asked every ``every`` seconds.

    Raises:
        NotReadyError: After ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise NotReadyError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def diagnosis(cluster: KindCluster) -> str:
    """Return what is known of a cluster that does not start: nodes, pods, the end of kubelet's journal."""
    parts = []
    for arguments in (("get", "nodes", "-o", "wide"), ("get", "pods", "-A", "-o", "wide")):
        with contextlib.suppress(RuntimeError, OSError):
            parts.append(cluster.kubectl(*arguments, "--request-timeout=5s", seconds=10))
    with contextlib.suppress(RuntimeError, OSError):
        journal = ("journalctl", "-u", "kubelet", "-u", "containerd", "--no-pager", "-n", "25", "-o", "cat")
        parts.append(cluster.docker.run("exec", cluster.control_plane, *journal, seconds=20))
    with contextlib.suppress(RuntimeError, OSError):
        parts.append(cluster.docker.run("logs", "--tail", "15", cluster.control_plane, seconds=20))
    return "\n".join(parts) or "nothing of it answers"


def _connects(cluster: KindCluster, node: str, address: str, port: int) -> bool:
    script = f"exec 3<>/dev/tcp/{address}/{port}"
    return cluster.docker.succeeds("exec", node, "timeout", "2", "bash", "-c", script, seconds=20)
