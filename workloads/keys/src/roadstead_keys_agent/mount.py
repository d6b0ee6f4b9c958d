"""What is mounted, and what is handed on: both are swapped whole, as a kubelet does.

Files are symlinks into a directory that ``..data`` points to. Who reads opens that directory once; who writes makes
another one and moves the link.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from roadstead_keys_agent.errors import AgentError, Reason

_DATA = "..data"
_MOST_BYTES = 2_097_152
_MEMORY = frozenset({"tmpfs", "ramfs"})


def identity(path: Path) -> str:
    """Another one whenever the content of a file or a mount may be another; empty when there is none."""
    try:
        if path.is_dir():
            data = path / _DATA
            if data.is_symlink():
                return str(data.readlink())
            return " ".join(f"{entry.name}:{_stamp(entry.stat())}" for entry in sorted(path.iterdir()))
        link = path.parent / _DATA
        return str(link.readlink()) if link.is_symlink() else _stamp(path.stat())
    except OSError:
        return ""


def _stamp(stat: os.stat_result) -> str:
    return f"{stat.st_ino}.{stat.st_mtime_ns}.{stat.st_size}"


def read(directory: Path) -> dict[str, bytes]:
    """All files of a mount, of one moment; nothing where there is no directory.

    Raises:
        AgentError: it cannot be read.
    """
    current = directory / _DATA
    try:
        opened = os.open(current if current.exists() else directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AgentError(Reason.SOURCE, f"{directory} cannot be read ({error.strerror})") from None
    try:
        names = [name for name in os.listdir(opened) if not name.startswith(".")]  # noqa: PTH208 - of a descriptor
        return {name: _file(opened, name, directory) for name in names}
    finally:
        os.close(opened)


def _file(opened: int, name: str, directory: Path) -> bytes:
    try:
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=opened), "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AgentError(Reason.SOURCE, f"{directory / name} cannot be read ({error.strerror})") from None
    if len(content) > _MOST_BYTES:
        raise AgentError(Reason.SOURCE, f"{directory / name} has more than {_MOST_BYTES} bytes")
    return content


def require_memory(directory: Path) -> None:
    """Refuse to write keys where they would reach a disk.

    Raises:
        AgentError: it is no directory in memory.
    """
    try:
        where = directory.resolve(strict=True)
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError as error:
        words = f"{directory} cannot be used ({error.strerror}); mount an emptyDir with medium: Memory there"
        raise AgentError(Reason.TARGET, words) from None
    kind, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode().decode("unicode_escape")
        if where.is_relative_to(point) and len(point) >= longest:
            kind, longest = after.split(" ")[0], len(point)
    if kind not in _MEMORY:
        words = f"{directory} is on {kind}, and keys belong into memory; mount an emptyDir with medium: Memory there"
        raise AgentError(Reason.TARGET, words)


def publish(directory: Path, files: Mapping[str, bytes], mode: int) -> None:
    """Hand on files, all at once.

    Args:
        directory: where the workload reads them.
        files: by name.
        mode: of each file.

    Raises:
        AgentError: it cannot be written.
    """
    try:
        former = _target(directory)
        fresh = directory / f"..{secrets.token_hex(8)}"
        fresh.mkdir(mode=0o700)
        for name, content in files.items():
            descriptor = os.open(fresh / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
        fresh.chmod(0o755)
        _swap(directory, fresh.name)
        for name in files:
            link = directory / name
            if not link.is_symlink():
                link.symlink_to(f"{_DATA}/{name}")
        for left in directory.iterdir():
            if left.is_symlink() and not left.exists():
                left.unlink()
            elif left.is_dir() and left.name.startswith("..") and left.name not in (_DATA, fresh.name, former):
                shutil.rmtree(left, ignore_errors=True)  # a crash has left it
        if former:
            shutil.rmtree(directory / former, ignore_errors=True)
    except OSError as error:
        words = f"{directory} cannot be written ({error.strerror}); mount an emptyDir with medium: Memory there"
        raise AgentError(Reason.TARGET, words) from None


def _swap(directory: Path, to: str) -> None:
    link = directory / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(to)
    link.replace(directory / _DATA)


def _target(directory: Path) -> str:
    link = directory / _DATA
    return str(link.readlink()) if link.is_symlink() else ""
