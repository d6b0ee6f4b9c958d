"""A CA and its certificates live for seconds here, under a real API server that calls all the time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from clusters import StartCluster, eventually_async
from integration.admission.serving import CONFIGURATION, NAMESPACE, bundles, install_webhooks, region
from localkube import ports, rbac
from localkube.bare import BareCluster
from localoperator import SERVICE_ACCOUNT, grant
from roadstead.admission.certificates import Lifetimes, serving_names
from roadstead.admission.keeper import CertificateFollower, CertificateKeeper
from roadstead.admission.server import WebhookServer
from roadstead.admission.tls import ServingTls
from roadstead.admission.webhook import ENDPOINTS
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.clock import SystemClock

SECRET = "roadstead-webhook-tls"
SHORT = Lifetimes(
    authority=timedelta(seconds=24),
    authority_renewal=timedelta(seconds=16),
    serving=timedelta(seconds=10),
    serving_renewal=timedelta(seconds=5),
    overlap=timedelta(seconds=3),
    skew=timedelta(seconds=30),
)
"""A new CA every 11 seconds: after 8 it gets a successor that signs 3 seconds later; the old one goes 3 after that."""
ROTATIONS = 2


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    claim = ports.Claim(1)
    yield claim.ports[0]
    claim.release()


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster, port: int) -> BareCluster:
    hub = start_cluster("rotation", with_crds=True, scheduler=False, kwok=False)
    grant(hub)
    install_webhooks(hub, port)
    return hub


class Callers:
    """Threads that create Regions (dry run) without a pause; each call makes the API server call us."""

    def __init__(self, cluster: BareCluster, count: int) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._cluster = cluster
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(count)]

    def _call(self, number: int) -> None:
        api = self._cluster.api
        while not self._stop.is_set():
            try:
                api.request("POST", "/apis/roadstead.dev/v1alpha1/regions?dryRun=All", region(f"r{number}"))
            except Exception as error:
                self.failures.append(f"{time.time():.1f}: {error}")
            self.calls += 1

    async def __aenter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)  # their last calls are answered by this very loop


async def allow(request: Any, **_: Any) -> Any:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": request["request"]["uid"], "allowed": True},
    }


async def serve(server: WebhookServer) -> None:
    async for _ in server(allow):
        pass


async def test_a_ca_is_replaced_twice_under_load_without_one_failed_call(cluster: BareCluster, port: int) -> None:
    kubeconfig = rbac.service_account_kubeconfig(cluster, NAMESPACE, SERVICE_ACCOUNT)
    client = ClusterClient("hub", await hub_configuration(str(kubeconfig)))
    clock, tls = SystemClock(), ServingTls()
    keeper = CertificateKeeper(
        client,
        namespace=NAMESPACE,
        secret=SECRET,
        configuration=CONFIGURATION,
        names=serving_names("roadstead-webhook", NAMESPACE, "127.0.0.1"),
        clock=clock,
        lifetimes=SHORT,
    )
    follower = CertificateFollower(client, namespace=NAMESPACE, secret=SECRET, tls=tls, clock=clock, interval=0.5)
    server = WebhookServer(tls, ENDPOINTS, address="127.0.0.1", port=port)
    tasks = [asyncio.ensure_future(task) for task in (keeper.run(), follower.run(), serve(server))]
    seen: list[str] = []

    async def rotated() -> Any:
        for task in tasks:
            assert not task.done(), task
        bundle = (await asyncio.to_thread(bundles, cluster))[0]
        if not seen or seen[-1] != bundle:
            seen.append(bundle)
        return len(_signers(seen)) > ROTATIONS

    async def served() -> Any:
        return server.serving.is_set() and all(await asyncio.to_thread(bundles, cluster))

    async def accepted() -> Any:
        return await asyncio.to_thread(_accepted, cluster)

    try:
        await eventually_async(served, what="webhooks to be served")
        first = await asyncio.to_thread(bundles, cluster)
        await eventually_async(accepted, what="the API server to know the bundle")
        async with Callers(cluster, 4) as callers:
            await eventually_async(rotated, deadline=90, interval=0.3, what="two rotations")
        assert callers.failures == []
        assert callers.calls > 200
        assert first[0] != seen[-1]
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await client.close()


def _accepted(cluster: BareCluster) -> bool:
    with contextlib.suppress(Exception):
        cluster.api.request("POST", "/apis/roadstead.dev/v1alpha1/regions?dryRun=All", region("first"))
        return True
    return False


def _signers(found: list[str]) -> list[x509.Name]:
    """The signing CAs in the order in which they came; the first of each bundle signs."""
    signers: list[x509.Name] = []
    for bundle in found:
        name = x509.load_pem_x509_certificates(base64.b64decode(bundle))[0].subject
        if name not in signers:
            signers.append(name)
    return signers
