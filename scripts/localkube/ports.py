"""Ports on loopback that stay ours while nobody listens: an API server is stopped and comes back on the same one.

They lie below the kernel's range for outgoing connections, which could otherwise take a port during such a pause, and
each is claimed by a locked file, so that runs side by side never choose the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOWEST = 20000
HIGHEST = 29999
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 500


class Claim:
    """Some ports, ours until `release` or until every process that holds `descriptors` has ended."""

    def __init__(self, count: int) -> None:
        self.ports: list[int] = []
        self.descriptors: list[int] = []
        candidates = _candidates()
        for port in candidates:
            if len(self.ports) == count:
                return
            descriptor = _claim(port)
            if descriptor is not None:
                self.ports.append(port)
                self.descriptors.append(descriptor)
        if len(self.ports) < count:
            self.release()
            raise RuntimeError(f"no {count} free ports between {LOWEST} and {HIGHEST} on 127.0.0.1")

    def release(self) -> None:
        """Give the ports back (as far as this process is concerned)."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()


def _candidates() -> Iterator[int]:
    highest = HIGHEST
    with contextlib.suppress(OSError, ValueError):
        highest = min(HIGHEST, int(_RANGE.read_text().split()[0]) - 1)
    if highest - LOWEST < 1000:  # a machine that gives nearly all ports to outgoing connections
        highest = HIGHEST
    for _ in range(_ATTEMPTS):
        yield random.randint(LOWEST, highest)  # noqa: S311  # collisions matter here, not secrets


def _claim(port: int) -> int | None:
    folder = Path(tempfile.gettempdir()) / f"roadstead-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
