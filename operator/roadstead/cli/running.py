"""How a command runs: what every command may be told, and how errors and signals end it.

Nothing heavy is imported before a command runs: completion must not wait for a Kubernetes client.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roadstead.cli.exits import ExitCode, Failure, failure_of
from roadstead.cli.output import Format, note

if TYPE_CHECKING:
    from roadstead.cli.hub import Access

SYSTEM_NAMESPACE = "roadstead-system"
GRACE = 2.0
"""Seconds after SIGTERM in which a command closes what is open; then it ends all the same."""

Kubeconfig = Annotated[
    str,
    typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig of the hub. Default: KUBECONFIG, ~/.kube/config."),
]
KubeContext = Annotated[str, typer.Option("--context", metavar="NAME", help="Context of the hub in it.")]
Output = Annotated[Format, typer.Option("--output", "-o", metavar="FORMAT", help="table, json or yaml.")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace of the service. Default: the context's.")
]
System = Annotated[
    str,
    typer.Option(
        "--system-namespace", envvar="ROADSTEAD_NAMESPACE", metavar="NS", help="The operator's own namespace."
    ),
]


def access_to(kubeconfig: str, context: str) -> Access:
    """What the command line says about the hub."""
    from roadstead.cli.hub import Access  # noqa: PLC0415

    return Access(kubeconfig, context)


def seconds_of(text: str, option: str = "--for") -> float | None:
    """A duration as somebody wrote it; None for an empty one."""
    if not text:
        return None
    from roadstead.api.duration import parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text).total_seconds()
    except ValueError:
        raise typer.BadParameter(f"{text} is no duration; write one such as 30s or 5m", param_hint=option) from None


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command that talks to clusters."""
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415

    # What the engine logs is for operators; whoever sits here is told in words by the command itself.
    logging.getLogger("roadstead").addHandler(logging.NullHandler())
    logging.getLogger("roadstead").propagate = False
    run_plain(lambda: asyncio.run(_terminable(work())))


async def _terminable(work: Coroutine[Any, Any, None]) -> None:
    """Let SIGTERM end a command as Ctrl-C does: what is open is closed, and the terminal gets its cursor back."""
    import asyncio  # noqa: PLC0415
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        terminated = True
        signal.signal(signal.SIGTERM, former)  # a second one ends the process at once
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)
        # Whoever sends it need not send another when we wait for a pipe or for a name server.
        last = threading.Timer(GRACE, os._exit, (ExitCode.TERMINATED,))
        last.daemon = True
        last.start()

    former = signal.signal(signal.SIGTERM, terminate)
    try:
        await work
    except asyncio.CancelledError:
        if terminated:
            raise typer.Exit(ExitCode.TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, former)


def run_plain(work: Callable[[], None]) -> None:
    """Run a command; every expected error becomes a line and an exit code."""
    from roadstead.kernel.errors import RoadsteadError  # noqa: PLC0415

    try:
        work()
    except RoadsteadError as error:
        _fail(failure_of(error))
    except Failure as failure:
        _fail(failure)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _fail(failure: Failure) -> None:
    note(f"roadstead: {failure}")
    raise typer.Exit(failure.code)
