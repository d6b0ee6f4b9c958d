"""The smallest Approval, and people who ask for one, approve it, or should not be able to."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from localkube.bare import BareCluster
from localkube.rest import Api
from specs import Body, edited

GROUP = "/apis/roadstead.dev/v1alpha1"
REQUESTER, APPROVER, OTHER = "alice@example.com", "bob@example.com", "carol@example.com"
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
