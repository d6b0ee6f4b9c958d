"""What dockerd and the nodes in it change on the machine itself, and how to put it back.

dockerd sets ip_forward, FORWARD's policy, its own firewall chains and docker0; a kubelet in a privileged container sets
kernel settings that no namespace keeps apart (panic, overcommit, keyrings). Only for a dockerd of ours, and only when
no other runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import subprocess
from pathlib import Path
from typing import Any

SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    # kubelet's (pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables); none of them is namespaced
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    # ours, see LEAST
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
)
LEAST = {"fs/inotify/max_user_instances": 1024, "fs/inotify/max_user_watches": 524288}
"""What several nodes on one machine need: each takes about 30 instances, and the usual limit is 128 for all of root's.

Beyond it programs fail with "too many open files", for example CoreDNS of the fifth cluster.
"""

FAMILIES = ("iptables", "ip6tables")
CGROUPS = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """How the machine was before.

    Attributes:
        settings: Kernel setting (path below /proc/sys) -> value.
        firewall: ``iptables`` and ``ip6tables`` -> output of their ``-save``.
        had_docker0: Whether the link docker0 was there.
        cgroups: Folders named docker in the cgroup hierarchies that were there.
    """

    settings: dict[str, str]
    firewall: dict[str, str]
    had_docker0: bool
    cgroups: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Snapshot:
        """Return the snapshot that `to_json` wrote."""
        return cls(value["settings"], value["firewall"], value["had_docker0"], tuple(value["cgroups"]))


def take() -> Snapshot:
    """Return how the machine is now."""
    settings = {}
    for name in SETTINGS:
        with contextlib.suppress(OSError):
            settings[name] = Path("/proc/sys", name).read_text().strip()
    return Snapshot(
        settings=settings,
        firewall={family: _saved(family) for family in FAMILIES},
        had_docker0=Path("/sys/class/net/docker0").exists(),
        cgroups=tuple(str(folder) for folder in _docker_cgroups()),
    )


def raise_limits() -> None:
    """Raise the kernel settings of `LEAST` where they are lower; a machine that refuses may still do for few nodes."""
    for name, least in LEAST.items():
        file = Path("/proc/sys", name)
        with contextlib.suppress(OSError):
            if int(file.read_text()) < least:
                file.write_text(str(least))


def restore(before: Snapshot) -> None:
    """Put the machine back as far as docker changed it; what others changed meanwhile stays."""
    for family in FAMILIES:
        for arguments in undo(before.firewall.get(family, ""), _saved(family)):
            subprocess.run([family, *arguments], capture_output=True, check=False)
    if not before.had_docker0:
        subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
    for name, value in before.settings.items():
        file = Path("/proc/sys", name)
        with contextlib.suppress(OSError):
            if file.read_text().strip() != value:
                file.write_text(value)
    for folder in _docker_cgroups():
        if str(folder) not in before.cgroups:
            _remove_empty(folder)


def undo(before: str, after: str) -> list[list[str]]:
    """Return the iptables arguments that take docker's part of the difference between two ``iptables-save`` texts back.

    Rules in the builtin chains first (they hold references), then docker's chains emptied, then deleted, then policies.
    """
    old, new = _parse(before), _parse(after)
    rules: list[list[str]] = []
    flushes: list[list[str]] = []
    deletions: list[list[str]] = []
    policies: list[list[str]] = []
    for table, (chains, appended) in new.items():
        old_chains, old_rules = old.get(table, ({}, []))
        gone = {chain for chain in chains if chain.startswith("DOCKER") and chain not in old_chains}
        for rule in appended:
            words = shlex.split(rule)
            if rule not in old_rules and words[1] not in gone and _is_dockers(words, gone):
                rules.append(["-t", table, "-D", *words[1:]])
        flushes += [["-t", table, "-F", chain] for chain in sorted(gone)]
        deletions += [["-t", table, "-X", chain] for chain in sorted(gone)]
        for chain, policy in chains.items():
            was = old_chains.get(chain, "ACCEPT")  # a table that nobody had touched is not listed, and accepts
            if policy not in ("-", was):
                policies.append(["-t", table, "-P", chain, was])
    return [*rules, *flushes, *deletions, *policies]


def _is_dockers(words: list[str], chains: set[str]) -> bool:
    return any(word in chains or word == "docker0" or word.startswith(("br-", "rs-")) for word in words[2:])


def _parse(saved: str) -> dict[str, tuple[dict[str, str], list[str]]]:
    """Return table -> (chain -> policy, rules) of an ``iptables-save`` text; ``-`` is the policy of a user's chain."""
    tables: dict[str, tuple[dict[str, str], list[str]]] = {}
    chains: dict[str, str] = {}
    rules: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            chains, rules = {}, []
            tables[line[1:].strip()] = (chains, rules)
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = policy
        elif line.startswith("-A "):
            rules.append(line)
    return tables


def _saved(family: str) -> str:
    with contextlib.suppress(OSError):
        return subprocess.run([f"{family}-save"], capture_output=True, text=True, check=False).stdout
    return ""


def _docker_cgroups() -> list[Path]:
    return [folder for pattern in ("docker", "*/docker") for folder in CGROUPS.glob(pattern) if folder.is_dir()]


def _remove_empty(folder: Path) -> None:
    """Remove a cgroup and those below it; the kernel refuses those that still hold a process."""
    for child in folder.iterdir():
        if child.is_dir():
            _remove_empty(child)
    with contextlib.suppress(OSError):
        folder.rmdir()
