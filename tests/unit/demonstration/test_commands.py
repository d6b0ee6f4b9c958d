"""What the demo prints can be copied: whole lines, paths that are there, variables that it told."""

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demonstration import commands, terminal
from demonstration.commands import REPOSITORY

HUB = Path("/run/r/hub.kubeconfig")
REGIONS = {"hkg": Path("/run/r/hkg.kubeconfig"), "sin": Path("/run/r/sin.kubeconfig")}
LONG = "helm install roadstead charts/roadstead --namespace=roadstead-system --create-namespace --wait --timeout=120s"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on a terminal that is 40 columns wide."""
    paper = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=paper, width=40, force_terminal=False))
    return paper


@pytest.mark.parametrize("say", [terminal.show_command, terminal.note, terminal.show_output, terminal.heading])
def test_no_line_is_broken_on_a_narrow_terminal(say: Any, printed: io.StringIO) -> None:
    say(LONG)
    assert LONG in printed.getvalue()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        pytest.param(
            ["/cache/kubectl", f"--kubeconfig={HUB}", "get", "pods"], "kubectl get pods", id="the hub needs no name"
        ),
        pytest.param(
            ["/cache/kubectl", f"--kubeconfig={REGIONS['hkg']}", "get", "pods"],
            "kubectl --kubeconfig $HKG get pods",
            id="a region is named by its variable",
        ),
        pytest.param(
            ["roadstead", "region", "add", "sin", f"--kubeconfig={REGIONS['sin']}", f"--hub-kubeconfig={HUB}"],
            "roadstead region add sin --kubeconfig $SIN",
            id="a command on two clusters",
        ),
        pytest.param(["kubectl", "--kubeconfig=/else"], "kubectl --kubeconfig=/else", id="a kubeconfig without a name"),
        pytest.param(
            ["helm", "install", "r", str(REPOSITORY / "charts/roadstead")],
            "helm install r charts/roadstead",
            id="files of the repository as seen from its root",
        ),
        pytest.param(
            ["kubectl", "set", "image", "*=nothing:1", "-o", "jsonpath={.spec}"],
            "kubectl set image '*=nothing:1' -o 'jsonpath={.spec}'",
            id="what a shell would take for itself is quoted",
        ),
    ],
)
def test_a_command_is_printed_as_a_person_types_it(command: list[str], line: str) -> None:
    assert commands.typed(command, HUB, REGIONS) == line


def test_a_shell_that_was_given_the_exports_knows_every_kubeconfig_and_program() -> None:
    lines = commands.exports(HUB, REGIONS, [Path("/a place/bin"), Path("/b")])
    script = "\n".join([*lines, 'printf "%s\\n" "$HUB" "$HKG" "$SIN" "$KUBECONFIG" "$PATH"'])
    told = subprocess.run(
        ["/bin/sh", "-euc", script], env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert told == [str(HUB), str(REGIONS["hkg"]), str(REGIONS["sin"]), str(HUB), "/a place/bin:/b:/usr/bin"]


def test_a_manifest_is_printed_whole_and_then_what_is_new_in_it(tmp_path: Path, printed: io.StringIO) -> None:
    file = tmp_path / "x.yaml"
    terminal.write_manifest(file, {"kind": "Thing", "image": "a:1"})
    assert printed.getvalue() == f"  {file}:\n    kind: Thing\n    image: a:1\n"
    terminal.write_manifest(file, {"kind": "Thing", "image": "a:2"})
    assert printed.getvalue().endswith(f"  {file}, what changed in it:\n    image: a:2\n")
    assert file.read_text() == "kind: Thing\nimage: a:2\n"
