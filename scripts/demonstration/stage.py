"""Clusters, images and keys for the demo. Everything is started in parallel where nothing waits for the other."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demonstration.terminal import run, show_command, show_output
from localkube import binaries, certificates, images, kind
from localkube.images import Image
from localkube.kind import KindCluster
from localkube.progress import say, step

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "roadstead"
SYSTEM = "roadstead-system"
NAMESPACE = "chat"
SERVICE = "advisers"
REGIONS = ("hkg", "sin")
JURISDICTIONS = {"hkg": "HK", "sin": "SG"}
HOSTNAME = "chat.example.test"


@dataclass(frozen=True, slots=True)
class Images:
    """What runs in the clusters: the operator, and two versions of the chat relay with the same content."""

    operator: Image
    first: Image
    second: Image


@dataclass(frozen=True, slots=True)
class Keys:
    """Files of this run: the authority and certificate of the service, and the key that signs accounts' tokens."""

    authority: Path
    certificate: Path
    private_key: Path
    signing_key: Path
    public_key: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the acts play on."""

    hub: KindCluster
    regions: Mapping[str, KindCluster]
    images: Images
    keys: Keys

    def kubectl(self, *arguments: str, stdin: str | None = None, show: bool = False, seconds: float = 120.0) -> str:
        """Run kubectl on the hub; printed when ``show`` is set."""
        command: list[str | Path] = [binaries.path("kubectl"), f"--kubeconfig={self.hub.kubeconfig}", *arguments]
        return run(command, shown=f"kubectl {' '.join(arguments)}" if show else "", stdin=stdin, seconds=seconds)

    def region_kubectl(self, region: str, *arguments: str, show: bool = False) -> str:
        """Run kubectl on a region's cluster."""
        kubeconfig = self.regions[region].kubeconfig
        command: list[str | Path] = [binaries.path("kubectl"), f"--kubeconfig={kubeconfig}", *arguments]
        return run(command, shown=f"kubectl --context {region} {' '.join(arguments)}" if show else "")

    def helm(self, cluster: KindCluster, *arguments: str, shown: str = "") -> str:
        """Helm on one cluster."""
        return run([binaries.path("helm"), f"--kubeconfig={cluster.kubeconfig}", *arguments], shown=shown)


def build_images() -> Images:
    """Build what runs, or take it from the cache."""
    binaries.ensure(["kubectl", "helm", "kind"])
    with step("images of the operator and of two versions of the chat relay"):
        return Images(images.build("operator"), images.build("chat", variant="1"), images.build("chat", variant="2"))


def start_clusters(built: Images) -> dict[str, KindCluster]:
    """The hub and every region, side by side, each with the image that it runs first."""

    def begin(name: str) -> KindCluster:
        return kind.start(name, archives=[(built.operator if name == "hub" else built.first).archive])

    names = ("hub", *REGIONS)
    with step(f"kind clusters {', '.join(names)}"), ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(begin, names), strict=True))


def make_keys(folder: Path) -> Keys:
    """A certificate for the service and a key for tokens, both for this run only."""
    authority = certificates.Authority("demo authority")
    pair = authority.serving(HOSTNAME, names=[HOSTNAME])
    keys = Keys(folder / "ca.crt", folder / "tls.crt", folder / "tls.key", folder / "signing.key", "")
    keys.authority.write_bytes(authority.pair.certificate)
    pair.write(keys.certificate, keys.private_key)
    public = run([REPOSITORY / ".venv/bin/roadstead-chat-load", "keygen", keys.signing_key]).strip()
    return Keys(keys.authority, keys.certificate, keys.private_key, keys.signing_key, public)


def install(stage: Stage) -> None:
    """The operator in the hub, the member profile in the regions: what docs/how-to/install.md tells people to do."""
    repository, _, tag = stage.images.operator.reference.rpartition(":")
    with ThreadPoolExecutor(len(stage.regions)) as pool:
        # beside the hub, which mostly waits for its pods
        prepared = {name: pool.submit(_prepare_member, stage, name) for name in stage.regions}
        stage.helm(
            stage.hub,
            "install",
            "roadstead",
            str(CHART),
            f"--namespace={SYSTEM}",
            "--create-namespace",
            f"--set=image.repository={repository}",
            f"--set-string=image.tag={tag}",
            "--wait",
            "--timeout=120s",
            shown="helm install roadstead charts/roadstead --namespace roadstead-system --create-namespace --wait",
        )
        said = {name: task.result() for name, task in prepared.items()}
    for number, (name, text) in enumerate(said.items()):
        show_command(f"helm --kube-context {name} install roadstead-member charts/roadstead --set mode=member")
        if number == 0:  # the others say the same
            show_output(text)
        stage.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(_region(stage, name)))
        say(f"region {name} is known to the hub")
    stage.kubectl("wait", "--for=condition=Ready", "region", "--all", "--timeout=60s", show=True)


def _prepare_member(stage: Stage, name: str) -> str:
    """A region's small account and its namespace for services; returns what helm says."""
    cluster = stage.regions[name]
    said = stage.helm(
        cluster,
        "install",
        "roadstead-member",
        str(CHART),
        f"--namespace={SYSTEM}",
        "--create-namespace",
        "--set=mode=member",
    )
    stage.region_kubectl(name, "create", "namespace", NAMESPACE)
    return said


def deliver(stage: Stage, image: Image) -> None:
    """Put an image into every region's nodes, as a registry would."""
    with ThreadPoolExecutor(len(stage.regions)) as pool:
        for task in [pool.submit(cluster.load_image, image.archive) for cluster in stage.regions.values()]:
            task.result()


def _region(stage: Stage, name: str) -> list[dict[str, Any]]:
    """The Secret with the member's kubeconfig, and the Region."""
    cluster = stage.regions[name]
    admin = yaml.safe_load(cluster.internal_kubeconfig().read_text())
    secret = json.loads(
        stage.region_kubectl(name, "-n", SYSTEM, "get", "secret", "roadstead-member-token", "-o", "json")
    )
    token = base64.b64decode(secret["data"]["token"]).decode()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": admin["clusters"][0]["cluster"]}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"region-{name}", "namespace": SYSTEM},
            "stringData": {"kubeconfig": yaml.safe_dump(kubeconfig)},
        },
        {
            "apiVersion": "roadstead.dev/v1alpha1",
            "kind": "Region",
            "metadata": {"name": name},
            "spec": {
                "cluster": {"kubeconfigSecretRef": {"namespace": SYSTEM, "name": f"region-{name}"}},
                "jurisdiction": JURISDICTIONS[name],
            },
        },
    ]
