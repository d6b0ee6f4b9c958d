"""The layers of tests, in the order in which they run: cheap ones first, so that a typo is not found after minutes."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from localkube import binaries, kind

ROOT = Path(__file__).resolve().parents[2]
BARE_TOOLS = (*binaries.CONTROL_PLANE, "kubectl")
E2E_TOOLS = ("kind", "kubectl", "helm", "prometheus", "promtool")


class Weight(enum.Enum):
    """What a layer stands on."""

    NOTHING = "no cluster"
    BARE = "bare control planes"
    KIND = "kind clusters with real nodes"


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Attributes:
        name: As given to ``--only``; its folder is tests/<name>, except for ``static``.
        weight: What it stands on.
        tools: Binaries that are made before its clock starts, so that nobody waits in silence.
        workers: Processes that share its files; more than one where tests mostly wait for clusters.
    """

    name: str
    weight: Weight
    tools: tuple[str, ...] = ()
    workers: int = 1

    @property
    def folder(self) -> Path:
        """Folder with the tests."""
        return ROOT / "tests" / self.name

    def has_tests(self) -> bool:
        """Return whether there is any test file."""
        return any(self.folder.rglob("test_*.py"))


STATIC = Layer("static", Weight.NOTHING)
LAYERS = (
    STATIC,
    Layer("unit", Weight.NOTHING),
    Layer("property", Weight.NOTHING),
    Layer("integration", Weight.BARE, (*BARE_TOOLS, "helm"), workers=2),
    Layer("faults", Weight.BARE, BARE_TOOLS),
    Layer("e2e", Weight.KIND, E2E_TOOLS),
)
NAMES = tuple(layer.name for layer in LAYERS)


def chosen(only: Sequence[str], *, fast: bool) -> list[Layer]:
    """Return the layers to run.

    Args:
        only: Names given with ``--only``; empty: all.
        fast: Only those that need no cluster.
    """
    return [
        layer for layer in LAYERS if (not only or layer.name in only) and (not fast or layer.weight is Weight.NOTHING)
    ]


def obstacle(layer: Layer, *, docker: Callable[[], bool] = kind.available) -> str | None:
    """Return why ``layer`` cannot run on this machine, in words for the person who reads it; None when it can."""
    if layer.weight is Weight.KIND and not docker():
        who = "this user is not root" if os.geteuid() else "this is not Debian"
        return f"it needs Docker: none answers, and none can be installed because {who}; install Docker and start it"
    return None
