"""Gates for the chart: what helm says, whether each rendered object fits its schema, what reviewers would say."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from localkube import binaries, crds, schemas
from testrun.layers import ROOT

NAMESPACE = "roadstead-system"
NOT_SCORED = {"container-image-pull-policy": "our tags never move; Always would tie every restart to the registry"}
"""kube-score's tests that we do not follow, and why."""
REVIEW_PINS = ROOT / "tools" / "checkov" / "requirements.txt"  # from requirements.in beside it, by `uv pip compile`
NOT_REVIEWED = {
    "CKV_K8S_15": "image pull policy Always: see NOT_SCORED",
    "CKV_K8S_38": "a ServiceAccount token is what an operator works with",
    "CKV_K8S_43": "a digest belongs to one release; whoever installs the chart may set image.digest",
    "CKV_K8S_155": "the operator renews the CA of its own webhook configuration; the rule is bound to that one name",
}
"""checkov's checks that we do not follow, and why."""


class GateError(RuntimeError):
    """The chart cannot even be rendered."""


def lint(chart: Path) -> str:
    """Run ``helm lint --strict`` with the defaults and with every file of the chart's ci/ folder."""
    return _each(chart, lambda values: [_helm(), "lint", "--strict", str(chart), *values])


def conform(chart: Path) -> str:
    """Validate every rendered object against strict schemas, for every combination of values that lint uses."""
    known = [crds.path(name) for name in crds.KNOWN]
    folder = schemas.directory([*known, *sorted((ROOT / "crds").glob("*.yaml"))])
    location = f"{folder}/{schemas.LOCATION}"
    command = [str(binaries.path("kubeconform")), "-strict", "-summary", "-schema-location", location, "-"]
    return _each_rendered(chart, command)


def score(chart: Path) -> str:
    """Run kube-score over the rendered chart: CRITICAL fails. An object ignores further tests by annotation."""
    ignored = [part for test in NOT_SCORED for part in ("--ignore-test", test)]
    command = [str(binaries.path("kube-score")), "score", "--output-format", "ci", *ignored, "-"]
    complaints = _each_rendered(chart, command).splitlines()
    return "\n".join(line for line in complaints if not line.startswith(("[OK]", "[SKIPPED]")))


def rules(chart: Path) -> str:
    """Have Prometheus' own tool check the chart's alerting rules."""
    files = sorted((chart / "rules").glob("*.yaml"))
    return _run(
        [str(binaries.path("promtool")), "check", "rules", "--lint=all", "--lint-fatal", *map(str, files)], None
    )


def review(chart: Path) -> str:
    """Run checkov over the rendered chart; it stays in an environment of its own, kept by uv."""
    uv = os.environ.get("UV", "uv")
    environment = ["--no-project", "--isolated", "--quiet", "--python", sys.executable]
    checkov = ["--framework", "kubernetes", "--compact", "--quiet", "--skip-download"]
    skipped = ["--skip-check", ",".join(NOT_REVIEWED)]
    command = [uv, "run", *environment, "--with-requirements", str(REVIEW_PINS), "checkov", *checkov, *skipped]
    with tempfile.TemporaryDirectory(prefix="roadstead-chart-") as folder:
        # all renderings in one call: most of its time goes into starting
        for number, values in enumerate(variants(chart)):
            name = Path(values[-1]).stem if values else "defaults"
            (Path(folder) / f"{number}-{name}.yaml").write_text(_rendered(chart, values))
        return _run([*command, "--directory", folder], None)


def variants(chart: Path) -> list[list[str]]:
    """Return the values arguments of each rendering: the defaults, then one for each ci/*.yaml."""
    return [[], *(["--values", str(file)] for file in sorted((chart / "ci").glob("*.yaml")))]


def _each(chart: Path, command: Callable[[list[str]], list[str]]) -> str:
    for values in variants(chart):
        complaint = _run(command(values), None)
        if complaint:
            return f"with {' '.join(values) or 'the default values'}:\n{complaint}"
    return ""


def _each_rendered(chart: Path, command: list[str]) -> str:
    for values in variants(chart):
        complaint = _run(command, _rendered(chart, values))
        if complaint:
            return f"with {' '.join(values) or 'the default values'}:\n{complaint}"
    return ""


def _rendered(chart: Path, values: list[str]) -> str:
    arguments = ["template", "roadstead", str(chart), "--namespace", NAMESPACE, "--include-crds", *values]
    done = subprocess.run([_helm(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GateError(done.stderr.strip())
    return done.stdout


def _helm() -> str:
    return str(binaries.path("helm"))


def _run(command: list[str], stdin: str | None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"ended with {done.returncode}"
