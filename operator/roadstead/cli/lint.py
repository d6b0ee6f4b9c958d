"""What is wrong with manifests, found without a cluster by the rules that admission uses.

One set of files is looked at together: a Region in it tells where a service's data would lie, a Secret in it whether a
region's kubeconfig would be accepted. What only the cluster knows (a region that is not in the set) is left to it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from roadstead.admission import rules
from roadstead.api.advice import advise
from roadstead.api.chatservice import ChatService
from roadstead.api.kinds import API_VERSION, BY_NAME, GROUP
from roadstead.api.parse import parse
from roadstead.api.problems import Problem, SpecError, shown, unknown_field
from roadstead.api.region import Region
from roadstead.api.shapes import LABEL_VALUE, QUALIFIED_NAME, SHAPES
from roadstead.cli.manifests import Document, UnreadableManifest, read

_METADATA: Final = frozenset(
    """annotations creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation
    labels managedFields name namespace ownerReferences resourceVersion selfLink uid""".split()  # noqa: SIM905
)


class Severity(StrEnum):
    """Whether the API server would refuse it."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one place in a file. ``line`` counts from 1; 0 is the whole file."""

    source: str
    line: int
    severity: Severity
    message: str
    object: str = ""
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.severity}: {f'{self.object}: ' if self.object else ''}{self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, in the order of the files. ``checked`` objects are ours, ``skipped`` are not."""

    findings: tuple[Finding, ...]
    checked: int = 0
    skipped: int = 0

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(1 for finding in self.findings if finding.severity is severity)


@dataclass(slots=True)
class _Set:
    """What the files say together."""

    regions: dict[str, Region] = field(default_factory=dict)
    services: list[tuple[Document, ChatService]] = field(default_factory=list)
    placed: list[tuple[Document, Region]] = field(default_factory=list)
    secrets: dict[tuple[str, str], rules.SecretFact] = field(default_factory=dict)
    seen: dict[tuple[str, str, str], str] = field(default_factory=dict)


def lint(files: Iterable[tuple[str, bytes]], *, system_namespace: str) -> Report:
    """Check a set of files.

    Args:
        files: name and content of each.
        system_namespace: the operator's own, from which alone it takes kubeconfigs.
    """
    findings: list[Finding] = []
    documents: list[Document] = []
    for source, content in files:
        try:
            documents += read(source, content)
        except UnreadableManifest as error:
            findings.append(Finding(source, error.line, Severity.ERROR, str(error)))
    known = _Set()
    ours = [document for document in documents if _is_ours(document, known, findings)]
    for document in ours:
        findings += _alone(document, known)
    for document, service in known.services:
        findings += _together_service(document, service, known)
    for document, region in known.placed:
        findings += _together_region(document, region, known, system_namespace)
    order = {source: index for index, source in enumerate(dict.fromkeys(f.source for f in findings))}
    findings.sort(key=lambda finding: (order[finding.source], finding.line, finding.severity, finding.message))
    return Report(tuple(findings), len(ours), len(documents) - len(ours))


def _is_ours(document: Document, known: _Set, findings: list[Finding]) -> bool:
    body = document.data
    if not isinstance(body, Mapping):
        message = f"is {shown(body)}, not an object; write apiVersion, kind, metadata and spec"
        findings.append(Finding(document.source, document.line, Severity.ERROR, message))
        return False
    version, kind = body.get("apiVersion"), body.get("kind")
    if kind == "Secret" and version == "v1":
        _remember_secret(body, known)
    if isinstance(version, str) and version and version.partition("/")[0] != GROUP:
        return False
    if isinstance(kind, str) and kind in BY_NAME:
        return True
    if version is None and kind is None:
        message = "has neither apiVersion nor kind: it is no Kubernetes object"
    elif kind is None:
        message = f"kind is missing; write {' or '.join(BY_NAME)}"
    elif version is None:
        message = "apiVersion is missing; write it"
    else:
        message = f"kind is {shown(kind)}, which {shown(version)} does not have; write {' or '.join(BY_NAME)}"
    findings.append(Finding(document.source, document.line_of("kind"), Severity.ERROR, message, field="kind"))
    return False


def _remember_secret(body: Mapping[str, Any], known: _Set) -> None:
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping):
        return
    values: dict[str, bytes] = {}
    data, texts = body.get("data"), body.get("stringData")
    for key, value in (data if isinstance(data, Mapping) else {}).items():
        try:
            values[key] = base64.b64decode(str(value), validate=True)
        except (binascii.Error, ValueError):
            values[key] = b""
    values |= {key: str(value).encode() for key, value in (texts if isinstance(texts, Mapping) else {}).items()}
    name = (str(metadata.get("namespace", "")), str(metadata.get("name", "")))
    known.secrets[name] = rules.SecretFact(
        frozenset(values), str(body.get("type") or "Opaque"), values.get("kubeconfig")
    )


def _alone(document: Document, known: _Set) -> Iterator[Finding]:
    """What an object shows by itself; what is right is remembered for the look at all together."""
    body = document.data
    kind = str(body["kind"])
    name = _label(body)
    problems = list(_metadata_problems(body.get("metadata")))
    if isinstance(body.get("metadata", {}), Mapping):
        identity = (kind, str((body.get("metadata") or {}).get("namespace", "")), name)
        if identity in known.seen:
            message = f"is in the set a second time, first in {known.seen[identity]}; the last one applied counts"
            yield Finding(document.source, document.line, Severity.WARNING, message, name)
        known.seen.setdefault(identity, f"{document.source}:{document.line}")
    parsed = None
    try:
        parsed = parse(kind, body, strict=True)
    except SpecError as error:
        problems += error.problems
    yield from (_finding(document, problem) for problem in problems)
    if parsed is None or problems:
        return
    for text in advise(parsed):
        yield Finding(
            document.source, _line_of_sentence(document, text), Severity.WARNING, text, name, _first_word(text)
        )
    if isinstance(parsed, Region):
        known.regions[parsed.metadata.name] = parsed
        known.placed.append((document, parsed))
    elif isinstance(parsed, ChatService):
        known.services.append((document, parsed))


def _metadata_problems(metadata: Any) -> Iterator[Problem]:
    if not isinstance(metadata, Mapping):
        return
    yield from (unknown_field(f"metadata.{shown(key)}", metadata[key]) for key in metadata if key not in _METADATA)
    for part, pattern in (("labels", LABEL_VALUE), ("annotations", None)):
        entries = metadata.get(part)
        if not isinstance(entries, Mapping):
            continue
        for key, value in entries.items():
            if not re.fullmatch(QUALIFIED_NAME, key):
                shape = SHAPES[QUALIFIED_NAME]
                says = f"has the key {shown(key)}, {shape.says}"
                yield Problem(f"metadata.{part}", shown(key), says, shape.cure)
            elif pattern and isinstance(value, str) and not (re.fullmatch(pattern, value) and len(value) <= 63):
                cure = "write at most 63 letters, digits, -, _ and ."
                says = f"is {shown(value)}, {SHAPES[LABEL_VALUE].says}"
                yield Problem(f"metadata.{part}.{key}", shown(value), says, cure)


def _together_service(document: Document, service: ChatService, known: _Set) -> Iterator[Finding]:
    facts = rules.ServiceFacts(known.regions)
    for rule in rules.SERVICE_RULES:
        yield from (_finding(document, problem) for problem in rule(service, facts))


def _together_region(document: Document, region: Region, known: _Set, system_namespace: str) -> Iterator[Finding]:
    reference = region.spec.cluster.kubeconfig_secret_ref
    secret = known.secrets.get((reference.namespace, reference.name)) if reference else None
    facts = rules.RegionFacts(system_namespace, kubeconfig=secret)
    for rule in rules.REGION_RULES:
        yield from (_finding(document, problem) for problem in rule(region, None, facts))


def _finding(document: Document, problem: Problem) -> Finding:
    return Finding(
        document.source,
        document.line_of(problem.field),
        Severity.ERROR,
        str(problem),
        _label(document.data),
        problem.field,
    )


def _label(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
    return f"{body.get('kind')} {shown(name)}" if name else str(body.get("kind"))


def _first_word(sentence: str) -> str:
    return sentence.split(" ", 1)[0].rstrip(":,;")


def _line_of_sentence(document: Document, sentence: str) -> int:
    return document.line_of(_first_word(sentence))


def as_data(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    findings: Sequence[Finding] = report.findings
    return {
        "apiVersion": API_VERSION,
        "kind": "LintReport",
        "checked": report.checked,
        "skipped": report.skipped,
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "findings": [
            {
                "file": finding.source,
                "line": finding.line,
                "severity": finding.severity.value,
                "object": finding.object,
                "field": finding.field,
                "message": finding.message,
            }
            for finding in findings
        ],
    }
