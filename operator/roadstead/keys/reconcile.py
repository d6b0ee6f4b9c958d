"""The shell around a KeyRing: read the ledger and the regions, decide, carry the steps out, say what is.

Every write is a compare-and-swap against what was read in the same pass, so that a pass which comes too late, or is the
last of a former leader, changes nothing. What a pass has written is looked at by the next one, at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from roadstead.api.conditions import Reason
from roadstead.api.keyring import DEFAULT_PERIOD, KeyAttestation, KeyDistribution, KeyRing, KeyRingStatus, ScheduleState
from roadstead.api.keyversion import KeyPhase, KeyVersion, object_name
from roadstead.api.parse import dump, is_status_readable, parse, status_of
from roadstead.api.problems import SpecError
from roadstead.kernel import finalizer, objects, status
from roadstead.kernel.concurrency import gathered
from roadstead.kernel.context import Context, Result
from roadstead.kernel.errors import Conflict, Fatal, Invalid, RoadsteadError, Terminal
from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS, Key
from roadstead.kernel.ownership import Owner
from roadstead.keys import kek, ledger, orders, place, regional, schedule
from roadstead.keys import status as derived
from roadstead.keys import versions as life
from roadstead.keys.challenge import Asked, verify
from roadstead.keys.decide import decide
from roadstead.keys.deks import Deks
from roadstead.keys.kek import ProviderRefuses
from roadstead.keys.kek_keeper import KekKeeper, Kept
from roadstead.keys.kek_rotation import Rules, View
from roadstead.keys.orders import Retention
from roadstead.keys.place import Found, Given, Place
from roadstead.keys.schedule import Turn
from roadstead.keys.state import Keyset, Policy, Ring
from roadstead.keys.steps import (
    Decision,
    DestroyMaterial,
    Distribute,
    DistributeRewrap,
    MakeMaterial,
    Move,
    Note,
    Readmit,
    Reserve,
    Step,
    Wait,
)
from roadstead.keys.stored import Stored
from roadstead.keys.versions import Version

SKEW: Final = timedelta(seconds=30)
"""By how much our clock and the API server's may differ."""
PROOF_POLL: Final = 5.0
"""Seconds between two looks at what pods have answered: their answers wake nobody."""
INVENTORY_POLL: Final = 60.0
"""The same, while all that is waited for is that pods have written anew what is old."""
WANTED_POLL: Final = 300.0
"""The same, when all that pods could say is that they have met data of a version that has ended."""
REGION_RETRY: Final = 15.0
"""Seconds after which a region that refused something is tried again."""
_ID_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(slots=True)
class _Pass:
    """What one pass knows."""

    key: Key
    ctx: Context
    ring: KeyRing
    ring_id: str
    owner: Owner
    deks: Stored
    places: dict[str, Place]
    turn: Turn
    excluded: set[str]
    retention: Retention


@dataclass(frozen=True, slots=True)
class _Ended:
    """What came of a step.

    Attributes:
        again: look at the ring once more, at once.
        problem: what went wrong, for the status.
        error: the same, for the queue.
    """

    again: bool = False
    problem: Wait | None = None
    error: RoadsteadError | None = None


def regions_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of the regions that a KeyRing has keys in or should have."""
    named = (body.get("spec") or {}).get("regions") or ()
    held = (body.get("status") or {}).get("regions") or ()
    return frozenset(map(str, named)) | frozenset(str(entry.get("name")) for entry in held)


class KeyRingReconciler:
    """Reconciles KeyRings.

    Args:
        deks: material in the hub.
        random: so many unpredictable bytes.
    """

    def __init__(self, deks: Deks, random: Callable[[int], bytes]) -> None:
        self._deks = deks
        self._keeper = KekKeeper(deks)
        self._random = random
        self._parsed: dict[Key, tuple[int, KeyVersion]] = {}

    async def version_changed(self, key: Key, ctx: Context) -> Result:
        """A KeyVersion is another or gone: its ring looks at its ledger, or each that it may have been of."""
        body = ctx.resources.get(key)
        name = ((body or {}).get("spec") or {}).get("ring")
        for ring in ctx.resources.in_namespace(KEY_RINGS.kind, key.namespace):
            if name in (None, ring.name):
                ctx.queue.add(ring)
        return Result()

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Bring one ring one step further, and say when to look again."""
        body = ctx.resources.get(key)
        if body is None:
            return Result()  # its keysets stay where pods use them: nobody deletes keys because an object is missing
        if any(ctx.is_pending(name) for name in regions_of(body)):
            return Result()  # the fleet tells when it has looked at the region
        if "deletionTimestamp" in body["metadata"]:
            return await self._remove(key, body, ctx)
        if not is_status_readable(KeyRingStatus, body):
            raise Invalid("status cannot be read by this version of the operator; run the version that wrote it")
        try:
            ring = parse("KeyRing", body)
        except SpecError as error:
            known = status_of(KeyRingStatus, body)
            generation = int(body["metadata"].get("generation", 0))
            said = derived.invalid(known, str(error), generation, ctx.clock.now())
            await status.write(ctx, KEY_RINGS, body, dump(said))
            return Result()
        if not finalizer.is_held(body):
            await finalizer.add(KEY_RINGS, key, body, ctx)
            ctx.queue.add(key)
            return Result()  # the rest is decided from the ring as it is now, and written over that
        if ring.status.ring_id is None:
            ring_id = self._ring_id(key, ctx)
            # Before anything carries it: what was made for an identity that nobody knows is lost.
            # A ring that was made again has data of before: what it is to be kept for was agreed, and is lost with it.
            agreed = orders.FOREVER if self._ledger(key.namespace, ring_id, ctx) else ""
            retention = orders.retention(ring.spec.retention, agreed).text
            known = ring.status.model_copy(update={"ring_id": ring_id, "retention": retention})
            await status.write(ctx, KEY_RINGS, body, dump(known))
            ctx.queue.add(key)
            return Result()
        return await self._advance(key, body, ring, ring.status.ring_id, ctx)

    # --- one pass

    async def _advance(self, key: Key, body: Mapping[str, Any], ring: KeyRing, ring_id: str, ctx: Context) -> Result:
        entries = self._ledger(key.namespace, ring_id, ctx)
        kept = await self._keep_kek(key, ring, ring_id, entries, ctx)
        retention = orders.retention(ring.spec.retention, ring.status.retention)
        names = regions_of({"spec": {"regions": ring.spec.regions}, "status": dump(ring.status)})
        owner = Owner(ctx.hub_id, key, ring.metadata.uid)
        wanted = frozenset(ring.spec.regions)
        encrypted = ring.spec.distribution is KeyDistribution.ENCRYPTED
        places = await gathered(
            place.read(name, key, ring_id, names, ctx, wanted=name in wanted, encrypted=encrypted)
            for name in sorted(names)
        )
        versions = tuple(ledger.version_of(entry) for _, entry in sorted(entries.items()))
        now = ctx.clock.now()
        turn = _turn(ring, ring_id, versions, now)
        known = {entry.name: entry for entry in ring.status.regions}
        excluded = {entry.name for entry in ring.status.regions if entry.excluded}
        work = _Pass(
            key=key,
            ctx=ctx,
            ring=ring,
            ring_id=ring_id,
            owner=owner,
            deks=kept.stored,
            places={at.name: at for at in places},
            turn=turn,
            excluded=excluded,
            retention=retention,
        )
        problem: Wait | None = None
        error: RoadsteadError | None = None
        try:
            await self._prove(work, versions)
        except Fatal:
            raise
        except RoadsteadError as failed:
            problem, error = Wait(Reason.PROVIDER_FAILED, str(failed)), failed
        verified = error is None
        # What is not verified is not known: who has proved what, and so what is waited for.
        decision = decide(_ring(work, versions, entries, ctx), now) if verified else Decision()
        again = False
        if error is None:
            for ended in await gathered(self._attempt(step, work, entries) for step in decision.steps):
                again |= ended.again
                problem, error = problem or ended.problem, error or ended.error
        if again or kept.again:
            ctx.queue.add(key)
        if kept.error is not None:
            problem, error = problem or Wait(Reason.PROVIDER_FAILED, str(kept.error)), error or kept.error
        behind = any(wait.reason is Reason.LEDGER_BEHIND for wait in decision.waits)
        for action in (self._offer_receipts,) if behind or not verified else (self._offer_receipts, self._empty_left):
            await gathered(self._in_region(at, work, action) for at in list(work.places.values()))
        entries = self._ledger(key.namespace, ring_id, ctx)
        after = tuple(ledger.version_of(entry) for _, entry in sorted(entries.items()))
        facts = derived.Facts(
            ring=ring,
            ring_id=ring_id,
            versions=after,
            decision=decision,
            regions=tuple(
                place.facts(at, after, known.get(at.name), excluded=at.name in work.excluded)
                for at in work.places.values()
            ),
            verified=verified,
            next=work.turn.next,
            kek=kept.state,
            retention=retention,
            problem=problem,
        )
        await status.write(ctx, KEY_RINGS, body, dump(derived.derive(facts, ctx.clock.now())))
        if error is not None:
            raise error  # it is said in the status; the queue knows when to try again
        return Result(requeue_after=_look_again(facts, now, kept.after))

    async def _keep_kek(
        self, key: Key, ring: KeyRing, ring_id: str, entries: Mapping[int, KeyVersion], ctx: Context
    ) -> Kept:
        """Wrap what is stored with the KEK that it should be wrapped with."""
        now, said = ctx.clock.now(), ring.spec.kek
        begun = {e.spec.operation: e.status.staged_at or e.status.since or now for e in entries.values()}
        rules = Rules(said.provider, said.rotate_every, said.rotate_at, ring.status.kek_above)
        view = View(rules, await self._deks.stored(ring_id, entries), begun, _clock_agrees(ctx))

        async def say(reason: str, note: str) -> None:
            await _tell(key, ring, ctx, reason, note)

        return await self._keeper.keep(ring_id, f"{key.namespace}/{key.name}", view, ctx.clock, say)

    async def _attempt(self, step: Step, work: _Pass, entries: Mapping[int, KeyVersion]) -> _Ended:
        """Do one step; the others go on whatever comes of it."""
        try:
            return _Ended(again=await self._carry_out(step, work, entries))
        except Fatal:
            raise
        except Conflict:
            return _Ended(again=True)  # somebody was quicker; what is there now decides
        except RoadsteadError as error:
            return _Ended(problem=_trouble(step, error), error=error)

    async def _in_region(self, at: Place, work: _Pass, action: Callable[[Place, _Pass], Awaitable[None]]) -> None:
        """Do something in a region; what fails there is that region's matter, and tried again."""
        try:
            await action(at, work)
        except Fatal:
            raise
        except RoadsteadError as error:
            work.places[at.name] = at.troubled(f"region {at.name}: {error}", Reason.REFUSED)

    async def _carry_out(self, step: Step, work: _Pass, entries: Mapping[int, KeyVersion]) -> bool:
        """Do one step; whether the ring should be looked at again at once."""
        ctx, key = work.ctx, work.key
        match step:
            case Reserve(number, slot):
                intent = ledger.Intent(
                    ring=key.name,
                    namespace=key.namespace,
                    ring_id=work.ring_id,
                    number=number,
                    slot=slot,
                    key_type=work.ring.spec.key_type,
                    operation=self._random(8).hex(),
                )
                body = ledger.reserved(intent, ctx.clock.now())
                made = await self._create(body, work)
                ctx.resources.upsert(KEY_VERSIONS.kind, made)
            case MakeMaterial(number):
                await self._deks.make(entries[number], work.deks, work.ring.spec.kek.provider)
            case Move(version, to, fingerprint):
                stored = _stored(version, work)
                if to is KeyPhase.STAGED and not await self._opens(version.number, work):
                    to = KeyPhase.DISCARDED
                body = ledger.moved(stored, to, ctx.clock.now(), fingerprint=fingerprint)
                await self._replace(body, work)
                note = f"version {version.number} goes from {version.phase} to {to}"
                await _tell(key, work.ring, ctx, f"Version{to}", note)
            case Note(version, after_it):
                await self._replace(ledger.noted(_stored(version, work), after_it), work)
                await self._tell_of(version, after_it, work)
            case Distribute(region, _, after):
                name = regional.keyset_name(key.name, region)
                given = await self._give(region, name, work.places[region].serving, after, work)
                if given is not None:
                    work.places[region] = replace(work.places[region], serving=given)
                return given is not None
            case DistributeRewrap(region, _, after):
                name = regional.rewrap_name(key.name, region)
                given = await self._give(region, name, work.places[region].rewrap, after, work)
                if given is not None:
                    work.places[region] = replace(work.places[region], rewrap=given)
                return given is not None
            case Readmit(region, primary):
                work.excluded.discard(region)  # the status, written against what was read, is where that is kept
                note = f"region {region} has proved that it writes with version {primary}, and is waited for again"
                await _tell(key, work.ring, ctx, "RegionReadmitted", note)
            case DestroyMaterial(number):
                await self._deks.remove(work.ring_id, number)
                note = f"the material of version {number} is deleted from the hub"
                await _tell(key, work.ring, ctx, "MaterialRemoved", note)
        return True

    async def _create(self, body: Mapping[str, Any], work: _Pass) -> dict[str, Any]:
        """Create a KeyVersion.

        Raises:
            Conflict: somebody was quicker.
            Terminal: the name belongs to another ring, which may be the trace of a restore or of a person.
        """
        client, namespace, name = work.ctx.hub.client, work.key.namespace, body["metadata"]["name"]
        try:
            return await client.create(KEY_VERSIONS, namespace, body, manager=objects.FIELD_MANAGER)
        except Conflict:
            there = await client.find(KEY_VERSIONS, namespace, name)
            if there is None or there["spec"]["ringID"] == work.ring_id:
                raise
            raise Terminal(
                f"KeyVersion {namespace}/{name} exists with spec.ringID {there['spec']['ringID']}, and this ring is "
                f"{work.ring_id}: it is of another ring that had this name; make a ring of another name, or have the "
                "ledger and status of this one restored from one backup"
            ) from None

    async def _opens(self, number: int, work: _Pass) -> bool:
        """Whether what is stored of a version can be opened: who stored it may have used a KEK that is gone by now."""
        try:
            await self._deks.open(work.ring_id, [work.deks[number]])
        except ProviderRefuses as error:
            if error.reason not in (kek.Reason.DAMAGED, kek.Reason.KEK_MISSING):
                raise
            return False
        return True

    async def _replace(self, body: Mapping[str, Any], work: _Pass) -> None:
        """Write a KeyVersion over the one that was read."""
        made = await work.ctx.hub.client.replace(
            KEY_VERSIONS, work.key.namespace, body["metadata"]["name"], body, manager=objects.FIELD_MANAGER
        )
        work.ctx.resources.upsert(KEY_VERSIONS.kind, made)

    async def _tell_of(self, version: Version, after: Version, work: _Pass) -> None:
        rewrapped = after.rewrapped and not version.rewrapped
        if after.retained_from != version.retained_from and not rewrapped:
            return  # what happened is that a region is back, and that is told
        if rewrapped:
            reason, note = "VersionRewrapped", f"nothing is stored any more that version {version.number} has encrypted"
        else:
            reason = "UnknownVersion"
            note = f"a pod met data of version {version.number}, which had ended; regions are given it again"
        await _tell(work.key, work.ring, work.ctx, reason, note, warning=not rewrapped)

    async def _give(self, region: str, name: str, there: Found, after: Keyset, work: _Pass) -> Found | None:
        """What the region has then; None, and the region's problem is said, when it does not take it."""
        keys = await self._deks.open(work.ring_id, [work.deks[number] for number, _ in after.keys])
        by = Given(work.owner, work.ring_id, _known(work, region))
        given = await place.give(work.places[region], name, there, after, keys, by)
        if isinstance(given, Found):
            return given
        work.places[region] = work.places[region].troubled(given.problem, given.reason)
        return None

    async def _offer_receipts(self, at: Place, work: _Pass) -> None:
        work.places[at.name] = await place.offer_receipts(at, work.owner)

    async def _empty_left(self, at: Place, work: _Pass) -> None:
        """Take the keyset out of a region that the spec no longer names, when nobody uses it there."""
        if at.wanted:
            return
        if at.client is None:
            if work.ctx.fleet.site(at.name) is None:
                del work.places[at.name]  # the Region was deleted: that is how what is there is given up
            return
        if not at.pods:
            await place.clear(at, work.owner)
            del work.places[at.name]

    # --- reading

    def _ring_id(self, key: Key, ctx: Context) -> str:
        """The identity of a ring that has none: that of its name's versions, or a new one.

        A ring that is deleted and made again goes on with its numbers; they must never be used twice.
        """
        for name in ctx.resources.in_namespace(KEY_VERSIONS.kind, key.namespace):
            spec = (ctx.resources.get(name) or {}).get("spec") or {}
            if spec.get("ring") == key.name:
                return str(spec["ringID"])
        number = int.from_bytes(self._random(12))
        letters = []
        for _ in range(12):
            number, rest = divmod(number, len(_ID_LETTERS))
            letters.append(_ID_LETTERS[rest])
        return "r" + "".join(letters)

    def _ledger(self, namespace: str, ring_id: str, ctx: Context) -> dict[int, KeyVersion]:
        """The versions of a ring by number. What cannot be read stops everything: it may be any number."""
        found = {}
        for key in ctx.resources.in_namespace(KEY_VERSIONS.kind, namespace):
            version = ctx.resources.version(key)
            known = self._parsed.get(key)
            if known is None or known[0] != version:
                body = ctx.resources.get(key)
                if body is None:
                    continue
                try:
                    known = (version, parse("KeyVersion", body))
                except SpecError as error:
                    raise Invalid(f"{key} cannot be read: {error}") from None
                self._parsed[key] = known
            if known[1].spec.ring_id == ring_id:
                found[known[1].spec.number] = known[1]
        return found

    async def _prove(self, work: _Pass, versions: tuple[Version, ...]) -> None:
        """Verify what pods have answered and what sealed keysets say, with the material that either is about."""
        asked_for = {v.number for v in (life.primary(versions), life.coming(versions)) if v is not None}
        answers = {name: [one for one in at.answers if one.pod in at.pods] for name, at in work.places.items()}
        numbers = (asked_for if any(answers.values()) else set()) | place.numbers_to_check(work.places.values())
        keys = await self._deks.open(work.ring_id, [work.deks[n] for n in sorted(numbers & work.deks.keys())])
        proving = [key for key in keys if key.number in asked_for]
        for name in work.places:
            at = place.checked(work.places[name], work.ring_id, keys, _known(work, name))
            asked, newest = Asked(work.ring_id, name), at.serving.held.generation
            proved = {a.pod: verify(asked, proving, a) for a in answers[name] if a.generation <= newest}
            work.places[name] = replace(at, proved=proved)

    # --- the end

    async def _remove(self, key: Key, body: Mapping[str, Any], ctx: Context) -> Result:
        """Take the keysets out of the regions where nobody uses them; the ledger and the material stay."""
        if not finalizer.is_held(body):
            return Result()
        known = status_of(KeyRingStatus, body)
        ring_id = known.ring_id or ""
        names = regions_of(body)
        places = await gathered(
            place.read(name, key, ring_id, names, ctx, wanted=True, encrypted=False) for name in sorted(names)
        )
        entries = self._ledger(key.namespace, ring_id, ctx)
        stored = await self._deks.stored(ring_id, entries)
        holds = {}
        for at in places:
            if ctx.fleet.site(at.name) is None:
                continue
            if at.client is None:
                holds[at.name] = f"{at.problem}; bring it back, or delete the Region"
            elif at.pods:
                holds[at.name] = (
                    f"region {at.name}: {len(at.pods)} pods use the ring (label "
                    f"{regional.consumer_label(key.name)}); take them away first, or they lose their keys"
                )
            elif only := place.only_there(at, stored):
                holds[at.name] = (
                    f"region {at.name} has version {only}, which the hub does not have: it may be the only copy; have "
                    "it taken over (roadstead keys adopt), or delete the Secrets "
                    f"{regional.keyset_name(key.name, at.name)} and {regional.rewrap_name(key.name, at.name)} there"
                )
        if holds:
            said = derived.deleting(known, holds, int(body["metadata"].get("generation", 0)), ctx.clock.now())
            await status.write(ctx, KEY_RINGS, body, dump(said))
            return Result(requeue_after=REGION_RETRY)
        owner = Owner(ctx.hub_id, key, body["metadata"]["uid"])
        await gathered(place.clear(at, owner) for at in places)
        await finalizer.remove(KEY_RINGS, key, ctx.resources.get(key) or body, ctx)
        return Result()


def _known(work: _Pass, region: str) -> int:
    """The newest generation of a region's keyset that the status knows of."""
    return next((entry.generation for entry in work.ring.status.regions if entry.name == region), 0)


def _turn(ring: KeyRing, ring_id: str, versions: Iterable[Version], now: datetime) -> Turn:
    spec, taken = ring.spec.schedule, life.newest_slot(versions)
    if spec.state is ScheduleState.SUSPENDED:
        return schedule.with_extra(schedule.NEVER, spec.rotate_at, taken, now)
    grid: schedule.Schedule
    if spec.cron is not None:
        grid = schedule.Cron(spec.cron.schedule, spec.cron.time_zone)
    else:
        made = ring.metadata.creation_timestamp or now
        grid = schedule.Every(spec.anchor or made, spec.every or DEFAULT_PERIOD)
    found = schedule.turn(grid, schedule.jitter(ring_id, spec.jitter), taken, now)
    return schedule.with_extra(found, spec.rotate_at, taken, now)


def _ring(work: _Pass, versions: tuple[Version, ...], entries: Mapping[int, KeyVersion], ctx: Context) -> Ring:
    spec = work.ring.spec
    ours = {
        number: dek.fingerprint
        for number, dek in work.deks.items()
        # What was made for another intent is not the version's material, whatever it says.
        if number not in entries or dek.operation == entries[number].spec.operation
    }
    current = life.primary(versions)
    return Ring(
        versions=versions,
        regions=tuple(
            place.view(at, current.number if current else 0, excluded=at.name in work.excluded)
            for at in work.places.values()
            if _counts(at, ctx)
        ),
        policy=Policy(
            lead=spec.lead,
            soak=spec.soak,
            retention=work.retention.counts,
            skew=SKEW,
            attested=spec.attestation is KeyAttestation.TRUSTED,
            removal=spec.removal_delay,
        ),
        turn=work.turn,
        material=ours,
        clock_agrees=_clock_agrees(ctx),
        removable=work.ring.status.removable,
    )


def _clock_agrees(ctx: Context) -> bool:
    ahead = ctx.hub.client.clock_ahead
    return ahead is None or abs(ahead) <= SKEW.total_seconds()


def _stored(version: Version, work: _Pass) -> Mapping[str, Any]:
    """The KeyVersion as it was when the step was decided.

    Raises:
        Conflict: it is another by now.
    """
    name = Key(KEY_VERSIONS.kind, work.key.namespace, object_name(work.key.name, version.number))
    stored = work.ctx.resources.get(name)
    if stored is None or ledger.version_of(parse("KeyVersion", stored)) != version:
        raise Conflict(f"{name} was changed meanwhile")
    return stored


def _counts(at: Place, ctx: Context) -> bool:
    """Whether a region takes part in a rotation: each of the spec, and one that is being left while pods use it."""
    if at.wanted:
        return True
    return bool(at.pods) if at.client is not None else ctx.fleet.site(at.name) is not None


def _trouble(step: Step, error: RoadsteadError) -> Wait:
    match step:
        case Distribute(region) | DistributeRewrap(region):
            return Wait(Reason.PROVIDER_FAILED, str(error), region)
        case MakeMaterial():
            return Wait(Reason.PROVIDER_FAILED, str(error))
        case Reserve():
            return Wait(Reason.NOT_OURS, str(error))
        case _:
            return Wait(Reason.WAITING, str(error))


def _look_again(facts: derived.Facts, now: datetime, planned: float | None) -> float | None:
    """Seconds after which something may be different although nothing tells so.

    Args:
        facts: of this pass.
        now: in UTC.
        planned: seconds after which something is to be done for the KEK; None: nothing is.
    """
    moments = [wait.until for wait in facts.decision.waits if wait.until is not None]
    moments += [facts.next] if facts.next is not None else []
    moments += [
        v.last_written + facts.ring.spec.removal_delay + SKEW
        for v in facts.versions
        if v.phase in life.REMOVABLE and v.number <= facts.ring.status.removable
    ]
    retention = facts.retention.counts
    if retention is not None:
        moments += [v.since + retention + SKEW for v in facts.versions if v.phase is KeyPhase.DRAINING]
    due = facts.kek.next
    if due is not None and due > now:
        moments.append(due)
    delays = [max(0.05, (moment - now).total_seconds()) for moment in moments]
    if due is not None and due <= now:
        delays.append(REGION_RETRY)  # the clock says no, or the provider does
    if planned is not None:
        delays.append(planned)
    reasons = {wait.reason for wait in facts.decision.waits}
    if reasons & {Reason.NOT_PROVED, Reason.OLD_PRIMARY_IN_USE}:
        delays.append(PROOF_POLL)
    if any(region.excluded for region in facts.regions):
        delays.append(PROOF_POLL)
    if any(region.consumers for region in facts.regions):
        if any(v.phase in life.MAY_BE_STORED for v in facts.versions):
            delays.append(INVENTORY_POLL)
        elif any(v.phase in life.REMOVABLE for v in facts.versions):
            delays.append(WANTED_POLL)
    if any(region.problem or not region.wanted for region in facts.regions) or Reason.CLOCKS_DIFFER in reasons:
        delays.append(REGION_RETRY)
    return min(delays, default=None)


async def _tell(key: Key, ring: KeyRing, ctx: Context, reason: str, note: str, *, warning: bool = False) -> None:
    """An event about the ring."""
    metadata = {"namespace": key.namespace, "name": key.name, "uid": ring.metadata.uid}
    about = {"apiVersion": KEY_RINGS.api_version, "kind": KEY_RINGS.kind, "metadata": metadata}
    await ctx.events.emit(about, KEY_RINGS.kind, reason=reason, note=note, action="Rotate", warning=warning)
