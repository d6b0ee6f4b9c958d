"""Container images without a container builder: deterministic layers and the docker-archive that holds them.

What ``docker load``, ``ctr images import`` and ``kind load image-archive`` read. The same content always gives the same
bytes, so a digest of the archive is a digest of what is in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One layer: an uncompressed tar.

    Attributes:
        path: The file.
        digest: SHA-256 of its content, hexadecimal; what image configs call the diff id.
    """

    path: Path
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """How containers of an image start.

    Attributes:
        entrypoint: Program and arguments that containers start with.
        environment: Environment; PATH has its usual value unless it is given.
        user: ``uid:gid``, or empty for root.
        workdir: Working directory, or empty.
        stop_signal: Signal that asks the container to stop, or empty for SIGTERM.
        labels: Labels.
    """

    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


def architecture() -> str:
    """Return this machine's architecture in the words of image configs."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def layer(folder: Path, target: Path, *, faithful: bool = False) -> Layer:
    """Pack ``folder`` into the layer file ``target``.

    Args:
        folder: Its content becomes the content of the image's root.
        target: Where to write the tar.
        faithful: Keep owners, times and extended attributes (a whole system); otherwise all is root's and from 1970.

    Raises:
        RuntimeError: tar failed.
    """
    plain = ["--owner=0", "--group=0", "--mtime=@0"]
    command = ["tar", "-C", str(folder), "--format=gnu", "--sort=name", "--numeric-owner"]
    if faithful:
        command = [
            "tar",
            "-C",
            str(folder),
            "--format=pax",
            "--sort=name",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
        ]
    command += [*([] if faithful else plain), "-cf", str(target), "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"packing {folder} failed: {done.stderr.strip()[-1000:]}")
    return Layer(target, sha256(target))


def existing_layer(path: Path) -> Layer:
    """Return a layer that `layer` wrote before."""
    return Layer(path, sha256(path))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(output: BinaryIO, reference: str, layers: Sequence[Layer], config: Config) -> str:
    """Write an image as a docker-archive.

    Args:
        output: Where to; a pipe will do.
        reference: ``name:tag``.
        layers: From the lowest to the highest.
        config: How its containers start.

    Returns:
        The image's id: ``sha256:`` and the digest of its config.
    """
    body = json.dumps(_config(layers, config), sort_keys=True).encode()
    image_id = hashlib.sha256(body).hexdigest()
    manifest = [
        {"Config": f"{image_id}.json", "RepoTags": [reference], "Layers": [f"{one.digest}/layer.tar" for one in layers]}
    ]
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, f"{image_id}.json", body)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        for one in {layer.digest: layer for layer in layers}.values():
            member = tarfile.TarInfo(f"{one.digest}/layer.tar")
            member.size, member.mode = one.path.stat().st_size, 0o644
            with one.path.open("rb") as content:
                archive.addfile(member, content)
    return f"sha256:{image_id}"


def _config(layers: Sequence[Layer], config: Config) -> dict[str, Any]:
    environment = [f"{name}={value}" for name, value in sorted(config.environment.items())]
    if "PATH" not in config.environment:
        environment.insert(0, _PATH)
    how: dict[str, Any] = {"Env": environment, "Entrypoint": list(config.entrypoint) or None, "User": config.user}
    how |= {"WorkingDir": config.workdir} if config.workdir else {}
    how |= {"StopSignal": config.stop_signal} if config.stop_signal else {}
    how |= {"Labels": dict(sorted(config.labels.items()))} if config.labels else {}
    return {
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": how,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "localkube"} for _ in layers],
    }


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
