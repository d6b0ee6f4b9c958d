"""Custom resources for tests: the smallest valid ones, and edits of them by path."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Body = dict[str, Any]

SAMPLES = Path(__file__).resolve().parents[1] / "manifests" / "samples"
ABSENT = object()
"""The value that removes a field."""


def chat(name: str = "hello", namespace: str = "default", **edits: Any) -> Body:
    """A minimal ChatService; ``edits`` as for :func:`edited`, with ``__`` for dots."""
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "ChatService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "image": "registry.example/roadstead-chat:0.1.0",
            "topology": {"regions": [{"name": "hkg"}, {"name": "sin"}]},
            "tls": {"secretName": "hello-tls"},
        },
    }
    return edited(body, {path.replace("__", "."): value for path, value in edits.items()})


def region(name: str = "hkg", **edits: Any) -> Body:
    """A minimal Region; ``edits`` as for :func:`chat`."""
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Region",
        "metadata": {"name": name},
        "spec": {"cluster": {"inCluster": {}}, "jurisdiction": "HK"},
    }
    return edited(body, {path.replace("__", "."): value for path, value in edits.items()})


def edited(body: Body, edits: dict[str, Any]) -> Body:
    """A copy with fields set by path: ``{"spec.topology.regions[0].role": "Primary", "spec.tls": ABSENT}``."""
    body = deepcopy(body)
    for path, value in edits.items():
        steps = [int(step) if step.isdigit() else step for step in re.split(r"[.\[]", path.replace("]", ""))]
        at: Any = body
        for step in steps[:-1]:
            at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
        if value is ABSENT:
            at.pop(steps[-1], None)
        else:
            at[steps[-1]] = value
    return body


def samples() -> dict[str, Body]:
    """The samples of manifests/samples by file name."""
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SAMPLES.glob("*.yaml"))}
