"""What is wrong with a spec, in words that name the field, the value and the cure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from roadstead.api.shapes import SHAPES

_SHOWN = 64
"""Characters of a value that a message repeats; a name of 10,000 characters must not fill a log."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        field: Path of the field, such as ``spec.topology.regions[0].name``.
        value: The offending value as JSON, shortened; empty when the field is missing.
        message: What is wrong with it, to be read after the field: ``is -1, below 0``.
        cure: What to write instead.
    """

    field: str
    value: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.field} {self.message}; {self.cure}"


class SpecError(ValueError):
    """A spec that cannot be carried out.

    Attributes:
        problems: Everything that is wrong, at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def shown(value: object) -> str:
    """A value as JSON on one line, shortened to what a person can read in a message."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= _SHOWN:
        return value
    text = json.dumps(value, default=str, ensure_ascii=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}... ({len(text)} characters)"


_NO_SUCH_FIELD = (
    "a field that does not exist",
    "remove it, or correct its spelling (kubectl explain lists the fields)",
)


def unknown_field(field: str, value: object) -> Problem:
    """The problem of a field that no schema has."""
    message, cure = _NO_SUCH_FIELD
    return Problem(field, shown(value), f"is {shown(value)}, {message}", cure)


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str) -> tuple[Problem, ...]:
    """Translate pydantic's errors.

    Args:
        error: What pydantic raised.
        model: The model that was validated; examples of its fields become cures.
        prefix: Path of the model within the object, such as ``spec``.

    Returns:
        A problem for each error, in pydantic's order.
    """
    return tuple(
        _translate(detail, model, prefix) for detail in error.errors(include_url=False) if not _is_consequence(detail)
    )


def _is_consequence(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because pydantic does not count its faulty entries."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _translate(detail: ErrorDetails, model: type[BaseModel], prefix: str) -> Problem:
    location = tuple(step for step in detail["loc"] if step != "[key]")
    is_key = len(location) != len(detail["loc"])
    field = _path(prefix, location)
    example = _example(model, location)
    such_as = f" such as {shown(example)}" if example is not None else ""
    if detail["type"] == "missing":
        return Problem(field, "", "is missing", f"write it,{such_as}" if such_as else "write it")
    value = shown(detail["input"])
    if is_key:
        fault, cure = _key_words(detail)
        return Problem(_path(prefix, location[:-1]), value, f"has the key {value}, {fault}", cure)
    message, cure = _words(detail, such_as)
    return Problem(field, value, f"is {value}, {message}", cure)


def _path(prefix: str, location: Sequence[int | str]) -> str:
    path = prefix
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{shown(step)}"
    return path


def _key_words(detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong with a key of a map, and the cure."""
    if detail["type"] == "string_too_long":
        return f"longer than {detail['ctx']['max_length']} characters", "shorten it"
    return _words(detail, "")


def _words(detail: ErrorDetails, such_as: str) -> tuple[str, str]:
    """What is wrong and the cure, for one of pydantic's error types."""
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than_equal":
            return f"below {context['ge']}", f"write {context['ge']} or more"
        case "less_than_equal":
            return f"above {context['le']}", f"write {context['le']} or less"
        case "enum":
            return "not one of the choices", f"write {context['expected']}"
        case "string_pattern_mismatch" | "shape":
            return SHAPES[context["pattern"]].says, SHAPES[context["pattern"]].cure
        case "string_too_long" | "too_long":
            return f"longer than {context['max_length']}", "shorten it"
        case "string_too_short" | "too_short":
            return (
                f"shorter than {context['min_length']}",
                f"write {context['min_length']} or more{such_as and ','}{such_as}",
            )
        case "duration_range":
            low = context["low"]
            bound = context["least"] if low else context["most"]
            return f"{'below' if low else 'above'} {bound}", f"write {bound} or {'more' if low else 'less'}"
        case "duplicate":
            return f"in which {shown(context['item'])} is there twice", "leave one of them out"
        case "int_type" | "int_from_float" | "int_parsing":
            return "not an integer", f"write a whole number without quotes{such_as and ','}{such_as}"
        case "string_type":
            return "not text", f"write text in quotes{such_as and ','}{such_as}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "not a map", f"write fields with values{such_as and ','}{such_as}"
        case "tuple_type":
            return "not a list", f"write a list{such_as and ','}{such_as}"
        case "extra_forbidden":
            return _NO_SUCH_FIELD
    return str(detail["msg"]).lower(), f"write a value{such_as}" if such_as else "correct it"


def _example(model: type[BaseModel], location: Sequence[int | str]) -> object:
    """The first example of the field at a location, or None."""
    found: FieldInfo | None = None
    current: type[BaseModel] | None = model
    for step in location:
        if isinstance(step, int):
            continue
        if current is None:
            return None
        found = next((f for n, f in current.model_fields.items() if step in (n, f.alias)), None)
        if found is None:
            return None
        current = _model_in(found.annotation)
    return found.examples[0] if found is not None and found.examples else None


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is about: ``X``, ``X | None``, ``tuple[X, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (inner := _model_in(argument)) is not None:
            return inner
    return None
