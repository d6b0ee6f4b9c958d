"""Content-addressed cache outside the repository: built once, found again by what it was made of.

Every entry is a directory ``<root>/<kind>/<key>``. It is made in a sibling directory and renamed when complete, so an
interrupted build never leaves half an entry, and a file lock keeps two runs from building the same entry twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

KEY_LENGTH = 20
UNUSED_AFTER_DAYS = 30.0


def root() -> Path:
    """Return the cache directory: ``$ROADSTEAD_CACHE``, else ``${XDG_CACHE_HOME:-~/.cache}/roadstead``."""
    chosen = os.environ.get("ROADSTEAD_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roadstead"


def key_of(files: Iterable[Path], *facts: str) -> str:
    """Return the key of something made from ``files`` (name and content) and further ``facts`` such as build flags."""
    digest = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode())
        digest.update(content)
    for fact in facts:
        digest.update(f"\0{fact}".encode())
    return digest.hexdigest()[:KEY_LENGTH]


@contextlib.contextmanager
def lock(path: Path, *, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; say on stderr what is waited for when another process holds it.

    The kernel drops the lock when its holder dies, so no run ever has to clean up after another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"... waiting for another run: {waiting_for}", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def entry(kind: str, key: str, make: Callable[[Path], None], *, what: str = "") -> Path:
    """Return the directory of entry ``key`` of ``kind``, made by ``make(directory)`` when it is not there yet.

    Args:
        kind: Group of entries, for example ``nodeimage``.
        key: From `key_of`: everything that decides the content.
        make: Fills an empty directory; whatever it raises leaves no entry behind.
        what: Words for the message while another run makes the same entry.
    """
    target = root() / kind / key
    if target.is_dir():
        touch(target)
        return target
    with lock(root() / kind / f".{key}.lock", waiting_for=what or f"{kind} {key}"):
        if target.is_dir():
            return target
        staged = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=target.parent))
        try:
            make(staged)
            staged.chmod(0o755)  # mkdtemp's 0700 would hide it from other users of a shared cache
            staged.rename(target)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    return target


def touch(path: Path) -> None:
    """Mark an entry as used now; a read-only cache is fine."""
    with contextlib.suppress(OSError):
        os.utime(path)


def prune(kind: str, *, keep_days: float = UNUSED_AFTER_DAYS) -> list[Path]:
    """Remove entries of ``kind`` that nobody has used for ``keep_days`` days; return what was removed."""
    limit = time.time() - keep_days * 86400
    removed = []
    for path in (root() / kind).glob("*"):
        if not path.name.startswith(".") and path.is_dir() and path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed
