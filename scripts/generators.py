"""Writes every generated file, or checks that none is out of date.

A generator is a module that takes the repository's root as its only argument and writes its files below it. The check
runs all of them in a copy of the tree and compares, so that a file that nobody generated yet is seen as well as one
that is out of date or no longer generated.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CURE = "scripts/generate"
COMPAT_CURE = """\
one of: keep the field and its bounds as they were; serve a new version beside the old one; or, when v1alpha1 is broken
on purpose, commit that by itself with a line in CHANGELOG.md (SKIP=compatible git commit)"""


@dataclass(frozen=True, slots=True)
class Generator:
    """One generator.

    Attributes:
        module: What ``python -m`` runs; its argument is the root.
        folders: Where it writes. Files there that begin with :attr:`mark` in the first line and are not written
            again are leftovers.
        writes: What it writes, for people.
    """

    module: str
    folders: tuple[str, ...]
    writes: str

    @property
    def mark(self) -> str:
        """What the header line of each of its files contains."""
        return f"python -m {self.module}"


GENERATORS = (
    Generator("roadstead.api.crd", ("crds",), "CustomResourceDefinitions"),
    # After the CRDs, which it copies.
    Generator("chart_crds", ("charts/roadstead/files/crds",), "the chart's copies of the CRDs"),
    Generator("roadstead.api.reference", ("docs/reference",), "API reference"),
    Generator("roadstead.observability.dashboards", ("charts/roadstead/dashboards",), "dashboards"),
    Generator("roadstead.observability.rules", ("charts/roadstead/rules",), "alerting rules"),
    Generator("roadstead.cli.reference", ("docs/reference",), "command line reference"),
)


def generate(root: Path) -> None:
    """Run every generator below a root, with the sources that lie there.

    Raises:
        subprocess.CalledProcessError: A generator failed; its own words are on stderr.
    """
    sources = [str(root / folder) for folder in ("operator", "scripts")]
    path = os.pathsep.join([*sources, os.environ.get("PYTHONPATH", "")])
    for generator in GENERATORS:
        for leftover in _marked(root, generator):
            leftover.unlink()
        subprocess.run(
            [sys.executable, "-m", generator.module, str(root)],
            check=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": path},
        )


def _marked(root: Path, generator: Generator) -> Iterator[Path]:
    for folder in generator.folders:
        for file in sorted((root / folder).rglob("*")):
            if file.is_file() and generator.mark in file.read_text(encoding="utf-8").partition("\n")[0]:
                yield file


def check(root: Path) -> list[str]:
    """Compare the tree with what the generators write.

    Args:
        root: A Git work tree.

    Returns:
        A line for each file that is missing, out of date or a leftover; empty when all is well.
    """
    with tempfile.TemporaryDirectory(prefix="roadstead-generate-") as folder:
        copy = Path(folder)
        _copy_tree(root, copy)
        generate(copy)
        return list(_differences(root, copy))


def _copy_tree(root: Path, copy: Path) -> None:
    """Copy what Git knows or would add: no environments, no caches."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source = root / name
        if source.is_file():  # not: deleted and not committed yet
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy / name)


def _differences(root: Path, copy: Path) -> Iterator[str]:
    for generator in GENERATORS:
        for folder in generator.folders:
            names = {
                str(file.relative_to(base))
                for base in (root, copy)
                for file in (base / folder).rglob("*")
                if file.is_file()
            }
            for name in sorted(names):
                if not (root / name).exists():
                    yield f"{name} is not there; {generator.module} writes it"
                elif not (copy / name).exists():
                    yield f"{name} is a leftover; {generator.module} no longer writes it"
                elif not filecmp.cmp(root / name, copy / name, shallow=False):
                    yield f"{name} is out of date; {generator.module} writes something else"


def breaks(root: Path, base: str | None) -> list[str]:
    """Compare the CRDs of a commit with those of the work tree.

    Args:
        root: A Git work tree.
        base: A commit or tag; by default the latest release, or HEAD while there is none.

    Returns:
        A line for each change that can break what was accepted before; empty when there is none.
    """
    from roadstead.api.compat import compare  # noqa: PLC0415 - the API room must not be needed to mend itself

    base = base or _latest_release(root) or "HEAD"
    found = []
    for name in _git(root, "ls-tree", "--name-only", base, "crds/").split():
        old = yaml.safe_load(_git(root, "show", f"{base}:{name}"))
        if not (root / name).exists():
            found.append(f"{name} is removed")
            continue
        new = yaml.safe_load((root / name).read_text(encoding="utf-8"))
        found += [f"{change} (since {base})" for change in compare(old, new)]
    return found


def _latest_release(root: Path) -> str:
    return next(iter(_git(root, "tag", "--list", "v[0-9]*", "--merged", "HEAD", "--sort=-v:refname").split()), "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 all well, 1 something to mend, 2 wrong usage."""
    writes = "; ".join(f"{', '.join(g.folders)}: {g.writes} ({g.module})" for g in GENERATORS)
    parser = argparse.ArgumentParser(prog=CURE, description=__doc__, epilog=f"Generated: {writes}.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; fail when a generated file is out of date")
    mode.add_argument(
        "--compat",
        nargs="?",
        const="",
        metavar="BASE",
        help="change nothing; fail when the CRDs break what those of BASE accepted (default: the latest release, or "
        "HEAD while there is none)",
    )
    options = parser.parse_args(arguments)
    if options.check:
        found, cure = check(ROOT), f"to mend it, run: {CURE}"
    elif options.compat is not None:
        found, cure = breaks(ROOT, options.compat or None), COMPAT_CURE
    else:
        generate(ROOT)
        return 0
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print(cure, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
