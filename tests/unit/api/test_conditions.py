from datetime import UTC, datetime, timedelta, timezone

from roadstead.api.chatservice import ServiceRegionStatus
from roadstead.api.conditions import (
    MESSAGE_MAX_LENGTH,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    drop_condition,
    find_condition,
    is_true,
    set_condition,
)
from roadstead.api.parse import dump

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def ready(status: bool, reason: Reason = Reason.READY, message: str = "") -> tuple[Condition, ...]:
    return set_condition((), ConditionType.READY, status, reason, message, generation=1, now=NOON)


def test_a_new_condition_changed_now() -> None:
    found = find_condition(ready(True), ConditionType.READY)
    assert found is not None
    assert found.last_transition_time == NOON.replace(microsecond=0)
    assert found.status is ConditionStatus.TRUE


def test_the_transition_time_moves_with_the_status() -> None:
    (after,) = set_condition(
        ready(True), ConditionType.READY, False, Reason.REGION_UNREACHABLE, "hkg", generation=1, now=LATER
    )
    assert after.last_transition_time == LATER.replace(microsecond=0)


def test_the_transition_time_stays_when_only_reason_and_message_change() -> None:
    before = ready(False, Reason.PROGRESSING, "1/2")
    (after,) = set_condition(before, ConditionType.READY, False, Reason.BAKING, "2/2", generation=2, now=LATER)
    assert after.last_transition_time == before[0].last_transition_time
    assert (after.reason, after.message, after.observed_generation) == ("Baking", "2/2", 2)


def test_an_unchanged_condition_gives_the_same_object_so_that_nothing_is_written() -> None:
    before = ready(True)
    assert set_condition(before, ConditionType.READY, True, Reason.READY, generation=1, now=LATER) is before


def test_a_text_from_elsewhere_is_cut_and_does_not_lose_the_status() -> None:
    region = ServiceRegionStatus(name="hkg", message="x" * 5000, address="a" * 300)
    assert len(region.message) == 1024
    assert len(region.address) == 253


def test_the_others_keep_their_place() -> None:
    three: tuple[Condition, ...] = ()
    for type_ in (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED):
        three = set_condition(three, type_, False, Reason.PROGRESSING, generation=1, now=NOON)
    after = set_condition(three, ConditionType.RECONCILING, True, Reason.PROGRESSING, generation=1, now=LATER)
    assert [item.type for item in after] == ["Ready", "Reconciling", "Stalled"]
    assert after[0] is three[0]
    assert after[2] is three[2]


def test_a_message_is_cut_at_the_schema_bound() -> None:
    (condition,) = ready(False, Reason.REFUSED, "x" * (MESSAGE_MAX_LENGTH + 1))
    assert len(condition.message) == MESSAGE_MAX_LENGTH
    assert condition.message.endswith("…")


def test_it_is_written_as_the_api_server_stores_it_in_utc_and_whole_seconds() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=8)))
    (condition,) = set_condition((), ConditionType.READY, True, Reason.READY, generation=3, now=east)
    assert dump(condition) == {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-11-22T12:00:00Z",
        "observedGeneration": 3,
    }
    assert Condition.model_validate(dump(condition)) == condition


def test_drop_takes_one_out_and_says_by_identity_when_there_was_none() -> None:
    conditions = ready(True)
    assert drop_condition(conditions, ConditionType.READY) == ()
    assert drop_condition(conditions, ConditionType.STALLED) is conditions


def test_is_true_is_false_for_unknown_and_for_absent() -> None:
    unknown = set_condition((), ConditionType.READY, ConditionStatus.UNKNOWN, Reason.NOT_PROBED, generation=1, now=NOON)
    assert is_true(ready(True), ConditionType.READY)
    assert not is_true(unknown, ConditionType.READY)
    assert not is_true((), ConditionType.READY)


def test_every_reason_fits_the_condition() -> None:
    for reason in Reason:
        assert find_condition(ready(True, reason), ConditionType.READY) is not None
