"""What ``roadstead keys status`` and ``history`` show, from objects as an API server has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import api_key_cases
from roadstead.cli import ring_tables
from roadstead.cli.output import is_plain
from roadstead.cli.rings import RingRow, ring_row, rings_as_data, versions_as_data
from specs import Body
from unit.cli.test_overview import condition, text

NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
RING_ID = "r0123456789ab"


def version(number: int, phase: str, since: str = "2026-11-22T12:00:00Z", **edits: Any) -> Body:
    body = api_key_cases.key_version("chat", **{"spec.number": number, "metadata.name": f"chat-v{number}", **edits})
    body["spec"].setdefault("slot", "2026-11-22T09:00:00Z")
    body["status"] = {"phase": phase, "since": since, "fingerprint": f"{number:032x}", **(edits.get("status") or {})}
    return body


def region(name: str, **status: Any) -> Body:
    return {"name": name, "generation": 12, "primary": 6, "versions": "5-7", "proved": 2, "consumers": 2, **status}


def ring(**status: Any) -> Body:
    body = api_key_cases.ring("chat", "chat")
    body["metadata"] |= {"generation": 1, "uid": "u"}
    body["status"] = {
        "observedGeneration": 1,
        "ringID": RING_ID,
        "phase": "Rotating",
        "primary": 6,
        "primarySince": "2026-11-22T12:00:00Z",
        "coming": 7,
        "nextRotation": "2026-11-25T09:30:00Z",
        "conditions": [condition("Ready", "True", "Ready", "all is well")],
        "regions": [
            region("hkg", reads="6-7", writes=6),
            region("sin", reads="6", writes=6, proved=1, message="not every pod has proved 7"),
        ],
        "waits": [
            {
                "reason": "NotProved",
                "region": "sin",
                "since": "2026-11-23T11:40:00Z",
                "message": "not every pod has proved 7",
            }
        ],
        **status,
    }
    return body


LEDGER = [version(4, "Retired"), version(5, "Draining"), version(6, "Primary"), version(7, "Published")]


def row(*ledger: Body, **status: Any) -> RingRow:
    return ring_row(ring(**status), ledger or LEDGER)


def test_the_matrix() -> None:
    assert text(ring_tables.ring(row(), NOW, 140, plain=False)) == (
        """\
Ring     chat/chat
Phase    Rotating
Ready    True
Primary  6, since 2026-11-22T12:00:00Z (24h0m)
Coming   7
Next     2026-11-25T09:30:00Z (in 45h29m)

REGION  PODS  KEYSET  5 Draining  6 Primary  7 Published
hkg     2/2   #12     ○           ◆          ●
sin     1/2   #12     ○           ◆          ◐
○ there   ◐ there, not proved by every pod   ● every pod reads it   ◆ every pod writes with it

WAITS FOR  REGION  SINCE  MESSAGE
NotProved  sin     20m    not every pod has proved 7"""
    )


def test_the_matrix_in_letters() -> None:
    drawn = text(ring_tables.ring(row(), NOW, 140, plain=True))
    assert "sin     1/2   #12     o           W          ?" in drawn
    assert drawn.isascii()


def test_the_oldest_versions_go_first_when_there_is_no_room() -> None:
    ledger = [version(number, "Draining") for number in range(1, 41)] + [version(41, "Primary")]
    everywhere = [region("hkg", versions="1-41", primary=41), region("sin", versions="3-41", primary=41)]
    drawn = text(ring_tables.ring(row(*ledger, regions=everywhere, waits=[], coming=0), NOW, 90, plain=True), 90)
    assert "38 Draining  39 Draining  40 Draining  41 Primary" in drawn
    assert "37 older versions (1 to 37) do not fit here; not all of them are in sin" in drawn
    assert max(map(len, drawn.splitlines())) <= 90


def test_a_region_without_pods_proves_nothing() -> None:
    [line] = row(regions=[region("hkg", consumers=0, proved=0)]).regions[:1]
    assert {holding.value for holding in line.holdings} == {"Held"}


def test_a_region_that_nobody_has_looked_at_is_in_the_matrix() -> None:
    found = row(regions=[region("hkg")])
    assert [line.name for line in found.regions] == ["hkg", "sin"]
    assert {holding.value for holding in found.regions[1].holdings} == {"Absent"}
    assert "sin: the operator has not looked at it yet" in text(ring_tables.ring(found, NOW, 140, plain=True))


def test_a_region_that_is_excluded_is_said_to_be() -> None:
    found = row(regions=[region("hkg"), region("sin", excluded=True)])
    assert "\nsin: excluded; rotations do not wait for it" in text(ring_tables.ring(found, NOW, 140, plain=True))
    assert [entry["excluded"] for entry in rings_as_data([found])[0]["regions"]] == [False, True]


def test_all_rings() -> None:
    blocked = ring(phase="Blocked", primary=0, primarySince=None, nextRotation=None, coming=0, waits=[], regions=[])
    blocked["metadata"] |= {"name": "vault", "generation": 2}
    rows = [row(), ring_row(blocked, [])]
    assert text(ring_tables.rings(rows, NOW), 180) == (
        """\
RING        READY    PHASE     PRIMARY  AGE    COMING  NEXT                              PROVED           WAITS FOR
chat/chat   True     Rotating  6        24h0m  7       2026-11-25T09:30:00Z (in 45h29m)  hkg 2/2 sin 1/2  NotProved: sin
chat/vault  Unknown  Blocked   -        -      -       -                                 hkg 0/0 sin 0/0  -
chat/vault: the operator has not seen this version of the object yet; is it running?"""
    )
    assert text(ring_tables.rings([], NOW)) == "No rings of keys."


def test_the_history() -> None:
    ledger = [
        version(1, "Retired", status={"returned": True}),
        version(2, "Suspended", status={"mark": "Suspended"}),
        version(3, "Primary", status={"mark": "Compromised"}),
        version(4, "Reserved", status={"fingerprint": None}),
    ]
    del ledger[3]["spec"]["slot"]
    drawn = text(ring_tables.history(row(*ledger), NOW), 220).splitlines()
    assert [line.split()[:2] for line in drawn[1:]] == [
        ["4", "Reserved"],
        ["3", "Primary"],
        ["2", "Suspended"],
        ["1", "Retired"],
    ]
    assert drawn[1].endswith(
        "its number is taken; its key is being made; made in place of one that was marked or discarded"
    )
    assert drawn[2].endswith("written with; marked Compromised")
    assert drawn[3].endswith("read only, until a person says otherwise")
    assert drawn[4].endswith("is handed out again: somebody still needs it")
    assert f"{1:032x}" in drawn[4]
    assert "No versions" in text(ring_tables.history(ring_row(ring(), []), NOW))


def test_a_ring_of_the_same_name_elsewhere_is_another() -> None:
    foreign = [version(8, "Primary", **{"spec.ringID": "rzzzzzzzzzzzz"}), version(9, "Primary")]
    foreign[1]["metadata"]["namespace"] = "other"
    assert [found.number for found in ring_row(ring(), [*LEDGER, *foreign]).versions] == [4, 5, 6, 7]


def test_machines_get_moments_and_words() -> None:
    [data] = rings_as_data([row()])
    assert data["primarySince"] == "2026-11-22T12:00:00Z"
    assert data["regions"][1]["versions"] == {"5": "Held", "6": "Written", "7": "WaitedFor"}
    assert data["waits"][0]["since"] == "2026-11-23T11:40:00Z"
    assert [entry["phase"] for entry in versions_as_data(row().versions)] == [
        "Retired",
        "Draining",
        "Primary",
        "Published",
    ]


@pytest.mark.parametrize(
    ("tty", "environment", "encoding", "plain"),
    [
        (True, {}, "utf-8", False),
        (False, {}, "utf-8", True),
        (True, {"NO_COLOR": "1"}, "utf-8", True),
        (True, {}, "ascii", True),
    ],
    ids=["a terminal", "a pipe", "NO_COLOR", "a terminal without UTF-8"],
)
def test_signs_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, tty: bool, environment: dict[str, str], encoding: str, plain: bool
) -> None:
    class Out:
        def __init__(self) -> None:
            self.encoding = encoding

        def isatty(self) -> bool:
            return tty

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Out())
    assert is_plain() is plain
