"""A world for a ring of keys: a ledger, regions with pods that lag, late writes of a former leader, restored backups.

The oracle knows nothing of phases and barriers: it watches what the pods really hold, what they really write with, and
what must still be readable.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from roadstead.api.conditions import Reason
from roadstead.api.keyversion import MAY_BECOME
from roadstead.api.keyversion import KeyMark as Mark
from roadstead.api.keyversion import KeyPhase as Phase
from roadstead.keys import decide as deciding
from roadstead.keys import versions as life
from roadstead.keys.schedule import Turn
from roadstead.keys.state import Keyset, Policy, RegionView, Ring
from roadstead.keys.steps import (
    DestroyMaterial,
    Distribute,
    DistributeRewrap,
    MakeMaterial,
    Move,
    Note,
    Readmit,
    Reserve,
    Step,
)
from roadstead.keys.versions import Version

HOUR = timedelta(hours=1)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RETENTION = 2
POLICY = Policy(lead=HOUR, soak=HOUR, retention=RETENTION * HOUR, skew=HOUR, removal=HOUR)
ATTESTED = Policy(lead=HOUR, soak=HOUR, retention=None, skew=HOUR, attested=True, removal=HOUR)
Key = tuple[int, str]
NOTHING = Keyset()

MAY_BE_COMPROMISED = life.COMING | {Phase.PRIMARY, Phase.SUPERSEDED, Phase.DRAINING, Phase.RETIRED}


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The process that uses the keyset; one stands for all of a region."""

    loaded: Keyset
    proved: Keyset | None = None  # what it held when it last proved; it serves from then on
    rewraps: Keyset = NOTHING  # the keyset to write anew with, as it was loaded
    said: tuple[frozenset[int], int] | None = None  # what its store had at the last proof, and what it wrote with

    @property
    def serves(self) -> bool:
        return self.proved is not None


@dataclass(frozen=True, slots=True)
class Place:
    """One region as it really is."""

    reachable: bool = True
    secret: Keyset = NOTHING
    pod: Pod | None = None
    rewrap: Keyset = NOTHING
    store: frozenset[Key] = frozenset()  # keys of what its volume holds; only where that is looked at
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Hub:
    """What an etcd has, and what a backup of it brings back."""

    ledger: tuple[Version, ...] = ()
    material: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    hub: Hub
    places: tuple[Place, ...]
    now: int = 0
    slot: int = 0  # the newest slot that is due
    made: int = 0  # how often material was made: two of the same number are told apart by it
    late: Step | None = None  # on its way from a leader that is none any more
    backup: Hub | None = None
    written: tuple[tuple[Key, int], ...] = ()  # the last hour in which somebody wrote with a key
    trouble: int = 0
    hours: int = 0
    slots: int = 0
    backups: int = 0
    attested: bool = False  # retention is by what pods say of their stores, not by time
    removable: int = 0
    exclusions: int = 0

    @property
    def time(self) -> datetime:
        return at(self.now)


def at(hour: int) -> datetime:
    return EPOCH + hour * HOUR


def name_of(index: int) -> str:
    return "abc"[index]


def ring_of(world: World) -> Ring:
    """What an operator reads in this moment."""
    taken = life.newest_slot(world.hub.ledger)
    due = at(world.slot) if taken is None or at(world.slot) > taken else None
    views = []
    current = life.primary(world.hub.ledger)
    known = [version.number for version in world.hub.ledger]
    for index, place in enumerate(world.places):
        if not place.reachable:
            views.append(RegionView(name_of(index), None, excluded=place.excluded))
            continue
        proved = place.pod.proved if place.pod else None
        said = place.pod.said if place.pod else None
        counted = said is not None and said[1] == (current.number if current else 0)
        views.append(
            RegionView(
                name_of(index),
                place.secret,
                consumers=place.pod is not None,
                reads=frozenset(number for number, _ in proved.keys) if proved else frozenset(),
                writes=proved.primary if proved else 0,
                rewrap=place.rewrap,
                stored={n: int(n in said[0]) for n in known} if said and counted else None,
                wanted=frozenset(n for n in said[0] if not _has(place.pod, n)) if said and place.pod else frozenset(),
                excluded=place.excluded,
            )
        )
    return Ring(
        world.hub.ledger,
        tuple(views),
        ATTESTED if world.attested else POLICY,
        Turn(due, None),
        material=dict(world.hub.material),
        removable=world.removable,
    )


def _has(pod: Pod, number: int) -> bool:
    return any(number == have for have, _ in (*pod.loaded.keys, *pod.rewraps.keys))


# --- events


def events(world: World) -> Iterator[tuple[str, World]]:
    """Everything that can happen next."""
    decision = deciding.decide(ring_of(world), world.time)
    for step in decision.steps:
        yield words(step), carried_out(world, step)
        if world.late is None and world.trouble:
            yield f"the leader is gone while it sends: {words(step)}", spend(replace(world, late=step))
    if world.late is not None:
        arrived = replace(carried_out(world, world.late), late=None)
        yield f"what a former leader sent arrives: {words(world.late)}", arrived
    for index, place in enumerate(world.places):
        for event, changed in _of_place(world, place):
            yield f"{name_of(index)}: {event}", with_place(world, index, changed)
        if world.trouble:
            for event, changed in _trouble_at(place):
                yield f"{name_of(index)}: {event}", spend(with_place(world, index, changed))
        if world.exclusions and not place.excluded:
            fewer = replace(world, exclusions=world.exclusions - 1)
            yield f"{name_of(index)} is excluded", with_place(fewer, index, replace(place, excluded=True))
    if world.hours:
        yield "an hour passes", replace(world, now=world.now + 1, hours=world.hours - 1)
    if world.slots:
        yield "a slot is due", replace(world, slot=world.slot + 1, slots=world.slots - 1)
    if world.trouble:
        if world.now:
            yield "the clock steps back", spend(replace(world, now=world.now - 1))
        for version in world.hub.ledger:
            if version.mark is Mark.NONE and version.phase in MAY_BE_COMPROMISED:
                marked = replace(version, mark=Mark.COMPROMISED)
                ledger = tuple(marked if other is version else other for other in world.hub.ledger)
                yield f"{version.number} is compromised", spend(replace(world, hub=replace(world.hub, ledger=ledger)))
    if world.backups and world.backup is None:
        yield "a backup is made", replace(world, backup=world.hub, backups=world.backups - 1)
    if world.backup is not None:
        yield "the backup is restored", replace(world, hub=world.backup, backup=None)


def _of_place(world: World, place: Place) -> Iterator[tuple[str, Place]]:
    pod = place.pod
    if pod is None:
        if place.secret.keys:
            yield "its pod starts", replace(place, pod=Pod(place.secret))
        return
    if (pod.loaded, pod.rewraps) != (place.secret, place.rewrap) and place.secret.keys:
        yield "its pod loads the keyset", replace(place, pod=replace(pod, loaded=place.secret, rewraps=place.rewrap))
    said = (frozenset(number for number, _ in place.store), pod.loaded.primary) if world.attested else None
    if (pod.proved, pod.said) != (pod.loaded, said):
        yield "its pod proves what it has", replace(place, pod=replace(pod, proved=pod.loaded, said=said))
    if (current := writes_with(place)) and world.attested:
        anew = frozenset(current if key in (*pod.loaded.keys, *pod.rewraps.keys) else key for key in place.store)
        if anew != place.store:
            yield "its pod writes anew what is old", replace(place, store=anew)


def _trouble_at(place: Place) -> Iterator[tuple[str, Place]]:
    yield ("is cut off" if place.reachable else "is back"), replace(place, reachable=not place.reachable)
    if place.pod is not None:
        yield "its pod ends", replace(place, pod=None)


def spend(world: World) -> World:
    return replace(world, trouble=world.trouble - 1)


def with_place(world: World, index: int, place: Place) -> World:
    return replace(world, places=(*world.places[:index], place, *world.places[index + 1 :]))


def words(step: Step) -> str:
    match step:
        case Reserve(number):
            return f"reserve {number}"
        case MakeMaterial(number):
            return f"make the material of {number}"
        case Move(version, to):
            return f"{version.number} becomes {to}"
        case Distribute(region, _, after):
            return f"{region} is given {[number for number, _ in after.keys]}, primary {after.primary}"
        case DistributeRewrap(region, _, after):
            return f"{region} is given {[number for number, _ in after.keys]} to write anew"
        case Note(version, after):
            return f"{version.number} is noted as {after}"
        case Readmit(region, primary):
            return f"{region} is waited for again, which writes with {primary}"
        case DestroyMaterial(number):
            return f"the material of {number} is deleted"


# --- what servers do with a step


def compare(now: object, read: object) -> bool:
    """The compare of a compare-and-swap; a mutant leaves it out."""
    return now == read


def carried_out(world: World, step: Step) -> World:
    """What an API server makes of it: one compare-and-swap."""
    match step:
        case Reserve(number, slot):
            if any(version.number == number for version in world.hub.ledger):
                return world
            fresh = Version(number, Phase.RESERVED, world.time, slot=slot)
            return replace(world, hub=replace(world.hub, ledger=(*world.hub.ledger, fresh)))
        case MakeMaterial(number):
            if any(have == number for have, _ in world.hub.material):
                return world
            key = (number, f"{number}/{world.made}")
            return replace(world, hub=replace(world.hub, material=world.hub.material | {key}), made=world.made + 1)
        case Move():
            return _moved(world, step)
        case Distribute(region, before, after):
            index = "abc".index(region)
            place = world.places[index]
            if not compare(place.secret, before) or not place.reachable:
                return world
            # A request that is under way has its keys in it; one that is made now takes them from the hub.
            if step is not world.late and not set(after.keys) <= world.hub.material:
                raise Violation(f"{region} is to be given keys that the hub does not have: {after.keys}")
            return with_place(world, index, replace(place, secret=after))
        case DistributeRewrap(region, before, after):
            index = "abc".index(region)
            place = world.places[index]
            if not compare(place.rewrap, before) or not place.reachable:
                return world
            if step is not world.late and not set(after.keys) <= world.hub.material:
                raise Violation(f"{region} is to be given keys that the hub does not have: {after.keys}")
            return with_place(world, index, replace(place, rewrap=after))
        case Note(version, after):
            stored = next(other for other in world.hub.ledger if other.number == version.number)
            if not compare(stored, version):
                return world
            ledger = tuple(after if other is stored else other for other in world.hub.ledger)
            return replace(world, hub=replace(world.hub, ledger=ledger))
        case Readmit(region, primary):
            current = life.primary(world.hub.ledger)
            if not compare(current.number if current else 0, primary):  # the status that it is written over has it
                return world
            index = "abc".index(region)
            return with_place(world, index, replace(world.places[index], excluded=False))
        case DestroyMaterial(number):
            material = frozenset(key for key in world.hub.material if key[0] != number)
            return replace(world, hub=replace(world.hub, material=material))


def _moved(world: World, move: Move) -> World:
    version, to = move.version, move.to
    stored = next((other for other in world.hub.ledger if other.number == version.number), None)
    if stored is None or not compare(stored, version):
        return world
    if to not in MAY_BECOME[stored.phase]:
        raise Violation(f"I8: {stored.phase} became {to}")
    fresh = replace(version, phase=to, since=world.time)
    if to is Phase.STAGED:
        fresh = replace(fresh, staged=world.time, fingerprint=move.fingerprint)
    if to is Phase.COMPROMISED:
        fresh = replace(fresh, rewrapped=stored.phase is Phase.RETIRED and not stored.returned)
    ledger = tuple(fresh if other is stored else other for other in world.hub.ledger)
    return replace(world, hub=replace(world.hub, ledger=ledger))


# --- the oracle


def noted(world: World) -> World:
    """The world with what its pods write in this moment."""
    written = dict(world.written)
    for place in world.places:
        if key := writes_with(place):
            written[key] = max(world.now, written.get(key, 0))
    kept = {key: hour for key, hour in written.items() if world.now < hour + RETENTION and not world.attested}
    world = replace(world, written=tuple(sorted(kept.items())))
    if not world.attested:
        return world
    return replace(world, places=tuple(_with_what_it_writes(place) for place in world.places))


def _with_what_it_writes(place: Place) -> Place:
    key = writes_with(place)
    return replace(place, store=place.store | {key}) if key else place


def writes_with(place: Place) -> Key | None:
    if place.pod is None or not place.pod.serves or not place.pod.loaded.primary:
        return None
    return next(key for key in place.pod.loaded.keys if key[0] == place.pod.loaded.primary)


def check(world: World) -> None:
    """Every invariant that a single moment shows.

    Raises:
        Violation: one does not hold.
    """
    serving = [place.pod for place in world.places if place.pod and place.pod.serves and not place.excluded]
    # Between the ledger and the regions there is a moment in which what was found to be compromised is read by nobody.
    lost = {version.number for version in world.hub.ledger if version.phase is Phase.COMPROMISED and version.rewrapped}
    compromised = {version.number for version in world.hub.ledger if version.phase is Phase.COMPROMISED}
    for place in world.places:
        key = writes_with(place)
        if key is None or (place.excluded and key[0] in compromised):
            continue  # who is excluded is not reached; what it writes is written anew when it is back
        if any(key not in pod.loaded.keys for pod in serving):
            raise Violation(f"I1: a region writes with {key}, which another cannot read")
    current = life.primary(world.hub.ledger)
    for place in world.places:
        if place.pod is None or not place.pod.serves:
            continue
        needed = {key for key in place.store if key[0] not in lost}
        if not needed <= {*place.pod.loaded.keys, *place.pod.rewraps.keys, *place.secret.keys, *place.rewrap.keys}:
            raise Violation(f"I4: {needed} is stored, and nobody there can read all of it: {place}")
    for key, hour in world.written:
        if key[0] in compromised or world.now >= hour + RETENTION:
            continue
        if any(key not in pod.loaded.keys for pod in serving):
            raise Violation(f"I4: {key} is still needed, and a region cannot read it")
    numbers = [number for (number, _), _ in world.written]
    if len(numbers) != len(set(numbers)):
        raise Violation(f"I3: a number stands for two keys: {world.written}")
    ledger = world.hub.ledger
    under_way = [v.number for v in ledger if v.phase in life.COMING or v.phase is Phase.SUPERSEDED]
    if len(under_way) > 1:
        raise Violation(f"I2: several rotations are under way: {under_way}")
    for version in ledger:
        was_primary = version.phase in (Phase.SUPERSEDED, Phase.DRAINING, Phase.SUSPENDED, Phase.RETIRED)
        if was_primary and (current is None or current.number < version.number):
            raise Violation(f"I7: {version.number} is {version.phase} without a newer primary")
    slots = [version.slot for version in ledger if version.slot is not None]
    if len(slots) != len(set(slots)):
        raise Violation(f"I5: a slot has made two versions: {slots}")


def settled(world: World) -> World:
    """The world after everything that is broken was mended and everything has happened that can."""
    world = replace(
        world,
        places=tuple(replace(place, reachable=True) for place in world.places),
        exclusions=0,
        trouble=0,
        slots=0,
        backups=0,
        backup=None,
        hours=12,
    )
    for _ in range(300):
        following = dict(events(world))
        passing = following.pop("an hour passes", None)
        if not following:
            if passing is None:
                return world
            following = {"an hour passes": passing}
        world = noted(next(iter(following.values())))
        check(world)
    raise Violation("it never comes to rest")


def check_the_end(world: World) -> None:
    """Once all is mended, the newest slot has its version, everybody writes with it, and nothing is left over."""
    end = settled(world)
    decision = deciding.decide(ring_of(end), end.time)
    if any(wait.reason is Reason.LEDGER_BEHIND for wait in decision.waits):
        return  # a backup was restored: only a person may go on
    current = life.primary(end.hub.ledger)
    if current is None or current.mark is not Mark.NONE:
        raise Violation(f"no primary that may stay: {end.hub.ledger}")
    if current.number != max(version.number for version in end.hub.ledger):
        raise Violation(f"the last rotation has ended without a primary: {end.hub.ledger}")
    newest = life.newest_slot(end.hub.ledger)
    if newest != at(end.slot):
        raise Violation(f"the slot {end.slot} has no version")
    if any(place.secret != deciding.target(end.hub.ledger) for place in end.places):
        raise Violation(f"keysets differ: {end.places}")
    if any(place.rewrap != deciding.rewrap_target(end.hub.ledger) for place in end.places):
        raise Violation(f"keysets to write anew with differ: {end.places}")
    if any(place.excluded for place in end.places):
        raise Violation(f"a region that is well again is excluded: {end.places}")
    if end.attested and any(version.phase is Phase.DRAINING or version.to_rewrap for version in end.hub.ledger):
        raise Violation(f"all is written anew, and a version stays: {end.hub.ledger}")
    for version in end.hub.ledger:
        if version.number <= end.removable and version.phase in life.REMOVABLE and not version.given:
            raise Violation(f"{version.number} was to be removed: {end.hub.ledger}")
    for version in end.hub.ledger:
        if version.phase in life.COMING or version.phase is Phase.SUPERSEDED:
            raise Violation(f"{version.number} is left {version.phase}")
    if decision.waits or decision.steps:
        raise Violation(f"not at rest: {decision}")


def without_b(**more: Any) -> World:
    """A ring in two regions of which one is cut off and excluded, and goes on with what it has."""
    world = installed(2, **more)
    return with_place(world, 1, replace(world.places[1], reachable=False, excluded=True))


def fresh(regions: int, **more: Any) -> World:
    """A new ring; the numbers say how much more can happen."""
    return World(Hub(), (Place(),) * regions, **more)


def installed(regions: int, *, attested: bool = False, hours: int = 0, **more: Any) -> World:
    """A ring with its first version in use."""
    return replace(settled(fresh(regions, attested=attested)), hours=hours, **more)
