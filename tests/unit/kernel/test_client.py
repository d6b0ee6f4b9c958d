"""The client against servers that misbehave: no real API server would, a member in strange hands may.

Mutants that these tests were seen to kill: redirects followed (in a request, in a watch); Retry-After taken as it
comes; no limit to an answer; a watch line that is no event raised as KeyError; the guard asked before a connection was
there; a request that was called off counted by the gate; any 404 taken for an absence; a closed session noticed only
before the wait for a turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from roadstead.kernel import client as module
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import (
    Conflict,
    Fatal,
    Gone,
    Invalid,
    NotFound,
    NotServed,
    RoadsteadError,
    ServerFault,
    Throttled,
    Unreachable,
)
from roadstead.kernel.gate import Gate
from roadstead.kernel.objects import CONFIG_MAPS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


OBJECT = {"metadata": {"name": "c", "uid": "5b1f0a3e-0000-4000-8000-000000000001", "resourceVersion": "7"}}


class Server:
    """Plain HTTP on loopback; whatever is asked, ``handler`` answers."""

    def __init__(self) -> None:
        self.handler: Handler = self.nothing
        self.seen: list[web.Request] = []

    async def nothing(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(OBJECT)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        await request.read()
        return await self.handler(request)

    def answers(self, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        async def handler(_: web.Request) -> web.StreamResponse:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(status=status, body=body, headers=names)

        self.handler = handler

    async def start(self) -> str:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    made.url = await made.start()  # type: ignore[attr-defined]
    yield made
    await made.runner.cleanup()


def configuration(server: Server) -> Configuration:
    made = Configuration(host=server.url)  # type: ignore[attr-defined]
    made.api_key["BearerToken"] = "Bearer s3cret"
    return made


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ClusterClient]:
    made = ClusterClient("hkg", configuration(server))
    yield made
    await made.close()


async def failing(call: Awaitable[object]) -> Exception:
    with pytest.raises((RoadsteadError, Fatal)) as error:
        await call
    return error.value


async def watched(client: ClusterClient) -> None:
    async for _ in client.watch(CONFIG_MAPS, "n", resource_version="1"):
        pass


async def test_credentials_and_agent_go_with_a_request(client: ClusterClient, server: Server) -> None:
    await client.get(CONFIG_MAPS, "n", "c")
    assert server.seen[0].headers["Authorization"] == "Bearer s3cret"
    assert server.seen[0].headers["User-Agent"] == "roadstead-operator"
    assert server.seen[0].path == "/api/v1/namespaces/n/configmaps/c"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("watching", [False, True])
async def test_a_redirect_is_not_followed(client: ClusterClient, server: Server, status: int, watching: bool) -> None:
    """A member must not send our token, or our process, elsewhere."""
    server.answers(status, Location="/elsewhere")
    error = await failing(watched(client) if watching else client.get(CONFIG_MAPS, "n", "c"))
    assert isinstance(error, Invalid) and str(status) in str(error)
    assert len(server.seen) == 1


async def test_proxy_variables_are_ignored(
    client: ClusterClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    assert await client.get(CONFIG_MAPS, "n", "c") == OBJECT


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-5", None), ("nan", None), ("inf", 300.0), ("1e9", 300.0)],
)
async def test_retry_after_is_taken_within_reason(
    client: ClusterClient, server: Server, header: str, expected: float | None
) -> None:
    server.answers(429, b'{"message": "too many requests"}', Retry_After=header)
    error = await failing(client.get(CONFIG_MAPS, "n", "c"))
    assert isinstance(error, Throttled)
    assert error.retry_after == expected


@pytest.mark.parametrize("body", [b"", b"hello", b"[1]", b"null", b'"x"', b"<html>", b"\xff"])
async def test_an_answer_that_is_no_object_is_a_fault_of_the_server(
    client: ClusterClient, server: Server, body: bytes
) -> None:
    server.answers(200, body)
    assert isinstance(await failing(client.get(CONFIG_MAPS, "n", "c")), ServerFault)


@pytest.mark.parametrize("body", [b"{}", b'{"metadata": 5}', b'{"metadata": {}, "items": 5}', b'{"items": []}'])
async def test_a_list_that_is_none_is_a_fault_of_the_server(client: ClusterClient, server: Server, body: bytes) -> None:
    server.answers(200, body)

    async def listed() -> None:
        async for _ in client.pages(CONFIG_MAPS):
            pass

    assert isinstance(await failing(listed()), ServerFault)


@pytest.mark.parametrize(
    "metadata",
    [
        5,
        None,
        {},
        {**OBJECT["metadata"], "uid": "x"},
        {**OBJECT["metadata"], "uid": 5},
        {**OBJECT["metadata"], "resourceVersion": "abc"},
        {**OBJECT["metadata"], "resourceVersion": str(2**63)},
        {**OBJECT["metadata"], "resourceVersion": "-1"},
        {**OBJECT["metadata"], "name": None},
    ],
)
async def test_an_object_without_an_identity_is_a_fault_of_the_server(
    client: ClusterClient, server: Server, metadata: Any
) -> None:
    """What a member says is kept and compared; nothing in it may surprise whoever does that."""
    body = {"metadata": metadata}
    server.answers(200, json.dumps(body).encode())
    assert isinstance(await failing(client.get(CONFIG_MAPS, "n", "c")), ServerFault)
    assert isinstance(await failing(client.apply(CONFIG_MAPS, "n", "c", {}, manager="m")), ServerFault)
    assert await client.delete(CONFIG_MAPS, "n", "c", uid="u") is False
    server.answers(200, json.dumps({"metadata": {"resourceVersion": "1"}, "items": [body]}).encode())
    assert isinstance(await failing(anext(client.pages(CONFIG_MAPS))), ServerFault)
    server.answers(200, json.dumps({"type": "ADDED", "object": body}).encode() + b"\n")
    assert isinstance(await failing(watched(client)), ServerFault)


async def test_a_host_that_is_none_is_unreachable(server: Server) -> None:
    there = configuration(server)
    there.host = "http://a..b"
    client = ClusterClient("hkg", there)
    assert isinstance(await failing(client.get(CONFIG_MAPS, "n", "c")), Unreachable)
    assert isinstance(await failing(watched(client)), Unreachable)
    await client.close()


async def test_a_name_cannot_lead_elsewhere(client: ClusterClient, server: Server) -> None:
    await client.get(CONFIG_MAPS, "n", "../../secrets/x")
    assert server.seen[-1].raw_path == "/api/v1/namespaces/n/configmaps/..%2F..%2Fsecrets%2Fx"


async def test_a_page_of_something_in_front_is_not_repeated(client: ClusterClient, server: Server) -> None:
    server.answers(502, b"<html>Ray ID: 8f1b2c at 12:00:01</html>", Content_Type="text/html")
    assert "Ray" not in str(await failing(client.get(CONFIG_MAPS, "n", "c")))


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": 5}',
        b'{"type": "ADDED", "object": {"metadata": {}}}',
        b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "x"}}}',
        b'{"type": "ERROR", "object": "x"}',
        b'{"type": "ERROR", "object": {"code": "many"}}',
    ],
)
async def test_a_line_that_is_no_event_is_a_fault_of_the_server(
    client: ClusterClient, server: Server, line: bytes
) -> None:
    server.answers(200, line + b"\n")
    assert isinstance(await failing(watched(client)), ServerFault)


@pytest.mark.parametrize(
    ("code", "kind"), [(410, Gone), (500, ServerFault), (504, ServerFault), (429, Throttled), (409, Conflict)]
)
async def test_an_error_line_becomes_our_error(
    client: ClusterClient, server: Server, code: int, kind: type[RoadsteadError]
) -> None:
    server.answers(200, b'{"type": "ERROR", "object": {"code": %d, "message": "too old"}}\n' % code)
    assert isinstance(await failing(watched(client)), kind)


async def test_an_endless_answer_is_given_up(
    client: ClusterClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 100_000)
    server.answers(200, b"[" * 200_000)
    assert "more than" in str(await failing(client.get(CONFIG_MAPS, "n", "c")))
    assert isinstance(await failing(watched(client)), Unreachable)


async def test_lines_are_put_together_however_they_arrive(client: ClusterClient, server: Server) -> None:
    objects = [{"metadata": {**OBJECT["metadata"], "resourceVersion": str(n)}} for n in range(5)]
    events = [json.dumps({"type": "ADDED", "object": body}).encode() for body in objects]

    async def dribble(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        content = b"\n".join(events) + b"\n" + b'{"type": "AD'  # the last one is cut off
        for at in range(0, len(content), 7):
            await response.write(content[at : at + 7])
        return response

    server.handler = dribble
    seen = [event async for event in client.watch(CONFIG_MAPS, "n", resource_version="1")]
    assert [event.object["metadata"]["resourceVersion"] for event in seen] == list("01234")


async def test_a_broken_watch_is_unreachable(client: ClusterClient, server: Server) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":')
        assert request.transport is not None
        request.transport.abort()
        return response

    server.handler = cut
    assert isinstance(await failing(watched(client)), Unreachable)


async def test_a_server_that_hangs_is_unreachable(server: Server) -> None:
    silent = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await silent.wait()
        return web.Response()

    server.handler = hang
    gate = Gate("hkg", asyncio.get_running_loop().time)
    client = ClusterClient("hkg", configuration(server), gate=gate)
    error = await failing(client._json("GET", "/x", timeout=0.1))
    assert isinstance(error, Unreachable) and "no answer in time" in str(error)
    assert gate._failures == 1
    silent.set()
    await client.close()


async def test_a_request_that_is_called_off_says_nothing_about_the_cluster(server: Server) -> None:
    silent, arrived = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await silent.wait()
        return web.Response()

    server.handler = hang
    gate = Gate("hkg", asyncio.get_running_loop().time)
    client = ClusterClient("hkg", configuration(server), gate=gate)
    request = asyncio.create_task(client.get(CONFIG_MAPS, "n", "c"))
    await arrived.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (gate._failures, gate._under_way) == (0, {})
    silent.set()
    await client.close()


async def test_a_closed_way_costs_no_request_but_the_probe_passes(server: Server) -> None:
    gate = Gate("hkg", asyncio.get_running_loop().time)
    client = ClusterClient("hkg", configuration(server), gate=gate)
    for _ in range(3):
        gate.failed(gate.enter(), "refused")
    assert isinstance(await failing(client.get(CONFIG_MAPS, "n", "c")), Unreachable)
    assert server.seen == []
    server.answers(500)
    assert isinstance(await failing(client.probe(timeout=5)), ServerFault), "an API server without its etcd"
    assert isinstance(await failing(client.get(CONFIG_MAPS, "n", "c")), Unreachable), "and the way stays closed"
    server.answers(200, b'{"metadata":{"uid":"u1"}}')
    assert await client.probe(timeout=5) == "u1"
    server.handler = server.nothing
    await client.get(CONFIG_MAPS, "n", "c")
    probe = "/api/v1/namespaces/kube-system"
    assert [request.path for request in server.seen] == [probe, probe, CONFIG_MAPS.path("n", "c")]
    await client.close()


@pytest.mark.parametrize("answer", [b"{}", b'{"metadata":{}}', b'{"metadata":null}'])
async def test_a_probe_that_is_answered_with_something_else_has_failed(server: Server, answer: bytes) -> None:
    client = ClusterClient("hkg", configuration(server))
    server.answers(200, answer)
    assert isinstance(await failing(client.probe(timeout=5)), ServerFault)
    await client.close()


async def test_every_outcome_is_observed(server: Server) -> None:
    seen: list[tuple[str, str, int]] = []
    client = ClusterClient("hkg", configuration(server), observe=lambda c, m, s, _: seen.append((c, m, s)))
    await client.get(CONFIG_MAPS, "n", "c")
    server.answers(409, b"{}")
    await failing(client.create(CONFIG_MAPS, "n", {}, manager="m"))
    await server.runner.cleanup()
    await failing(client.get(CONFIG_MAPS, "n", "c"))
    assert seen == [("hkg", "GET", 200), ("hkg", "POST", 409), ("hkg", "GET", 0)]
    await client.close()


@pytest.mark.parametrize("verb", ["apply", "merge_patch", "create", "replace", "delete"])
async def test_the_guard_stops_every_write_and_no_read(server: Server, verb: str) -> None:
    leading = True

    def guard() -> None:
        if not leading:
            raise Fatal("not leading")

    client = ClusterClient("hkg", configuration(server), guard=guard)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "apply": lambda: client.apply(CONFIG_MAPS, "n", "c", {}, manager="m"),
        "merge_patch": lambda: client.merge_patch(CONFIG_MAPS, "n", "c", {}, manager="m"),
        "create": lambda: client.create(CONFIG_MAPS, "n", {}, manager="m"),
        "replace": lambda: client.replace(CONFIG_MAPS, "n", "c", {}, manager="m"),
        "delete": lambda: client.delete(CONFIG_MAPS, "n", "c", uid="u"),
    }
    await calls[verb]()
    leading = False
    assert isinstance(await failing(calls[verb]()), Fatal), "on a connection that is used again"
    await client.get(CONFIG_MAPS, "n", "c")
    assert [request.method for request in server.seen][1:] == ["GET"]
    await client.close()
    fresh = ClusterClient("hkg", configuration(server), guard=guard)
    calls["apply"] = lambda: fresh.apply(CONFIG_MAPS, "n", "c", {}, manager="m")
    assert isinstance(await failing(calls["apply"]()), Fatal), "on a new connection"
    await fresh.close()


async def test_the_guard_is_asked_when_a_connection_is_there_and_not_before(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that queue for a connection leave late: what counts is who leads then."""
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    leading, arrived, go = True, asyncio.Event(), asyncio.Event()

    def guard() -> None:
        if not leading:
            raise Fatal("not leading")

    async def slow(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await go.wait()
        return web.json_response({})

    server.handler = slow
    client = ClusterClient("hkg", configuration(server), guard=guard)
    first = asyncio.create_task(client.create(CONFIG_MAPS, "n", {}, manager="m"))
    await arrived.wait()
    second = asyncio.create_task(client.create(CONFIG_MAPS, "n", {}, manager="m"))
    for _ in range(10):
        await asyncio.sleep(0)
    leading = False
    go.set()
    await first
    assert isinstance(await failing(second), Fatal)
    assert len(server.seen) == 1
    await client.close()


async def test_a_message_never_holds_what_was_sent(client: ClusterClient, server: Server) -> None:
    server.answers(500, b"oops")
    error = await failing(client.create(CONFIG_MAPS, "n", {"data": {"password": "hunter2"}}, manager="m"))
    assert "hunter2" not in str(error) and "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"details": {"name": "c", "kind": "configmaps"}}, NotFound, id="the object"),
        pytest.param({"details": {"name": "n", "kind": "namespaces"}}, NotFound, id="its namespace"),
        pytest.param({"details": {}}, NotServed, id="a type"),
        pytest.param({"details": None}, NotServed, id="nothing"),
        pytest.param({}, NotServed, id="not a Status"),
        pytest.param([], NotServed, id="not an object"),
        pytest.param("404 page not found", NotServed, id="a path"),
    ],
)
async def test_only_a_404_that_names_an_object_proves_its_absence(
    client: ClusterClient, server: Server, body: object, expected: type[RoadsteadError]
) -> None:
    server.answers(404, body.encode() if isinstance(body, str) else json.dumps(body).encode())
    assert type(await failing(client.get(CONFIG_MAPS, "n", "c"))) is expected
    if expected is NotFound:
        assert await client.find(CONFIG_MAPS, "n", "c") is None
        assert not await client.delete(CONFIG_MAPS, "n", "c", uid="5f2c")
    else:
        await failing(client.find(CONFIG_MAPS, "n", "c"))
        await failing(client.delete(CONFIG_MAPS, "n", "c", uid="5f2c"))


async def test_what_waits_for_its_turn_when_the_connection_is_closed_is_unreachable(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONCURRENT_REQUESTS", 1)
    made = ClusterClient("hkg", configuration(server))
    held, over = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        held.set()
        await over.wait()
        return web.json_response(OBJECT)

    server.handler = hang
    first, second = (asyncio.create_task(made.get(CONFIG_MAPS, "n", name)) for name in "ab")
    await held.wait()
    await made.close()
    for task in (first, second):
        assert isinstance(await failing(task), Unreachable)
    over.set()
