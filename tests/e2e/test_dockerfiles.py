"""images/*/Dockerfile build where a registry cannot be reached, too: on a base that is loaded by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube import debian, docker, imagearchive, images, nodeimage
from localkube.docker import Docker

BASE = "roadstead.local/debian-python:e2e"
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture(scope="module")
def on() -> Iterator[Docker]:
    if not docker.available() or not debian.can_install():
        pytest.skip("no Docker, or no Debian to make a base image from: Dockerfiles are not tested")
    with docker.attached() as found:
        yield found


@pytest.fixture(scope="module")
def base(on: Docker) -> str:
    """Debian with Python and pip, trusting what this machine trusts (it may reach PyPI through a proxy of its own)."""
    if not on.has_image(BASE):
        with tempfile.TemporaryDirectory() as scratch:
            own = Path(scratch) / "own"
            (own / "etc/ssl/certs").mkdir(parents=True)
            (own / TRUST.relative_to("/")).write_bytes(TRUST.read_bytes())
            layers = [
                imagearchive.layer(debian.root(), Path(scratch) / "debian.tar", faithful=True),
                imagearchive.layer(own, Path(scratch) / "own.tar"),
            ]
            trust = {"PIP_CERT": str(TRUST), "SSL_CERT_FILE": str(TRUST)}
            nodeimage.load(on, BASE, layers, imagearchive.Config(environment=trust))
    return BASE


@pytest.mark.parametrize("name", ["chat"])
def test_a_dockerfile_gives_an_image_that_runs_as_nobody_on_a_read_only_root(on: Docker, base: str, name: str) -> None:
    reference = f"{images.PREFIX}/{name}:dockerfile"
    images.dockerfile(on, name, reference, base=base, variant="7")
    program = images.PROGRAMS[name]
    code = (
        "import os, shutil, importlib\n"
        f"importlib.import_module({program.package.replace('-', '_')!r})\n"
        f"print(os.getuid(), os.environ['ROADSTEAD_BUILD'], bool(shutil.which({program.script!r})))"
    )
    confined = ("--rm", "--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    assert on.run("run", *confined, "--entrypoint=python3", reference, "-c", code) == "65532 7 True"
    assert on.inspect(reference, kind="image")["Config"]["Entrypoint"] == [program.script]  # type: ignore[index]
