"""The root filesystem of a kind node: Debian, kind's own base files, Kubernetes, and the images that it starts with."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from localkube import binaries, debian, nodeimage_parts, progress

FILES = Path(__file__).parent / "kindfiles" / "node"

# what kind's Dockerfile removes: units that make no sense in a container and delay its start
_UNWANTED_UNITS = (
    *(
        "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
        "lib/systemd/system/multi-user.target.wants/*",
    ),
    *(
        "etc/systemd/system/*.wants/*",
        "lib/systemd/system/local-fs.target.wants/*",
        "lib/systemd/system/basic.target.wants/*",
    ),
    *("lib/systemd/system/sockets.target.wants/*udev*", "lib/systemd/system/sockets.target.wants/*initctl*"),
)
_NOT_FOR_NODES = ("usr/lib/python3*", "usr/bin/python3*", "usr/bin/pip*", "usr/bin/perl5*", "boot/*")
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap", "ptp")


def assemble(root: Path) -> None:
    """Fill ``root``, which does not exist yet. Needs root (chroot, owners)."""
    with progress.step("files of the node image"):
        subprocess.run(["cp", "-a", str(debian.root()), str(root)], check=True)
        for pattern in (*_NOT_FOR_NODES, "var/log/*"):
            _remove(root, pattern)
        _kind_files(root)
        _programs(root)
        _pod_network(root)
        _manifests(root)
    _images(root)


def _kind_files(root: Path) -> None:
    """As kind's images/base/Dockerfile lays them out."""
    base = binaries.module_dir("sigs.k8s.io/kind") / "images/base/files"
    for file in sorted(path for path in base.rglob("*") if path.is_file()):
        relative = file.relative_to(base)
        executable = str(relative).startswith(("usr/local/bin/", "kind/bin/"))
        nodeimage_parts.place(file, root / relative, 0o755 if executable else 0o644)
    for pattern in _UNWANTED_UNITS:
        _remove(root, pattern)
    _remove(root, "lib/systemd/system/containerd.service")  # Debian's, should it be there; kind's own is in /etc
    with (root / "etc/systemd/journald.conf").open("a") as config:
        config.write("ReadKMsg=no\n")
    for arguments in (
        ["enable", "kubelet.service", "containerd.service", "undo-mount-hacks.service"],
        ["mask", "systemd-binfmt.service", "dbus.service", "dbus.socket"],
    ):
        subprocess.run(["chroot", str(root), "systemctl", *arguments], capture_output=True, check=True)
    (root / "etc/kubernetes/manifests").mkdir(parents=True)
    (root / "kind/version").write_text(nodeimage_parts.kubernetes_version())


def _programs(root: Path) -> None:
    for name in nodeimage_parts.RUNTIME_PROGRAMS:
        nodeimage_parts.place(binaries.path(name), root / "usr/local/bin" / name)
    for name in nodeimage_parts.NODE_PROGRAMS:
        nodeimage_parts.place(binaries.path(name), root / "usr/bin" / name)
    # the spec that every container starts from, as kind's Dockerfile makes it
    script = (
        "set -o pipefail; ctr oci spec | jq '.hooks.createContainer[.hooks.createContainer | length]"
        ' |= . + {"path": "/kind/bin/mount-product-files.sh"}\''
        ' | jq "del(.process.rlimits)" > /etc/containerd/cri-base.json'
    )
    subprocess.run(["chroot", str(root), "/bin/bash", "-c", script], capture_output=True, check=True)


def _pod_network(root: Path) -> None:
    for name in _CNI_PLUGINS:
        nodeimage_parts.place(root / "usr/lib/cni" / name, root / "opt/cni/bin" / name)
    shutil.rmtree(root / "usr/lib/cni")
    (root / "etc/cni/net.d").mkdir(parents=True, exist_ok=True)
    nodeimage_parts.place(FILES / "simple-cni.sh", root / "kind/bin/simple-cni.sh")
    nodeimage_parts.place(FILES / "simple-cni.service", root / "etc/systemd/system/simple-cni.service", 0o644)
    drop_in = root / "etc/systemd/system/kubelet.service.d/20-simple-cni.conf"
    nodeimage_parts.place(FILES / "kubelet-simple-cni.conf", drop_in, 0o644)


def _manifests(root: Path) -> None:
    nodeimage_parts.place(FILES / "simple-cni.yaml", root / "kind/manifests/default-cni.yaml", 0o644)
    (root / "kind/manifests/default-storage.yaml").write_text(nodeimage_parts.kind_storage().manifest)


def _images(root: Path) -> None:
    """Import the images into the node's containerd store, by a containerd that runs here for a moment."""
    sandbox = nodeimage_parts.sandbox_image((root / "etc/containerd/config.toml").read_text())
    with tempfile.TemporaryDirectory(prefix="rs-images-") as scratch:
        archives = nodeimage_parts.build(Path(scratch), sandbox)
        socket, config = Path(scratch) / "c.sock", Path(scratch) / "config.toml"
        store = root / "var/lib/containerd"
        store.mkdir(parents=True, exist_ok=True)
        config.write_text(
            f'version = 3\nroot = "{store}"\nstate = "{scratch}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", '
            '"io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]\n'
            f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{socket}.ttrpc"\n'
        )
        log = Path(scratch) / "log"
        with log.open("w") as output, progress.step("images into the node image"):
            daemon = subprocess.Popen(
                [str(binaries.path("containerd")), "-c", str(config)], stdout=output, stderr=output
            )
            try:
                _await_containerd(daemon, socket, log)
                # unpacked here, once, and the packed form dropped: a node starts without unpacking 500 MB
                flags = ("--label=io.cri-containerd.pinned=pinned", "--local", "--discard-unpacked-layers")
                for archive in archives:
                    _ctr(socket, "images", "import", *flags, str(archive))
                _ctr(socket, "content", "prune", "references")  # collects the dropped ones now, not some day in a node
            finally:
                daemon.terminate()
                daemon.wait(30)


def _await_containerd(daemon: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            _ctr(socket, "version")
        except RuntimeError:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"containerd does not answer: {log.read_text()[-1500:]}") from None
            time.sleep(0.1)
        else:
            return


def _ctr(socket: Path, *arguments: str) -> None:
    command = [str(binaries.path("ctr")), "-a", str(socket), "-n", "k8s.io", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ctr {' '.join(arguments)} failed: {done.stderr.strip()[-1000:]}")


def _remove(root: Path, pattern: str) -> None:
    for path in root.glob(pattern):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
