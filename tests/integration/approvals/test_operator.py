"""What the operator makes of Approvals, with its own rights, on a real API server; people have their certificates."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from approvals import APPROVER, OTHER, REQUESTER, SPACE, UID, Office, Person, bind, in_, url
from clusters import StartCluster, eventually, kubectl
from localkube.rest import ApiError
from localoperator import chart
from roadstead.cli.app import app
from roadstead.cli.exits import ExitCode
from specs import Body
from worlds import condition_of


@pytest.fixture(scope="module")
def office(start_cluster: StartCluster) -> Iterator[Office]:
    """With a running operator; a test that stops it starts it again."""
    made = Office(start_cluster("office", with_crds=True, scheduler=False, kwok=False))
    try:
        made.start().wait_leading()
        yield made
        assert made.operator is not None
        assert made.operator.metric("controller_runtime_reconcile_panics_total") == 0, "an error that nobody foresaw"
    finally:
        made.stop()


def test_what_two_people_want_is_done(office: Office) -> None:
    body = office.ask("honest")
    status = office.wait(body, "Pending")
    assert status["message"] == "waits for 1 more approval: roadstead approve honest"
    assert status["approved"] == "0/1"
    assert office.left(body) is None
    office.bob.approve(body)
    kubectl(office.hub, "-n", SPACE, "wait", "approval/honest", "--for=condition=Ready", "--timeout=15s")
    kubectl(office.hub, "-n", SPACE, "wait", "approval/honest", "--for=jsonpath={.status.phase}=Done", "--timeout=1s")
    status = office.status(body)
    assert (status["phase"], status["approved"], status["message"]) == ("Done", "1/1", "left honest-done")
    assert status["consumedAt"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    left = office.left(body)
    assert left is not None
    assert left["data"] == {
        "subject": body["spec"]["subject"]["uid"],
        "uid": body["metadata"]["uid"],
        "requestedBy": REQUESTER,
        "approvedBy": APPROVER,
    }
    phases = ["AwaitingApproval", "Approved", "Executing", "Done"]
    eventually(lambda: office.events(body) == [f"Normal {phase}" for phase in phases])
    shown = kubectl(office.hub, "-n", SPACE, "get", "appr", "honest").split("\n")
    assert shown[0].split() == ["NAME", "SUBJECT", "OPERATION", "PHASE", "APPROVED", "EXPIRES", "AGE"]
    assert shown[1].split()[:6] == ["honest", "honest", "Leave", "Done", "1/1", body["spec"]["expiresAt"]]


def test_two_are_asked_for_and_one_is_not_enough(office: Office) -> None:
    body = office.ask("careful", spec__required=2)
    office.bob.approve(body)
    status = eventually(lambda: one_of_two(office, body))
    assert status["message"] == "waits for 1 more approval: roadstead approve careful"
    assert office.left(body) is None
    office.carol.approve(body)
    office.wait(body, "Done")
    left = office.left(body)
    assert left is not None
    assert left["data"]["approvedBy"] == f"{APPROVER} {OTHER}"


def one_of_two(office: Office, body: Any) -> Any:
    status = office.status(body)
    assert (status.get("phase"), status.get("approved")) == ("Pending", "1/2")
    return status


def test_what_is_done_is_done_once_and_keeps_what_it_says(office: Office) -> None:
    body = office.ask("once")
    office.bob.approve(body)
    record = office.wait(body, "Done")
    office.hub.api.request("DELETE", f"/api/v1/namespaces/{SPACE}/configmaps/once-done")
    with pytest.raises(ApiError, match=r"spec\.approvals gains a name, but the Approval is Done; leave it"):
        office.carol.approve(body)
    office.alice.patch(body, {"metadata": {"labels": {"look": "again"}}})
    office.start().wait_leading()
    office.bob.patch(body, {"metadata": {"labels": {"look": "once-more"}}})
    another = office.ask("another")
    office.bob.approve(another)
    office.wait(another, "Done")
    assert office.left(body) is None
    assert office.status(body) == record


def test_it_is_carried_on_until_it_is_done(office: Office) -> None:
    body = office.ask("slow", "later")
    office.bob.approve(body)
    assert office.wait(body, "Executing")["consumedAt"]
    eventually(lambda: office.status(body)["message"] == "waits for its time")
    assert office.wait(body, "Done", deadline=30)["message"] == "left slow-done"


def test_an_error_is_told_and_tried_again(office: Office) -> None:
    body = office.ask("hard", "failure")
    office.bob.approve(body)
    eventually(lambda: office.status(body).get("message") == "the hub answered 500: no; it is tried again")
    assert office.wait(body, "Done", deadline=30)["message"] == "left hard-done"


def test_what_cannot_be_done_is_refused_for_ever(office: Office) -> None:
    body = office.ask("hopeless", "impossible")
    office.bob.approve(body)
    status = office.wait(body, "Refused")
    assert status["message"] == "it cannot be left; leave it"
    stalled = condition_of({"status": status}, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "Refused")
    assert office.events(body)[-1] == "Warning Refused"


REFUSED: list[Any] = [
    pytest.param(
        {"spec__operation": "Sink"},
        "spec.operation is Sink, which is no operation of a KeyRing; make another Approval with Leave",
        id="an operation that there is not",
    ),
    pytest.param(
        {"spec__subject": {"kind": "Boat", "name": "x", "uid": "1b4e28ba-2fa1-41d2-883f-0016d3cca427"}},
        "spec.subject.kind is Boat, a kind of which nothing can be asked; make another Approval with KeyRing",
        id="a kind that there is not",
    ),
    pytest.param(
        {"spec__parameters": {"outcome": "best"}},
        "spec.parameters.outcome is best, none of done, later, impossible, failure; make another Approval with one of",
        id="a parameter that is no good",
    ),
    pytest.param(
        {"spec__parameters": {"outcome": "done", "twice": "true"}},
        "spec.parameters.outcome is done, none of",
        id="a parameter that nobody asks for",
    ),
    pytest.param(
        {"spec__subject": {"kind": "KeyRing", "name": "absent", "uid": "1b4e28ba-2fa1-41d2-883f-0016d3cca427"}},
        "spec.subject.name is absent, but there is no KeyRing absent in this namespace; make another Approval for one",
        id="a subject that is not there",
    ),
]


@pytest.mark.parametrize(("edits", "words"), REFUSED)
def test_what_is_worthless_is_refused_before_anybody_approves_it(office: Office, edits: Any, words: str) -> None:
    body = office.ask(f"worthless-{uuid.uuid4().hex[:8]}", **edits)
    status = office.wait(body, "Refused")
    assert status["message"].startswith(words)
    with pytest.raises(ApiError, match="but the Approval is Refused"):
        office.bob.approve(body)


def test_a_subject_that_was_made_again_is_another(office: Office) -> None:
    body = office.ask("phoenix")
    office.wait(body, "Pending")
    path = f"/apis/roadstead.dev/v1alpha1/namespaces/{SPACE}/keyrings/phoenix"
    office.hub.api.request("DELETE", path)
    eventually(lambda: not_there(office, path))
    uid = office.ring("phoenix")
    office.bob.approve(body)
    status = office.wait(body, "Refused")
    old = body["spec"]["subject"]["uid"]
    assert status["message"] == (
        f"spec.subject.uid is {old}, but the KeyRing phoenix that is there has the uid {uid}; "
        "make another Approval if that one is meant"
    )
    assert office.left(body) is None


def not_there(office: Office, path: str) -> bool:
    try:
        office.hub.api.request("GET", path)
    except ApiError as error:
        return error.status == 404
    return False


def test_what_nobody_approves_expires(office: Office) -> None:
    body = office.ask("late", spec__expiresAt=in_(seconds=3))
    assert office.wait(body, "Expired")["message"].endswith("which is past; make another Approval")
    with pytest.raises(ApiError, match="but the Approval is Expired"):
        office.bob.approve(body)


def test_what_is_approved_in_time_and_begun_too_late_expires(office: Office) -> None:
    """The operator is away for as long as the Approval was good for."""
    office.stop()
    body = office.ask("overslept", spec__expiresAt=in_(seconds=3))
    office.bob.approve(body)
    eventually(lambda: in_(seconds=0) > body["spec"]["expiresAt"])
    office.start().wait_leading()
    office.wait(body, "Expired")
    assert office.left(body) is None


def test_nothing_is_begun_where_forged_names_are_not_refused(office: Office) -> None:
    """Somebody has taken the binding of the policy away, and writes what they like."""
    binding = next(
        b for b in chart() if b["kind"].endswith("PolicyBinding") and b["metadata"]["name"].endswith("approvals")
    )
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    office.hub.api.request("DELETE", f"{path}/{binding['metadata']['name']}")
    try:
        subject = {"kind": "KeyRing", "name": "forged", "uid": office.ring("forged")}
        body = eventually(lambda: forged(office, subject)) or {}
        status = office.wait(body, "Refused")
        assert condition_of({"status": status}, "Ready")["reason"] == "NotEnforced"
        assert (
            "; install the chart's ValidatingAdmissionPolicies and their bindings, then make another"
            in status["message"]
        )
        assert office.left(body) is None
    finally:
        office.hub.api.request("POST", path, binding)
    eventually(lambda: refused(office, subject))


def unlabelled_is_refused(office: Office) -> bool:
    try:
        office.hub.api.request(
            "DELETE", url(office.ask("unlabelled", spec__subject={"kind": "KeyRing", "name": "x", "uid": UID}))
        )
    except ApiError as error:
        return "has no owner" in str(error)
    return False


def forged(office: Office, subject: Body) -> Body | None:
    """An Approval that alice has made with bob's name in it; None when it is refused."""
    try:
        return office.ask("forged", spec__subject=subject, spec__approvals={APPROVER: ""})
    except ApiError:
        return None


def refused(office: Office, subject: Body) -> bool:
    try:
        office.hub.api.request("DELETE", url({"metadata": {"namespace": SPACE, "name": "forged"}}))
    except ApiError as error:
        assert error.status == 404, error
    return forged(office, subject) is None


# --- the command line


def run(person: Person, *arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    environment = {"KUBECONFIG": str(person.kubeconfig), "COLUMNS": "200", "NO_COLOR": "1"}
    result = CliRunner().invoke(app, [*arguments, f"--namespace={SPACE}"], input=stdin, env=environment)
    assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def test_a_person_approves_by_the_command_line(office: Office) -> None:
    body = office.ask("spoken", spec__required=2)
    office.wait(body, "Pending")
    listed = run(office.bob, "approvals").stdout
    assert listed.splitlines()[1].split()[:6] == [f"{SPACE}/spoken", "Pending", "0/2", "Leave", "KeyRing", "spoken"]
    assert "nobody is here to be asked; say --yes" in run(office.bob, "approve", "spoken", code=ExitCode.USAGE).stderr
    said = run(office.bob, "approve", "spoken", "--yes", "--remark=looked twice")
    assert f"Subject       KeyRing spoken (uid {body['spec']['subject']['uid']})" in said.stderr
    assert said.stdout == f"{SPACE}/spoken is approved by {APPROVER}: 1 of 2\nIt waits for 1 more.\n"
    again = run(office.bob, "approve", "spoken", "--yes").stdout
    assert again.startswith(f"{SPACE}/spoken is approved by {APPROVER} already: 1 of 2\n")
    mine = run(office.alice, "approve", "spoken", "--yes", code=ExitCode.REFUSED).stderr
    assert f"was asked for by you, {REQUESTER}; somebody else has to approve it" in mine
    run(office.carol, "approve", "spoken", "--yes", "-o", "json")
    office.wait(body, "Done")
    assert office.hub.api.request("GET", url(body))["spec"]["approvals"] == {APPROVER: "looked twice", OTHER: ""}
    late = run(office.carol, "approve", "spoken", "--yes").stdout
    assert late == f"{SPACE}/spoken is approved by {OTHER} already: 2 of 2\n"
    absent = run(office.bob, "approve", "absent", "--yes", code=ExitCode.NOT_FOUND).stderr
    assert f"Approval {SPACE}/absent does not exist; name its namespace with -n" in absent


def test_the_command_line_tells_why_a_person_may_not(office: Office) -> None:
    editor = Person(office.hub, "dave@example.com")
    bind(office.hub, editor.name, "roadstead-edit", SPACE)
    body = office.ask("unheard")
    office.wait(body, "Pending")
    eventually(lambda: run(editor, "approvals"))
    said = run(editor, "approve", "unheard", "--yes", code=ExitCode.REFUSED).stderr
    assert "who may not approve; ask for the verb approve on approvals.roadstead.dev" in said


def test_another_policys_refusal_does_not_stand_for_ours(office: Office) -> None:
    """It refuses what the operator asks for in a dry run, and nothing else; ours is not in force."""
    binding = next(
        b for b in chart() if b["kind"].endswith("PolicyBinding") and b["metadata"]["name"].endswith("approvals")
    )
    group = "/apis/admissionregistration.k8s.io/v1"
    bindings, policies = f"{group}/validatingadmissionpolicybindings", f"{group}/validatingadmissionpolicies"
    rule = {"apiGroups": ["roadstead.dev"], "apiVersions": ["*"], "resources": ["approvals"], "operations": ["CREATE"]}
    everybody_must = {
        "metadata": {"name": "owner"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "has(object.metadata.labels)", "message": "metadata.labels has no owner"}],
        },
    }
    bound = {"metadata": {"name": "owner"}, "spec": {"policyName": "owner", "validationActions": ["Deny"]}}
    labels = {"owner": "us"}
    office.hub.api.request("POST", policies, everybody_must)
    office.hub.api.request("POST", bindings, bound)
    try:
        eventually(lambda: unlabelled_is_refused(office))
        office.hub.api.request("DELETE", f"{bindings}/{binding['metadata']['name']}")
        subject = {"kind": "KeyRing", "name": "ruled", "uid": office.ring("ruled")}

        def asked() -> Body | None:
            try:
                return office.ask(
                    "ruled", metadata__labels=labels, spec__subject=subject, spec__approvals={APPROVER: ""}
                )
            except ApiError:
                return None

        body = eventually(asked) or {}

        def told() -> bool:
            status = office.status(body)
            assert "metadata.labels has no owner" in status.get("message", ""), status
            assert status["phase"] == "Pending", status
            return True

        eventually(told)
        assert office.left(body) is None
    finally:
        for path in (f"{bindings}/owner", f"{policies}/owner"):
            office.hub.api.request("DELETE", path)
        office.hub.api.request("POST", bindings, binding)
    eventually(lambda: refused(office, {"kind": "KeyRing", "name": "forged", "uid": office.ring("forged-2")}))
    eventually(lambda: not unlabelled_is_refused(office))  # the API server forgets a policy a moment after it is gone
