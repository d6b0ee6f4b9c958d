from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from localkube import schemas

CRD: dict[str, Any] = {
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "example.com",
        "names": {"kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"x-kubernetes-int-or-string": True},
                                    "description": {"type": "string", "nullable": True},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}


def complaints(spec: dict[str, Any]) -> list[str]:
    ((name, schema),) = schemas.custom([CRD, None, {"kind": "Other"}])
    assert name == "thing_example.com_v1.json"
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": spec}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(thing)]


@pytest.mark.parametrize(
    "spec",
    [
        {"size": 1},
        {"size": "10%", "description": None},
        {"size": 1, "free": {"anything": [1]}, "labels": {"a": "b"}},
    ],
)
def test_fitting_object_passes(spec: dict[str, Any]) -> None:
    assert complaints(spec) == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "'size' is a required property"),
        ({"size": 1, "colour": "red"}, "'colour' was unexpected"),
        ({"size": []}, "is not valid under any of the given schemas"),
        ({"size": 1, "labels": {"a": 1}}, "1 is not of type 'string'"),
    ],
)
def test_unfitting_object_is_refused(spec: dict[str, Any], words: str) -> None:
    assert words in "".join(complaints(spec))
