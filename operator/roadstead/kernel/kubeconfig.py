"""A member's kubeconfig is untrusted input: whoever may write that Secret must not gain our process.

Only inline material is taken: a server URL, ``certificate-authority-data``, and a token or a client certificate with
its key. Everything that would run a command, read a file of ours, send our traffic through a proxy or skip
verification is refused with the field's name.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from roadstead.kernel.errors import UntrustedKubeconfig

MAX_BYTES = 256 * 1024
"""A kubeconfig above this size is refused unread."""
MAX_DEPTH = 16
"""Levels of nesting; a kubeconfig has five. The C parser would overflow its stack where Python's raises."""

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool")

_CLUSTER_FIELDS = frozenset({"server", "certificate-authority-data", "tls-server-name", "extensions"})
_USER_FIELDS = frozenset({"token", "client-certificate-data", "client-key-data", "extensions"})
_CURES = {
    "insecure-skip-tls-verify": "give certificate-authority-data instead",
    "certificate-authority": "put the file's content, base64, into certificate-authority-data",
    "proxy-url": "give the region a server address that the hub reaches directly",
    "exec": "create a ServiceAccount in the member and use its token",
    "auth-provider": "create a ServiceAccount in the member and use its token",
    "tokenFile": "put the token itself into token",
    "client-certificate": "put the file's content, base64, into client-certificate-data",
    "client-key": "put the file's content, base64, into client-key-data",
    "username": "create a ServiceAccount in the member and use its token",
    "password": "create a ServiceAccount in the member and use its token",
    "as": "give the ServiceAccount of the token the rights it needs (the chart's member profile)",
}


@dataclass(frozen=True, slots=True)
class MemberAccess:
    """How to reach one cluster, with everything inline. ``repr`` shows no secret."""

    server: str
    ca: str
    token: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None

    def __repr__(self) -> str:
        return f"MemberAccess(server={self.server!r})"


def parse(content: bytes) -> MemberAccess:
    """Read a kubeconfig's current context.

    Raises:
        UntrustedKubeconfig: it is not a kubeconfig, or uses something that is refused; names the field and the cure.
    """
    document = _load(content)
    context = _named(document, "contexts", document.get("current-context"), "context")
    cluster = _named(document, "clusters", context.get("cluster"), "cluster")
    user = _named(document, "users", context.get("user"), "user")
    _refuse_unknown("cluster", cluster, _CLUSTER_FIELDS)
    _refuse_unknown("user", user, _USER_FIELDS)
    certificate, key = _decoded(user, "client-certificate-data"), _decoded(user, "client-key-data")
    if (certificate is None) != (key is None):
        raise UntrustedKubeconfig("user has one of client-certificate-data and client-key-data; give both or a token")
    if certificate is not None and key is not None:
        _check_pair(certificate, key)
    token = _text(user, "user", "token")
    if token is None and certificate is None:
        raise UntrustedKubeconfig("user has neither token nor client-certificate-data; put a ServiceAccount's token in")
    return MemberAccess(
        server=_server(cluster),
        ca=_ca(cluster),
        token=token,
        client_certificate=certificate,
        client_key=key,
        tls_server_name=_text(cluster, "cluster", "tls-server-name"),
    )


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Reads text, null, true and false; no numbers, dates, merges or tags, some of which PyYAML cannot even refuse."""


_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS])
}


def _load(content: bytes) -> Mapping[str, Any]:
    if len(content) > MAX_BYTES:
        raise UntrustedKubeconfig(f"the kubeconfig has {len(content)} bytes, above {MAX_BYTES}; keep one context in it")
    try:
        _look_through(content)
        document = yaml.load(content, Loader=_Loader)  # noqa: S506 - a SafeLoader with less
    except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UntrustedKubeconfig("the kubeconfig is not YAML; write one with one cluster, user and context") from error
    if not isinstance(document, Mapping):
        raise UntrustedKubeconfig("the kubeconfig is not a mapping; write one with one cluster, user and context")
    return document


def _look_through(content: bytes) -> None:
    """Refuse, before anything is built, what costs more to read than it weighs: 300 bytes of aliases take minutes."""
    depth = 0
    for event in yaml.parse(content, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise UntrustedKubeconfig("the kubeconfig uses YAML aliases; write each value where it belongs")
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None):
            raise UntrustedKubeconfig("the kubeconfig uses YAML tags; write plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise UntrustedKubeconfig(f"the kubeconfig is nested more than {MAX_DEPTH} deep; write a plain one")


def _check_pair(certificate: str, key: str) -> None:
    """OpenSSL asks for the passphrase of an encrypted key on the terminal, which would stop the whole process."""
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        private = serialization.load_pem_private_key(key.encode(), password=None)
        ours = chain[0].public_key() == private.public_key()
    except TypeError as error:
        raise UntrustedKubeconfig("user.client-key-data is encrypted; give the key without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UntrustedKubeconfig(
            "user.client-certificate-data or client-key-data holds no PEM; encode the files' content"
        ) from error
    if not ours:
        raise UntrustedKubeconfig("user.client-key-data is not the key of client-certificate-data; give a pair")


def _server(cluster: Mapping[str, Any]) -> str:
    server = _text(cluster, "cluster", "server")
    try:
        parts = urlsplit(server or "")
        valid = (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.username is None
            and not parts.query
            and not parts.fragment
        )
        _ = parts.port
    except ValueError:
        valid = False
    if not valid or server is None:
        raise UntrustedKubeconfig("cluster.server is not an https URL; write https://HOST:PORT")
    return server.rstrip("/")


def _ca(cluster: Mapping[str, Any]) -> str:
    ca = _decoded(cluster, "certificate-authority-data")
    if ca is None:
        raise UntrustedKubeconfig("cluster.certificate-authority-data is missing; put the API server's CA in, base64")
    try:
        ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError, TypeError) as error:  # the latter two: empty, not ASCII
        raise UntrustedKubeconfig(
            "cluster.certificate-authority-data holds no PEM certificate; put the API server's CA in, base64"
        ) from error
    return ca


def _named(document: Mapping[str, Any], where: str, name: Any, inner: str) -> Mapping[str, Any]:
    entries = document.get(where)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name and isinstance(entry.get(inner), Mapping):
            found: Mapping[str, Any] = entry[inner]
            return found
    wanted = name if isinstance(name, str) and len(name) < 100 else "that is asked for"
    raise UntrustedKubeconfig(f"{where} has no entry {wanted!r}; check current-context and the names it leads to")


def _refuse_unknown(where: str, values: Mapping[str, Any], known: frozenset[str]) -> None:
    for name, value in values.items():
        if name in known or value in (None, False, ""):
            continue
        cure = _CURES.get(str(name), "remove it")
        raise UntrustedKubeconfig(f"{where}.{str(name)[:60]} is not accepted in a region's kubeconfig; {cure}")


def _text(values: Mapping[str, Any], where: str, name: str) -> str | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise UntrustedKubeconfig(f"{where}.{name} is not one line of text; write it as a plain string")
    return value


def _decoded(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError, TypeError) as error:
        raise UntrustedKubeconfig(f"{name} is not base64 of a PEM text; encode the file's content") from error
