"""Leadership: one process works, the others wait with everything warm.

A ``coordination.k8s.io`` Lease, changed only by compare-and-swap on its resourceVersion. The wall-clock times in it
are for people; expiry is judged by how long *our own* monotonic clock has seen the record unchanged (the rule of
client-go's leaderelection). The standby watches the Lease and arms a timer, so it takes over when the duration has
passed and not when the next poll happens to come.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import Conflict, Fatal, NotFound, RoadsteadError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Durations in seconds; ``duration > renew_deadline > retry_period`` must hold.

    Raises:
        ValueError: they do not.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > self.retry_period > 0:
            raise ValueError(
                f"lease duration {self.duration} s, renew deadline {self.renew_deadline} s and retry period "
                f"{self.retry_period} s must fall in this order; use for example 15, 10 and 2"
            )


class Move(Enum):
    """What a candidate does next."""

    TAKE = "take"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Observed:
    """The record as last seen to change.

    Attributes:
        version: its resourceVersion.
        holder: who holds it; empty after a release.
        duration: for how long, in seconds, it holds unless renewed.
        since: our monotonic time when we first saw this version.
    """

    version: str
    holder: str
    duration: float
    since: float


def decide(observed: Observed, identity: str, now: float) -> tuple[Move, float]:
    """Whether to take the Lease, and if not, how many seconds to wait at most."""
    if not observed.holder or observed.holder == identity:
        return Move.TAKE, 0.0
    left = observed.since + observed.duration - now
    return (Move.TAKE, 0.0) if left <= 0 else (Move.WAIT, left)


def micro_time(moment: datetime) -> str:
    """A ``MicroTime`` as the API server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Leadership:
    """A candidate for one Lease.

    Args:
        client: the hub; must not be guarded by this leadership.
        namespace: where the Lease is.
        name: its name.
        identity: this process; must be unique to it.
        clock: time.
        times: durations.
    """

    def __init__(
        self, client: ClusterClient, namespace: str, name: str, identity: str, clock: Clock, times: LeaseTimes
    ) -> None:
        self.identity = identity
        self._client = client
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._times = times
        self._held: dict[str, Any] | None = None
        self._valid_until = float("-inf")

    @property
    def leading(self) -> bool:
        """Whether the Lease is ours and its renewal not overdue."""
        return self._clock.monotonic() < self._valid_until

    def guard(self) -> None:
        """Called before each write.

        Raises:
            Fatal: the Lease is not ours (any more); for instance after this process was stopped and continued.
        """
        if not self.leading:
            raise Fatal(f"{self.identity} does not hold the lease {self._namespace}/{self._name}; nothing is written")

    async def acquire(self) -> None:
        """Wait until this process leads. Faults of the server are waited out."""
        observed: Observed | None = None
        while True:
            try:
                lease = await self._client.find(objects.LEASES, self._namespace, self._name)
                if lease is None:
                    observed = self._deleted(observed)
                    now = self._clock.monotonic()
                    if observed is not None and decide(observed, self.identity, now)[0] is Move.WAIT:
                        await self._clock.sleep(self._times.retry_period)
                        continue
                    await self._create()
                    return
                observed = self._observe(lease, observed)
                move, wait = decide(observed, self.identity, self._clock.monotonic())
                if move is Move.TAKE:
                    await self._write(lease, acquired=True)
                    log.info("leading: %s holds %s/%s", self.identity, self._namespace, self._name)
                    return
                await self._changed(observed.version, wait)
            except Conflict:
                continue
            except RoadsteadError as error:
                log.warning("cannot read or write the lease: %s", error)
                await self._clock.sleep(self._times.retry_period)

    async def hold(self) -> None:
        """Renew for as long as possible.

        Raises:
            Fatal: the Lease is lost, or could not be renewed within the deadline.
        """
        while True:
            await self._clock.sleep(self._times.retry_period)
            left = self._valid_until - self._clock.monotonic()
            if left <= 0:
                raise Fatal(f"the lease was not renewed for {self._times.renew_deadline} s")
            try:
                # Not all that is left: one request on a connection that died must leave time for another.
                async with asyncio.timeout(min(left, self._times.renew_deadline / 2)):
                    await self._renew()
            except TimeoutError:
                continue
            except Fatal:
                self._valid_until = float("-inf")  # not one more write, although the deadline has not passed
                raise
            except RoadsteadError as error:
                log.warning("cannot renew the lease: %s", error)

    async def release(self) -> None:
        """Give the Lease up, so that another takes over at once; harmless when it is not ours."""
        held, self._held = self._held, None
        still_ours = self.leading
        self._valid_until = float("-inf")
        if held is None or not still_ours:
            return
        try:
            try:
                await self._give_up(held)
            except Conflict:  # a renewal that was called off on our side was carried out on the server's
                lease = await self._client.get(objects.LEASES, self._namespace, self._name)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    await self._give_up(lease)
        except RoadsteadError as error:
            log.warning("could not release the lease: %s", error)

    async def _give_up(self, lease: Mapping[str, Any]) -> None:
        spec = {**lease["spec"], "holderIdentity": "", "renewTime": micro_time(self._clock.now())}
        await self._client.replace(
            objects.LEASES, self._namespace, self._name, {**lease, "spec": spec}, manager=objects.FIELD_MANAGER
        )

    async def _renew(self) -> None:
        if self._held is None:
            raise Fatal("the lease is not held")
        try:
            await self._write(self._held, acquired=False)
        except Conflict:
            lease = await self._client.find(objects.LEASES, self._namespace, self._name)
            if lease is None:  # an update of a Lease that is gone is a conflict too
                raise Fatal("the lease was deleted") from None
            holder = (lease.get("spec") or {}).get("holderIdentity")
            if holder != self.identity:
                raise Fatal(f"the lease was taken by {holder or 'nobody'}") from None
            self._held = lease  # somebody edited it, or an answer to us was lost
            await self._write(lease, acquired=False)
        except NotFound:
            raise Fatal("the lease was deleted") from None

    async def _create(self) -> None:
        sent = self._clock.monotonic()
        body = {
            "apiVersion": objects.LEASES.api_version,
            "kind": objects.LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**self._spec({}, acquired=True), "leaseTransitions": 0},
        }
        self._held = await self._client.create(objects.LEASES, self._namespace, body, manager=objects.FIELD_MANAGER)
        self._valid_until = sent + self._times.renew_deadline
        log.info("leading: %s holds %s/%s", self.identity, self._namespace, self._name)

    async def _write(self, lease: Mapping[str, Any], *, acquired: bool) -> None:
        sent = self._clock.monotonic()  # validity counts from sending: the answer may be late
        body = {**lease, "spec": self._spec(lease.get("spec") or {}, acquired=acquired)}
        self._held = await self._client.replace(
            objects.LEASES, self._namespace, self._name, body, manager=objects.FIELD_MANAGER
        )
        self._valid_until = sent + self._times.renew_deadline

    def _spec(self, old: Mapping[str, Any], *, acquired: bool) -> dict[str, Any]:
        now = micro_time(self._clock.now())
        spec = {
            **old,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._times.duration),
            "renewTime": now,
        }
        if acquired:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + 1
        return spec

    def _observe(self, lease: Mapping[str, Any], before: Observed | None) -> Observed:
        version = lease["metadata"]["resourceVersion"]
        if before is not None and before.version == version:
            return before
        spec = lease.get("spec") or {}
        duration = float(spec.get("leaseDurationSeconds") or self._times.duration)
        return Observed(version, spec.get("holderIdentity") or "", duration, self._clock.monotonic())

    def _deleted(self, before: Observed | None) -> Observed | None:
        """Somebody deleted the Lease under its holder, who may write until it finds out: its time runs from here."""
        if before is None or not before.version:
            return before
        return Observed("", before.holder, before.duration, self._clock.monotonic())

    async def _changed(self, version: str, wait: float) -> None:
        """Return when the Lease changes or the time is up, whichever comes first."""
        timer = asyncio.ensure_future(self._clock.sleep(wait))
        watching = asyncio.ensure_future(self._next_event(version))
        try:
            await asyncio.wait({timer, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and not timer.done() and watching.exception() is not None:
                log.debug("the watch of the lease broke: %s", watching.exception())
                await asyncio.wait({timer}, timeout=min(wait, self._times.retry_period))
        finally:
            for task in (timer, watching):
                task.cancel()
            await asyncio.gather(timer, watching, return_exceptions=True)

    async def _next_event(self, version: str) -> None:
        async for event in self._client.watch(
            objects.LEASES, self._namespace, resource_version=version, fields=f"metadata.name={self._name}"
        ):
            if event.type != "BOOKMARK":
                return
