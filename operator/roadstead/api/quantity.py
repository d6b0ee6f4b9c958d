"""Quantities of Kubernetes (``100m``, ``1Gi``) and counts that may be a percentage (``1``, ``25%``).

A quantity stays the text that the user wrote: children carry it unchanged, so nothing differs from the API server's
own canonical form by our doing. :func:`amount` gives the number where two have to be compared.
"""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from roadstead.api import shapes

QUANTITY_MAX_LENGTH = 32
MAX_COUNT = 10_000

_QUANTITY = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?")
_WHOLE = re.compile(shapes.QUANTITY)
_PERCENT = re.compile(shapes.PERCENT)
_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


@lru_cache(maxsize=4096)
def amount(text: str) -> Decimal:
    """The number that a quantity stands for, in its base unit (cores, bytes, pieces).

    Args:
        text: A quantity such as ``100m`` or ``1Gi``.

    Returns:
        The exact value.

    Raises:
        ValueError: The text is not a quantity of zero or more.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or len(text) > QUANTITY_MAX_LENGTH:
        raise ValueError(f"{text[:64]!r} is not a quantity; write a number with an optional unit, such as 500m or 1Gi")
    number, unit = match.groups()
    if unit is None:
        return Decimal(number)
    if unit in _SCALE:
        return Decimal(number) * _SCALE[unit]
    return Decimal(number).scaleb(int(unit[1:]))


def percent_or_count(value: int | str, total: int, *, round_up: bool) -> int:
    """Resolve an :data:`IntOrPercent` against a number of replicas.

    Args:
        value: A count, or text such as ``25%``.
        total: What 100 % is, in replicas.
        round_up: How a percentage that is not whole is rounded; Kubernetes rounds up for budgets.

    Returns:
        A number of replicas, possibly above ``total`` when a count says so.

    Raises:
        ValueError: Text that is not a percentage from 0% to 100%.
    """
    if isinstance(value, int):
        return value
    if not _PERCENT.match(value) or value.endswith("\n"):
        raise ValueError(f"{value[:64]!r} is not a percentage; write 0% to 100%")
    scaled = int(value[:-1]) * total
    return -(-scaled // 100) if round_up else scaled // 100


def _read_quantity(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return str(value)
    if isinstance(value, str) and len(value) <= QUANTITY_MAX_LENGTH and _WHOLE.match(value) and value[-1] != "\n":
        return value
    raise PydanticCustomError("shape", "not a quantity", {"pattern": shapes.QUANTITY})


def _read_int_or_percent(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    if isinstance(value, str) and _PERCENT.match(value) and value[-1] != "\n":
        return value
    raise PydanticCustomError("shape", "not a count or a percentage", {"pattern": shapes.PERCENT})


Quantity = Annotated[
    str,
    BeforeValidator(_read_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": shapes.QUANTITY,
            "maxLength": QUANTITY_MAX_LENGTH,
            "minimum": 0,
            "maximum": 10**15 - 1,
        }
    ),
]
IntOrPercent = Annotated[
    int | str,
    BeforeValidator(_read_int_or_percent),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": shapes.PERCENT,
            "maxLength": 4,
            "minimum": 0,
            "maximum": MAX_COUNT,
        }
    ),
]
