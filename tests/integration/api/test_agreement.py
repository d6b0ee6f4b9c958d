"""Python and a real API server agree on generated objects, in the verdict and in the words."""

from __future__ import annotations

import http
import re

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from api_key_strategies import edits_of_versions, nearly_valid_rings, nearly_valid_versions
from api_strategies import nearly_valid_chats
from clusters import fresh_namespace
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.duration import format_duration, parse_duration
from roadstead.api.kinds import BY_NAME
from roadstead.api.parse import parse, parse_change
from roadstead.api.problems import SpecError
from specs import Body


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    return fresh_namespace(hub, "api")


@pytest.fixture(scope="module")
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(data=st.data())
def test_one_verdict_about_services(api: Api, namespace: str, data: st.DataObject) -> None:
    _one_verdict(api, data.draw(nearly_valid_chats(namespace)))


@SETTINGS
@given(data=st.data())
def test_one_verdict_about_rings(api: Api, namespace: str, data: st.DataObject) -> None:
    _one_verdict(api, data.draw(nearly_valid_rings(namespace)))


@SETTINGS
@given(data=st.data())
def test_one_verdict_about_versions(api: Api, namespace: str, data: st.DataObject) -> None:
    _one_verdict(api, data.draw(nearly_valid_versions(namespace)))


@settings(SETTINGS, max_examples=200)
@given(data=st.data())
def test_one_verdict_about_edits_of_versions(api: Api, namespace: str, data: st.DataObject) -> None:
    before, after = data.draw(edits_of_versions(namespace))
    problems: tuple[str, ...] = ()
    try:
        parse_change("KeyVersion", before, after)
    except SpecError as error:
        problems = tuple(map(str, error.problems))
    path = _folder(before)
    stored = api.request("POST", path, before)
    try:
        after["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        api.request("PUT", f"{path}/{before['metadata']['name']}?dryRun=All&fieldValidation=Strict", after)
    except ApiError as error:
        assert error.status == http.HTTPStatus.UNPROCESSABLE_ENTITY, error
        event("refused")
        assert problems, f"only the API server refuses: {error}"
        for problem in problems:
            assert problem in str(error)
        assert str(error).count("; write ") == len(problems), "nothing else is said"
    else:
        event("accepted")
        assert not problems, "only Python refuses"
    finally:
        api.request("DELETE", f"{path}/{before['metadata']['name']}")


def _folder(body: Body) -> str:
    plural = BY_NAME[body["kind"]].plural
    return f"/apis/roadstead.dev/v1alpha1/namespaces/{body['metadata']['namespace']}/{plural}"


def _one_verdict(api: Api, body: Body) -> None:
    kind = BY_NAME[body["kind"]]
    problems: tuple[str, ...] = ()
    try:
        parse(kind.kind, body, strict=True)
    except SpecError as error:
        problems = tuple(map(str, error.problems))
    try:
        stored = api.request("POST", f"{_folder(body)}?dryRun=All&fieldValidation=Strict", body)
    except ApiError as error:
        assert error.status in (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.BAD_REQUEST), error
        event("refused")
        assert problems, f"only the API server refuses: {error}"
        _compare_words(body, str(error), problems)
        return
    event("accepted")
    assert not problems, "only Python refuses"
    assert parse(kind.kind, stored).spec == parse(kind.kind, body).spec
    if not kind.status_subresource:
        assert parse(kind.kind, stored).status == parse(kind.kind, body).status


def _compare_words(body: Body, words: str, problems: tuple[str, ...]) -> None:
    """Where both got as far as the rules, each rule that the server names is one that Python names, in its words."""
    if "validation rules were not checked" in words:
        return
    # The server repeats a length of time as it was written, Python in its shortest form.
    words = re.sub(r"(?<=every is )\w+(?=, which)", lambda found: format_duration(parse_duration(found[0])), words)
    # An index, which CEL cannot tell; a region may be called 1.
    words, *found = (re.sub(r"\[\d+\]", "[*]", text) for text in (words, *problems))
    said = set(found)
    for rule in BY_NAME[body["kind"]].rules:
        marker = f"; {rule.cure.partition('{')[0]}"
        if rule.cel is not None and marker in words and _is_readable(body):
            event(rule.name)
            assert any(problem in words for problem in said if marker in problem), f"{rule.name}: {words} / {said}"


def _is_readable(body: Body) -> bool:
    try:
        BY_NAME[body["kind"]].model.model_validate(body)
    except ValueError:
        return False
    return True
