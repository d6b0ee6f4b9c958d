"""Identities for the operator under test: tokens of real ServiceAccounts, never cluster admin."""

from __future__ import annotations

import tempfile
import urllib.parse
from pathlib import Path
from typing import Protocol

from localkube import certificates
from localkube.rest import Api

TOKEN_SECONDS = 24 * 3600


class HasKubeconfig(Protocol):
    """Any cluster of this package."""

    @property
    def name(self) -> str:
        """Name of the cluster."""

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig, everything inline."""


def service_account_kubeconfig(
    cluster: HasKubeconfig,
    namespace: str,
    name: str,
    *,
    directory: Path | None = None,
    server: str | None = None,
    expiration_seconds: int = TOKEN_SECONDS,
) -> Path:
    """Write a kubeconfig with a token of ServiceAccount ``namespace/name`` (TokenRequest) and the CA inline.

    The namespace and the ServiceAccount are created when absent; what it may do is up to the roles that the caller
    applies, usually the chart's.

    Args:
        cluster: A running cluster.
        namespace: Of the account.
        name: Of the account.
        directory: Where the file goes; None: a new temporary directory, or the cluster's own when it has one.
        server: Another URL to reach the same API server by, such as that of a proxy with the same authority.
        expiration_seconds: Life of the token, at least 600.
    """
    api = Api(cluster.kubeconfig)
    authority = api.authority
    token = service_account_token(api, namespace, name, expiration_seconds=expiration_seconds)
    folder = directory or getattr(cluster, "directory", None) or Path(tempfile.mkdtemp(prefix="roadstead-kubeconfig-"))
    return certificates.write_kubeconfig(
        folder / f"{namespace}-{name}.kubeconfig",
        url=server or api.url,
        authority=authority,
        name=cluster.name,
        token=token,
    )


def service_account_token(api: Api, namespace: str, name: str, *, expiration_seconds: int = TOKEN_SECONDS) -> str:
    """Return a token of a ServiceAccount, which is created with its namespace when absent."""
    space, account = urllib.parse.quote(namespace), urllib.parse.quote(name)
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    path = f"/api/v1/namespaces/{space}/serviceaccounts"
    api.create(path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": expiration_seconds},
    }
    return str(api.request("POST", f"{path}/{account}/token", request)["status"]["token"])
