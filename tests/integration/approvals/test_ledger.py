"""The ledger of keys: nobody deletes an entry, and no single person says of one that it was compromised."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from api_key_cases import Edits, key_version
from approvals import GROUP
from clusters import StartCluster, eventually, fresh_namespace
from localkube import rbac
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from localoperator import NAMESPACE, SERVICE_ACCOUNT, chart, grant
from specs import Body, edited

DELETES = "is an entry of a ledger, which nobody deletes: its number must never be used again; leave it"
MARKS = "status.mark becomes Compromised, which two people decide"
DRY = "?dryRun=All&fieldManager=somebody"


@pytest.fixture(scope="module")
def hub(start_cluster: StartCluster) -> Iterator[BareCluster]:
    """With the chart's policies."""
    cluster = start_cluster("ledger", with_crds=True, scheduler=False, kwok=False)
    grant(cluster)
    rules = [{"apiGroups": ["roadstead.dev"], "resources": ["keyversions"], "verbs": ["*"]}]
    path = "/apis/rbac.authorization.k8s.io/v1"
    cluster.api.request("POST", f"{path}/clusterroles", {"metadata": {"name": "ledger"}, "rules": rules})
    binding = {
        "metadata": {"name": "ledger"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ledger"},
        "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": n} for n in (SERVICE_ACCOUNT, "robot")],
    }
    cluster.api.request("POST", f"{path}/clusterrolebindings", binding)
    eventually(lambda: "which nobody deletes" in refusal(lambda: delete(cluster.api, made(cluster, "default"))))
    yield cluster


@pytest.fixture
def people(hub: BareCluster) -> dict[str, Api]:
    """Whoever has every right on KeyVersions: an administrator, the operator, another ServiceAccount."""
    accounts = (SERVICE_ACCOUNT, "robot")
    named = {name: Api(rbac.service_account_kubeconfig(hub, NAMESPACE, name)) for name in accounts}
    return {"admin": hub.api, **named}


def made(hub: BareCluster, namespace: str, **edits: object) -> Body:
    """An entry, made anew where it is not there."""
    body = key_version(namespace=namespace, **edits)
    path = f"{GROUP}/namespaces/{namespace}/keyversions"
    hub.api.create(path, body)
    stored: Body = hub.api.request("GET", f"{path}/{body['metadata']['name']}")
    return stored


def url(body: Body) -> str:
    return f"{GROUP}/namespaces/{body['metadata']['namespace']}/keyversions/{body['metadata']['name']}"


def delete(api: Api, body: Body) -> None:
    api.request("DELETE", url(body) + DRY)


def refusal(act: Callable[[], object]) -> str:
    """The API server's words; empty when it lets it be done."""
    try:
        act()
    except ApiError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("who", ["admin", SERVICE_ACCOUNT, "robot"])
def test_nobody_deletes_an_entry(hub: BareCluster, people: dict[str, Api], who: str) -> None:
    body = made(hub, "default")
    assert DELETES in refusal(lambda: delete(people[who], body))
    folder = url(body).rpartition("/")[0]
    assert DELETES in refusal(lambda: people[who].request("DELETE", folder)), "nor all of them"
    assert hub.api.request("GET", url(body))["metadata"]["uid"] == body["metadata"]["uid"]


def test_an_owner_that_somebody_gives_it_does_not_take_it_away(hub: BareCluster) -> None:
    namespace = fresh_namespace(hub)
    body = made(hub, namespace)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}
    folder = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = hub.api.request("POST", folder, config)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    hub.api.request("PATCH", url(body), {"metadata": {"ownerReferences": [reference]}})
    witness = edited(config, {"metadata.name": "witness", "metadata.ownerReferences": [reference]})
    hub.api.request("POST", folder, witness)
    hub.api.request("DELETE", f"{folder}/owner")
    eventually(lambda: refusal(lambda: hub.api.request("GET", f"{folder}/witness")), what="the collector was here")
    assert hub.api.request("GET", url(body))["metadata"]["uid"] == body["metadata"]["uid"]


def test_a_namespace_takes_its_ledger_with_it(hub: BareCluster) -> None:
    """It must not hang for ever, and whoever may delete it may delete everything in it."""
    namespace = fresh_namespace(hub)
    made(hub, namespace)
    hub.api.request("DELETE", f"/api/v1/namespaces/{namespace}")
    eventually(lambda: refusal(lambda: hub.api.request("GET", f"/api/v1/namespaces/{namespace}")), deadline=40)


PUT: list[tuple[str, Edits, Edits, str, bool]] = [
    ("a fresh one becomes compromised", {}, {"status.mark": "Compromised"}, "admin", False),
    ("another account says so", {}, {"status.mark": "Compromised"}, "robot", False),
    ("the operator says so", {}, {"status.mark": "Compromised"}, SERVICE_ACCOUNT, True),
    ("a suspended one", {"status.mark": "Suspended"}, {"status.mark": "Compromised"}, "admin", False),
    ("a person suspends it", {}, {"status.mark": "Suspended"}, "admin", True),
    ("a person takes that back", {"status.mark": "Suspended"}, {"status.mark": ""}, "admin", True),
    ("a person wants it returned", {}, {"status.returned": True}, "admin", True),
    (
        "something else of a compromised one",
        {"status.mark": "Compromised"},
        {"status.returned": True},
        "admin",
        True,
    ),
    ("the operator moves it", {}, {"status.phase": "Staged"}, SERVICE_ACCOUNT, True),
]


@pytest.mark.parametrize(("word", "before", "after", "who", "allowed"), [pytest.param(*c, id=c[0]) for c in PUT])
def test_who_says_what(
    hub: BareCluster, people: dict[str, Api], word: str, before: Edits, after: Edits, who: str, allowed: bool
) -> None:
    name = f"chat-v{len(word) + 100}"
    body = made(hub, "default", metadata__name=name, spec__number=len(word) + 100, **before)
    said = refusal(lambda: people[who].request("PUT", url(body) + DRY, edited(body, after)))
    assert (said == "") is allowed, said
    assert allowed or MARKS in said


def test_a_backup_brings_a_compromised_one_back(hub: BareCluster, people: dict[str, Api]) -> None:
    body = key_version(metadata__name="chat-v77", spec__number=77, status__mark="Compromised")
    folder = f"{GROUP}/namespaces/default/keyversions"
    assert people["admin"].request("POST", folder + DRY, body)["status"]["mark"] == "Compromised"


@pytest.mark.parametrize("index", [0, 1], ids=["deleting", "marking"])
def test_each_line_guards_what_no_other_does(hub: BareCluster, people: dict[str, Api], index: int) -> None:
    policies = (b for b in chart() if b["kind"] == "ValidatingAdmissionPolicy")
    policy = next(b for b in policies if b["metadata"]["name"] == "roadstead-keyversions")
    lines = policy["spec"]["validations"]
    body = made(hub, "default")
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/roadstead-keyversions"

    def open_doors() -> list[bool]:
        marked = edited(body, {"status.mark": "Compromised"})
        tries = (lambda: delete(hub.api, body), lambda: hub.api.request("PUT", url(body) + DRY, marked))
        return [not refusal(act) for act in tries]

    try:
        mutant = edited(policy, {"spec.validations": [line for n, line in enumerate(lines) if n != index]})
        hub.api.request("APPLY", f"{path}?fieldManager=test&force=true", mutant)
        eventually(lambda: open_doors() == [index == 0, index == 1])
    finally:
        hub.api.request("APPLY", f"{path}?fieldManager=test&force=true", policy)
        eventually(lambda: open_doors() == [False, False])
