"""Layers of our own images without a registry or a builder: Debian's Python, locked wheels from PyPI, our code.

Three layers, each kept by content: a change of our code packs the last one again, which takes a second or two. No
shell, no package manager, nothing that writes outside /tmp; byte code is compiled in: the root filesystem is read-only.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from localkube import cache, debian, imagearchive, nodeimage_parts, progress

_STDLIB = f"usr/lib/python{debian.PYTHON}"
SITE = f"usr/local/lib/python{debian.PYTHON}/dist-packages"
_INTERPRETER = f"/usr/bin/python{debian.PYTHON}"
_UNUSED = ("test", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data", "sitecustomize.py", "config-*")
_TRUST = ("etc/ssl/certs/ca-certificates.crt", "etc/ssl/openssl.cnf")
_RUNTIME = (
    *("lib*++.so.6", "libgcc_s.so.1", "libm.so.6"),
    *("librt.so.1", "libpthread.so.0", "libdl.so.2", "libutil.so.1", "libresolv.so.2"),  # empty since glibc 2.34
)
_ACCOUNTS = "root:x:0:0:root:/:/usr/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nnonroot:x:65532:\n"


def base() -> imagearchive.Layer:
    """Return the layer with Python, what it links to, certificates and time zones (about 45 MB)."""
    facts = (debian.SUITE, *debian.PACKAGES, *_UNUSED)
    return _layer("base", cache.key_of([Path(__file__)], *facts), _fill_base, "the Python base of our images")


def dependencies(requirements: str, name: str) -> imagearchive.Layer:
    """Return the layer with the wheels of a ``requirements.txt`` that pins every hash.

    Raises:
        RuntimeError: uv cannot install them; with its own words.
    """

    def fill(root: Path) -> None:
        site = root / SITE
        site.mkdir(parents=True)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
            listed.write(requirements)
            listed.flush()
            uv(
                *("pip", "install", "--quiet", "--target", str(site), "--require-hashes", "--no-deps"),
                *("--only-binary", ":all:", "--python-version", debian.PYTHON, "--python-platform", _platform()),
                *("--link-mode", "copy", "--python", sys.executable, "-r", listed.name),
            )
        shutil.rmtree(site / "bin", ignore_errors=True)  # console scripts of dependencies: nobody calls them
        (site / ".lock").unlink(missing_ok=True)
        compile_all(root)

    key = cache.key_of([Path(__file__)], requirements, _platform(), debian.SUITE)
    return _layer("dependencies", key, fill, f"the dependencies of {name}")


def code(package: str, sources: Iterable[Path]) -> imagearchive.Layer:
    """Return the layer with a workspace package as its wheel installs it, and its console scripts in /usr/local/bin.

    Args:
        package: Name of the distribution.
        sources: Every file that its wheel is made from.
    """
    repository = Path(__file__).resolve().parents[2]

    def fill(root: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="rs-wheel-") as scratch:
            uv("build", "--quiet", "--package", package, "--wheel", "--out-dir", scratch, folder=repository)
            wheel = next(Path(scratch).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(root / SITE)
        for entry_points in (root / SITE).glob("*.dist-info/entry_points.txt"):
            _write_scripts(entry_points, root / "usr/local/bin")
        compile_all(root)

    relative = [str(path.relative_to(repository)) for path in sorted(sources)]
    key = cache.key_of(sources, *relative, cache.key_of([Path(__file__)]), debian.SUITE)
    return _layer("code", key, fill, package)


def compile_all(root: Path) -> None:
    """Compile the modules below ``root`` with the image's own interpreter, valid whatever their times say."""
    inside = debian.root()
    libraries = ":".join(str(folder) for folder in (*(inside / "usr/lib").glob("*-linux-gnu"), inside / "usr/lib"))
    loader = next((inside / "usr/lib").glob("*-linux-gnu/ld-linux-*.so.*"))
    command = [str(loader), "--library-path", libraries, f"{inside}{_INTERPRETER}", "-S", "-m", "compileall", "-q"]
    command += ["-j", "2", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/", str(root)]
    done = subprocess.run(
        command,
        env={"PYTHONHOME": str(inside / "usr"), "PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode > 1:  # 1: some file does not compile, such as a test of bad syntax; it would not run either
        raise RuntimeError(f"compiling {root} failed: {(done.stdout + done.stderr).strip()[-1000:]}")


def uv(*arguments: str, folder: Path | None = None) -> str:
    """Run ``uv arguments`` and return its output.

    Raises:
        RuntimeError: It fails; with its own words.
    """
    program = os.environ.get("UV") or shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"uv {' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _layer(kind: str, key: str, fill: Callable[[Path], None], what: str) -> imagearchive.Layer:
    def make(directory: Path) -> None:
        with progress.step(f"image layer: {what}"), tempfile.TemporaryDirectory(dir=directory) as scratch:
            root = Path(scratch) / "root"
            root.mkdir(mode=0o755)
            fill(root)
            _plain_modes(root)
            imagearchive.layer(root, directory / "layer.tar")

    return imagearchive.existing_layer(cache.entry(f"image-{kind}", key, make, what=what) / "layer.tar")


def _plain_modes(root: Path) -> None:
    """Give every file one of two modes, whatever umask and archive formats made of it; links and /tmp stay."""
    for path in [root, *root.rglob("*")]:
        if path.is_symlink() or path == root / "tmp":
            continue
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)


def _fill_base(root: Path) -> None:
    source = debian.root()
    nodeimage_parts.merged_usr(root)
    shutil.copytree(
        source / _STDLIB, root / _STDLIB, symlinks=True, ignore=shutil.ignore_patterns(*_UNUSED, "__pycache__")
    )
    modules = [f"/{path.relative_to(source)}" for path in sorted((source / _STDLIB / "lib-dynload").glob("*.so"))]
    # wheels bring most of what they need, but never these: manylinux lets them count on the system's
    runtime = [
        f"/{path.relative_to(source)}" for name in _RUNTIME for path in sorted((source / "usr/lib").glob(f"*/{name}"))
    ]
    nodeimage_parts.copy_linked(source, root, [_INTERPRETER, *modules, *runtime])
    for name in ("python3", "python"):
        (root / "usr/bin" / name).symlink_to(f"python{debian.PYTHON}")
    for name in _TRUST:
        nodeimage_parts.place(source / name, root / name, 0o644)
    (root / "usr/lib/ssl").mkdir(parents=True)
    for name, target in (("openssl.cnf", "/etc/ssl/openssl.cnf"), ("certs", "/etc/ssl/certs")):
        (root / "usr/lib/ssl" / name).symlink_to(target)
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    shutil.copytree(
        source / "usr/share/zoneinfo",
        root / "usr/share/zoneinfo",
        symlinks=True,
        ignore=shutil.ignore_patterns("posix", "right"),
    )
    (root / SITE).mkdir(parents=True)
    (root / "etc/passwd").write_text(_ACCOUNTS)
    (root / "etc/group").write_text(_GROUPS)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    compile_all(root)


def _write_scripts(entry_points: Path, folder: Path) -> None:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # names keep their case
    parser.read(entry_points)
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in parser.items("console_scripts") if parser.has_section("console_scripts") else ():
        module, _, function = target.partition(":")
        script = folder / name
        script.write_text(
            f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        script.chmod(0o755)


def _platform() -> str:
    # bookworm's glibc is 2.36
    return {"x86_64": "x86_64-manylinux_2_36", "aarch64": "aarch64-manylinux_2_36"}[os.uname().machine]
