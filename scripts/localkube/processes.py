"""Owner's side of `localkube.supervisor`: processes that never outlive the one who started them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LAST_LINES = 15
ANSWER_SECONDS = 60.0


class ProcessError(RuntimeError):
    """A process of the cluster did not do what it should; the message carries the end of its log."""


class ProcessGroup:
    """A few named processes with one life.

    Args:
        remove: Directory that goes with the last process; None keeps everything.
        detached: Live on after this Python process, until `stop` or a SIGTERM to `supervisor_pid`.
        hand_over: File descriptors that must stay open as long as the processes live (locks on ports).
    """

    def __init__(self, *, remove: Path | None = None, detached: bool = False, hand_over: Sequence[int] = ()) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._supervisor = subprocess.Popen(
                [
                    sys.executable,
                    "-I",  # no site-packages, no environment: 10 MB and 20 ms
                    "-S",
                    str(Path(__file__).with_name("supervisor.py")),
                    str(theirs.fileno()),
                    "0" if detached else str(os.getpid()),
                    str(remove) if remove else "",
                ],
                pass_fds=(theirs.fileno(), *hand_over),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if detached else None,
                start_new_session=True,
            )
        self._control = ours
        self._control.settimeout(ANSWER_SECONDS)
        self._answers = ours.makefile("rb")
        self._lock = threading.Lock()
        self._logs: dict[str, Path] = {}
        self.pids: dict[str, int] = {}

    @property
    def supervisor_pid(self) -> int:
        """Pid whose end is the end of all."""
        return self._supervisor.pid

    def start(self, name: str, argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        """Start a process under ``name``, output appended to ``log``; return its pid."""
        self._logs[name] = log
        answer = self._ask(
            {"op": "start", "name": name, "argv": [str(a) for a in argv], "env": dict(env or {}), "log": str(log)}
        )
        self.pids[name] = int(answer["pid"])
        return self.pids[name]

    def end(self, name: str, *, grace: float = 0.0) -> int:
        """End one process: SIGTERM and ``grace`` seconds first unless 0, then SIGKILL; return its code."""
        code = int(self._ask({"op": "stop", "name": name, "grace": grace})["code"])
        self.pids.pop(name, None)
        return code

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process."""
        self._ask({"op": "signal", "name": name, "signal": int(number)})

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of a process, None while it runs."""
        code = self._ask({"op": "status", "name": name})["code"]
        return None if code is None else int(code)

    def check_alive(self) -> None:
        """Raise `ProcessError` with the end of its log when one of the processes has ended by itself."""
        for name in list(self.pids):
            code = self.exit_code(name)
            if code is not None:
                raise ProcessError(f"{name} ended with code {code}:\n{self.last_words(name)}")

    def last_words(self, name: str, lines: int = LAST_LINES) -> str:
        """Return the last lines of the log of ``name``."""
        try:
            return "\n".join(self._logs[name].read_text(errors="replace").splitlines()[-lines:])
        except (KeyError, OSError):
            return "(no log)"

    def stop(self) -> None:
        """Kill every process of the group and wait until they are gone; more than one call does no harm."""
        if self._supervisor.poll() is None:
            self._supervisor.terminate()
        self._supervisor.wait()
        self._answers.close()
        self._control.close()
        self.pids.clear()

    def release(self) -> None:
        """Let a detached group live on without this process."""
        self._answers.close()
        self._control.close()
        self._supervisor.returncode = 0  # not ours to reap any more: keeps Popen from warning about a running child

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                self._control.sendall(json.dumps(request).encode() + b"\n")
                line = self._answers.readline()
            except OSError as error:
                raise ProcessError(f"the supervisor {self.supervisor_pid} does not answer: {error}") from error
        if not line:
            raise ProcessError(f"the supervisor {self.supervisor_pid} is gone, and the cluster with it")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProcessError(str(answer["error"]))
        return answer
