"""How long rendering takes: the templates of manifests/chat in five ways.

Run it with ``uv run --frozen python bench/templates.py``.

The result decided how `roadstead.kernel.templates` works. Each way renders the same objects from the same values; the
figure is the best of five rounds, in milliseconds of processor time for the whole set.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import yaml
from jinja2 import Environment, StrictUndefined, Template
from jinja2.environment import TemplateExpression

from roadstead.kernel import templates

OMIT = object()
EXPRESSION = re.compile(r"\{\{\s*(.*?)\s*\}\}")
OPTIONAL = re.compile(r"\|\s*optional")
LABELS = {f"example.com/label-{n}": "value-of-it" for n in range(8)}


def values() -> dict[str, Any]:
    """Something plausible for every variable of the room."""
    scalars = (
        "name namespace service region role peers_name config_name image image_pull_policy tls_secret service_type "
        "workload_kind monitor_interval"
    )
    numbers = (
        "service_port grace_seconds drain_seconds replicas progress_deadline_seconds min_replicas max_replicas "
        "target_cpu scale_down_stabilization_seconds max_unavailable"
    )
    absent = "min_available affinity lifecycle data_volume allow_from image_pull_secrets"
    maps = "labels selector pod_labels monitor_labels config resources node_selector service_annotations"
    return {
        **dict.fromkeys(scalars.split(), "desk-hkg"),
        **dict.fromkeys(numbers.split(), 7),
        **dict.fromkeys(maps.split(), LABELS),
        **dict.fromkeys(absent.split()),
        "tls_data": {"tls.crt": "x" * 2000, "tls.key": "y" * 2000},
        "issuer": {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"},
        "dns_names": ["a.example.com", "b.example.com"],
        "retention": {"sessions": 1, "cookies": 2, "transactions": 3},
        "env_from": [{"configMapRef": {"name": "c"}}],
        "topology_spread": [{"maxSkew": 1, "labelSelector": {"matchLabels": LABELS}}] * 2,
        "storage": {"on_delete": "Retain", "class_name": None, "size": "1Gi"},
        "pod": {"spec": LABELS},
    }


def environment() -> Environment:
    """One that has our filters, and ``to_json`` for the ways that render text."""
    made = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 - YAML and JSON, not HTML
    made.filters |= {"optional": lambda v: OMIT if v in (None, {}, []) else v, "text": str, "to_json": json.dumps}
    return made


def single(tree: Any) -> Any:
    """The tree with every text that has expressions in it as one expression, followed by ``to_json``."""
    match tree:
        case dict():
            return {key: single(item) for key, item in tree.items()}
        case list():
            return [single(item) for item in tree]
        case str() if "{{" in tree:
            parts = EXPRESSION.split(OPTIONAL.sub("", tree))
            joined = " ~ ".join(f"({part})" if i % 2 else f"'{part}'" for i, part in enumerate(parts) if part)
            return "{{ (" + joined + ") | to_json }}"
    return tree


def as_json(tree: Any) -> Template:
    """The template as JSON text with expressions in it."""
    return environment().from_string(re.sub(r'"(\{\{[^"]*\}\})"', r"\1", json.dumps(single(tree))))


def as_yaml(tree: Any) -> Template:
    """The same in the block style in which people write YAML, which is the dear one to parse."""
    text = yaml.safe_dump(single(tree), width=10_000, default_style='"').replace("!!int ", "").replace("!!bool ", "")
    return environment().from_string(re.sub(r'"(\{\{[^"]*\}\})"', r"\1", text))


def by_leaf(tree: Any, made: Environment) -> Any:
    """The tree with every expression compiled by itself."""
    match tree:
        case dict():
            return {key: by_leaf(item, made) for key, item in tree.items()}
        case list():
            return [by_leaf(item, made) for item in tree]
        case str() if (whole := EXPRESSION.fullmatch(tree)) and tree.count("{{") == 1:
            return made.compile_expression(whole[1], undefined_to_none=False)
        case str() if "{{" in tree:
            return made.from_string(tree)
    return tree


def evaluated(tree: Any, variables: dict[str, Any]) -> Any:
    """The tree of compiled leaves with their values."""
    match tree:
        case dict():
            return {key: v for key, item in tree.items() if (v := evaluated(item, variables)) is not OMIT}
        case list():
            return [v for item in tree if (v := evaluated(item, variables)) is not OMIT]
        case TemplateExpression():
            return tree(variables)
        case Template():
            return tree.render(variables)
    return tree


def ways() -> Iterator[tuple[str, int, Callable[[], object]]]:
    """Name, rounds, and what renders the whole set once."""
    chat = templates.load("chat")
    variables = values()
    trees = [orjson.loads(chat[name].source) for name in chat.names]
    block, text = [as_yaml(tree) for tree in trees], [as_json(tree) for tree in trees]
    made = environment()
    leaves = [by_leaf(tree, made) for tree in trees]
    yield "text, PyYAML", 3, lambda: [yaml.safe_load(page.render(variables)) for page in block]
    if hasattr(yaml, "CSafeLoader"):
        yield "text, libyaml", 10, lambda: [yaml.load(page.render(variables), yaml.CSafeLoader) for page in block]
    yield "text, orjson", 100, lambda: [orjson.loads(page.render(variables)) for page in text]
    yield "one expression per leaf", 50, lambda: [evaluated(tree, variables) for tree in leaves]
    yield "one expression per document, checked (ours)", 100, lambda: [chat[n].render(variables) for n in chat.names]


def main() -> None:
    """Print the table."""
    for name, rounds, render in ways():
        best = min(timed(render, rounds) for _ in range(5))
        print(f"{best:8.2f} ms  {name}")


def timed(render: Callable[[], object], rounds: int) -> float:
    """Milliseconds of processor time for one rendering."""
    begin = time.process_time()
    for _ in range(rounds):
        render()
    return (time.process_time() - begin) / rounds * 1e3


if __name__ == "__main__":
    main()
