"""What is sent, and what is said of each refusal; that an API server takes it is in tests/integration/keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from roadstead_keys.poster import Poster, PostError

from integration.workloads.tls_pairs import Authority


class Hub:
    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[str, dict[str, str], dict[str, str], Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(
            (request.path, dict(request.query), dict(request.headers), json.loads(await request.text()))
        )
        return web.Response(status=self.status, text="secret words of a server")


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[tuple[Hub, str]]:
    made = Hub()
    app = web.Application()
    app.router.add_patch("/{path:.*}", made.handle)
    async with TestServer(app) as server:
        yield made, str(server.make_url("")).rstrip("/")


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("chat")
    (tmp_path / "ca.crt").write_bytes(Authority().pem)
    return tmp_path


async def test_one_entry_is_applied_by_its_pod(hub: tuple[Hub, str], account: Path) -> None:
    made, url = hub
    poster = Poster(url, account, "ring.hkg.receipts", "uid-1")
    await poster.hand_in("words")
    (account / "token").write_text("second")
    await poster.hand_in("words")
    path, query, headers, body = made.requests[0]
    assert path == "/api/v1/namespaces/chat/configmaps/ring.hkg.receipts"
    assert query == {"fieldManager": "roadstead-keys-uid-1", "force": "true"}
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["Authorization"] == "Bearer first"
    assert body["data"] == {"uid-1": "words"}
    assert body["metadata"] == {"name": "ring.hkg.receipts", "namespace": "chat"}
    assert made.requests[1][2]["Authorization"] == "Bearer second", "a kubelet renews it"


@pytest.mark.parametrize(
    ("status", "words"), [(401, "token"), (403, "not there yet"), (404, "not there yet"), (500, "500"), (429, "429")]
)
async def test_a_refusal_is_told_in_our_own_words(hub: tuple[Hub, str], account: Path, status: int, words: str) -> None:
    made, url = hub
    made.status = status
    with pytest.raises(PostError, match=words) as raised:
        await Poster(url, account, "ring.hkg.receipts", "uid-1").hand_in("words")
    assert "secret words" not in str(raised.value)


async def test_a_server_that_is_not_there_is_no_other_error(account: Path) -> None:
    with pytest.raises(PostError, match="cannot be reached"):
        await Poster("https://127.0.0.1:1", account, "r", "p").hand_in("words")


async def test_a_mount_that_is_not_there_is_named(hub: tuple[Hub, str], account: Path) -> None:
    (account / "ca.crt").write_text("none")
    with pytest.raises(PostError, match=r"ca\.crt"):
        await Poster(hub[1], account, "r", "p").hand_in("words")
    (account / "token").unlink()
    with pytest.raises(PostError, match="token"):
        await Poster(hub[1], account, "r", "p").hand_in("words")


def test_in_a_pod_the_api_server_is_where_the_kubelet_says() -> None:
    v6 = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert Poster.in_cluster("r", "p", v6)._server == "https://[fd00::1]:6443"
    assert Poster.in_cluster("r", "p", {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})._server == "https://10.96.0.1:443"
    with pytest.raises(PostError, match="KUBERNETES_SERVICE_HOST"):
        Poster.in_cluster("r", "p", {})
