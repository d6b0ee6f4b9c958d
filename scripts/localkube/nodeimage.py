"""The image that kind nodes run: the published one where a registry answers, else the same thing built here.

Built here, it is keyed by everything that goes into it, so a warm start finds it by name and does no work.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from localkube import binaries, cache, debian, imagearchive, nodeimage_parts, nodeimage_root, progress
from localkube.docker import Docker, DockerError

PUBLISHED = "kindest/node"
OWN = "roadstead.local/kind-node"
REGISTRY = "https://registry-1.docker.io/v2/"
REGISTRY_SECONDS = 5.0
PULL_SECONDS = 900.0
UNUSED_SECONDS = 2 * 86400.0

CONFIG = imagearchive.Config(
    entrypoint=("/usr/local/bin/entrypoint", "/sbin/init"),
    environment={"container": "docker"},  # tells systemd where it is
    stop_signal="SIGRTMIN+3",  # on SIGTERM systemd would re-execute itself
)


class NodeImageError(RuntimeError):
    """No node image can be had; the message says what was tried."""


def ensure(docker: Docker) -> str:
    """Return the reference of a node image that is in ``docker``; pulled or built when it is not.

    ``$ROADSTEAD_NODE_IMAGE`` names another image, which is used as it is.

    Raises:
        NodeImageError: It can neither be pulled nor built here.
    """
    chosen = os.environ.get("ROADSTEAD_NODE_IMAGE")
    if chosen:
        return chosen
    published = f"{PUBLISHED}:{nodeimage_parts.kubernetes_version()}"
    own = own_reference()
    for reference in (published, own):
        if docker.has_image(reference):
            _mark_used(reference)
            return reference
    if registry_answers():
        with progress.step(f"pull {published}"):
            try:
                docker.run("pull", "--quiet", published, seconds=PULL_SECONDS)
            except DockerError as error:
                progress.say(f"{published} cannot be pulled, so it is built here: {error}")
            else:
                return published
    _build(docker, own)
    _mark_used(own)
    return own


def own_reference() -> str:
    """Return the name of the image that would be built here; its tag is a digest of all that goes into it."""
    return f"{OWN}:{nodeimage_parts.kubernetes_version()}-{_key()}"


def is_own(reference: str) -> bool:
    """Return whether the image was built here: pods of several nodes need routes, no NetworkPolicy is enforced."""
    return reference.startswith(f"{OWN}:")


@functools.cache
def registry_answers() -> bool:
    """Return whether Docker's registry answers from here; ``$ROADSTEAD_REGISTRY=off`` says no without asking."""
    if os.environ.get("ROADSTEAD_REGISTRY") == "off":
        return False
    try:
        with urllib.request.urlopen(REGISTRY, timeout=REGISTRY_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401  # what it says to the nameless: it is there
    except OSError:
        return False


@functools.cache
def _key() -> str:
    """Everything that decides the content: our code for it, the files it lays out, each binary, Debian's part, kind."""
    here = Path(__file__).parent
    ours = [here / name for name in ("nodeimage_parts.py", "nodeimage_root.py", "imagearchive.py")]
    files = [*ours, *nodeimage_root.FILES.iterdir()]
    keys = [binaries.recipe(name).key for name in nodeimage_parts.BINARIES]
    kind = binaries.recipe("kind").version
    return cache.key_of(files, *keys, kind, repr(CONFIG), debian.SUITE, *debian.PACKAGES)[:12]


def _build(docker: Docker, reference: str) -> None:
    if not debian.can_install() and debian.missing(["debootstrap"]):
        raise NodeImageError(
            f"no registry answers at {REGISTRY}, and building the node image here needs root on Debian; "
            f"pull or load {PUBLISHED}:{nodeimage_parts.kubernetes_version()} into Docker, or set ROADSTEAD_NODE_IMAGE"
        )
    lock = cache.root() / "nodeimage" / f".{_key()}.lock"
    with cache.lock(lock, waiting_for="the node image"):
        if docker.has_image(reference):
            return
        with ThreadPoolExecutor(1) as beside:  # debootstrap mostly waits: for the mirror, then for the disk
            base = beside.submit(debian.root)
            binaries.ensure(nodeimage_parts.BINARIES)
            base.result()
        with tempfile.TemporaryDirectory(prefix=".node-", dir=lock.parent) as scratch:
            root = Path(scratch) / "root"
            nodeimage_root.assemble(root)
            with progress.step("node image into Docker"):
                layer = imagearchive.layer(root, Path(scratch) / "layer.tar", faithful=True)
                subprocess.run(["rm", "-rf", str(root)], check=True)
                load(docker, reference, [layer], CONFIG)
        _remove_unused(docker, reference)


def load(docker: Docker, reference: str, layers: Iterable[imagearchive.Layer], config: imagearchive.Config) -> None:
    """Load an image into Docker, as a stream: no archive file of the same size is written."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
        loader = subprocess.Popen(
            ["docker", "load", "--quiet"],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=docker.environment(),
        )
        source.close()
        try:
            imagearchive.write(sink, reference, list(layers), config)
            sink.close()
        except BrokenPipeError:
            pass  # docker's own words below say why
        _, said = loader.communicate(timeout=PULL_SECONDS)
    if loader.returncode != 0 or not docker.has_image(reference):
        raise NodeImageError(f"docker load of {reference} failed: {said.decode(errors='replace').strip()[-1000:]}")


def _mark_used(reference: str) -> None:
    mark = _mark(reference)
    mark.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        mark.touch()


def _remove_unused(docker: Docker, keep: str) -> None:
    """Remove node images of former content that no checkout used lately; docker itself refuses those in use."""
    for reference in docker.lines("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", OWN):
        mark = _mark(reference)
        if reference != keep and (not mark.exists() or mark.stat().st_mtime < time.time() - UNUSED_SECONDS):
            docker.run("image", "rm", reference, check=False)
            mark.unlink(missing_ok=True)


def _mark(reference: str) -> Path:
    return cache.root() / "nodeimage" / reference.rsplit(":", 1)[1]
