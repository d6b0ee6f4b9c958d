"""The demo without nodes: real API servers and the real operator, but pods that only pretend to run (KWOK).

For machines without root and without Docker. It says what it cannot show.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demonstration import commands
from demonstration.acts import PromiseBrokenError
from demonstration.commands import REPOSITORY
from demonstration.stage import HOSTNAME, JURISDICTIONS, NAMESPACE, REGIONS, SERVICE
from demonstration.terminal import console, heading, note, run, write_manifest
from localkube import bare, binaries, certificates
from localkube.bare import BareCluster
from localkube.progress import step
from localoperator import Operator, grant

LEFT_OUT = (
    "These are bare control planes: you asked for them, or there is no Docker here (nor root to start one). Left out: "
    "real pods, the load client and "
    "its 10,000 messages, the rollback of a version that does not start, and the chart's own Deployment."
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the acts play on."""

    hub: BareCluster
    regions: dict[str, BareCluster]
    folder: Path

    def run(self, command: Sequence[str | Path], *, show: bool = True) -> str:
        """Run a command, and print it as a person would type it."""
        return run(command, shown=commands.typed(command, self.hub.kubeconfig, self._kubeconfigs) if show else "")

    def kubectl(self, cluster: BareCluster, *arguments: str, show: bool = True) -> str:
        """Run kubectl on a cluster."""
        return self.run([binaries.path("kubectl"), f"--kubeconfig={cluster.kubeconfig}", *arguments], show=show)

    def exports(self) -> None:
        """Print what another terminal needs, so that every command below works there."""
        programs = [REPOSITORY / ".venv/bin", binaries.path("kubectl").parent]
        for line in commands.exports(self.hub.kubeconfig, self._kubeconfigs, programs):
            note(line)

    @property
    def _kubeconfigs(self) -> dict[str, Path]:
        return {name: cluster.kubeconfig for name, cluster in self.regions.items()}


def play(*, keep: bool) -> int:
    """The demo on bare control planes."""
    console.print(f"[yellow]{LEFT_OUT}[/yellow]")
    clusters: list[BareCluster] = []
    with tempfile.TemporaryDirectory(prefix="roadstead-demo-") as folder:
        try:
            heading("Control planes")
            for name in ("hub", *REGIONS):
                with step(f"control plane {name}"):
                    cluster = bare.start(name)
                    clusters.append(cluster)
                    cluster.add_nodes(2)
            hub, *regions = clusters
            scene = Scene(hub, dict(zip(REGIONS, regions, strict=True)), Path(folder))
            note("for another terminal, where every command below then works:")
            scene.exports()
            heading("The operator beside the hub, a small account in each region")
            _connect(scene)
            note("the operator runs as a process of this machine, with its account's rights")
            with Operator(hub) as operator:
                operator.wait_leading()
                show(scene)
                if keep:
                    _look_around(scene)
        finally:
            heading("Removing everything")
            for cluster in clusters:
                cluster.stop()
    return 0


def _connect(scene: Scene) -> None:
    hub = scene.hub
    scene.kubectl(hub, "apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    scene.kubectl(hub, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    note(
        "of helm template roadstead charts/roadstead, only the accounts and their rights are applied: here are no pods"
    )
    grant(hub)
    for name, cluster in scene.regions.items():
        note(f"the same in {name}, of helm template roadstead-member charts/roadstead --set mode=member")
        grant(cluster, "mode=member")
        scene.kubectl(cluster, "create", "namespace", NAMESPACE)
        scene.run(
            [
                REPOSITORY / ".venv/bin/roadstead",
                "region",
                "add",
                name,
                f"--kubeconfig={cluster.kubeconfig}",
                f"--jurisdiction={JURISDICTIONS[name]}",
                f"--hub-kubeconfig={hub.kubeconfig}",
            ]
        )
    authority = certificates.Authority("demo authority")
    certificate, key = scene.folder / "tls.crt", scene.folder / "tls.key"
    authority.serving(HOSTNAME, names=[HOSTNAME]).write(certificate, key)
    note(f"a certificate for {HOSTNAME}, made here: {certificate}")
    scene.kubectl(hub, "create", "namespace", NAMESPACE)
    files = (f"--cert={certificate}", f"--key={key}")
    scene.kubectl(hub, "-n", NAMESPACE, "create", "secret", "tls", f"{SERVICE}-tls", *files)


def _service(image: str) -> dict[str, Any]:
    return {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "ChatService",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {
            "image": image,
            "topology": {"mode": "ActiveActive", "regions": [{"name": name} for name in REGIONS]},
            "tls": {"secretName": f"{SERVICE}-tls"},
            "rollout": {"bakeTime": "3s"},
        },
    }


def _apply(scene: Scene, image: str) -> None:
    manifest = scene.folder / f"{SERVICE}.yaml"
    write_manifest(manifest, _service(image))
    scene.kubectl(scene.hub, "apply", "-f", str(manifest))


def show(scene: Scene) -> None:
    """Ready, a drift repaired, a version rolled out, everything deleted."""
    hub, region = scene.hub, scene.regions[REGIONS[0]]
    heading("A chat service in two regions")
    _apply(scene, "registry.example/roadstead-chat:1")
    _wait(scene, "Ready", "50s")
    scene.kubectl(hub, "get", "roadstead", "-A")
    heading("Somebody edits an object by hand")
    workload, path = f"deployment/{SERVICE}-{REGIONS[0]}", "jsonpath={.spec.template.spec.containers[0].image}"
    scene.kubectl(region, "-n", NAMESPACE, "set", "image", workload, "*=registry.example/intruder:1")
    started = time.monotonic()
    while "intruder" in scene.kubectl(region, "-n", NAMESPACE, "get", workload, "-o", path, show=False):
        if time.monotonic() - started > 15:
            raise PromiseBrokenError(f"{workload} was not restored within 15 s")
    note(f"restored after {time.monotonic() - started:.2f} s (a kubectl call included)")
    heading("A new version, region by region")
    _apply(scene, "registry.example/roadstead-chat:2")
    _wait(scene, "Ready=False", "15s")
    _wait(scene, "Ready", "50s")
    scene.kubectl(hub, "-n", NAMESPACE, "get", "events", "--field-selector=reason=RolledOut")
    heading("The service is deleted")
    scene.kubectl(hub, "-n", NAMESPACE, "delete", f"chatservice/{SERVICE}", "--timeout=30s")
    ours = ("-l", "app.kubernetes.io/managed-by=roadstead")
    if not scene.kubectl(region, "get", "all", "-A", *ours).strip():
        note("nothing left")


def _wait(scene: Scene, condition: str, timeout: str) -> None:
    target = f"chatservice/{SERVICE}"
    scene.kubectl(scene.hub, "-n", NAMESPACE, "wait", f"--for=condition={condition}", target, f"--timeout={timeout}")


def _look_around(scene: Scene) -> None:
    heading("Everything is left running until you press Enter. In another terminal:")
    scene.exports()
    note("kubectl get roadstead -A")
    with contextlib.suppress(EOFError):  # not at a terminal: there is nobody to look around
        input()
