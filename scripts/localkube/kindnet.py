"""Which addresses a docker network of ours gets."""

from __future__ import annotations

import contextlib
import ipaddress
import random
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

POOL = IPv4Network("172.16.0.0/12")
"""Docker's own default pool; pods (10.244.0.0/16) and Services (10.96.0.0/16) of kind lie outside."""

PREFIX_LENGTH = 24


def candidates(taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Yield subnets that overlap none of ``taken``, in random order: two runs that start together rarely meet."""
    used = [network for network in taken if network.prefixlen > 0]
    subnets = list(POOL.subnets(new_prefix=PREFIX_LENGTH))
    random.shuffle(subnets)
    for subnet in subnets:
        if not any(subnet.overlaps(network) for network in used):
            yield subnet


def routed() -> list[IPv4Network]:
    """Return the networks that this machine has routes to; docker itself only knows its own."""
    with contextlib.suppress(OSError):
        return parse_routes(Path("/proc/net/route").read_text())
    return []


def parse_routes(text: str) -> list[IPv4Network]:
    """Return the destinations in the text of /proc/net/route (little-endian hexadecimal)."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(words[column]), "little") for column in (1, 7))
        found.append(IPv4Network((ipaddress.IPv4Address(destination), mask.bit_count())))
    return found
