"""What two people can have done to a ring, as far as it needs no cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import MAY_BECOME, KeyPhase, KeyType
from roadstead.keys import orders
from roadstead.keys.material import Material, fingerprint
from roadstead.keys.state import Keyset
from roadstead.keys.versions import Version

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
VERSION = {"version": (orders.is_number, "7")}
REMOVE = {"upTo": (orders.is_number, "12"), "shred": (orders.is_yes_or_no, "true")}


@pytest.mark.parametrize("value", ["1", "999999"])
def test_a_number_is_taken(value: str) -> None:
    assert orders.check(VERSION, {"version": value}) is None


@pytest.mark.parametrize("value", ["", "0", "-1", "1.0", " 7", "\uff17", "1000000", "0000000007", "v7", "1e3"])
def test_what_is_no_number_is_named_with_the_cure(value: str) -> None:
    problem = orders.check(VERSION, {"version": value})
    assert problem is not None
    assert problem.field == "spec.parameters.version"
    assert problem.cure == "make another Approval with one such as 7"


def test_a_parameter_too_many_and_one_too_few_are_named() -> None:
    assert "has verison, which the operation does not have" in str(orders.check(VERSION, {"verison": "7"}))
    assert "spec.parameters.version is missing" in str(orders.check(VERSION, {}))
    assert orders.check(REMOVE, {"upTo": "3"}, optional=["shred"]) is None
    assert "neither true nor false" in str(orders.check(REMOVE, {"upTo": "3", "shred": "yes"}, optional=["shred"]))


@pytest.mark.parametrize(("value", "fine"), [("30d", True), ("1m", True), ("59s", False), ("-1d", False), ("x", False)])
def test_a_retention(value: str, fine: bool) -> None:
    assert (orders.is_retention(value) == "") is fine


@pytest.mark.parametrize(
    ("asked", "agreed", "counts", "shortened"),
    [
        (None, "", None, False),  # a new ring
        (DAY, "", DAY, False),
        (2 * DAY, "1d", 2 * DAY, False),  # longer counts at once
        (None, "1d", None, False),
        (DAY, "2d", 2 * DAY, True),  # shorter does not
        (DAY, "forever", None, True),
        (DAY, "1d", DAY, False),
        (365 * DAY, "1y", 365 * DAY, False),
        (timedelta(hours=24), "1d", DAY, False),
    ],
)
def test_a_shorter_retention_counts_when_it_is_approved(
    asked: timedelta | None, agreed: str, counts: timedelta | None, shortened: bool
) -> None:
    found = orders.retention(asked, agreed)
    assert (found.counts, found.shortened) == (counts, shortened)
    # What is kept says the same again.
    again = orders.retention(asked, found.text)
    assert (again.counts, again.shortened) == (counts, shortened)


def version(number: int, phase: KeyPhase, fingerprint: str = "f", **more: object) -> Version:
    return Version(number, phase, NOON + number * DAY, fingerprint=fingerprint, **more)  # type: ignore[arg-type]


def test_how_far_a_removal_has_come() -> None:
    ledger = [
        version(1, KeyPhase.REMOVED),
        version(2, KeyPhase.RETIRED),
        version(3, KeyPhase.DISCARDED),
        version(4, KeyPhase.PRIMARY),
    ]
    found = orders.removal(ledger, 3, 30 * DAY, NOON)
    assert (found.living, [v.number for v in found.left], found.of) == ((), [2, 3], 3)
    assert found.until == NOON + 32 * DAY
    assert found.released == 1
    assert [v.number for v in orders.removal(ledger, 4, DAY, NOON).living] == [4]
    returned = [version(1, KeyPhase.RETIRED, returned=True)]
    assert orders.removal(returned, 1, DAY, NOON).living, "a version that regions were given again is in use"
    rewrapping = [version(1, KeyPhase.COMPROMISED)]
    assert orders.removal(rewrapping, 1, DAY, NOON).living, "something is still to be written anew"
    done = orders.removal([version(1, KeyPhase.REMOVED), version(2, KeyPhase.SHREDDED)], 2, DAY, NOON)
    assert (done.left, done.until) == ((), None)


@pytest.mark.parametrize(("days", "released"), [(31, 1), (32, 2), (33, 3), (99, 3)])
def test_a_version_is_released_when_it_and_all_before_it_have_ended_for_long_enough(days: int, released: int) -> None:
    ledger = [version(1, KeyPhase.REMOVED), version(2, KeyPhase.RETIRED), version(3, KeyPhase.RETIRED)]
    assert orders.removal(ledger, 3, 30 * DAY, NOON + days * DAY).released == released
    living = [version(1, KeyPhase.RETIRED, returned=True), version(2, KeyPhase.RETIRED)]
    assert orders.removal(living, 2, 30 * DAY, NOON + days * DAY).released == 0


@pytest.mark.parametrize(
    ("left", "waits", "words", "seconds"),
    [
        (version(2, KeyPhase.RETIRED), "", "0 of 1 versions are removed; the next from 2026-03-05T12:00:00Z on", 86400),
        (version(1, KeyPhase.RETIRED), "", "0 of 1 versions are removed; version 1 is next", None),
        (
            version(1, KeyPhase.RETIRED),
            "RegionUnreadable: region sgp cannot be read; mend it",
            "version 1 is next, and waits: RegionUnreadable: region sgp cannot be read; mend it",
            None,
        ),
        (version(1, KeyPhase.RETIRED, returned=True), "", "version 1 was given to regions again", None),
        (version(1, KeyPhase.COMPROMISED), "", "what version 1 encrypted is still written anew", None),
    ],
)
def test_a_removal_says_what_it_waits_for_and_names_no_moment_that_is_past(
    left: Version, waits: str, words: str, seconds: float | None
) -> None:
    now = NOON + 3 * DAY
    message, again = orders.unfinished(orders.removal([left], left.number, 2 * DAY, now), waits, now)
    assert words in message
    assert again == seconds
    assert "2026-03-04" not in message


def test_a_ring_that_was_made_anew_may_have_been_elsewhere() -> None:
    ledger = [version(1, KeyPhase.SHREDDED, staged=NOON), version(2, KeyPhase.PRIMARY, staged=NOON + DAY)]
    minute = timedelta(minutes=1)
    assert not orders.may_have_been_elsewhere(NOON - minute, ledger, minute)
    assert not orders.may_have_been_elsewhere(NOON + minute, ledger, minute), "clocks differ"
    assert orders.may_have_been_elsewhere(NOON + 2 * minute, ledger, minute)
    assert orders.may_have_been_elsewhere(None, ledger, minute)


def test_what_is_shredded_is_said_of_each_place_where_keks_were() -> None:
    module = orders.shredded(1, 1, {KekProviderKind.PKCS11}, NOON)
    assert "no backup of the hub opens what the module had wrapped, unless a backup of the module is kept" in module
    secrets = orders.shredded(1, 1, {KekProviderKind.KUBERNETES}, NOON)
    assert "still opens the versions with it, so delete the backups from before 2026-03-01T12:00:00Z" in secrets
    assert "no backup" not in secrets


def test_what_the_hub_should_have_and_has_not_is_unrestored() -> None:
    ledger = [
        version(1, KeyPhase.REMOVED),
        version(2, KeyPhase.DISCARDED),
        version(3, KeyPhase.RETIRED),
        version(4, KeyPhase.PRIMARY),
        version(5, KeyPhase.RESERVED, fingerprint=""),
    ]
    assert orders.unrestored(ledger, {4}) == (3,)
    assert orders.unrestored(ledger, {3, 4}) == ()


def material(number: int) -> Material:
    return Material(number, KeyType.XAES_256_GCM, bytes([number]) * 32)


def test_what_is_adopted_goes_through_steps_that_there_are_and_the_primary_comes_last() -> None:
    keyset = Keyset(((1, "f"), (2, "f"), (3, "f"), (4, "f")), 3)
    ledger = [version(1, KeyPhase.DRAINING), version(4, KeyPhase.STAGED)]
    found = orders.adoptions(keyset, [material(n) for n in (4, 3, 2, 1)], ledger)
    assert [adoption.material.number for adoption in found] == [2, 4, 3]
    goals = {adoption.material.number: adoption.path[-1] for adoption in found}
    assert goals == {2: KeyPhase.SUPERSEDED, 4: KeyPhase.PUBLISHED, 3: KeyPhase.PRIMARY}
    for adoption in found:
        for was, then in zip(adoption.path, adoption.path[1:], strict=False):
            assert then in MAY_BECOME[was]
    assert found[1].path[0] is KeyPhase.STAGED, "what the ledger has goes on from where it is"


def test_what_the_ledger_has_in_full_is_not_adopted() -> None:
    keyset = Keyset(((1, "f"), (2, "f")), 2)
    ledger = [version(1, KeyPhase.SUPERSEDED), version(2, KeyPhase.PRIMARY)]
    assert orders.adoptions(keyset, [material(1), material(2)], ledger) == ()


def test_what_the_hub_has_lost_is_taken_only_where_it_is_the_very_same() -> None:
    keys = [material(n) for n in (1, 2, 3, 4)]
    said = {key.number: fingerprint("r0123456789ab", key) for key in keys}
    ledger = [
        version(1, KeyPhase.REMOVED, said[1]),
        version(2, KeyPhase.DRAINING, said[2]),
        version(3, KeyPhase.DRAINING, "another"),
        version(4, KeyPhase.PRIMARY, said[4]),
    ]
    assert [key.number for key in orders.lost("r0123456789ab", keys, ledger, {4: said[4]})] == [2]
    assert [key.number for key in orders.lost("r0123456789ab", keys, ledger, {4: "strange"})] == [2, 4]


def test_other_material_of_the_same_number_is_a_contradiction() -> None:
    keyset = Keyset(((1, "f"), (2, "other")), 2)
    assert orders.contradiction(keyset, [version(1, KeyPhase.DRAINING)]) is None
    assert orders.contradiction(keyset, [version(2, KeyPhase.RESERVED, fingerprint="")]) is None
    found = orders.contradiction(keyset, [version(2, KeyPhase.PRIMARY)])
    assert found is not None
    assert found.number == 2


def test_a_digest_tells_keysets_apart() -> None:
    keysets = [Keyset(), Keyset(((1, "f"),), 1), Keyset(((1, "f"),), 0), Keyset(((1, "g"),), 1), Keyset(((2, "f"),), 1)]
    assert len({orders.digest(keyset) for keyset in keysets}) == len(keysets)
