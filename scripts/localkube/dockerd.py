"""A dockerd of our own, where root has no running Docker: one per machine, shared by all runs, stopped by the last.

One per machine because two dockerds would overwrite each other's firewall chains (both keep a chain named DOCKER). Its
images and layers lie in the cache of whoever starts it; its sockets, and what the machine looked like before, under
`runs.state_root`. Every user holds a shared lock, which the kernel drops when its process dies: whoever gets the
exclusive one is the last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from localkube import cache, capabilities, debian, machinestate, progress, runs

START_SECONDS = 60.0
STOP_SECONDS = 60.0
SHIM = Path(__file__).parent / "kindfiles" / "runc_fewer_caps.py"


class DockerdError(RuntimeError):
    """Our dockerd does not start or does not stop; the message names its log."""


def startable() -> bool:
    """Return whether one could be started here: root on Linux, with dockerd or the means to install it."""
    return sys.platform == "linux" and os.geteuid() == 0 and (not debian.missing(["dockerd"]) or debian.can_install())


def programs(os_release: str) -> dict[str, str]:
    """Return the programs that a dockerd of ours needs, each with its package on the given system.

    Args:
        os_release: Text of /etc/os-release.
    """
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    release = fields.get("VERSION_ID", "").strip('"').split(".")[0]
    # Debian 13 took the command out of docker.io and only recommends it
    apart = fields.get("ID") == "debian" and release.isdigit() and int(release) >= 13
    client = "docker-cli" if apart else "docker.io"
    return {"dockerd": "docker.io", "docker": client, "iptables": "iptables", "nft": "nftables"}


@contextlib.contextmanager
def used() -> Iterator[str]:
    """Yield the DOCKER_HOST of our dockerd, started if need be; stop it afterwards if nobody else uses it.

    A kept run (``scripts/clusters up``) counts as a user: its clusters live in this dockerd.
    """
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "users.lock").open("w") as users:
        with _gate():
            host = _running() or _start()
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield host
        finally:
            with _gate():
                fcntl.flock(users, fcntl.LOCK_UN)
                if _is_last(users):
                    stop()


def running_host() -> str | None:
    """Return the DOCKER_HOST of our dockerd when it runs."""
    return _running()


def stop() -> None:
    """Stop our dockerd and undo what it changed on the machine; nothing happens when it does not run.

    Raises:
        DockerdError: It does not end in time.
    """
    record = _record()
    if record is None:
        return
    if not _is_process(int(record["pid"]), record["started"]):
        _start()  # its containers live on without it; only a dockerd on the same state finds and ends them
        record = _record() or record
    pid, exec_root = int(record["pid"]), Path(record["exec_root"])
    if _is_process(pid, record["started"]):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_process(pid, record["started"]):
            if time.monotonic() > deadline:
                raise DockerdError(f"our dockerd (pid {pid}) does not stop; see {record['log']}")
            time.sleep(0.1)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)  # ours to reap only if this very process started it
    for folder in (exec_root, Path(record["data_root"])):
        _unmount(folder)
    shutil.rmtree(exec_root, ignore_errors=True)
    if not _other_dockerd():
        machinestate.restore(machinestate.Snapshot.from_json(record["before"]))
    (_home() / "dockerd.json").unlink(missing_ok=True)


def _start() -> str:
    died = _record()  # one that died without being stopped: its state, and how the machine was before it
    before = died["before"] if died else machinestate.take().to_json()
    data_root = Path(died["data_root"]) if died else cache.root() / "docker"
    data_root.mkdir(parents=True, exist_ok=True)
    _forget_restarts(data_root)
    # a short path of its own: a unix socket's path has 108 bytes at most, and a cache may lie deep
    exec_root = Path(died["exec_root"]) if died else Path(tempfile.mkdtemp(prefix="dockerd-", dir=_home()))
    (exec_root / "dockerd.pid").unlink(missing_ok=True)
    socket, log = exec_root / "docker.sock", _home() / "dockerd.log"
    (exec_root / "daemon.json").write_text("{}")
    command = [
        _program("dockerd"),
        f"--config-file={exec_root / 'daemon.json'}",
        f"--data-root={data_root}",
        f"--exec-root={exec_root}",
        f"--host=unix://{socket}",
        f"--pidfile={exec_root / 'dockerd.pid'}",
        "--log-level=warn",
        *_runtime_flags(exec_root),
    ]
    with progress.step("start a dockerd of our own", quiet_below=1.0), log.open("w") as output:
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])  # iptables, runc
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PATH": path},
            start_new_session=True,  # Ctrl-C is for the run, not for a dockerd that others use too
        )
        facts = {"pid": process.pid, "started": _start_time(process.pid), "exec_root": str(exec_root), "log": str(log)}
        facts |= {"data_root": str(data_root)}
        runs.write(_home() / "dockerd.json", facts | {"host": f"unix://{socket}", "before": before})
        _await(process, f"unix://{socket}", log)
    machinestate.raise_limits()
    _remove_leftovers(f"unix://{socket}")
    return f"unix://{socket}"


def _runtime_flags(exec_root: Path) -> list[str]:
    """Return the flags for a runtime that asks for no capability that this machine lacks; none where it has all."""
    if not capabilities.lacking():
        return []
    wrapper = exec_root / "runc-fewer-caps"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {SHIM} {_program("runc")} "$@"\n')
    wrapper.chmod(0o755)
    return [f"--add-runtime=fewer={wrapper}", "--default-runtime=fewer"]


def _await(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(host):
        if process.poll() is not None or time.monotonic() > deadline:
            words = "\n".join(log.read_text(errors="replace").strip().splitlines()[-8:])
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            raise DockerdError(f"our dockerd did not start (log {log}):\n{words}")
        time.sleep(0.2)


def _answers(host: str) -> bool:
    """Return whether the daemon answers; ``docker ps`` also needs its storage and containerd, unlike a ping."""
    done = subprocess.run(
        ["docker", "ps", "-q"], env=os.environ | {"DOCKER_HOST": host}, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def _running() -> str | None:
    record = _record()
    if record is None or not _is_process(int(record["pid"]), record["started"]):
        return None
    return record["host"] if _answers(record["host"]) else None


def _is_last(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not any(runs.is_kept(run_id) and runs.facts_of(run_id).get("ours") for run_id in runs.every())


def _forget_restarts(data_root: Path) -> None:
    """Make containers of a dead dockerd stay down: kind asks for a restart, which would come before any egress rule."""
    for file in data_root.glob("containers/*/hostconfig.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            config = json.loads(file.read_text())
            config["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
            file.write_text(json.dumps(config))


def _remove_leftovers(host: str) -> None:
    """Remove containers and networks of runs that are gone without a trace (a reboot empties `runs.state_root`)."""
    known = set(runs.every())
    environment = os.environ | {"DOCKER_HOST": host}

    def docker(*arguments: str) -> list[str]:
        done = subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, check=False)
        return done.stdout.split()

    def strangers(names: list[str]) -> list[str]:
        return [n for n in names if n.startswith(runs.PREFIX) and n.removeprefix(runs.PREFIX)[:6] not in known]

    if containers := strangers(docker("ps", "-a", "--format", "{{.Names}}")):
        docker("rm", "-f", "-v", *containers)
    if networks := strangers(docker("network", "ls", "--format", "{{.Name}}")):
        docker("network", "rm", *networks)


def _record() -> dict[str, str] | None:
    try:
        loaded = json.loads((_home() / "dockerd.json").read_text())
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _home() -> Path:
    return runs.state_root() / "docker"


def _gate() -> contextlib.AbstractContextManager[None]:
    return cache.lock(_home() / "gate.lock", waiting_for="our dockerd starts or stops")


def _program(name: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path) or name


def _start_time(pid: int) -> str:
    """Return the kernel's start time of a process, in clock ticks since boot: with the pid it names one process."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def _is_process(pid: int, started: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z" and _start_time(pid) == started
    except OSError:
        return False


def _other_dockerd() -> bool:
    """Return whether a dockerd runs on this machine; one that is dead and not yet reaped does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, state = stat.read_text().split("(", 1)[1].rsplit(")", 1)
            if name == "dockerd" and state.split()[0] != "Z":
                return True
    return False


def _unmount(folder: Path) -> None:
    """Unmount ``folder`` and what is mounted below it, as a killed dockerd leaves it; deepest first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)
