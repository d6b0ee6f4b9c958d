import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localkube import capabilities, dockerd

ALL = 2**41 - 1


def test_the_bounding_set_tells_what_is_lacking() -> None:
    status = f"Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t{ALL & ~(1 << 24):016x}\n"
    assert capabilities.missing_from(status) == {"CAP_SYS_RESOURCE"}
    assert capabilities.missing_from(f"CapBnd:\t{ALL:016x}") == set()


def test_where_it_cannot_be_told_nothing_is_lacking() -> None:
    assert capabilities.missing_from("Name:\tx\n") == set()


@pytest.fixture
def runc(tmp_path: Path) -> Path:
    """A stand-in that shows what runc would have read."""
    program = tmp_path / "runc"
    program.write_text('#!/bin/sh\necho "$@" > "$SEEN"\n')
    program.chmod(0o755)
    return program


def shim(runc: Path, *arguments: str) -> str:
    seen = runc.with_name("seen")
    subprocess.run(
        [sys.executable, "-I", "-S", str(dockerd.SHIM), str(runc), *arguments],
        env=os.environ | {"SEEN": str(seen)},
        check=True,
        cwd=runc.parent,
    )
    return seen.read_text().strip()


def spec(path: Path, *, nested: bool) -> Path:
    # a capability that no machine has, beside one that every test runs with or without
    held = {"capabilities": {"bounding": sorted({"CAP_CHOWN", *capabilities.lacking()}), "ambient": None}}
    path.write_text(json.dumps({"process": held} if nested else held))
    return path


@pytest.mark.parametrize(
    ("arguments", "file", "nested"),
    [
        (("--root", "/r", "create", "--bundle", "{folder}", "id"), "config.json", True),
        (("run", "-b", "{folder}", "id"), "config.json", True),
        (("--root=/r", "create", "--bundle={folder}", "id"), "config.json", True),
        (("exec", "--process", "{folder}/process.json", "id"), "process.json", False),
        (("exec", "-p", "{folder}/process.json", "id"), "process.json", False),
    ],
    ids=["create", "run in short", "create with equals signs", "exec", "exec in short"],
)
def test_runc_gets_a_spec_without_what_is_lacking(
    runc: Path, tmp_path: Path, arguments: tuple[str, ...], file: str, nested: bool
) -> None:
    written = spec(tmp_path / file, nested=nested)
    given = [argument.format(folder=tmp_path) for argument in arguments]
    assert shim(runc, *given) == " ".join(given)
    found = json.loads(written.read_text())
    found = found["process"] if nested else found
    assert set(found["capabilities"]["bounding"]) == {"CAP_CHOWN"} - capabilities.lacking()
    assert found["capabilities"]["ambient"] == []


def test_other_calls_pass_through_untouched(runc: Path, tmp_path: Path) -> None:
    written = spec(tmp_path / "config.json", nested=True)
    before = written.read_text()
    assert shim(runc, "delete", "--force", "id") == "delete --force id"
    assert shim(runc, "kill", "id", "9") == "kill id 9"
    assert written.read_text() == before
