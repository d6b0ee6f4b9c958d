"""Clusters, images and keys for the demo. Everything is started in parallel where nothing waits for the other."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from demonstration import commands
from demonstration.commands import REPOSITORY
from demonstration.terminal import note, run, show_command, show_output
from localkube import binaries, certificates, images, kind
from localkube.images import Image
from localkube.kind import KindCluster
from localkube.progress import say, step

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
        command = self.command("kubectl", self.hub, *arguments)
        return run(command, shown=self.typed(command) if show else "", stdin=stdin, seconds=seconds)

    def region_kubectl(self, region: str, *arguments: str, show: bool = False) -> str:
        """Run kubectl on a region's cluster."""
        command = self.command("kubectl", self.regions[region], *arguments)
        return run(command, shown=self.typed(command) if show else "")

    @property
    def folder(self) -> Path:
        """Where the files of this run are: keys, certificates, manifests."""
        return self.keys.signing_key.parent

    def command(self, program: str, cluster: KindCluster, *arguments: str) -> list[str | Path]:
        """A command of kubectl or helm on a cluster."""
        return [binaries.path(program), f"--kubeconfig={cluster.kubeconfig}", *arguments]

    def typed(self, command: Sequence[str | Path]) -> str:
        """A command as a person would type it after `exports`."""
        return commands.typed(command, self.hub.kubeconfig, self._kubeconfigs)

    def exports(self) -> list[str]:
        """Lines to copy into a terminal, after which every printed command works there."""
        programs = [binaries.path(name).parent for name in ("kubectl", "helm", "kind")]
        return commands.exports(self.hub.kubeconfig, self._kubeconfigs, [REPOSITORY / ".venv/bin", *programs])

    @property
    def _kubeconfigs(self) -> dict[str, Path]:
        return {name: cluster.kubeconfig for name, cluster in self.regions.items()}


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
    note(f"a certificate for {HOSTNAME}, made here: {keys.certificate}")
    command = f"roadstead-chat-load keygen {shlex.quote(str(keys.signing_key))}"
    public = run([REPOSITORY / ".venv/bin/roadstead-chat-load", "keygen", keys.signing_key], shown=command).strip()
    return Keys(keys.authority, keys.certificate, keys.private_key, keys.signing_key, public)


def install(stage: Stage) -> None:
    """The operator in the hub, the member profile in the regions: what docs/how-to/install.md tells people to do."""
    repository, _, tag = stage.images.operator.reference.rpartition(":")
    operator = stage.command(
        "helm",
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
    )
    preparing = {name: _prepare(stage, name) for name in stage.regions}
    joining = {name: _join(stage, name) for name in stage.regions}
    with ThreadPoolExecutor(len(stage.regions)) as pool:
        # beside the hub, which mostly waits for its pods
        preparation = {name: pool.submit(_run_all, preparing[name]) for name in stage.regions}
        run(operator, shown=stage.typed(operator))
        prepared = {name: task.result() for name, task in preparation.items()}
        joined = {name: pool.submit(run, command) for name, command in joining.items()}
        for number, name in enumerate(stage.regions):
            for command, text in zip(preparing[name], prepared[name], strict=True):
                show_command(stage.typed(command))
                if number == 0:  # the others say the same
                    show_output(text)
            text = joined[name].result()
            show_command(stage.typed(joining[name]))
            show_output(text)
            say(f"region {name} is known to the hub")
    stage.kubectl("wait", "--for=condition=Ready", "region", "--all", "--timeout=60s", show=True)


def _prepare(stage: Stage, name: str) -> list[list[str | Path]]:
    """Commands for a region's small account and its namespace for services."""
    cluster = stage.regions[name]
    install = ("install", "roadstead-member", str(CHART), f"--namespace={SYSTEM}", "--create-namespace")
    return [
        stage.command("helm", cluster, *install, "--set=mode=member"),
        stage.command("kubectl", cluster, "create", "namespace", NAMESPACE),
    ]


def _join(stage: Stage, name: str) -> list[str | Path]:
    """The command that makes a cluster a region of the hub, whose pods reach it at its node's own address."""
    cluster = stage.regions[name]
    return [
        REPOSITORY / ".venv/bin/roadstead",
        "region",
        "add",
        name,
        f"--kubeconfig={cluster.kubeconfig}",
        f"--server=https://{cluster.node_address(cluster.control_plane)}:6443",
        f"--jurisdiction={JURISDICTIONS[name]}",
        f"--hub-kubeconfig={stage.hub.kubeconfig}",
    ]


def _run_all(these: Sequence[Sequence[str | Path]]) -> list[str]:
    return [run(command) for command in these]


def deliver(stage: Stage, image: Image) -> None:
    """Put an image into every region's nodes, as a registry would."""
    for cluster in stage.regions.values():
        host = f"DOCKER_HOST={cluster.docker.host} " if cluster.docker.host else ""
        show_command(f"{host}kind load image-archive --name {cluster.kind_name} {image.archive}")
    with ThreadPoolExecutor(len(stage.regions)) as pool:
        for task in [pool.submit(cluster.load_image, image.archive) for cluster in stage.regions.values()]:
            task.result()
