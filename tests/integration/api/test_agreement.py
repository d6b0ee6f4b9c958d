"""Python and a real API server agree on generated ChatServices, in the verdict and in the words."""

from __future__ import annotations

import http
import re

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from api_strategies import nearly_valid_chats
from clusters import fresh_namespace
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from roadstead.api.chatservice import ChatService
from roadstead.api.chatservice_rules import CHAT_SERVICE_RULES
from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from specs import Body


@pytest.fixture(scope="module")
def namespace(hub: BareCluster) -> str:
    return fresh_namespace(hub, "api")


@pytest.fixture(scope="module")
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_verdict(api: Api, namespace: str, data: st.DataObject) -> None:
    body = data.draw(nearly_valid_chats(namespace))
    problems: tuple[str, ...] = ()
    try:
        parse("ChatService", body, strict=True)
    except SpecError as error:
        problems = tuple(map(str, error.problems))
    path = f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/chatservices?dryRun=All&fieldValidation=Strict"
    try:
        stored = api.request("POST", path, body)
    except ApiError as error:
        assert error.status in (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.BAD_REQUEST), error
        event("refused")
        assert problems, f"only the API server refuses: {error}"
        _compare_words(body, str(error), problems)
        return
    event("accepted")
    assert not problems, "only Python refuses"
    assert parse("ChatService", stored).spec == parse("ChatService", body).spec


def _compare_words(body: Body, words: str, problems: tuple[str, ...]) -> None:
    """Where both got as far as the rules, each rule that the server names is one that Python names, in its words."""
    if "validation rules were not checked" in words:
        return
    said = {re.sub(r"\[\d+\]", "[*]", problem) for problem in problems}
    for rule in CHAT_SERVICE_RULES:
        marker = f"; {rule.cure.partition('{')[0]}"
        if rule.cel is not None and marker in words and _is_readable(body):
            event(rule.name)
            assert any(problem in words for problem in said if marker in problem), f"{rule.name}: {words} / {said}"


def _is_readable(body: Body) -> bool:
    try:
        ChatService.model_validate(body)
    except ValueError:
        return False
    return True
