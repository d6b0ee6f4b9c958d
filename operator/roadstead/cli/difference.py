"""What would change in one object: a unified diff of what is there and what would be.

A dry run under a second field manager says what the server would make of our fields (defaults, mutating webhooks,
``1000m`` that becomes ``1``), but not what goes away: a field that the operator owns and no longer wants stays while
nobody takes it. Those are found in the operator's own entry of ``managedFields`` and taken out here. Pure.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from roadstead.cli.output import to_yaml
from roadstead.kernel import objects
from roadstead.kernel.fieldset import owned_fields

Step = str | tuple[str, Any]
"""A field's name; or how an element of a list is found: ``k`` with its keys, or ``v`` with its value."""

_SERVERS_OWN: Final = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
_BOOKKEEPING: Final = (objects.BODY_HASH_ANNOTATION, objects.OWNER_UID_ANNOTATION)


def unified(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, name: str) -> str:
    """The diff; empty when nothing that anybody would miss changes.

    Args:
        before: the live object; None when there is none.
        after: what it would be; None when it would be deleted.
        name: of the object, for the two header lines.
    """
    lines = difflib.unified_diff(
        _lines(before),
        _lines(after),
        fromfile=f"live/{name}" if before is not None else "/dev/null",
        tofile=f"planned/{name}" if after is not None else "/dev/null",
        lineterm="",
    )
    return "\n".join(lines)


def _lines(body: Mapping[str, Any] | None) -> list[str]:
    return [] if body is None else to_yaml(shown(body)).splitlines()


def shown(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an object that people write; the content of a Secret only as a digest."""
    copy = {key: deepcopy(value) for key, value in sorted(body.items()) if key != "status"}
    metadata = {key: value for key, value in sorted(copy.get("metadata", {}).items()) if key not in _SERVERS_OWN}
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k not in _BOOKKEEPING}
    if annotations:
        metadata["annotations"] = annotations
    copy["metadata"] = dict(sorted(metadata.items()))
    if copy.get("kind") == "Secret":
        for part in ("data", "stringData"):
            if part in copy:
                copy[part] = {key: _hidden(value) for key, value in sorted(copy[part].items())}
    return {key: _sorted(value) for key, value in copy.items()}


def _hidden(value: Any) -> str:
    digest = hashlib.sha256(str(value).encode()).hexdigest()[:12]
    return f"(hidden, {len(str(value))} characters of base64, digest {digest})"


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(item) for key, item in sorted(value.items())}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def without_dropped(after: Mapping[str, Any], live: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """What a dry run answered, less what the operator owns in the live object and no longer writes.

    Args:
        after: the dry run's answer.
        live: the object as it is, with ``managedFields``.
        body: what the operator would apply.
    """
    result = deepcopy(dict(after))
    ours = owned_fields(live["metadata"], objects.FIELD_MANAGER)
    if ours is None:
        return result
    others = [
        entry.get("fieldsV1") or {}
        for entry in live["metadata"].get("managedFields") or ()
        if entry.get("manager") != objects.FIELD_MANAGER and not entry.get("subresource")
    ]
    for path in dropped(ours, body):
        if path in _HANDED_OVER and body.get("kind") in _SCALED:
            continue  # left to an autoscaler, which gets it as it is
        if not any(_contains(other, path) for other in others):
            _remove(result, path)
    return result


_HANDED_OVER: Final = (("spec", "replicas"),)
_SCALED: Final = tuple(gvr.kind for gvr in objects.WORKLOAD_TYPES)


def dropped(fields: Mapping[str, Any], body: Any) -> Iterator[tuple[Step, ...]]:
    """Paths that are owned and that the body no longer sets, the shortest ones."""
    for name, below in fields.items():
        step = _step(name)
        if step is None:
            continue
        found, value = _lookup(body, step)
        if not found:
            yield (step,)
        elif below:
            yield from ((step, *rest) for rest in dropped(below, value))


def _step(name: str) -> Step | None:
    kind, _, rest = name.partition(":")
    match kind:
        case "f":
            return rest
        case "k" | "v":
            return kind, json.loads(rest)
        case _:  # "." is the element itself; "i" is an index, which no schema of ours has
            return None


def _lookup(body: Any, step: Step) -> tuple[bool, Any]:
    if isinstance(step, str):
        return (True, body[step]) if isinstance(body, Mapping) and step in body else (False, None)
    for item in body if isinstance(body, Sequence) and not isinstance(body, str) else ():
        if _matches(item, step):
            return True, item
    return False, None


def _matches(item: Any, step: tuple[str, Any]) -> bool:
    kind, wanted = step
    if kind == "v":
        return bool(item == wanted)
    # A key that the body leaves out has its default (a port's protocol is TCP): what is there must not contradict.
    return isinstance(item, Mapping) and all(item.get(key, value) == value for key, value in wanted.items())


def _contains(fields: Mapping[str, Any], path: Sequence[Step]) -> bool:
    at: Mapping[str, Any] = fields
    for step in path:
        names = [name for name in at if _step(name) == step]
        if not names:
            return False
        at = at[names[0]]
    return True


def _remove(body: Any, path: Sequence[Step]) -> None:
    """Take a path out, and the maps and lists that it leaves empty."""
    step, rest = path[0], path[1:]
    found, value = _lookup(body, step)
    if not found:
        return
    if rest:
        _remove(value, rest)
        if value not in ({}, []):
            return
    if isinstance(step, str):
        body.pop(step, None)
    else:
        body.remove(value)
