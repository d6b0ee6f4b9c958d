"""Every forgery of an Approval, by people with certificates of their own before a real API server; and what guards it.

All of it in dry runs, so that the same forgeries can be tried again and again: with the chart's policy, and with each
of its lines taken out. A line that guards nothing, and a forgery that two lines guard, are both seen.
"""

from __future__ import annotations

import http
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from approvals import APPROVER, OTHER, REQUESTER, Person, approval, bind, folder, in_, says, url
from clusters import CRD_FOLDER, StartCluster, eventually
from localkube import certificates, rbac
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from localoperator import NAMESPACE, SERVICE_ACCOUNT, chart, grant
from specs import Body, edited

DRY = "?dryRun=All&fieldManager=somebody"
EVERYTHING_BUT_APPROVE = "patches-all"
ROBOT = f"system:serviceaccount:{NAMESPACE}:robot"


@dataclass(frozen=True)
class Scene:
    """Who there is, and what they have asked for.

    ``pending`` was asked for by alice; ``signed`` too, and bob has approved it, one of two.
    """

    cluster: BareCluster
    people: Mapping[str, Api]
    pending: Body
    signed: Body

    def create(self, who: str, **edits: Any) -> Body:
        """Ask for something in a dry run."""
        path = folder("default") + DRY
        answer: Body = self.people[who].request("POST", path, approval(**{"spec__requestedBy": who, **edits}))
        return answer

    def patch(self, who: str, body: Body, patch: Mapping[str, Any], subresource: str = "") -> Body:
        """Merge something in, in a dry run."""
        answer: Body = self.people[who].request("PATCH", url(body) + subresource + DRY, patch)
        return answer


Forgery = Callable[[Scene], object]


def changed(path: str, value: Any) -> Forgery:
    """Bob, who may patch, wants something else than alice has asked for."""
    patch = edited({}, {path: value})
    return lambda scene: scene.patch(APPROVER, scene.pending, patch)


FORGERIES: dict[str, tuple[str, Forgery]] = {
    "asking in another's name": ("requestedBy", lambda s: s.create(OTHER, spec__requestedBy=REQUESTER)),
    "asking in another's name, as administrator": (
        "requestedBy",
        lambda s: s.create("admin", spec__requestedBy=REQUESTER),
    ),
    "asking as a ServiceAccount": ("asks as a ServiceAccount", lambda s: s.create(ROBOT)),
    "one's own approval in it from the start": (
        "from the start",
        lambda s: s.create(REQUESTER, spec__approvals={REQUESTER: ""}),
    ),
    "another's approval in it from the start": (
        "from the start",
        lambda s: s.create(REQUESTER, spec__approvals={APPROVER: ""}),
    ),
    "worthless when it is asked for": ("past", lambda s: s.create(REQUESTER, spec__expiresAt=in_(seconds=-5))),
    "good for ever": ("30 days", lambda s: s.create(REQUESTER, spec__expiresAt=in_(days=31))),
    "approving in another's name": ("not yours", lambda s: s.patch(APPROVER, s.pending, says(OTHER))),
    "approving for oneself and another": ("not yours", lambda s: s.patch(APPROVER, s.pending, says(APPROVER, OTHER))),
    "approving in another's name, by apply": (
        "not yours",
        lambda s: s.people[APPROVER].request(
            "APPLY",
            url(s.pending) + DRY,
            {key: s.pending[key] for key in ("apiVersion", "kind")}
            | {"metadata": {"name": s.pending["metadata"]["name"]}}
            | says(OTHER),
        ),
    ),
    "approving in another's name, by replacing it all": (
        "not yours",
        lambda s: s.people[APPROVER].request(
            "PUT", url(s.pending) + DRY, edited(s.pending, {"spec.approvals": {OTHER: ""}})
        ),
    ),
    "approving what one has asked for": ("whoever asked", lambda s: s.patch(REQUESTER, s.pending, says(REQUESTER))),
    "approving as a ServiceAccount": ("ServiceAccount, behind", lambda s: s.patch(ROBOT, s.pending, says(ROBOT))),
    "approving without the verb": (
        "may not approve",
        lambda s: s.patch(EVERYTHING_BUT_APPROVE, s.pending, says(EVERYTHING_BUT_APPROVE)),
    ),
    "a status by a person": (
        "written by the operator only",
        lambda s: s.patch(EVERYTHING_BUT_APPROVE, s.pending, {"status": {"phase": "Pending"}}, "/status"),
    ),
    "a status by an administrator": (
        "written by the operator only",
        lambda s: s.patch("admin", s.pending, {"status": {"phase": "Approved"}}, "/status"),
    ),
    "taking another's approval away": (
        "loses or changes",
        lambda s: s.patch(OTHER, s.signed, {"spec": {"approvals": {APPROVER: None}}}),
    ),
    "taking another's approval away, as administrator": (
        "loses or changes",
        lambda s: s.patch("admin", s.signed, {"spec": {"approvals": None}}),
    ),
    "putting one's own approval for another's": (
        "loses or changes",
        lambda s: s.patch(OTHER, s.signed, {"spec": {"approvals": {APPROVER: None, OTHER: ""}}}),
    ),
    "changing what another has said": (
        "loses or changes",
        lambda s: s.patch(OTHER, s.signed, says(APPROVER, remark="without having looked")),
    ),
    "another subject": ("something else", changed("spec.subject.name", "claims")),
    "another object of that name": (
        "something else",
        changed("spec.subject.uid", "0" * 8 + "-0000" * 3 + "-" + "0" * 12),
    ),
    "another operation": ("something else", changed("spec.operation", "RemoveVersions")),
    "other parameters": ("something else", changed("spec.parameters.version", "8")),
    "one parameter more": ("something else", changed("spec.parameters.shred", "true")),
    "no parameters": ("something else", changed("spec.parameters", None)),
    "another reason": ("something else", changed("spec.reason", "because")),
    "another requester": ("something else", changed("spec.requestedBy", OTHER)),
    "a later expiry": ("something else", changed("spec.expiresAt", in_(hours=2))),
    "fewer approvals": (
        "something else",
        lambda s: s.patch(OTHER, s.signed, {"spec": {"required": 1}}),
    ),
    "other parameters together with one's approval": (
        "something else",
        lambda s: s.patch(APPROVER, s.pending, edited(says(APPROVER), {"spec.parameters.version": "8"})),
    ),
}
"""What is tried, and a word of the line that refuses it."""

LINES = (
    "requestedBy",
    "asks as a ServiceAccount",
    "from the start",
    "past",
    "30 days",
    "not yours",
    "whoever asked",
    "ServiceAccount, behind",
    "may not approve",
    "written by the operator only",
)
"""The lines of the policy, in its order, by a word of each."""
RULES = ("something else", "loses or changes")
"""The rules of the CustomResourceDefinition, in the same way."""
WORDS = {"asks as a ServiceAccount": "spec.requestedBy is a ServiceAccount"}


@pytest.fixture(scope="module")
def scene(start_cluster: StartCluster) -> Iterator[Scene]:
    """People, each with one role of the chart, and two Approvals."""
    cluster = start_cluster("approvals", with_crds=True, scheduler=False, kwok=False)
    grant(cluster)
    for user in (REQUESTER, OTHER, ROBOT):
        bind(cluster, user, "roadstead-edit", "default")
    for user in (APPROVER, OTHER, REQUESTER, ROBOT):
        bind(cluster, user, "roadstead-approve", "default")
    rules = [{"apiGroups": ["roadstead.dev"], "resources": ["approvals", "approvals/status"], "verbs": ["patch"]}]
    role = {"metadata": {"name": EVERYTHING_BUT_APPROVE}, "rules": rules}
    cluster.api.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    bind(cluster, EVERYTHING_BUT_APPROVE, EVERYTHING_BUT_APPROVE, "default")
    people = {name: Person(cluster, name) for name in (REQUESTER, APPROVER, OTHER, EVERYTHING_BUT_APPROVE)}
    token = rbac.service_account_token(cluster.api, NAMESPACE, "robot")
    robot = certificates.write_kubeconfig(
        cluster.directory / "robot", url=cluster.url, authority=cluster.api.authority, name="robot", token=token
    )
    alice, bob = people[REQUESTER], people[APPROVER]
    pending = eventually(lambda: alice.ask(approval("pending")))
    alice.ask(approval("signed", spec__required=2))
    signed = bob.approve(approval("signed"))
    everybody = {name: person.api for name, person in people.items()}
    yield Scene(cluster, everybody | {ROBOT: Api(robot), "admin": cluster.api}, pending, signed)


def refusal(scene: Scene, forgery: Forgery) -> str:
    """The API server's words; empty when it takes the forgery."""
    try:
        forgery(scene)
    except ApiError as error:
        assert error.status == http.HTTPStatus.UNPROCESSABLE_ENTITY, error
        return str(error)
    return ""


def accepted(scene: Scene) -> set[str]:
    """The forgeries that the API server takes."""
    return {name for name, (_, forgery) in FORGERIES.items() if not refusal(scene, forgery)}


@pytest.mark.parametrize("name", FORGERIES)
def test_it_is_refused(scene: Scene, name: str) -> None:
    word, forgery = FORGERIES[name]
    said = refusal(scene, forgery)
    assert WORDS.get(word, word) in said
    assert "; " in said, "cause and cure"


def test_what_is_honest_is_taken(scene: Scene) -> None:
    scene.create(REQUESTER)
    scene.create("admin", spec__required=8, spec__expiresAt=in_(days=29))
    assert scene.patch(APPROVER, scene.pending, says(APPROVER, remark="ok"))["spec"]["approvals"] == {APPROVER: "ok"}
    assert scene.patch(OTHER, scene.signed, says(OTHER))["spec"]["approvals"] == {APPROVER: "", OTHER: ""}
    assert scene.patch("admin", scene.signed, says("admin"))["spec"]["approvals"] == {APPROVER: "", "admin": ""}
    assert scene.patch(APPROVER, scene.signed, says(APPROVER)), "once more changes nothing"
    assert scene.patch(OTHER, scene.signed, {"metadata": {"labels": {"seen": "yes"}}})


def test_a_status_that_is_written_from_the_start_is_dropped(scene: Scene) -> None:
    assert "status" not in scene.create(REQUESTER, status={"phase": "Done"})


def test_the_operator_writes_the_status_and_no_name(scene: Scene) -> None:
    token = rbac.service_account_kubeconfig(scene.cluster, NAMESPACE, SERVICE_ACCOUNT)
    operator = Scene(scene.cluster, {SERVICE_ACCOUNT: Api(token)}, scene.pending, scene.signed)
    assert operator.patch(SERVICE_ACCOUNT, scene.pending, {"status": {"phase": "Pending"}}, "/status")
    with pytest.raises(ApiError, match="cannot patch resource"):
        operator.patch(SERVICE_ACCOUNT, scene.pending, says(SERVICE_ACCOUNT))
    with pytest.raises(ApiError, match=r"spec\.requestedBy is a ServiceAccount"):
        operator.create(SERVICE_ACCOUNT, spec__requestedBy=f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}")


@pytest.mark.parametrize(
    ("user", "may_not"),
    [
        pytest.param(REQUESTER + ".viewer", ("create", "patch", "approve", "delete"), id="a viewer only looks"),
        pytest.param(REQUESTER + ".editor", ("approve",), id="an editor asks"),
        pytest.param(REQUESTER + ".approver", ("create", "delete"), id="an approver approves"),
    ],
)
def test_a_role_gives_what_it_says(scene: Scene, user: str, may_not: tuple[str, ...]) -> None:
    role = {"viewer": "view", "editor": "edit", "approver": "approve"}[user.rpartition(".")[2]]
    bind(scene.cluster, user, f"roadstead-{role}", "default")
    person = Person(scene.cluster, user)

    def allowed(verb: str) -> bool:
        attributes = {"namespace": "default", "verb": verb, "group": "roadstead.dev", "resource": "approvals"}
        review = {"spec": {"resourceAttributes": attributes}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(person.api.request("POST", path, review)["status"]["allowed"])

    eventually(lambda: allowed("get"))
    verbs = ("get", "list", "watch", "create", "patch", "approve", "delete")
    expected = {"viewer": 3, "editor": 6, "approver": 5}[user.rpartition(".")[2]]
    assert [verb for verb in verbs if not allowed(verb)] == list(may_not)
    assert sum(map(allowed, verbs)) == expected


def policy() -> Body:
    return next(
        body for body in chart() if body["metadata"]["name"] == "roadstead-approvals" and "validations" in body["spec"]
    )


def apply_policy(scene: Scene, body: Body) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/roadstead-approvals"
    scene.cluster.api.request("APPLY", f"{path}?fieldManager=test&force=true", body)


def test_the_lines_are_those_that_are_taken_out_below() -> None:
    lines = policy()["spec"]["validations"]
    assert len(lines) == len(LINES)
    for line, word in zip(lines, LINES, strict=True):
        assert WORDS.get(word, word) in line.get("message", "") + line.get("messageExpression", "") + line["expression"]


@pytest.mark.parametrize("word", LINES)
def test_each_line_guards_what_no_other_does(scene: Scene, word: str) -> None:
    body = policy()
    del body["spec"]["validations"][LINES.index(word)]
    expected = {name for name, (guard, _) in FORGERIES.items() if guard == word}
    assert expected
    apply_policy(scene, body)
    try:
        eventually(
            lambda: accepted(scene) == expected, interval=0.3, what=f"{word} guards {expected}, and nothing else"
        )
    finally:
        apply_policy(scene, policy())
        eventually(lambda: not accepted(scene), interval=0.3, what="the whole policy is in force again")


@pytest.mark.parametrize("word", RULES)
def test_each_rule_guards_what_no_other_does(scene: Scene, word: str) -> None:
    definition = yaml.safe_load((CRD_FOLDER / "roadstead.dev_approvals.yaml").read_text())
    without = deepcopy(definition)
    root = without["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    count = 0
    for place in (root, root["properties"]["spec"]):
        rules = place["x-kubernetes-validations"]
        place["x-kubernetes-validations"] = [rule for rule in rules if word not in rule["message"]]
        count += len(rules) - len(place["x-kubernetes-validations"])
    assert count == 1
    expected = {name for name, (guard, _) in FORGERIES.items() if guard == word}
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}?force=true"
    try:
        scene.cluster.api.request("APPLY", f"{path}&fieldManager=localkube", without)
        eventually(
            lambda: accepted(scene) == expected, interval=0.3, what=f"{word} guards {expected}, and nothing else"
        )
    finally:
        scene.cluster.api.request("APPLY", f"{path}&fieldManager=localkube", definition)
        eventually(lambda: not accepted(scene), interval=0.3, what="all rules are in force again")
