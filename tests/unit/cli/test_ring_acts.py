"""What ``roadstead keys rotate`` writes and waits for, and what ``compromise`` and the others ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roadstead.api.parse import parse
from roadstead.cli.exits import ExitCode, Failure
from roadstead.cli.ring_acts import _is_done, _ours, _slot
from roadstead.cli.ring_requests import Request, _check, approval, bound, told
from roadstead.cli.rings import ring_row
from specs import Body
from unit.cli.test_rings import LEDGER, region, ring, row, version

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MOMENT = datetime(2026, 11, 23, 11, 59, 59, 500_000, tzinfo=UTC)
UID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def slotted(number: int, phase: str, slot: str | None = "2026-11-23T11:59:59.500Z") -> Body:
    body = version(number, phase)
    body["spec"].pop("slot")
    return body if slot is None else body | {"spec": body["spec"] | {"slot": slot}}


def test_a_slot_is_now_and_later_than_every_other() -> None:
    assert _slot(row(), NOW) == "2026-11-23T12:00:00.000Z"
    just_taken = row(slotted(8, "Primary", "2026-11-23T12:00:00.250Z"))
    assert _slot(just_taken, NOW) == "2026-11-23T12:00:00.251Z"
    assert _slot(ring_row(ring(), []), NOW) == "2026-11-23T12:00:00.000Z"


@pytest.mark.parametrize(
    ("after", "ours", "done"),
    [
        pytest.param([], None, False, id="nothing has been begun"),
        pytest.param([slotted(8, "Primary", "2026-11-23T09:00:00Z")], None, False, id="one that was under way before"),
        pytest.param([slotted(8, "Published")], 8, False, id="it is handed out"),
        pytest.param([slotted(8, "Ready")], 8, False, id="it soaks"),
        pytest.param([slotted(8, "Discarded")], 8, False, id="it was discarded, and none has taken its place yet"),
        pytest.param([slotted(8, "Discarded"), slotted(9, "Staged", None)], 9, False, id="another has taken its place"),
        pytest.param([slotted(8, "Primary")], 8, False, id="the ledger still names two primaries"),
    ],
)
def test_a_rotation_is_followed(after: list[Body], ours: int | None, done: bool) -> None:
    found = row(*LEDGER, *after)
    made = _ours(found.versions, 7, MOMENT)
    assert (made.number if made else None) == ours
    assert (made is not None and _is_done(found, made)) is done


@pytest.mark.parametrize(
    ("former", "ours", "done"),
    [("Superseded", "Primary", False), ("Draining", "Primary", True), ("Draining", "Draining", True)],
)
def test_a_rotation_is_over_when_nobody_writes_with_the_former_one(former: str, ours: str, done: bool) -> None:
    found = row(version(7, former), slotted(8, ours))
    made = _ours(found.versions, 7, MOMENT)
    assert made is not None and _is_done(found, made) is done


def request(operation: str = "CompromiseVersion", **parameters: str) -> Request:
    return Request(operation, parameters, "laptop stolen", timedelta(hours=24))


def test_what_is_asked_for_is_an_approval() -> None:
    body = ring()
    body["metadata"]["uid"] = UID
    made = approval(body, request(version="6"), "alice@example.com", NOW)
    read: Any = parse("Approval", made, strict=True)
    assert (read.spec.subject.uid, read.spec.operation) == (UID, "CompromiseVersion")
    assert read.spec.parameters == {"version": "6"}
    assert made["metadata"]["generateName"] == "chat-compromiseversion-"
    assert made["spec"]["expiresAt"] == "2026-11-23T12:00:00Z"


def test_the_person_is_told_what_somebody_else_has_to_run() -> None:
    words = told(row(), request("RemoveVersions", upTo="4", shred="true"), "chat-removeversions-x")
    assert words[0] == (
        "Approval chat/chat-removeversions-x asks for RemoveVersions of KeyRing chat/chat (shred=true upTo=4)."
    )
    assert words[-1] == "  roadstead approve chat-removeversions-x -n chat"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param(request(version="9"), "has no version 9; there are: 4 to 7", id="a version that is not there"),
        pytest.param(request("RemoveVersions", upTo="6"), "is not older than the primary, 6", id="the primary"),
        pytest.param(
            request("ExcludeRegion", region="tokyo"), "has no region tokyo; there are: hkg, sin", id="another region"
        ),
        pytest.param(request(version="4"), "is Compromised already", id="what is done already"),
    ],
)
def test_what_cannot_be_done_is_said_before_anybody_has_to_approve_it(asked: Request, words: str) -> None:
    ledger = [version(4, "Compromised"), *LEDGER[1:]]
    with pytest.raises(Failure, match=words) as failure:
        _check(row(*ledger), asked)
    assert failure.value.code in (ExitCode.NOT_FOUND, ExitCode.REFUSED)


def test_what_can_be_done_may_be_asked_for() -> None:
    found = row(regions=[region("hkg"), region("sin")])
    for asked in (
        request(version="6"),
        request("RemoveVersions", upTo="5"),
        request("ExcludeRegion", region="sin"),
        request("AdoptKeyset", region="sin", keyset="abc"),
    ):
        _check(found, asked)


def test_a_removal_waits_as_long_as_the_ring_says_when_it_is_asked_for() -> None:
    body = {**ring(regions=[region("hkg")]), "spec": {"removalDelay": "30d"}}
    assert bound(body, request("RemoveVersions", upTo="4")).parameters == {"upTo": "4", "delay": "30d"}
    assert bound(body, request(version="4")).parameters == {"version": "4"}


def test_a_keyset_that_is_taken_over_is_the_one_in_the_status() -> None:
    asked = request("AdoptKeyset", region="hkg")
    body = ring(regions=[region("hkg", keyset="0123456789abcdef"), region("sin")])
    assert bound(body, asked).parameters == {"region": "hkg", "keyset": "0123456789abcdef"}
    assert bound(body, request("AdoptKeyset", region="sin", keyset="x")).parameters["keyset"] == "x"
    with pytest.raises(Failure, match="does not say what keyset region sin has"):
        bound(body, request("AdoptKeyset", region="sin"))
