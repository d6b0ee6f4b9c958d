"""Handing a receipt in: the relay between what proves and where the operator looks. Needs the extra ``aiohttp``.

The place is a ConfigMap beside the pod that the operator makes. Each pod owns one entry in it, at its uid, by
server-side apply under a field manager of its own; so no pod's entry is lost by another's, and a receipt that is handed
in again as it was writes nothing. The pod's ServiceAccount needs the verb ``patch`` on that ConfigMap and nothing else.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from roadstead_keys.errors import KeysError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its token, its namespace, and the certificate of its API server's authority."""
_SECONDS = 10.0


class PostError(KeysError):
    """The receipt could not be handed in. It may be tried again."""


class Poster:
    """Hands in the receipts of one pod.

    Args:
        server: URL of the API server.
        account: directory with ``token``, ``ca.crt`` and ``namespace``; read each time, as a kubelet renews them.
        receipts: name of the ConfigMap, in the pod's namespace.
        pod: uid of the pod.
    """

    def __init__(self, server: str, account: Path, receipts: str, pod: str) -> None:
        self._server = server
        self._account = account
        self._receipts = receipts
        self._pod = pod

    @classmethod
    def in_cluster(cls, receipts: str, pod: str, environ: Mapping[str, str] = os.environ) -> Poster:
        """A poster for the pod that we run in.

        Raises:
            PostError: we run in none.
        """
        host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise PostError("KUBERNETES_SERVICE_HOST is not set, so no API server is known; this works in a pod only")
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", SERVICE_ACCOUNT, receipts, pod)

    async def hand_in(self, receipt: str) -> None:
        """Put a receipt where the operator looks for it.

        Args:
            receipt: by `proof.receipt`.

        Raises:
            PostError: it is not there.
        """
        token, namespace = self._file("token"), self._file("namespace")
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._receipts, "namespace": namespace},
            "data": {self._pod: receipt},
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
                session.patch(
                    f"{self._server}/api/v1/namespaces/{namespace}/configmaps/{self._receipts}",
                    params={"fieldManager": f"roadstead-keys-{self._pod}", "force": "true"},
                    data=json.dumps(body),
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/apply-patch+yaml"},
                    ssl=self._trust(),
                ) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PostError(f"the API server cannot be reached: {str(error) or type(error).__name__}") from None
        if status >= 300:
            raise PostError(f"ConfigMap {namespace}/{self._receipts} {_reason(status)}")

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._account / "ca.crt")
        except (OSError, ssl.SSLError) as error:
            raise PostError(f"{self._account / 'ca.crt'} is no certificate that can be trusted: {error}") from None

    def _file(self, name: str) -> str:
        try:
            return (self._account / name).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PostError(f"{self._account / name} cannot be read ({error}); is the token mounted there?") from None


def _reason(status: int) -> str:
    match status:
        case 401:
            return "was not written: the API server does not take the pod's token (401)"
        case 403 | 404:
            # An apply to what is not there would create it, which a pod may not.
            return (
                f"was not written ({status}): it is not there yet, or the pod's ServiceAccount may not patch it; the "
                "operator makes it beside the keyset"
            )
        case _:
            return f"was not written: the API server answered {status}"
