"""One long-lived client per cluster, on raw JSON.

`kubernetes.aio` brings configuration, credentials and the connection pool; requests and answers stay plain dicts, since
building its model objects costs more than the request. Its defaults that do not suit an operator are set here: 100
connections *including watches*, a time-out of 300 s, and trust in the proxy environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, kube_config, load_incluster_config

from roadstead.kernel.errors import NotFound, NotServed, ServerFault, Unreachable, from_status
from roadstead.kernel.gate import Gate
from roadstead.kernel.kubeconfig import MemberAccess
from roadstead.kernel.objects import NAMESPACES, Gvr

MAX_CONNECTIONS = 512
CONCURRENT_REQUESTS = 32
"""Requests under way to one cluster, watches not counted. More make an API server no faster (bench/), and each open
connection costs memory; what waits here waits before its time-out begins to count."""
CONCURRENT_LISTS = 2
"""Pages of lists under way from one cluster: a start lists every type at once, and each page costs megabytes."""
REQUEST_TIMEOUT = 10.0
"""Seconds in all for one request that is not a watch."""
CONNECT_TIMEOUT = 3.0
WATCH_SILENCE = 90.0
"""Seconds without a byte after which a watch is given up; the API server sends a bookmark about once a minute."""
PAGE_SIZE = 100
MAX_ANSWER = 64 * 2**20
"""Bytes of an answer, or of a line of a watch, above which it is given up: a member must not fill our memory."""
MAX_RETRY_AFTER = 300.0
"""Seconds; a server that asks for more is asked again after this."""
LIST_TIMEOUT = 60.0

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML; the API server has no JSON media type for apply before 1.33
_MERGE = "application/merge-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Observer = Callable[[str, str, int, float], None]
"""Gets cluster, method, status (0 without an answer) and seconds of every request."""
Guard = Callable[[], None]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: ``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``."""

    type: str
    object: dict[str, Any]


class HubConfiguration(Configuration):
    """Our own host and credentials. What came inline is here and in `ca_cert_data`, and in no file."""

    client_certificate: str | None = None
    client_key: str | None = None


async def hub_configuration(kubeconfig: str | None, context: str | None = None) -> HubConfiguration:
    """Where the operator itself runs: its ServiceAccount, or a kubeconfig of the person who started it (trusted).

    Args:
        kubeconfig: a file, or several with colons between, read as kubectl does: exec plugins, token files and named
            files included.
        context: None for the current one.

    Raises:
        ConfigException: it is not understood. What the library raises for other nonsense comes as it is.
    """
    configuration = HubConfiguration()
    if not kubeconfig:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return configuration
    try:
        await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
        _take_inline(configuration)
    finally:
        # The library would keep its files until the process ends by itself, and for ever when a signal ends it.
        kube_config._cleanup_temp_files()  # type: ignore[no-untyped-call]
    return configuration


def member_configuration(access: MemberAccess) -> Configuration:
    """The configuration for a member; client certificates pass through a private file that is gone afterwards."""
    configuration = Configuration(host=access.server, ca_cert_data=access.ca, tls_server_name=access.tls_server_name)
    if access.token is not None:
        configuration.api_key["BearerToken"] = f"Bearer {access.token}"
    return configuration


class ClusterClient:
    """Reads and writes one cluster. Must be made and used in one event loop; close it with `close`.

    Args:
        name: the cluster's name, for messages and metrics.
        configuration: host and credentials.
        access: for a member with a client certificate, where it is.
        gate: the circuit breaker; None for the hub, without which nothing can go on anyway.
        observe: gets every request's outcome.
        guard: is called before each write, *after* a connection was acquired, and raises when we may not write (any
            more); requests that queue for a connection have been seen to leave seconds after they were made.
        user_agent: what audit logs call us.
    """

    def __init__(
        self,
        name: str,
        configuration: Configuration,
        *,
        access: MemberAccess | None = None,
        gate: Gate | None = None,
        observe: Observer | None = None,
        guard: Guard | None = None,
        user_agent: str = "roadstead-operator",
    ) -> None:
        self.name = name
        self.gate = gate
        self._configuration = configuration
        self._observe = observe
        self._user_agent = user_agent
        self._served: dict[str, frozenset[str]] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._lists = asyncio.Semaphore(CONCURRENT_LISTS)
        configuration.connection_pool_maxsize = MAX_CONNECTIONS
        configuration.client_session_kwargs = {"trust_env": False, "auto_decompress": True}
        configuration.trace_configs = [] if guard is None else [_guarding(guard)]
        pool = RESTClientObject(configuration)
        source = configuration if isinstance(configuration, HubConfiguration) else access
        if source is not None and source.client_certificate is not None and source.client_key is not None:
            _load_client_certificate(pool.ssl_context, source.client_certificate, source.client_key)
        self._session = pool._create_pool_manager()
        self._server_hostname = configuration.tls_server_name
        self._base = configuration.host.rstrip("/")
        self.clock_ahead: float | None = None
        """Seconds by which our clock is ahead of the server's, to a second; None before its first answer."""

    async def close(self) -> None:
        """Close every connection; requests under way, and later ones, end as `Unreachable`."""
        await self._session.close()

    async def get(self, gvr: Gvr, namespace: str, name: str, *, metadata_only: bool = False) -> dict[str, Any]:
        """Read one object.

        Raises:
            NotFound: it does not exist.
            RoadsteadError: see `roadstead.kernel.errors`; the same for every method here.
        """
        accept = _METADATA if metadata_only else _JSON
        return self._object(await self._json("GET", gvr.path(namespace, name), accept=accept))

    async def find(self, gvr: Gvr, namespace: str, name: str, *, metadata_only: bool = False) -> dict[str, Any] | None:
        """Like `get`, but None when it does not exist."""
        try:
            return await self.get(gvr, namespace, name, metadata_only=metadata_only)
        except NotFound:
            return None

    async def pages(
        self,
        gvr: Gvr,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """List a collection page by page: the items of each page and the resourceVersion of the whole.

        Raises:
            Gone: the continuation has expired; begin again.
        """
        accept = _METADATA_LIST if metadata_only else _JSON
        query = {"limit": str(page_size)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        while True:
            async with self._lists:
                page = await self._json("GET", gvr.path(namespace), query=query, accept=accept, timeout=LIST_TIMEOUT)
            metadata, items = page.get("metadata"), page.get("items") or []  # an empty metadata list has items: null
            if not isinstance(metadata, dict) or not isinstance(items, list):
                raise ServerFault(f"{self.name} answered a list of {gvr} with something that is none")
            for item in items:
                self._object(item)
            version, token = metadata.get("resourceVersion", ""), metadata.get("continue")
            del page, metadata  # two pages of each of thirty collections at once are what a start would cost in memory
            yield items, version
            del items
            if not token:
                return
            query["continue"] = token

    async def apply(
        self,
        gvr: Gvr,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Server-side apply; returns the object as the server has it now.

        With ``metadata.resourceVersion: "1"`` in the body this is an atomic create (409 when something is there);
        with ``metadata.uid`` an update of exactly that object (409 or 422 when it is gone or another).
        """
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        path = gvr.path(namespace, name, subresource)
        answer = await self._json("PATCH", path, query=query, body=body, content_type=_APPLY)
        return answer if dry_run else self._object(answer)  # what is not created has no version

    async def merge_patch(
        self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        """A JSON merge patch (RFC 7386); put ``metadata.resourceVersion`` or ``uid`` in to make it conditional."""
        query = {"fieldManager": manager}
        path = gvr.path(namespace, name)
        return self._object(await self._json("PATCH", path, query=query, body=body, content_type=_MERGE))

    async def create(
        self, gvr: Gvr, namespace: str, body: Mapping[str, Any], *, manager: str, dry_run: bool = False
    ) -> dict[str, Any]:
        """Create an object; `Conflict` when its name is taken."""
        query = {"fieldManager": manager, **({"dryRun": "All"} if dry_run else {})}
        return await self._json("POST", gvr.path(namespace), query=query, body=body)

    async def replace(
        self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        """Write a whole object; `Conflict` when ``metadata.resourceVersion`` is no longer the current one."""
        path = gvr.path(namespace, name)
        return self._object(await self._json("PUT", path, query={"fieldManager": manager}, body=body))

    async def delete(self, gvr: Gvr, namespace: str, name: str, *, uid: str) -> bool:
        """Delete exactly the object with this uid, its dependants in the background.

        Returns:
            True when the object lingers (a finalizer holds it), False when it is gone.

        Raises:
            Conflict: an object of that name with another uid is there.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            answer = await self._json("DELETE", gvr.path(namespace, name), body=body)
        except NotFound:
            return False
        metadata = answer.get("metadata")
        return isinstance(metadata, dict) and "deletionTimestamp" in metadata

    async def serves(self, gvr: Gvr) -> bool:
        """Whether the cluster serves this type; the answer is kept until `forget_discovery`."""
        known = self._served.get(gvr.api_version)
        if known is None:
            try:
                group = await self._json("GET", f"/apis/{gvr.api_version}" if gvr.group else f"/api/{gvr.version}")
                known = frozenset(str(resource["name"]) for resource in group.get("resources") or ())
            except NotServed:
                known = frozenset()
            self._served[gvr.api_version] = known
        return gvr.resource in known

    def forget_discovery(self) -> None:
        """Ask the cluster again what it serves."""
        self._served.clear()

    async def version(self) -> str:
        """The API server's version, such as ``v1.36.3``."""
        answer = await self._json("GET", "/version")
        return str(answer.get("gitVersion", ""))

    async def probe(self, *, timeout: float) -> str:  # noqa: ASYNC109 - the HTTP client's own
        """Whether the cluster answers, and which it is: the uid of its namespace kube-system.

        A quorum read, because an API server that has lost its etcd still tells its version and whatever it has in its
        caches. Passes the gate, since this is how recovery is noticed.
        """
        path = NAMESPACES.path("", "kube-system")
        answer = await self._json("GET", path, accept=_METADATA, timeout=timeout, guarded=False)
        try:
            uid = str(answer["metadata"]["uid"])
        except (LookupError, TypeError) as error:
            raise ServerFault(f"{self.name} answered a read of kube-system with something that is none") from error
        if self.gate is not None:
            self.gate.reset()
        return uid

    async def watch(
        self,
        gvr: Gvr,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        timeout_seconds: int = 300,
    ) -> AsyncIterator[WatchEvent]:
        """Follow a collection from a resourceVersion; ends when the server ends it.

        Raises:
            Gone: the resourceVersion is too old.
            Unreachable: no byte for `WATCH_SILENCE` seconds, or the connection broke.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=WATCH_SILENCE)
        headers = await self._headers(_METADATA if metadata_only else _JSON)
        url = f"{self._base}{gvr.path(namespace)}?{urlencode(query)}"
        try:
            async with self._session.get(
                url,
                headers=headers,
                timeout=timeout,
                server_hostname=self._server_hostname,
                allow_redirects=False,  # see `_json`
            ) as response:
                if response.status != 200:
                    raise _error(self.name, response.status, await _content(response), response.headers)
                async for line in _lines(response.content):
                    yield self._event(line)
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError, _TooLong) as error:
            raise Unreachable(f"{self.name}: the watch of {gvr} broke: {_describe(error)}") from error

    def _event(self, line: bytes) -> WatchEvent:
        try:
            decoded = orjson.loads(line)
            kind, body = str(decoded["type"]), decoded["object"]
            if kind == "ERROR":
                code, message = int(body.get("code", 500)), str(body.get("message", ""))
            elif kind == "BOOKMARK":
                int(body["metadata"]["resourceVersion"])
            else:
                self._object(body)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServerFault(f"{self.name} sent a line in a watch that is no event") from error
        if kind == "ERROR":
            raise from_status(code, f"{self.name}: {message}")
        return WatchEvent(kind, body)

    def _object(self, body: Any) -> dict[str, Any]:
        """The same body, when it is an object as every API server sends it; what is kept of it relies on that.

        Raises:
            ServerFault: it is not. A member that lies may harm its own region only.
        """
        try:
            metadata = body["metadata"]
            known = isinstance(metadata["name"], str) and len(bytes.fromhex(metadata["uid"].replace("-", ""))) == 16
            known = known and 0 <= int(metadata["resourceVersion"]) < 2**63
        except (LookupError, TypeError, ValueError, AttributeError):
            known = False
        if not known:
            raise ServerFault(f"{self.name} answered with something that is no object")
        checked: dict[str, Any] = body
        return checked

    def _check_open(self) -> None:
        """A reconcile may hold on to a connection that was replaced meanwhile."""
        if self._session.closed:
            raise Unreachable(f"{self.name}: the connection was closed")

    async def _headers(self, accept: str) -> dict[str, str]:
        self._check_open()
        headers = {"Accept": accept, "User-Agent": self._user_agent}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        return headers

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        timeout: float = REQUEST_TIMEOUT,  # noqa: ASYNC109 - the HTTP client's own, which knows what was under way
        guarded: bool = True,
    ) -> dict[str, Any]:
        url = f"{self._base}{path}?{urlencode(query)}" if query else f"{self._base}{path}"
        headers = await self._headers(accept)
        data = None
        if body is not None:
            data = orjson.dumps(body)
            headers["Content-Type"] = content_type
        if not guarded:
            return await self._send(method, url, data, headers, timeout, None)
        if self.gate is not None:
            self.gate.check()  # do not queue up behind a server that says nothing
        async with self._slots:
            # A long list is no sign of a stall; what it says about the cluster, the probe says too.
            gate = self.gate if timeout <= REQUEST_TIMEOUT else None
            return await self._send(method, url, data, headers, timeout, gate)

    async def _send(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109
        gate: Gate | None,
    ) -> dict[str, Any]:
        self._check_open()  # once more: this may have waited for its turn
        token = gate.enter() if gate is not None else 0
        started = asyncio.get_running_loop().time()
        status = 0
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT),
                server_hostname=self._server_hostname,
                allow_redirects=False,  # a member must not send our token elsewhere
                trace_request_ctx=method,
            ) as response:
                status = response.status
                answer_headers = response.headers
                self.clock_ahead = _ahead(answer_headers.get("Date", ""), self.clock_ahead)
                content = await _content(response)
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:  # the last: a host that is none
            if gate is not None:
                gate.failed(token, _describe(error))
            raise Unreachable(f"{self.name} does not answer: {_describe(error)}") from error
        except _TooLong as error:
            if gate is not None:
                gate.answered(token)
            raise ServerFault(f"{self.name}: {error}") from error
        except BaseException:  # cancelled, or the guard says no: nothing was learnt about the cluster
            if gate is not None:
                gate.left(token)
            raise
        finally:
            if self._observe is not None:
                self._observe(self.name, method, status, asyncio.get_running_loop().time() - started)
        if gate is not None:
            gate.answered(token)
        if not 200 <= status < 300:
            raise _error(self.name, status, content, answer_headers)
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ServerFault(f"{self.name} answered {status} with something that is not JSON") from error
        if not isinstance(answer, dict):
            raise ServerFault(f"{self.name} answered {status} with JSON that is not an object")
        return answer


def _guarding(guard: Guard) -> aiohttp.TraceConfig:
    async def check(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
        if context.trace_request_ctx in ("POST", "PUT", "PATCH", "DELETE"):
            guard()

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(check)
    trace.on_connection_create_end.append(check)
    return trace


def _take_inline(configuration: HubConfiguration) -> None:
    """Read into memory what the library has written into files of its own. Files that are only named stay named."""
    written = set(kube_config._temp_files.values())
    if configuration.ssl_ca_cert and configuration.ssl_ca_cert in written:
        configuration.ca_cert_data = _authorities(configuration.ssl_ca_cert)
        configuration.ssl_ca_cert = None
    if written & {configuration.cert_file, configuration.key_file}:
        if configuration.cert_file:
            configuration.client_certificate = _pem(configuration.cert_file)
            configuration.client_key = _pem(configuration.key_file or configuration.cert_file)
        configuration.cert_file = configuration.key_file = None


def _authorities(path: str) -> str:
    """The CA, seen to be one: with an empty one ssl would trust whom the system trusts."""
    authorities = _pem(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigException("certificate-authority-data holds no PEM certificate") from error
    return authorities


def _pem(path: str) -> str:
    """A file from its first PEM block on: kopf takes what begins otherwise for base64, and ssl takes ASCII only."""
    _, begin, blocks = Path(path).read_bytes().decode("ascii", "ignore").partition("-----BEGIN ")
    return begin + blocks


def _load_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python's ssl reads certificates only from files: hand it some that only we can read, then remove them."""
    with tempfile.TemporaryDirectory(prefix="roadstead-") as directory:
        certificate_file, key_file = Path(directory, "certificate"), Path(directory, "key")
        certificate_file.write_text(certificate, encoding="utf-8")
        key_file.write_text(key, encoding="utf-8")
        context.load_cert_chain(certificate_file, key_file)


def _error(cluster: str, status: int, content: bytes, headers: Mapping[str, str]) -> Exception:
    message, names_object = "", False
    try:
        parsed = orjson.loads(content)
        if isinstance(parsed, dict):
            message = str(parsed.get("message") or parsed.get("reason") or "")
            details = parsed.get("details")
            names_object = isinstance(details, dict) and bool(details.get("name"))
    except orjson.JSONDecodeError:
        # Something in front of the API server. Its words are a page, often with a number that is another one each time.
        message = f"not an API server's answer ({headers.get('Content-Type', 'no content type')})"
    retry_after: float | None = None
    with contextlib.suppress(ValueError):
        seconds = float(headers.get("Retry-After", ""))
        # NaN is not >= 0 either. One cluster's word must not park a key that has work in others.
        retry_after = min(seconds, MAX_RETRY_AFTER) if seconds >= 0 else None
    words = f"{cluster} answered {status}: {message or 'no message'}"
    if status == 404 and not names_object:
        return NotServed(words)
    return from_status(status, words, retry_after=retry_after)


def _ahead(date: str, known: float | None) -> float | None:
    """Seconds by which our clock is ahead of a server's ``Date`` (RFC 9110); what was known when there is none."""
    try:
        told = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return known
    return time.time() - told


def _describe(error: BaseException) -> str:
    """The cause in words; time-outs have no text of their own."""
    return "no answer in time" if isinstance(error, TimeoutError) else (str(error) or type(error).__name__)


class _TooLong(Exception):
    """An answer went on beyond `MAX_ANSWER`."""

    def __init__(self) -> None:
        super().__init__(f"the answer has more than {MAX_ANSWER} bytes")


async def _content(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise _TooLong
        parts.append(chunk)
    return b"".join(parts)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the reader's own `readline` gives up on long ones."""
    rest: list[bytes] = []
    size = 0
    async for chunk in stream.iter_any():
        head, newline, tail = chunk.partition(b"\n")
        if not newline:
            rest.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER:
                raise _TooLong
            continue
        yield b"".join((*rest, head))
        parts: Sequence[bytes] = tail.split(b"\n")
        for line in parts[:-1]:
            yield line
        rest = [parts[-1]] if parts[-1] else []
        size = len(parts[-1])
