"""A very small client for the Kubernetes API: what starting and preparing a cluster needs, and no more.

The operator has its own client; tests of the operator should not prove it with itself.
"""

from __future__ import annotations

import base64
import contextlib
import http
import http.client
import json
import ssl
import tempfile
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TIMEOUT_SECONDS = 10.0
_CONTENT_TYPES = {
    "PATCH": "application/merge-patch+json",
    "APPLY": "application/apply-patch+yaml",
}


class ApiError(RuntimeError):
    """The API server answered with a status of 400 or more."""

    def __init__(self, status: int, reason: str, method: str, path: str) -> None:
        super().__init__(f"{method} {path}: {status} {reason}")
        self.status = status


class Api:
    """Requests to one API server, with the identity of a kubeconfig that holds everything inline.

    Args:
        kubeconfig: File whose current context is used.
    """

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        self.url: str = cluster["server"]
        self.authority = base64.b64decode(cluster["certificate-authority-data"])
        self._address = urllib.parse.urlsplit(self.url)
        self._token: str | None = user.get("token")
        self._tls = ssl.create_default_context(cadata=self.authority.decode())
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as pem:  # load_cert_chain reads files only; mode is 0600
                pem.write(base64.b64decode(user["client-certificate-data"]))
                pem.write(base64.b64decode(user["client-key-data"]))
                pem.flush()
                self._tls.load_cert_chain(pem.name)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Any:
        """Send one request and return the decoded answer (text when it is not JSON).

        Args:
            method: HTTP method, or ``APPLY`` for server-side apply.
            path: Path and query.
            body: Object to send as JSON.
            timeout: Seconds for connecting and for each read.

        Raises:
            ApiError: Status 400 or more, with the API server's own message.
            OSError: No connection.
        """
        headers = {"Accept": "application/json", "User-Agent": "localkube"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = _CONTENT_TYPES.get(method, "application/json")
        connection = http.client.HTTPSConnection(
            self._address.hostname or "", self._address.port, context=self._tls, timeout=timeout
        )
        with contextlib.closing(connection):
            verb = "PATCH" if method == "APPLY" else method
            connection.request(verb, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        with contextlib.suppress(ValueError):
            decoded = json.loads(text)
            if answer.status >= 400:
                raise ApiError(answer.status, decoded.get("message", text), method, path)
            return decoded
        if answer.status >= 400:
            raise ApiError(answer.status, text, method, path)
        return text

    def create(self, path: str, body: Mapping[str, Any]) -> bool:
        """Create an object; return False when one of that name is there already."""
        try:
            self.request("POST", path, body)
        except ApiError as error:
            if error.status == http.HTTPStatus.CONFLICT:
                return False
            raise
        return True

    def ready(self) -> bool:
        """Return whether ``/readyz`` says ok within a second."""
        try:
            return bool(self.request("GET", "/readyz", timeout=1.0) == "ok")
        except (OSError, ApiError, http.client.HTTPException):
            return False


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)
