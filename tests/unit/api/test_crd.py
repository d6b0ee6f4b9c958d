"""Each transformation of the generator alone; that an API server takes the result is in tests/integration/api."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from roadstead.api import reference, shapes
from roadstead.api.crd import UnsupportedSchemaError, add_rule, custom_resource_definition, default_words, structural
from roadstead.api.duration import Between, Duration, parse_duration
from roadstead.api.fields import MapList, SetList
from roadstead.api.kinds import BY_NAME, KINDS, Kind
from roadstead.api.quantity import IntOrPercent
from roadstead.api.rules import ChangeRule, Rule

Text = Annotated[str, StringConstraints(max_length=10)]


def schema_of(annotation: Any, default: Any = ..., of: str = "spec", **field: Any) -> dict[str, Any]:
    """The schema of one field ``x`` of that type."""
    model = type(
        "M",
        (BaseModel,),
        {
            "__annotations__": {"x": annotation},
            "x": Field(default, **{"description": "d", **field}),
            "__module__": __name__,
        },
    )
    schema: dict[str, Any] = structural(model, of)["properties"]["x"]
    return schema


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Inner(BaseModel):
    """An inner object."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    a: Text = Field(default="A", description="a")
    b: Text | None = Field(default=None, description="b")


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        pytest.param(Text | None, None, {"type": "string", "maxLength": 10}, id="X or null becomes X without default"),
        pytest.param(Literal["a"], ..., {"type": "string", "enum": ["a"]}, id="const becomes enum"),
        pytest.param(Colour, Colour.RED, {"type": "string", "enum": ["Red", "Blue"], "default": "Red"}, id="an enum"),
        pytest.param(
            Annotated[int, Field(gt=0, lt=9)],
            ...,
            {
                "type": "integer",
                "format": "int32",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 9,
                "exclusiveMaximum": True,
            },
            id="exclusive bounds become flags",
        ),
        pytest.param(
            Annotated[int, Field(ge=0, le=2**40)],
            ...,
            {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**40},
            id="a large integer has 64 bits",
        ),
        pytest.param(
            Annotated[int, Field(ge=0)] | Text,
            ...,
            {"x-kubernetes-int-or-string": True, "minimum": 0, "maxLength": 10},
            id="int or str becomes int-or-string",
        ),
        pytest.param(
            Annotated[tuple[Text, ...], Field(max_length=3), SetList()],
            (),
            {
                "type": "array",
                "maxItems": 3,
                "items": {"type": "string", "maxLength": 10},
                "x-kubernetes-list-type": "set",
            },
            id="uniqueItems becomes a set and an empty default goes",
        ),
    ],
)
def test_transformation(annotation: Any, default: Any, expected: dict[str, Any]) -> None:
    schema = schema_of(annotation, default)
    assert schema.pop("description").startswith("d")
    assert schema == expected


def test_a_decimal_becomes_text() -> None:
    schema = schema_of(Decimal)
    assert schema["type"] == "string"
    assert "matches" in schema["x-kubernetes-validations"][0]["rule"]
    assert "anyOf" not in schema


def test_a_reference_is_inlined_and_the_fields_own_description_wins() -> None:
    schema = schema_of(Inner)
    assert schema["description"] == "d"
    assert list(schema["properties"]) == ["a", "b"]
    assert "additionalProperties" not in schema


def test_the_default_of_an_object_says_only_what_its_fields_do_not() -> None:
    assert schema_of(Inner, Inner())["default"] == {}
    assert schema_of(Inner, Inner(b="B"))["default"] == {"b": "B"}


def test_a_nested_default_is_shortened_too() -> None:
    class Outer(BaseModel):
        inner: Inner = Field(default=Inner(), description="i")
        other: Inner = Field(default=Inner(a="Z"), description="o")

    assert schema_of(Outer, Outer())["default"] == {}
    assert schema_of(Outer, Outer(inner=Inner(b="B")))["default"] == {"inner": {"b": "B"}}


@pytest.mark.parametrize(
    ("annotation", "default", "said", "expected"),
    [
        pytest.param(
            Annotated[Duration, Between("1s", "7d")],
            parse_duration("90s"),
            "How long.",
            "How long. Default: 1m30s.",
            id="a duration in our own form",
        ),
        pytest.param(
            Annotated[int, Field(ge=0, le=9)], 0, "How many.", "How many. Default: 0.", id="zero is a default"
        ),
        pytest.param(Colour, Colour.RED, "Red or blue.", "Red or blue. Default: Red.", id="a choice"),
        pytest.param(Text, ..., "A text.", "A text.", id="none: it is required"),
        pytest.param(Text | None, None, "A text.", "A text.", id="null"),
        pytest.param(Text, "", "A text.", "A text.", id="an empty text"),
        pytest.param(Inner, Inner(), "An object.", "An object.", id="an object, whose fields tell their own"),
        pytest.param(
            Annotated[tuple[Text, ...], Field(max_length=3), SetList()], (), "A list.", "A list.", id="an empty list"
        ),
        pytest.param(
            Annotated[int, Field(ge=0, le=9)], 3, "By default 3 pods.", "By default 3 pods.", id="told already"
        ),
        pytest.param(
            Annotated[int, Field(ge=0, le=99)],
            3,
            "By default a tenth of 30.",
            "By default a tenth of 30. Default: 3.",
            id="the word alone, or a part of another number, tells nothing",
        ),
    ],
)
def test_kubectl_explain_tells_a_default_once(annotation: Any, default: Any, said: str, expected: str) -> None:
    schema = schema_of(annotation, default, description=said)
    assert schema["description"] == expected
    assert said + default_words(schema) == expected, "the reference takes it off again"


def test_a_status_tells_no_defaults() -> None:
    assert schema_of(Text, "A", of="status")["description"] == "d"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_no_default_is_told_in_a_status_or_twice_in_the_reference(kind: Kind) -> None:
    root = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert ("Default: " in str(root["properties"]["spec"])) is ("'default': " in str(root["properties"]["spec"]))
    assert "Default: " not in str(root["properties"]["status"])
    assert "Default: " not in dict(reference.files())[f"docs/reference/{kind.singular}.md"]


def test_a_duration_has_its_bounds_as_rules_and_its_default_in_our_own_form() -> None:
    schema = schema_of(Annotated[Duration, Between("1s", "7d")], parse_duration("90s"))
    assert schema["default"] == "1m30s"
    shape, *bounds = schema["x-kubernetes-validations"]
    assert shape["rule"] == f"self.matches('{shapes.DURATION}')"
    assert [rule["rule"].split()[-2:] for rule in bounds] == [[">=", "1000"], ["<=", "604800000"]]
    assert bounds[0]["message"] == "spec.x is below 1s; write 1s or more"


def test_a_pattern_becomes_a_rule_with_a_cure() -> None:
    schema = schema_of(Annotated[str, StringConstraints(pattern=shapes.DNS_LABEL, max_length=9)])
    assert "pattern" not in schema
    assert schema["x-kubernetes-validations"] == [
        {
            "rule": "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "message": "spec.x is not a DNS label; write lower-case letters, digits and hyphens, such as hkg or hkg-2",
            "messageExpression": "'spec.x is ' + self + ', not a DNS label; write lower-case letters, digits and "
            "hyphens, such as hkg or hkg-2'",
        }
    ]


def test_a_boolean_may_be_in_a_status() -> None:
    assert schema_of(bool, False, of="status") == {"type": "boolean", "default": False, "description": "d"}


def test_a_pattern_in_a_status_stays_one() -> None:
    class Status(BaseModel):
        x: Annotated[str, StringConstraints(pattern="^x$", max_length=1)] = Field(description="d")

    assert structural(Status, "status")["properties"]["x"]["pattern"] == "^x$"


def test_zero_as_the_least_duration_needs_no_rule() -> None:
    schema = schema_of(Annotated[Duration, Between("0s", "7d")])
    assert len(schema["x-kubernetes-validations"]) == 2


def test_the_keys_of_a_map_are_bounded_by_rules() -> None:
    key = Annotated[str, StringConstraints(pattern=shapes.ENV_NAME, max_length=5)]
    schema = schema_of(Annotated[dict[key, Text], Field(max_length=2)], {})
    assert schema["additionalProperties"] == {"type": "string", "maxLength": 10}
    assert [rule["rule"] for rule in schema["x-kubernetes-validations"]] == [
        "self.all(k, size(k) <= 5)",
        "self.all(k, k.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
    ]
    assert "default" not in schema


def test_a_map_list_has_its_key() -> None:
    schema = schema_of(Annotated[tuple[Inner, ...], Field(max_length=3), MapList("a")])
    assert schema["x-kubernetes-list-type"] == "map"
    assert schema["x-kubernetes-list-map-keys"] == ["a"]


class Loop(BaseModel):
    """Contains itself."""

    x: "Loop | None" = Field(default=None, description="d")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param(str, "spec.x is text without a bound; give the field max_length=", id="unbounded text"),
        pytest.param(int, "spec.x is an integer without bounds; give the field ge= and le=", id="unbounded integer"),
        pytest.param(tuple[Text, ...], "spec.x is a list without a bound", id="unbounded list"),
        pytest.param(dict[str, Text], "spec.x is a map without a bound", id="unbounded map"),
        pytest.param(
            Annotated[tuple[Text, ...], Field(max_length=1)], "spec.x has no list type", id="a list that nobody owns"
        ),
        pytest.param(
            Annotated[str, StringConstraints(pattern="^x$", max_length=1)],
            "spec.x has the pattern ^x$ without words; add it to api/shapes.py",
            id="a pattern without words",
        ),
        pytest.param(bool, "spec.x is a boolean; write an enum", id="a boolean"),
        pytest.param(Any, "spec.x has no type", id="anything"),
        pytest.param(tuple[int, Text], "spec.x is a fixed tuple; write a model", id="a fixed tuple"),
        pytest.param(Inner | Loop, "spec.x is a union; write a model with optional members", id="a union"),
        pytest.param(Loop, "spec.x.x contains itself through Loop", id="a recursion"),
    ],
)
def test_what_a_crd_cannot_say_is_an_error_with_a_cure(annotation: Any, message: str) -> None:
    with pytest.raises(UnsupportedSchemaError) as caught:
        schema_of(annotation)
    assert str(caught.value).startswith(message)


def test_a_field_without_description_is_an_error() -> None:
    class Silent(BaseModel):
        x: IntOrPercent

    with pytest.raises(UnsupportedSchemaError, match=r"spec\.x has no description"):
        structural(Silent, "spec")


def test_a_rule_for_a_field_that_is_not_there_is_an_error() -> None:
    rule = Rule(name="n", at="spec.nowhere", field="f", says="s", cure="c", found=lambda _: (), cel="true")
    with pytest.raises(UnsupportedSchemaError, match="has a rule and no schema"):
        add_rule({"properties": {"spec": {"properties": {}}}}, rule)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_at_most_six_columns_without_wide(kind: Kind) -> None:
    columns = custom_resource_definition(kind)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert len([column for column in columns if column.get("priority", 0) == 0]) <= 6
    assert columns[-1]["name"] == "Age"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_is_found_with_kubectl_get_roadstead(kind: Kind) -> None:
    definition = custom_resource_definition(kind)
    assert definition["spec"]["names"]["categories"] == ["roadstead"]
    assert definition["spec"]["names"]["shortNames"]
    assert BY_NAME[kind.kind] is kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_status_is_a_subresource_or_required(kind: Kind) -> None:
    """Where it is neither, an object could be made again without it and count as a fresh one."""
    (version,) = custom_resource_definition(kind)["spec"]["versions"]
    required = version["schema"]["openAPIV3Schema"]["required"]
    if kind.status_subresource:
        assert (version["subresources"], required) == ({"status": {}}, ["spec"])
    else:
        assert "subresources" not in version
        assert required == ["spec", "status"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_rule_that_cel_can_say_is_in_the_crd(kind: Kind) -> None:
    text = str(custom_resource_definition(kind))
    rules: list[Rule | ChangeRule] = [*kind.rules, *kind.changes]
    for rule in rules:
        if rule.cel is not None:
            assert repr(rule.cel)[1:-1] in text, rule.name
    assert len({rule.name for rule in rules}) == len(rules)
