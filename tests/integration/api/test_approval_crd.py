"""Approvals before a real API server, without the policy: what is asked for stays, and what was said stays."""

from __future__ import annotations

import http
from collections.abc import Iterator

import pytest

from api_approval_cases import APPROVAL_CHANGES_REFUSED, APPROVAL_EDITS, APPROVALS_KEPT, APPROVALS_REFUSED, Edits
from approvals import approval, folder, url
from clusters import fresh_namespace
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.parse import parse
from specs import Body, edited

STRICT = "?dryRun=All&fieldValidation=Strict"
END = "2030-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    """One for the module: nearly everything here is a dry run, and the rest deletes what it made."""
    return fresh_namespace(hub, "api-approvals")


@pytest.fixture
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


@pytest.fixture
def made(api: Api) -> Iterator[list[Body]]:
    """Put in it what is to be deleted afterwards."""
    objects: list[Body] = []
    yield objects
    for body in objects:
        api.request("DELETE", url(body))


def asked(namespace: str, edits: Edits) -> Body:
    return edited(approval("ask", namespace, spec__expiresAt=END), edits)


@pytest.mark.parametrize(("word", "edits"), [pytest.param(*case, id=case[0]) for case in APPROVALS_KEPT])
def test_what_keeps_the_rules(api: Api, namespace: str, word: str, edits: Edits) -> None:
    body = asked(namespace, edits)
    stored = api.request("POST", folder(namespace) + STRICT, body)
    assert parse("Approval", stored).spec == parse("Approval", body, strict=True).spec


@pytest.mark.parametrize(("edits", "at", "words"), [pytest.param(*case[1:], id=case[0]) for case in APPROVALS_REFUSED])
def test_what_is_outside_the_schema(api: Api, namespace: str, edits: Edits, at: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        api.request("POST", folder(namespace) + STRICT, asked(namespace, edits))
    assert caught.value.status in (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.BAD_REQUEST)
    assert at in str(caught.value)
    assert words in str(caught.value)
    assert "evaluating rule" not in str(caught.value)


def stored(api: Api, made: list[Body], namespace: str, before: Edits) -> Body:
    """Make one, in the phase that it is to be in."""
    body = asked(namespace, before)
    made.append(api.request("POST", folder(namespace), body))
    if "status.phase" not in before:
        return made[-1]
    answer: Body = api.request("PATCH", url(body) + "/status", {"status": body["status"]})
    return answer


def replace(api: Api, there: Body, namespace: str, after: Edits) -> Body:
    """Write over it what it would be, in a dry run."""
    body = asked(namespace, after)
    body["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"]
    answer: Body = api.request("PUT", url(there) + STRICT, body)
    return answer


@pytest.mark.parametrize(
    ("before", "after", "words"), [pytest.param(*case[1:], id=case[0]) for case in APPROVAL_CHANGES_REFUSED]
)
def test_a_forbidden_edit(
    api: Api, namespace: str, made: list[Body], before: Edits, after: Edits, words: tuple[str, ...]
) -> None:
    there = stored(api, made, namespace, before)
    with pytest.raises(ApiError) as caught:
        replace(api, there, namespace, after)
    assert caught.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY
    said = str(caught.value)
    assert all(word in said for word in words), said
    # Nothing else: a rule's message is found by its cure.
    assert sum(said.count(cure) for cure in ("; write", "; leave")) == len(words), said


@pytest.mark.parametrize(("before", "after"), [pytest.param(*case[1:], id=case[0]) for case in APPROVAL_EDITS])
def test_a_permitted_edit(api: Api, namespace: str, made: list[Body], before: Edits, after: Edits) -> None:
    there = stored(api, made, namespace, before)
    assert (
        parse("Approval", replace(api, there, namespace, after)).spec == parse("Approval", asked(namespace, after)).spec
    )


def test_the_operator_still_writes_the_status_of_what_is_decided(api: Api, namespace: str, made: list[Body]) -> None:
    there = stored(api, made, namespace, {"spec.approvals": {"bob": ""}, "status.phase": "Executing"})
    answer = api.request("PATCH", url(there) + "/status", {"status": {"phase": "Done"}})
    assert (answer["status"]["phase"], answer["spec"]["approvals"]) == ("Done", {"bob": ""})
