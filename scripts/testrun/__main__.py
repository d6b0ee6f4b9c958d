"""Runs the chosen layers one after the other and says what came of each.

Exit codes: 0 all green; 1 something failed, or was skipped where CI=true; 2 wrong arguments; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from localkube import binaries, kind
from testrun import gates, layers, report
from testrun.layers import STATIC, Layer, Weight
from testrun.report import Counts, Result, Verdict

PYTEST_NO_TESTS = 5
PYTEST_BAD_USAGE = 4
INTERRUPTED = 130
END_SECONDS = 60.0
PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and report; return the exit code."""
    options, for_pytest = _parser().parse_known_args(arguments)
    chosen = layers.chosen(options.only, fast=options.fast)
    if not chosen:
        print(f"error: --fast leaves nothing of --only {' '.join(options.only)}", file=sys.stderr)
        return 2
    strict = os.environ.get("CI", "").lower() in ("1", "true", "yes")
    if options.keep:
        os.environ["ROADSTEAD_KEEP"] = "1"
    signal.signal(signal.SIGTERM, _as_interrupt)
    started = time.monotonic()
    results: list[Result] = []
    interrupted = False
    try:
        with _swept() if any(layer.weight is Weight.KIND for layer in chosen) else contextlib.nullcontext():
            _prepare(chosen)
            for layer in chosen:
                results.append(_run_layer(layer, for_pytest, strict=strict))
    except KeyboardInterrupt:
        interrupted = True
        print("\ninterrupted: everything that was started is stopped", file=sys.stderr)
    _print_summary(results, time.monotonic() - started, strict=strict)
    if interrupted:
        return INTERRUPTED
    return 0 if report.succeeded(results, strict=strict) else 1


@contextlib.contextmanager
def _swept() -> Iterator[None]:
    """Remove what earlier, killed runs left behind, and after this run what it may have left."""
    try:
        yield
    finally:
        kind.sweep()


def _prepare(chosen: Sequence[Layer]) -> None:
    """Build what the layers need, all in one go: the person sees n of m, and no layer's time hides a compiler."""
    wanted: list[str] = []
    for layer in chosen:
        if layer is STATIC:
            wanted += gates.tools()
        elif layer.has_tests() and layers.obstacle(layer) is None:
            wanted += layer.tools
    binaries.ensure(wanted)


def _run_layer(layer: Layer, for_pytest: Sequence[str], *, strict: bool) -> Result:
    _heading(layer.name)
    started = time.monotonic()
    obstacle = layers.obstacle(layer)
    if layer is STATIC:
        result = _run_gates()
    elif not layer.has_tests():
        result = Result(layer.name, Verdict.EMPTY, 0.0)
    elif obstacle:
        print(f"!!! SKIPPED: layer {layer.name} does not run here: {obstacle}", flush=True)
        result = Result(layer.name, Verdict.SKIPPED, 0.0, remark=obstacle)
    else:
        result = _run_pytest(layer, for_pytest, strict=strict)
    print(f"--- {layer.name}: {result.verdict.value} in {time.monotonic() - started:.1f} s", flush=True)
    return result


def _run_gates() -> Result:
    started = time.monotonic()
    counts = Counts()
    failed = []
    for gate in gates.gates():
        gate_started = time.monotonic()
        complaint = gate.check()
        took = time.monotonic() - gate_started
        print(f"{'FAILED' if complaint else 'ok':<7} {gate.name} ({took:.1f} s)", flush=True)
        counts += Counts(failed=1) if complaint else Counts(passed=1)
        if complaint:
            failed.append(gate.name)
            print(complaint + (f"\nmend it with: {gate.mend}" if gate.mend else ""), flush=True)
    verdict = Verdict.FAILED if failed else Verdict.PASSED
    return Result(STATIC.name, verdict, time.monotonic() - started, counts, ", ".join(failed))


def _run_pytest(layer: Layer, for_pytest: Sequence[str], *, strict: bool) -> Result:
    started = time.monotonic()
    # In memory and not in a directory: nothing removes that one when we are killed.
    with os.fdopen(os.memfd_create("junit.xml")) as memory:
        file = Path(f"/proc/self/fd/{memory.fileno()}")
        command = [sys.executable, "-m", "pytest", str(layer.folder), f"--junitxml={file}", *for_pytest]
        if layer.workers > 1 and not for_pytest:  # who asks for something special wants to see one test after another
            command += [f"--numprocesses={layer.workers}", "--dist=loadfile"]
        code = _run_child(command, keep_open=memory.fileno())
        counts, skips = report.read_junit(file)
    took = time.monotonic() - started
    if code == PYTEST_NO_TESTS:
        return Result(layer.name, Verdict.EMPTY, took, remark="no test matched")
    if code == PYTEST_BAD_USAGE:
        return Result(layer.name, Verdict.FAILED, took, counts, "pytest refused its arguments")
    for skip in skips:
        print(f"!!! SKIPPED {skip}", flush=True)
    if code != 0:
        return Result(layer.name, Verdict.FAILED, took, counts)
    if skips and strict:
        return Result(layer.name, Verdict.FAILED, took, counts, "with CI=true a skip is a failure")
    return Result(layer.name, Verdict.PASSED, took, counts)


def _run_child(command: Sequence[str], *, keep_open: int) -> int:
    """Run pytest so that a Ctrl-C reaches it once, also when we are killed, and it has time to end its fixtures."""
    child = subprocess.Popen(
        command,
        cwd=layers.ROOT,
        start_new_session=True,
        pass_fds=(keep_open,),
        preexec_fn=_interrupt_with_parent,  # noqa: PLW1509 - this program has one thread
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        print("\nstopping what the tests started ...", file=sys.stderr, flush=True)
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            child.wait(END_SECONDS)
        raise
    finally:
        if child.poll() is None:  # a second Ctrl-C, or fixtures that hang; supervisors end the clusters
            child.kill()
            child.wait()


def _interrupt_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what it starts in the background ignore it
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _print_summary(results: Sequence[Result], seconds: float, *, strict: bool) -> None:
    if len(results) > 1:
        _heading("summary")
        print(report.table(results))
    skipped = [result for result in results if result.verdict is Verdict.SKIPPED]
    if skipped and not strict:
        names = ", ".join(result.layer for result in skipped)
        print(f"!!! NOT TESTED on this machine: {names}. With CI=true this would be a failure.")
    print(report.closing_line(results, seconds), flush=True)


def _heading(title: str) -> None:
    print(f"\n{f' {title} ':#^{report.WIDTH}}", flush=True)


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    weights = "; ".join(f"{layer.name}: {layer.weight.value}" for layer in layers.LAYERS)
    parser = argparse.ArgumentParser(
        prog="scripts/test",
        description="Run the tests. Arguments that are not listed here go to pytest, for example -k NAME or -x.",
        epilog=f"Layers and what they stand on: {weights}.",
        allow_abbrev=False,  # -k and friends belong to pytest
    )
    parser.add_argument("--fast", action="store_true", help="only the layers that need no cluster")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=layers.NAMES,
        metavar="LAYER",
        help=f"one of {', '.join(layers.NAMES)}; may be repeated",
    )
    parser.add_argument("--keep", action="store_true", help="leave clusters running (scripts/clusters down stops them)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
