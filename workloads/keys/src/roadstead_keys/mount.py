"""Reading what is mounted, in one piece.

A kubelet swaps the whole content of a Secret's mount at once: files are symlinks into a directory that ``..data``
points to. Two files that are opened one after the other by their names could come from two contents, so the directory
is opened once and both are read in it. (Mounts with ``subPath`` are never swapped, and have no ``..data``.)
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadstead_keys.errors import MountError

KEYSET = "keyset.json"
RING = "ring.json"
_MOST_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Bundle:
    """The content of a mount.

    Attributes:
        ring: identity of the ring.
        region: name of the region that it was made for.
        generation: grows with every change of the keyset.
        active: whether anybody may write with the primary yet.
        challenges: by version, what only its holder can read; empty where nothing is asked.
        keyset: a Tink keyset as JSON, in clear text.
    """

    ring: str
    region: str
    generation: int
    active: bool
    challenges: Mapping[int, bytes]
    keyset: bytes


def is_there(directory: Path) -> bool:
    """Whether anything is mounted: the mount of an optional Secret is an empty directory while there is no Secret."""
    current = _current(directory)
    return (current / RING).exists() or (current / KEYSET).exists()


def read(directory: Path) -> Bundle:
    """Read a mount.

    Raises:
        MountError: a file is missing, too large, or not what it should be.
    """
    try:
        opened = os.open(_current(directory), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise MountError(
            f"{directory} cannot be opened ({error.strerror}); is the keyset's Secret mounted there?"
        ) from None
    try:
        return _bundle(_file(opened, RING, directory), _file(opened, KEYSET, directory), directory)
    finally:
        os.close(opened)


def _current(directory: Path) -> Path:
    """Where the content is at this moment."""
    current = directory / "..data"
    return current if current.exists() else directory


def _file(opened: int, name: str, directory: Path) -> bytes:
    try:
        descriptor = os.open(name, os.O_RDONLY, dir_fd=opened)
    except OSError as error:
        raise MountError(f"{directory / name} cannot be read ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise MountError(f"{directory / name} has more than {_MOST_BYTES} bytes")
    return content


def _bundle(ring: bytes, keyset: bytes, directory: Path) -> Bundle:
    where = directory / RING
    try:
        said: Any = json.loads(ring)
        challenges = {int(number): base64.b64decode(text, validate=True) for number, text in said["challenges"].items()}
        found = Bundle(said["ring"], said["region"], said["generation"], said["active"], challenges, keyset)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise MountError(f"{where} is not readable: it needs ring, region, generation, active and challenges") from None
    kinds = ((found.ring, str), (found.region, str), (found.active, bool))
    if not all(isinstance(value, kind) for value, kind in kinds) or type(found.generation) is not int:
        raise MountError(f"{where} has a value of another type than it should")
    return found
