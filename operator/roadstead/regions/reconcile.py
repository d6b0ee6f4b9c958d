"""The shell around a Region: connect, probe, publish, write the status."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from roadstead.api.conditions import Reason
from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from roadstead.api.region import KubeconfigSecretRef, Region, RegionCapacity, Scheduling
from roadstead.kernel import objects, status
from roadstead.kernel.context import Context, Result
from roadstead.kernel.controller import waiting_for
from roadstead.kernel.errors import Fatal, RoadsteadError, Unauthorised, UntrustedKubeconfig
from roadstead.kernel.fleet import HUB_MEMBER, Member, Site
from roadstead.kernel.kubeconfig import MemberAccess
from roadstead.kernel.kubeconfig import parse as parse_kubeconfig
from roadstead.kernel.objects import REGIONS, Key
from roadstead.regions import capacity
from roadstead.regions.decide import Access, Observation, find
from roadstead.regions.status import derive, stalled

SURVEY_INTERVAL = 60.0
"""Seconds between two looks at a region's nodes and at the services that name it."""

log = logging.getLogger(__name__)

Connect = Callable[[str, MemberAccess], Member]
"""Makes, but does not start, the member of a region."""


@dataclass(slots=True)
class _Connection:
    """What this process remembers of a region between two reconciles; all of it can be found out again."""

    member: Member | None = None
    uid: str = ""
    digest: bytes = b""
    failures: int = 0
    cluster_id: str = ""
    capacity: RegionCapacity | None = None
    services: int = 0
    surveyed_at: float = float("-inf")
    version: str = ""
    survey: asyncio.Task[None] | None = None


class RegionReconciler:
    """Keeps a connection for each Region and publishes it to the fleet.

    A standby runs it too, without writing, so that every connection and every watch is warm when it takes over.

    Args:
        connect: makes a member from a kubeconfig that was found acceptable.
        writing: whether this process leads and may write statuses.
    """

    def __init__(self, connect: Connect, writing: Callable[[], bool]) -> None:
        self._connect = connect
        self._writing = writing
        self._connections: dict[str, _Connection] = {}

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """One look at one Region."""
        if key.namespace:
            return Result()  # no Region's: somebody's labels say so
        body = ctx.resources.get(key)
        if body is None:
            await self._leave(key.name, ctx)
            return Result()
        try:
            region = parse("Region", body)
        except SpecError as error:
            if ctx.fleet.site(key.name) is None:  # else it stays as it was
                message = f"the Region's spec cannot be carried out: {error}"
                ctx.fleet.put(Site(name=key.name, jurisdiction="", message=message))
            if self._writing():
                await status.write(ctx, REGIONS, body, stalled(body, str(error), ctx.clock.now()))
            return Result()
        connection = self._connections.setdefault(key.name, _Connection())
        if connection.uid != region.metadata.uid:  # deleted and made anew: another place, perhaps
            await self._disconnect(connection)
            connection = self._connections[key.name] = _Connection(uid=region.metadata.uid)
        try:
            seen = await self._look(region, connection, ctx)
        except Fatal:
            raise
        except RoadsteadError as error:  # of the hub, which has the Secret
            if connection.member is not None:
                raise  # what is known of the region stays true meanwhile
            log.warning("cannot look at region %s: %s", key.name, error)
            connection.failures += 1
            seen = Observation(failures=connection.failures, failure=f"the hub: {error}")
        except Exception as error:  # it must not stay pending: services would wait for it in their other regions too
            log.exception("unexpected error while looking at region %s", key.name)
            ctx.metrics.panics(REGIONS.kind)
            failure = f"an error that nobody foresaw ({type(error).__name__}); the operator's log has it"
            connection.failures += 1
            seen = Observation(failures=connection.failures, failure=failure)
        self._publish(region, seen, connection, ctx)
        if connection.member is not None and not seen.failure:
            with waiting_for(lambda: True):
                await self._survey(region, connection, connection.member, ctx)
        if self._writing():
            new = derive(
                region,
                seen,
                version=connection.version,
                capacity=connection.capacity,
                services=connection.services,
                now=ctx.clock.now(),
            )
            await status.write(ctx, REGIONS, body, new)
        return Result(requeue_after=region.spec.probe.interval.total_seconds())

    async def close(self) -> None:
        """Close every connection to a member."""
        for connection in self._connections.values():
            await self._disconnect(connection)
        self._connections.clear()

    async def _leave(self, name: str, ctx: Context) -> None:
        """The Region is gone: whatever runs there stays, and is ours to clean up only if it comes back."""
        ctx.fleet.drop(name)
        connection = self._connections.pop(name, None)
        if connection is not None:
            await self._disconnect(connection)
        ctx.metrics.forget_region(name)  # at last: requests that ended just now have counted once more

    async def _disconnect(self, connection: _Connection) -> None:
        member, connection.member, connection.digest = connection.member, None, b""
        if connection.survey is not None:
            connection.survey.cancel()
            await asyncio.gather(connection.survey, return_exceptions=True)
            connection.survey = None
        if member is not None and member.name != HUB_MEMBER:
            await member.stop()

    async def _look(self, region: Region, connection: _Connection, ctx: Context) -> Observation:
        reference = region.spec.cluster.kubeconfig_secret_ref
        if reference is None:
            connection.member = ctx.hub
        else:
            access, message = await self._ensure_connected(region.metadata.name, reference, connection, ctx)
            if access is not Access.READY:
                await self._disconnect(connection)
                return Observation(access=access, access_message=message)
        was_away = connection.failures >= region.spec.probe.failure_threshold
        with waiting_for(lambda: True):  # for its server, and for nothing else
            seen = await self._probe(region, connection, ctx)
        if was_away and not connection.failures and reference is not None:
            # Its watches wait for their next attempt, and what they saw last may be long past: nobody may take those
            # pods for ready that were so before. A new connection reads everything anew, and at once.
            connection.digest = b""
            return await self._look(region, connection, ctx)
        return seen

    async def _ensure_connected(
        self, name: str, reference: KubeconfigSecretRef, connection: _Connection, ctx: Context
    ) -> tuple[Access, str]:
        where = f"Secret {reference.namespace}/{reference.name}"
        if reference.namespace != ctx.namespace:
            return Access.REFUSED, (
                f"spec.cluster.kubeconfigSecretRef.namespace is {reference.namespace}, but kubeconfigs are read from "
                f"the operator's own namespace only; move the Secret to {ctx.namespace}"
            )
        secret = await ctx.hub.client.find(objects.SECRETS, reference.namespace, reference.name)
        if secret is None:
            return Access.SECRET_MISSING, f"{where} does not exist; create it, what runs in the region keeps running"
        encoded = (secret.get("data") or {}).get(reference.key)
        if not encoded:
            return Access.SECRET_MISSING, f"{where} has no key {reference.key}; put the kubeconfig there"
        digest = blake2b(encoded.encode(), digest_size=16).digest()
        if connection.member is not None and connection.digest == digest:
            return Access.READY, ""
        try:
            access = parse_kubeconfig(base64.b64decode(encoded, validate=True))
        except (UntrustedKubeconfig, binascii.Error) as error:
            return Access.REFUSED, f"{where}, key {reference.key}: {error}"
        try:
            member = self._connect(name, access)
        except (OSError, ValueError) as error:  # ssl refuses a pair (too weak, the wrong order); a name that is none
            return Access.REFUSED, f"{where}, key {reference.key}: no connection can be made with it: {error}"
        await self._disconnect(connection)
        connection.member = member
        connection.member.start()
        connection.digest = digest
        connection.failures = 0
        connection.cluster_id = ""
        return Access.READY, ""

    async def _probe(self, region: Region, connection: _Connection, ctx: Context) -> Observation:
        member = connection.member
        if member is None:
            raise AssertionError("a region is probed only when it is connected")
        failure, unauthorised = "", False
        started = ctx.clock.monotonic()
        try:
            connection.cluster_id = await member.client.probe(timeout=region.spec.probe.timeout.total_seconds())
            ctx.metrics.region_probe.labels(region.metadata.name).set(ctx.clock.monotonic() - started)
            connection.failures = 0
        except Unauthorised as error:
            failure, unauthorised = str(error), True
        except RoadsteadError as error:
            connection.failures += 1
            failure = str(error)
        synced = member.synced
        if not failure and not synced:
            synced = await _wait_for_sync(member)
        return Observation(
            failures=connection.failures,
            failure=failure,
            unauthorised=unauthorised,
            cluster_id=connection.cluster_id,
            known_cluster_id=region.status.cluster_id,
            synced=synced,
            watch_forbidden=member.watch_forbidden,
            watch_error=member.watch_error,
            silence=member.oldest_watch(),
            unsynced=0.0 if synced else member.listing_stands_still(),
        )

    async def _survey(self, region: Region, connection: _Connection, member: Member, ctx: Context) -> None:
        """Look at version and nodes now and then; what takes longer than the next probe may wait is told later."""
        if connection.survey is None or connection.survey.done():
            if ctx.clock.monotonic() - connection.surveyed_at < SURVEY_INTERVAL:
                return
            connection.surveyed_at = ctx.clock.monotonic()
            connection.services = sum(1 for _ in ctx.resources.mentioning("ChatService", region.metadata.name))
            connection.survey = asyncio.create_task(self._read_nodes(region, connection, member))
        await asyncio.wait({connection.survey}, timeout=SURVEY_PATIENCE)

    async def _read_nodes(self, region: Region, connection: _Connection, member: Member) -> None:
        """Not being allowed to is no reason to call the region unhealthy."""
        in_cluster = region.spec.cluster.in_cluster
        nodes: list[dict[str, Any]] = []
        try:
            connection.version = await member.client.version()
            async for page, _ in member.client.pages(objects.NODES):
                nodes += [capacity.slim(node) for node in page]  # node objects are large, and there may be thousands
            connection.capacity = capacity.of_nodes(nodes, in_cluster.node_selector if in_cluster else {})
        except (RoadsteadError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            log.warning("cannot read version and nodes of region %s: %s", region.metadata.name, error)
        except Exception:  # of ours, or an answer that nobody foresaw
            log.exception("unexpected error while reading the nodes of region %s", region.metadata.name)

    def _publish(self, region: Region, seen: Observation, connection: _Connection, ctx: Context) -> None:
        finding = find(seen, region.spec.probe.failure_threshold)
        in_cluster = region.spec.cluster.in_cluster
        ctx.metrics.region_up.labels(region.metadata.name).set(finding is None)
        ctx.fleet.put(
            Site(
                name=region.metadata.name,
                jurisdiction=region.spec.jurisdiction,
                zones=region.spec.zones,
                node_selector=dict(in_cluster.node_selector) if in_cluster else {},
                cordoned=region.spec.scheduling is Scheduling.CORDONED,
                in_hub=in_cluster is not None,
                reachable=finding is None,
                pending=finding is not None and finding.reason is Reason.NOT_PROBED,
                message="" if finding is None else finding.message,
                served=connection.member.served if connection.member is not None else frozenset(),
                public_keys=region.spec.key_encryption.public_keys if region.spec.key_encryption else (),
                member=connection.member,
            )
        )


SURVEY_PATIENCE = 2.0
"""Seconds that a look at a region waits for its version and nodes; the next probe comes after it."""
SYNC_PATIENCE = 2.0
"""Seconds that a reconcile waits for a new connection's first lists; after that the next look finds them done."""


async def _wait_for_sync(member: Member) -> bool:
    try:
        async with asyncio.timeout(SYNC_PATIENCE):
            for watcher in member.watchers:
                await watcher.synced.wait()
    except TimeoutError:
        return False
    return True
