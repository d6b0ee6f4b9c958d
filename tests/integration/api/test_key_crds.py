"""KeyRings and KeyVersions before a real API server: rules, defaults, edits, and a ledger that keeps what it has."""

from __future__ import annotations

import http
from collections.abc import Iterator
from copy import deepcopy

import pytest

from api_key_cases import (
    MARKED,
    RING_CHANGES,
    RINGS_BROKEN,
    RINGS_KEPT,
    RINGS_REFUSED,
    VERSION_CHANGES,
    VERSION_EDITS,
    VERSIONS_BROKEN,
    VERSIONS_KEPT,
    VERSIONS_REFUSED,
    Edits,
    key_version,
    ring,
)
from clusters import fresh_namespace
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.keyversion import MAY_BECOME, KeyPhase
from roadstead.api.kinds import BY_NAME
from roadstead.api.parse import dump, parse
from roadstead.api.problems import SpecError
from specs import Body

STRICT = "dryRun=All&fieldValidation=Strict"
SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    """One for the module: nearly everything here is a dry run, and the rest deletes what it made."""
    return fresh_namespace(hub, "api-keys")


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


def folder(body: Body) -> str:
    """Where an object is made."""
    plural = BY_NAME[body["kind"]].plural
    return f"/apis/roadstead.dev/v1alpha1/namespaces/{body['metadata']['namespace']}/{plural}"


def url(body: Body) -> str:
    """Where an object is."""
    return f"{folder(body)}/{body['metadata']['name']}"


def try_create(api: Api, body: Body) -> Body:
    """Create in a dry run; returns the object with the server's defaults."""
    answer: Body = api.request("POST", f"{folder(body)}?{STRICT}", body)
    return answer


def refused(api: Api, body: Body) -> str:
    """The server's words about an object that it must refuse as invalid."""
    with pytest.raises(ApiError) as caught:
        try_create(api, body)
    assert caught.value.status in (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.BAD_REQUEST), caught.value
    # No rule fails over a value that another one refuses.
    assert "evaluating rule" not in str(caught.value)
    return str(caught.value)


def problems(body: Body) -> list[str]:
    """Python's words about the same."""
    with pytest.raises(SpecError) as caught:
        parse(body["kind"], body, strict=True)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("word", "edits"), [pytest.param(*case, id=case[0]) for case in RINGS_KEPT])
def test_a_ring_that_keeps_the_rules(api: Api, namespace: str, word: str, edits: Edits) -> None:
    body = ring(namespace=namespace, **edits)
    stored = try_create(api, body)
    assert parse("KeyRing", stored).spec == parse("KeyRing", body, strict=True).spec


def test_the_servers_defaults_are_the_models_defaults(api: Api, namespace: str) -> None:
    with_cron: Edits = {"spec.schedule": {"cron": {"schedule": "0 3 * * 1"}}}
    for edits in ({}, with_cron):
        body = ring(namespace=namespace, **edits)
        assert try_create(api, body)["spec"] == dump(parse("KeyRing", body))["spec"]
    version = key_version(namespace=namespace)
    assert try_create(api, version)["status"] == dump(parse("KeyVersion", version))["status"]


@pytest.mark.parametrize(("edits", "field", "words"), [pytest.param(*case, id=case[2]) for case in RINGS_BROKEN])
def test_a_broken_rule_about_rings_is_refused_in_the_words_of_python(
    api: Api, namespace: str, edits: Edits, field: str, words: str
) -> None:
    body = ring(namespace=namespace, **edits)
    (problem,) = problems(body)
    said = refused(api, body)
    assert problem in said
    assert problem.startswith(f"{field} ")
    assert words in said


@pytest.mark.parametrize(("edits", "at", "words"), [pytest.param(*case[1:], id=case[0]) for case in RINGS_REFUSED])
def test_a_ring_outside_the_schema(api: Api, namespace: str, edits: Edits, at: str, words: str) -> None:
    body = ring(namespace=namespace, **edits)
    assert problems(body)
    said = refused(api, body)
    assert at in said
    assert words in said


def test_nobody_writes_a_ring_a_status_when_making_it(api: Api, namespace: str) -> None:
    assert "status" not in try_create(api, ring(namespace=namespace, status={"primary": 7}))


@pytest.mark.parametrize(("word", "edits"), [pytest.param(*case, id=case[0]) for case in VERSIONS_KEPT])
def test_a_version_that_keeps_the_rules(api: Api, namespace: str, word: str, edits: Edits) -> None:
    body = key_version(namespace=namespace, **edits)
    stored = parse("KeyVersion", try_create(api, body))
    expected = parse("KeyVersion", body, strict=True)
    assert (stored.spec, stored.status) == (expected.spec, expected.status)


@pytest.mark.parametrize(("edits", "field", "words"), [pytest.param(*case, id=case[2]) for case in VERSIONS_BROKEN])
def test_a_broken_rule_about_versions_is_refused_in_the_words_of_python(
    api: Api, namespace: str, edits: Edits, field: str, words: str
) -> None:
    body = key_version(namespace=namespace, **edits)
    (problem,) = problems(body)
    said = refused(api, body)
    assert problem in said
    assert problem.startswith(f"{field} ")
    assert words in said


@pytest.mark.parametrize(("edits", "at", "words"), [pytest.param(*case[1:], id=case[0]) for case in VERSIONS_REFUSED])
def test_a_version_outside_the_schema(api: Api, namespace: str, edits: Edits, at: str, words: str) -> None:
    body = key_version(namespace=namespace, **edits)
    assert problems(body)
    said = refused(api, body)
    assert at in said
    assert words in said


def replace(api: Api, stored: Body, wanted: Body) -> Body:
    """Write an object over the one that is stored, in a dry run."""
    body = deepcopy(wanted)
    body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    answer: Body = api.request("PUT", f"{url(stored)}?{STRICT}", body)
    return answer


@pytest.mark.parametrize(
    ("before", "after", "words"), [pytest.param(*case, id=case[2][-1]) for case in VERSION_CHANGES]
)
def test_a_forbidden_edit_of_a_version(
    api: Api, namespace: str, made: list[Body], before: Edits, after: Edits, words: tuple[str, ...]
) -> None:
    stored = api.request("POST", folder(key_version(namespace=namespace)), key_version(namespace=namespace, **before))
    made.append(stored)
    with pytest.raises(ApiError) as caught:
        replace(api, stored, key_version(namespace=namespace, **after))
    assert caught.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY
    said = str(caught.value)
    for word in words:
        assert word in said
    # Nothing else: a rule's message is found by its cure.
    assert sum(said.count(cure) for cure in ("; write", "; let the operator")) == len(words), said


@pytest.mark.parametrize(("before", "after", "words"), [pytest.param(*case, id=case[2]) for case in RING_CHANGES])
def test_a_forbidden_edit_of_a_ring(
    api: Api, namespace: str, made: list[Body], before: Edits, after: Edits, words: str
) -> None:
    stored = api.request("POST", folder(ring(namespace=namespace)), ring(namespace=namespace, **before))
    made.append(stored)
    with pytest.raises(ApiError) as caught:
        replace(api, stored, ring(namespace=namespace, **after))
    assert caught.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY
    assert words in str(caught.value)
    assert str(caught.value).count("; write") == 1, caught.value


@pytest.mark.parametrize(("word", "before", "after"), [pytest.param(*case, id=case[0]) for case in VERSION_EDITS])
def test_a_permitted_edit_of_a_version(
    api: Api, namespace: str, made: list[Body], word: str, before: Edits, after: Edits
) -> None:
    stored = api.request("POST", folder(key_version(namespace=namespace)), key_version(namespace=namespace, **before))
    made.append(stored)
    wanted = key_version(namespace=namespace, **after)
    assert parse("KeyVersion", replace(api, stored, wanted)).status == parse("KeyVersion", wanted).status


def test_the_server_takes_the_steps_of_the_table_and_no_others(api: Api, namespace: str, made: list[Body]) -> None:
    """All 13 x 13 pairs, the phase that it has included: a write that changes nothing is none."""
    taken: dict[KeyPhase, set[KeyPhase]] = {}
    for was in KeyPhase:
        body = key_version(namespace=namespace, status__phase=was.value)
        made[:] = [api.request("POST", folder(body), body)]
        assert made[0]["status"]["phase"] == was, "made in the phase that was written"
        taken[was] = set()
        for to in KeyPhase:
            try:
                replace(api, made[0], key_version(namespace=namespace, status__phase=to.value))
            except ApiError as error:
                assert error.status == http.HTTPStatus.UNPROCESSABLE_ENTITY, error
                says = f"status.phase changes from {was} to {to}, which is not a step that there is; write {was} again"
                assert says in str(error)
            else:
                taken[was].add(to)
        api.request("DELETE", url(made.pop()))
    assert taken == {was: {was, *MAY_BECOME[was]} for was in KeyPhase}


def test_no_patch_and_no_subresource_is_a_way_round(api: Api, namespace: str, made: list[Body]) -> None:
    body = key_version(namespace=namespace, **MARKED)
    made.append(api.request("POST", folder(body), body))
    for patch, words in (
        ({"status": {"phase": "Primary"}}, "status.phase changes from Superseded to Primary"),
        ({"status": {"mark": None}}, "status.mark is taken back from Compromised"),
        ({"status": {"fingerprint": None}}, "status.fingerprint changes"),
        ({"status": None}, "status: Required value"),
        ({"spec": {"number": 8}}, "spec changes"),
    ):
        with pytest.raises(ApiError) as caught:
            api.request("PATCH", url(body), patch)
        assert caught.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        assert words in str(caught.value)
    with pytest.raises(ApiError) as caught:
        api.request("PATCH", f"{url(body)}/status", {"status": {"phase": "Draining"}})
    assert caught.value.status == http.HTTPStatus.NOT_FOUND
    assert api.request("GET", url(body))["status"] == made[0]["status"]


@pytest.mark.parametrize("phase", KeyPhase)
def test_a_backup_that_is_restored_comes_back_in_its_phase(
    api: Api, namespace: str, made: list[Body], phase: KeyPhase
) -> None:
    body = key_version(namespace=namespace, **MARKED | {"status.phase": phase.value, "status.returned": True})
    api.request("POST", folder(body), body)
    backup = api.request("GET", url(body))
    api.request("DELETE", url(body))
    for field in SERVERS_OWN:
        backup["metadata"].pop(field, None)
    made.append(api.request("POST", folder(body), backup))
    restored = api.request("GET", url(body))
    assert restored["status"] == backup["status"]
    assert (restored["status"]["phase"], restored["status"]["mark"]) == (phase, "Compromised")


def test_a_number_is_taken_once(api: Api, namespace: str, made: list[Body]) -> None:
    body = key_version(namespace=namespace)
    made.append(api.request("POST", folder(body), body))
    with pytest.raises(ApiError) as caught:
        api.request("POST", folder(body), key_version(namespace=namespace, spec__operation="f" * 16))
    assert caught.value.status == http.HTTPStatus.CONFLICT
