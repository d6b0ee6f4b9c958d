"""Sets of version numbers as one text, such as ``3-16,18``: a ring may have hundreds, and a status is read often."""

from collections.abc import Iterable


def as_ranges(numbers: Iterable[int]) -> str:
    """A set as text, ascending; empty for none."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def from_ranges(text: str) -> frozenset[int]:
    """The set that a text names.

    Raises:
        ValueError: it is no such text.
    """
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
