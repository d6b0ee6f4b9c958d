"""Whether new CRDs still accept what the old ones accepted.

Compares two CustomResourceDefinitions and lists every change that can break an object, a manifest in somebody's Git
repository or a client. Loosening is fine; so are new optional fields, descriptions and printer columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Break:
    """One incompatible change.

    Attributes:
        path: The field, such as ``v1alpha1 spec.replicas``; or the part of the definition.
        change: What changed, to be read after the path.
    """

    path: str
    change: str

    def __str__(self) -> str:
        return f"{self.path} {self.change}"


def compare(old: Schema, new: Schema) -> list[Break]:
    """List what the change from one definition to another breaks.

    Args:
        old: A CustomResourceDefinition as it was released.
        new: The same one as it would be.

    Returns:
        Every break; empty when there is none.
    """
    name = old["metadata"]["name"]
    found = [
        Break(name, f"changes {what} from {was} to {is_}")
        for what, was, is_ in (
            ("its scope", old["spec"]["scope"], new["spec"]["scope"]),
            ("its kind", old["spec"]["names"]["kind"], new["spec"]["names"]["kind"]),
            ("its name", name, new["metadata"]["name"]),
        )
        if was != is_
    ]
    for short in _missing(old["spec"]["names"].get("shortNames", ()), new["spec"]["names"].get("shortNames", ())):
        found.append(Break(name, f"loses the short name {short}"))
    versions = {version["name"]: version for version in new["spec"]["versions"]}
    for version in old["spec"]["versions"]:
        if not version["served"]:
            continue
        successor = versions.get(version["name"])
        if successor is None or not successor["served"]:
            found.append(Break(f"{name} {version['name']}", "is no longer served"))
            continue
        was, is_ = version.get("subresources", ()), successor.get("subresources", ())
        for subresource in _missing(was, is_):
            found.append(Break(f"{name} {version['name']}", f"loses the subresource {subresource}"))
        if "status" in _missing(is_, was):
            change = "gets the subresource status: a status that an object is made with would be dropped"
            found.append(Break(f"{name} {version['name']}", change))
        found += _schema(
            version["schema"]["openAPIV3Schema"], successor["schema"]["openAPIV3Schema"], f"{name} {version['name']} "
        )
    return found


def _schema(old: Schema, new: Schema, path: str) -> Iterator[Break]:
    where = path.removesuffix(".") if path.endswith(".") else path
    was, is_ = _type(old), _type(new)
    if was != is_:
        yield Break(where.strip(), f"changes its type from {was} to {is_}")
        return
    yield from _bounds(old, new, where.strip())
    yield from _choices(old, new, where.strip())
    for name in _missing(new.get("required", ()), old.get("required", ())):
        if name in old.get("properties", {}):
            yield Break(f"{path}{name}", "becomes required")
        else:
            yield Break(f"{path}{name}", "is new and required")
    for name, child in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield Break(f"{path}{name}", "is removed")
        else:
            yield from _schema(child, new["properties"][name], f"{path}{name}.")
    for key, step in (("items", "[]"), ("additionalProperties", "[*]")):
        if key not in old:
            continue
        if key not in new:
            yield Break(where.strip(), f"loses its {key}: what it holds would be pruned")
        else:
            yield from _schema(old[key], new[key], f"{where.strip()}{step}.")


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    kind = str(node.get("type"))
    # A list that was a set and becomes atomic changes who owns what under server-side apply.
    details = [str(node[key]) for key in ("x-kubernetes-list-type", "x-kubernetes-map-type") if key in node]
    keys = node.get("x-kubernetes-list-map-keys", [])
    return " ".join([kind, *details, *keys])


_LOWER = ("minimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[Break]:
    for key in _LOWER:
        if key in new and (key not in old or new[key] > old[key]):
            yield Break(path, f"raises {key} from {old.get(key, 'none')} to {new[key]}")
    for key in _UPPER:
        if key in new and (key not in old or new[key] < old[key]):
            yield Break(path, f"lowers {key} from {old.get(key, 'none')} to {new[key]}")
    for key in ("exclusiveMinimum", "exclusiveMaximum"):
        if new.get(key, False) and not old.get(key, False):
            yield Break(path, f"sets {key}")
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield Break(path, f"changes its pattern from {old.get('pattern', 'none')} to {new['pattern']}")
    if new.get("format") != old.get("format") and (old.get("format"), new.get("format")) != ("int32", "int64"):
        yield Break(path, f"changes its format from {old.get('format', 'none')} to {new.get('format', 'none')}")


def _choices(old: Schema, new: Schema, path: str) -> Iterator[Break]:
    if "enum" in new:
        if "enum" not in old:
            yield Break(path, f"becomes a choice of {', '.join(map(str, new['enum']))}")
        for choice in _missing(old.get("enum", ()), new["enum"]):
            yield Break(path, f"loses the choice {choice}")
    # An object that leaves the field out silently means something else afterwards.
    if old.get("default") != new.get("default"):
        yield Break(path, f"changes its default from {old.get('default', 'none')} to {new.get('default', 'none')}")
    for rule in _missing(_rules(new), _rules(old)):
        yield Break(path, f"gets the rule {rule}")


def _rules(node: Schema) -> list[str]:
    return [entry["rule"] for entry in node.get("x-kubernetes-validations", ())]


def _missing(wanted: Any, present: Any) -> list[Any]:
    return [item for item in wanted if item not in present]
