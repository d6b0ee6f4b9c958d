"""scripts/demo: the order of the demo."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.markup import escape

from demonstration import acts, bare, stage
from demonstration.commands import variable
from demonstration.terminal import CommandFailedError, console, heading, note
from localkube import kind

EPILOG = """Exit codes: 0 everything was shown; 1 something did not happen, and what; 130 interrupted.
Everything started is stopped at the end, also on Ctrl-C; --keep leaves it running and says how to look around."""


def main() -> int:
    """Run the demo with the weight that this machine allows."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="The whole of Roadstead on this machine, in real clusters.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    parser.add_argument("--weight", choices=("auto", "kind", "bare"), default="auto", help="kind: real nodes and pods")
    parser.add_argument("--messages", type=int, default=acts.MESSAGES, help="messages to send (default %(default)s)")
    options = parser.parse_args()
    weight = options.weight
    if weight == "auto":
        weight = "kind" if kind.available() else "bare"
    try:
        if weight == "bare":
            return bare.play(keep=options.keep)
        return play(keep=options.keep, messages=options.messages)
    except (acts.PromiseBrokenError, CommandFailedError, RuntimeError) as error:
        console.print(f"\n[bold red]The demo failed:[/bold red] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130


def play(*, keep: bool, messages: int) -> int:
    """The demo on kind clusters."""
    folder = Path(tempfile.mkdtemp(prefix="roadstead-demo-"))
    kept = False
    try:
        heading("Clusters with real nodes, and images, all built here")
        keys = stage.make_keys(folder)
        built = stage.build_images()
        clusters = stage.start_clusters(built)
        scene = stage.Stage(clusters.pop("hub"), clusters, built, keys)
        note("for another terminal, where every command below then works:")
        _exports(scene)
        try:
            show(scene, messages)
        except (OSError, RuntimeError):
            if keep:  # just then somebody wants to look around
                _kept(scene, folder)
                kept = True
            raise
        if keep:
            _kept(scene, folder)
            kept = True
        else:
            heading("The service is deleted")
            acts.remove(scene)
    finally:
        if not kept:
            heading("Removing everything")
            kind.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    heading("That was all of it.")
    return 0


def show(scene: stage.Stage, messages: int) -> None:
    """Every act, in order."""
    heading("The operator in the hub, a small account in each region")
    stage.install(scene)
    heading("A chat service in two regions")
    acts.create(scene)
    heading(f"{messages} messages through both regions, encrypted end to end")
    report = acts.load(scene, messages)
    note(f"delivery ratio {report['ratio']}, acknowledged but lost {report['acknowledged_but_lost']}")
    heading("The key of the stores changes, in all regions, and every pod proves it")
    acts.rotate(scene)
    heading("Somebody edits an object by hand")
    acts.repair(scene)
    heading("A new version, region by region")
    acts.roll_out(scene)
    heading("A version that cannot start")
    acts.roll_back(scene)


def _kept(scene: stage.Stage, folder: Path) -> None:
    run = kind.keep()
    heading("Everything is left running. To look around:")
    _exports(scene)
    note("kubectl get roadstead -A")
    note("kubectl -n roadstead-system logs deploy/roadstead-operator")
    for name in scene.regions:
        note(f"kubectl --kubeconfig ${variable(name)} -n {stage.NAMESPACE} get all")
    first, second = (image.reference.rpartition(":") for image in (scene.images.first, scene.images.second))
    note(f"FIRST={first[2]} SECOND={second[2]}     # tags of the relay's two versions, {first[0]}:TAG")
    note(f"# keys, certificates, and the manifest of the service: {folder}")
    note(f"scripts/clusters down {run}; rm -r {folder}     # to remove it")


def _exports(scene: stage.Stage) -> None:
    for line in scene.exports():
        note(line)


if __name__ == "__main__":
    sys.exit(main())
