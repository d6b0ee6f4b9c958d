"""Debian underneath: installs missing packages as root, knows the machine's own mirror, and makes one root filesystem.

That root filesystem (debootstrap, once per content) is what the node image, kube-proxy's image and the Python base of
our own images are cut from where no registry can be reached.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from localkube import cache, progress

SUITE = "bookworm"
"""Pinned, whatever release the machine itself has: its Python (3.11) decides which wheels our images take."""

PYTHON = "3.11"
FALLBACK_MIRROR = "https://deb.debian.org/debian"
PACKAGES = (
    # what kind's own base image installs, and what kubelet, kube-proxy and kind's scripts call
    *(
        "systemd",
        "systemd-sysv",
        "dbus",
        "iptables",
        "nftables",
        "ebtables",
        "iproute2",
        "conntrack",
        "socat",
        "ethtool",
        "ipset",
    ),
    *(
        "kmod",
        "mount",
        "util-linux",
        "bash",
        "jq",
        "hostname",
        "procps",
        "curl",
        "ca-certificates",
        "libseccomp2",
        "runc",
    ),
    *("containernetworking-plugins", "rsync", "tar", "zstd", "gettext-base"),
    # a shell for the storage helper's image, and what our own images run on
    *("busybox", "python3", "python3-pip", "tzdata"),
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""What debootstrap verifies the archive with; not there on systems that are only made of Debian."""

WASTE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
"""Emptied after the installation: nothing that runs reads it."""


class PackagesMissingError(RuntimeError):
    """Programs are missing and cannot be installed by us; the message says which and how."""


def can_install() -> bool:
    """Return whether packages can be installed: root on Debian or something made of it."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def os_release() -> str:
    """Return the text that describes this system; empty where there is none."""
    file = Path("/etc/os-release")
    return file.read_text() if file.is_file() else ""


def missing(programs: Iterable[str]) -> list[str]:
    """Return those programs (or absolute paths of files) that are not here: not on PATH, nor where only root looks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [
        name for name in programs if not (Path(name).is_file() if name[0] == "/" else shutil.which(name, path=path))
    ]


def ensure_programs(wanted: Mapping[str, str]) -> None:
    """Install the packages of those programs that are missing.

    Args:
        wanted: Program -> the Debian package that has it.

    Raises:
        PackagesMissingError: Some are missing and cannot be installed.
    """
    packages = sorted({wanted[program] for program in missing(wanted)})
    if not packages:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if not can_install():
        raise PackagesMissingError(
            f"missing on this machine: {', '.join(missing(wanted))}; run: sudo {' '.join(command)}"
        )
    with progress.step(f"install Debian packages: {', '.join(packages)}"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:  # most likely stale or absent package lists
            subprocess.run(["apt-get", "update", "-q"], env=environment, capture_output=True, check=False)
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or missing(wanted):
        raise PackagesMissingError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")


def mirror(sources: str) -> str:
    """Return the mirror of Debian itself named in the text of apt's sources (either format), else the usual one.

    Security and third-party archives are passed over: only a path that ends in /debian is a full mirror.
    """
    for line in sources.splitlines():
        if line.lstrip().startswith("#"):
            continue
        for address in re.findall(r"https?://[^\s\]]+", line):
            if address.rstrip("/").endswith("/debian"):
                return str(address).rstrip("/")
    return FALLBACK_MIRROR


def root() -> Path:
    """Return the root filesystem of Debian with `PACKAGES`, made on first use (about two minutes). Never write into it.

    Raises:
        PackagesMissingError: debootstrap is missing.
        RuntimeError: debootstrap failed; with its last words.
    """
    key = cache.key_of([], SUITE, *PACKAGES, *WASTE)
    return cache.entry("debian", key, _bootstrap, what="Debian's root filesystem") / "root"


def _bootstrap(directory: Path) -> None:
    ensure_programs({"debootstrap": "debootstrap", str(KEYRING): "debian-archive-keyring"})
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    address = mirror("\n".join(file.read_text(errors="replace") for file in listed if file.is_file()))
    target = directory / "root"
    with progress.step("Debian root filesystem for the node image"):
        done = subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                "--components=main",
                f"--include={','.join(PACKAGES)}",
                SUITE,
                str(target),
                address,
            ],
            env=os.environ
            | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"debootstrap {SUITE} from {address} failed: {(done.stdout + done.stderr).strip()[-1500:]}")
    for waste in WASTE:
        shutil.rmtree(target / waste, ignore_errors=True)
        (target / waste).mkdir(parents=True)


def libraries(base: Path, programs: Iterable[str]) -> set[str]:
    """Return the shared libraries that ``programs`` link to, as the dynamic linker finds them.

    Args:
        base: A root filesystem, `root` or a part of it.
        programs: Absolute paths inside ``base``; shared objects (plugins) too.

    Raises:
        RuntimeError: A library is not there. kube-proxy without one of iptables' would fail silently, much later.
    """
    linker = "/lib64/ld-linux-x86-64.so.2" if os.uname().machine == "x86_64" else "/lib/ld-linux-aarch64.so.1"
    found: set[str] = set()
    for program in programs:
        done = subprocess.run(
            ["chroot", str(base), linker, "--list", program], capture_output=True, text=True, check=False
        )
        if "not found" in done.stdout + done.stderr:
            raise RuntimeError(f"{program} of {base} links to a library that is not there: {done.stdout}{done.stderr}")
        found.update(re.findall(r"(/\S+)\s+\(0x", done.stdout))
    return found


def resolved(base: Path, path: str) -> Path:
    """Return the file behind ``path`` of ``base``, links followed as inside it: an absolute link is not the host's."""
    file = base / path.lstrip("/")
    for _ in range(40):  # the kernel's own limit
        if not file.is_symlink():
            return file
        target = file.readlink()
        file = base / str(target).lstrip("/") if target.is_absolute() else file.parent / target
    raise RuntimeError(f"{path} of {base} is a circle of links")
