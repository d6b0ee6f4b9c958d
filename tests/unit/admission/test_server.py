"""The webhook server over real TLS on loopback, with kopf's part played by a function."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from roadstead.admission.certificates import Establish, IssueServing, Material, Pair, carry_out
from roadstead.admission.server import MAX_REVIEW_BYTES, WebhookServer
from roadstead.admission.tls import ServingTls
from roadstead.admission.webhook import ENDPOINTS
from roadstead.kernel.errors import Fatal

NAMES = ("127.0.0.1",)


def make() -> Material:
    return carry_out(Establish("first"), None, NAMES, now=datetime.now(UTC))


def load(tls: ServingTls, material: Material) -> None:
    tls.load(
        material.serving.certificate.public_bytes(Encoding.PEM),
        material.serving.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def trusting(material: Material) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=material.bundle.decode())


class Reviewer:
    """Plays kopf: says yes, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.failure: Exception | None = None
        self.delay = 0.0

    async def __call__(self, request: Any, *, webhook: str | None = None, **_: Any) -> Any:
        self.asked.append(webhook)
        await asyncio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        return {"response": {"uid": request["request"]["uid"], "allowed": True}}


@contextlib.asynccontextmanager
async def serving(tls: ServingTls, reviewer: Reviewer) -> AsyncIterator[WebhookServer]:
    server = WebhookServer(tls, ENDPOINTS, address="127.0.0.1", port=0)

    async def serve() -> None:
        async for _ in server(reviewer):
            pass

    task = asyncio.ensure_future(serve())
    try:
        async with asyncio.timeout(5):
            await server.serving.wait()
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert not server.serving.is_set()


def review(resource: str = "chatservices", operation: str = "CREATE", **more: Any) -> dict[str, Any]:
    request = {
        "uid": "u-1",
        "operation": operation,
        "resource": {"group": "roadstead.dev", "version": "v1alpha1", "resource": resource},
        "object": {},
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


async def post(
    server: WebhookServer, material: Material, path: str, body: Any, *, raw: bytes | None = None
) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session:
        options: dict[str, Any] = {"data": raw} if raw is not None else {"json": body}
        url = f"https://127.0.0.1:{server.port}{path}"
        async with session.post(url, ssl=trusting(material), **options) as response:
            text = await response.text()
            return response.status, await response.json() if response.status == 200 else text


async def test_a_review_reaches_the_handler_that_the_path_names() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    async with serving(tls, reviewer) as server:
        status, answer = await post(server, material, "/validate-chatservice?timeout=5s", review())
    assert (status, answer["response"]) == (200, {"uid": "u-1", "allowed": True})
    assert reviewer.asked == ["validate-chatservice"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        pytest.param("/validate-nothing", review(), 404, "no webhook at /validate-nothing", id="a path of no handler"),
        pytest.param("/", review(), 404, "no webhook", id="no path at all"),
        pytest.param("/validate-chatservice/", review(), 404, "no webhook", id="a path that only begins like one"),
        pytest.param(
            "/validate-chatservice",
            review("regions"),
            400,
            "for chatservices.roadstead.dev only",
            id="another kind at this path",
        ),
        pytest.param("/validate-chatservice", review("pods"), 400, "for chatservices", id="a kind that is not ours"),
        pytest.param(
            "/validate-chatservice",
            review(operation="DELETE"),
            400,
            "for CREATE, UPDATE only",
            id="an operation that nobody judges",
        ),
        pytest.param("/validate-region", review("regions", "CONNECT"), 400, "only", id="a connection"),
        pytest.param("/validate-chatservice", review(subResource="status"), 400, "subresources", id="a subresource"),
        pytest.param("/validate-chatservice", {"request": {}}, 400, "not an AdmissionReview", id="no version"),
        pytest.param(
            "/validate-chatservice",
            {**review(), "apiVersion": "admission.k8s.io/v1beta1"},
            400,
            "not an AdmissionReview of admission.k8s.io/v1",
            id="a version that we do not speak",
        ),
        pytest.param("/validate-chatservice", [], 400, "not an AdmissionReview", id="a list"),
    ],
)
async def test_what_kopf_would_have_allowed_is_refused(path: str, body: Any, status: int, says: str) -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    async with serving(tls, reviewer) as server:
        found, text = await post(server, material, path, body)
    assert found == status
    assert says in text
    assert reviewer.asked == []


async def test_a_body_that_is_not_json_or_too_large_is_refused() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    async with serving(tls, reviewer) as server:
        assert (await post(server, material, "/validate-region", None, raw=b"{"))[0] == 400
        assert (await post(server, material, "/validate-region", None, raw=b" " * (MAX_REVIEW_BYTES + 1)))[0] == 413
    assert reviewer.asked == []


async def test_a_handler_that_fails_refuses_without_telling_more_than_where_to_look() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    reviewer.failure = RuntimeError("token=secret")
    async with serving(tls, reviewer) as server:
        status, answer = await post(server, material, "/validate-chatservice", review())
    assert status == 200
    assert answer["response"]["allowed"] is False
    assert answer["response"]["uid"] == "u-1"
    assert "operator's log" in answer["response"]["status"]["message"]
    assert "secret" not in str(answer)


async def test_a_slow_handler_refuses_in_words_before_the_api_server_gives_up() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    reviewer.delay = 30.0
    async with serving(tls, reviewer) as server, asyncio.timeout(1):
        status, answer = await post(server, material, "/validate-chatservice?timeout=500ms", review())
        assert status == 200
        assert answer["response"]["allowed"] is False
        assert "in time" in answer["response"]["status"]["message"]


async def test_nothing_older_than_tls_1_3_is_spoken() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    old = trusting(material)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(tls, reviewer) as server:
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=old)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting(material))
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()


async def test_the_server_waits_for_its_first_certificate() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    server = WebhookServer(tls, ENDPOINTS, address="127.0.0.1", port=0)
    stream = server(reviewer)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    assert not server.serving.is_set()
    load(tls, material)
    async with asyncio.timeout(5):
        assert (await first)["url"] == f"https://127.0.0.1:{server.port}"
    await stream.aclose()


async def test_an_address_that_cannot_be_had_is_named() -> None:
    tls = ServingTls()
    load(tls, make())
    async with serving(tls, Reviewer()) as server:
        another = WebhookServer(tls, ENDPOINTS, address="127.0.0.1", port=server.port)
        with pytest.raises(
            Fatal, match=f"^--webhook-address=127.0.0.1 --webhook-port={server.port}: .* in use; name an"
        ):
            await anext(another(Reviewer()))


async def test_a_pair_that_does_not_fit_leaves_the_one_before_in_service() -> None:
    tls, material, reviewer = ServingTls(), make(), Reviewer()
    load(tls, material)
    stranger = make()
    async with serving(tls, reviewer) as server:
        with pytest.raises(ValueError, match="do not belong together"):
            load(tls, Material(material.authority, Pair(material.serving.certificate, stranger.serving.key)))
        with pytest.raises(ValueError, match="do not belong together"):
            load(tls, Material(material.authority, Pair(stranger.serving.certificate, material.serving.key)))
        status, _ = await post(server, material, "/validate-chatservice", review())
    assert status == 200


async def test_a_certificate_changes_under_load_without_a_failed_call() -> None:
    """Every call on a connection of its own, so that every call is a handshake."""
    tls, reviewer = ServingTls(), Reviewer()
    material = make()
    load(tls, material)
    trust = trusting(material)
    serials = set()
    async with serving(tls, reviewer) as server:
        stop = asyncio.Event()
        calls = failures = 0

        async def call_on() -> None:
            nonlocal calls, failures
            while not stop.is_set():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust)
                except OSError:
                    failures += 1
                else:
                    serials.add(writer.get_extra_info("peercert")["serialNumber"])
                    writer.close()
                calls += 1

        callers = [asyncio.ensure_future(call_on()) for _ in range(4)]
        for _ in range(10):
            await asyncio.sleep(0.05)
            now = datetime.now(UTC) + timedelta(seconds=1)
            load(tls, carry_out(IssueServing("due"), material, NAMES, now=now))
        stop.set()
        await asyncio.gather(*callers)
    assert failures == 0
    assert calls > 50
    assert len(serials) > 5
