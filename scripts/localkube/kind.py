"""Clusters with real nodes: stock kind, on a node image from `nodeimage`, on a network that nothing leaves.

Everything that one process starts belongs to its run (runs.py) and ends with it: at `KindCluster.stop`, at `shutdown`,
when the process ends in whatever way (janitor.py), or, kept on purpose, when `sweep` is told to.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localkube import binaries, capabilities, docker, egress, kind_ready, kindnet, nodeimage, progress, runs
from localkube.docker import Docker
from localkube.kind_cluster import KindCluster, KindError

__all__ = ["KindCluster", "KindError", "available", "keep", "session", "shutdown", "start", "sweep"]

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,21}[a-z0-9])?")
CREATE_SECONDS = 600.0


def start(
    name: str,
    *,
    workers: int = 0,
    network: str | None = None,
    worker_labels: Sequence[Mapping[str, str]] = (),
    archives: Sequence[Path] = (),
) -> KindCluster:
    """Start a cluster and return it when pods can be created and Services answer.

    Args:
        name: DNS label of at most 23 characters, unique within this process.
        workers: Nodes beside the control plane; with none, the control plane runs pods itself.
        network: Name of a docker network of this run, made when it is not there; clusters on one reach each other.
            Default: one network for all clusters of this process.
        worker_labels: Labels of the first, second, ... worker.
        archives: Images (docker-archives) to put into every node while the cluster gets ready, which is mostly waiting.

    Raises:
        KindError: kind fails.
        docker.DockerUnavailableError: There is no Docker, and none can be started.
        nodeimage.NodeImageError: There is no node image, and none can be built.
        egress.EgressError: The network cannot be closed, so no node is started.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"cluster name {name!r} is no DNS label of at most 23 characters; use for example 'hkg'")
    if len(worker_labels) > workers:
        raise ValueError(f"worker_labels has {len(worker_labels)} entries for {workers} workers; give at most one each")
    return session().start(
        name, workers=workers, network=network or "net", worker_labels=worker_labels, archives=archives
    )


def available() -> bool:
    """Return whether `start` has a fair chance here, without starting or installing anything."""
    return docker.available()


def shutdown() -> None:
    """Stop all clusters of this process, its networks, and our dockerd when nobody else uses it."""
    global _session
    with _guard:
        current, _session = _session, None
    if current is not None:
        current.close()


def keep() -> str:
    """Let everything of this process outlive it, and return the run's id for `sweep`."""
    global _session
    with _guard:
        current, _session = _session, None
    if current is None:
        raise KindError("nothing was started, so there is nothing to keep")
    return current.hand_over()


_guard = threading.Lock()
_session: Session | None = None


def session() -> Session:
    """Return this process' session, opened on first use."""
    global _session  # noqa: PLW0603 - one per process by design
    with _guard:
        if _session is None:
            _session = Session()
            atexit.register(shutdown)
        return _session


class Session:
    """What one process has: its run, a Docker, its networks and clusters. Use the functions of this module instead."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self._lock = threading.RLock()
        self._clusters: dict[str, KindCluster] = {}
        self._bridges: dict[str, str] = {}
        self._image: str | None = None
        self._stack = contextlib.ExitStack()
        self.run = runs.create()
        self._janitor = _start_janitor(self.run.id)  # before anything that it would have to remove
        try:
            self.docker = self._stack.enter_context(docker.attached())
            self.run.note(host=self.docker.host, ours=self.docker.ours)
        except BaseException:
            self._stack.close()
            self.run.release(remove=True)
            self._janitor.communicate(b"done\n")
            raise

    def start(
        self,
        name: str,
        *,
        workers: int,
        network: str,
        worker_labels: Sequence[Mapping[str, str]],
        archives: Sequence[Path],
    ) -> KindCluster:
        """See `start`."""
        with self._lock:
            if name in self._clusters:
                raise KindError(f"this process has a cluster {name!r} already; stop it or take another name")
            kind_name = f"{self.run.prefix}{name}"
            kubeconfig = self.run.directory / f"{name}.kubeconfig"
            image, closed = self.image(), self._network(network)
            cluster = KindCluster(name, kubeconfig, self.docker, kind_name, closed, image, self)
            self._clusters[name] = cluster
        config = cluster_config(workers, worker_labels, capabilities.lacking())
        arguments = ["create", "cluster", "--name", kind_name, "--image", image, "--kubeconfig", str(kubeconfig)]
        try:
            with progress.step(f"kind cluster with {workers} workers: {name}"):
                self.kind([*arguments, "--config", "-", "--retain"], stdin=json.dumps(config), network=closed)
                kubeconfig.chmod(0o600)
                for node in cluster.node_names():
                    self.addresses[node] = cluster.node_address(node)
                self.connect_pods(cluster)
                for archive in archives:
                    cluster.load_image(archive)
                kind_ready.wait(cluster)
        except BaseException as error:
            if isinstance(error, Exception):
                progress.say(f"{name}: {kind_ready.diagnosis(cluster)}")
            self.remove(cluster)
            raise
        return cluster

    def image(self) -> str:
        """Return the node image, made on first use."""
        with self._lock:
            if self._image is None:
                self._image = nodeimage.ensure(self.docker)
            return self._image

    def kind(self, arguments: Sequence[str], *, stdin: str = "", network: str | None = None) -> None:
        """Run ``kind arguments``.

        Raises:
            KindError: It fails or takes too long.
        """
        environment = self.docker.environment() | {"KIND_EXPERIMENTAL_PROVIDER": "docker"}
        if network:
            environment["KIND_EXPERIMENTAL_DOCKER_NETWORK"] = network
        command = [str(binaries.path("kind")), *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                env=environment,
                capture_output=True,
                text=True,
                timeout=CREATE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KindError(f"kind {' '.join(arguments)} took longer than {CREATE_SECONDS:.0f} s") from None
        if done.returncode != 0:
            raise KindError(f"kind {' '.join(arguments)} failed: {done.stderr.strip()[-3000:]}")

    def connect_pods(self, cluster: KindCluster) -> None:
        """Route each node's pod range through its address on all other nodes, which is kindnet's work elsewhere."""
        nodes = cluster.node_names()
        if not nodeimage.is_own(cluster.image) or len(nodes) < 2:
            return
        kind_ready.api(cluster)
        ranges = kind_ready.pod_ranges(cluster, len(nodes))
        for node in nodes:
            routes = [
                f"ip route replace {ranges[other]} via {self.addresses[other]}" for other in nodes if other != node
            ]
            if self.docker.run("inspect", "-f", "{{.State.Running}}", node) == "true":
                self.docker.run("exec", node, "sh", "-ec", "\n".join(routes))

    def remove(self, cluster: KindCluster) -> None:
        """See `KindCluster.stop`."""
        nodes = cluster.node_names()
        if nodes:
            self.docker.run("rm", "--force", "--volumes", *nodes)
        with self._lock:
            if self._clusters.get(cluster.name) is cluster:
                del self._clusters[cluster.name]

    def close(self) -> None:
        """Remove all of this run; what is left when that fails, the janitor tries again."""
        atexit.unregister(shutdown)
        try:
            remove_run(self.docker, self.run, self._image)
        except BaseException:
            self.run.release(remove=False)
            self._stack.close()
            self._janitor.communicate(b"")  # the end of its input is its sign
            raise
        self._stack.close()
        self._janitor.communicate(b"done\n")

    def hand_over(self) -> str:
        """Leave all of this run as it is."""
        atexit.unregister(shutdown)
        self.run.keep()
        self._janitor.communicate(b"kept\n")
        self.run.release(remove=False)
        self._stack.close()
        return self.run.id

    def _network(self, name: str) -> str:
        """Return the docker network for ``name``, closed before anything can be in it."""
        full = f"{self.run.prefix}{name}"
        if full not in self._bridges:
            bridge = f"{self.run.prefix}{len(self._bridges)}"
            bridges = [*self._bridges.values(), bridge]
            egress.refuse(self.docker, self.run.id, bridges, image=self.image)
            labels = [f"--label=dev.roadstead.run={self.run.id}", f"--label=dev.roadstead.state={runs.state_root()}"]
            option = f"--opt=com.docker.network.bridge.name={bridge}"
            # a subnet named by us: only then docker gives a node the address again that it had
            for subnet in kindnet.candidates(kindnet.routed()):
                try:
                    self.docker.run("network", "create", "--driver=bridge", f"--subnet={subnet}", option, *labels, full)
                    break
                except docker.DockerError as error:
                    if "overlaps" not in str(error):
                        raise
            else:
                raise KindError("no subnet of 172.16.0.0/12 is free for a docker network; remove unused networks")
            self._bridges[full] = bridge
        return full


def remove_run(on: Docker, run: runs.Run, image: str | None) -> None:
    """Remove every container, network and rule of a run, then its record. The caller holds the run."""
    names = on.lines("ps", "-a", "--format", "{{.Names}}", "--filter", f"name=^{run.prefix}")
    if names:
        on.run("rm", "--force", "--volumes", *names)
    for network in on.lines("network", "ls", "--format", "{{.Name}}", "--filter", f"label=dev.roadstead.run={run.id}"):
        on.run("network", "rm", network)
    # last: as long as there is a bridge, it is closed
    egress.allow(on, run.id, image=lambda: image or nodeimage.ensure(on))
    run.release(remove=True)


def sweep(*, kept: bool = False, run_id: str | None = None) -> list[str]:
    """Remove what dead runs left behind and return their ids. Runs whose process lives are never touched.

    Args:
        kept: Also those that were kept on purpose.
        run_id: Only this run, kept or not.

    Raises:
        runs.NotOurRunError: ``run_id`` is in use, or there is no such run.
    """
    removed = []
    for candidate in [run_id] if run_id else runs.every():
        if not run_id and runs.is_kept(candidate) and not kept:
            continue
        try:
            held = runs.adopt(candidate)
        except runs.NotOurRunError:
            if run_id:
                raise
            continue
        facts = runs.facts_of(candidate)
        (held.directory / "keep").unlink(missing_ok=True)  # else our dockerd would count it as a user for ever
        with _docker_of(facts) as on:
            remove_run(on, held, None)
        removed.append(candidate)
    return removed


def _docker_of(facts: Mapping[str, Any]) -> contextlib.AbstractContextManager[Docker]:
    if facts.get("ours", True):
        return docker.attached()
    return contextlib.nullcontext(Docker(host=facts.get("host"), ours=False))


def cluster_config(workers: int, worker_labels: Sequence[Mapping[str, str]], lacking: set[str]) -> dict[str, Any]:
    """Return kind's configuration of a cluster.

    Args:
        workers: How many.
        worker_labels: Labels of the first, second, ... of them.
        lacking: Capabilities that this machine does not have.
    """
    labels: list[Mapping[str, str]] = [*worker_labels, *({} for _ in range(workers - len(worker_labels)))]
    config: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"apiServerAddress": "127.0.0.1"},
        "kubeadmConfigPatches": [
            # kubelet refuses cgroup v1 since 1.35 unless told; no effect on v2
            # A pod sees a Secret that was changed when its kubelet looks again: each minute, if it is not told.
            "kind: KubeletConfiguration\nfailCgroupV1: false\nsyncFrequency: 10s\n",
            # These clusters need not survive a power cut of the machine, and three of them share one disk.
            "kind: ClusterConfiguration\netcd: {local: {extraArgs: [{name: unsafe-no-fsync, value: 'true'}]}}\n",
        ],
        "nodes": [
            {"role": "control-plane"},
            *({"role": "worker", **({"labels": dict(given)} if given else {})} for given in labels),
        ],
    }
    if "CAP_SYS_RESOURCE" in lacking:  # without it nobody may lower an OOM score
        config["containerdConfigPatches"] = ['[plugins."io.containerd.grpc.v1.cri"]\n  restrict_oom_score_adj = true\n']
    return config


def _start_janitor(run_id: str) -> subprocess.Popen[bytes]:
    scripts = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, [str(scripts), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "localkube.janitor", run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for us; it must survive to clean up after us
    )
