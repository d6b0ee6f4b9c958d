"""Nothing of a kind network leaves the machine: forwarded packets from its bridges to anywhere else are rejected.

A table of our own in nftables, named after the run, so it works beside whatever firewall Docker itself keeps, is told
apart at a glance (``nft list table inet roadstead_<run>``) and goes in one command. It must be there before the first
node starts: a service address that kube-proxy has no rule for yet would otherwise be sent out to the world.

Not covered: a name looked up by Docker's resolver where the *host's* resolver is on loopback (Docker then asks it from
the host's side), and the host itself, which is not outside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from localkube.docker import Docker, DockerError

_BRIDGE = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class EgressError(RuntimeError):
    """The rule could not be set, so no node may start; the message says what was tried."""


def table(run_id: str) -> str:
    """Return the name of the table of one run."""
    return f"roadstead_{run_id}"


def refusal(run_id: str, bridges: Sequence[str]) -> str:
    """Return the nft script that sets, in one transaction, the rules for all bridges of a run in place of former ones.

    A reject is an answer, so a program inside learns of it at once instead of waiting. TCP gets a reset, because the
    kernel sends only about one ICMP error a second to each node, and CoreDNS alone uses them up.

    Raises:
        ValueError: A name is no name of a network device.
    """
    for bridge in bridges:
        if not _BRIDGE.fullmatch(bridge):
            raise ValueError(f"bridge {bridge!r} is no device name; expected up to 15 letters, digits, '_', '.', '-'")
    name = table(run_id)
    answers = ("meta l4proto tcp counter reject with tcp reset", "counter reject with icmpx type admin-prohibited")
    rules = "\n".join(
        f'    iifname "{bridge}" oifname != "{bridge}" {answer}' for bridge in bridges for answer in answers
    )
    return f"""add table inet {name}
delete table inet {name}
table inet {name} {{
  chain forward {{
    type filter hook forward priority -10; policy accept;
{rules}
  }}
}}
"""


def refuse(docker: Docker, run_id: str, bridges: Sequence[str], *, image: Callable[[], str]) -> None:
    """Reject what comes from ``bridges`` and goes anywhere else.

    Args:
        docker: Where the bridges are.
        run_id: Whose they are.
        bridges: Device names.
        image: Gives an image with ``nft``, for a container in the host's network where this process may set no rules.

    Raises:
        EgressError: The rules are not in place.
    """
    script = refusal(run_id, bridges)
    try:
        _nft(docker, script, image)
        listed = _nft(docker, f"list table inet {table(run_id)}", image)
    except (DockerError, OSError, subprocess.CalledProcessError) as error:
        raise EgressError(
            f"egress of {', '.join(bridges)} cannot be refused, so no node is started: {error}"
        ) from error
    absent = [bridge for bridge in bridges if f'iifname "{bridge}"' not in listed]
    if absent:
        raise EgressError(f"egress of {', '.join(absent)} is not refused although nft accepted the rule: {listed}")


def allow(docker: Docker, run_id: str, *, image: Callable[[], str]) -> None:
    """Take the rules of a run away again; fine when they are gone already.

    Raises:
        EgressError: They could not be removed.
    """
    name = table(run_id)
    try:
        _nft(docker, f"add table inet {name}\ndelete table inet {name}", image)
    except (DockerError, OSError, subprocess.CalledProcessError) as error:
        raise EgressError(f"remove the table by hand: nft delete table inet {name} ({error})") from error


def _nft(docker: Docker, script: str, image: Callable[[], str]) -> str:
    if _is_local(docker):
        done = subprocess.run([_program(), "-f", "-"], input=script, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(done.stderr.strip())
        return done.stdout
    # --privileged: writing to the network namespace of Docker's machine is the whole purpose, and nft all that runs
    arguments = ("run", "--rm", "-i", "--privileged", "--network=host", "--entrypoint=nft", image(), "-f", "-")
    return docker.run(*arguments, stdin=script, seconds=60)


def _is_local(docker: Docker) -> bool:
    """Return whether this process is root on the machine where Docker's bridges are."""
    if os.geteuid() != 0 or not Path(_program()).exists():
        return False
    host = docker.host or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return False
    return docker.ours or docker.run("info", "--format", "{{.OperatingSystem}}") != "Docker Desktop"


def _program() -> str:
    return shutil.which("nft") or "/usr/sbin/nft"
