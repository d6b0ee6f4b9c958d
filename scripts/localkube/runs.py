"""A run is whatever one process starts; it is found again by its id, however that process ended.

A run has a directory with a lock that its process holds for life. The kernel drops the lock when the process dies, so
"nobody holds the lock, and it was not asked to be kept" is what makes a run's clusters and networks fair to remove.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import IO

PREFIX = "rs-"
"""Every docker container, network and bridge of a run is called ``rs-<run id>-...``."""

_ID = re.compile(r"[0-9a-f]{6}")


class NotOurRunError(ValueError):
    """The run belongs to a process that lives, or its id is no id."""


def state_root() -> Path:
    """Return where runs are recorded: gone after a reboot, as everything that they describe.

    Shared by all checkouts and caches of one user, because what they share (docker, bridges, firewall) is too.
    ``$ROADSTEAD_RUN_DIR`` moves it, for tests of this package only.
    """
    chosen = os.environ.get("ROADSTEAD_RUN_DIR")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run/roadstead")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "roadstead" if runtime else Path(tempfile.gettempdir()) / f"roadstead-{os.geteuid()}"


@dataclasses.dataclass(slots=True)
class Run:
    """One run, held by this process until `release`.

    Attributes:
        id: Six hexadecimal digits, in the name of everything that the run starts.
        directory: For kubeconfigs and records; removed with the run.
    """

    id: str
    directory: Path
    _lock: IO[str] | None

    @property
    def prefix(self) -> str:
        """Return what every name of this run starts with."""
        return f"{PREFIX}{self.id}-"

    def note(self, **facts: str | bool | None) -> None:
        """Add facts that whoever sweeps this run will need."""
        write(self.directory / "facts.json", facts_of(self.id) | facts)

    def keep(self) -> None:
        """Let everything of this run outlive its process; `sweep` with ``kept=True`` removes it."""
        (self.directory / "keep").touch()

    def release(self, *, remove: bool) -> None:
        """Give the run up; ``remove`` its directory when nothing of it is left to be found."""
        if remove:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def create() -> Run:
    """Start a new run, held by this process."""
    root = _runs()
    root.mkdir(parents=True, exist_ok=True)
    root.parent.chmod(0o700)  # kubeconfigs of cluster admins lie here
    while True:
        run_id = secrets.token_hex(3)
        directory = root / run_id
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue
        lock = (directory / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Run(run_id, directory, lock)


def adopt(run_id: str) -> Run:
    """Take over a run that no process holds, to remove it.

    Raises:
        NotOurRunError: Its process lives, or there is no such run.
    """
    if not _ID.fullmatch(run_id):
        raise NotOurRunError(f"{run_id!r} is not a run id; expected six hexadecimal digits")
    directory = _runs() / run_id
    try:
        lock = (directory / "lock").open("r+")
    except FileNotFoundError:
        raise NotOurRunError(f"there is no run {run_id} in {_runs()}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise NotOurRunError(f"run {run_id} is in use by another process; stop that process instead") from None
    return Run(run_id, directory, lock)


def every() -> list[str]:
    """Return the ids of all recorded runs, alive or not."""
    if not _runs().is_dir():
        return []
    return sorted(entry.name for entry in _runs().iterdir() if _ID.fullmatch(entry.name))


def is_kept(run_id: str) -> bool:
    """Return whether the run shall outlive its process."""
    return (_runs() / run_id / "keep").exists()


def facts_of(run_id: str) -> dict[str, str | bool | None]:
    """Return what the run noted; empty when it died before it noted anything."""
    try:
        loaded = json.loads((_runs() / run_id / "facts.json").read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def write(path: Path, content: object) -> None:
    """Write JSON so that a reader sees the old content or the new, never half of it."""
    staged = path.with_suffix(f".{os.getpid()}")
    staged.write_text(json.dumps(content, indent=1, sort_keys=True))
    staged.replace(path)


def _runs() -> Path:
    return state_root() / "runs"
