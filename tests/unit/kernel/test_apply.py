"""What the cache says about a child, and what follows from it; `tests/integration/kernel` does it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest

from roadstead.kernel import objects
from roadstead.kernel.apply import Outcome, Problem, Verdict, applied_digest, body_hash_of, judge, without_content
from roadstead.kernel.errors import Unreachable
from roadstead.kernel.objects import CONFIG_MAPS, SECRETS, SERVICES, Child, Key
from roadstead.kernel.ownership import Claim, Owner, claim, is_lost, stamped
from roadstead.kernel.store import NOTHING, Record, to_record
from unit.kernel.objects_as_seen import seen

A, B = Key("ChatService", "n", "a"), Key("ChatService", "n", "b")
OURS, THEIRS = b"\x01" * 8, b"\x02" * 8
RECORD = replace(to_record(SERVICES, seen(A)), body_hash=OURS, fields=b"f" * 8, expected=b"f" * 8)
TABLE: dict[str, tuple[Record | None, Verdict]] = {
    "nothing is there": (None, Verdict.CREATE),
    "it is as it was left": (RECORD, Verdict.KEEP),
    "it is being deleted": (replace(RECORD, terminating=True), Verdict.WAIT),
    "it is being deleted and differs": (replace(RECORD, terminating=True, body_hash=THEIRS), Verdict.WAIT),
    "the body is another": (replace(RECORD, body_hash=THEIRS), Verdict.UPDATE),
    "the body's hash is gone": (replace(RECORD, body_hash=NOTHING), Verdict.UPDATE),
    "somebody took a field": (replace(RECORD, fields=b"g" * 8), Verdict.UPDATE),
    "our entry is gone": (replace(RECORD, fields=NOTHING), Verdict.UPDATE),
    "our entry is gone and was never known": (replace(RECORD, fields=NOTHING, expected=NOTHING), Verdict.UPDATE),
    "how it was left is not known": (replace(RECORD, expected=NOTHING), Verdict.INSPECT),
    "the body is another and how it was left unknown": (
        replace(RECORD, expected=NOTHING, body_hash=THEIRS),
        Verdict.UPDATE,
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_judge(case: str) -> None:
    record, verdict = TABLE[case]
    assert judge(OURS, record) is verdict


def test_what_was_applied_is_told_from_anything_that_differs() -> None:
    record = RECORD
    same = applied_digest([record])
    assert applied_digest([replace(record, resource_version=99, expected=NOTHING)]) == same, "not news"
    others = [
        replace(record, name="y"),
        replace(record, gvr=CONFIG_MAPS),
        replace(record, uid="00000000-0000-0000-0000-00000000ffff"),
        replace(record, body_hash=THEIRS),
        replace(record, fields=b"g" * 8),
        replace(record, terminating=True),
    ]
    assert len({same, *(applied_digest([other]) for other in others)}) == len(others) + 1
    assert applied_digest([]) != same


def test_a_body_hash_is_of_the_body_and_of_the_owner() -> None:
    child = Child(SERVICES, "n", "x", {"spec": {"a": 1, "b": 2}})
    same = Child(SERVICES, "n", "x", {"spec": {"b": 2, "a": 1}})
    assert body_hash_of(child, "u1") == body_hash_of(same, "u1")
    assert body_hash_of(child, "u1") != body_hash_of(child, "u2")


@pytest.mark.parametrize(
    ("outcome", "complete"),
    [
        (Outcome(made=("a", "b"), updated=1, deleted=1), True),
        (Outcome(drifted=(("x", ()),)), True),
        (Outcome(waiting=("x",)), False),
        (Outcome(conflicts=(Problem("x", "y"),)), False),
        (Outcome(refused=(Problem("x", "y"),)), False),
        (Outcome(failed=Unreachable("x")), False),
    ],
)
def test_an_outcome_is_complete_when_nothing_is_left(outcome: Outcome, complete: bool) -> None:
    assert outcome.complete is complete


OWNER = Owner("hub-1", A, "uid-a")


def test_stamping_leaves_the_body_alone_and_adds_who_owns_it() -> None:
    body = {"metadata": {"labels": {"app": "x"}, "annotations": {"note": "y"}}, "spec": {"a": 1}}
    made = stamped(Child(SERVICES, "n", "x", body), OWNER, "hkg", OURS)
    assert body == {"metadata": {"labels": {"app": "x"}, "annotations": {"note": "y"}}, "spec": {"a": 1}}
    assert (made["apiVersion"], made["kind"], made["spec"]) == ("v1", "Service", {"a": 1})
    metadata = made["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("x", "n") and "ownerReferences" not in metadata
    assert metadata["labels"] == {
        "app": "x",
        objects.MANAGED_BY_LABEL: "roadstead",
        objects.HUB_LABEL: "hub-1",
        objects.OWNER_KIND_LABEL: "ChatService",
        objects.OWNER_NAMESPACE_LABEL: "n",
        objects.OWNER_NAME_LABEL: "a",
        objects.REGION_LABEL: "hkg",
    }
    assert metadata["annotations"] == {
        "note": "y",
        objects.OWNER_UID_ANNOTATION: "uid-a",
        objects.BODY_HASH_ANNOTATION: OURS.hex(),
    }


def test_a_body_cannot_claim_to_be_somebody_elses() -> None:
    labels = {objects.HUB_LABEL: "other", objects.OWNER_NAME_LABEL: "b", objects.MANAGED_BY_LABEL: "helm"}
    made = stamped(Child(SERVICES, "n", "x", {"metadata": {"labels": labels, "name": "y"}}), OWNER, "hkg", OURS)
    assert made["metadata"]["labels"][objects.OWNER_NAME_LABEL] == "a"
    assert made["metadata"]["name"] == "x"


def annotated(owner: Key | None, uid: str, **parts: object) -> dict[str, object]:
    metadata = seen(owner, **parts)["metadata"]  # type: ignore[arg-type]
    metadata["annotations"][objects.OWNER_UID_ANNOTATION] = uid
    found: dict[str, object] = metadata
    return found


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (annotated(A, "uid-a"), Claim.OURS),
        (annotated(A, "uid-of-the-former-owner"), Claim.OURS),
        (annotated(None, "uid-a"), Claim.OURS),
        (annotated(None, "uid-of-somebody"), Claim.FOREIGN),
        (annotated(None, "uid-a", managedFields=[]), Claim.FOREIGN),
        (annotated(B, "uid-b"), Claim.FOREIGN),
        ({}, Claim.FOREIGN),
    ],
    ids=[
        "our labels and our uid",
        "our labels and the uid of a former owner of the name",
        "labels lost but our entry and uid",
        "labels lost and another uid",
        "labels lost and no entry of ours",
        "another owner",
        "nobody's",
    ],
)
def test_claim(metadata: dict[str, object], expected: Claim) -> None:
    assert claim(metadata, OWNER, "hkg") is expected


def test_a_child_of_the_same_owner_for_another_region_is_not_to_be_had() -> None:
    """Region x-peers' Service and region x's headless one would have one name in one cluster."""
    assert claim(annotated(A, "uid-a"), OWNER, "sgp") is Claim.FOREIGN


@pytest.mark.parametrize(
    ("metadata", "lost"),
    [
        pytest.param(annotated(None, "uid-a"), True, id="labels lost but our entry and uid"),
        pytest.param(annotated(None, "uid-of-somebody"), False, id="labels lost and another uid"),
        pytest.param(annotated(None, "uid-a", managedFields=[]), False, id="labels lost and no entry of ours"),
        pytest.param(annotated(A, "uid-a", managedFields=[]), False, id="a copy with all our labels"),
        pytest.param(annotated(B, "uid-b"), False, id="another owner's"),
        pytest.param(
            annotated(None, "uid-a", labels={objects.REGION_LABEL: "sgp"}), False, id="the owner's, of another region"
        ),
        pytest.param({}, False, id="nobody's"),
    ],
)
def test_what_is_looked_for_by_name_is_deleted_only_if_it_is_ours(metadata: dict[str, object], lost: bool) -> None:
    assert is_lost(metadata, OWNER, "hkg") is lost


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("exceeded quota: secrets=5", True),
        ("denied: tls.key is c2VjcmV0LWtleQ==", False),
        ("denied: 'secret-key' is weak", False),
        ("denied: line\nsecond-line-of-it\n", False),
    ],
)
def test_a_refusal_that_quotes_a_secret_is_not_repeated(words: str, told: bool) -> None:
    data = {"tls.key": b64encode(b"secret-key").decode(), "more": b64encode(b"x\nsecond-line-of-it").decode()}
    child = Child(SECRETS, "n", "s", {"data": data})
    assert (without_content(child, words) == words) is told
    assert "secret-key" not in (said := without_content(child, words)) and "c2Vj" not in said
    assert without_content(Child(CONFIG_MAPS, "n", "s", {"data": data}), words) == words
