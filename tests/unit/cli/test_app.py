from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from roadstead import __version__
from roadstead.cli import reference
from roadstead.cli.app import app
from roadstead.cli.exits import FIELD_MANAGER, ExitCode, failure_of
from roadstead.kernel import errors, objects

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, **environment: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), env={"KUBECONFIG": "/nowhere/config", **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=whole)


def test_completion_and_help_wait_for_no_client() -> None:
    """What is slow to import is imported by the command that needs it."""
    heavy = ("kopf", "kubernetes", "aiohttp", "pydantic", "rich", "yaml", "jinja2")
    code = f"import sys, roadstead.cli.app; print([name for name in {heavy} if name in sys.modules])"
    assert python(code).stdout.strip() == "[]"


def test_lint_needs_no_client() -> None:
    code = (
        "import sys; from roadstead.cli.app import app; "
        f"app(['lint', {str(ROOT / 'manifests' / 'samples')!r}], standalone_mode=False); "
        "print([name for name in ('kopf', 'kubernetes', 'aiohttp', 'rich') if name in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0 and "_ROADSTEAD_COMPLETE" in result.stdout


def test_completion_completes() -> None:
    code = "from roadstead.cli.app import main; main()"
    done = python(code, _ROADSTEAD_COMPLETE="complete_bash", COMP_WORDS="roadstead re", COMP_CWORD="1")
    assert done.stdout.split() == ["region"]


def test_an_unknown_shell_is_wrong_usage() -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == ExitCode.USAGE and "bash" in result.stderr


def test_version_without_a_cluster() -> None:
    assert run("version", "--client").stdout == f"roadstead   {__version__}\n"
    assert json.loads(run("version", "--client", "-o", "json").stdout) == {"client": __version__}


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--regions", "-o", "json"),
        ("explain-plan", "chat/advisers"),
        ("region", "list"),
        ("region", "cordon", "x"),
        ("version",),
        ("region", "add", "x", "--kubeconfig=/nowhere/config", "--jurisdiction=HK"),
    ],
)
def test_without_a_kubeconfig_every_command_says_so(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.count("\n") == 1 and "there is no kubeconfig" in result.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("a: [", "cannot be read", id="no YAML"),
        pytest.param("[]", "", id="a list"),
        pytest.param("current-context: x\ncontexts: []\nclusters: []\nusers: []\n", "x", id="no such context"),
        pytest.param("current-context: x\ncontexts: 7\n", "", id="nonsense"),
    ],
)
def test_a_broken_kubeconfig_is_a_line(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    result = run("status", KUBECONFIG=str(file))
    assert result.exit_code == ExitCode.USAGE, result.output
    assert "kubeconfig" in result.stderr and words in result.stderr


def test_a_cluster_that_does_not_answer_has_its_own_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "current-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        "clusters: [{name: x, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: x, user: {token: t}}]\n"
    )
    for arguments in (("status",), ("region", "list"), ("explain-plan", "a/b"), ("status", "-w", "--for=1s")):
        result = run(*arguments, KUBECONFIG=str(file))
        assert result.exit_code == ExitCode.UNREACHABLE and "does not answer" in result.stderr, result.output
    result = run("version", KUBECONFIG=str(file))
    assert result.exit_code == ExitCode.UNREACHABLE and __version__ in result.stdout


def test_a_proxy_is_said_to_be_unsupported(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "current-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        "clusters: [{name: x, cluster: {server: 'https://127.0.0.1:1', proxy-url: 'http://127.0.0.1:2'}}]\n"
        "users: [{name: x, user: {token: t}}]\n"
    )
    result = run("status", KUBECONFIG=str(file))
    assert result.exit_code == ExitCode.USAGE and "proxy-url" in result.stderr


def test_a_member_without_verification_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "current-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        "clusters: [{name: x, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}]\n"
        "users: [{name: x, user: {token: t}}]\n"
    )
    result = run("region", "add", "x", f"--kubeconfig={file}", "--jurisdiction=HK")
    assert result.exit_code == ExitCode.FAULTY and "insecure-skip-tls-verify" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "--for=soon"), "soon is no duration"),
        (("status", "-o", "xml"), "xml"),
        (("nonsense",), "nonsense"),
        (("region", "add", "x"), "--"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitCode.USAGE and words in result.stderr


def test_a_region_that_admission_would_refuse_is_refused_before_any_cluster_is_asked() -> None:
    result = run("region", "add", "x" * 24, "--kubeconfig=/nowhere/config", "--jurisdiction=UK")
    assert result.exit_code == ExitCode.FAULTY
    assert "longer than 23" in result.stderr and "UK" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), ExitCode.NOT_FOUND),
        (errors.Unauthorised("x"), ExitCode.DENIED),
        (errors.Forbidden("x"), ExitCode.DENIED),
        (errors.Invalid("x"), ExitCode.REFUSED),
        (errors.Conflict("x"), ExitCode.REFUSED),
        (errors.UntrustedKubeconfig("x"), ExitCode.REFUSED),
        (errors.Unreachable("x"), ExitCode.UNREACHABLE),
        (errors.ServerFault("x"), ExitCode.UNREACHABLE),
        (errors.Throttled("x"), ExitCode.UNREACHABLE),
    ],
)
def test_every_error_of_a_cluster_has_an_exit_code(error: errors.RoadsteadError, code: ExitCode) -> None:
    assert failure_of(error).code is code


def test_the_operators_field_manager_is_never_used() -> None:
    assert FIELD_MANAGER not in (objects.FIELD_MANAGER, objects.STATUS_MANAGER, objects.HANDOVER_MANAGER)


def test_every_exit_code_is_documented() -> None:
    page = reference.text()
    assert all(f"| {int(code)} | " in page for code in ExitCode)
    how_to = (ROOT / "docs" / "how-to" / "cli.md").read_text(encoding="utf-8")
    assert all(f"| {int(code)} |" in how_to for code in ExitCode)
    for command in (
        "status",
        "explain-plan",
        "lint",
        "region add",
        "region list",
        "region cordon",
        "version",
        "completion",
    ):
        assert f"## roadstead {command}" in page and f"roadstead {command}" in how_to


@pytest.mark.parametrize(("program", "name"), [("roadstead", "roadstead"), ("kubectl-roadstead", "kubectl roadstead")])
def test_it_is_installed_under_both_names(program: str, name: str) -> None:
    command = [str(Path(sys.executable).with_name(program)), "status", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith(f"Usage: {name} status")


def test_output_into_a_closed_pipe_is_no_traceback() -> None:
    script = f"{sys.executable} -m roadstead.cli.app explain-plan --help | head -c 10"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
