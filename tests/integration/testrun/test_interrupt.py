"""scripts/test interrupted in the middle: it says so, and nothing that it started is left."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from clusters import REPOSITORY, eventually

SELECTED = "test_pods_run_on_fake_nodes_and_claims_are_bound"


def descendants(pid: int) -> set[int]:
    children: dict[int, set[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), set()).add(int(stat.parent.name))
    found: set[int] = set()
    pending = [pid]
    while pending:
        new = children.get(pending.pop(), set())
        found |= new
        pending += new
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 130, id="terminated by CI"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="killed"),
    ],
)
def test_nothing_is_left(number: signal.Signals, code: int) -> None:
    run = subprocess.Popen(
        [str(REPOSITORY / "scripts" / "test"), "--only", "integration", "-k", SELECTED, "-p", "no:cacheprovider"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "ROADSTEAD_KEEP"},
    )
    assert run.stdout is not None

    def api_servers() -> list[int]:
        return [pid for pid in descendants(run.pid) if "kube-apiserver" in command_of(pid)]

    eventually(api_servers, deadline=120, what="an API server below scripts/test")
    started = descendants(run.pid)
    run.send_signal(number)
    output = run.stdout.read()
    assert run.wait(60) == code, output
    if number is not signal.SIGKILL:
        assert "interrupted: everything that was started is stopped" in output
    eventually(lambda: not [command_of(pid) for pid in started if is_alive(pid)], deadline=30)
