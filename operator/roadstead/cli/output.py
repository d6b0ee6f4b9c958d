"""What is printed, and where: results on standard output, everything about how it went on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console() -> Console:
    """Standard output for people. Colours only on a terminal and without ``NO_COLOR``; a pipe gets lines unbroken.

    ``COLUMNS`` sets the width.
    """
    from rich.console import Console  # noqa: PLC0415 - slow, and machines do not need it

    width = os.environ.get("COLUMNS", "")
    piped = not sys.stdout.isatty()
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        width=int(width) if width.isdigit() else (10_000 if piped else None),
    )


def is_plain() -> bool:
    """Whether to write letters where a terminal would get signs: in a pipe, with ``NO_COLOR``, or without UTF-8."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or not utf8


def unpadded(drawn: str) -> str:
    """Without the spaces that make all lines of a table as long as the longest: in a pipe, that may be screens."""
    return "\n".join(line.rstrip(" ") for line in drawn.split("\n"))


def show(renderable: RenderableType) -> None:
    """Print something for people."""
    console().print(renderable)


def line(text: str = "") -> None:
    """Print one line of a result as it stands, whatever is in it."""
    sys.stdout.write(f"{printable(text)}\n")


def note(text: str) -> None:
    """Say something about how it went."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def data(value: Any, format_: Format, *, compact: bool = False) -> None:
    """Print a result for machines.

    Args:
        value: plain data.
        format_: JSON or YAML.
        compact: one line (JSON) or one document (YAML) of a stream.
    """
    if format_ is Format.JSON:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=None if compact else 2) + "\n")
    else:
        sys.stdout.write(("---\n" if compact else "") + to_yaml(value))
    sys.stdout.flush()


def documents(values: Iterable[Any]) -> str:
    """Several objects as YAML documents, to be applied."""
    return "---\n".join(to_yaml(value) for value in values)


def to_yaml(value: Any) -> str:
    """Plain data as YAML, keys in their order, texts of several lines as blocks."""
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        """Never uses anchors; writes blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            del data
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    dumped: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, width=100, allow_unicode=True)
    return dumped


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor: a name in a manifest must not write over our words."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
