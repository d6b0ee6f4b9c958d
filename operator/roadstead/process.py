"""What runs in the operator's process, and in which order it starts and stops.

Every replica informs itself, keeps its connections warm and answers webhooks; only the holder of the Lease writes. Our
tasks run beside kopf and not in its start-up hooks: those are cancelled five seconds late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import kopf
from kubernetes.aio.client import Configuration
from prometheus_client import CollectorRegistry

from roadstead.admission import webhook
from roadstead.admission.certificates import serving_names
from roadstead.admission.facts import FactFinder
from roadstead.admission.keeper import CertificateFollower, CertificateKeeper
from roadstead.admission.server import WebhookServer
from roadstead.admission.tls import ServingTls
from roadstead.api.keyring import KekProviderKind
from roadstead.approvals.reconcile import ApprovalReconciler
from roadstead.chat.bulkhead import Bulkhead
from roadstead.chat.reconcile import ChatReconciler, regions_of
from roadstead.checks import Checks
from roadstead.kernel import informer, objects, templates
from roadstead.kernel.client import ClusterClient, hub_configuration, member_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.context import Context, Result
from roadstead.kernel.controller import Controller
from roadstead.kernel.errors import Fatal
from roadstead.kernel.events import EventRecorder
from roadstead.kernel.fleet import HUB_MEMBER, Member
from roadstead.kernel.gate import Gate
from roadstead.kernel.health import HealthServer
from roadstead.kernel.kubeconfig import MemberAccess
from roadstead.kernel.lease import Leadership, LeaseTimes
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import APPROVALS, CHAT_SERVICES, KEY_RINGS, KEY_VERSIONS, REGIONS, Key
from roadstead.kernel.patience import patiently
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.kernel.secrets import SecretVersions
from roadstead.kernel.watch import Watcher
from roadstead.keys import reconcile as keys
from roadstead.keys.deks import Deks
from roadstead.keys.kek import KekProvider
from roadstead.keys.kek_kubernetes import KubernetesProvider
from roadstead.keys.kek_pinned import Module, PinnedProvider
from roadstead.keys.operations import KeyOperations
from roadstead.keys.providers import Counted, NotConfigured
from roadstead.regions.reconcile import RegionReconciler
from roadstead.triggers import Kubeconfigs, Triggers

KINDS = (REGIONS, CHAT_SERVICES, KEY_RINGS, KEY_VERSIONS, APPROVALS)
RESYNC_INTERVAL = 3600.0
"""Seconds between two looks for deletions that kopf's watch may have missed."""
NO_HSM = (
    "spec.kek.provider is PKCS11, but this operator is not set up with a hardware security module; set "
    "keys.pkcs11.library, keys.pkcs11.token and keys.pkcs11.pinSecret in the chart's values (flags --pkcs11-*)"
)
GRACE = 1.5
"""Seconds that a reconcile which is under way gets at a graceful stop; it is safe to cut at any point."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags of `roadstead.main` say."""

    kubeconfig: str = ""
    namespace: str = "roadstead-system"
    hub_id: str = ""
    metrics_address: str = "127.0.0.1"
    metrics_port: int = 8080
    webhook_address: str = "0.0.0.0"  # noqa: S104 - in a pod
    webhook_port: int = 9443
    webhook_secret: str = "roadstead-webhook-tls"  # noqa: S105 - a name
    webhook_service: str = "roadstead-webhook"
    webhook_configuration: str = "roadstead"
    webhook_certificates: str = "self-managed"
    lease_name: str = "roadstead-operator"
    lease_times: LeaseTimes = field(default_factory=LeaseTimes)
    identity: str = ""
    workers: int = 16
    hsm: Module | None = None


class Process:
    """The operator. Make one, then `run` it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock = SystemClock()
        self._metrics = Metrics(CollectorRegistry())
        self._metrics.leader.labels(options.lease_name).set(0)
        self._queue = WorkQueue(self._clock, metrics=self._metrics)
        self._resources = ResourceStore(_references)
        self._triggers = Triggers(self._queue, self._resources)
        self._secrets = SecretVersions(self._triggers.secret_changed)
        self._identity = options.identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._informed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._exit_code = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._kopf: asyncio.Task[Any] | None = None
        self._controller: asyncio.Task[None] | None = None
        self._hsm = PinnedProvider(options.hsm, secrets.token_bytes, self._clock.monotonic) if options.hsm else None

    async def run(self) -> int:
        """Run until a signal or a fatal error; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, os._exit, 0)  # nothing is held yet; replaced when there is
        options = self._options
        configuration = await hub_configuration(options.kubeconfig or None)
        # The lease, events and webhooks have a connection pool of their own, which nothing else can fill.
        plain = ClusterClient(HUB_MEMBER, configuration, observe=self._metrics.requested)
        leadership = Leadership(
            plain, options.namespace, options.lease_name, self._identity, self._clock, options.lease_times
        )
        hub_client = ClusterClient(
            HUB_MEMBER,
            await hub_configuration(options.kubeconfig or None),
            observe=self._metrics.requested,
            guard=leadership.guard,
        )
        hub_id = options.hub_id or await patiently(
            lambda: _cluster_id(plain), "read the namespace kube-system, whose uid is this hub's id", self._clock
        )
        ctx = self._context(hub_client, plain, hub_id)
        regions = RegionReconciler(
            lambda name, access: self._connect(name, access, ctx, leadership), lambda: leadership.leading
        )
        tls = ServingTls()
        server = WebhookServer(tls, webhook.ENDPOINTS, address=options.webhook_address, port=options.webhook_port)
        ctx.hub.start()
        tls_secrets = self._watch_secrets(ctx)
        served = server if options.webhook_port else None
        health = Checks(ctx, self._informed.is_set, tls_secrets, served, tls, options.webhook_secret).health_server()
        await health.start(options.metrics_address, options.metrics_port)
        log.info("serving health and metrics on port %d", health.port)
        self._spawn(health.measure_lag())
        if options.webhook_port:
            self._spawn(self._follower(plain, tls).run())
        kopf_stop = asyncio.Event()
        await self._start_kopf(configuration, plain, server, kopf_stop)
        self._spawn(self._lead(ctx, leadership, regions, tls_secrets))
        await self._stopping.wait()
        log.info("stopping")
        await self._end_work(leadership)
        await self._close(ctx, plain, regions, health, kopf_stop)
        return self._exit_code

    def _context(self, hub_client: ClusterClient, plain: ClusterClient, hub_id: str) -> Context:
        return Context(
            hub=Member(HUB_MEMBER, hub_client, hub_id, self._clock, self._queue.add),
            hub_id=hub_id,
            namespace=self._options.namespace,
            fleet=self._triggers.fleet,
            resources=self._resources,
            queue=self._queue,
            clock=self._clock,
            events=EventRecorder(plain, self._clock, self._identity),
            metrics=self._metrics,
        )

    async def _lead(
        self, ctx: Context, leadership: Leadership, regions: RegionReconciler, tls_secrets: Watcher
    ) -> None:
        """Keep regions connected until this process leads, then work."""
        chat = ChatReconciler(self._secrets.version, templates.load("chat"), Bulkhead(ctx.queue.add))
        standby = asyncio.create_task(Controller(ctx, {REGIONS.kind: regions.reconcile}, workers=4).run())
        await self._informed.wait()
        for watcher in (*ctx.hub.watchers, tls_secrets):
            await watcher.synced.wait()
        await leadership.acquire()
        self._spawn(leadership.hold())  # before anything is waited for: the lease runs
        self._metrics.leader.labels(self._options.lease_name).set(1)
        standby.cancel()
        await asyncio.gather(standby, return_exceptions=True)
        # Nothing may be done by what kopf's watch has missed: a service that was deleted would have its children made
        # again, and one that the former leader has rolled out since would return to its old version everywhere.
        for gvr in KINDS:
            catch_up = partial(informer.catch_up, ctx.hub.client, gvr, ctx.resources)
            for key in await patiently(catch_up, "list our own resources", ctx.clock):
                ctx.queue.add(key)
        if self._options.webhook_port and self._options.webhook_certificates == "self-managed":
            self._spawn(self._keeper(ctx.hub.client).run())
        self._spawn(informer.resync(ctx.hub.client, KINDS, ctx.resources, ctx.queue.add, ctx.clock, RESYNC_INTERVAL))
        self._triggers.everything()
        # Also owners that are gone: what they left behind is swept. As a standby we threw their keys away.
        for member in ctx.fleet.connected(ctx.hub):
            for owner in member.store.owners():
                ctx.queue.add(owner)
        deks = self._deks(ctx)
        rings = keys.KeyRingReconciler(deks, secrets.token_bytes)
        reconcilers: dict[str, Callable[[Key, Context], Awaitable[Result]]] = {
            REGIONS.kind: regions.reconcile,
            CHAT_SERVICES.kind: chat.reconcile,
            KEY_RINGS.kind: partial(self._ring, rings),
            KEY_VERSIONS.kind: rings.version_changed,
            APPROVALS.kind: ApprovalReconciler(KeyOperations(deks).all()).reconcile,
        }
        self._controller = asyncio.create_task(Controller(ctx, reconcilers, workers=self._options.workers).run())
        await self._controller

    async def _ring(self, rings: keys.KeyRingReconciler, key: Key, ctx: Context) -> Result:
        """A ring, and after it the services that encrypt with it: whether they are ready is said in its status."""
        try:
            return await rings.reconcile(key, ctx)
        finally:
            self._triggers.ring_changed(key)

    def _deks(self, ctx: Context) -> Deks:
        """Material of rings in the hub, and where its KEKs live."""
        client, namespace = ctx.hub.client, self._options.namespace
        providers = {
            KekProviderKind.KUBERNETES: KubernetesProvider(client, namespace, secrets.token_bytes),
            KekProviderKind.PKCS11: self._hsm or NotConfigured(NO_HSM),
        }
        counted: dict[KekProviderKind, KekProvider] = {
            kind: Counted(provider, partial(self._metrics.kek_failed, kind)) for kind, provider in providers.items()
        }
        return Deks(client, namespace, counted, secrets.token_bytes)

    def _connect(self, name: str, access: MemberAccess, ctx: Context, leadership: Leadership) -> Member:
        client = ClusterClient(
            name,
            member_configuration(access),
            access=access,
            gate=Gate(f"region {name}", time.monotonic),
            observe=self._metrics.requested,
            guard=leadership.guard,
        )
        return Member(name, client, ctx.hub_id, self._clock, self._queue.add)

    def _follower(self, client: ClusterClient, tls: ServingTls) -> CertificateFollower:
        return CertificateFollower(
            client, namespace=self._options.namespace, secret=self._options.webhook_secret, tls=tls, clock=self._clock
        )

    def _keeper(self, client: ClusterClient) -> CertificateKeeper:
        names = serving_names(self._options.webhook_service, self._options.namespace, self._options.webhook_address)
        return CertificateKeeper(
            client,
            namespace=self._options.namespace,
            secret=self._options.webhook_secret,
            configuration=self._options.webhook_configuration,
            names=names,
            clock=self._clock,
        )

    async def _start_kopf(
        self, configuration: Configuration, client: ClusterClient, server: WebhookServer, stop: asyncio.Event
    ) -> None:
        await informer.served(client, KINDS, self._clock)
        version = await patiently(client.version, "read the hub's version", self._clock)
        registry = kopf.OperatorRegistry()
        settings = informer.settings(streaming=informer.streams_lists(version))
        informer.register_login(registry, configuration)
        informer.register(registry, KINDS, self._resources, self._queue.add)
        if self._options.webhook_port:
            webhook.register(registry, FactFinder(client, self._options.namespace))
            settings.admission.server = server
        tasks = await kopf.spawn_tasks(
            registry=registry, settings=settings, clusterwide=True, standalone=True, stop_flag=stop
        )
        # kopf takes the signals in spawn_tasks; they are ours, so that the lease is released first.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._kopf = asyncio.create_task(kopf.run_tasks(tasks, ignored=asyncio.all_tasks()), name="kopf")
        self._kopf.add_done_callback(self._ended)
        self._spawn(self._inform(client))

    async def _inform(self, client: ClusterClient) -> None:
        await informer.delivered(client, KINDS, self._resources, self._clock)
        self._informed.set()

    def _watch_secrets(self, ctx: Context) -> Watcher:
        """Follow, by metadata only, the Secrets that specs refer to; returns the watch of TLS Secrets."""
        client, clock = ctx.hub.client, self._clock
        kubeconfigs = Kubeconfigs(self._triggers)
        self._spawn(Watcher(client, objects.SECRETS, kubeconfigs, clock, namespace=self._options.namespace).run())
        tls_secrets = Watcher(client, objects.SECRETS, self._secrets, clock, fields=f"type={objects.TLS_TYPE}")
        self._spawn(tls_secrets.run())
        return tls_secrets

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(coroutine)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A task of ours ended by itself: with an error the process ends too, as quickly as possible."""
        if task.cancelled() or self._stopping.is_set():
            return
        error = task.exception()
        if error is None:
            if task is self._kopf:
                self._stopping.set()
            return
        if isinstance(error, BaseExceptionGroup):
            fatal, _ = error.split(Fatal)
            error = fatal or error
        log.critical("the process ends: %s", error, exc_info=None if isinstance(error, Fatal) else error)
        self._exit_code = 1
        if isinstance(error, Fatal | BaseExceptionGroup):
            os._exit(1)  # without the lease not one more write may leave
        self._stopping.set()

    async def _end_work(self, leadership: Leadership) -> None:
        """Work ends first, then the lease is given up."""
        self._queue.close()
        if self._controller is not None:
            await asyncio.wait({self._controller}, timeout=GRACE)
            self._controller.cancel()
        for task in self._tasks:
            task.cancel()
        await leadership.release()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close(
        self,
        ctx: Context,
        plain: ClusterClient,
        regions: RegionReconciler,
        health: HealthServer,
        kopf_stop: asyncio.Event,
    ) -> None:
        """Then everything that only reads."""
        if self._hsm is not None:
            with contextlib.suppress(TimeoutError):  # it ends with us, but by itself it leaves no key half made
                async with asyncio.timeout(GRACE):
                    await self._hsm.close()
        await regions.close()
        await ctx.hub.stop()
        await plain.close()
        await health.stop()
        kopf_stop.set()  # last: kopf cancels every task that it does not know when it ends
        if self._kopf is not None:
            await asyncio.wait({self._kopf}, timeout=GRACE)


def _references(kind: str, body: Mapping[str, Any]) -> frozenset[str]:
    if kind == KEY_RINGS.kind:
        return keys.regions_of(body)
    return regions_of(body) if kind == CHAT_SERVICES.kind else frozenset()


async def _cluster_id(client: ClusterClient) -> str:
    namespace = await client.get(objects.NAMESPACES, "", "kube-system", metadata_only=True)
    return str(namespace["metadata"]["uid"])
