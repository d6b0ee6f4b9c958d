"""Who starts and who stops the dockerd that all runs share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localkube import docker, dockerd, runs


class Daemon:
    """Stands for the process: counts how often it is started and stopped."""

    def __init__(self) -> None:
        self.host: str | None = None
        self.calls: list[str] = []

    def start(self) -> str:
        self.calls.append("start")
        self.host = "unix:///ours"
        return self.host

    def stop(self) -> None:
        self.calls.append("stop")
        self.host = None


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon()
    monkeypatch.setenv("ROADSTEAD_RUN_DIR", str(tmp_path))
    monkeypatch.setattr(dockerd, "_start", made.start)
    monkeypatch.setattr(dockerd, "stop", made.stop)
    monkeypatch.setattr(dockerd, "_running", lambda: made.host)
    return made


def test_the_first_user_starts_it_and_the_last_one_stops_it(daemon: Daemon) -> None:
    with dockerd.used():
        with dockerd.used() as host:
            assert host == "unix:///ours"
        assert daemon.calls == ["start"]
    assert daemon.calls == ["start", "stop"]


def test_it_is_stopped_also_after_an_error(daemon: Daemon) -> None:
    with pytest.raises(ZeroDivisionError), dockerd.used():
        raise ZeroDivisionError
    assert daemon.calls == ["start", "stop"]


def test_a_user_that_was_killed_does_not_count(daemon: Daemon, tmp_path: Path) -> None:
    holds = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_SH); print(flush=True); time.sleep(60)"
    )
    users = tmp_path / "docker" / "users.lock"
    users.parent.mkdir()
    other = subprocess.Popen([sys.executable, "-c", holds, str(users)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with dockerd.used():
        pass
    assert daemon.calls == ["start"]
    other.kill()
    other.communicate()
    with dockerd.used():
        pass
    assert daemon.calls == ["start", "stop"]


def test_a_kept_run_keeps_it_running(daemon: Daemon) -> None:
    with dockerd.used():
        run = runs.create()
        run.note(ours=True)
        run.keep()
        run.release(remove=False)
    assert daemon.calls == ["start"]
    with dockerd.used():
        runs.adopt(run.id).release(remove=True)
    assert daemon.calls == ["start", "stop"]


def test_a_run_kept_in_the_users_docker_does_not(daemon: Daemon) -> None:
    with dockerd.used():
        run = runs.create()
        run.note(ours=False)
        run.keep()
    assert daemon.calls == ["start", "stop"]


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    started = dockerd._start_time(os.getpid())
    assert dockerd._is_process(os.getpid(), started)
    assert not dockerd._is_process(os.getpid(), str(int(started) - 1))


def test_a_dead_process_that_nobody_reaped_is_dead() -> None:
    child = subprocess.Popen(["true"])
    started = dockerd._start_time(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not dockerd._is_process(child.pid, started)
    child.wait()


def test_nodes_of_a_dead_dockerd_are_not_restarted_by_the_next(tmp_path: Path) -> None:
    # they would run before any rule keeps them on the machine
    config = tmp_path / "containers" / "0123" / "hostconfig.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"Privileged": True, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}))
    dockerd._forget_restarts(tmp_path)
    assert json.loads(config.read_text()) == {
        "Privileged": True,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    }


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "docker.io"),
        ('ID=debian\nVERSION_ID="13"\n', "docker-cli"),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', "docker.io"),
        ("", "docker.io"),
    ],
    ids=["Debian 12", "Debian 13", "Ubuntu", "unknown"],
)
def test_the_docker_command_is_in_another_package_since_debian_13(text: str, package: str) -> None:
    assert dockerd.programs(text)["docker"] == package


@pytest.fixture
def no_docker_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(docker, "_client", lambda: str(program))


@pytest.mark.usefixtures("no_docker_answers")
def test_a_docker_that_the_user_chose_and_that_is_silent_is_an_error_and_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///absent.sock")
    with pytest.raises(
        docker.DockerUnavailableError, match=r"DOCKER_HOST is unix:///absent\.sock, which does not answer"
    ):
        docker.of_user()
    assert not docker.available()


@pytest.mark.usefixtures("no_docker_answers")
def test_without_docker_and_without_root_the_message_offers_bare_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(dockerd, "startable", lambda: False)
    assert not docker.available()
    with pytest.raises(docker.DockerUnavailableError, match="bare clusters"), docker.attached():
        pass
