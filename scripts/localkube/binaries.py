"""Kubernetes' own programs and the tools beside them, built on demand from the Go modules pinned in tools/.

A folder ``tools/<name>`` holds go.mod, go.sum and build.toml: which binaries it gives and with which flags. A binary is
keyed by every file of that folder, its package, the flags, the Go version and the platform, so it is built once per
content and found again from any checkout. Nothing is built before somebody asks for it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from localkube import cache, golang, progress

TOOLS = golang.REPOSITORY / "tools"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
"""What `localkube.bare.start` runs."""


class UnknownBinaryError(KeyError):
    """No tools/*/build.toml gives this binary."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How one binary is made.

    Attributes:
        name: Name of the binary.
        folder: The folder of tools/ with go.mod, go.sum and build.toml.
        module: Module whose version in go.mod is the version of the binary.
        package: Go import path of its main package.
        ldflags: Linker flags, placeholders replaced.
        tags: Build tags.
        patched: File of the module -> file of the folder that is built instead.
        version: Version of the module, for example ``v1.36.3``.
        version_arguments: Arguments that make a binary on PATH print its version; empty: never taken from PATH.
    """

    name: str
    folder: Path
    module: str
    package: str
    ldflags: str
    tags: str
    patched: Mapping[str, str]
    version: str
    version_arguments: tuple[str, ...]

    @property
    def key(self) -> str:
        """Return the key of this binary in the cache."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        where = f"{platform.system()}/{platform.machine()}"
        return cache.key_of(files, self.package, self.ldflags, self.tags, golang.version(), where)

    @property
    def cached(self) -> Path:
        """Return where the built binary is, or would be."""
        return cache.root() / "bin" / self.name / self.key / self.name


def recipe(name: str) -> Recipe:
    """Return how ``name`` is made.

    Raises:
        UnknownBinaryError: No folder of tools/ gives it.
    """
    try:
        return _recipes()[name]
    except KeyError:
        known = ", ".join(sorted(_recipes()))
        raise UnknownBinaryError(f"no tools/*/build.toml gives the binary {name!r}; known are {known}") from None


def path(name: str) -> Path:
    """Return the path of binary ``name``, built first when the cache does not have it."""
    return ensure([name])[name]


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Return the paths of several binaries; those missing are built one after the other, with visible progress."""
    found: dict[str, Path] = {}
    missing: list[Recipe] = []
    for name in dict.fromkeys(names):
        there = _existing(name)
        if there is None:
            missing.append(recipe(name))
        else:
            found[name] = there
    for number, wanted in enumerate(missing, 1):
        found[wanted.name] = _build(wanted, number, len(missing))
        _existing.cache_clear()
    return found


def available(name: str) -> bool:
    """Return whether ``name`` can be had without a build."""
    return _existing(name) is not None


@functools.cache
def module_dir(module: str) -> Path:
    """Return the folder of a Go module that some tools/*/go.mod requires: its zip holds YAML and other files too.

    Raises:
        LookupError: When no go.mod of tools/ requires the module.
    """
    for gomod in sorted(TOOLS.glob("*/go.mod")):
        if _required_version(gomod, module) is not None:
            answer = json.loads(golang.run(["mod", "download", "-json", module], gomod.parent))
            return Path(answer["Dir"])
    raise LookupError(f"no tools/*/go.mod requires the module {module}; pin it there first")


@functools.cache
def _existing(name: str) -> Path | None:
    wanted = recipe(name)
    if wanted.cached.is_file():
        cache.touch(wanted.cached.parent)
        return wanted.cached
    return _on_path(wanted)


def _on_path(wanted: Recipe) -> Path | None:
    """Return a binary from PATH when it says that it has exactly our version."""
    found = shutil.which(wanted.name) if wanted.version_arguments else None
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *wanted.version_arguments], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = (done.stdout + done.stderr).replace("+", " ").replace(",", " ").split()
    return Path(found) if wanted.version in words or wanted.version.removeprefix("v") in words else None


def _build(wanted: Recipe, number: int, of: int) -> Path:
    target = wanted.cached
    lock = target.parent.parent / f".{wanted.key}.lock"
    with cache.lock(lock, waiting_for=f"build of {wanted.name}"):
        if target.is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            progress.step(f"build {wanted.name} {wanted.version}", number=number, of=of),
            tempfile.TemporaryDirectory(prefix=".build.", dir=target.parent) as scratch,
        ):
            staged = Path(scratch) / wanted.name
            golang.run(_build_arguments(wanted, staged), wanted.folder)
            staged.rename(target)
    return target


def _build_arguments(wanted: Recipe, output: Path) -> list[str]:
    arguments = ["build", "-trimpath", "-ldflags", wanted.ldflags, "-o", str(output)]
    if wanted.tags:
        arguments += ["-tags", wanted.tags]
    if wanted.patched:
        arguments += ["-modfile", str(_patched_module(wanted, output.parent))]
    return [*arguments, wanted.package]


def _patched_module(wanted: Recipe, scratch: Path) -> Path:
    """Copy the module, put our files in it, and return a go.mod that builds from the copy.

    Go refuses to overlay files of its module cache, and a ``replace`` in the committed go.mod would need a path that is
    the same on every machine.
    """
    copy = scratch / "module"
    shutil.copytree(module_dir(wanted.module), copy)
    for theirs, ours in wanted.patched.items():
        target = copy / theirs
        target.parent.chmod(0o755)  # the module cache is read-only, and so is a copy of it
        target.unlink()
        shutil.copyfile(wanted.folder / ours, target)
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)  # so that the scratch directory can be removed
    modfile = scratch / "go.mod"
    modfile.write_text(f"{(wanted.folder / 'go.mod').read_text()}\nreplace {wanted.module} => {copy}\n")
    shutil.copyfile(wanted.folder / "go.sum", scratch / "go.sum")
    return modfile


@functools.cache
def _recipes() -> dict[str, Recipe]:
    found: dict[str, Recipe] = {}
    for file in sorted(TOOLS.glob("*/build.toml")):
        for made in _read(file):
            if made.name in found:
                raise ValueError(f"{file} gives {made.name}, which {found[made.name].folder} gives already; keep one")
            found[made.name] = made
    return found


def _read(file: Path) -> list[Recipe]:
    table = tomllib.loads(file.read_text())
    module = table["module"]
    version = _required_version(file.parent / "go.mod", module)
    if version is None:
        raise ValueError(f"{file}: module is {module}, which {file.parent}/go.mod does not require; pin it there")
    numbers = version.removeprefix("v").split(".")
    ldflags = table.get("ldflags", "-s -w").format(
        version=version, bare_version=version.removeprefix("v"), major=numbers[0], minor=numbers[1]
    )
    return [
        Recipe(
            name=name,
            folder=file.parent,
            module=module,
            package=package,
            ldflags=ldflags,
            tags=table.get("tags", ""),
            patched=table.get("patched", {}),
            version=table.get("prints", version),
            version_arguments=tuple(table.get("on_path", {}).get(name, ())),
        )
        for name, package in table["binaries"].items()
    ]


def _required_version(gomod: Path, module: str) -> str | None:
    """Return the version of ``module`` that go.mod requires; ``require`` lines only, as `go mod tidy` writes them."""
    for line in gomod.read_text().splitlines():
        words = line.split("//", 1)[0].removeprefix("require ").split()
        if len(words) == 2 and words[0] == module and words[1].startswith("v"):
            return words[1]
    return None
