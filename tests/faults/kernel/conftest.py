"""A real cluster behind the proxy, and an identity that may do everything there (a token: see `faults.proxy`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clusters import RegionCluster, fresh_namespace
from faults.proxy import Proxy
from localkube import rbac
from localkube.bare import BareCluster
from roadstead.kernel.client import ClusterClient, hub_configuration

BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture(scope="session")
def cluster(region_cluster: RegionCluster) -> BareCluster:
    """Shared with tests/integration/kernel."""
    return region_cluster("kern")


@pytest.fixture(scope="session")
def token(cluster: BareCluster) -> str:
    made = rbac.service_account_token(cluster.api, "default", "everything")
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "everything"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "everything", "namespace": "default"}],
    }
    cluster.api.create(BINDINGS, binding)
    return made


@pytest.fixture
def space(cluster: BareCluster) -> Iterator[str]:
    name = fresh_namespace(cluster, "faults")
    yield name
    with contextlib.suppress(OSError, RuntimeError):
        cluster.api.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
async def proxy(cluster: BareCluster) -> AsyncIterator[Proxy]:
    async with Proxy(cluster) as made:
        yield made


@pytest.fixture
def kubeconfig(proxy: Proxy, token: str, tmp_path: Path) -> Path:
    return proxy.kubeconfig(tmp_path / "kubeconfig", token)


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[ClusterClient]:
    """The engine's client, through the proxy."""
    made = ClusterClient("behind", await hub_configuration(str(kubeconfig)))
    yield made
    await made.close()
