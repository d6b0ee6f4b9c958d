"""How clusters are reached: the operator's own kubeconfig, a member's token, a member's certificate; and who is not.

Mutants that these tests were seen to kill: the private file of a client certificate left behind; the member's CA not
used; `tls-server-name` ignored.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from localkube import certificates, rbac
from localkube.bare import BareCluster
from roadstead.kernel.client import ClusterClient, hub_configuration, member_configuration
from roadstead.kernel.errors import Forbidden, Unauthorised, Unreachable
from roadstead.kernel.kubeconfig import MemberAccess, parse
from roadstead.kernel.objects import NAMESPACES, NODES

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def access(path: Path, change: Change = lambda cluster, user: None) -> MemberAccess:
    document = yaml.safe_load(path.read_text())
    change(document["clusters"][0]["cluster"], document["users"][0]["user"])
    return parse(yaml.safe_dump(document).encode())


@pytest.fixture
def token_kubeconfig(cluster: BareCluster, tmp_path: Path) -> Path:
    return rbac.service_account_kubeconfig(cluster, "default", "member", directory=tmp_path)


class Clients:
    def __init__(self) -> None:
        self.made: list[ClusterClient] = []

    def __call__(self, access: MemberAccess) -> ClusterClient:
        self.made.append(ClusterClient("member", member_configuration(access), access=access))
        return self.made[-1]


@pytest.fixture
async def connect() -> AsyncIterator[Clients]:
    clients = Clients()
    yield clients
    for client in clients.made:
        await client.close()


async def who(client: ClusterClient) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await client._json("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    return str(answer["status"]["userInfo"]["username"])


async def test_a_member_by_token(connect: Clients, token_kubeconfig: Path) -> None:
    client = connect(access(token_kubeconfig))
    assert await who(client) == "system:serviceaccount:default:member"
    assert (await client.version()).startswith("v1.")
    with pytest.raises(Forbidden, match="cannot list resource"):
        async for _ in client.pages(NODES):
            pass


async def test_a_member_by_client_certificate_leaves_no_key_behind(
    connect: Clients, cluster: BareCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = connect(access(cluster.kubeconfig))
    assert await who(client) == "admin"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_two_members_do_not_share_credentials(
    connect: Clients, cluster: BareCluster, token_kubeconfig: Path
) -> None:
    by_certificate, by_token = connect(access(cluster.kubeconfig)), connect(access(token_kubeconfig))
    assert await who(by_token) == "system:serviceaccount:default:member"
    assert await who(by_certificate) == "admin"


async def test_a_wrong_token_is_unauthorised(connect: Clients, token_kubeconfig: Path) -> None:
    client = connect(access(token_kubeconfig, lambda _, user: user.update(token="wrong")))
    with pytest.raises(Unauthorised):
        await client.get(NAMESPACES, "", "default")


async def test_a_server_with_another_authority_is_not_spoken_to(connect: Clients, token_kubeconfig: Path) -> None:
    other = base64.b64encode(certificates.Authority("other").pair.certificate).decode()
    client = connect(access(token_kubeconfig, lambda c, _: c.update({"certificate-authority-data": other})))
    with pytest.raises(Unreachable, match=r"(?i)certificate.verify.failed"):
        await client.version()


async def test_the_name_in_the_certificate_counts(connect: Clients, token_kubeconfig: Path) -> None:
    def named(name: str) -> Change:
        return lambda cluster, _: cluster.update({"tls-server-name": name})

    assert await who(connect(access(token_kubeconfig, named("kubernetes"))))
    client = connect(access(token_kubeconfig, named("elsewhere.example")))
    with pytest.raises(Unreachable):
        await client.version()
    with pytest.raises(Unreachable):
        async for _ in client.watch(NAMESPACES, resource_version="1"):
            pass


async def test_nobody_at_the_address_is_unreachable(connect: Clients, token_kubeconfig: Path) -> None:
    client = connect(access(token_kubeconfig, lambda c, _: c.update(server="https://127.0.0.1:1")))
    with pytest.raises(Unreachable, match="member does not answer"):
        await client.version()


async def test_the_operators_own_kubeconfig(cluster: BareCluster, token_kubeconfig: Path) -> None:
    for path, name in ((cluster.kubeconfig, "admin"), (token_kubeconfig, "system:serviceaccount:default:member")):
        client = ClusterClient("hub", await hub_configuration(str(path)))
        assert await who(client) == name
        await client.close()
