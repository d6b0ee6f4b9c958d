"""What the demo prints: headings, commands as they are run, and their output.

No line is broken here: a command that the terminal itself wraps can still be copied as one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from demonstration.commands import changed

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
_started = time.monotonic()


class CommandFailedError(RuntimeError):
    """A command that the demo relies on failed; the message has its output."""


def heading(text: str) -> None:
    """Say what comes next."""
    console.print(f"\n[bold]{escape(text)}[/bold]  [dim]({time.monotonic() - _started:.0f} s)[/dim]", soft_wrap=True)


def note(text: str) -> None:
    """Say something about it."""
    console.print(f"  {escape(text)}", soft_wrap=True)


def show_command(line: str) -> None:
    """Print a command line."""
    console.print(f"  [cyan]$ {escape(line)}[/cyan]", soft_wrap=True)


def show_output(text: str) -> None:
    """Print what a command said, below its line; or a file's text, below its name."""
    for line in text.rstrip().splitlines():
        console.print(f"    {escape(line)}", soft_wrap=True)


def write_manifest(file: Path, content: Mapping[str, Any]) -> None:
    """Write what will be applied, and print it; of a file that was there, the lines that are new."""
    old = file.read_text() if file.exists() else ""
    new = yaml.safe_dump(content, sort_keys=False)
    file.write_text(new)
    note(f"{file}, what changed in it:" if old else f"{file}:")
    show_output("\n".join(changed(old, new)))


def run(command: Sequence[str | Path], *, shown: str = "", stdin: str | None = None, seconds: float = 120.0) -> str:
    """Run a command and return its output; with ``shown``, print that as the command line and the output below.

    Raises:
        CommandFailedError: It failed or took too long.
    """
    if shown:
        show_command(shown)
    try:
        done = subprocess.run(
            [str(part) for part in command], input=stdin, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(f"{shown or command[0]} did not end within {seconds:.0f} s") from error
    if done.returncode != 0:
        words = " ".join(str(part) for part in command)
        raise CommandFailedError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    if shown:
        show_output(done.stdout)
    return done.stdout
