"""The images inside the node image: control plane, CoreDNS, kube-proxy, storage; each from binaries built here."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from localkube import binaries, debian, imagearchive, progress

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
NODE_PROGRAMS = ("kubelet", "kubectl", "kubeadm")
RUNTIME_PROGRAMS = ("containerd", "ctr", "containerd-shim-runc-v2")
BINARIES = (
    *CONTROL_PLANE,
    "kube-proxy",
    "coredns",
    "pause",
    "local-path-provisioner",
    *NODE_PROGRAMS,
    *RUNTIME_PROGRAMS,
)

# kube-proxy calls these, through the names that Debian gives them
_PROXY_PROGRAMS = (
    *("/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi", "/usr/sbin/nft", "/usr/sbin/conntrack"),
    *("/usr/bin/ip", "/usr/sbin/ipset", "/usr/bin/kmod"),
)
_XTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_BUSYBOX = "/bin/busybox"


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """kind's default storage class: two images, and the manifest that names them."""

    provisioner: str
    helper: str
    manifest: str


def kubernetes_version() -> str:
    """Return the version of Kubernetes that everything here has, for example ``v1.36.3``."""
    return binaries.recipe("kubelet").version


def storage(source: str) -> Storage:
    """Return kind's storage class from the text of its pkg/build/nodeimage/const_storage.go.

    Raises:
        ValueError: That file does not look as this version of kind has it.
    """
    images = dict(re.findall(r'^const (storage\w+Image) = "([^"]+)"', source, re.MULTILINE))
    manifest = re.search(r"^const defaultStorageManifest = `\n(.*?)^`", source, re.MULTILINE | re.DOTALL)
    if manifest is None or images.keys() != {"storageProvisionerImage", "storageHelperImage"}:
        raise ValueError(
            "kind's const_storage.go has another form than expected; adapt localkube.nodeimage_parts.storage"
        )
    text = manifest[1]
    for name, reference in images.items():
        text = text.replace(f"` + {name} + `", reference)
    return Storage(images["storageProvisionerImage"], images["storageHelperImage"], text)


def kind_storage() -> Storage:
    """Return the storage class of the pinned kind."""
    return storage((binaries.module_dir("sigs.k8s.io/kind") / "pkg/build/nodeimage/const_storage.go").read_text())


def sandbox_image(containerd_config: str) -> str:
    """Return the image that containerd's configuration names for the first container of each pod.

    Raises:
        ValueError: It names none.
    """
    found = re.search(r'sandbox_image = "([^"]+)"', containerd_config)
    if found is None:
        raise ValueError(
            "kind's containerd config names no sandbox_image; adapt localkube.nodeimage_parts.sandbox_image"
        )
    return found[1]


def references() -> dict[str, str]:
    """Return the image that kubeadm expects for each part: ``kube-apiserver`` -> its reference."""
    command = [str(binaries.path("kubeadm")), "config", "images", "list", "--kubernetes-version", kubernetes_version()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.rsplit(":", 1)[0].rsplit("/", 1)[1]: line for line in done.stdout.split()}


def build(folder: Path, sandbox: str) -> list[Path]:
    """Write the archives of all images that a node brings into ``folder``.

    Args:
        folder: Where the archives go.
        sandbox: Reference of the pause image that containerd's configuration names.
    """
    expected, base, class_ = references(), debian.root(), kind_storage()
    made = []
    with progress.step("images of the control plane"):
        for name in CONTROL_PLANE:
            made.append(_image(folder, expected[name], {f"/usr/local/bin/{name}": binaries.path(name)}))
        for reference in sorted({sandbox, expected["pause"]}):
            made.append(_image(folder, reference, {"/pause": binaries.path("pause")}, ("/pause",), user="65535:65535"))
        made.append(_image(folder, expected["coredns"], {"/coredns": binaries.path("coredns")}, ("/coredns",)))
        provisioner = {"/usr/local/bin/local-path-provisioner": binaries.path("local-path-provisioner")}
        made.append(_image(folder, class_.provisioner, provisioner))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            proxy = _proxy_root(base, Path(scratch) / "proxy")
            made.append(_pack(folder, expected["kube-proxy"], proxy))
            shell = _shell_root(base, Path(scratch) / "shell")
            made.append(_pack(folder, class_.helper, shell))
    return made


def _image(
    folder: Path, reference: str, files: dict[str, Path], entrypoint: tuple[str, ...] = (), user: str = ""
) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch) / "root"
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        for target, source in files.items():
            place(source, root / target.lstrip("/"))
        return _pack(folder, reference, root, entrypoint, user)


def _pack(folder: Path, reference: str, root: Path, entrypoint: tuple[str, ...] = (), user: str = "") -> Path:
    archive = folder / f"{re.sub('[^A-Za-z0-9.]+', '-', reference)}.tar"
    root.chmod(0o755)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, archive.open("wb") as output:
        layer = imagearchive.layer(root, Path(scratch) / "layer.tar")
        imagearchive.write(output, reference, [layer], imagearchive.Config(entrypoint=entrypoint, user=user))
    return archive


def place(source: Path, target: Path, mode: int = 0o755) -> None:
    """Copy a file to a path whose folders need not be there yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def merged_usr(root: Path) -> None:
    """Lay out an empty root filesystem with /bin, /lib and so on as links into /usr, as Debian has them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("etc", "run", "var/lib", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)


def copy_linked(base: Path, root: Path, paths: Iterable[str]) -> None:
    """Copy programs or shared objects of ``base`` into ``root``, with every library that they link to."""
    wanted = list(paths)
    for path in [*wanted, *sorted(debian.libraries(base, wanted))]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(debian.resolved(base, path), target)  # a library's version links followed, as the linker does


def _proxy_root(base: Path, root: Path) -> Path:
    merged_usr(root)
    extensions = next((base / "usr/lib").glob("*/xtables"))
    modules = [f"/{file.relative_to(base)}" for file in sorted(extensions.glob("*.so"))]
    copy_linked(base, root, [*_PROXY_PROGRAMS, *modules])
    for name in _XTABLES:
        (root / "usr/sbin" / name).symlink_to("xtables-nft-multi")
    (root / "usr/sbin/modprobe").symlink_to("../bin/kmod")
    for name in ("protocols", "services"):
        if (base / "etc" / name).is_file():
            place(base / "etc" / name, root / "etc" / name, 0o644)
    place(binaries.path("kube-proxy"), root / "usr/local/bin/kube-proxy")
    debian.libraries(root, [*_PROXY_PROGRAMS, *modules])  # each finds its libraries in the image, not only in Debian
    return root


def _shell_root(base: Path, root: Path) -> Path:
    """A shell with the usual commands: what the storage helper's pods need to make and remove directories."""
    merged_usr(root)
    copy_linked(base, root, [_BUSYBOX])
    listed = subprocess.run(["chroot", str(root), _BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    return root
