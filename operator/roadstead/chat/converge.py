"""Making one region what the rollout says it should be; whatever goes wrong is this region's outcome only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from roadstead.api.chatservice import ChatService
from roadstead.api.kinds import API_VERSION
from roadstead.chat import desired, rollout
from roadstead.chat.bulkhead import BUSY, PLACE_RETRY, Bulkhead
from roadstead.chat.contest import Contest
from roadstead.chat.history import RevisionHistory
from roadstead.chat.names import Names
from roadstead.chat.observed import Certificate, Observed, certificate_in
from roadstead.chat.outcome import OutcomeKind, RegionOutcome
from roadstead.chat.pods import obstacle
from roadstead.chat.removal import remaining
from roadstead.chat.revisions import INSTANCE_LABEL, Revision
from roadstead.chat.work import View, Work
from roadstead.kernel import objects
from roadstead.kernel.apply import OUR_MANAGERS, Applier, Name, Outcome
from roadstead.kernel.concurrency import gathered
from roadstead.kernel.controller import waiting_for
from roadstead.kernel.errors import Fatal, Retryable, RoadsteadError, Unreachable
from roadstead.kernel.fieldset import other_managers
from roadstead.kernel.fleet import Member
from roadstead.kernel.logs import bound
from roadstead.kernel.objects import CHAT_SERVICES, PODS, Child, Key
from roadstead.kernel.templates import TemplateSet

LONGEST_SHARED_WAIT = 10.0
"""Seconds that a whole service waits because one region asked for it; what is more, only that region waits."""
TOLD = 3
"""Names of children in one event."""
PODS_ASKED = 20
"""Pods that are read when a rollout does not get further; they have one template, so a few tell as much as all."""
PODS_TIMEOUT = 2.0
"""Seconds that the answer may take: it is only words, and other regions wait for this pass."""
OBSTACLE_RETRY = 15.0
"""Seconds after which a region that lacked something or refused an object is tried again, besides every change."""

log = logging.getLogger(__name__)


class Converger:
    """Builds, applies and prunes a service's children, region by region.

    Args:
        templates: of the room.
        history: the stored revisions.
        places: in each region.
    """

    def __init__(self, templates: TemplateSet, history: RevisionHistory, places: Bulkhead) -> None:
        self._templates = templates
        self._history = history
        self._contests: dict[Key, dict[str, dict[str, Contest]]] = {}
        self._not_before: dict[Key, dict[str, tuple[float, RegionOutcome]]] = {}
        self._places = places

    async def converge(self, work: Work, state: rollout.State) -> None:
        """All regions that can be written, side by side."""
        await gathered(self._named(work, name, state.regions[name]) for name in work.views)

    def forget(self, key: Key, regions: Iterable[str] | None = None) -> None:
        """The service is gone, or has left these regions: nobody fights over it there any more."""
        both: tuple[dict[Key, dict[str, Any]], ...] = (self._contests, self._not_before)
        for remembered in both:
            for region in list(remembered.get(key, ())) if regions is None else regions:
                _drop(remembered, key, region)

    async def _named(self, work: Work, name: str, region: rollout.RegionState) -> None:
        with bound(region=name):
            try:
                await self._region(work, name, region)
            except Fatal:
                raise
            except Exception as error:  # of ours, or a member's answer that nobody foresaw: other regions must go on
                log.exception("unexpected error")
                work.ctx.metrics.panics(CHAT_SERVICES.kind)
                message = f"an error that nobody foresaw ({type(error).__name__}); the operator's log has it"
                work.outcomes[name] = work.views[name].outcome(OutcomeKind.WAITING, message)
                work.unfinished.append(f"region {name}: {message}")

    async def _region(self, work: Work, name: str, region: rollout.RegionState) -> None:
        view = work.views[name]
        digest = work.input_of(view, region)
        if work.is_converged(view, region):
            self._conclude(work, view, digest)
            return
        moment, answer = self._not_before.get(work.owner.key, {}).get(name, (0.0, None))
        if answer is not None and (left := moment - work.ctx.clock.monotonic()) > 0:
            work.outcomes[name] = replace(answer, workload=view.workload)  # the others do not wait for that
            work.look_again.append(left)
            return
        _drop(self._not_before, work.owner.key, name)
        member = view.site.member
        if member is None:
            return
        try:
            children = await self._build(work, view, region)
            lost = await self._possible(work, view) if view.may_miss_some(digest) else ()
        except _Blocked as blocked:
            work.outcomes[name] = blocked.outcome
            work.look_again.append(OBSTACLE_RETRY)
            return
        except RoadsteadError as error:  # all that is read for this is in the hub
            work.outcomes[name] = view.outcome(OutcomeKind.WAITING, f"the hub: {error}")
            work.unfinished.append(f"region {name} waits for the hub: {error}")
            work.retry_after = _longer(work.retry_after, error)
            return
        with self._places.place(name, work.owner.key, member.client.gate) as entered:
            if entered:
                await self._write(work, view, member, children, digest, lost)
            else:
                work.outcomes[name] = view.outcome(OutcomeKind.BUSY, BUSY)
                work.look_again.append(PLACE_RETRY)

    async def _write(
        self, work: Work, view: View, member: Member, children: tuple[Child, ...], digest: str, lost: tuple[Name, ...]
    ) -> None:
        name = view.site.name
        outcome, after = await self._apply(work, view, member, children, digest, lost)
        if outcome.complete:
            self._conclude(work, after, digest, spared=outcome.spared)
            # The decision of this pass did not know that the region is as it should be: look once more. Our own status
            # write wakes nobody, and without one (all was there already, after a crash) nothing else would.
            work.again = work.again or not outcome.spared
        elif outcome.failed is not None:
            self._fail(work, name, after, outcome.failed)
        elif outcome.unobstructed:
            work.outcomes[name] = after.outcome(OutcomeKind.WAITING, f"somebody is changing {', '.join(outcome.stale)}")
            work.unfinished.append(f"region {name}: somebody is changing {', '.join(outcome.stale)}")
        else:
            _obstructed(work, name, after, outcome)

    async def _apply(
        self, work: Work, view: View, member: Member, children: tuple[Child, ...], digest: str, lost: tuple[Name, ...]
    ) -> tuple[Outcome, View]:
        """Apply, but spare what somebody fights over while the truce lasts; remember who put up a fight.

        Returns the outcome, and the region as it was in the moment that the outcome is of: what somebody does while we
        still tell of it must not be recorded as what we applied.
        """
        name, now = view.site.name, work.ctx.clock.monotonic()
        contests = self._contests.get(work.owner.key, {}).get(name, {})
        owner = replace(work.owner, reference=reference_to(work.service)) if view.site.in_hub else work.owner
        truce = frozenset(child for child, contest in contests.items() if contest.left(now) > 0)
        outcome = await Applier(member.client, member.store, owner, name).converge(children, spare=truce, lost=lost)
        after = replace(view, records=tuple(remaining(view.site, work.owner.key)))
        # Made from what was all there before: what had to be created had been deleted.
        untouched = view.entry is not None and bool(view.entry.applied) and view.entry.input == digest
        deleted = outcome.made if untouched else ()
        repaired = [*outcome.drifted, *((child, ()) for child in deleted)]
        _account(work, outcome, len(repaired))
        if repaired:
            await _tell(work, name, outcome.drifted, deleted)
        for child, managers in repaired:
            known = self._contests.setdefault(work.owner.key, {}).setdefault(name, {})
            known[child] = known.get(child, Contest()).repaired(child, managers, now)
        for spared in (child for child in children if str(child) in outcome.spared):
            contests[str(spared)] = await _with_rivals(contests[str(spared)], spared, member)
        return outcome, after

    async def _possible(self, work: Work, view: View) -> tuple[Name, ...]:
        """What to look for by name.

        A child that lost its labels is in no record. While it is wanted, the repair finds it; when it is not wanted any
        more before that, nothing else would.
        """
        key = work.owner.key
        names = Names(key.name, view.site.name, key.namespace)
        return desired.possible(names, await self._history.all(key, work.ctx), view.served)

    async def _build(self, work: Work, view: View, region: rollout.RegionState) -> tuple[Child, ...]:
        revision = await self._revision(work, region.revision)
        last_good = (
            await self._revision(work, region.last_good) if region.last_good not in ("", region.revision) else None
        )
        if revision is None:
            message = f"revision {region.revision} is no longer stored; change the spec to roll out a new one"
            raise _Blocked(view.outcome(OutcomeKind.BLOCKED, message))
        certificate, fault = await _certificate(work, revision)
        observed = Observed(
            served=view.served,
            certificate=certificate,
            certificate_fault=fault,
            floor=work.floor.replicas,
            present_replicas=work.present_replicas(view),
            no_keyset=work.no_keyset(view.site.name),
            last_good=last_good,
            last_certificate=(await _certificate(work, last_good))[0] if last_good is not None else None,
        )
        missing = desired.missing(revision, observed, work.owner.key.namespace)
        if missing is not None:
            raise _Blocked(view.outcome(OutcomeKind.BLOCKED, missing.message, missing.reason))
        return desired.build(work.service, view.facts, revision, observed, self._templates)

    async def _revision(self, work: Work, hash_: str) -> Revision | None:
        if hash_ == work.target.hash:
            return work.target
        return await self._history.load(work.owner.key, hash_, work.ctx)

    def _conclude(self, work: Work, view: View, digest: str, *, spared: Sequence[str] = ()) -> None:
        """Every object is as it should be, but for those that are fought over and spared until their truce ends."""
        now = work.ctx.clock.monotonic()
        name = view.site.name
        known = self._contests.get(work.owner.key, {}).get(name, {})
        contests = {child: contest for child, contest in known.items() if contest.ends(now) > 0}
        if contests:
            self._contests[work.owner.key][name] = contests
        else:
            _drop(self._contests, work.owner.key, name)
        fights = [contest for contest in contests.values() if contest.message]
        kind = OutcomeKind.CONTESTED if fights else OutcomeKind.APPLIED
        message = "; ".join(contest.message for contest in fights)
        # Also of what is no fight: nobody else would have it forgotten.
        work.look_again += [c.left(now) if c.child in spared else c.ends(now) for c in contests.values()]
        applied = view.applied
        if spared:  # what is recorded must not be what somebody else made of it, or it would count as right for ever
            applied = view.entry.applied if view.entry is not None else ""
            work.drifting.add(name)
        work.outcomes[name] = view.outcome(kind, message, applied=applied, input=digest)

    def _fail(self, work: Work, name: str, view: View, error: RoadsteadError) -> None:
        kind = OutcomeKind.UNREACHABLE if isinstance(error, Unreachable) else OutcomeKind.WAITING
        outcome = work.outcomes[name] = view.outcome(kind, str(error))
        work.unfinished.append(f"region {name}: {error}")
        work.retry_after = _longer(work.retry_after, error)
        asked = _asked(error)
        if asked > LONGEST_SHARED_WAIT:
            moment = work.ctx.clock.monotonic() + asked
            self._not_before.setdefault(work.owner.key, {})[name] = (moment, outcome)


def _drop(remembered: dict[Key, dict[str, Any]], key: Key, region: str) -> None:
    regions = remembered.get(key, {})
    regions.pop(region, None)
    if not regions:
        remembered.pop(key, None)


def _longer(present: float | None, error: RoadsteadError) -> float | None:
    """How long a whole service waits, now that this has asked for time as well."""
    asked = _asked(error)
    return max(min(asked, LONGEST_SHARED_WAIT), present or 0.0) if asked else present


def _asked(error: RoadsteadError) -> float:
    """Seconds that the other side asked us to wait."""
    return (error.retry_after or 0.0) if isinstance(error, Retryable) else 0.0


def reference_to(service: ChatService) -> dict[str, Any]:
    """The ownerReference of children in the hub."""
    return {
        "apiVersion": API_VERSION,
        "kind": CHAT_SERVICES.kind,
        "name": service.metadata.name,
        "uid": service.metadata.uid,
        "controller": True,
    }


class _Blocked(Exception):
    """Nothing can be made in a region yet; never leaves this module."""

    def __init__(self, outcome: RegionOutcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def _obstructed(work: Work, name: str, view: View, outcome: Outcome) -> None:
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
    work.outcomes[name] = view.outcome(kind, message)
    work.look_again.append(OBSTACLE_RETRY)


def _account(work: Work, outcome: Outcome, repaired: int) -> None:
    metrics = work.ctx.metrics
    for action, count in (("create", outcome.created), ("update", outcome.updated), ("delete", outcome.deleted)):
        if count:
            metrics.children_written.labels(CHAT_SERVICES.kind, action).inc(count)
    if repaired:
        metrics.drift.labels(CHAT_SERVICES.kind).inc(repaired)
    work.again = work.again or outcome.writes > 0


async def _tell(
    work: Work, region: str, changed: Sequence[tuple[str, tuple[str, ...]]], deleted: Sequence[str]
) -> None:
    """An event: a repair leaves no other trace for whoever wonders where the edit went."""
    parts = []
    if changed:
        managers = sorted({manager for _, names in changed for manager in names})
        by = f" by {', '.join(managers)}" if managers else ""
        parts.append(f"{_listed([child for child, _ in changed])} was changed{by} and is as the spec asks again")
    if deleted:
        parts.append(f"{_listed(deleted)} was deleted and is made again")
    note = f"region {region}: {'; '.join(parts)}"
    await work.ctx.events.emit(work.body, CHAT_SERVICES.kind, reason="DriftRepaired", note=note, action="Repair")


def _listed(children: Sequence[str]) -> str:
    return ", ".join(children[:TOLD]) + (" and more" if len(children) > TOLD else "")


async def _with_rivals(contest: Contest, child: Child, member: Member) -> Contest:
    """Who fights is seen only while the other one wins: a repair takes the field, and the name with it."""
    if contest.managers:
        return contest
    try:
        found = await member.client.find(child.gvr, child.namespace, child.name, metadata_only=True)
    except RoadsteadError:
        return contest  # the next look tells
    return replace(contest, managers=other_managers(found["metadata"], OUR_MANAGERS) if found is not None else ())


async def why_not_ready(view: View, key: Key) -> str:
    """What keeps the service's pods in a region from being ready; empty when they cannot be asked."""
    labels = f"{INSTANCE_LABEL}={key.name},{objects.REGION_LABEL}={view.site.name}"
    if view.site.member is None:
        return ""
    try:
        with waiting_for(lambda: True):  # for this region's server, and for nothing else
            async with asyncio.timeout(PODS_TIMEOUT):
                async for pods, _ in view.site.member.client.pages(
                    PODS, key.namespace, labels=labels, page_size=PODS_ASKED
                ):
                    return obstacle(pods)
    except (RoadsteadError, TimeoutError, LookupError, TypeError, ValueError, AttributeError) as error:
        # A member profile from before this was asked, for one; or an answer that no API server gives.
        log.info("cannot read the pods of %s in region %s: %s", key, view.site.name, str(error) or "no answer in time")
    return ""


async def _certificate(work: Work, revision: Revision) -> tuple[Certificate | None, str]:
    """What is in the Secret that the revision names, or why not; read only when children are made."""
    name = revision.spec.tls.secret_name
    if name is None:
        return None, ""
    reading = work.secrets.get(name)
    if reading is None:  # twelve regions need it at the same moment
        find = work.ctx.hub.client.find(objects.SECRETS, work.owner.key.namespace, name)
        reading = work.secrets[name] = asyncio.ensure_future(find)
    return certificate_in(await reading)
