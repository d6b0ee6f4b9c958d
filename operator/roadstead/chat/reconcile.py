"""The shell around a ChatService: read, decide, apply, prune, write the status.

In a converged service nothing is rendered, read or written: for each region the digest of the inputs and the digest of
the children are those that the status records, and that is all there is to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from roadstead.api.chatservice import ChatService, ChatServiceStatus
from roadstead.api.parse import dump, is_status_readable, parse, status_of
from roadstead.api.problems import SpecError
from roadstead.chat import desired, peaks, placement, revisions, rollout
from roadstead.chat import status as derived
from roadstead.chat.bulkhead import BUSY, Bulkhead
from roadstead.chat.converge import OBSTACLE_RETRY, Converger, reference_to, why_not_ready
from roadstead.chat.encryption import RingFacts, not_proved, ring_facts
from roadstead.chat.history import RevisionHistory
from roadstead.chat.names import Names
from roadstead.chat.observed import Observed
from roadstead.chat.outcome import OutcomeKind, RegionOutcome
from roadstead.chat.placement import RegionFacts
from roadstead.chat.pods import AGAIN, Told, ask_in
from roadstead.chat.removal import Remainder, abandoned, leave, meddled, remaining, sweep
from roadstead.chat.revisions import Revision
from roadstead.chat.work import View, Work
from roadstead.kernel import finalizer, status
from roadstead.kernel.apply import Name
from roadstead.kernel.concurrency import gathered
from roadstead.kernel.context import Context, Result
from roadstead.kernel.errors import Invalid
from roadstead.kernel.fleet import Site
from roadstead.kernel.gate import Gate
from roadstead.kernel.objects import CHAT_SERVICES, KEY_RINGS, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.templates import TemplateSet

PROOF_POLL: Final = 5.0
"""Seconds after which a ring is asked again to look at proofs."""


def regions_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of the regions that a ChatService runs in or should run in."""
    topology = (body.get("spec") or {}).get("topology") or {}
    placed = (body.get("status") or {}).get("regions") or ()
    return frozenset(str(entry.get("name")) for entry in (*(topology.get("regions") or ()), *placed))


class ChatReconciler:
    """Reconciles ChatServices.

    Args:
        secret_version: identity and version of a TLS Secret in the hub, by namespace and name; empty without one.
        templates: of the room.
        places: in each region.
    """

    def __init__(self, secret_version: Callable[[str, str], str], templates: TemplateSet, places: Bulkhead) -> None:
        self._secret_version = secret_version
        self._templates = templates
        self._template_digest = templates.digest_of(*templates.names)
        self._history = RevisionHistory()
        self._places = places
        self._converger = Converger(templates, self._history, places)
        self._told: dict[Key, dict[str, Told]] = {}
        self._woken: dict[Key, float] = {}

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Bring one service one step further, and say when to look again."""
        body = ctx.resources.get(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._told.pop(key, None)
            self._woken.pop(key, None)
        if body is None:
            return Result(unfinished=await sweep(key, ctx, self._places))
        if "deletionTimestamp" in body["metadata"]:
            return await self._remove(key, body, ctx)
        if any(ctx.is_pending(name) for name in regions_of(body)):
            return Result()  # the fleet tells when it has looked at the region
        if not is_status_readable(ChatServiceStatus, body):
            # It remembers which regions are in flight. Begun anew, a rollout would move them all at once.
            raise Invalid(
                "status cannot be read by this version of the operator; run the version that wrote it, or remove the "
                "status (kubectl replace --subresource=status) to begin anew with all regions at once"
            )
        try:
            service = parse("ChatService", body)
        except SpecError as error:
            await self._write_invalid(body, str(error), ctx)
            return Result()
        if not finalizer.is_held(body):
            await finalizer.add(CHAT_SERVICES, key, body, ctx)
            body = ctx.resources.get(key) or body
        work = await self._look(key, service, body, ctx)
        decision = self._decide(work, derived.remembered(service.status))
        stored = await self._store_revision(key, work)
        if decision.persist_first or _lets_go(work.service.status, decision.state):
            await self._persist(work, decision)
        if stored:
            await self._converger.converge(work, decision.state)
        await self._leave_others(key, work)
        await self._write(work, decision)
        self._wake_ring(key, work)
        await self._trim(key, work, decision.state)
        return self._result(key, work, decision)

    async def _look(self, key: Key, service: ChatService, body: Mapping[str, Any], ctx: Context) -> Work:
        facts = {site.name: _facts(site) for site in ctx.fleet.sites()}
        entries = {entry.name: entry for entry in service.status.regions}
        present = set(derived.present(service.status))
        present |= {name for name in facts if (site := ctx.fleet.site(name)) and remaining(site, key)}
        placements = placement.place(service.spec, facts, present)
        views = {
            place.region: View(
                site, facts[place.region], entries.get(place.region), tuple(remaining(site, key)), site.served
            )
            for place in placements
            if place.writable and (site := ctx.fleet.site(place.region)) is not None
        }
        look_again = await self._ask_pods(service, views, ctx)
        autoscaling = service.spec.autoscaling
        target = revisions.revision_of(service.spec, self._templates)
        return Work(
            service=service,
            body=body,
            owner=Owner(ctx.hub_id, key, service.metadata.uid),
            ctx=ctx,
            placements=placements,
            views=views,
            target=target,
            floor=peaks.floor(autoscaling.peaks if autoscaling else (), ctx.clock.now()),
            templates=self._template_digest,
            certificates=await self._certificates(key, service.status, target, ctx),
            ring=_ring(service, ctx),
            look_again=look_again,
        )

    async def _ask_pods(self, service: ChatService, views: dict[str, View], ctx: Context) -> list[float]:
        """Ask the pods for which a rollout has waited what keeps them; returns when to ask, and to ask again.

        What they said is remembered until then: not every look asks, and none of them may take the words away.
        """
        key, now = Key(CHAT_SERVICES.kind, service.metadata.namespace, service.metadata.name), ctx.clock.now()
        limit = service.spec.rollout.progress_deadline
        known = self._told.pop(key, {})

        def wait(name: str) -> float | None:
            view, told = views[name], known.get(name)
            return ask_in(view.entry, view.workload, limit, now, told.at if told is not None else None)

        waiting = [name for name in views if wait(name) is not None]
        asked = [name for name in waiting if wait(name) == 0 and _answers(views[name].gate)]
        words = await gathered(why_not_ready(views[name], key) for name in asked)  # bounded in time, so without a place
        known |= {name: Told(now, said) for name, said in zip(asked, words, strict=True)}
        if told := {name: known[name] for name in waiting if name in known and _is_of(known[name], views[name])}:
            self._told[key] = told
        views |= {name: replace(views[name], pods=said.words) for name, said in told.items()}
        return [wait(name) or AGAIN.total_seconds() for name in waiting]

    async def _certificates(self, key: Key, known: ChatServiceStatus, target: Revision, ctx: Context) -> dict[str, str]:
        """Versions of the TLS Secrets: a region that keeps an older revision follows the renewals of that one's."""
        found = {target.hash: target}
        hashes = {hash_ for entry in known.regions for hash_ in (entry.revision, entry.last_good_revision)}
        for hash_ in hashes - {"", target.hash}:
            revision = await self._history.load(key, hash_, ctx)
            if revision is not None:
                found[hash_] = revision
        return {
            hash_: self._secret_version(key.namespace, revision.spec.tls.secret_name)
            for hash_, revision in found.items()
            if revision.spec.tls.secret_name
        }

    def _decide(self, work: Work, state: rollout.State) -> rollout.Decision:
        """The rollout's next step, from what the caches say."""
        runs = {}
        for name, view in work.views.items():
            region = state.regions.get(name)
            if region is not None and work.is_converged(view, region):
                runs[name] = region.revision
                work.outcomes[name] = view.outcome(OutcomeKind.APPLIED)
            elif self._places.is_full(name, view.gate):
                work.outcomes[name] = view.outcome(OutcomeKind.BUSY, BUSY)
            else:
                work.outcomes[name] = view.outcome(OutcomeKind.WAITING)
        views = derived.views(work.service, work.placements, work.outcomes, runs)
        return rollout.decide(state, work.target.hash, views, work.service.spec.rollout, work.ctx.clock.now())

    async def _persist(self, work: Work, decision: rollout.Decision) -> None:
        """Store which regions are moved before anything moves: after a crash no other region may be chosen as well."""
        # Those that are being left are looked at later in this pass, and the status is all that remembers them.
        wanted = {place.region for place in work.placements}
        left = [entry for entry in work.service.status.regions if entry.name not in wanted]
        work.outcomes |= {e.name: RegionOutcome(e.name, OutcomeKind.REMOVING, e.message) for e in left}
        await self._write(work, decision)
        for entry in left:
            del work.outcomes[entry.name]
        work.body = work.ctx.resources.get(work.owner.key) or work.body
        work.service = work.service.model_copy(update={"status": status_of(ChatServiceStatus, work.body)})

    async def _store_revision(self, key: Key, work: Work) -> bool:
        """The target must be stored before a region gets it: it is what a rollback would need.

        One that is stored from before and becomes the target again becomes the newest; the status tells that it did, so
        this comes before the status is written.
        """
        known = work.service.status.rollout.revision == work.target.hash
        if known and self._history.is_stored(key, work.target, work.ctx):
            return True
        owner = Owner(work.ctx.hub_id, key, work.service.metadata.uid, reference_to(work.service))
        outcome = await self._history.store(key, owner, work.target, work.ctx)
        if outcome.complete:
            return True
        problem = (
            str(outcome.failed)
            if outcome.failed
            else "; ".join(p.message for p in (*outcome.conflicts, *outcome.refused))
        )
        work.unfinished.append(f"revision {work.target.hash} cannot be stored: {problem}")
        return False

    async def _leave_others(self, key: Key, work: Work) -> None:
        """Regions that the service has left: what is there goes."""
        wanted = {place.region for place in work.placements}
        names = {entry.name for entry in work.service.status.regions} - wanted
        names |= {site.name for site in work.ctx.fleet.sites() if site.name not in wanted and remaining(site, key)}
        self._converger.forget(key, names)
        rests = await gathered(self._leave(name, work.owner, work.body, work.ctx) for name in sorted(names))
        for rest in rests:
            if rest is None:
                continue
            work.look_again.append(OBSTACLE_RETRY)
            if rest.awaited:
                work.outcomes[rest.region] = RegionOutcome(rest.region, OutcomeKind.REMOVING, rest.message)

    async def _leave(self, region: str, owner: Owner, body: Mapping[str, Any], ctx: Context) -> Remainder | None:
        """Delete what is in one region; when it is not what the status records, look for what lost its labels too."""
        key = owner.key
        applied = {entry.name: entry.applied for entry in status_of(ChatServiceStatus, body).regions}
        site = ctx.fleet.site(region)
        lost: tuple[Name, ...] = ()
        if site is not None and site.usable and meddled(site, key, applied.get(region, "")):
            names = Names(key.name, region, key.namespace)
            lost = desired.possible(names, await self._history.all(key, ctx), site.served)
        return await leave(region, owner, ctx, self._places, give_up=_is_abandoned(region, body), lost=lost)

    def _wake_ring(self, key: Key, work: Work) -> None:
        """Have the ring look at the proofs of pods that it has not counted: nothing else tells it that they are there.

        Not at every look: it wakes us in turn, as often as it has looked.
        """
        encryption = work.service.spec.encryption
        if encryption is None or work.ring is None:
            return
        pods = derived.pods(work.outcomes.values())
        if not_proved(work.ring_name, work.ring, pods) is None:
            self._woken.pop(key, None)
            return
        now = work.ctx.clock.monotonic()
        left = self._woken.get(key, now) - now
        if left <= 0:
            work.ctx.queue.add(Key(KEY_RINGS.kind, key.namespace, encryption.key_ring_ref.name))
            self._woken[key] = now + PROOF_POLL
            left = PROOF_POLL
        work.look_again.append(left)

    def _derive(self, work: Work, decision: rollout.Decision) -> dict[str, Any]:
        runs = {
            name: decision.state.regions[name].revision
            for name, outcome in work.outcomes.items()
            if outcome.settled and name in decision.state.regions and name not in work.drifting
        }
        facts = derived.Facts(
            service=work.service,
            placements=work.placements,
            decision=decision,
            views=derived.views(work.service, work.placements, work.outcomes, runs),
            outcomes=work.outcomes,
            scales={
                name: desired.scale(work.service, view.facts, _observed(work, view))
                for name, view in work.views.items()
            },
            floor=work.floor,
            ring=work.ring,
        )
        return dump(derived.derive(facts, work.ctx.clock.now()))

    async def _write(self, work: Work, decision: rollout.Decision) -> None:
        await status.write(work.ctx, CHAT_SERVICES, work.body, self._derive(work, decision))

    async def _write_invalid(self, body: Mapping[str, Any], message: str, ctx: Context) -> None:
        known = status_of(ChatServiceStatus, body)
        generation = int(body["metadata"].get("generation", 0))
        new = derived.invalid(known, message, generation, ctx.clock.now())
        await status.write(ctx, CHAT_SERVICES, body, dump(new))

    async def _trim(self, key: Key, work: Work, state: rollout.State) -> None:
        in_use = {state.target, state.good, work.target.hash}
        in_use |= {part for region in state.regions.values() for part in (region.revision, region.last_good)}
        # A region that is refused now may be taken in again, and runs what the status says.
        in_use |= {
            hash_ for entry in work.service.status.regions for hash_ in (entry.revision, entry.last_good_revision)
        }
        owner = Owner(work.ctx.hub_id, key, work.service.metadata.uid, reference_to(work.service))
        limit = work.service.spec.rollout.revision_history_limit
        await self._history.trim(key, owner, in_use - {""}, limit, work.ctx)

    def _result(self, key: Key, work: Work, decision: rollout.Decision) -> Result:
        if work.again:
            work.ctx.queue.add(key)  # the rollout may be able to take its next step
        now = work.ctx.clock.now()
        delays = list(work.look_again)
        delays += [_until(moment, now) for moment in (decision.wake_at, work.floor.until) if moment is not None]
        return Result(
            requeue_after=min(delays, default=None),
            unfinished="; ".join(work.unfinished),
            retry_after=work.retry_after,
        )

    async def _remove(self, key: Key, body: Mapping[str, Any], ctx: Context) -> Result:
        """Delete what the service has anywhere, then let it go."""
        if not finalizer.is_held(body):
            return Result()
        owner = Owner(ctx.hub_id, key, body["metadata"]["uid"])
        names = set(regions_of(body))
        names |= {site.name for site in ctx.fleet.sites() if remaining(site, key)}
        if any(ctx.is_pending(name) and not _is_abandoned(name, body) for name in names):
            return Result()
        rest = await gathered(self._leave(name, owner, body, ctx) for name in sorted(names))
        # What is left where a person gave the region up is found by its labels, and swept.
        outcomes = {
            remainder.region: RegionOutcome(
                remainder.region,
                OutcomeKind.REMOVING if _reachable(remainder.region, ctx) else OutcomeKind.UNREACHABLE,
                remainder.message,
            )
            for remainder in rest
            if remainder is not None and remainder.awaited
        }
        if outcomes:
            await self._write_deleting(body, outcomes, ctx)
            return Result(requeue_after=OBSTACLE_RETRY)
        await finalizer.remove(CHAT_SERVICES, key, ctx.resources.get(key) or body, ctx)
        self._converger.forget(key)
        return Result()

    async def _write_deleting(
        self, body: Mapping[str, Any], outcomes: Mapping[str, RegionOutcome], ctx: Context
    ) -> None:
        known = status_of(ChatServiceStatus, body)  # not the spec: one that cannot be read (any more) is deleted too
        new = derived.deleting(known, outcomes, int(body["metadata"].get("generation", 0)), ctx.clock.now())
        await status.write(ctx, CHAT_SERVICES, body, dump(new))


def _ring(service: ChatService, ctx: Context) -> RingFacts | None:
    encryption, namespace = service.spec.encryption, service.metadata.namespace
    if encryption is None:
        return None
    name = encryption.key_ring_ref.name
    return ring_facts(namespace, name, ctx.resources.get(Key(KEY_RINGS.kind, namespace, name)))


def _answers(gate: Gate | None) -> bool:
    """Whether a cluster can be asked for what is only words: one that is slow or silent has enough to do."""
    return gate is None or not (gate.is_slow or gate.is_open)


def _is_of(told: Told, view: View) -> bool:
    """Whether it was said since the region was moved last; before, there were other pods."""
    return view.entry is not None and view.entry.since is not None and view.entry.since <= told.at


def _lets_go(known: ChatServiceStatus, state: rollout.State) -> bool:
    """Whether a region no longer needs what the version before it needs, such as its configuration.

    That is taken away then; if the status did not tell so first, a crash in between would have it made again.
    """
    return any(
        region.last_good != entry.last_good_revision != ""
        for entry in known.regions
        if (region := state.regions.get(entry.name)) is not None
    )


def _facts(site: Site) -> RegionFacts:
    return RegionFacts(
        name=site.name,
        jurisdiction=site.jurisdiction,
        zones=site.zones,
        node_selector=site.node_selector,
        cordoned=site.cordoned,
        reachable=site.usable,
        message=site.message,
    )


def _reachable(region: str, ctx: Context) -> bool:
    site = ctx.fleet.site(region)
    return site is not None and site.usable


def _is_abandoned(region: str, body: Mapping[str, Any]) -> bool:
    names = abandoned(body)
    return region in names or "*" in names


def _observed(work: Work, view: View) -> Observed:
    return Observed(floor=work.floor.replicas, present_replicas=work.present_replicas(view))


def _until(moment: datetime, now: datetime) -> float:
    return max(0.05, (moment - now).total_seconds())
