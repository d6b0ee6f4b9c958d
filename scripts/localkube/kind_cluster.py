"""One running kind cluster: its kubeconfigs, its nodes, its images, and taking parts of it away and back."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from localkube import binaries, kind_ready
from localkube.docker import Docker

if TYPE_CHECKING:
    from localkube.kind import Session

STATIC_MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
PARKED_MANIFEST = "/etc/kubernetes/kube-apiserver.yaml"


class KindError(RuntimeError):
    """A cluster could not be started or changed; the message holds kind's own words."""


@dataclasses.dataclass(slots=True)
class KindCluster:
    """A running cluster.

    Attributes:
        name: As given to `start`.
        kubeconfig: Cluster admin's, for this machine (127.0.0.1, the CA verified).
        docker: Where its nodes are.
        kind_name: Its name for kind: the run's prefix and ``name``.
        network: Docker network of its nodes.
        image: Node image.
    """

    name: str
    kubeconfig: Path
    docker: Docker
    kind_name: str
    network: str
    image: str
    _session: Session

    @property
    def control_plane(self) -> str:
        """Return the container (and node) that runs the API server."""
        return f"{self.kind_name}-control-plane"

    def stop(self) -> None:
        """Remove the cluster; nothing happens when it is gone already."""
        self._session.remove(self)

    def node_names(self) -> list[str]:
        """Return the names of the nodes, which are the names of their containers, the control plane first."""
        found = self.docker.lines(
            "ps", "-a", "--filter", f"label=io.x-k8s.kind.cluster={self.kind_name}", "--format", "{{.Names}}"
        )
        return sorted(found, key=lambda node: (node != self.control_plane, node))

    def node_address(self, node: str) -> str:
        """Return the address of a node on the docker network: other clusters' pods reach its NodePorts there.

        Raises:
            KindError: There is no such node.
        """
        found = self.docker.inspect(node)
        if found is None:
            raise KindError(f"cluster {self.name} has no node {node!r}; it has {', '.join(self.node_names())}")
        attached = found["NetworkSettings"]["Networks"][self.network]
        return str(attached["IPAddress"] or (attached["IPAMConfig"] or {}).get("IPv4Address", ""))

    def internal_kubeconfig(self) -> Path:
        """Return cluster admin's kubeconfig with the control plane's own address, for pods of any cluster near it."""
        return self._with_server(f"https://{self.node_address(self.control_plane)}:6443", "internal")

    def load_image(self, image: Path | str) -> None:
        """Put an image into every node, so that pods start without any registry.

        Args:
            image: A docker-archive, or the reference of an image that Docker has.

        Raises:
            KindError: kind refuses it.
        """
        if isinstance(image, Path):
            self._kind("load", "image-archive", "--name", self.kind_name, str(image))
            return
        with tempfile.TemporaryDirectory(prefix="rs-image-") as scratch:
            archive = Path(scratch) / "image.tar"
            self.docker.run("save", "-o", str(archive), image)
            self._kind("load", "image-archive", "--name", self.kind_name, str(archive))

    def stop_node(self, node: str, *, grace: float = 5.0) -> None:
        """Stop a node's container, as when its machine loses power after ``grace`` seconds."""
        self.docker.run("stop", "-t", f"{grace:.0f}", node)

    def start_node(self, node: str, *, wait: bool = True) -> None:
        """Start a stopped node again, at the address that it had: other clusters' kubeconfigs name it.

        Args:
            node: From `node_names`.
            wait: Return only when the cluster works again.
        """
        address = self._session.addresses.get(node)
        if address:
            self.docker.run("network", "disconnect", "--force", self.network, node, check=False)
            self.docker.run("network", "connect", "--ip", address, self.network, node)
        self.docker.run("start", node)
        self._session.connect_pods(self)
        if wait:
            kind_ready.wait(self)

    def stop_apiserver(self) -> None:
        """Take the API server away; everything else keeps running. Returns when its process is gone."""
        self.docker.run("exec", self.control_plane, "mv", STATIC_MANIFEST, PARKED_MANIFEST)
        kind_ready.until(
            "the API server to stop",
            lambda: not self.docker.succeeds("exec", self.control_plane, "pkill", "-KILL", "-x", "kube-apiserver"),
            seconds=60,
        )

    def start_apiserver(self) -> None:
        """Bring the API server back; returns when it says that it is ready."""
        self.docker.run("exec", self.control_plane, "mv", PARKED_MANIFEST, STATIC_MANIFEST)
        kind_ready.api(self)

    def pause_apiserver(self) -> None:
        """Freeze the API server: connections stay open and nothing answers. kubelet restarts it after about 80 s."""
        self.docker.run("exec", self.control_plane, "pkill", "-STOP", "-x", "kube-apiserver")

    def resume_apiserver(self) -> None:
        """Let a frozen API server go on."""
        self.docker.run("exec", self.control_plane, "pkill", "-CONT", "-x", "kube-apiserver")

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60.0) -> str:
        """Run ``kubectl arguments`` as cluster admin and return its output.

        Raises:
            KindError: It fails or takes too long.
        """
        command = [str(binaries.path("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise KindError(f"kubectl {' '.join(arguments)} took longer than {seconds:.0f} s in {self.name}") from None
        if done.returncode != 0:
            raise KindError(f"kubectl {' '.join(arguments)} failed in {self.name}: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def _with_server(self, server: str, suffix: str) -> Path:
        config = yaml.safe_load(self.kubeconfig.read_text())
        for cluster in config["clusters"]:
            cluster["cluster"]["server"] = server
        target = self.kubeconfig.with_name(f"{self.kubeconfig.name}-{suffix}")
        target.touch(mode=0o600)
        target.write_text(yaml.safe_dump(config))
        return target

    def _kind(self, *arguments: str) -> None:
        self._session.kind(arguments)
