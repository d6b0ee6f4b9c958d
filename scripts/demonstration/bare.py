"""The demo without nodes: real API servers and the real operator, but pods that only pretend to run (KWOK).

For machines without root and without Docker. It says what it cannot show.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from demonstration.acts import PromiseBrokenError
from demonstration.stage import HOSTNAME, JURISDICTIONS, NAMESPACE, REGIONS, REPOSITORY, SERVICE
from demonstration.terminal import console, heading, note
from localkube import bare, certificates
from localkube.bare import BareCluster
from localkube.progress import step
from localoperator import Operator, connect, grant, kubectl

LEFT_OUT = (
    "These are bare control planes: you asked for them, or there is no Docker here (nor root to start one). Left out: "
    "real pods, the load client and "
    "its 10,000 messages, the rollback of a version that does not start, and the chart's own Deployment."
)


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
                    kubectl(cluster, "create", "namespace", NAMESPACE)
            hub, *regions = clusters
            _connect(hub, dict(zip(REGIONS, regions, strict=True)), Path(folder))
            with Operator(hub) as operator:
                operator.wait_leading()
                show(hub, regions[0])
                if keep:
                    _look_around(hub)
        finally:
            heading("Removing everything")
            for cluster in clusters:
                cluster.stop()
    return 0


def _connect(hub: BareCluster, regions: dict[str, BareCluster], folder: Path) -> None:
    kubectl(hub, "apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    kubectl(hub, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    grant(hub)
    for name, cluster in regions.items():
        connect(hub, cluster, name, jurisdiction=JURISDICTIONS[name])
    authority = certificates.Authority("demo authority")
    authority.serving(HOSTNAME, names=[HOSTNAME]).write(folder / "tls.crt", folder / "tls.key")
    files = (f"--cert={folder / 'tls.crt'}", f"--key={folder / 'tls.key'}")
    kubectl(hub, "-n", NAMESPACE, "create", "secret", "tls", f"{SERVICE}-tls", *files)


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


def show(hub: BareCluster, region: BareCluster) -> None:
    """Ready, a drift repaired, a version rolled out, everything deleted."""
    heading("A chat service in two regions")
    kubectl(hub, "apply", "-f", "-", stdin=yaml.safe_dump(_service("registry.example/roadstead-chat:1")))
    _wait(hub, "Ready")
    _print(kubectl(hub, "get", "roadstead", "-A"))
    heading("Somebody edits an object by hand")
    workload, path = f"deployment/{SERVICE}-{REGIONS[0]}", "jsonpath={.spec.template.spec.containers[0].image}"
    kubectl(region, "-n", NAMESPACE, "set", "image", workload, "*=registry.example/intruder:1")
    started = time.monotonic()
    while "intruder" in kubectl(region, "-n", NAMESPACE, "get", workload, "-o", path):
        if time.monotonic() - started > 15:
            raise PromiseBrokenError(f"{workload} was not restored within 15 s")
    note(f"restored after {time.monotonic() - started:.2f} s (a kubectl call included)")
    heading("A new version, region by region")
    kubectl(hub, "apply", "-f", "-", stdin=yaml.safe_dump(_service("registry.example/roadstead-chat:2")))
    kubectl(hub, "-n", NAMESPACE, "wait", "--for=condition=Ready=False", f"chatservice/{SERVICE}", "--timeout=15s")
    _wait(hub, "Ready")
    _print(kubectl(hub, "-n", NAMESPACE, "get", "events", "--field-selector=reason=RolledOut"))
    heading("The service is deleted")
    kubectl(hub, "-n", NAMESPACE, "delete", f"chatservice/{SERVICE}", "--timeout=30s")
    _print(kubectl(region, "get", "all", "-A", "-l", "app.kubernetes.io/managed-by=roadstead") or "nothing left")


def _wait(hub: BareCluster, condition: str) -> None:
    target = f"chatservice/{SERVICE}"
    kubectl(hub, "-n", NAMESPACE, "wait", f"--for=condition={condition}", target, "--timeout=50s")


def _look_around(hub: BareCluster) -> None:
    heading("Everything is left running until you press Enter. In another terminal:")
    note(f"export KUBECONFIG={hub.kubeconfig}; kubectl get roadstead -A")
    with contextlib.suppress(EOFError):  # not at a terminal: there is nobody to look around
        input()


def _print(text: str) -> None:
    for line in text.rstrip().splitlines():
        console.print(f"    {line}", markup=False, soft_wrap=True)
