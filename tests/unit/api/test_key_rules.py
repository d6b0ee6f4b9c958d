"""Rules of KeyRings and KeyVersions, broken and kept; the API server's side of it is in tests/integration/api."""

from __future__ import annotations

from typing import Any

import pytest

from api_key_cases import (
    MARKED,
    RING_CHANGES,
    RINGS_BROKEN,
    RINGS_KEPT,
    RINGS_REFUSED,
    RINGS_THAT_NEVER_ROTATE,
    VERSION_CHANGES,
    VERSION_EDITS,
    VERSIONS_BROKEN,
    VERSIONS_KEPT,
    VERSIONS_REFUSED,
    Edits,
    key_version,
    ring,
)
from roadstead.api.advice import advise
from roadstead.api.duration import parse_duration
from roadstead.api.keyring import KEY_RING_CHANGES, KEY_RING_RULES, KeyRing
from roadstead.api.keyversion import (
    KEY_VERSION_CHANGES,
    KEY_VERSION_RULES,
    MAY_BECOME,
    MOST_VERSIONS,
    KeyMark,
    KeyPhase,
    KeyVersion,
    object_name,
)
from roadstead.api.kinds import KEY_RING, KEY_VERSION
from roadstead.api.parse import dump, parse, parse_change
from roadstead.api.problems import SpecError
from roadstead.api.rules import ChangeRule, Rule, cel_digits


def said(kind: str, body: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(kind, body, strict=True)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("word", "edits"), [pytest.param(*case, id=case[0]) for case in RINGS_KEPT])
def test_a_ring_that_keeps_the_rules(word: str, edits: Edits) -> None:
    parse("KeyRing", ring(**edits), strict=True)


@pytest.mark.parametrize(("edits", "field", "words"), [pytest.param(*case, id=case[2]) for case in RINGS_BROKEN])
def test_a_ring_that_breaks_a_rule(edits: Edits, field: str, words: str) -> None:
    (problem,) = said("KeyRing", ring(**edits))
    assert problem.startswith(f"{field} ")
    assert words in problem


@pytest.mark.parametrize("edits", [pytest.param(edits, id=word) for word, edits, _, _ in RINGS_REFUSED])
def test_a_ring_outside_the_schema(edits: Edits) -> None:
    (problem,) = said("KeyRing", ring(**edits))
    assert problem.startswith("spec")
    assert "; " in problem


@pytest.mark.parametrize(("word", "edits"), [pytest.param(*case, id=case[0]) for case in VERSIONS_KEPT])
def test_a_version_that_keeps_the_rules(word: str, edits: Edits) -> None:
    parse("KeyVersion", key_version(**edits), strict=True)


@pytest.mark.parametrize(("edits", "field", "words"), [pytest.param(*case, id=case[2]) for case in VERSIONS_BROKEN])
def test_a_version_that_breaks_a_rule(edits: Edits, field: str, words: str) -> None:
    (problem,) = said("KeyVersion", key_version(**edits))
    assert problem.startswith(f"{field} ")
    assert words in problem


@pytest.mark.parametrize("edits", [pytest.param(edits, id=word) for word, edits, _, _ in VERSIONS_REFUSED])
def test_a_version_outside_the_schema(edits: Edits) -> None:
    (problem,) = said("KeyVersion", key_version(**edits))
    assert problem.startswith(("spec", "status"))
    assert "; " in problem


@pytest.mark.parametrize(
    ("before", "after", "words"), [pytest.param(*case, id=case[2][-1]) for case in VERSION_CHANGES]
)
def test_a_forbidden_edit_of_a_version(before: Edits, after: Edits, words: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_change("KeyVersion", key_version(**before), key_version(**after))
    (problem,) = caught.value.problems
    assert words[-1] in str(problem)  # what the new object breaks alone is said before anything is compared


@pytest.mark.parametrize(("word", "before", "after"), [pytest.param(*case, id=case[0]) for case in VERSION_EDITS])
def test_a_permitted_edit_of_a_version(word: str, before: Edits, after: Edits) -> None:
    parse_change("KeyVersion", key_version(**before), key_version(**after))


@pytest.mark.parametrize(("before", "after", "words"), [pytest.param(*case, id=case[2]) for case in RING_CHANGES])
def test_a_forbidden_edit_of_a_ring(before: Edits, after: Edits, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_change("KeyRing", ring(**before), ring(**after))
    (problem,) = caught.value.problems
    assert words in str(problem)


def test_there_are_the_steps_of_the_table_and_no_others() -> None:
    for was in KeyPhase:
        for to in KeyPhase:
            before, after = key_version(status__phase=was.value), key_version(status__phase=to.value)
            try:
                parse_change("KeyVersion", before, after)
            except SpecError as error:
                assert to is not was and to not in MAY_BECOME[was], error
                (problem,) = error.problems
                assert str(problem).startswith(f"status.phase changes from {was} to {to}, which is not a step")
            else:
                assert to is was or to in MAY_BECOME[was], f"{was} to {to}"


def test_every_rule_of_both_kinds_is_broken_above() -> None:
    rings = [KeyRing.model_validate(ring(**edits)) for edits, _, _ in (*RINGS_BROKEN, *RINGS_THAT_NEVER_ROTATE)]
    assert [rule.name for rule in KEY_RING_RULES if not any(rule.problems(obj) for obj in rings)] == []
    versions = [KeyVersion.model_validate(key_version(**edits)) for edits, _, _ in VERSIONS_BROKEN]
    assert [rule.name for rule in KEY_VERSION_RULES if not any(rule.problems(obj) for obj in versions)] == []
    edits = [
        (KeyVersion.model_validate(key_version(**before)), KeyVersion.model_validate(key_version(**after)))
        for before, after, _ in VERSION_CHANGES
    ]
    assert [rule.name for rule in KEY_VERSION_CHANGES if not any(rule.problems(*edit) for edit in edits)] == []
    ring_edits = [
        (KeyRing.model_validate(ring(**before)), KeyRing.model_validate(ring(**after)))
        for before, after, _ in RING_CHANGES
    ]
    assert [rule.name for rule in KEY_RING_CHANGES if not any(rule.problems(*edit) for edit in ring_edits)] == []


@pytest.mark.parametrize(("edits", "field", "words"), RINGS_THAT_NEVER_ROTATE)
def test_a_schedule_that_never_comes_true_is_refused(edits: Edits, field: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse("KeyRing", ring(**edits))
    [problem] = caught.value.problems
    assert problem.field == field
    assert words in str(problem)


def test_only_what_needs_a_calendar_is_left_to_the_webhook() -> None:
    """There is none for KeyVersion."""
    rules: list[Rule | ChangeRule] = [*KEY_RING_RULES, *KEY_RING_CHANGES, *KEY_VERSION_RULES, *KEY_VERSION_CHANGES]
    assert [rule.name for rule in rules if not rule.cel] == ["A schedule's time zone exists", "A schedule comes true"]


def test_the_registry_has_all_rules() -> None:
    assert (KEY_RING.rules, KEY_RING.changes) == (KEY_RING_RULES, KEY_RING_CHANGES)
    assert (KEY_VERSION.rules, KEY_VERSION.changes) == (KEY_VERSION_RULES, KEY_VERSION_CHANGES)


def test_the_period_is_72_hours_unless_something_else_is_said() -> None:
    assert parse("KeyRing", ring()).spec.schedule.period == parse_duration("72h")
    assert parse("KeyRing", ring(spec__schedule__every="1w")).spec.schedule.period == parse_duration("7d")
    assert parse("KeyRing", ring(spec__schedule__cron={"schedule": "0 3 * * 1"})).spec.schedule.period is None


def test_a_status_that_is_part_of_the_object_is_not_forgotten_when_it_cannot_be_read() -> None:
    """Taken for empty, a version that was compromised would be a fresh one."""
    newer = key_version(**MARKED | {"status.phase": "SomethingNew"})
    with pytest.raises(SpecError, match=r"status\.phase is SomethingNew, not one of the choices; write 'Reserved'"):
        parse("KeyVersion", newer)
    with pytest.raises(SpecError, match="status is missing; write it"):
        parse("KeyVersion", key_version(status=None))
    assert parse("KeyRing", ring(status={"phase": "SomethingNew"})).status.primary == 0


def test_a_status_that_is_part_of_the_object_is_read() -> None:
    version = parse("KeyVersion", key_version(**MARKED), strict=True)
    assert (version.status.phase, version.status.mark) == (KeyPhase.SUPERSEDED, KeyMark.COMPROMISED)
    assert parse("KeyVersion", key_version(**MARKED) | dump(version)) == version


def test_names_on_the_wire_that_camel_case_alone_would_spoil() -> None:
    assert dump(parse("KeyVersion", key_version()))["spec"]["ringID"] == "r0123456789ab"
    assert parse("KeyRing", ring(status={"ringID": "r0123456789ab"})).status.ring_id == "r0123456789ab"


def test_nothing_is_advised_about_keys() -> None:
    assert advise(parse("KeyRing", ring())) == advise(parse("KeyVersion", key_version())) == []


def test_the_largest_number_fits_the_name_that_the_server_writes() -> None:
    assert cel_digits("n", digits=len(str(MOST_VERSIONS))).count("substring") == 6
    assert len(object_name("x" * 40, MOST_VERSIONS)) <= 63
