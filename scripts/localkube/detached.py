"""Clusters that live on after the command that started them: a register to find and stop them by.

An entry is a small file in the cache directory; it names the supervisor's pid with its start time, so that a pid used
again by the system is never mistaken for ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import time
from pathlib import Path

from localkube import cache

STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One registered cluster.

    Attributes:
        name: Of the cluster.
        directory: Its directory; holds ``kubeconfig``.
        pid: Of its supervisor.
        started: Start time of the supervisor, clock ticks since boot.
    """

    name: str
    directory: Path
    pid: int
    started: int | None

    @property
    def alive(self) -> bool:
        """Whether the supervisor still runs."""
        return self.started is not None and start_time(self.pid) == self.started

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig."""
        return self.directory / "kubeconfig"


def register(name: str, directory: Path, supervisor: int) -> Entry:
    """Remember a cluster under its supervisor's pid."""
    entry = Entry(name, directory, supervisor, start_time(supervisor))
    _folder().mkdir(parents=True, exist_ok=True)
    record = {"name": name, "directory": str(directory), "pid": supervisor, "started": entry.started}
    _file(entry).write_text(json.dumps(record, indent=1))
    return entry


def entries() -> list[Entry]:
    """Return the registered clusters that run, by name; forget those that have ended."""
    found = []
    for file in sorted(_folder().glob("*.json")):
        try:
            record = json.loads(file.read_text())
            entry = Entry(record["name"], Path(record["directory"]), record["pid"], record["started"])
        except (OSError, ValueError, KeyError):
            continue  # written or removed at this moment by another run
        if entry.alive:
            found.append(entry)
        else:
            file.unlink(missing_ok=True)
    return sorted(found, key=lambda entry: entry.name)


def stop(entry: Entry) -> bool:
    """Stop a cluster and remove its directory; return whether it was running."""
    alive = entry.alive
    if alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(entry.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while entry.alive and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if entry.alive:  # its children carry PDEATHSIG and go with it
            os.kill(entry.pid, signal.SIGKILL)
    shutil.rmtree(entry.directory, ignore_errors=True)
    _file(entry).unlink(missing_ok=True)
    return alive


def start_time(pid: int) -> int | None:
    """Return when ``pid`` was started, in clock ticks since boot; None when there is no such process, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _folder() -> Path:
    return cache.root() / "running"


def _file(entry: Entry) -> Path:
    return _folder() / f"{entry.name}-{entry.pid}.json"
