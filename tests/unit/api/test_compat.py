from copy import deepcopy
from typing import Any

import pytest

from roadstead.api.compat import compare
from roadstead.api.crd import custom_resource_definition
from roadstead.api.kinds import KINDS, Kind
from specs import ABSENT, Body, edited

OLD: Body = {
    "metadata": {"name": "things.x"},
    "spec": {
        "scope": "Namespaced",
        "names": {"kind": "Thing", "shortNames": ["th"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["a"],
                                "properties": {
                                    "a": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9},
                                    "b": {"type": "string", "maxLength": 9, "default": "x"},
                                    "c": {"type": "string", "enum": ["X", "Y"]},
                                    "l": {
                                        "type": "array",
                                        "maxItems": 5,
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                                    },
                                    "m": {
                                        "type": "object",
                                        "maxProperties": 5,
                                        "additionalProperties": {"type": "string", "maxLength": 5},
                                    },
                                },
                                "x-kubernetes-validations": [{"rule": "self.a > 1", "message": "m"}],
                            }
                        },
                    }
                },
            }
        ],
    },
}
SPEC = "spec.versions[0].schema.openAPIV3Schema.properties.spec"


def changes(edits: dict[str, Any]) -> list[str]:
    return [str(found) for found in compare(OLD, edited(OLD, edits))]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        pytest.param({f"{SPEC}.properties.b": ABSENT}, "things.x v1 spec.b is removed", id="a field goes"),
        pytest.param({f"{SPEC}.required": ["a", "b"]}, "things.x v1 spec.b becomes required", id="a field is required"),
        pytest.param(
            {f"{SPEC}.required": ["a", "z"], f"{SPEC}.properties.z": {"type": "string"}},
            "things.x v1 spec.z is new and required",
            id="a new field is required",
        ),
        pytest.param(
            {f"{SPEC}.properties.a": {"type": "string"}},
            "things.x v1 spec.a changes its type from integer to string",
            id="another type",
        ),
        pytest.param(
            {f"{SPEC}.properties.a.maximum": 8}, "things.x v1 spec.a lowers maximum from 9 to 8", id="a lower maximum"
        ),
        pytest.param(
            {f"{SPEC}.properties.a.minimum": 2}, "things.x v1 spec.a raises minimum from 1 to 2", id="a higher minimum"
        ),
        pytest.param(
            {f"{SPEC}.properties.a.exclusiveMinimum": True}, "spec.a sets exclusiveMinimum", id="an exclusive bound"
        ),
        pytest.param(
            {f"{SPEC}.properties.b.minLength": 1}, "spec.b raises minLength from none to 1", id="a bound where none was"
        ),
        pytest.param(
            {f"{SPEC}.properties.b.pattern": "^x$"}, "spec.b changes its pattern from none to ^x$", id="a pattern"
        ),
        pytest.param(
            {f"{SPEC}.properties.b.default": "y"}, "spec.b changes its default from x to y", id="another default"
        ),
        pytest.param(
            {f"{SPEC}.properties.b.default": ABSENT}, "spec.b changes its default from x to none", id="no default"
        ),
        pytest.param({f"{SPEC}.properties.c.enum": ["X"]}, "spec.c loses the choice Y", id="a choice goes"),
        pytest.param({f"{SPEC}.properties.b.enum": ["X"]}, "spec.b becomes a choice of X", id="text becomes a choice"),
        pytest.param(
            {f"{SPEC}.properties.l.items.properties.name": ABSENT}, "spec.l[].name is removed", id="in a list's items"
        ),
        pytest.param(
            {f"{SPEC}.properties.l.x-kubernetes-list-map-keys": ["id"]},
            "spec.l changes its type from array map name to array map id",
            id="another key of a map list",
        ),
        pytest.param({f"{SPEC}.properties.l.maxItems": 4}, "spec.l lowers maxItems from 5 to 4", id="a shorter list"),
        pytest.param(
            {f"{SPEC}.properties.m.additionalProperties.maxLength": 4},
            "spec.m[*] lowers maxLength from 5 to 4",
            id="in a map's values",
        ),
        pytest.param(
            {f"{SPEC}.properties.m.additionalProperties": ABSENT},
            "spec.m loses its additionalProperties: what it holds would be pruned",
            id="a map becomes an empty object",
        ),
        pytest.param(
            {f"{SPEC}.x-kubernetes-validations": [{"rule": "self.a > 1"}, {"rule": "self.a > 2"}]},
            "things.x v1 spec gets the rule self.a > 2",
            id="a rule comes",
        ),
        pytest.param(
            {f"{SPEC}.properties.a.format": "date"}, "spec.a changes its format from int32 to date", id="a format"
        ),
        pytest.param({"spec.versions[0].served": False}, "things.x v1 is no longer served", id="a version goes"),
        pytest.param(
            {"spec.scope": "Cluster"}, "things.x changes its scope from Namespaced to Cluster", id="the scope"
        ),
        pytest.param({"spec.names.shortNames": []}, "things.x loses the short name th", id="a short name"),
        pytest.param({"spec.names.kind": "Thang"}, "things.x changes its kind from Thing to Thang", id="the kind"),
        pytest.param({"spec.versions[0].subresources": {}}, "v1 loses the subresource status", id="a subresource"),
    ],
)
def test_a_break_is_named_with_its_path(edits: dict[str, Any], message: str) -> None:
    (found,) = changes(edits)
    assert message in found


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({}, id="nothing"),
        pytest.param({f"{SPEC}.required": []}, id="a field is no longer required"),
        pytest.param({f"{SPEC}.properties.z": {"type": "string", "default": "z"}}, id="a new optional field"),
        pytest.param({f"{SPEC}.properties.a.maximum": 10, f"{SPEC}.properties.a.minimum": 0}, id="wider bounds"),
        pytest.param({f"{SPEC}.properties.a.format": "int64"}, id="more bits"),
        pytest.param({f"{SPEC}.properties.b.maxLength": ABSENT}, id="a bound goes"),
        pytest.param({f"{SPEC}.properties.c.enum": ["X", "Y", "Z"]}, id="a new choice"),
        pytest.param({f"{SPEC}.properties.c.enum": ABSENT}, id="a choice becomes text"),
        pytest.param({f"{SPEC}.properties.b.description": "words"}, id="a description"),
        pytest.param({f"{SPEC}.x-kubernetes-validations": []}, id="a rule goes"),
        pytest.param({f"{SPEC}.x-kubernetes-validations[0].message": "other"}, id="the words of a rule"),
        pytest.param({"spec.names.shortNames": ["th", "t"]}, id="a short name comes"),
    ],
)
def test_loosening_is_compatible(edits: dict[str, Any]) -> None:
    assert changes(edits) == []


def test_a_status_that_becomes_a_subresource_is_a_break() -> None:
    (found,) = compare(edited(OLD, {"spec.versions[0].subresources": ABSENT}), OLD)
    assert "v1 gets the subresource status: a status that an object is made with would be dropped" in str(found)


def test_a_version_that_is_not_served_may_go() -> None:
    old = deepcopy(OLD)
    old["spec"]["versions"].append({"name": "v0", "served": False})
    assert compare(old, OLD) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_crd_is_compatible_with_itself(kind: Kind) -> None:
    definition = custom_resource_definition(kind)
    assert compare(definition, deepcopy(definition)) == []
