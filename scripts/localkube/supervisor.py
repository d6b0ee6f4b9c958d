"""Starts the processes of one cluster and takes them along when it goes: run as a program, standard library only.

Why a process of its own: PR_SET_PDEATHSIG fires when the *thread* that forked ends, and tests fork from threads. This
one has a single thread for its whole life. Its children die with it (PDEATHSIG), and it dies with its owner, noticed
by end-of-file on the control socket or by a changed parent, however the owner ended (SIGKILL too).

Usage: ``supervisor.py FD OWNER REMOVE``: FD is one end of a socket pair that carries a JSON object a line each way,
OWNER the pid of the process to outlive by no more than a second (0: stay until SIGTERM), REMOVE a directory to delete
at the end, or empty. Requests: ``{"op": "start", "name", "argv", "env", "log"}``, ``{"op": "stop", "name", "grace"}``,
``{"op": "signal", "name", "signal"}``, ``{"op": "status", "name"}``. Answers: ``{"pid"|"code"|"error": ...}``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
OWNER_CHECK_SECONDS = 1.0
_libc = ctypes.CDLL(None)


class Supervisor:
    """The children by name, and what may be asked about them."""

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what ``request`` asks; an impossible wish becomes an ``error`` in the answer."""
        try:
            return self._do(request)
        except (KeyError, OSError) as error:
            return {"error": f"{request.get('op')} {request.get('name')}: {error!r}"}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["op"]:
            case "start":
                return {"pid": self._start(request["name"], request["argv"], request["env"], request["log"])}
            case "stop":
                return {"code": self._stop(request["name"], request["grace"])}
            case "signal":
                os.kill(self._children[request["name"]].pid, request["signal"])
                return {}
            case "status":
                return {"code": self._children[request["name"]].poll()}
            case unknown:
                return {"error": f"unknown op {unknown!r}"}

    def _start(self, name: str, argv: list[str], env: dict[str, str], log: str) -> int:
        if name in self._children and self._children[name].poll() is None:
            raise OSError(f"{name} runs already")
        with open(log, "ab") as output:  # noqa: PTH123  # pathlib would be the only reason to import it here
            child = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for the owner, who stops things in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # safe: this process has one thread
            )
        self._children[name] = child
        return child.pid

    def _stop(self, name: str, grace: float) -> int:
        child = self._children.pop(name)
        if child.poll() is None and grace > 0:
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        if child.poll() is None:
            child.kill()
        return child.wait()

    def kill_all(self) -> None:
        """Kill every child at once and wait for the last."""
        for child in self._children.values():
            if child.poll() is None:
                child.kill()
        for child in self._children.values():
            child.wait()
        self._children.clear()


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def serve(control: socket.socket, owner: int, supervisor: Supervisor) -> None:
    """Answer requests until the owner is gone."""
    pending = b""
    connected = True
    while owner == 0 or os.getppid() == owner:
        if not connected:
            if owner != 0:
                return
            time.sleep(OWNER_CHECK_SECONDS)
            continue
        readable, _, _ = select.select([control], [], [], OWNER_CHECK_SECONDS)
        if not readable:
            continue
        received = control.recv(65536)
        connected = bool(received)
        pending += received
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            control.sendall(json.dumps(supervisor.answer(json.loads(line))).encode() + b"\n")


def main() -> int:
    """Serve, then leave nothing behind."""
    control_fd, owner, remove = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    supervisor = Supervisor()

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with socket.socket(fileno=control_fd) as control:
            serve(control, owner, supervisor)
    except (ConnectionError, BrokenPipeError):
        pass  # the owner went away in the middle of an answer
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        supervisor.kill_all()
        if remove:
            shutil.rmtree(remove, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
