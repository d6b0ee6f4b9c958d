"""Reading the files that a person names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from roadstead.cli.exits import ExitCode, Failure
from roadstead.cli.manifests import MAX_BYTES

SUFFIXES: Final = (".yaml", ".yml", ".json")


def is_file(target: str) -> bool:
    """Whether a person who writes this means a file, and not the name of an object."""
    return target == "-" or target.endswith(SUFFIXES) or _exists(Path.is_file, target)


def contents(names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file; a folder stands for the manifests in it and below it.

    Raises:
        Failure: one of them cannot be read.
    """
    for name in names:
        if name == "-":
            yield name, sys.stdin.buffer.read(MAX_BYTES + 1)
            continue
        path = Path(name)
        if _exists(Path.is_dir, name):
            found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
            if not found:
                raise Failure(f"{_shortened(name)} holds no {', '.join(SUFFIXES)}; name a manifest", ExitCode.USAGE)
            yield from ((str(file), _content(file)) for file in found)
        else:
            yield name, _content(path)


def _exists(question: Callable[[Path], bool], name: str) -> bool:
    try:
        return question(Path(name))
    except (OSError, ValueError):  # too long for a file's name, or with a NUL in it
        return False


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Failure(f"cannot read {_shortened(str(path))}: {reason}", ExitCode.USAGE) from None


def _shortened(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:180]}... ({len(name)} characters)"
