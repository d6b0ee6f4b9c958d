"""One bare cluster for everything here that leaves the cluster itself alone; a client for each test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from clusters import RegionCluster, fresh_namespace
from localkube.bare import BareCluster
from roadstead.kernel.client import ClusterClient, hub_configuration


@pytest.fixture(scope="session")
def cluster(region_cluster: RegionCluster) -> BareCluster:
    """Shared by the session; two fake nodes, all controllers. Work in a namespace of your own."""
    return region_cluster("kern")


@pytest.fixture
async def client(cluster: BareCluster) -> AsyncIterator[ClusterClient]:
    """An administrator's client, made by the engine's own code."""
    made = ClusterClient("kern", await hub_configuration(str(cluster.kubeconfig)))
    yield made
    await made.close()


@pytest.fixture
def space(cluster: BareCluster) -> Iterator[str]:
    """A fresh namespace; deleted afterwards without waiting."""
    name = fresh_namespace(cluster, "kern")
    yield name
    with contextlib.suppress(OSError, RuntimeError):
        cluster.api.request("DELETE", f"/api/v1/namespaces/{name}")
