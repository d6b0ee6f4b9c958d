from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.api.ranges import as_ranges, from_ranges


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), ""), ((3,), "3"), ((1, 2, 3), "1-3"), ((7, 1, 2, 9, 8, 12), "1-2,7-9,12"), ((2, 2), "2")],
)
def test_ranges(numbers: tuple[int, ...], text: str) -> None:
    assert as_ranges(numbers) == text


@given(st.frozensets(st.integers(1, 60)))
def test_what_is_written_is_read(numbers: frozenset[int]) -> None:
    assert from_ranges(as_ranges(numbers)) == numbers


def test_what_is_no_set_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        from_ranges("3,x")
