"""What the objects of one service in one region are called, and how they are told apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

from roadstead.api.chatservice import ChatService, Tls
from roadstead.chat.revisions import Revision
from roadstead.kernel import objects
from roadstead.kernel.objects import Child, Gvr

APP: Final = "chat"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of everything in one region, and the labels by which it is told apart."""

    service: str
    region: str
    namespace: str

    @property
    def base(self) -> str:
        """Of the workload and of most objects."""
        return f"{self.service}-{self.region}"

    @property
    def peers(self) -> str:
        """Of the headless Service."""
        return f"{self.base}-peers"

    @property
    def selector(self) -> dict[str, str]:
        """The three labels by which pods are selected; they never change."""
        return {
            "app.kubernetes.io/name": APP,
            "app.kubernetes.io/instance": self.service,
            objects.REGION_LABEL: self.region,
        }

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every object."""
        return {**self.selector, "app.kubernetes.io/component": "relay"}

    @property
    def keys(self) -> str:
        """Of the Role and the RoleBinding by which pods hand in their proofs."""
        return f"{self.base}-keys"

    def tls(self, tls: Tls) -> str:
        """Of the Secret with the certificate.

        Two names, so that a change from one source to the other never has two writers on one Secret.
        """
        return self.copied_tls if tls.secret_name is not None else self.issued_tls

    @property
    def copied_tls(self) -> str:
        """Of the Secret that is copied from the hub."""
        return f"{self.base}-tls"

    @property
    def issued_tls(self) -> str:
        """Of the Certificate, and of the Secret that its issuer makes."""
        return f"{self.base}-issued-tls"

    @property
    def network_policies(self) -> tuple[str, str]:
        """What denies everything, and what allows the rest."""
        return f"{self.base}-default-deny", f"{self.base}-allow"

    def config(self, revision: Revision) -> str:
        """The config map's name; empty when there is no configuration."""
        if not revision.spec.config:
            return ""
        content = orjson.dumps(revision.spec.config, option=orjson.OPT_SORT_KEYS)
        return f"{self.base}-config-{hashlib.sha256(content).hexdigest()[:8]}"

    def workload(self, service: ChatService) -> Gvr:
        """Whether the pods belong to a Deployment or a StatefulSet."""
        return objects.DEPLOYMENTS if service.spec.storage is None else objects.STATEFUL_SETS

    def child(self, gvr: Gvr, name: str, body: dict[str, Any]) -> Child:
        """An object of the service in this region."""
        return Child(gvr, self.namespace, name, body)
