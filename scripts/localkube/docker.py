"""The Docker that clusters run in: the user's own where one answers, else a dockerd of ours (dockerd.py)."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from localkube import debian, dockerd

ANSWER_SECONDS = 10.0
CALL_SECONDS = 300.0


class DockerUnavailableError(RuntimeError):
    """No Docker answers and none can be started; the message says what is missing."""


class DockerError(RuntimeError):
    """A docker command failed; the message holds its own words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Docker:
    """A Docker that answers.

    Attributes:
        host: Value for DOCKER_HOST; None leaves the choice to the docker command (environment, context).
        ours: Whether it is a dockerd that this package started.
    """

    host: str | None
    ours: bool

    def environment(self) -> dict[str, str]:
        """Return the environment in which ``docker`` and ``kind`` talk to this Docker."""
        return dict(os.environ) | ({"DOCKER_HOST": self.host} if self.host else {})

    def run(
        self, *arguments: str, stdin: str | IO[bytes] | None = None, seconds: float = CALL_SECONDS, check: bool = True
    ) -> str:
        """Run ``docker arguments`` and return its output without the last line end.

        Args:
            arguments: Arguments of the docker command.
            stdin: Text for its standard input, or an open file.
            seconds: Time limit.
            check: Raise when it fails; otherwise a failure gives what it printed.

        Raises:
            DockerError: When it fails or takes too long.
        """
        command = [_client(), *arguments]
        given: dict[str, Any] = {"stdin": stdin or subprocess.DEVNULL}
        if isinstance(stdin, str):
            given = {"input": stdin.encode()}
        try:
            done = subprocess.run(
                command, env=self.environment(), capture_output=True, timeout=seconds, check=False, **given
            )
        except subprocess.TimeoutExpired:
            raise DockerError(f"{_words(command)} took longer than {seconds:.0f} s") from None
        if check and done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")[-2000:]
            raise DockerError(f"{_words(command)} failed with exit code {done.returncode}: {said}")
        output: bytes = done.stdout
        return output.decode(errors="replace").rstrip("\n")

    def succeeds(self, *arguments: str, seconds: float = 60.0) -> bool:
        """Return whether ``docker arguments`` ends with exit code 0 in time."""
        try:
            self.run(*arguments, seconds=seconds)
        except DockerError:
            return False
        return True

    def inspect(self, name: str, *, kind: str = "container") -> dict[str, Any] | None:
        """Return what ``docker inspect`` says of a container, image or network; None when there is no such thing."""
        try:
            found = json.loads(self.run("inspect", "--type", kind, name))
        except DockerError as error:
            if "no such" in str(error).lower() or "not found" in str(error).lower():
                return None
            raise
        return dict(found[0])

    def has_image(self, reference: str) -> bool:
        """Return whether the image is here already."""
        return self.inspect(reference, kind="image") is not None

    def lines(self, *arguments: str) -> list[str]:
        """Return the non-empty lines that ``docker arguments`` prints."""
        return [line for line in self.run(*arguments).splitlines() if line]


def of_user() -> Docker | None:
    """Return the user's Docker when one answers.

    Raises:
        DockerUnavailableError: DOCKER_HOST is set and does not answer; another Docker would not be what was asked for.
    """
    host = os.environ.get("DOCKER_HOST")
    if shutil.which("docker") is None:
        if host:
            raise DockerUnavailableError(f"DOCKER_HOST is {host}, but there is no docker command on PATH; install it")
        return None
    if _answers(os.environ):
        return Docker(host=host, ours=False)
    if host:
        raise DockerUnavailableError(f"DOCKER_HOST is {host}, which does not answer; start it or unset DOCKER_HOST")
    return None


def available() -> bool:
    """Return whether `attached` has a fair chance, without starting or installing anything."""
    try:
        return of_user() is not None or dockerd.startable()
    except DockerUnavailableError:
        return False


@contextmanager
def attached() -> Iterator[Docker]:
    """Yield a Docker that answers: the user's, else ours, which the last of its users stops.

    Raises:
        DockerUnavailableError: Neither is possible; the message names the reason and the cure.
    """
    found = of_user()
    if found is not None:
        yield found
        return
    if not dockerd.startable():
        raise DockerUnavailableError(
            "no Docker answers, and one of our own needs root on Linux with dockerd installed (or Debian, to install "
            "it); start Docker, set DOCKER_HOST, or use bare clusters (weight bare), which need neither"
        )
    debian.ensure_programs(dockerd.programs(debian.os_release()))
    with dockerd.used() as host:
        yield Docker(host=host, ours=True)


def _answers(environment: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(
            [_client(), "version", "--format", "{{.Server.Version}}"],
            env=dict(environment),
            capture_output=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@functools.cache
def _client() -> str:
    return shutil.which("docker") or "docker"


def _words(command: Sequence[str]) -> str:
    text = " ".join(command[1:])
    return f"docker {text if len(text) < 200 else text[:200] + ' ...'}"
