"""A world for the rollout: regions that fail, vanish and return, and an oracle that keeps its own record of them.

The oracle knows nothing of stages and clocks in the state: it watches how long each region has really been ready with
what really runs there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from roadstead.api.chatservice import OnFailure, RegionStage, Rollout, RolloutPhase, RolloutState
from roadstead.chat import rollout
from roadstead.chat.rollout import RegionState, RegionView, State

BAKE, DEADLINE = 2, 3
CRASH = "and the operator is killed"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Site:
    """One region as it really is. Times are in seconds and stop counting where they stop mattering."""

    reachable: bool = True
    held: bool = False
    runs: str = ""
    ready: bool = False
    ready_for: int = 0  # what breaks and heals between two passes was never seen by anybody
    proved: bool = False  # has been ready as long as it must be with what runs there
    valued: bool = False  # has been proved with something: there is something to lose
    away_for: int = 0
    seen_ready: bool = False  # what the status says

    def ticked(self) -> "Site":
        ready_for = min(self.ready_for + 1, BAKE + 1) if self.ready else 0
        return replace(
            self, ready_for=ready_for, away_for=0 if self.reachable else min(self.away_for + 1, DEADLINE + 1)
        )

    def given(self, revision: str) -> "Site":
        if revision == self.runs:
            return self
        return replace(self, runs=revision, ready=False, ready_for=0, proved=False, seen_ready=False)


@dataclass(frozen=True)
class World:
    state: State
    target: str
    sites: tuple[Site, ...]
    policy: Rollout
    clock: int = 0
    trouble: int = 0  # how much more may go wrong
    failed: str = ""  # the revision that the service was rolled back from and that nobody asked for again

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock)

    def site(self, index: int, **changes: object) -> "World":
        sites = list(self.sites)
        sites[index] = replace(sites[index], **changes)  # type: ignore[arg-type]
        return replace(self, sites=tuple(sites))

    def views(self) -> list[RegionView]:
        return [
            RegionView(
                name=name_of(index),
                role=None,
                reachable=site.reachable,
                held=site.held,
                runs=site.runs if site.reachable else "",
                ready=site.reachable and site.ready,
                lost=site.reachable and site.seen_ready and not site.ready,
            )
            for index, site in enumerate(self.sites)
        ]


def name_of(index: int) -> str:
    return "abcdef"[index]


def policy(on_failure: OnFailure = OnFailure.ROLL_BACK, parallel: int = 1) -> Rollout:
    return Rollout(
        bake_time=timedelta(seconds=BAKE),
        progress_deadline=timedelta(seconds=DEADLINE),
        max_parallel_regions=parallel,
        on_failure=on_failure,
    )


def installed(count: int, rules: Rollout, trouble: int) -> World:
    """A service that runs r1 everywhere."""
    regions = {name_of(i): RegionState("r1", RegionStage.SETTLED, EPOCH, "r1") for i in range(count)}
    state = State("r1", "r1", RolloutPhase.COMPLETE, EPOCH, "", regions)
    site = Site(runs="r1", ready=True, ready_for=BAKE + 1, proved=True, valued=True, seen_ready=True)
    return World(state, "r1", (site,) * count, rules, trouble=trouble)


def fresh(count: int, rules: Rollout, trouble: int) -> World:
    """A service that was just created."""
    return World(State(), "r1", (Site(),) * count, rules, trouble=trouble)


def reconciled(world: World, *, crash: bool = False) -> World:
    """One pass: decide, store, apply. With ``crash`` it ends after storing, or where that is allowed after applying."""
    world = replace(world, sites=tuple(proved(site, world.state) for site in world.sites))
    views = world.views()
    decision = rollout.decide(world.state, world.target, views, world.policy, world.now)
    check_decision(world, decision)
    again = rollout.decide(decision.state, world.target, views, world.policy, world.now)
    if again.state != decision.state or again.moved:
        raise Violation("deciding twice is not the same as deciding once")
    failed = decision.state.target if decision.state.phase is RolloutPhase.ROLLING_BACK else world.failed
    if decision.state.phase is RolloutPhase.PAUSED:
        failed = ""
    world = replace(world, failed=failed)
    if crash and decision.persist_first:
        return replace(world, state=decision.state)
    applied = tuple(
        replace(site.given(decision.state.regions[name_of(i)].revision)) if site.reachable else site
        for i, site in enumerate(world.sites)
    )
    if crash:
        return replace(world, sites=applied)
    sites = tuple(seen(site) if site.reachable else site for site in applied)
    return replace(world, state=decision.state, sites=sites)


def seen(site: Site) -> Site:
    """What the status says of it from now on."""
    return replace(site, seen_ready=site.ready, ready_for=site.ready_for if site.ready else 0)


def proved(site: Site, state: State) -> Site:
    """The oracle's own view of when a region has proved what it runs."""
    need = BAKE if site.runs != state.good and site.valued else 0
    enough = site.ready and site.ready_for >= need
    return replace(site, proved=site.proved or enough, valued=site.valued or enough)


def check_decision(world: World, decision: rollout.Decision) -> None:
    """The invariants of a single decision."""
    before, after = world.state.regions, decision.state.regions
    started = [
        i
        for i in range(len(world.sites))
        if (old := before.get(name_of(i))) is not None
        and old.stage is RegionStage.SETTLED
        and after[name_of(i)].revision != old.revision
    ]
    for index in started:
        site = world.sites[index]
        if not site.reachable or site.held:
            raise Violation(f"{name_of(index)} was moved although it is unreachable or cordoned")
    forward = decision.state.phase in (RolloutPhase.PROGRESSING, RolloutPhase.COMPLETE)
    if not forward:  # what is broken already may go back at once: nothing is disturbed by it
        started = [index for index in started if world.sites[index].ready]
    if not started:
        return
    disturbed = {
        i
        for i, site in enumerate(world.sites)
        if site.valued
        and (i in started or not site.proved)
        and (site.reachable or site.away_for < DEADLINE)
        and not (i not in started and site.held and site.proved)
    }
    if len(disturbed) > world.policy.max_parallel_regions:
        raise Violation(f"{len(disturbed)} regions disturbed at once: {sorted(map(name_of, disturbed))}")
    if forward and world.failed == decision.state.target:
        raise Violation(f"{world.failed} failed and is tried again although nobody asked for it")
    if forward and decision.state.target != decision.state.good:
        for i, site in enumerate(world.sites):
            on_target = site.valued and site.reachable and site.runs == decision.state.target and i not in started
            if on_target and not site.ready and after[name_of(i)].stage is RegionStage.SETTLED:
                raise Violation(f"another region was moved while {name_of(i)} is failing")


def events(world: World) -> Iterator[tuple[str, World]]:
    """Everything that can happen next; a pass of the operator follows each."""
    yield "tick", replace(world, clock=world.clock + 1, sites=tuple(s.ticked() for s in world.sites))
    for i, site in enumerate(world.sites):
        if not site.ready and site.runs:
            yield f"{name_of(i)} gets ready", world.site(i, ready=True)
        if not site.reachable:
            yield f"{name_of(i)} is back", world.site(i, reachable=True, away_for=0)
        if site.held:
            yield f"{name_of(i)} is uncordoned", world.site(i, held=False)
    if world.policy.state is RolloutState.PAUSED:
        running = world.policy.model_copy(update={"state": RolloutState.RUNNING})
        yield "resume", replace(world, policy=running)
    if world.trouble:
        yield from troubles(replace(world, trouble=world.trouble - 1))


def troubles(world: World) -> Iterator[tuple[str, World]]:
    for i, site in enumerate(world.sites):
        if site.ready:
            yield f"{name_of(i)} breaks", world.site(i, ready=False)
        if site.reachable:
            yield f"{name_of(i)} vanishes", world.site(i, reachable=False)
        if not site.held:
            yield f"{name_of(i)} is cordoned", world.site(i, held=True)
    for target in ("r1", "r2", "r3"):
        if target != world.target:
            yield f"spec becomes {target}", replace(world, target=target, failed="")
    if world.policy.state is RolloutState.RUNNING:
        paused = world.policy.model_copy(update={"state": RolloutState.PAUSED})
        yield "pause", replace(world, policy=paused)


def after(world: World) -> Iterator[tuple[str, World]]:
    """Every world that can follow: after each event a pass of the operator, or one in which it is killed.

    Raises:
        Violation: with the event that led to it.
    """
    for name, changed in events(world):
        try:
            yield name, reconciled(changed)
            if changed.trouble:
                yield f"{name} {CRASH}", reconciled(troubled(changed, changed.trouble - 1), crash=True)
        except Violation as violation:
            raise Violation(f"{name}: {violation}") from None


def canonical(world: World) -> object:
    """The world with times relative to now, cut where they stop mattering, so that equal situations are found equal."""
    limit = BAKE + DEADLINE + 1

    def ago(moment: datetime) -> int:
        return min(limit, int((world.now - moment).total_seconds()))

    regions = tuple(
        (name, region.revision, region.stage, ago(region.since), region.last_good)
        for name, region in sorted(world.state.regions.items())
    )
    state = (world.state.target, world.state.good, world.state.phase, regions)
    return (state, world.target, world.sites, world.policy.state, world.trouble, world.failed)


def settled(world: World, bad: frozenset[str] = frozenset()) -> World:
    """The world after everything calmed down: all regions are back, and every revision but the bad ones gets ready."""
    running = world.policy.model_copy(update={"state": RolloutState.RUNNING})
    world = replace(world, policy=running, trouble=0)
    for _ in range(40 * len(world.sites)):
        sites = []
        for site in world.sites:
            good = site.runs not in bad
            sites.append(
                replace(site, reachable=True, held=False, ready=good, ready_for=site.ready_for if good else 0).ticked()
            )
        before = canonical(world)
        world = reconciled(replace(world, sites=tuple(sites), clock=world.clock + 1))
        if canonical(world) == before:
            return world
    raise Violation(f"does not come to rest: {world.state}")


def calm(world: World) -> World:
    """The same world, in which nothing more goes wrong."""
    return replace(world, trouble=0)


def troubled(world: World, trouble: int) -> World:
    """The same world, in which so much more may go wrong."""
    return replace(world, trouble=max(0, trouble))
