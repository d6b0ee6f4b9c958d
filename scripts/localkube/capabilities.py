"""Which Linux capabilities this machine lets its containers have."""

from __future__ import annotations

import re
from pathlib import Path

NAMES = (
    *(
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
    ),
    *("NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO"),
    *(
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
    ),
    *("MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM"),
    *("BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
"""By bit number, from include/uapi/linux/capability.h; the last is bit 40."""


def lacking() -> set[str]:
    """Return the capabilities (``CAP_...``) that no process of ours can ever have; empty where that cannot be told."""
    try:
        return missing_from(Path("/proc/self/status").read_text())
    except OSError:  # not Linux: Docker runs elsewhere
        return set()


def missing_from(status: str) -> set[str]:
    """Return the capabilities outside the bounding set, from the text of /proc/PID/status."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if found is None:
        return set()
    bounding = int(found[1], 16)
    return {f"CAP_{name}" for bit, name in enumerate(NAMES) if not bounding >> bit & 1}
