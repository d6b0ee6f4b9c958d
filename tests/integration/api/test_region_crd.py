"""Regions before a real API server: rules, defaults, edits."""

from __future__ import annotations

import http
import re
from typing import Any

import pytest

from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from public_keys import ANOTHER, NO_PUBLIC_KEYS, PUBLIC_KEY
from roadstead.api.parse import dump, parse
from roadstead.api.problems import SpecError
from specs import ABSENT, region

PATH = "/apis/roadstead.dev/v1alpha1/regions"
DRY = "dryRun=All&fieldValidation=Strict"
SECRET = {"kubeconfigSecretRef": {"namespace": "roadstead-system", "name": "region-x"}}


@pytest.fixture
def api(hub: BareCluster) -> Api:
    return Api(hub.kubeconfig)


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({}, id="a node pool"),
        pytest.param({"metadata.name": "1" * 23}, id="a name of 23 digits"),
        pytest.param({"spec.cluster": SECRET}, id="a member cluster"),
        pytest.param({"spec.cluster.inCluster.nodeSelector": {"topology.kubernetes.io/region": "x"}}, id="a selector"),
        pytest.param({"spec.jurisdiction": "US-CA"}, id="a subdivision"),
        pytest.param({"spec.jurisdiction": "XK"}, id="a code that users assign"),
        pytest.param({"spec.zones": ["a", "b"]}, id="zones"),
        pytest.param({"spec.scheduling": "Cordoned"}, id="cordoned"),
        pytest.param({"spec.probe": {"timeout": "500ms"}}, id="half a second"),
        pytest.param({"spec.probe": {"interval": "5s"}}, id="a timeout as long as the interval"),
        pytest.param({"spec.keyEncryption": {"publicKeys": [PUBLIC_KEY]}}, id="a public key"),
        pytest.param({"spec.keyEncryption": {"publicKeys": [PUBLIC_KEY, ANOTHER.strip()]}}, id="two public keys"),
        pytest.param(
            {"spec.keyEncryption": {"publicKeys": [PUBLIC_KEY.replace("\n", "\r\n")]}}, id="a public key from Windows"
        ),
    ],
)
def test_accepted_with_the_models_defaults(api: Api, edits: dict[str, Any]) -> None:
    body = region("api-region", **edits)
    stored = api.request("POST", f"{PATH}?{DRY}", body)
    expected = dump(parse("Region", body))["spec"]
    for empty in [key for key, value in expected.items() if value == []]:
        del expected[empty]
    if "inCluster" in expected["cluster"] and not expected["cluster"]["inCluster"]["nodeSelector"]:
        expected["cluster"]["inCluster"] = {}
    assert parse("Region", stored).spec == parse("Region", body).spec
    assert stored["spec"] == expected


@pytest.mark.parametrize(
    ("edits", "same_words"),
    [
        pytest.param({"metadata.name": "x" * 24}, True, id="a long name"),
        pytest.param({"metadata.name": "hkg.asia"}, True, id="a name with a dot"),
        pytest.param({"spec.cluster": {}}, True, id="no cluster"),
        pytest.param({"spec.cluster": {**SECRET, "inCluster": {}}}, True, id="two clusters"),
        pytest.param({"spec.cluster": {"kubeconfigSecretRef": {"name": "x"}}}, False, id="a Secret without namespace"),
        pytest.param({"spec.jurisdiction": "UK"}, True, id="no country"),
        pytest.param({"spec.jurisdiction": "hk"}, False, id="a country in small letters"),
        pytest.param({"spec.jurisdiction": ABSENT}, False, id="no jurisdiction"),
        pytest.param({"spec.zones": ["a", "a"]}, False, id="a zone twice"),
        pytest.param({"spec.scheduling": "cordoned"}, False, id="no such choice"),
        pytest.param({"spec.probe": {"interval": "2s", "timeout": "3s"}}, True, id="a timeout above the interval"),
        pytest.param({"spec.probe": {"interval": "4s"}}, True, id="the default timeout above the interval"),
        pytest.param({"spec.probe": {"interval": "999ms", "timeout": "200ms"}}, True, id="an interval below its bound"),
        pytest.param({"spec.probe": {"failureThreshold": 0}}, False, id="no failure at all"),
        pytest.param({"spec.cordoned": True}, False, id="a field that there is not"),
        *(pytest.param({"spec.keyEncryption": {"publicKeys": [key]}}, True, id=what) for what, key in NO_PUBLIC_KEYS),
        pytest.param({"spec.keyEncryption": {}}, False, id="no public keys"),
        pytest.param({"spec.keyEncryption": {"publicKeys": []}}, False, id="an empty list of public keys"),
        pytest.param({"spec.keyEncryption": {"publicKeys": [PUBLIC_KEY] * 2}}, False, id="a public key twice"),
        pytest.param({"spec.keyEncryption": {"publicKeys": ["a", "b", "c"]}}, False, id="three public keys"),
    ],
)
def test_refused_by_both(api: Api, edits: dict[str, Any], same_words: bool) -> None:
    body = region("api-region", **edits)
    with pytest.raises(SpecError) as problems:
        parse("Region", body, strict=True)
    with pytest.raises(ApiError) as caught:
        api.request("POST", f"{PATH}?{DRY}", body)
    assert caught.value.status in (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.BAD_REQUEST)
    for problem in problems.value.problems:
        assert re.sub(r"\[\d+\]|\.[^.]*$", "", problem.field).partition(" ")[0] in str(caught.value)
        if same_words:
            assert str(problem) in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"inCluster": {}}, SECRET, id="a node pool becomes a member"),
        pytest.param(SECRET, {"inCluster": {}}, id="a member becomes a node pool"),
    ],
)
def test_a_region_stays_what_it_is(api: Api, before: dict[str, Any], after: dict[str, Any]) -> None:
    api.request("POST", PATH, region("api-region", spec__cluster=before))
    try:
        body = region("api-region", spec__cluster=after)
        body["metadata"]["resourceVersion"] = api.request("GET", f"{PATH}/api-region")["metadata"]["resourceVersion"]
        with pytest.raises(ApiError, match=r"spec\.cluster changes from .*; write .* again"):
            api.request("PUT", f"{PATH}/api-region?dryRun=All", body)
        body["spec"] = region(spec__cluster=before, spec__jurisdiction="SG")["spec"]
        api.request("PUT", f"{PATH}/api-region?dryRun=All", body)
    finally:
        api.request("DELETE", f"{PATH}/api-region")
