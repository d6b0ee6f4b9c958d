"""``scripts/clusters``: a hub and regions that stay until they are taken down."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from localkube import bare, cache, detached, kind, nodes, runs
from localkube.rest import Api

HUB = "hub"
NODES_PER_CLUSTER = 3
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,21}[a-z0-9])?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "up":
                return up(options.regions, options.weight)
            case "down":
                return down(options.weight, options.only)
            case _:
                return status()
    except KeyboardInterrupt:
        print("interrupted; what was half started is stopped", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def up(regions: Sequence[str], weight: str) -> int:
    """Start the hub and the regions that do not run yet, and say how to reach them."""
    wanted = [HUB, *(region for region in regions if region != HUB)]
    running = {entry.name for entry in detached.entries()} if weight == "bare" else set()
    wanted = [name for name in wanted if name not in running]
    kubeconfigs = _start_bare(wanted) if weight == "bare" else _start_kind(wanted)
    for name in sorted(running):
        print(f"{name} runs already")
    folder = kubeconfig_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, file in kubeconfigs.items():
        shutil.copyfile(file, folder / f"{name}.kubeconfig")
        (folder / f"{name}.kubeconfig").chmod(0o600)
    print(f"export KUBECONFIG={os.pathsep.join(str(file) for file in sorted(folder.glob('*.kubeconfig')))}")
    print("kubectl config get-contexts   # one context a cluster; take them down again: scripts/clusters down")
    return 0


def down(weight: str | None, only: Sequence[str] = ()) -> int:
    """Stop what `up` and ``--keep`` left running.

    Args:
        weight: ``bare`` or ``kind``; None for both.
        only: As `status` shows them: pids of bare clusters, runs of kind clusters. Empty: all.

    Raises:
        ValueError: Something in ``only`` does not run; nothing was stopped.
        runs.NotOurRunError: A run in ``only`` belongs to a process that lives.
    """
    if only:
        stopped = _stop_named(weight, only)
    else:
        stopped = []
        if weight in (None, "bare"):
            stopped += [entry.name for entry in detached.entries() if detached.stop(entry)]
        if weight in (None, "kind") and any(runs.is_kept(run) for run in runs.every()):
            stopped += [f"kind run {run}" for run in kind.sweep(kept=True)]
        for file in kubeconfig_folder().glob("*.kubeconfig"):
            if weight in (None, _weight_of(file)):
                file.unlink()
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def _stop_named(weight: str | None, only: Sequence[str]) -> list[str]:
    clusters = {str(entry.pid): entry for entry in detached.entries()} if weight in (None, "bare") else {}
    kinds = runs.every() if weight in (None, "kind") else []
    unknown = [name for name in only if name not in clusters and name not in kinds]
    if unknown:
        raise ValueError(f"nothing runs as {', '.join(unknown)}; write what scripts/clusters status has under PID/RUN")
    stopped = []
    for name in dict.fromkeys(only):
        entry = clusters.get(name)
        originals = [entry.kubeconfig] if entry else _kubeconfigs_of(name)
        copies = _copies_of(originals)  # looked for now: the originals go with the clusters
        if entry is None:
            kind.sweep(run_id=name)
            stopped.append(f"kind run {name}")
        elif detached.stop(entry):
            stopped.append(entry.name)
        for copy in copies:
            copy.unlink(missing_ok=True)
    return stopped


def _kubeconfigs_of(run: str) -> list[Path]:
    return sorted((runs.state_root() / "runs" / run).glob("*.kubeconfig"))


def _copies_of(originals: Sequence[Path]) -> list[Path]:
    """What `up` wrote for these clusters; the same name alone may be another cluster's by now."""
    texts = {file.read_bytes() for file in originals if file.is_file()}
    return [file for file in kubeconfig_folder().glob("*.kubeconfig") if file.read_bytes() in texts]


def status() -> int:
    """Print every cluster that lives on, and whether its API server is ready."""
    rows = [
        (entry.name, "bare", str(entry.pid), _state(entry.kubeconfig), str(entry.kubeconfig))
        for entry in detached.entries()
    ]
    for run in runs.every():
        for file in _kubeconfigs_of(run):
            rows.append((file.stem, "kind", run, _state(file), str(file)))
    if not rows:
        print("no clusters; start some: scripts/clusters up --regions hkg,sin")
        return 0
    table = [("NAME", "WEIGHT", "PID/RUN", "STATE", "KUBECONFIG"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for row in table:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))
    return 0


def kubeconfig_folder() -> Path:
    """Return where `up` writes kubeconfigs."""
    return cache.root() / "kubeconfigs"


def region_names(text: str) -> list[str]:
    """Parse ``hkg,sin``; for argparse."""
    names = [name for name in text.split(",") if name]
    for name in names:
        if not _NAME.fullmatch(name):
            raise argparse.ArgumentTypeError(
                f"{name!r} is no DNS label of at most 23 characters; write for example hkg,sin"
            )
    return names


def _start_bare(names: Sequence[str]) -> dict[str, Path]:
    with contextlib.ExitStack() as undo:
        clusters = []
        for name in names:
            cluster = bare.start(name, live_on=True)
            undo.callback(cluster.stop)
            for number in range(NODES_PER_CLUSTER):
                zone = f"{name}-{'abc'[number]}"
                cluster.add_nodes(1, labels={nodes.REGION_LABEL: name, nodes.ZONE_LABEL: zone}, prefix=zone)
            clusters.append(cluster)
        undo.pop_all()  # all are up: from here on they stay
    for cluster in clusters:
        cluster.release()
    return {cluster.name: cluster.kubeconfig for cluster in clusters}


def _start_kind(names: Sequence[str]) -> dict[str, Path]:
    try:
        started = {name: kind.start(name).kubeconfig for name in names}
    except BaseException:
        kind.shutdown()
        raise
    kind.keep()
    return started


def _state(kubeconfig: Path) -> str:
    try:
        return "Ready" if Api(kubeconfig).ready() else "NotReady"
    except (OSError, KeyError, ValueError):
        return "Unknown"


def _weight_of(kubeconfig: Path) -> str:
    return "kind" if "kind-" in kubeconfig.read_text() else "bare"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/clusters", description="Kubernetes clusters on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start a hub and regions")
    starting.add_argument("--regions", type=region_names, default=["hkg", "sin"], help="names, default hkg,sin")
    starting.add_argument(
        "--weight",
        choices=["bare", "kind"],
        default="bare",
        help="bare: control planes with fake nodes, no root, seconds; kind: real nodes and pods, needs Docker",
    )
    stopping = commands.add_parser("down", help="stop them all, or those that are named")
    stopping.add_argument(
        "only",
        nargs="*",
        metavar="PID/RUN",
        help="only these, as scripts/clusters status shows them: the pid of a bare cluster, the run of kind clusters, "
        "which end together; default all that live on on this machine",
    )
    stopping.add_argument("--weight", choices=["bare", "kind"], default=None, help="only these; default both")
    commands.add_parser("status", help="what runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
