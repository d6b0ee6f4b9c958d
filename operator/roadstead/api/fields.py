"""The base classes of every model and the field types that several kinds share."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from roadstead.api.shapes import DNS_LABEL, DNS_NAME, HOST_NAME, LABEL_VALUE, MOMENT, QUALIFIED_NAME


class Model(BaseModel):
    """Base of every model: immutable, camelCase on the wire, snake_case in Python.

    Unknown fields are ignored, as the API server prunes them; ``parse(..., strict=True)`` refuses them.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore"
    )


class ObjectMeta(Model):
    """The part of ``metadata`` that decisions need."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Integer = Annotated[int, Strict()]
"""An integer that takes neither text nor true and false, as the API server does not."""

Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC, written with whole seconds (``metav1.Time``)."""

_MOMENT = re.compile(MOMENT.removesuffix("$"))


def _read_moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            pass
    raise PydanticCustomError("shape", "not a moment", {"pattern": MOMENT})


Moment = Annotated[Timestamp, BeforeValidator(_read_moment)]
"""A :data:`Timestamp` that a person writes: nothing is taken that an API server refuses, such as a number."""


def shortened(most: int) -> BeforeValidator:
    """For texts of a status that come from elsewhere: cut at the schema's bound instead of losing the whole status."""
    return BeforeValidator(lambda text: f"{text[: most - 1]}…" if isinstance(text, str) and len(text) > most else text)


DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
DnsName = Annotated[str, StringConstraints(pattern=DNS_NAME, min_length=1, max_length=253)]
HostName = Annotated[str, StringConstraints(pattern=HOST_NAME, min_length=1, max_length=253)]
RegionName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=23)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
LabelKey = Annotated[str, StringConstraints(pattern=QUALIFIED_NAME, min_length=1, max_length=317)]


@dataclass(frozen=True, slots=True)
class MapList:
    """A list whose items are told apart by one of their fields (``listType: map``).

    Attributes:
        key: The field's name, the same in Python and on the wire.
    """

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return _unique(handler(source), lambda item: getattr(item, self.key))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


@dataclass(frozen=True, slots=True)
class SetList:
    """A list of scalars without repetition (``listType: set``)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return _unique(handler(source), lambda item: item)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core) | {"uniqueItems": True}


def _unique(schema: CoreSchema, key: Any) -> CoreSchema:
    def check(items: Sequence[Any]) -> Sequence[Any]:
        seen: set[Hashable] = set()
        for item in items:
            if key(item) in seen:
                raise PydanticCustomError("duplicate", "twice in the list", {"item": str(key(item))})
            seen.add(key(item))
        return items

    return core_schema.no_info_after_validator_function(check, schema)


class LocalSecret(Model):
    """A Secret in the same namespace."""

    name: DnsName = Field(description="Name of a Secret in the namespace of this object.", examples=["registry-login"])
