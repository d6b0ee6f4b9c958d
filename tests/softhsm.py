"""A real PKCS#11 module in software, SoftHSM2, with tokens of the test's own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube import debian
from roadstead.keys.kek_pkcs11 import Token

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "pin-of-the-user-48151623"
OFFICER = "pin-of-the-officer-9081"


class SoftHsm:
    """A directory with tokens.

    Args:
        directory: empty; may be a file system of its own.
    """

    def __init__(self, directory: Path) -> None:
        try:
            debian.ensure_programs({"softhsm2-util": "softhsm2", LIBRARY: "softhsm2"})
        except debian.PackagesMissingError as error:
            pytest.skip(f"SoftHSM2 is not here: {error}")
        self.tokens = directory / "tokens"
        self.tokens.mkdir()
        self._configuration = directory / "softhsm2.conf"
        self._configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self._configuration)}

    def init(self, label: str) -> None:
        self.util("--init-token", "--free", "--label", label, "--so-pin", OFFICER, "--pin", PIN)

    def token(self, label: str, *, pin: str = PIN, library: str = LIBRARY, limit: float = 30.0) -> Token:
        return Token(library, label, pin, self.environment, limit)

    def flags(self, label: str, pin_file: Path, *, library: str = LIBRARY) -> tuple[str, ...]:
        """What an operator is started with to use a token; it needs `environment`, too."""
        return (
            f"--pkcs11-library={library}",
            f"--pkcs11-token={label}",
            f"--pkcs11-pin-file={pin_file}",
            f"--pkcs11-environment={','.join(self.environment)}",
        )

    def labels(self, label: str) -> list[str]:
        """Labels of the keys in a token, each as often as there is one."""
        script = f"""
import pkcs11
token = pkcs11.lib({LIBRARY!r}).get_token(token_label={label!r})
with token.open(user_pin={PIN!r}) as session:
    for key in session.get_objects({{pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}}):
        print(key.label)
"""
        return sorted(self.python(script).splitlines())

    def util(self, *arguments: str) -> None:
        environment = {**os.environ, **self.environment}
        subprocess.run(["softhsm2-util", *arguments], env=environment, check=True, capture_output=True, timeout=60)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Meanwhile the library hangs, in every process but this: it waits for a lock that it does not get."""
        with contextlib.ExitStack() as stack:
            for path in self.tokens.glob("*/*"):
                fcntl.lockf(stack.enter_context(path.open("r+")), fcntl.LOCK_EX)
            yield

    def python(self, script: str) -> str:
        """What a script of its own process prints; libraries of that process see these tokens."""
        environment = {**os.environ, **self.environment}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout


def hangs(pid: int) -> bool:
    """Whether a process waits for a lock."""
    waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
    return str(pid) in {words[5] for words in waiting}
