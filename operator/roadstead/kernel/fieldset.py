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
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Mapping[str, Any] = entry.get("fieldsV1") or {}
            return fields
    return None


def other_managers(metadata: Mapping[str, Any], ours: frozenset[str]) -> tuple[str, ...]:
    """Names of the other managers of the main resource, for messages about somebody who fights back."""
    names = {
        str(entry.get("manager"))
        for entry in metadata.get("managedFields") or ()
        if entry.get("manager") not in ours and not entry.get("subresource")
    }
    return tuple(sorted(names))


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
