"""What runs in the operator's process, and in which order it starts and stops.

Every replica informs itself, keeps its connections warm and answers webhooks; only the holder of the Lease writes. Our
tasks run beside kopf and not in its start-up hooks: those are cancelled five seconds late.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
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
from roadstead.chat.reconcile import ChatReconciler, regions_of
from roadstead.kernel import informer, objects, templates
from roadstead.kernel.client import ClusterClient, hub_configuration, member_configuration
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.context import Context
from roadstead.kernel.controller import Controller
from roadstead.kernel.errors import Fatal, RoadsteadError
from roadstead.kernel.events import EventRecorder
from roadstead.kernel.fleet import HUB_MEMBER, Fleet, Member
from roadstead.kernel.gate import Gate
from roadstead.kernel.health import HealthServer
from roadstead.kernel.kubeconfig import MemberAccess
from roadstead.kernel.lease import Leadership, LeaseTimes
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import CHAT_SERVICES, REGIONS, Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.kernel.secrets import SecretVersions
from roadstead.kernel.watch import STALE_AFTER, Watcher
from roadstead.regions.reconcile import RegionReconciler

KINDS = (REGIONS, CHAT_SERVICES)
RESYNC_INTERVAL = 3600.0
"""Seconds between two looks for deletions that kopf's watch may have missed."""
INFORM_POLLS = 200
"""Looks, 50 ms apart, at what kopf has delivered before our own list is made anew (something may have been deleted)."""
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


class Process:
    """The operator. Make one, then `run` it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock = SystemClock()
        self._metrics = Metrics(CollectorRegistry())
        self._queue = WorkQueue(self._clock, metrics=self._metrics)
        self._resources = ResourceStore(_references)
        self._fleet = Fleet(self._region_changed)
        self._identity = options.identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._stopping = asyncio.Event()
        self._exit_code = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._informed = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal or a fatal error; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, os._exit, 0)  # nothing is held yet; replaced when there is
        configuration = await hub_configuration(self._options.kubeconfig or None)
        # The lease, events and webhooks have a connection pool of their own, which nothing else can fill.
        plain = ClusterClient(HUB_MEMBER, configuration, observe=self._metrics.requested)
        leadership = Leadership(
            plain,
            self._options.namespace,
            self._options.lease_name,
            self._identity,
            self._clock,
            self._options.lease_times,
        )
        hub_client = ClusterClient(
            HUB_MEMBER,
            await hub_configuration(self._options.kubeconfig or None),
            observe=self._metrics.requested,
            guard=leadership.guard,
        )
        hub_id = self._options.hub_id or await self._cluster_id(plain)
        ctx = self._context(hub_client, plain, hub_id)
        regions = RegionReconciler(lambda name, access: self._connect(name, access, ctx, leadership), self._leading)
        self._leadership = leadership
        tls = ServingTls()
        server = WebhookServer(
            tls, webhook.ENDPOINTS, address=self._options.webhook_address, port=self._options.webhook_port
        )
        health = self._health(ctx, server, tls)
        ctx.hub.start()
        await health.start(self._options.metrics_address, self._options.metrics_port)
        log.info("serving health and metrics on port %d", health.port)
        self._spawn(health.measure_lag())
        self._watch_secrets(ctx)
        if self._options.webhook_port:
            self._spawn(self._follower(plain, tls).run())
        kopf_stop = asyncio.Event()
        await self._start_kopf(configuration, plain, server, kopf_stop)
        self._spawn(self._lead(ctx, leadership, regions))
        await self._stopping.wait()
        await self._shut_down(ctx, plain, leadership, regions, health, kopf_stop)
        return self._exit_code

    def _context(self, hub_client: ClusterClient, plain: ClusterClient, hub_id: str) -> Context:
        hub = Member(HUB_MEMBER, hub_client, hub_id, self._clock, self._queue.add)
        self._secrets = SecretVersions(self._secret_changed)
        return Context(
            hub=hub,
            hub_id=hub_id,
            namespace=self._options.namespace,
            fleet=self._fleet,
            resources=self._resources,
            queue=self._queue,
            clock=self._clock,
            events=EventRecorder(plain, self._clock, self._identity),
            metrics=self._metrics,
        )

    async def _lead(self, ctx: Context, leadership: Leadership, regions: RegionReconciler) -> None:
        """Keep regions connected until this process leads, then work."""
        chat = ChatReconciler(self._secrets.version, templates.load("chat"))
        standby = asyncio.create_task(Controller(ctx, {REGIONS.kind: regions.reconcile}, workers=4).run())
        await self._informed.wait()
        await _synced(ctx.hub)
        await self._tls_secrets.synced.wait()
        await leadership.acquire()
        self._spawn(leadership.hold())  # before anything is waited for: the lease runs
        self._metrics.leader.labels(self._options.lease_name).set(1)
        standby.cancel()
        await asyncio.gather(standby, return_exceptions=True)
        await self._forget_ghosts(ctx)
        if self._options.webhook_port and self._options.webhook_certificates == "self-managed":
            self._spawn(self._keeper(ctx.hub.client).run())
        self._spawn(
            informer.resync(_pages(ctx.hub.client), KINDS, ctx.resources, ctx.queue.add, ctx.clock, RESYNC_INTERVAL)
        )
        for kind in (REGIONS.kind, CHAT_SERVICES.kind):
            for key in ctx.resources.keys(kind):
                ctx.queue.add(key)
        # Also owners that are gone: what they left behind is swept. As a standby we threw their keys away.
        for member in ctx.fleet.connected(ctx.hub):
            for owner in member.store.owners():
                ctx.queue.add(owner)
        reconcilers = {REGIONS.kind: regions.reconcile, CHAT_SERVICES.kind: chat.reconcile}
        self._controller = asyncio.create_task(Controller(ctx, reconcilers, workers=self._options.workers).run())
        await self._controller

    async def _forget_ghosts(self, ctx: Context) -> None:
        """A deletion that kopf's watch missed while we waited must not have its children made again."""
        while True:
            try:
                for gvr in KINDS:
                    for key in await informer.find_gone(_pages(ctx.hub.client), gvr, ctx.resources):
                        ctx.queue.add(key)
            except RoadsteadError as error:
                log.warning("cannot list our own resources: %s", error)
                await self._clock.sleep(1.0)
            else:
                return

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

    def _health(self, ctx: Context, server: WebhookServer, tls: ServingTls) -> HealthServer:
        def hub_watches() -> str:
            # Only when another watch is heard: a hub that is away is no reason to restart us, let alone all of us.
            ages = [watcher.age() for watcher in ctx.hub.watchers if not watcher.error]
            stuck = len(ages) > 1 and min(ages) < STALE_AFTER < max(ages)
            return f"a watch of the hub was last heard {max(ages):.0f} s ago, others just now" if stuck else ""

        def informed() -> str:
            return "" if self._informed.is_set() else "the first list of our resources is not complete"

        def synced() -> str:
            return "" if ctx.hub.synced else "the first list of our children in the hub is not complete"

        def webhooks() -> str:
            if not self._options.webhook_port or server.serving.is_set():
                return ""
            return f"webhooks are not served: Secret {self._options.webhook_secret} is not loaded yet"

        def before_scrape() -> None:
            self._metrics.observe_queue(self._queue)
            self._metrics.observe_resources(self._resources.readiness())
            if tls.not_after is not None:
                self._metrics.webhook_certificate.set(tls.not_after.timestamp())
            self._metrics.watch_age.labels(HUB_MEMBER).set(ctx.hub.oldest_watch())
            for site in self._fleet.sites():
                if site.member is not None and not site.in_hub:
                    self._metrics.watch_age.labels(site.name).set(site.member.oldest_watch())

        return HealthServer(
            self._metrics,
            self._clock,
            live={"watches": hub_watches},
            ready={"informer": informed, "hub": synced, "webhooks": webhooks},
            before_scrape=before_scrape,
        )

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
        registry = kopf.OperatorRegistry()
        settings = informer.settings(streaming=informer.streams_lists(await self._version(client)))
        await self._kinds_served(client)
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
        self._spawn(self._wait_informed(client))

    async def _wait_informed(self, client: ClusterClient) -> None:
        """Kopf does not tell when its first list is complete: compare what it delivered with a list of our own."""
        while True:
            try:
                pending = await _listed(client)
            except RoadsteadError as error:
                log.warning("cannot list our own resources: %s", error)
                await self._clock.sleep(1.0)
                continue
            for _ in range(INFORM_POLLS):
                pending = {key: version for key, version in pending.items() if self._resources.version(key) < version}
                if not pending:
                    self._informed.set()
                    return
                await self._clock.sleep(0.05)

    def _watch_secrets(self, ctx: Context) -> None:
        """Follow, by metadata only, the Secrets that specs refer to."""

        class Kubeconfigs:
            """Any change of a Secret in our namespace may be a region's new kubeconfig."""

            def __init__(self, process: Process) -> None:
                self.process = process

            def seen(self, *_: Any, **__: Any) -> None:
                self.process._all_regions()

            def gone(self, *_: Any) -> None:
                self.process._all_regions()

            def listed(self, *_: Any) -> None:
                self.process._all_regions()

        self._spawn(
            Watcher(
                ctx.hub.client, objects.SECRETS, Kubeconfigs(self), self._clock, namespace=self._options.namespace
            ).run()
        )
        self._tls_secrets = Watcher(
            ctx.hub.client, objects.SECRETS, self._secrets, self._clock, fields="type=kubernetes.io/tls"
        )
        self._spawn(self._tls_secrets.run())

    def _all_regions(self) -> None:
        for key in self._resources.keys(REGIONS.kind):
            self._queue.add(key)

    def _secret_changed(self, namespace: str) -> None:
        for key in self._resources.in_namespace(CHAT_SERVICES.kind, namespace):
            self._queue.add(key)

    def _region_changed(self, region: str) -> None:
        for key in self._resources.mentioning(CHAT_SERVICES.kind, region):
            self._queue.add(key)
        site = self._fleet.site(region)
        if site is None or site.member is None or not site.usable:
            return
        # What is there of services that no longer name the region, or no longer exist, was found before the region
        # could be used; nothing else would bring them up again.
        for owner in site.member.store.owners():
            if owner.kind == CHAT_SERVICES.kind and not self._resources.depends(owner, region):
                self._queue.add(owner)

    def _leading(self) -> bool:
        return self._leadership.leading

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
            if task is getattr(self, "_kopf", None):
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

    async def _version(self, client: ClusterClient) -> str:
        while True:
            try:
                return await client.version()
            except RoadsteadError as error:
                log.warning("cannot read the hub's version: %s", error)
                await self._clock.sleep(2.0)

    async def _kinds_served(self, client: ClusterClient) -> None:
        """Wait for our CRDs: kopf looks once for what it should watch, and never again."""
        while True:
            try:
                missing = [gvr.resource for gvr in KINDS if not await client.serves(gvr)]
            except RoadsteadError as error:
                log.warning("cannot read what the hub serves: %s", error)
            else:
                if not missing:
                    return
                log.warning("the hub does not serve %s; apply the CRDs of this version", ", ".join(missing))
            client.forget_discovery()
            await self._clock.sleep(2.0)

    async def _cluster_id(self, client: ClusterClient) -> str:
        while True:
            try:
                namespace = await client.get(objects.NAMESPACES, "", "kube-system", metadata_only=True)
                return str(namespace["metadata"]["uid"])
            except RoadsteadError as error:
                log.warning("cannot read the namespace kube-system, whose uid is this hub's id: %s", error)
                await self._clock.sleep(2.0)

    async def _shut_down(
        self,
        ctx: Context,
        plain: ClusterClient,
        leadership: Leadership,
        regions: RegionReconciler,
        health: HealthServer,
        kopf_stop: asyncio.Event,
    ) -> None:
        """Work ends first, then the lease is given up, then everything that only reads."""
        log.info("stopping")
        self._queue.close()
        controller = getattr(self, "_controller", None)
        if controller is not None:
            await asyncio.wait({controller}, timeout=GRACE)
            controller.cancel()
        for task in self._tasks:
            task.cancel()
        await leadership.release()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await regions.close()
        await ctx.hub.stop()
        await plain.close()
        await health.stop()
        kopf_stop.set()  # last: kopf cancels every task that it does not know when it ends
        await asyncio.wait({self._kopf}, timeout=GRACE)


def _references(kind: str, body: Mapping[str, Any]) -> frozenset[str]:
    return regions_of(body) if kind == CHAT_SERVICES.kind else frozenset()


async def _synced(member: Member) -> None:
    for watcher in member.watchers:
        await watcher.synced.wait()


async def _listed(client: ClusterClient) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for gvr in KINDS:
        async for items, _ in client.pages(gvr, metadata_only=True):
            for item in items:
                metadata = item["metadata"]
                key = Key(gvr.kind, metadata.get("namespace", ""), metadata["name"])
                found[key] = int(metadata["resourceVersion"])
    return found


def _pages(client: ClusterClient) -> Any:
    return lambda gvr: client.pages(gvr, metadata_only=True)
