"""Strict JSON schemas of every kind, made on this machine: kubeconform's own come from GitHub at run time.

Built-in kinds from the OpenAPI document inside the pinned k8s.io/kubernetes module, custom kinds from CRDs. Strict: a
property that the schema does not know is an error, as it would be with ``kubectl --validate=strict``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from localkube import binaries, cache

LOCATION = "{{ .ResourceKind }}_{{ .Group }}_{{ .ResourceAPIVersion }}.json"
"""kubeconform's template for the files that `directory` holds."""
_REF = "#/definitions/"
_VERSION = "2"  # of this file's output: raise it when the conversion below changes
_INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
_REPLACED: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _INT_OR_STRING,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {
        "type": ["string", "null"]
    },  # generators write creationTimestamp: null
}


def directory(crd_files: Iterable[Path] = ()) -> Path:
    """Return a directory with one schema per kind: the built-in ones, and those of the CRDs in ``crd_files``."""
    openapi = binaries.module_dir("k8s.io/kubernetes") / "api" / "openapi-spec" / "swagger.json"
    files = sorted(crd_files)

    def make(target: Path) -> None:
        for name, schema in _built_in(json.loads(openapi.read_text())["definitions"]):
            (target / name).write_text(json.dumps(schema))
        for file in files:
            for name, schema in custom(yaml.safe_load_all(file.read_text())):
                (target / name).write_text(json.dumps(schema))

    return cache.entry("schemas", cache.key_of(files, str(openapi), _VERSION), make, what="JSON schemas")


def custom(documents: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield file name and strict schema of each version of the CRDs among ``documents``."""
    for document in documents:
        if not document or document.get("kind") != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema.setdefault("properties", {}).update(
                {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
            )
            yield _file_name(spec["names"]["kind"], spec["group"], version["name"]), schema


def strict(node: Any) -> Any:
    """Return a copy of an OpenAPI schema as JSON schema in which unknown properties are errors."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return dict(_INT_OR_STRING)
    # `properties` maps names to schemas: a property may itself be called "properties" or "description"
    made = {
        key: {name: strict(schema) for name, schema in value.items()}
        if key in ("properties", "definitions")
        else strict(value)
        for key, value in node.items()
        if key not in ("description", "format", "nullable", "default", "example") and not key.startswith("x-")
    }
    if made.get("type") and node.get("nullable"):
        made["type"] = [made["type"], "null"]
    open_ended = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-embedded-resource")
    if "properties" in made and "additionalProperties" not in made and not open_ended:
        made["additionalProperties"] = False
    return made


def _built_in(definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    converted = {name: _REPLACED.get(name) or strict(schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1:
            continue  # DeleteOptions and WatchEvent belong to every group, and are in nobody's manifests
        needed = _closure(name, converted)
        yield (
            _file_name(kinds[0]["kind"], kinds[0]["group"], kinds[0]["version"]),
            {**converted[name], "definitions": {other: converted[other] for other in sorted(needed)}},
        )


def _closure(name: str, definitions: dict[str, Any]) -> set[str]:
    """Return the names of all definitions that ``name`` refers to, directly or not."""
    found: set[str] = set()
    pending = [name]
    while pending:
        for target in _references(definitions[pending.pop()]):
            if target not in found:
                found.add(target)
                pending.append(target)
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_REF)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _file_name(kind: str, group: str, version: str) -> str:
    # what kubeconform calls the group of `apiVersion: v1` is "v1"
    return f"{kind.lower()}_{group or version}_{version}.json"
