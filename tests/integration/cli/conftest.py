"""The clusters that the tests of the command line share. The clusters end with each module: keep to one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from clusters import StartCluster, eventually, kubectl, kubectl_json
from integration.admission.serving import bundles, install_webhooks
from integration.cli.fleet import Fleet, manifest
from localkube import nodes, ports
from localoperator import Operator, grant
from roadstead.cli.exits import ExitCode
from specs import Body


@pytest.fixture(scope="module")
def fleet(start_cluster: StartCluster) -> Fleet:
    hub = start_cluster("cli-hub", with_crds=True)
    member = start_cluster("cli-hkg")
    member.add_nodes(1, labels={nodes.ZONE_LABEL: "hkg-a"})
    grant(hub)
    for cluster in (hub, member):
        kubectl(cluster, "create", "namespace", "chat")
    return Fleet(hub, member)


@pytest.fixture(scope="module")
def region(fleet: Fleet) -> str:
    refused = fleet.add_region("hkg", code=ExitCode.NOT_FOUND)
    assert "member profile is not installed" in refused.stderr and "helm install" in refused.stderr
    assert kubectl_json(fleet.hub, "get", "regions")["items"] == []
    grant(fleet.member, "mode=member")
    fleet.add_region("hkg", "--zones=hkg-a,hkg-b")
    return "hkg"


@pytest.fixture(scope="module")
def operator(fleet: Fleet, region: str) -> Iterator[Operator]:
    claim = ports.Claim(1)
    port = claim.ports[0]
    install_webhooks(fleet.hub, port)
    kubectl(
        fleet.hub, "delete", "region", region, check=False
    )  # what was there before the webhooks is admitted by them
    flags = "--webhook-address=127.0.0.1", f"--webhook-port={port}"
    with Operator(fleet.hub, *flags, webhooks=True) as process:
        process.wait_leading()
        process.wait_ready()
        eventually(lambda: all(bundles(fleet.hub)), what="the caBundle of every webhook")
        eventually(lambda: fleet.regions()[region]["phase"] == "Healthy", what="the region to be Healthy")
        yield process
    claim.release()


@pytest.fixture(scope="module")
def service(fleet: Fleet, operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Body:
    """A service that is Ready in hkg."""
    folder = tmp_path_factory.mktemp("certificate")
    files = f"--cert={folder / 'tls.crt'}", f"--key={folder / 'tls.key'}"
    openssl = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=chat"
    out = ["-out", str(folder / "tls.crt"), "-keyout", str(folder / "tls.key")]
    subprocess.run(["openssl", *openssl.split(), *out], check=True, capture_output=True, timeout=30)
    kubectl(fleet.hub, "-n", "chat", "create", "secret", "tls", "chat-tls", *files)
    body = manifest()
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(body))
    fleet.run("status", "-n", "chat", "--until-ready", "--for=60s")
    return body
