"""A good kubeconfig to spoil."""

from __future__ import annotations

import base64
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization

from localkube.certificates import Authority

AUTHORITY = Authority("test servers")
PAIR = AUTHORITY.client("somebody")
OTHER_PAIR = AUTHORITY.client("somebody else")


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def encrypted(key: bytes) -> bytes:
    private = serialization.load_pem_private_key(key, None)
    how = serialization.BestAvailableEncryption(b"secret")
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def document(*, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    """Keys with the value `...` are taken away."""

    def merged(base: dict[str, Any], over: dict[str, Any] | None) -> dict[str, Any]:
        return {name: value for name, value in {**base, **(over or {})}.items() if value is not ...}

    good = {"server": "https://10.0.0.1:6443", "certificate-authority-data": b64(AUTHORITY.pair.certificate)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": merged(good, cluster)}],
        "users": [{"name": "u", "user": merged({"token": "s3cret-token"}, user)}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ignored"}}],
        "current-context": "x",
    }


def kubeconfig(**parts: Any) -> bytes:
    return yaml.safe_dump(document(**parts)).encode()
