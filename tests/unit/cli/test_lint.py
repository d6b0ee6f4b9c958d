from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from roadstead.cli.app import app
from roadstead.cli.lint import Report, Severity, lint
from specs import SAMPLES, chat, region

NAMESPACE = "roadstead-system"


def check(*bodies: Any) -> Report:
    return lint([("f.yaml", yaml.safe_dump_all(bodies).encode())], system_namespace=NAMESPACE)


def errors(*bodies: Any) -> list[str]:
    return [finding.message for finding in check(*bodies).findings if finding.severity is Severity.ERROR]


def warnings(*bodies: Any) -> list[str]:
    return [finding.message for finding in check(*bodies).findings if finding.severity is Severity.WARNING]


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["lint", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_samples_are_clean() -> None:
    assert run(str(SAMPLES)) == (0, "", "11 checked: 0 errors, 0 warnings\n")


def test_what_is_wrong_is_shown_with_file_line_object_field_value_and_cure(tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text(
        "apiVersion: roadstead.dev/v1alpha1\n"
        "kind: ChatService\n"
        "metadata: {name: advisers}\n"
        "spec:\n"
        "  image: registry.example/chat:latest\n"
        "  replcias: 3\n"
        "  topology:\n"
        "    regions:\n"
        "      - name: hkg\n"
        "      - name: SIN\n"
        "  tls: {secretName: chat-tls}\n"
        "---\n"
        "apiVersion: v1\n"
        "kind: ConfigMap\n"
        "metadata: {name: skipped}\n"
    )
    code, out, err = run(str(file))
    assert code == 1
    first, second = out.splitlines()
    assert first == (
        f"{file}:6: error: ChatService advisers: spec.replcias is 3, a field that does not exist; "
        "remove it, or correct its spelling (kubectl explain lists the fields)"
    )
    assert second.startswith(f"{file}:10: error: ChatService advisers: spec.topology.regions[1].name is SIN,")
    assert err == "1 checked, 1 of other kinds skipped: 2 errors, 0 warnings\n"


def test_advice_is_a_warning_and_fails_only_when_asked() -> None:
    body = yaml.safe_dump(chat(spec__image="registry.example/chat"))
    code, out, _ = run("-", stdin=body)
    assert code == 0 and "-:7: warning: ChatService hello: spec.image is registry.example/chat" in out
    assert run("-", "--warnings-as-errors", stdin=body)[0] == 1


def test_json_has_everything() -> None:
    code, out, _ = run("-", "-o", "json", stdin=yaml.safe_dump(chat(spec__replicas=-1)))
    report = json.loads(out)
    assert code == 1 and report["errors"] == 1 and report["checked"] == 1
    [finding] = report["findings"]
    assert finding["file"] == "-" and finding["field"] == "spec.replicas" and finding["object"] == "ChatService hello"
    assert yaml.safe_load(run("-", "-o", "yaml", stdin=yaml.safe_dump(chat(spec__replicas=-1)))[1]) == report


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        pytest.param(
            {"apiVersion": "roadstead.dev/v9"}, "is roadstead.dev/v9, not roadstead.dev/v1alpha1", id="version"
        ),
        pytest.param({"metadata.lables": {"a": "b"}}, "metadata.lables is", id="a field of metadata that is none"),
        pytest.param({"metadata.labels": {"a b": "c"}}, "has the key a b, not a key of a label", id="a label's key"),
        pytest.param({"metadata.labels": {"a": "b c"}}, "is b c, not a value of a label", id="a label's value"),
        pytest.param(
            {"metadata.name": "x" * 10_000}, "(10002 characters), longer than 28", id="a name of 10,000 letters"
        ),
        pytest.param({"metadata.annotations": {"{{ x }}": "y"}}, "has the key {{ x }}, not a key", id="a template"),
        pytest.param({"spec": None}, "spec is missing", id="no spec"),
        pytest.param({"spec": []}, "not a map", id="a spec that is a list"),
        pytest.param({"metadata": ["x"]}, "not a map", id="metadata that is a list"),
        pytest.param({"stauts": {}}, "stauts is {}, a field that does not exist", id="a field beside spec"),
    ],
)
def test_what_the_api_server_would_refuse_or_prune_is_an_error(edits: dict[str, Any], words: str) -> None:
    body = chat()
    for path, value in edits.items():
        at = body
        *steps, last = path.split(".")
        for step in steps:
            at = at[step]
        at[last] = value
    found = errors(body)
    assert any(words in message for message in found), found
    assert all(len(message) < 400 for message in found)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("just text", "is just text, not an object"),
        ({}, "has neither apiVersion nor kind"),
        ({"apiVersion": "roadstead.dev/v1alpha1"}, "kind is missing"),
        (
            {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Chat"},
            "kind is Chat, which roadstead.dev/v1alpha1 does not",
        ),
        ({"kind": ["x"]}, "apiVersion is missing"),
        ({"apiVersion": "roadstead.dev/v1alpha1", "kind": ["x"]}, "kind is "),
    ],
)
def test_what_is_no_object_of_ours_is_said(body: Any, words: str) -> None:
    [message] = errors(body)
    assert message.startswith(words)


def test_kinds_of_others_are_left_alone() -> None:
    report = check({"apiVersion": "networking.example/v1", "kind": "Region", "metadata": {"name": "x"}})
    assert report.findings == () and report.skipped == 1


def test_a_region_in_the_set_says_where_data_would_lie() -> None:
    service = chat(spec__residency={"jurisdictions": ["HK"]})
    assert errors(service, region("hkg")) == []
    found = errors(service, region("hkg"), region("sin", spec__jurisdiction="SG"))
    assert len(found) == 1 and "sin, which lies in SG, outside of spec.residency (HK)" in found[0]


def test_a_kubeconfig_is_taken_from_the_operators_namespace_only() -> None:
    reference = {"kubeconfigSecretRef": {"namespace": "elsewhere", "name": "x"}}
    body = region("sin", spec__cluster=reference)
    assert "not the operator's namespace" in errors(body)[0]
    assert lint([("f", yaml.safe_dump(body).encode())], system_namespace="elsewhere").findings == ()


def test_a_kubeconfig_in_the_set_is_judged_as_the_operator_does() -> None:
    config = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://x", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "a", "user": {"exec": {"command": "sh"}}}],
    }
    data = {"kubeconfig": base64.b64encode(yaml.safe_dump(config).encode()).decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "r", "namespace": NAMESPACE}, "data": data}
    body = region("sin", spec__cluster={"kubeconfigSecretRef": {"namespace": NAMESPACE, "name": "r"}})
    assert "insecure-skip-tls-verify is not accepted" in errors(body, secret)[0]
    assert errors(body, {**secret, "data": {"other": "eA=="}})[0].startswith("spec.cluster.kubeconfigSecretRef.key")


def test_an_object_that_is_there_twice_is_warned_about() -> None:
    assert any("a second time" in message for message in warnings(chat(), chat()))
    assert not any("a second time" in message for message in warnings(chat(), chat(namespace="other")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"a: [", "not YAML", id="broken YAML"),
        pytest.param(b"\xff\xfe", "not UTF-8", id="bytes"),
        pytest.param(b"a: &a [*a]", "f.yaml:1: error", id="a list that holds itself"),
        pytest.param(b"- " * 3000, "nested more than", id="nesting"),
    ],
)
def test_bad_files_are_findings_and_never_tracebacks(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "f.yaml").write_bytes(content)
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(chat()))
    code, out, err = run(str(tmp_path))
    assert code == 1 and words in out
    assert err.startswith("1 checked")


def test_terminal_tricks_in_a_file_do_not_reach_the_terminal() -> None:
    code, out, _ = run("-", stdin='apiVersion: "v\\e[2J"\nkind: ChatService\n')
    assert "\x1b" not in out and code == 0  # of another group: skipped
    code, out, _ = run("-", stdin='apiVersion: roadstead.dev/v1alpha1\nkind: "x\\e[2J"\n')
    assert "\x1b" not in out and code == 1


def test_files_that_cannot_be_read_are_wrong_usage(tmp_path: Path) -> None:
    code, _, err = run(str(tmp_path / "none.yaml"))
    assert code == 2 and "No such file" in err
    code, _, err = run(str(tmp_path))
    assert code == 2 and "holds no" in err
    assert run("x" * 10_000)[0] == 2
    assert run()[0] == 2
