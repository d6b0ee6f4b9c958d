"""What documents say about paths, links, commands, reasons, metrics and objects is held against the tree itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from prometheus_client import CollectorRegistry

from roadstead.api.conditions import Reason
from roadstead.api.parse import parse
from roadstead.cli.app import app
from roadstead.kernel.metrics import Metrics
from roadstead.keys.gauges import FAMILIES
from testrun import gates, layers

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "charts").rglob("*.md"),
        *(ROOT / "bench").rglob("*.md"),
        ROOT / "tests/README.md",
    }
)

# Documents name kinds of things and open projects, never somebody's employer, bank, insurer, cloud or messenger.
COMPANIES = (
    *("HSBC", "Citibank", "Barclays", "UBS", "Goldman Sachs", "Morgan Stanley", "Standard Chartered", "Hang Seng"),
    *("AIA", "AXA", "Allianz", "Prudential", "Manulife", "Ping An", "Zurich Insurance", "Swiss Re", "Sun Life"),
    *("Alibaba", "Alipay", "Tencent", "WeChat", "WhatsApp", "Telegram", "Slack", "Facebook", "Amazon", "Azure"),
    *("Google", "Microsoft", "Oracle", "IBM", "Salesforce", "Datadog", "PagerDuty"),
)
UNFINISHED = ("TODO", "FIXME", "XXX", "TBD", "coming soon", "lorem ipsum")

SCRIPTS = {"demo": "demonstration", "test": "testrun", "clusters": "localkube", "generate": "generators"}
"""The module behind each script."""

_FENCE = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FLAG = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def fences(document: Path, *languages: str) -> Iterator[str]:
    for language, content in _FENCE.findall(text_of(document)):
        if language in languages:
            yield content


@cache
def anchors(document: Path) -> frozenset[str]:
    """The anchors of a document's headings, as the usual renderers make them."""
    found: dict[str, int] = {}
    for line in _FENCE.sub("", text_of(document)).splitlines():
        heading = re.fullmatch(r"#{1,6} (.*)", line)
        if heading:
            slug = re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    return frozenset(
        f"{slug}-{number}" if number else slug for slug, last in found.items() for number in range(last + 1)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    wrong = []
    for target in _LINK.findall(_FENCE.sub("", text_of(document))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


def test_the_check_of_links_knows_a_wrong_anchor() -> None:
    assert "a-region" in anchors(ROOT / "docs/troubleshooting.md")
    assert "a-regiment" not in anchors(ROOT / "docs/troubleshooting.md")


def test_every_path_in_the_concept_to_file_table_exists() -> None:
    table = text_of(ROOT / "docs/architecture.md").rpartition("\n## Where is what\n")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    paths = [path for row in rows for path in _SPAN.findall(row.split("|")[2])]
    assert len(rows) > 50
    assert [row for row in rows if not _SPAN.search(row.split("|")[2])] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_table_names_every_file_of_the_engine() -> None:
    table = text_of(ROOT / "docs/architecture.md").rpartition("\n## Where is what\n")[2]
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "operator/roadstead/kernel").glob("[!_]*.py")}
    assert sorted(file for file in files if f"`{file}`" not in table) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_path_in_backticks_exists(document: Path) -> None:
    roots = ("operator/", "scripts/", "tests/", "charts/", "manifests/", "workloads/", "images/", "crds/", "bench/")
    named = {
        span.partition(" ")[0]
        for span in _SPAN.findall(_FENCE.sub("", text_of(document)))
        if span.startswith(roots) and not re.search(r"[<>*{]|NAME", span)
    }
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def commands(document: Path) -> Iterator[str]:
    """Command lines in a document: of its code blocks, continued lines joined, and of its code spans."""
    blocks = "\n".join(fences(document, "", "sh", "bash", "console"))
    for line in blocks.replace("\\\n", " ").splitlines():
        yield re.sub(r"\s#\s.*$", "", line.strip().removeprefix("$ "))
    yield from _SPAN.findall(_FENCE.sub("", text_of(document)))


@cache
def help_of(script: str) -> str:
    """All that a script says of its flags, those of its subcommands included."""
    texts = []
    for arguments in ((), ("up",), ("down",)) if script == "clusters" else ((),):
        done = subprocess.run(
            [sys.executable, "-m", SCRIPTS[script], *arguments, "--help"],
            cwd=ROOT / "scripts",
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        texts.append(done.stdout)
    return "\n".join(texts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_script_exists_and_has_the_flags_that_are_named(document: Path) -> None:
    wrong = []
    for command in commands(document):
        for match in re.finditer(r"(?:^|[\s(;,])(scripts/([a-z_]+))(?![\w./])([^;|&)]*)", command):
            script = match[2]
            if not (ROOT / match[1]).exists():
                wrong.append(match[1])
            elif script in SCRIPTS:
                wrong += [
                    f"{match[1]} {flag}"
                    for flag in _FLAG.findall(match[3].partition(" scripts/")[0])
                    if flag not in help_of(script)
                ]
    assert wrong == []


def problem_of(words: list[str]) -> str:
    """What is wrong with a command line of `roadstead`, given without its first word; empty when nothing is."""
    command: Any = typer.main.get_command(app)
    while (inside := getattr(command, "commands", None)) and words and not words[0].startswith("-"):
        name, *words = words
        inner = inside.get(name)
        if inner is None:
            return f"there is no command {name}"
        command = inner
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    unknown = [option for option in options if option not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else ""


def calls(command: str) -> Iterator[list[str]]:
    """The calls of `roadstead` in a command line, as words without the first."""
    for match in re.finditer(r"(?:^|[(;|&]\s*)(?:kubectl )?roadstead ([^;|&)]+)", command):
        yield match[1].split()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_of_the_command_line_exists(document: Path) -> None:
    found = [problem_of(words) for command in commands(document) for words in calls(command)]
    assert [problem for problem in found if problem] == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("roadstead staus", "there is no command staus", id="a command that does not exist"),
        pytest.param("roadstead region ad hkg", "there is no command ad", id="a subcommand that does not exist"),
        pytest.param("roadstead lint --offline x", "lint has no --offline", id="an option of another command"),
        pytest.param("roadstead region add x --dry-run", "", id="a right one"),
    ],
)
def test_the_check_of_commands_knows(line: str, problem: str) -> None:
    assert [problem_of(words) for words in calls(line)] == [problem]


def described_reasons() -> list[str]:
    """The first cells of the rows of docs/troubleshooting.md that are one CamelCase word."""
    return re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", text_of(ROOT / "docs/troubleshooting.md"), re.MULTILINE)


def test_every_reason_has_a_meaning_and_a_cure() -> None:
    assert sorted({str(reason) for reason in Reason} - set(described_reasons())) == []


def test_no_reason_is_described_that_does_not_exist() -> None:
    assert sorted(set(described_reasons()) - {str(reason) for reason in Reason}) == []


def metrics() -> set[str]:
    """Names of the operator's own metrics, as a scrape shows them."""
    registry = CollectorRegistry()
    Metrics(registry)
    names = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in registry.collect()}
    names |= set(FAMILIES)
    return {name for name in names if not name.startswith(("process_", "python_"))}


def described_metrics() -> set[str]:
    """Those that docs/concepts/observability.md has in the first cells of its tables."""
    rows = re.findall(r"^\| (`[a-z_]+.*?) \|", text_of(ROOT / "docs/concepts/observability.md"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z_]+)[{`]", row)}


def test_every_metric_of_the_operator_is_described() -> None:
    assert sorted(metrics() - described_metrics()) == []


def test_no_metric_is_described_that_does_not_exist() -> None:
    assert sorted(described_metrics() - metrics()) == []


OBJECTS = [
    pytest.param(body, id=f"{name_of(document)}: {body['metadata']['name']}")
    for document in DOCUMENTS
    for block in fences(document, "yaml", "sh")
    for manifest in re.findall(
        r"^apiVersion: roadstead\.dev.*?(?=^END$|^EOF$|^---$|\Z)", block, re.MULTILINE | re.DOTALL
    )
    for body in [yaml.safe_load(manifest)]
    if body.get("spec")
]


def test_documents_have_examples() -> None:
    assert len(OBJECTS) >= 4


@pytest.mark.parametrize("body", OBJECTS)
def test_every_example_is_accepted_down_to_its_spelling(body: dict[str, object]) -> None:
    parse(str(body["kind"]), body, strict=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_nothing_is_left_unfinished(document: Path) -> None:
    assert [word for word in UNFINISHED if re.search(rf"\b{re.escape(word)}\b", text_of(document))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_company_is_named(document: Path) -> None:
    prose = re.sub(r"https?://\S+", "", text_of(document))
    assert [name for name in COMPANIES if re.search(rf"\b{re.escape(name)}\b", prose)] == []


def test_pre_commit_runs_the_gates_over_the_same_folders() -> None:
    hooks = {
        hook["id"]: hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
        for hook in repository["hooks"]
    }
    assert set(hooks) == {"ruff-check", "ruff-format", "mypy", "import-contracts", "generated", "compatible"}
    assert set(hooks["mypy"]["entry"].partition(" mypy ")[2].split()) == set(gates.PYTHON_FOLDERS)


def test_the_readme_names_every_layer_of_tests() -> None:
    readme = text_of(ROOT / "README.md")
    assert [name for name in layers.NAMES if name not in readme] == []
