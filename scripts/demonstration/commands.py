"""Commands as a person would type them: what the demo runs, with variables for kubeconfigs. Pure.

The hub's kubeconfig is exported as KUBECONFIG, so that a command without one is for the hub.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_KUBECONFIG = re.compile(r"(--(?:hub-)?kubeconfig)=(.+)")


def variable(cluster: str) -> str:
    """Name of the variable that holds a cluster's kubeconfig, such as HKG."""
    return cluster.upper()


def exports(hub: Path, regions: Mapping[str, Path], programs: Sequence[Path]) -> list[str]:
    """The lines after which every printed command works in another terminal.

    Args:
        hub: Kubeconfig of the hub.
        regions: Kubeconfig of each region, by name.
        programs: Folders of the programs that are typed by name only.
    """
    files = {"hub": hub, **regions}
    return [
        f"export {' '.join(f'{variable(name)}={shlex.quote(str(file))}' for name, file in files.items())}",
        # a line of its own: the shell fills in $HUB before the line above would have set it
        f"export KUBECONFIG=${variable('hub')}",
        f'export PATH={shlex.quote(os.pathsep.join(map(str, programs)))}:"$PATH"',
    ]


def typed(command: Sequence[str | Path], hub: Path, regions: Mapping[str, Path]) -> str:
    """The line that a person types, in the root of the repository, for a command that is run.

    Args:
        command: The program and its arguments; kubeconfigs as one argument each, ``--kubeconfig=FILE``.
        hub: Kubeconfig of the hub; needs not be named.
        regions: Kubeconfig of each region, by name.
    """
    names = {str(file): variable(name) for name, file in regions.items()}
    words = [Path(command[0]).name]
    for part in map(str, command[1:]):
        flag, file = found.groups() if (found := _KUBECONFIG.fullmatch(part)) else ("", "")
        if file in names:
            words.append(f"{flag} ${names[file]}")
        elif file != str(hub):
            words.append(shlex.quote(part.removeprefix(f"{REPOSITORY}{os.sep}")))
    return " ".join(words)


def changed(old: str, new: str) -> list[str]:
    """What to print of a manifest that is applied: all of it the first time, afterwards the lines that are new."""
    before = set(old.splitlines())
    return [line for line in new.splitlines() if line not in before]
