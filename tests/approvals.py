"""The smallest Approval, and people who ask for one, approve it, or should not be able to."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clusters import eventually
from localkube.bare import BareCluster
from localkube.rest import Api
from localoperator import Operator, grant
from specs import Body, edited

GROUP = "/apis/roadstead.dev/v1alpha1"
REQUESTER, APPROVER, OTHER = "alice@example.com", "bob@example.com", "carol@example.com"
SPACE = "office"
UID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def in_(**delta: float) -> str:
    """A moment from now, as an Approval has it."""
    return (datetime.now(UTC) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def approval(name: str = "", namespace: str = "default", **edits: Any) -> Body:
    """What alice asks for, to be begun within the hour; ``edits`` as for :func:`specs.chat`."""
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Approval",
        "metadata": {"name": name or f"ask-{uuid.uuid4().hex[:8]}", "namespace": namespace},
        "spec": {
            "subject": {"kind": "KeyRing", "name": "chat", "uid": UID},
            "operation": "CompromiseVersion",
            "parameters": {"version": "7"},
            "reason": "incident 4711",
            "requestedBy": REQUESTER,
            "expiresAt": in_(hours=1),
        },
    }
    return edited(body, {path.replace("__", "."): value for path, value in edits.items()})


def says(*users: str, remark: str = "") -> Body:
    """The merge patch by which users approve."""
    return {"spec": {"approvals": dict.fromkeys(users, remark)}}


class Person:
    """Somebody with a client certificate: what they may do is granted to their name.

    Args:
        cluster: where.
        name: of the user.
        group: of the user; None: none but those that everybody is in.
    """

    def __init__(self, cluster: BareCluster, name: str, group: str | None = None) -> None:
        self.name = name
        self.kubeconfig = cluster.user_kubeconfig(name, group)
        self.api = Api(self.kubeconfig)

    def ask(self, body: Mapping[str, Any]) -> Body:
        """Make an Approval."""
        made: Body = self.api.request("POST", folder(body["metadata"]["namespace"]), body)
        return made

    def patch(self, body: Mapping[str, Any], patch: Mapping[str, Any], subresource: str = "") -> Body:
        """Merge something into an Approval."""
        answer: Body = self.api.request("PATCH", url(body) + subresource, patch)
        return answer

    def approve(self, body: Mapping[str, Any]) -> Body:
        """Write one's own name into an Approval."""
        return self.patch(body, says(self.name))


def folder(namespace: str) -> str:
    """Where Approvals are made."""
    return f"{GROUP}/namespaces/{namespace}/approvals"


def url(body: Mapping[str, Any]) -> str:
    """Where an Approval is."""
    return f"{folder(body['metadata']['namespace'])}/{body['metadata']['name']}"


def bind(cluster: BareCluster, user: str, role: str, namespace: str) -> None:
    """Grant a ClusterRole to a user in a namespace."""
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{role}-{uuid.uuid4().hex[:8]}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    cluster.api.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", body)


PROGRAM = (str(Path(__file__).with_name("approving_operator.py")),)
"""The operator with an operation for tests."""


class Office:
    """A hub where alice may ask and bob and carol approve, and an operator that can do one thing when they have.

    Args:
        hub: with our CRDs.
        kubeconfig: the operator's, when it is to pass a proxy.
    """

    def __init__(self, hub: BareCluster, kubeconfig: Path | None = None) -> None:
        self.hub = hub
        self._flags = ("--identity=the-only-one", *((f"--kubeconfig={kubeconfig}",) if kubeconfig else ()))
        self.operator: Operator | None = None
        grant(hub)
        hub.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        bind(hub, REQUESTER, "roadstead-edit", SPACE)
        for user in (APPROVER, OTHER):
            bind(hub, user, "roadstead-approve", SPACE)
        self.alice, self.bob, self.carol = (Person(hub, user) for user in (REQUESTER, APPROVER, OTHER))

    def start(self) -> Operator:
        """Start the operator, after the one that was there has gone."""
        self.stop()
        self.operator = Operator(self.hub, *self._flags, program=PROGRAM)
        return self.operator

    def stop(self) -> None:
        """Stop the operator, whatever state it is in."""
        if self.operator is not None:
            self.operator.stop()
            self.operator = None

    def ring(self, name: str) -> str:
        """Make a KeyRing without a region that there is; returns its uid."""
        spec = {"regions": ["nowhere"], "distribution": "Cleartext"}
        body = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "KeyRing", "metadata": {"name": name}, "spec": spec}
        made = self.hub.api.request("POST", f"{GROUP}/namespaces/{SPACE}/keyrings", body)
        return str(made["metadata"]["uid"])

    def ask(self, name: str, outcome: str = "done", **edits: Any) -> Body:
        """Alice asks for something to be left, in the name of a ring that is there then."""
        uid = "" if "spec__subject" in edits else self.ring(name)
        subject = {"kind": "KeyRing", "name": name, "uid": uid}
        asked: dict[str, Any] = {"spec__subject": subject, "spec__operation": "Leave"}
        return self.alice.ask(approval(name, SPACE, **asked | {"spec__parameters": {"outcome": outcome}} | edits))

    def status(self, body: Mapping[str, Any]) -> Body:
        """The status of an Approval now."""
        return dict(self.hub.api.request("GET", url(body)).get("status") or {})

    def wait(self, body: Mapping[str, Any], phase: str, **options: Any) -> Body:
        """Wait until an Approval is in a phase; returns its status."""

        def holds() -> Body:
            status = self.status(body)
            assert status.get("phase") == phase, status
            return status

        return eventually(holds, what=f"{body['metadata']['name']} is {phase}", **options)

    def left(self, body: Mapping[str, Any]) -> Body | None:
        """What the operator has left when it did what was asked for."""
        path = f"/api/v1/namespaces/{SPACE}/configmaps"
        found = {item["metadata"]["name"]: item for item in self.hub.api.request("GET", path)["items"]}
        return found.get(f"{body['metadata']['name']}-done")

    def events(self, body: Mapping[str, Any]) -> list[str]:
        """Type and reason of each event about an Approval, in order."""
        found = self.hub.api.request("GET", f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events")["items"]
        mine = [item for item in found if item["regarding"]["name"] == body["metadata"]["name"]]
        mine = [item for item in mine if item["regarding"]["kind"] == "Approval"]
        return [f"{item['type']} {item['reason']}" for item in sorted(mine, key=lambda item: str(item["eventTime"]))]
