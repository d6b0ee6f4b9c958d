"""The shell around a ChatService: read, decide, apply, prune, write the status.

In a converged service nothing is rendered, read or written: for each region the digest of the inputs and the digest of
the children are those that the status records, and that is all there is to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

import orjson

from roadstead.api.chatservice import ChatService, ChatServiceStatus, ServiceRegionStatus
from roadstead.api.conditions import Reason
from roadstead.api.kinds import API_VERSION
from roadstead.api.parse import dump, parse, status_of
from roadstead.api.problems import SpecError
from roadstead.chat import desired, peaks, placement, revisions, rollout
from roadstead.chat import status as derived
from roadstead.chat.contest import Contest
from roadstead.chat.desired import Certificate, Observed
from roadstead.chat.history import RevisionHistory
from roadstead.chat.placement import Placement, RegionFacts
from roadstead.chat.removal import abandoned, leave, remaining, sweep
from roadstead.chat.revisions import Revision
from roadstead.chat.status import OutcomeKind, RegionOutcome
from roadstead.kernel import objects, status
from roadstead.kernel.apply import OUR_MANAGERS, Applier, Outcome, applied_digest
from roadstead.kernel.context import Context, Result
from roadstead.kernel.errors import Conflict, NotFound, RoadsteadError, Unreachable
from roadstead.kernel.fieldset import other_managers
from roadstead.kernel.fleet import Member, Site
from roadstead.kernel.logs import bound
from roadstead.kernel.objects import CHAT_SERVICES, Gvr, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.store import Record, WorkloadStatus
from roadstead.kernel.templates import TemplateSet

T = TypeVar("T")
TLS_TYPE = "kubernetes.io/tls"
NAMESPACE_RETRY = 15.0
"""Seconds after which a region that lacked a namespace or refused an object is tried again, besides every change."""


def regions_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of the regions that a ChatService runs in or should run in."""
    topology = (body.get("spec") or {}).get("topology") or {}
    placed = (body.get("status") or {}).get("regions") or ()
    return frozenset(str(entry.get("name")) for entry in (*(topology.get("regions") or ()), *placed))


@dataclass(frozen=True, slots=True)
class _View:
    """One region of the topology before anything is done there."""

    site: Site
    facts: RegionFacts
    entry: ServiceRegionStatus | None
    records: tuple[Record, ...]
    served: frozenset[Gvr]

    @property
    def applied(self) -> str:
        return applied_digest(self.records) if self.records else ""

    @property
    def workload(self) -> WorkloadStatus | None:
        return next((record.workload for record in self.records if record.workload is not None), None)

    @property
    def address(self) -> str:
        return next((record.address for record in self.records if record.address), "")

    @property
    def present_replicas(self) -> int | None:
        known = self.entry is not None and (self.entry.applied or self.records)
        return self.entry.desired_replicas if self.entry is not None and known else None

    def outcome(
        self,
        kind: OutcomeKind,
        message: str = "",
        reason: Reason | None = None,
        *,
        applied: str = "",
        input: str = "",  # noqa: A002
    ) -> RegionOutcome:
        """An outcome here; what is recorded of the region stays recorded unless something else is given."""
        recorded = self.entry
        return RegionOutcome(
            self.site.name,
            kind,
            message,
            reason,
            workload=self.workload,
            applied=applied or (recorded.applied if recorded is not None else ""),
            input=input or (recorded.input if recorded is not None else ""),
            address=self.address,
        )


@dataclass(slots=True)
class _Work:
    """One pass over one service."""

    service: ChatService
    body: Mapping[str, Any]
    owner: Owner
    ctx: Context
    placements: tuple[Placement, ...]
    looks: Mapping[str, _View]
    target: Revision
    floor: peaks.Floor
    certificate: str
    outcomes: dict[str, RegionOutcome] = field(default_factory=dict)
    drifting: set[str] = field(default_factory=set)
    again: bool = False
    unfinished: list[str] = field(default_factory=list)
    retry_after: float | None = None
    look_again: list[float] = field(default_factory=list)


class ChatReconciler:
    """Reconciles ChatServices.

    Args:
        secret_version: identity and version of a TLS Secret in the hub, by namespace and name; empty without one.
        templates: of the room.
    """

    def __init__(self, secret_version: Callable[[str, str], str], templates: TemplateSet) -> None:
        self._secret_version = secret_version
        self._templates = templates
        self._template_digest = templates.digest_of(*templates.names)
        self._history = RevisionHistory()
        self._contests: dict[tuple[Key, str], dict[str, Contest]] = {}

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Bring one service one step further, and say when to look again."""
        body = ctx.resources.get(key)
        if body is None:
            return Result(unfinished=await sweep(key, ctx))
        if "deletionTimestamp" in body["metadata"]:
            return await self._remove(key, body, ctx)
        try:
            service = parse("ChatService", body)
        except SpecError as error:
            await self._write_invalid(body, str(error), ctx)
            return Result()
        if any(self._is_pending(name, ctx) for name in regions_of(body)):
            return Result()  # the fleet tells when it has looked at the region
        if objects.FINALIZER not in service.metadata.finalizers:
            await _set_finalizer(key, body, ctx, present=True)
        work = self._look(key, service, body, ctx)
        decision = self._decide(work, derived.remembered(service.status))
        stored = await self._store_revision(key, work)
        if decision.persist_first or _lets_go(work.service.status, decision.state):
            await self._persist(work, decision)
        if stored:
            await _all(self._converge(work, name, decision.state) for name in work.looks)
        await self._leave_others(key, work)
        await self._write(work, decision)
        await self._trim(key, work, decision.state)
        return self._result(key, work, decision)

    def _is_pending(self, region: str, ctx: Context) -> bool:
        site = ctx.fleet.site(region)
        if site is None:
            return ctx.resources.version(Key(objects.REGIONS.kind, "", region)) > 0
        return site.pending

    def _look(self, key: Key, service: ChatService, body: Mapping[str, Any], ctx: Context) -> _Work:
        facts = {site.name: _facts(site) for site in ctx.fleet.sites()}
        entries = {entry.name: entry for entry in service.status.regions}
        present = set(derived.present(service.status))
        present |= {name for name in facts if (site := ctx.fleet.site(name)) and remaining(site, key)}
        looks = {}
        placements = placement.place(service.spec, facts, present)
        for place in placements:
            site = ctx.fleet.site(place.region)
            if place.writable and site is not None:
                looks[place.region] = _View(
                    site, facts[place.region], entries.get(place.region), tuple(remaining(site, key)), _served(site)
                )
        autoscaling = service.spec.autoscaling
        secret = service.spec.tls.secret_name
        return _Work(
            service=service,
            body=body,
            owner=Owner(ctx.hub_id, key, service.metadata.uid),
            ctx=ctx,
            placements=placements,
            looks=looks,
            target=revisions.revision_of(service.spec, self._templates),
            floor=peaks.floor(autoscaling.peaks if autoscaling else (), ctx.clock.now()),
            certificate=self._secret_version(key.namespace, secret) if secret else "",
        )

    def _decide(self, work: _Work, state: rollout.State) -> rollout.Decision:
        """The rollout's next step, from what the caches say."""
        runs = {}
        for name, look in work.looks.items():
            region = state.regions.get(name)
            if region is not None and self._is_converged(work, look, region):
                runs[name] = region.revision
                work.outcomes[name] = look.outcome(OutcomeKind.APPLIED)
            else:
                work.outcomes[name] = look.outcome(OutcomeKind.WAITING)
        views = derived.views(work.service, work.placements, work.outcomes, runs)
        return rollout.decide(state, work.target.hash, views, work.service.spec.rollout, work.ctx.clock.now())

    def _is_converged(self, work: _Work, look: _View, region: rollout.RegionState) -> bool:
        entry = look.entry
        return (
            entry is not None
            and bool(entry.applied)
            and entry.applied == look.applied
            and entry.input == self._input(work, look, region)
        )

    def _input(self, work: _Work, look: _View, region: rollout.RegionState) -> str:
        """Digest of everything that a region's children are made from. The operator's version is not in it."""
        facts = look.facts
        parts = (
            work.service.metadata.uid,
            work.service.metadata.generation,
            region.revision,
            region.last_good,
            self._template_digest,
            facts.zones,
            sorted(facts.node_selector.items()),
            look.present_replicas if facts.cordoned else None,
            work.floor.replicas,
            work.certificate,
            sorted(map(str, look.served)),
        )
        return blake2b(orjson.dumps(parts), digest_size=12).hexdigest()

    async def _persist(self, work: _Work, decision: rollout.Decision) -> None:
        """Store which regions are moved before anything moves: after a crash no other region may be chosen as well."""
        await status.write(work.ctx, CHAT_SERVICES, work.body, self._derive(work, decision))
        work.body = work.ctx.resources.get(work.owner.key) or work.body
        work.service = work.service.model_copy(update={"status": status_of(ChatServiceStatus, work.body)})

    async def _store_revision(self, key: Key, work: _Work) -> bool:
        """The target must be stored before a region gets it: it is what a rollback would need.

        One that is stored from before and becomes the target again becomes the newest; the status tells that it did, so
        this comes before the status is written.
        """
        known = work.service.status.rollout.revision == work.target.hash
        if known and self._history.is_stored(key, work.target, work.ctx):
            return True
        owner = Owner(work.ctx.hub_id, key, work.service.metadata.uid, _reference(work.service))
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

    async def _converge(self, work: _Work, name: str, state: rollout.State) -> None:
        """Make one region what it should be; whatever goes wrong is this region's outcome only."""
        with bound(region=name):
            await self._converge_region(work, name, state)

    async def _converge_region(self, work: _Work, name: str, state: rollout.State) -> None:
        look, region = work.looks[name], state.regions[name]
        digest = self._input(work, look, region)
        if self._is_converged(work, look, region):
            self._conclude(work, look, digest)
            return
        now = work.ctx.clock.monotonic()
        contests = self._contests.get((work.owner.key, name), {})
        try:
            children = await self._build(work, look, region)
        except _Blocked as blocked:
            work.outcomes[name] = blocked.outcome
            work.look_again.append(NAMESPACE_RETRY)
            return
        except RoadsteadError as error:
            self._fail(work, name, look, error)
            return
        member = look.site.member
        if member is None:
            return
        owner = work.owner
        if look.site.in_hub:
            owner = Owner(owner.hub, owner.key, owner.uid, _reference(work.service))
        truce = frozenset(child for child, contest in contests.items() if contest.left(now) > 0)
        outcome = await Applier(member.client, member.store, owner, name).converge(children, spare=truce)
        self._account(work, outcome)
        for child, managers in outcome.drifted:
            known = self._contests.setdefault((work.owner.key, name), {})
            known[child] = known.get(child, Contest()).repaired(child, managers, now)
        for spared in (child for child in children if str(child) in outcome.spared):
            contests[str(spared)] = await _with_rivals(contests[str(spared)], spared, member)
        after = _View(look.site, look.facts, look.entry, tuple(remaining(look.site, work.owner.key)), look.served)
        if outcome.complete:
            self._conclude(work, after, digest, spared=outcome.spared)
            # The decision of this pass did not know that the region is as it should be: look once more. Our own status
            # write wakes nobody, and without one (all was there already, after a crash) nothing else would.
            work.again = work.again or not outcome.spared
        elif outcome.failed is not None:
            self._fail(work, name, after, outcome.failed)
        else:
            self._obstructed(work, name, after, outcome)

    async def _build(self, work: _Work, look: _View, region: rollout.RegionState) -> tuple[objects.Child, ...]:
        revision = await self._revision(work, region.revision)
        last_good = (
            await self._revision(work, region.last_good) if region.last_good not in ("", region.revision) else None
        )
        if revision is None:
            message = f"revision {region.revision} is no longer stored; change the spec to roll out a new one"
            raise _Blocked(look.outcome(OutcomeKind.BLOCKED, message))
        observed = Observed(
            served=look.served,
            certificate=await _certificate(work, revision),
            floor=work.floor.replicas,
            present_replicas=look.present_replicas,
            last_good=last_good,
        )
        missing = desired.missing(revision, observed)
        if missing is not None:
            raise _Blocked(look.outcome(OutcomeKind.BLOCKED, missing.message, missing.reason))
        return desired.build(work.service, look.facts, revision, observed, self._templates)

    async def _revision(self, work: _Work, hash_: str) -> Revision | None:
        if hash_ == work.target.hash:
            return work.target
        return await self._history.load(work.owner.key, hash_, work.ctx)

    def _conclude(self, work: _Work, look: _View, digest: str, *, spared: Sequence[str] = ()) -> None:
        """Every object is as it should be, but for those that are fought over and spared until their truce ends."""
        now = work.ctx.clock.monotonic()
        name = look.site.name
        identity = (work.owner.key, name)
        contests = {child: c for child, c in self._contests.get(identity, {}).items() if c.ends(now) > 0}
        if contests:
            self._contests[identity] = contests
        else:
            self._contests.pop(identity, None)
        fights = [contest for contest in contests.values() if contest.message]
        kind = OutcomeKind.CONTESTED if fights else OutcomeKind.APPLIED
        message = "; ".join(contest.message for contest in fights)
        work.look_again += [contest.left(now) if contest.child in spared else contest.ends(now) for contest in fights]
        applied = look.applied
        if spared:  # what is recorded must not be what somebody else made of it, or it would count as right for ever
            applied = look.entry.applied if look.entry is not None else ""
            work.drifting.add(name)
        work.outcomes[name] = look.outcome(kind, message, applied=applied, input=digest)

    def _fail(self, work: _Work, name: str, look: _View, error: RoadsteadError) -> None:
        kind = OutcomeKind.UNREACHABLE if isinstance(error, Unreachable) else OutcomeKind.WAITING
        work.outcomes[name] = look.outcome(kind, str(error))
        work.unfinished.append(f"region {name}: {error}")
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            work.retry_after = max(retry_after, work.retry_after or 0.0)

    def _obstructed(self, work: _Work, name: str, look: _View, outcome: Outcome) -> None:
        """The cluster said no, or something lingers."""
        if outcome.conflicts:
            kind, message = OutcomeKind.CONFLICT, "; ".join(problem.message for problem in outcome.conflicts)
        elif outcome.refused:
            namespace = work.owner.key.namespace
            kind, message = OutcomeKind.REFUSED, "; ".join(f"{p.child}: {p.message}" for p in outcome.refused)
            if f'namespaces "{namespace}" not found' in message:
                kind = OutcomeKind.NAMESPACE_MISSING
                message = f"namespace {namespace} does not exist in region {name}; create it there"
        else:
            kind, message = OutcomeKind.WAITING, f"waiting for the deletion of {', '.join(outcome.waiting)}"
        work.outcomes[name] = look.outcome(kind, message)
        work.look_again.append(NAMESPACE_RETRY)

    async def _leave_others(self, key: Key, work: _Work) -> None:
        """Regions that the service has left: what is there goes."""
        wanted = {place.region for place in work.placements}
        names = {entry.name for entry in work.service.status.regions} - wanted
        names |= {site.name for site in work.ctx.fleet.sites() if site.name not in wanted and remaining(site, key)}
        for name in sorted(names):
            rest = await leave(name, work.owner, work.ctx, give_up=_is_abandoned(name, work.body))
            if rest is not None:
                work.outcomes[name] = RegionOutcome(name, OutcomeKind.REMOVING, rest.message)
                work.look_again.append(NAMESPACE_RETRY)

    def _account(self, work: _Work, outcome: Outcome) -> None:
        metrics = work.ctx.metrics
        for action, count in (("create", outcome.created), ("update", outcome.updated), ("delete", outcome.deleted)):
            if count:
                metrics.children_written.labels(CHAT_SERVICES.kind, action).inc(count)
        if outcome.drifted:
            metrics.drift.labels(CHAT_SERVICES.kind).inc(len(outcome.drifted))
        work.again = work.again or outcome.writes > 0

    def _derive(self, work: _Work, decision: rollout.Decision) -> dict[str, Any]:
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
                name: desired.scale(work.service, look.facts, self._observed(work, look))
                for name, look in work.looks.items()
            },
            floor=work.floor,
        )
        return dump(derived.derive(facts, work.ctx.clock.now()))

    def _observed(self, work: _Work, look: _View) -> Observed:
        return Observed(floor=work.floor.replicas, present_replicas=look.present_replicas)

    async def _write(self, work: _Work, decision: rollout.Decision) -> None:
        await status.write(work.ctx, CHAT_SERVICES, work.body, self._derive(work, decision))

    async def _write_invalid(self, body: Mapping[str, Any], message: str, ctx: Context) -> None:
        known = status_of(ChatServiceStatus, body)
        generation = int(body["metadata"].get("generation", 0))
        new = derived.invalid(known, message, generation, ctx.clock.now())
        await status.write(ctx, CHAT_SERVICES, body, dump(new))

    async def _trim(self, key: Key, work: _Work, state: rollout.State) -> None:
        in_use = {state.target, state.good, work.target.hash}
        in_use |= {part for region in state.regions.values() for part in (region.revision, region.last_good)}
        owner = Owner(work.ctx.hub_id, key, work.service.metadata.uid, _reference(work.service))
        limit = work.service.spec.rollout.revision_history_limit
        await self._history.trim(key, owner, in_use - {""}, limit, work.ctx)

    def _result(self, key: Key, work: _Work, decision: rollout.Decision) -> Result:
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
        if objects.FINALIZER not in (body["metadata"].get("finalizers") or ()):
            return Result()
        owner = Owner(ctx.hub_id, key, body["metadata"]["uid"])
        names = set(regions_of(body))
        names |= {site.name for site in ctx.fleet.sites() if remaining(site, key)}
        if any(self._is_pending(name, ctx) and not _is_abandoned(name, body) for name in names):
            return Result()
        rest = await _all(leave(name, owner, ctx, give_up=_is_abandoned(name, body)) for name in sorted(names))
        outcomes = {
            remainder.region: RegionOutcome(
                remainder.region,
                OutcomeKind.REMOVING if _reachable(remainder.region, ctx) else OutcomeKind.UNREACHABLE,
                remainder.message,
            )
            for remainder in rest
            if remainder is not None
        }
        if outcomes:
            await self._write_deleting(body, outcomes, ctx)
            return Result(requeue_after=NAMESPACE_RETRY)
        await _set_finalizer(key, body, ctx, present=False)
        for contested in [entry for entry in self._contests if entry[0] == key]:
            del self._contests[contested]
        return Result()

    async def _write_deleting(
        self, body: Mapping[str, Any], outcomes: Mapping[str, RegionOutcome], ctx: Context
    ) -> None:
        try:
            service = parse("ChatService", body)
        except SpecError:
            return  # the spec was never carried out; the finalizer alone says that something is left
        new = derived.deleting(service, outcomes, ctx.clock.now())
        await status.write(ctx, CHAT_SERVICES, body, dump(new))


async def _all(coroutines: Iterable[Awaitable[T]]) -> list[T]:
    """Run them side by side to the end of every one, then raise what the first of them raised.

    None may be left running: the next pass over the same owner would write beside it.
    """
    ended = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return [result for result in ended if not isinstance(result, BaseException)]


class _Blocked(Exception):
    """Nothing can be made in a region yet; never leaves this module."""

    def __init__(self, outcome: RegionOutcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


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


def _served(site: Site) -> frozenset[Gvr]:
    return site.served


def _reachable(region: str, ctx: Context) -> bool:
    site = ctx.fleet.site(region)
    return site is not None and site.usable


def _is_abandoned(region: str, body: Mapping[str, Any]) -> bool:
    names = abandoned(body)
    return region in names or "*" in names


def _until(moment: datetime, now: datetime) -> float:
    return max(0.05, (moment - now).total_seconds())


def _reference(service: ChatService) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": CHAT_SERVICES.kind,
        "name": service.metadata.name,
        "uid": service.metadata.uid,
        "controller": True,
    }


async def _with_rivals(contest: Contest, child: objects.Child, member: Member) -> Contest:
    """Who fights is seen only while the other one wins: a repair takes the field, and the name with it."""
    if contest.managers:
        return contest
    try:
        found = await member.client.find(child.gvr, child.namespace, child.name, metadata_only=True)
    except RoadsteadError:
        return contest  # the next look tells
    return replace(contest, managers=other_managers(found["metadata"], OUR_MANAGERS) if found is not None else ())


async def _certificate(work: _Work, revision: Revision) -> Certificate | None:
    """The content of the Secret that the revision names, read only when children are made."""
    name = revision.spec.tls.secret_name
    if name is None:
        return None
    secret = await work.ctx.hub.client.find(objects.SECRETS, work.owner.key.namespace, name)
    if secret is None or secret.get("type") != TLS_TYPE:
        return None  # only this type is watched: another would be copied once and its renewal never seen
    data = secret.get("data") or {}
    if not data.get("tls.crt") or not data.get("tls.key"):
        return None
    return Certificate({part: data[part] for part in ("tls.crt", "tls.key", "ca.crt") if data.get(part)})


async def _set_finalizer(key: Key, body: Mapping[str, Any], ctx: Context, *, present: bool) -> None:
    """Add or remove our finalizer, and nothing else: under apply a list of ours that is left out goes away."""
    metadata: dict[str, Any] = {"name": key.name, "namespace": key.namespace, "uid": body["metadata"]["uid"]}
    if present:
        metadata["finalizers"] = [objects.FINALIZER]
    patch = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}
    try:
        answer = await ctx.hub.client.apply(
            CHAT_SERVICES, key.namespace, key.name, patch, manager=objects.FIELD_MANAGER
        )
    except (NotFound, Conflict):
        if present:
            raise Conflict(f"{key} is gone or was made anew") from None
        return
    if present:
        ctx.resources.upsert(key.kind, answer)
