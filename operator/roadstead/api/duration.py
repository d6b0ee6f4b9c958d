"""Lengths of time as people write them: ``30s``, ``1h30m``, ``7y``.

Go's durations end at hours, and retention is counted in years, so the unit set is our own. A day is 24 hours, a week 7
days and a year 365 days: lengths of time, not positions in a calendar.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from roadstead.api import shapes

MAX_LENGTH = 32
MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
    "y": 365 * 86_400_000,
}
# More could not be written back: seven digits of days.
_MOST = 9_999_999 * MILLISECONDS["d"]
_WHOLE = re.compile(shapes.DURATION)
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d|w|y)")
# What format() writes. No weeks: "30d" reads better than "4w2d".
_WRITTEN = ("y", "d", "h", "m", "s", "ms")


def parse_duration(text: str) -> timedelta:
    """Read a duration.

    Args:
        text: One or more numbers with a unit of ms, s, m, h, d (24 h), w (7 d) or y (365 d), for example ``1h30m``.

    Returns:
        The sum of the parts.

    Raises:
        ValueError: The text is not a duration, is longer than 32 characters, or more than 27,000 years.
    """
    if len(text) > MAX_LENGTH or not _WHOLE.match(text) or text.endswith("\n"):
        raise ValueError(f"{text[:64]!r} is not a duration; write numbers with ms, s, m, h, d, w or y, such as 1h30m")
    milliseconds = sum(int(n) * MILLISECONDS[unit] for n, unit in _PART.findall(text))
    if milliseconds > _MOST:
        raise ValueError(f"{text[:64]!r} is longer than 27,000 years; write less")
    return timedelta(milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """Write a duration in its shortest canonical form; what is finer than a millisecond is dropped.

    Args:
        value: Zero or more.

    Returns:
        Text that :func:`parse_duration` reads back, such as ``1h30m``; zero is ``0s``.

    Raises:
        ValueError: The value is negative.
    """
    left = value // timedelta(milliseconds=1)
    if left < 0:
        raise ValueError(f"{value} is below zero; durations start at 0s")
    parts = []
    for unit in _WRITTEN:
        # Years only when nothing but days would follow evenly: 400 days is "400d", not "1y35d".
        if unit == "y" and left % MILLISECONDS["y"]:
            continue
        count, left = divmod(left, MILLISECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _read(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError:
            pass
    raise PydanticCustomError("shape", "not a duration", {"pattern": shapes.DURATION})


Duration = Annotated[
    timedelta,
    BeforeValidator(_read),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": shapes.DURATION, "minLength": 2, "maxLength": MAX_LENGTH}),
]


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a duration field: checked by pydantic here and by a CEL rule in the CRD.

    Attributes:
        least: Smallest permitted length, as text.
        most: Largest permitted length, as text.
    """

    least: str
    most: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        least, most = parse_duration(self.least), parse_duration(self.most)

        def check(value: timedelta) -> timedelta:
            if not least <= value <= most:
                raise PydanticCustomError(
                    "duration_range", "out of range", {"least": self.least, "most": self.most, "low": value < least}
                )
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core) | {"x-roadstead-duration": [self.least, self.most]}


def cel_milliseconds(text: str) -> str:
    """CEL that turns a duration into whole milliseconds.

    Args:
        text: A CEL expression of a string that matches :data:`shapes.DURATION`.

    Returns:
        A CEL expression of type int.
    """
    units = "".join(f"p.endsWith('{u}') ? {MILLISECONDS[u]} : " for u in ("ms", "s", "m", "h", "d", "w"))
    return f"{text}.findAll('[0-9]+[a-z]+').map(p, int(p.find('[0-9]+')) * ({units}{MILLISECONDS['y']})).sum()"
