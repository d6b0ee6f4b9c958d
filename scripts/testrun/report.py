"""What came of a run: counts per layer from pytest's own XML, a table, and a closing line like pytest's."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

WIDTH = 80


class Verdict(enum.Enum):
    """How a layer ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    EMPTY = "nothing to run"


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """Tests (or gates, in the static layer) by outcome."""

    failed: int = 0
    passed: int = 0
    skipped: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.failed + other.failed,
            self.passed + other.passed,
            self.skipped + other.skipped,
            self.errors + other.errors,
        )

    def words(self) -> str:
        """Return the counts in pytest's words and order, those that are zero left out."""
        named = [
            (self.failed, "failed"),
            (self.passed, "passed"),
            (self.skipped, "skipped"),
            (self.errors, "error" if self.errors == 1 else "errors"),
        ]
        return ", ".join(f"{count} {name}" for count, name in named if count) or "no tests ran"


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came of one layer."""

    layer: str
    verdict: Verdict
    seconds: float
    counts: Counts = Counts()
    remark: str = ""


def read_junit(file: Path) -> tuple[Counts, list[str]]:
    """Return the counts in a JUnit XML file of pytest, and ``test: reason`` of every skipped test."""
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314 - our own pytest wrote it a moment ago
    except (OSError, ElementTree.ParseError):
        return Counts(), []
    failed = passed = errors = 0
    skips = []
    for case in root.iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("error") is not None:
            errors += 1
        elif case.find("failure") is not None:
            failed += 1
        elif skip is not None and skip.get("type") != "pytest.xfail":
            skips.append(f"{name}: {skip.get('message')}")
        else:
            passed += 1
    return Counts(failed=failed, passed=passed, skipped=len(skips), errors=errors), skips


def total(results: Iterable[Result]) -> Counts:
    """Return the sum of all layers; a layer skipped as a whole counts as one skip."""
    added = Counts()
    for result in results:
        added += result.counts
        if result.verdict is Verdict.SKIPPED:
            added += Counts(skipped=1)
    return added


def succeeded(results: Iterable[Result], *, strict: bool) -> bool:
    """Return whether the run is green; ``strict`` (CI): a skip is a failure."""
    seen = list(results)
    bad = {Verdict.FAILED, Verdict.SKIPPED} if strict else {Verdict.FAILED}
    return not any(result.verdict in bad for result in seen) and not (strict and total(seen).skipped)


def table(results: Sequence[Result]) -> str:
    """Return a line per layer: name, verdict, seconds, counts, remark."""
    lines = []
    for result in results:
        counts = result.counts.words() if result.counts != Counts() else ""
        lines.append(
            f"{result.layer:<12} {result.verdict.value:<15} {result.seconds:>7.1f} s  {counts}"
            + (f"  ({result.remark})" if result.remark else "")
        )
    return "\n".join(line.rstrip() for line in lines)


def closing_line(results: Sequence[Result], seconds: float) -> str:
    """Return a line like pytest's last one: ``===== 12 passed, 1 skipped in 3.45s =====``."""
    clock = f" ({_clock(seconds)})" if seconds >= 60 else ""
    return f" {total(results).words()} in {seconds:.2f}s{clock} ".center(WIDTH, "=")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
