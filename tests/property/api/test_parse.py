"""Whatever comes in, parse gives a model or says what is wrong; what it gives reads back as the same."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_key_strategies import broken_keys, nearly_valid_rings, nearly_valid_versions
from api_strategies import broken_chats, durations, nearly_valid_chats, quantities
from roadstead.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    find_condition,
    set_condition,
)
from roadstead.api.duration import format_duration, parse_duration
from roadstead.api.parse import dump, parse
from roadstead.api.problems import SpecError
from roadstead.api.quantity import amount, percent_or_count
from specs import Body

keys = st.one_of(nearly_valid_rings(), nearly_valid_versions(), broken_keys())


@given(st.one_of(nearly_valid_chats(), broken_chats(), keys), st.booleans())
def test_anything_is_read_or_refused_with_field_and_cure(body: Body, strict: bool) -> None:
    kind = body["kind"]
    try:
        parsed = parse(kind, body, strict=strict)
    except SpecError as error:
        assert error.problems
        fields = ("spec", "metadata", "apiVersion", "kind", *(["status"] if kind == "KeyVersion" else []))
        for problem in error.problems:
            assert problem.field.startswith(fields)
            assert problem.message
            assert problem.cure
            assert len(str(problem)) < 1000
            assert str(problem).isprintable()
        return
    again = parse(kind, {**body, **dump(parsed)}, strict=strict)
    assert again.spec == parsed.spec
    assert again.status == parsed.status
    json.dumps(dump(parsed))


@given(st.one_of(nearly_valid_chats(), broken_chats(), keys))
def test_strict_refuses_more_and_never_less(body: Body) -> None:
    try:
        strict = parse(body["kind"], body, strict=True)
    except SpecError:
        return
    assert parse(body["kind"], body).spec == strict.spec


@given(
    st.dictionaries(
        st.sampled_from(["metadata", "spec", "status"]), st.none() | st.integers() | st.text() | st.lists(st.none())
    )
)
def test_what_is_no_object_at_all(body: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        parse("Region", body)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400_000)))
def test_a_written_duration_reads_back_to_the_millisecond(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == timedelta(milliseconds=value // timedelta(milliseconds=1))


@given(durations)
def test_writing_a_duration_twice_changes_nothing(text: str) -> None:
    try:
        value = parse_duration(text)
    except ValueError:
        return
    assert format_duration(parse_duration(format_duration(value))) == format_duration(value)


@given(quantities.filter(lambda value: isinstance(value, str)))
def test_an_amount_is_a_number_of_zero_or_more_or_an_error(text: str) -> None:
    try:
        assert amount(text) >= Decimal(0)
    except ValueError as error:
        assert "write a number" in str(error)


@given(st.integers(0, 100), st.integers(0, 1000))
def test_percentages_of_pods(percent: int, total: int) -> None:
    up = percent_or_count(f"{percent}%", total, round_up=True)
    down = percent_or_count(f"{percent}%", total, round_up=False)
    assert 0 <= down <= up <= total
    assert up - down == (percent * total % 100 != 0)


steps = st.lists(
    st.tuples(
        st.sampled_from(list(ConditionType)),
        st.sampled_from(list(ConditionStatus)),
        st.sampled_from(list(Reason)),
        st.text(max_size=5),
    ),
    max_size=12,
)


@given(steps, st.datetimes(timezones=st.timezones()))
def test_transition_times_tell_when_the_status_last_changed(steps: list[tuple[Any, ...]], start: Any) -> None:
    conditions: tuple[Condition, ...] = ()
    changed: dict[str, Any] = {}
    statuses: dict[str, ConditionStatus] = {}
    for number, (type_, status, reason, message) in enumerate(steps):
        try:
            now = start + timedelta(minutes=number)
        except OverflowError:
            return
        before = conditions
        conditions = set_condition(conditions, type_, status, reason, message, generation=number, now=now)
        if statuses.get(type_) is not status:
            changed[type_], statuses[type_] = now.replace(microsecond=0), status
        found = find_condition(conditions, type_)
        assert found is not None
        assert (found.status, found.reason, found.message) == (status, reason, message)
        assert found.last_transition_time == changed[type_]
        assert len({item.type for item in conditions}) == len(conditions)
        assert [item for item in conditions if item.type != type_] == [item for item in before if item.type != type_]
