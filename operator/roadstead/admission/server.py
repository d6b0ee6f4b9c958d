"""The webhook server: kopf's admission over HTTPS, without kopf's ways of saying yes by mistake.

kopf answers ``allowed: true`` when no handler matches: for a path that names none, and for a kind or an operation that
the named handler is not for. A webhook configuration with a typing error would then admit everything. Here each path
has one kind and its operations, and whatever else arrives is refused.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import aiohttp.web
import kopf
import orjson

from roadstead.admission.tls import ServingTls
from roadstead.kernel.errors import Fatal

logger = logging.getLogger(__name__)

REVIEW_VERSION = "admission.k8s.io/v1"
MAX_REVIEW_BYTES = 8 * 1024 * 1024
"""A review holds the old and the new object, each at most 1.5 MiB in etcd, which JSON may double."""
DEFAULT_TIMEOUT = 10.0
"""Seconds for an answer when the API server does not say how long it waits."""
TIMEOUT_SHARE = 0.8
"""The share of the API server's time-out after which we refuse by ourselves, with words instead of a broken call."""
IDLE_CONNECTION = 120.0
"""Seconds. Above the 90 s of API servers: the side that sends must be the one that closes, or a review is lost."""
_TIMEOUT = re.compile(r"([0-9]{1,6}(?:\.[0-9]+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one path is for.

    Attributes:
        id: the handler's id; the path is ``/`` and this.
        group: API group of the resource.
        resource: its plural.
        operations: the operations that the handler judges.
    """

    id: str
    group: str
    resource: str
    operations: Collection[Literal["CREATE", "UPDATE", "DELETE"]]

    @property
    def path(self) -> str:
        """The URL path, as in the chart."""
        return f"/{self.id}"


class WebhookServer:
    """Serves admission reviews; give it to kopf as ``settings.admission.server``.

    Args:
        tls: the context to serve with; the server waits until it is loaded.
        endpoints: the paths that exist.
        address: where to listen; ``0.0.0.0`` in a pod.
        port: the port; 0 takes a free one, see `port`.
    """

    def __init__(self, tls: ServingTls, endpoints: Collection[Endpoint], *, address: str, port: int) -> None:
        self._tls = tls
        self._endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        self._address = address
        self._wanted_port = port
        self.port = 0
        """The port that is listened on; 0 while it is not."""
        self.serving = asyncio.Event()
        """Set while reviews are answered: part of ``/readyz``."""

    async def __call__(self, review: kopf.WebhookFn) -> AsyncGenerator[kopf.WebhookClientConfig, None]:
        """Serve until closed: kopf's protocol for webhook servers. Reviews go to ``review``."""
        await self._tls.loaded.wait()

        async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
            return await self._answer(review, request)

        app = aiohttp.web.Application(client_max_size=MAX_REVIEW_BYTES)
        app.add_routes([aiohttp.web.post("/{id:.*}", answer)])
        runner = aiohttp.web.AppRunner(
            app, handle_signals=False, access_log=None, keepalive_timeout=IDLE_CONNECTION, shutdown_timeout=5.0
        )
        await runner.setup()
        try:
            site = aiohttp.web.TCPSite(runner, self._address, self._wanted_port, ssl_context=self._tls.context)
            try:
                await site.start()
            except OSError as error:
                raise Fatal(
                    f"--webhook-address={self._address} --webhook-port={self._wanted_port}: {error.strerror}; "
                    "name an address of this machine and a port that nobody else has"
                ) from error
            self.port = int(runner.addresses[0][1])
            self.serving.set()
            logger.info("webhooks are served on %s:%d", self._address, self.port)
            yield kopf.WebhookClientConfig(url=f"https://{self._address}:{self.port}")
            await asyncio.Event().wait()
        finally:
            self.serving.clear()
            self.port = 0
            await runner.cleanup()

    async def _answer(self, review: kopf.WebhookFn, request: aiohttp.web.Request) -> aiohttp.web.Response:
        endpoint = self._endpoints.get(request.match_info["id"])
        if endpoint is None:
            return _broken(HTTPStatus.NOT_FOUND, f"there is no webhook at {request.path[:100]}")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return _broken(HTTPStatus.BAD_REQUEST, "the body is not JSON")
        problem = _problem(body, endpoint)
        if problem:
            logger.warning("refused a review at %s: %s", endpoint.path, problem)
            return _broken(HTTPStatus.BAD_REQUEST, problem)
        try:
            async with asyncio.timeout(_time_left(request.query.get("timeout", ""))):
                answer: Mapping[str, Any] = await review(body, webhook=endpoint.id, headers=dict(request.headers))
        except TimeoutError:
            answer = _refusal(
                body, HTTPStatus.GATEWAY_TIMEOUT, "Roadstead could not check this in time; try again in a moment"
            )
        except Exception:
            # kopf's own errors (a kind it has not discovered yet) and bugs alike: an answer, and a closed one.
            logger.exception("a review at %s failed", endpoint.path)
            answer = _refusal(
                body, HTTPStatus.INTERNAL_SERVER_ERROR, "Roadstead failed to check this; see the operator's log"
            )
        return aiohttp.web.Response(body=orjson.dumps(answer), content_type="application/json")


def _problem(body: Any, endpoint: Endpoint) -> str:
    """What is wrong with a review at this endpoint; empty when nothing is."""
    request = body.get("request") if isinstance(body, dict) else None
    if not isinstance(request, dict) or body.get("apiVersion") != REVIEW_VERSION:
        return f"the body is not an AdmissionReview of {REVIEW_VERSION}"
    resource = request.get("resource") or {}
    if (resource.get("group"), resource.get("resource")) != (endpoint.group, endpoint.resource):
        return f"this webhook is for {endpoint.resource}.{endpoint.group} only"
    if request.get("subResource"):
        return "this webhook is not for subresources"
    if request.get("operation") not in endpoint.operations:
        return f"this webhook is for {', '.join(endpoint.operations)} only"
    return ""


def _time_left(asked: str) -> float:
    """Seconds to answer in, from the ``timeout`` that API servers put into the URL as Go writes it: ``5s``."""
    match = _TIMEOUT.fullmatch(asked)
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else DEFAULT_TIMEOUT
    return max(0.1, seconds * TIMEOUT_SHARE)


def _refusal(body: Mapping[str, Any], status: HTTPStatus, message: str) -> dict[str, Any]:
    return {
        "apiVersion": REVIEW_VERSION,
        "kind": "AdmissionReview",
        "response": {
            "uid": body["request"].get("uid", ""),
            "allowed": False,
            "status": {"code": int(status), "message": message},
        },
    }


def _broken(status: HTTPStatus, message: str) -> aiohttp.web.Response:
    """Not a review: the call itself is wrong, and ``failurePolicy: Fail`` makes a refusal of it."""
    return aiohttp.web.Response(status=int(status), text=message)
