"""Images of our own programs, for `KindCluster.load_image`: by images/*/Dockerfile where a registry answers, else here.

Either way the tag is a digest of all that goes in, so the same content has the same name, is built once, and a pod with
``imagePullPolicy: IfNotPresent`` never runs an old one.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from localkube import cache, docker, imagearchive, images_local, nodeimage, progress
from localkube.docker import Docker

REPOSITORY = Path(__file__).resolve().parents[2]
PREFIX = "roadstead.local"
BASE = "python:3.13-slim"
USER = "65532:65532"
KEPT_ARCHIVES = 8
KEPT_SECONDS = 3600.0
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A program of ours that runs in a container.

    Attributes:
        package: Distribution in the uv workspace.
        script: Console script that its containers start.
        sources: Files and folders of the repository that its wheel is made from.
        environment: What its Dockerfile sets besides what every image has.
        libraries: Other distributions of the workspace that it needs, with the folder that each is made from.
    """

    package: str
    script: str
    sources: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    libraries: Mapping[str, str] = dataclasses.field(default_factory=dict)


PROGRAMS = {
    "operator": Program(
        "roadstead",
        "roadstead-operator",
        ("pyproject.toml", "README.md", "LICENSE", "operator/roadstead", "manifests", "crds"),
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"roadstead-keys": "workloads/keys"},
    ),
    "chat": Program(
        "roadstead-chat", "roadstead-chat", ("workloads/chat",), libraries={"roadstead-keys": "workloads/keys"}
    ),
    "chat-load": Program("roadstead-chat-load", "roadstead-chat-load", ("workloads/chat-load",)),
}
"""Name of the image -> what is in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image that is ready to be loaded.

    Attributes:
        reference: What a pod names, for example ``roadstead.local/chat:0f3a5b...``.
        archive: The docker-archive.
    """

    reference: str
    archive: Path


def build(name: str, *, variant: str = "", on: Docker | None = None) -> Image:
    """Return the image of one of our programs, built when its content is new.

    Args:
        name: ``operator``, ``chat`` or ``chat-load``.
        variant: Makes an image of another name with the same content, for tests of rollouts; it stands in the
            environment variable ROADSTEAD_BUILD.
        on: Docker to build with where a registry answers; default: whichever `docker.attached` gives.

    Raises:
        KeyError: There is no such program.
        RuntimeError: The build failed; with the words of what failed.
    """
    program = PROGRAMS[name]
    if nodeimage.registry_answers():
        return _with_docker(name, program, variant, on)
    return _without_registry(name, program, variant)


def files_of(program: Program) -> Iterator[Path]:
    """Yield every file that the wheels of a program are made from, without what tools leave behind."""
    yield from _files(*program.sources, *program.libraries.values())


def _files(*sources: str) -> Iterator[Path]:
    for source in sources:
        path = REPOSITORY / source
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in found:
            hidden = any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(REPOSITORY).parts)
            if file.is_file() and not hidden and file.suffix != ".pyc":
                yield file


def _without_registry(name: str, program: Program, variant: str) -> Image:
    requirements = images_local.uv(
        *("export", "--frozen", "--no-dev", "--no-emit-workspace", "--package", program.package),
        *("--format", "requirements.txt", "--no-header", "--no-annotate"),
        folder=REPOSITORY,
    )
    layers = [
        images_local.base(),
        images_local.dependencies(requirements, name),
        *(images_local.code(library, list(_files(folder))) for library, folder in program.libraries.items()),
        images_local.code(program.package, list(_files(*program.sources))),
    ]
    config = imagearchive.Config(
        entrypoint=(f"/usr/local/bin/{program.script}",),
        environment={**ENVIRONMENT, **program.environment, **({"ROADSTEAD_BUILD": variant} if variant else {})},
        user=USER,
        workdir="/tmp",  # noqa: S108 - a folder of the image; / is read-only in our pods
        labels={"org.opencontainers.image.title": program.package},
    )
    key = cache.key_of([], name, repr(config), *(layer.digest for layer in layers))
    reference = f"{PREFIX}/{name}:{key[:12]}"

    def make(directory: Path) -> None:
        with (directory / "image.tar").open("wb") as output:
            imagearchive.write(output, reference, layers, config)

    return _kept(name, reference, key, make)


def _with_docker(name: str, program: Program, variant: str, on: Docker | None) -> Image:
    files = [*_context(name, program)]
    key = cache.key_of(files, name, BASE, variant, *(str(file.relative_to(REPOSITORY)) for file in files))
    reference = f"{PREFIX}/{name}:{key[:12]}"

    def make(directory: Path) -> None:
        if on is None:
            with docker.attached() as own:
                dockerfile(own, name, reference, base=BASE, variant=variant)
                own.run("save", "-o", str(directory / "image.tar"), reference)
        else:
            dockerfile(on, name, reference, base=BASE, variant=variant)
            on.run("save", "-o", str(directory / "image.tar"), reference)

    return _kept(name, reference, key, make)


def _kept(name: str, reference: str, key: str, make: Callable[[Path], None]) -> Image:
    archive = cache.entry("image", key, make, what=f"image {name}") / "image.tar"
    _remove_old()
    return Image(reference, archive)


def _remove_old() -> None:
    """Keep the newest archives only: each edit of our code makes one of 80 to 250 MB, made again in a second."""
    entries = [entry for entry in (cache.root() / "image").iterdir() if not entry.name.startswith(".")]
    by_use = sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in by_use[KEPT_ARCHIVES:]:
        if entry.stat().st_mtime < time.time() - KEPT_SECONDS:  # another run may be loading it right now
            shutil.rmtree(entry, ignore_errors=True)


def dockerfile(on: Docker, name: str, reference: str, *, base: str, variant: str = "") -> None:
    """Build ``images/<name>/Dockerfile`` on ``base``, with a context of exactly the files that it needs."""
    with (
        progress.step(f"docker build of {name}"),
        tempfile.TemporaryDirectory(prefix="rs-context-") as context,
    ):
        for file in _context(name, PROGRAMS[name]):
            target = Path(context, file.relative_to(REPOSITORY))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        arguments = ["build", "-q", "-t", reference, "-f", f"{context}/images/{name}/Dockerfile"]
        on.run(*arguments, "--build-arg", f"BASE={base}", "--build-arg", f"BUILD={variant}", context, seconds=1800)


def _context(name: str, program: Program) -> Iterator[Path]:
    yield from files_of(program)
    for wanted in ("uv.lock", f"images/{name}/Dockerfile", "pyproject.toml", *_MEMBERS):
        path = REPOSITORY / wanted
        if path not in {REPOSITORY / source for source in program.sources} and not _inside(path, program):
            yield path


_MEMBERS = tuple(f"workloads/{name}/pyproject.toml" for name in ("chat", "chat-load", "keys"))
"""uv reads the whole workspace, also to build one member of it."""


def _inside(path: Path, program: Program) -> bool:
    return any(path.is_relative_to(REPOSITORY / folder) for folder in (*program.sources, *program.libraries.values()))
