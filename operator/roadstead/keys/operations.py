"""What an Approval can have done to a ring, carried out: each write is conditional, and may be made again.

Most of it is a word in the ledger or in the ring's status, upon which the ring then acts as upon anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from roadstead.api.duration import parse_duration
from roadstead.api.keyring import KeyDistribution, KeyRing, KeyRingStatus
from roadstead.api.keyversion import KeyMark, KeyPhase, KeyVersion
from roadstead.api.parse import dump, parse
from roadstead.kernel import objects, status
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Conflict
from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS, Key
from roadstead.kernel.operations import Done, Impossible, Operation, Order, Outcome, Unfinished
from roadstead.keys import kek_rotation, ledger, orders, place
from roadstead.keys.deks import Deks
from roadstead.keys.ledger import Intent
from roadstead.keys.orders import Adoption

AGAIN: Final = 5.0
"""Seconds between two looks at something that the ring is working on."""
MOST_SECONDS: Final = 3600.0
"""Between two looks at what only time ends."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """The ring that something is done to.

    Attributes:
        key: of the KeyRing.
        body: as it was read.
        ring: the same, understood.
        ring_id: its identity.
        ledger: its versions by number, read live.
    """

    key: Key
    body: Mapping[str, Any]
    ring: KeyRing
    ring_id: str
    ledger: Mapping[int, Mapping[str, Any]]

    @property
    def entries(self) -> dict[int, KeyVersion]:
        """The ledger, understood."""
        return {number: parse("KeyVersion", body) for number, body in sorted(self.ledger.items())}


class KeyOperations:
    """What can be asked for of a KeyRing.

    Args:
        deks: material in the hub.
    """

    def __init__(self, deks: Deks) -> None:
        self._deks = deks

    def all(self) -> tuple[Operation, ...]:
        """Each of them."""
        version = {"version": (orders.is_number, "7")}
        remove = {"upTo": (orders.is_number, "12"), "shred": (orders.is_yes_or_no, "true")}
        region = {"region": (orders.is_given, "sgp")}
        adopt = {**region, "keyset": (orders.is_given, "0123456789abcdef, which roadstead keys status prints")}
        shorten = {"retention": (orders.is_retention, "30d")}
        return (
            Operation(KEY_RINGS, "CompromiseVersion", lambda given: orders.check(version, given), self._compromise),
            Operation(
                KEY_RINGS, "RemoveVersions", lambda given: orders.check(remove, given, optional="shred"), self._remove
            ),
            Operation(KEY_RINGS, "ExcludeRegion", lambda given: orders.check(region, given), self._exclude),
            Operation(KEY_RINGS, "AdoptKeyset", lambda given: orders.check(adopt, given), self._adopt),
            Operation(KEY_RINGS, "ShortenRetention", lambda given: orders.check(shorten, given), self._shorten),
        )

    async def _compromise(self, order: Order, ctx: Context) -> Outcome:
        subject, number = await _subject(order, ctx), int(order.parameters["version"])
        body = subject.ledger.get(number)
        if body is None:
            return Impossible(f"spec.parameters.version is {number}, but the ring has no such version")
        entry = parse("KeyVersion", body)
        if entry.status.phase in (KeyPhase.REMOVED, KeyPhase.SHREDDED):
            return Impossible(f"version {number} is {entry.status.phase}: nothing can be read with it any more")
        if entry.status.mark is not KeyMark.COMPROMISED:
            await _replace(ledger.marked(body, KeyMark.COMPROMISED), subject.key, ctx)
        return Done(
            f"version {number} is marked Compromised: another takes its place, and what it encrypted is written anew"
        )

    async def _exclude(self, order: Order, ctx: Context) -> Outcome:
        subject, name = await _subject(order, ctx), order.parameters["region"]
        regions = subject.ring.status.regions
        if name not in (entry.name for entry in regions):
            named = ", ".join(entry.name for entry in regions) or "none yet"
            return Impossible(f"spec.parameters.region is {name}, which is no region of the ring; it has {named}")
        changed = tuple(e.model_copy(update={"excluded": True}) if e.name == name else e for e in regions)
        await _say(subject, {"regions": changed}, ctx)
        return Done(f"nothing waits for region {name} until its pods have proved what those of the others have")

    async def _shorten(self, order: Order, ctx: Context) -> Outcome:
        subject, asked = await _subject(order, ctx), parse_duration(order.parameters["retention"])
        text = orders.retention(asked, "").text
        before = orders.retention(asked, subject.ring.status.retention)
        if not before.shortened:
            return Done(f"the retention that counts is {before.text}, which is no longer than {text}")
        await _say(subject, {"retention": text}, ctx)
        return Done(f"spec.retention counts from {text} on")

    async def _remove(self, order: Order, ctx: Context) -> Outcome:
        subject, up_to = await _subject(order, ctx), int(order.parameters["upTo"])
        versions = [ledger.version_of(entry) for entry in subject.entries.values()]
        found = orders.removal(versions, up_to, subject.ring.spec.removal_delay)
        if not found.of:
            return Impossible(f"spec.parameters.upTo is {up_to}, but the ring has no version up to it")
        if found.living and subject.ring.status.removable < up_to:
            first = found.living[0]
            return Impossible(
                f"version {first.number} is {first.phase}, and regions have it; only versions that have ended are "
                "removed: ask for a lower spec.parameters.upTo"
            )
        if subject.ring.status.removable < up_to:
            await _say(subject, {"removable": up_to}, ctx)
        if found.left:
            wait = (found.until - ctx.clock.now()).total_seconds() if found.until is not None else 0.0
            when = f"; the next from {found.until:%Y-%m-%dT%H:%M:%SZ} on" if found.until is not None else ""
            message = f"{found.of - len(found.left)} of {found.of} versions are removed{when}"
            return Unfinished(message, min(max(wait, AGAIN), MOST_SECONDS))
        if order.parameters.get("shred") != "true":
            return Done(f"{found.of} versions up to {up_to} are removed; backups of the hub still have them")
        return await self._shred(subject, up_to, ctx)

    async def _shred(self, subject: _Subject, up_to: int, ctx: Context) -> Outcome:
        """Have every KEK destroyed that a removed version was ever wrapped with: for that a newer one is needed."""
        entries = subject.entries
        gone = [entry for number, entry in entries.items() if number <= up_to]
        last = max(entry.status.since for entry in gone if entry.status.since is not None)
        stored = await self._deks.stored(subject.ring_id, entries)
        present = kek_rotation.present(stored, {})
        if present is not None:
            if present.since is None or present.since <= last:
                if subject.ring.status.kek_above < present.generation:
                    await _say(subject, {"kek_above": present.generation}, ctx)
                return Unfinished("another KEK is made, since backups can be opened with the present one", AGAIN)
            waiting = [dek for dek in stored.ours() if dek.kek.name.generation < present.generation]
            if waiting:
                return Unfinished(f"{len(waiting)} versions are to be wrapped with the new KEK", AGAIN)
            await self._deks.shred(subject.ring_id, present.generation - 1)
        for entry in gone:
            if entry.status.phase is KeyPhase.REMOVED:
                body = ledger.moved(subject.ledger[entry.spec.number], KeyPhase.SHREDDED, ctx.clock.now())
                await _replace(body, subject.key, ctx)
        return Done(f"{len(gone)} versions up to {up_to} are shredded: no KEK is left that opens a backup of them")

    async def _adopt(self, order: Order, ctx: Context) -> Outcome:
        subject, name = await _subject(order, ctx), order.parameters["region"]
        regions = frozenset(subject.ring.spec.regions)
        if name not in regions:
            return Impossible(f"spec.parameters.region is {name}, which spec.regions of the ring does not name")
        encrypted = subject.ring.spec.distribution is KeyDistribution.ENCRYPTED
        at = await place.read(name, subject.key, subject.ring_id, regions, ctx, wanted=True, encrypted=encrypted)
        if at.client is None:
            return Unfinished(at.problem, AGAIN)
        held, versions = at.serving.held, [ledger.version_of(entry) for entry in subject.entries.values()]
        if orders.digest(held.keyset) != order.parameters["keyset"]:
            return Impossible(
                f"spec.parameters.keyset is {order.parameters['keyset']}, but region {name} has the keyset "
                f"{orders.digest(held.keyset)}; look at what it has, and ask for that"
            )
        if len(held.keys) != len(held.keyset.keys):
            return Impossible(
                f"the keyset of region {name} is sealed, so the hub cannot take it over; restore a backup"
            )
        if (other := orders.contradiction(held.keyset, versions)) is not None:
            return Impossible(
                f"region {name} has another version {other.number} than the ledger, and which is right cannot be told"
            )
        adopted = orders.adoptions(held.keyset, held.keys, versions)
        for adoption in adopted:
            await self._write_down(adoption, order, subject, ctx)
        numbers = ", ".join(str(adoption.material.number) for adoption in adopted) or "none was missing"
        return Done(f"taken over from region {name}: {numbers}")

    async def _write_down(self, adoption: Adoption, order: Order, subject: _Subject, ctx: Context) -> None:
        """Make the version part of the ledger as a rotation would have: its number, its material, its phases."""
        number = adoption.material.number
        body = subject.ledger.get(number)
        if body is None:
            intent = Intent(
                ring=subject.key.name,
                namespace=subject.key.namespace,
                ring_id=subject.ring_id,
                number=number,
                slot=None,
                key_type=adoption.material.key_type,
                # The same when it is carried on after a crash.
                operation=hashlib.sha256(f"{order.uid}|{number}".encode()).hexdigest()[:16],
            )
            body = await ctx.hub.client.create(
                KEY_VERSIONS,
                subject.key.namespace,
                ledger.reserved(intent, ctx.clock.now()),
                manager=objects.FIELD_MANAGER,
            )
        entry = parse("KeyVersion", body)
        if entry.status.fingerprint is None:
            stored = await self._deks.stored(subject.ring_id, {**subject.entries, number: entry})
            await self._deks.keep(entry, adoption.material, stored, subject.ring.spec.kek.provider)
        for phase in adoption.path[1:]:
            fingerprint = ledger.fingerprint_of(entry, adoption.material)
            moved = ledger.moved(body, phase, ctx.clock.now(), fingerprint=fingerprint)
            body = await _replace(moved, subject.key, ctx)
        ctx.resources.upsert(KEY_VERSIONS.kind, body)


async def _subject(order: Order, ctx: Context) -> _Subject:
    """The ring and its ledger as they are now.

    Raises:
        Conflict: the ring has no identity yet, or what of it is stored cannot be read now.
    """
    body = order.subject
    ring = parse("KeyRing", body)
    key = Key(KEY_RINGS.kind, ring.metadata.namespace, ring.metadata.name)
    if ring.status.ring_id is None:
        raise Conflict(f"{key} has no identity yet")
    found = {}
    pages = ctx.hub.client.pages(KEY_VERSIONS, key.namespace, labels=f"{ledger.RING_ID_LABEL}={ring.status.ring_id}")
    async for items, _ in pages:
        for item in items:
            found[int(item["spec"]["number"])] = {
                "apiVersion": ledger.API_VERSION,
                "kind": KEY_VERSIONS.kind,
                **item,
            }
    return _Subject(key, body, ring, ring.status.ring_id, found)


async def _say(subject: _Subject, changes: Mapping[str, Any], ctx: Context) -> None:
    """Change the ring's status, if it still is as it was read, and have the ring looked at."""
    known: KeyRingStatus = subject.ring.status.model_copy(update=dict(changes))
    await status.write(ctx, KEY_RINGS, subject.body, dump(known))
    ctx.queue.add(subject.key)


async def _replace(body: Mapping[str, Any], ring: Key, ctx: Context) -> dict[str, Any]:
    """Write a KeyVersion over the one that was read, and have its ring looked at."""
    made = await ctx.hub.client.replace(
        KEY_VERSIONS, ring.namespace, body["metadata"]["name"], body, manager=objects.FIELD_MANAGER
    )
    ctx.resources.upsert(KEY_VERSIONS.kind, made)
    ctx.queue.add(ring)
    return made
