"""The static gates: everything that can be said about the code without running it."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from testrun import manifests
from testrun.layers import ROOT

PYTHON_FOLDERS = (
    "operator/roadstead",
    "scripts",
    "tests",
    "workloads/chat/src",
    "workloads/chat-load/src",
    "workloads/keys/src",
    "bench",
)
CHART_GATES = {
    "helm lint": manifests.lint,
    "kubeconform": manifests.conform,
    "kube-score": manifests.score,
    "checkov": manifests.review,
    "promtool": manifests.rules,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """One gate.

    Attributes:
        name: Shown in the report.
        check: Returns what is wrong, in the tool's own words; empty when nothing is.
        mend: Command that repairs it, where there is one.
    """

    name: str
    check: Callable[[], str]
    mend: str = ""


def gates() -> Iterator[Gate]:
    """Yield the gates that apply to this tree."""
    yield Gate(
        "ruff check", _command(_venv("ruff"), "check", "--output-format=concise", "."), "uv run ruff check --fix ."
    )
    yield Gate("ruff format", _command(_venv("ruff"), "format", "--check", "."), "uv run ruff format .")
    folders = [folder for folder in PYTHON_FOLDERS if any((ROOT / folder).rglob("*.py"))]
    yield Gate("mypy --strict", _command(_venv("mypy"), *folders))
    if (ROOT / ".importlinter").exists():
        yield Gate("import contracts", _command(_venv("lint-imports")))
    if (ROOT / "scripts" / "generate").exists():
        yield Gate("generated files", _command(ROOT / "scripts" / "generate", "--check"), "scripts/generate")
        if (ROOT / ".git").exists():
            yield Gate("CRDs take what they took", _command(ROOT / "scripts" / "generate", "--compat"))
    for chart in sorted((ROOT / "charts").glob("*/Chart.yaml")):
        for title, look in CHART_GATES.items():
            yield Gate(f"{title} {chart.parent.name}", functools.partial(_look, look, chart.parent))


def tools() -> list[str]:
    """Return the binaries that the gates of this tree need."""
    return ["helm", "kubeconform", "kube-score", "promtool"] if any((ROOT / "charts").glob("*/Chart.yaml")) else []


def run(command: list[str | Path], *, stdin: str | None = None) -> str:
    """Run a command in the repository; return its output when it fails, nothing when it succeeds."""
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"ended with {done.returncode}"


def _command(*command: str | Path) -> Callable[[], str]:
    return lambda: run(list(command))


def _look(look: Callable[[Path], str], chart: Path) -> str:
    try:
        return look(chart)
    except manifests.GateError as error:
        return str(error)


def _venv(program: str) -> Path:
    return Path(sys.executable).with_name(program)
