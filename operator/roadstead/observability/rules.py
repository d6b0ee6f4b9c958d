"""Writes the alerting rules as Prometheus reads them: ``python -m roadstead.observability.rules ROOT``."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from roadstead.observability.alerts import rule_file

FILE = "charts/roadstead/rules/roadstead.yaml"
MARK = "python -m roadstead.observability.rules"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that expressions can be read."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def text() -> str:
    """The rule file; its first line names the generator."""
    body: str = yaml.dump(rule_file(), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return f"# Written by {MARK}; do not edit\n{body}"


def write(root: Path) -> None:
    """Write the file below a repository's root."""
    file = root / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
