from decimal import Decimal

import pytest
from pydantic import TypeAdapter, ValidationError

from roadstead.api.quantity import IntOrPercent, Quantity, amount, percent_or_count


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1", Decimal(1), id="a bare number"),
        pytest.param("100m", Decimal("0.1"), id="thousandths"),
        pytest.param("0.5", Decimal("0.5"), id="a fraction"),
        pytest.param(".5", Decimal("0.5"), id="a fraction without its zero"),
        pytest.param("1.", Decimal(1), id="a point without a fraction"),
        pytest.param("1k", Decimal(1000), id="a decimal unit"),
        pytest.param("1Ki", Decimal(1024), id="a binary unit"),
        pytest.param("1E", Decimal(10**18), id="exa is not an exponent"),
        pytest.param("1e3", Decimal(1000), id="an exponent"),
        pytest.param("12E-3", Decimal("0.012"), id="a negative exponent in capitals"),
        pytest.param("1Ei", Decimal(2**60), id="the largest unit"),
        pytest.param("1" * 32, Decimal("1" * 32), id="32 characters"),
    ],
)
def test_amount(text: str, value: Decimal) -> None:
    assert amount(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "-1", "1GiB", "Gi", "1e", "one", "1\n", "1" * 33])
def test_amount_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity; write a number"):
        amount(text)


def test_a_quantity_stays_the_text_that_was_written() -> None:
    assert TypeAdapter(Quantity).validate_python("1000m") == "1000m"


@pytest.mark.parametrize("number", [0, 2, 10**15 - 1])
def test_a_whole_number_becomes_text(number: int) -> None:
    assert TypeAdapter(Quantity).validate_python(number) == str(number)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(0.5, id="a float, which the API server refuses too"),
        pytest.param(-1, id="below zero"),
        pytest.param(10**15, id="a number of 16 digits, which needs a unit"),
        pytest.param(True, id="a boolean, which is an int in Python"),
        pytest.param("1\n", id="a newline at the end"),
        pytest.param(None, id="null"),
    ],
)
def test_refused_as_a_quantity(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Quantity).validate_python(value)


@pytest.mark.parametrize("value", [-1, 10_001, True, "50", "101%", "05%", "50%\n", 0.5])
def test_refused_as_a_count_or_percentage(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(IntOrPercent).validate_python(value)


@pytest.mark.parametrize(
    ("value", "total", "round_up", "pods"),
    [
        pytest.param(3, 2, True, 3, id="a count stays, even above the total"),
        pytest.param("50%", 3, True, 2, id="half of three, rounded up"),
        pytest.param("50%", 3, False, 1, id="half of three, rounded down"),
        pytest.param("0%", 5, True, 0, id="nothing of five"),
        pytest.param("100%", 5, False, 5, id="all of five"),
    ],
)
def test_percent_or_count(value: int | str, total: int, round_up: bool, pods: int) -> None:
    assert percent_or_count(value, total, round_up=round_up) == pods


def test_percent_or_count_refuses_other_text() -> None:
    with pytest.raises(ValueError, match="not a percentage; write 0% to 100%"):
        percent_or_count("half", 4, round_up=True)
