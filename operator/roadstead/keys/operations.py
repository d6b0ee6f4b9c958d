"""What an Approval can have done to a ring, carried out: each write is conditional, and may be made again.

Most of it is a word in the ledger or in the ring's status, upon which the ring then acts as upon anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from roadstead.api.duration import parse_duration
from roadstead.api.keyring import KekProviderKind, KeyDistribution, KeyRing, KeyRingStatus
from roadstead.api.keyversion import KeyMark, KeyPhase, KeyVersion
from roadstead.api.parse import dump, parse
from roadstead.kernel import objects, status
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Conflict
from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS, Key
from roadstead.kernel.operations import Done, Impossible, Operation, Order, Outcome, Unfinished
from roadstead.keys import kek_rotation, ledger, orders, place
from roadstead.keys import versions as life
from roadstead.keys.deks import Deks
from roadstead.keys.kek import ProviderRefuses, Reason
from roadstead.keys.ledger import Intent
from roadstead.keys.material import Material
from roadstead.keys.orders import Adoption
from roadstead.keys.reconcile import SKEW
from roadstead.keys.stored import Stored
from roadstead.keys.versions import Version

AGAIN: Final = 5.0
"""Seconds between two looks at something that the ring is working on."""
RARELY: Final = 60.0
"""The same, of something that only a person or a pod ends."""
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
        remove = {
            "upTo": (orders.is_number, "12"),
            "shred": (orders.is_yes_or_no, "true"),
            "delay": (orders.is_delay, "30d"),
        }
        region = {"region": (orders.is_given, "sgp")}
        adopt = {**region, "keyset": (orders.is_given, "0123456789abcdef, which roadstead keys status prints")}
        shorten = {"retention": (orders.is_retention, "30d")}
        return (
            Operation(KEY_RINGS, "CompromiseVersion", lambda given: orders.check(version, given), self._compromise),
            Operation(
                KEY_RINGS,
                "RemoveVersions",
                lambda given: orders.check(remove, given, optional=("shred", "delay")),
                self._remove,
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
        return Done(f"version {number} is marked Compromised: {_OF_COMPROMISED[entry.status.phase]}")

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
        text, wanted = orders.retention(asked, "").text, subject.ring.spec.retention
        if wanted is None or wanted > asked:
            return Impossible(
                f"spec.parameters.retention is {text}, but spec.retention is {orders.retention(wanted, '').text}, and "
                "what is longer counts at once; write spec.retention first, then make another Approval"
            )
        before = orders.retention(asked, subject.ring.status.retention)
        if not before.shortened:
            return Done(f"the retention that counts is {before.text}, which is no longer than {text}")
        await _say(subject, {"retention": text}, ctx)
        return Done(f"a retention of {text} counts from now on")

    async def _remove(self, order: Order, ctx: Context) -> Outcome:
        subject, up_to = await _subject(order, ctx), int(order.parameters["upTo"])
        versions = [ledger.version_of(entry) for entry in subject.entries.values()]
        newest = max((version.number for version in versions), default=0)
        if up_to > newest:
            return Impossible(
                f"spec.parameters.upTo is {up_to}, but the newest version is {newest}, and nothing is said of those to "
                "come; ask for the last one that has ended (roadstead keys history)"
            )
        now, said = ctx.clock.now(), order.parameters.get("delay")
        delay = max(subject.ring.spec.removal_delay, parse_duration(said) if said else timedelta(0)) + SKEW
        found = orders.removal(versions, up_to, delay, now)
        if not found.of:
            return Impossible(f"spec.parameters.upTo is {up_to}, but the ring has no version up to it")
        if found.living and subject.ring.status.removable < up_to:
            first = found.living[0]
            return Impossible(
                f"version {first.number} is {first.phase}, and regions have it; only versions that have ended are "
                "removed: ask for a lower spec.parameters.upTo"
            )
        # With a delay that was approved, the ring is told of each version when that has passed: nobody shortens it.
        released = found.released if said else up_to
        if subject.ring.status.removable < released:
            await _say(subject, {"removable": released}, ctx)
        if found.left:
            waits = "; ".join(f"{wait.reason}: {wait.message}" for wait in subject.ring.status.waits)
            message, seconds = orders.unfinished(found, waits, now)
            return Unfinished(message, RARELY if seconds is None else min(max(seconds, AGAIN), MOST_SECONDS))
        stored = await self._deks.stored(subject.ring_id, subject.entries)
        # The ledger says Removed first, and the ring deletes it then.
        if there := sum(1 for copy in stored.copies if copy.number <= up_to):
            return Unfinished(
                f"{found.of} versions are removed; {there} Secrets with their keys are to be deleted", AGAIN
            )
        if order.parameters.get("shred") != "true":
            return Done(f"{found.of} versions up to {up_to} are removed; backups of the hub still have them")
        return await self._shred(subject, stored, up_to, ctx)

    async def _shred(self, subject: _Subject, stored: Stored, up_to: int, ctx: Context) -> Outcome:
        """Have every KEK destroyed that a removed version was ever wrapped with: for that a newer one is needed."""
        entries = subject.entries
        versions = [ledger.version_of(entry) for entry in entries.values()]
        gone = [entry for number, entry in entries.items() if number <= up_to]
        last = max(entry.status.since for entry in gone if entry.status.since is not None)
        if lost := orders.unrestored(versions, stored.staged().keys()):
            return Unfinished(
                f"the material of version {lost[0]} is not in the hub, and to restore it takes an old KEK; restore it, "
                "or have that version removed, too, when it has ended",
                RARELY,
            )
        coming = [version.number for version in versions if version.phase is KeyPhase.RESERVED]
        present = kek_rotation.present(stored, {})
        if coming or present is None:
            # It may be wrapped at this moment, with a KEK that nothing else says is in use.
            what = f"version {coming[0]} is made" if coming else "there is a version that another KEK can be made for"
            return Unfinished(f"no KEK is destroyed before {what}", AGAIN)
        if present.since is None or present.since <= last:
            if subject.ring.status.kek_above < present.generation:
                await _say(subject, {"kek_above": present.generation}, ctx)
            return Unfinished("another KEK is made, since backups can be opened with the present one", AGAIN)
        waiting = [dek for dek in stored.ours() if dek.kek.name.generation < present.generation]
        if waiting:
            return Unfinished(f"{len(waiting)} versions are to be wrapped with the new KEK", AGAIN)
        providers = {subject.ring.spec.kek.provider, *(intent.provider for intent in stored.intents)}
        if orders.may_have_been_elsewhere(subject.ring.metadata.creation_timestamp, versions, SKEW):
            providers |= set(KekProviderKind)
        try:
            _, left = await self._deks.shred(subject.ring_id, present.generation - 1, providers)
        except ProviderRefuses as error:
            if error.reason is not Reason.NOT_CONFIGURED:
                raise
            return Unfinished(
                "the KeyRing was made anew, or has had another spec.kek.provider, so a KEK that opens backups may be "
                f"where this operator cannot look: {error}. Without it no version is called Shredded; to end this, "
                "delete the Approval: the versions are removed",
                RARELY,
            )
        if left:
            names = ", ".join(str(kek.name) for kek in left)
            return Unfinished(
                f"KEKs are there that open backups, and something is wrapped with them that is none of the ring's, or "
                f"the provider keeps them: {names}; delete Secrets dek-{subject.ring_id}-* that name them, and "
                "destroy them in the provider",
                RARELY,
            )
        for entry in gone:
            if entry.status.phase is KeyPhase.REMOVED:
                body = ledger.moved(subject.ledger[entry.spec.number], KeyPhase.SHREDDED, ctx.clock.now())
                await _replace(body, subject.key, ctx)
        return Done(orders.shredded(len(gone), up_to, providers, ctx.clock.now()))

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
                f"region {name} has another version {other.number} than the ledger, and which is right cannot be told; "
                "restore the newer KeyVersions and Secrets from a backup"
            )
        adopted = orders.adoptions(held.keyset, held.keys, versions)
        for adoption in adopted:
            await self._write_down(adoption, order, subject, ctx)
        again = await self._keep_lost(held.keys, versions, subject)
        numbers = ", ".join(str(adoption.material.number) for adoption in adopted) or "none was missing"
        stored = f"; stored again: {', '.join(map(str, again))}" if again else ""
        return Done(f"taken over from region {name}: {numbers}{stored}")

    async def _keep_lost(
        self, keys: Iterable[Material], versions: Iterable[Version], subject: _Subject
    ) -> tuple[int, ...]:
        """Store what the ledger knows and the hub has lost, where it is the very same; the numbers."""
        entries = subject.entries
        stored = await self._deks.stored(subject.ring_id, entries)
        there = {number: copies[0].fingerprint for number, copies in stored.staged().items()}
        lost = orders.lost(subject.ring_id, keys, versions, there)
        for material in lost:
            await self._deks.keep(entries[material.number], material, stored, subject.ring.spec.kek.provider)
        return tuple(material.number for material in lost)

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


_WRITTEN_ANEW: Final = "it leaves the keysets, and what it encrypted is written anew"
_NEVER_WRITTEN_WITH: Final = "it never was primary, so nothing was written with it"
_OF_COMPROMISED: Final[Mapping[KeyPhase, str]] = {
    **dict.fromkeys(KeyPhase, _WRITTEN_ANEW),
    KeyPhase.PRIMARY: f"another takes its place, then {_WRITTEN_ANEW}",
    **dict.fromkeys(life.COMING, f"it is discarded; {_NEVER_WRITTEN_WITH}"),
    KeyPhase.DISCARDED: _NEVER_WRITTEN_WITH,
    KeyPhase.RETIRED: "regions had it no more when it retired; where they were given it again, what it encrypted is "
    "written anew",
}
"""What becomes of a version that is called compromised, by its phase."""


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
