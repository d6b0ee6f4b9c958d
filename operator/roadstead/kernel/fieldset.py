"""What server-side apply remembers: the ``fieldsV1`` of one field manager, read without a schema.

``managedFields[].fieldsV1`` is a trie: ``f:name`` is a field, ``k:{...}`` an element of a list map by its keys,
``v:value`` an element of a set, ``.`` the element itself; an empty trie under a field means that the field is owned as
a whole. Source: sigs.k8s.io/structured-merge-diff, fieldpath/serialize.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

DIGEST_BYTES = 8
"""Length of a digest: a collision would hide one drift, and there are at most a few dozen digests an owner."""


def digest(value: Any) -> bytes:
    """A short digest of plain data, independent of the order of keys."""
    return blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=DIGEST_BYTES).digest()


def owned_fields(metadata: Mapping[str, Any], manager: str) -> Mapping[str, Any] | None:
    """The ``fieldsV1`` of ``manager``'s apply entry for the main resource; None when it has none."""
    for entry in metadata.get("managedFields") or ():
        if entry.get("manager") == manager and _is_apply(entry):
            fields: Mapping[str, Any] = entry.get("fieldsV1") or {}
            return fields
    return None


def other_managers(metadata: Mapping[str, Any], ours: frozenset[str]) -> tuple[str, ...]:
    """Names of the other managers of the main resource, for messages about somebody who fights back."""
    return tuple(sorted({manager for manager, _ in _others(metadata, ours)}))


def managers_of(metadata: Mapping[str, Any], ours: frozenset[str], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the other managers of the main resource that own something which ``body`` sets.

    When nobody does (a field was removed), of those that own anything outside metadata and status.
    """
    others = _others(metadata, ours)
    names = {manager for manager, fields in others if _touches(body, fields)}
    return tuple(sorted(names or {manager for manager, fields in others if _main_parts(fields)}))


def _others(metadata: Mapping[str, Any], ours: frozenset[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """Manager and fields of each entry for the main resource that is not ours."""
    return [
        (str(entry.get("manager")), entry.get("fieldsV1") or {})
        for entry in metadata.get("managedFields") or ()
        if entry.get("manager") not in ours and not entry.get("subresource")
    ]


def _touches(value: Any, node: Mapping[str, Any]) -> bool:
    """Whether anything that ``value`` sets is owned by ``node``, or lies in something that is owned as a whole."""
    if not node:
        return True
    if isinstance(value, Mapping):
        return any(_touches(inner, node["f:" + name]) for name, inner in value.items() if "f:" + name in node)
    # An element of a list is told by its keys, and what became of ours may have others now: any of them counts.
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def taken_over(metadata: Mapping[str, Any], ours: str, kept: frozenset[str]) -> list[dict[str, Any]] | None:
    """``managedFields`` in which our apply entry owns what others own outside metadata and status, too.

    The next apply then removes what our body does not set. Kubernetes moves ownership in the same way from client-side
    to server-side apply: k8s.io/client-go/util/csaupgrade.

    Args:
        metadata: of the object as it is.
        ours: the manager that takes over.
        kept: managers from which nothing is taken.

    Returns:
        The new list; None when there is no entry of ours, or nobody else owns anything there.
    """
    entries: list[dict[str, Any]] = [dict(entry) for entry in metadata.get("managedFields") or ()]
    own = next((entry for entry in entries if entry.get("manager") == ours and _is_apply(entry)), None)
    if own is None:
        return None
    left, taken = [], False
    for entry in entries:
        fields: Mapping[str, Any] = entry.get("fieldsV1") or {}
        parts = _main_parts(fields)
        if not parts or entry.get("subresource") or entry.get("manager") in kept:
            left.append(entry)
            continue
        taken = True
        own["fieldsV1"] = _joined(own.get("fieldsV1") or {}, parts)
        rest = {name: node for name, node in fields.items() if name not in parts}
        if rest:
            left.append({**entry, "fieldsV1": rest})
    return left if taken else None


def _main_parts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in fields.items() if name not in ("f:metadata", "f:status")}


def _is_apply(entry: Mapping[str, Any]) -> bool:
    return entry.get("operation") == "Apply" and not entry.get("subresource")


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, **{name: _joined(one.get(name) or {}, node) for name, node in other.items()}}


def missing(body: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    """Paths that ``body`` sets and ``fields`` does not own: what somebody else has taken over or removed.

    ``apiVersion``, ``kind`` and the identity in ``metadata`` are never owned and are left out.
    """
    for name, value in body.items():
        if name in ("apiVersion", "kind"):
            continue
        node = fields.get("f:" + name)
        if name == "metadata":
            own = {k: v for k, v in value.items() if k in ("labels", "annotations", "ownerReferences", "finalizers")}
            yield from _missing(own, node or {}, "metadata", atomic_if_empty=False)
        elif node is None:
            yield name
        else:
            yield from _missing(value, node, name)


def _missing(value: Any, node: Mapping[str, Any], path: str, *, atomic_if_empty: bool = True) -> Iterator[str]:
    if not node and atomic_if_empty:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            child = node.get("f:" + name)
            if child is None:
                yield f"{path}.{name}"
            else:
                yield from _missing(inner, child, f"{path}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from _missing_elements(value, node, path)


def _missing_elements(value: Sequence[Any], node: Mapping[str, Any], path: str) -> Iterator[str]:
    keyed = [(orjson.loads(k[2:]), child) for k, child in node.items() if k.startswith("k:")]
    members = [orjson.loads(k[2:]) for k in node if k.startswith("v:")]  # decoded: < and & may be written as escapes
    for position, element in enumerate(value):
        where = f"{path}[{position}]"
        if isinstance(element, Mapping):
            child = _element(element, keyed)
            if child is None:
                yield where
            else:
                yield from _missing(element, child, where)
        elif element not in members:
            yield where


def _element(element: Mapping[str, Any], keyed: list[tuple[dict[str, Any], Mapping[str, Any]]]) -> Any:
    """The trie of the list-map element that has ``element``'s keys; keys that the server defaulted may be absent."""
    for keys, child in keyed:
        if all(element[name] == wanted for name, wanted in keys.items() if name in element) and any(
            name in element for name in keys
        ):
            return child
    return None
