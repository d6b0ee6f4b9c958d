"""Our own kubeconfig: every form of credentials works, with us and with kopf, and leaves no file behind.

Mutants that these tests were seen to kill: the library's files left until the process ends; removed, but remembered;
left when the kubeconfig is faulty; the momentary files left; a CA that is none not refused; a PEM text with words
before it, or with words that are not ASCII; a key taken without a certificate; the key of a certificate's own file not
found; a named file read only once; the context ignored; kopf without the CA, the certificate or the key.
"""

from __future__ import annotations

import json
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import kopf
import pytest
import yaml
from aiohttp import web
from kubernetes.aio.config import ConfigException, kube_config

from roadstead.kernel.client import ClusterClient, HubConfiguration, hub_configuration
from roadstead.kernel.errors import Unreachable
from roadstead.kernel.informer import register_login
from unit.kernel.kubeconfigs import AUTHORITY, OTHER_PAIR, PAIR, b64, document

INLINE = {
    "token": ...,
    "client-certificate-data": b64(PAIR.certificate),
    "client-key-data": b64(PAIR.key),
}


class Place(NamedTuple):
    """A server that wants a client certificate of AUTHORITY, and two folders."""

    url: str
    named: Path
    temporary: Path

    def write(self, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> str:
        path = self.named / "kubeconfig"
        path.write_text(yaml.safe_dump(document(cluster={"server": self.url, **(cluster or {})}, user=user)))
        return str(path)

    def left_behind(self) -> list[str]:
        return [path.name for path in self.temporary.iterdir()]


async def _whoami(request: web.Request) -> web.StreamResponse:
    certificate = request.get_extra_info("peercert")
    names = [value for part in certificate["subject"] for name, value in part if name == "commonName"]
    return web.json_response({"gitVersion": f"{names[0]} {request.headers.get('Authorization', 'no token')}"})


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    named, temporary = tmp_path / "named", tmp_path / "temporary"
    named.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(kube_config, "_temp_files", {})
    AUTHORITY.serving("server", "127.0.0.1").write(named / "server.crt", named / "server.key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=AUTHORITY.pair.certificate.decode())
    context.load_cert_chain(named / "server.crt", named / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/version", _whoami)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield Place(f"https://127.0.0.1:{runner.addresses[0][1]}", named, temporary)
    await runner.cleanup()


async def as_ourselves(configuration: HubConfiguration) -> str:
    client = ClusterClient("hub", configuration)
    try:
        return await client.version()
    finally:
        await client.close()


async def as_kopf(configuration: HubConfiguration) -> str:
    registry = kopf.OperatorRegistry()
    register_login(registry, configuration)
    [handler] = registry._activities.get_all_handlers()
    info: Any = await handler.fn()  # type: ignore[call-arg, misc]
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
    async with (
        aiohttp.ClientSession(connector=connector, headers=info.as_http_headers()) as session,
        session.get(f"{info.server}/version") as response,
    ):
        return str((await response.json())["gitVersion"])


def plugin(place: Place, status: dict[str, str]) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    (place.named / "answer.json").write_text(json.dumps(answer))
    code = f"print(open({str(place.named / 'answer.json')!r}).read())"
    return {"apiVersion": version, "command": sys.executable, "args": ["-c", code]}


def inline(place: Place) -> str:
    return place.write(user=INLINE)


def inline_among_words(place: Place) -> str:
    """As `openssl x509 -text` writes them."""
    words = "Subject: CN=Zoë\n".encode()
    cluster = {"certificate-authority-data": b64(words + AUTHORITY.pair.certificate + words)}
    pair = {"client-certificate-data": b64(words + PAIR.certificate), "client-key-data": b64(words + PAIR.key)}
    return place.write(cluster, {**INLINE, **pair})


def one_text_for_both(place: Place) -> str:
    return place.write(user={"token": ..., "client-certificate-data": b64(PAIR.key + PAIR.certificate)})


def from_a_plugin(place: Place) -> str:
    status = {"clientCertificateData": PAIR.certificate.decode(), "clientKeyData": PAIR.key.decode()}
    return place.write(user={"token": ..., "exec": plugin(place, status)})


def files(place: Place) -> str:
    PAIR.write(place.named / "client.crt", place.named / "client.key")
    (place.named / "ca.crt").write_bytes(AUTHORITY.pair.certificate)
    cluster = {"certificate-authority-data": ..., "certificate-authority": "ca.crt"}
    return place.write(cluster, {"token": ..., "client-certificate": "client.crt", "client-key": "client.key"})


def a_file_and_an_inline_key(place: Place) -> str:
    PAIR.write(place.named / "client.crt", place.named / "client.key")
    return place.write(user={"token": ..., "client-certificate": "client.crt", "client-key-data": b64(PAIR.key)})


@pytest.mark.parametrize("connect", [as_ourselves, as_kopf])
@pytest.mark.parametrize(
    "written", [inline, inline_among_words, one_text_for_both, from_a_plugin, files, a_file_and_an_inline_key]
)
async def test_every_form_of_certificate_works_and_leaves_nothing(
    place: Place,
    written: Callable[[Place], str],
    connect: Callable[[HubConfiguration], Awaitable[str]],
) -> None:
    path = written(place)
    there = sorted(place.named.iterdir())
    for _ in range(2):  # the library remembers what it has written
        configuration = await hub_configuration(path)
        assert place.left_behind() == []
        assert await connect(configuration) == "somebody no token"
        assert place.left_behind() == []
    assert sorted(place.named.iterdir()) == there


@pytest.mark.parametrize("connect", [as_ourselves, as_kopf])
async def test_tokens_of_files_and_plugins_go_along(
    place: Place, connect: Callable[[HubConfiguration], Awaitable[str]]
) -> None:
    (place.named / "token").write_text("of-a-file")
    certificate = {key: value for key, value in INLINE.items() if key != "token"}
    configuration = await hub_configuration(place.write(user={"token": ..., "tokenFile": "token", **certificate}))
    assert await connect(configuration) == "somebody Bearer of-a-file"
    user = {"token": ..., "exec": plugin(place, {"token": "of-a-plugin"}), **certificate}
    assert await connect(await hub_configuration(place.write(user=user))) == "somebody Bearer of-a-plugin"
    assert place.left_behind() == []


async def test_named_files_are_read_by_whoever_connects(place: Place) -> None:
    """They may be renewed while we run: kopf logs in anew."""
    configuration = await hub_configuration(files(place))
    (place.named / "client.key").unlink()
    OTHER_PAIR.write(place.named / "client.crt", place.named / "client.key")
    assert await as_kopf(configuration) == "somebody else no token"


@pytest.mark.parametrize(
    "authority",
    [
        pytest.param("no certificate", id="words"),
        pytest.param(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="a block with nonsense in it"
        ),
        pytest.param("é", id="nothing once it is ASCII"),
    ],
)
async def test_a_ca_that_is_none_is_refused_and_never_the_systems_trusted(place: Place, authority: str) -> None:
    path = place.write({"certificate-authority-data": b64(authority)}, INLINE)
    with pytest.raises(ConfigException, match="certificate-authority-data holds no PEM certificate"):
        await hub_configuration(path)
    assert place.left_behind() == []


async def test_a_faulty_kubeconfig_leaves_nothing_either(place: Place) -> None:
    """By then the CA is written."""
    path = place.write(user={**INLINE, "client-key-data": ..., "client-key": "nowhere.key"})
    with pytest.raises(ConfigException, match="nowhere"):
        await hub_configuration(path)
    assert place.left_behind() == []


async def test_a_key_without_a_certificate_is_no_credential(place: Place) -> None:
    configuration = await hub_configuration(place.write(user={**INLINE, "client-certificate-data": ...}))
    with pytest.raises(Unreachable):
        await as_ourselves(configuration)
    assert place.left_behind() == []


def two_contexts(place: Place) -> str:
    other = {"client-certificate-data": b64(OTHER_PAIR.certificate), "client-key-data": b64(OTHER_PAIR.key)}
    whole = yaml.safe_load(Path(place.write(user=INLINE)).read_text())
    whole["users"].append({"name": "v", "user": other})
    whole["contexts"].append({"name": "y", "context": {"cluster": "c", "user": "v"}})
    path = place.named / "kubeconfig"
    path.write_text(yaml.safe_dump(whole))
    return str(path)


async def test_another_context_has_other_credentials(place: Place) -> None:
    path = two_contexts(place)
    assert await as_ourselves(await hub_configuration(path)) == "somebody no token"
    assert await as_ourselves(await hub_configuration(path, "y")) == "somebody else no token"
