"""What makes a cluster a region: its kubeconfig with the least rights, the Secret and the Region. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from roadstead.api.kinds import API_VERSION

TOKEN_TYPE: Final = "kubernetes.io/service-account-token"  # noqa: S105 - a type's name
ACCOUNT_ANNOTATION: Final = "kubernetes.io/service-account.name"
MEMBER_LABELS: Final = "app.kubernetes.io/part-of=roadstead,app.kubernetes.io/component=member"
"""What the chart puts on the ServiceAccount of the member profile."""
KEY: Final = "kubeconfig"


@dataclass(frozen=True, slots=True)
class Wish:
    """The Region that a person asks for."""

    name: str
    jurisdiction: str
    zones: tuple[str, ...]
    namespace: str

    @property
    def secret(self) -> str:
        """Name of the Secret with the kubeconfig."""
        return f"region-{self.name}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How the hub reaches the member. ``repr`` shows no secret."""

    server: str
    ca: str
    token: str
    tls_server_name: str = ""

    def __repr__(self) -> str:
        return f"Credentials(server={self.server!r})"


def kubeconfig(name: str, credentials: Credentials) -> dict[str, Any]:
    """A kubeconfig with one context, and everything inline."""
    cluster = {
        "server": credentials.server,
        "certificate-authority-data": base64.b64encode(credentials.ca.encode()).decode(),
    }
    if credentials.tls_server_name:
        cluster["tls-server-name"] = credentials.tls_server_name
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": "roadstead"}}],
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "roadstead", "user": {"token": credentials.token}}],
    }


def secret(wish: Wish, content: str) -> dict[str, Any]:
    """The Secret that holds the kubeconfig in the hub."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": wish.secret, "namespace": wish.namespace},
        "type": "Opaque",
        "data": {KEY: base64.b64encode(content.encode()).decode()},
    }


def region(wish: Wish) -> dict[str, Any]:
    """The Region."""
    spec: dict[str, Any] = {
        "cluster": {"kubeconfigSecretRef": {"namespace": wish.namespace, "name": wish.secret, "key": KEY}},
        "jurisdiction": wish.jurisdiction,
    }
    if wish.zones:
        spec["zones"] = list(wish.zones)
    return {"apiVersion": API_VERSION, "kind": "Region", "metadata": {"name": wish.name}, "spec": spec}


def token_secret(namespace: str, account: str) -> dict[str, Any]:
    """The Secret in which the member keeps a token for the account, where the chart did not make one."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{account}-token", "namespace": namespace, "annotations": {ACCOUNT_ANNOTATION: account}},
        "type": TOKEN_TYPE,
    }


def tokens_of(account: str, secrets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The Secrets among these that hold a token of the account."""
    return [
        entry
        for entry in secrets
        if entry.get("type") == TOKEN_TYPE
        and (entry["metadata"].get("annotations") or {}).get(ACCOUNT_ANNOTATION) == account
        and (entry.get("data") or {}).get("token")
    ]


def next_steps(wish: Wish, *, hub_flags: str = "") -> list[str]:
    """What to do now."""
    return [
        f"roadstead status --regions --watch{hub_flags}      # {wish.name} becomes Healthy within seconds",
        "kubectl create namespace NS                 # in the member, for every namespace whose services run there",
        f"roadstead explain-plan FILE                 # with {wish.name} in spec.topology.regions of a ChatService",
    ]
