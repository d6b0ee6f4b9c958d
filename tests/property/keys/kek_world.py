"""A small world in which a ring gets KEKs: what is stored, what the provider has, and what is still on its way to them.

A leader that dies may have sent one step, which arrives when it likes, made with what that leader knew. Provider and
Secrets do what the real ones do: a KEK of one name can be made twice, a Secret of one name cannot; a Secret is deleted
by its uid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import KeyType
from roadstead.keys import kek_rotation as deciding
from roadstead.keys.deks import secret_name
from roadstead.keys.kek import Kek
from roadstead.keys.kek_rotation import AskForKek, Drop, KekState, Rewrap, Rules, Step, View
from roadstead.keys.stored import Dek, KekIntent, Meant, Stored

RING = "r0123456789ab"
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PERIOD = 90
PROVIDER = KekProviderKind.PKCS11
BEGUN = {"first": START}
MEANT = {1: Meant("one", "a1"), 2: Meant("two", "a2")}
"""Version 3 is somebody's: the ledger does not know it."""


class Violation(AssertionError):
    """Something that must never be."""


@dataclass(frozen=True)
class World:
    """What there is.

    Attributes:
        copies: Secrets with versions.
        intents: Secrets that ask for KEKs.
        keks: in the provider.
        late: what a former leader has sent, with what it knew.
        day: since the start.
        rotate_at: the day on which somebody asked for one more; 0: nobody did.
        used: every KEK that something was wrapped with.
        shredded: KEKs that a person had destroyed.
        made: how many were ever made.
        crashes: that may still come.
        days: that may still pass, in steps of a period.
        troubles: other things that may still come.
    """

    copies: frozenset[Dek]
    intents: frozenset[KekIntent]
    keks: frozenset[Kek]
    late: tuple[Step, Stored] | None = None
    day: int = 1
    rotate_at: int = 0
    used: frozenset[Kek] = frozenset()
    shredded: frozenset[Kek] = frozenset()
    made: int = 1
    crashes: int = 1
    days: int = 1
    troubles: int = 1


def now(world: World) -> datetime:
    return START + world.day * DAY


def stored(world: World) -> Stored:
    return Stored(world.copies, world.intents, MEANT)


def state(world: World) -> KekState:
    at = START + world.rotate_at * DAY if world.rotate_at else None
    view = View(Rules(PROVIDER, PERIOD * DAY, at), stored(world), BEGUN)
    return deciding.decide(view, now(world))


def fresh(crashes: int, days: int, troubles: int) -> World:
    """Two versions under the first KEK, and one that the ledger does not know."""
    first = Kek(KekIntent(1, "first", PROVIDER, None).name(RING), "0")
    copies = frozenset(
        Dek(number, KeyType.XAES_256_GCM, operation, fingerprint, first, PROVIDER, "chat/ring", name, name)
        for number, operation, fingerprint in ((1, "one", "a1"), (2, "two", "a2"), (3, "three", "a3"))
        for name in (secret_name(RING, number),)
    )
    return World(
        copies,
        frozenset(),
        frozenset({first}),
        used=frozenset({first}),
        crashes=crashes,
        days=days,
        troubles=troubles,
    )


def events(world: World) -> Iterator[tuple[str, World]]:
    """What may happen next."""
    step = state(world).step
    if step is not None:
        yield f"the operator: {_words(step)}", carried_out(world, step, stored(world))
        if world.crashes and world.late is None:
            yield (
                f"a leader dies with it under way: {_words(step)}",
                replace(world, late=(step, stored(world)), crashes=world.crashes - 1),
            )
        if world.crashes and isinstance(step, Rewrap):
            yield (
                "a leader dies when the KEK is made",
                replace(_with_kek(world, step, stored(world))[0], crashes=world.crashes - 1),
            )
    if world.late is not None:
        late, known = world.late
        yield f"it arrives late: {_words(late)}", carried_out(replace(world, late=None), late, known)
    if world.days:
        yield "a period passes", replace(world, day=world.day + PERIOD, days=world.days - 1)
    if world.troubles:
        less = replace(world, troubles=world.troubles - 1)
        yield "somebody asks for a KEK", replace(less, rotate_at=world.day)
        for intent in world.intents:
            yield f"intent {intent.generation} is lost", replace(less, intents=world.intents - {intent})
    if world.late is None:  # patience: what was under way has ended
        for kek in deciding.surplus(world.keks, stored(world)):
            yield "surplus is destroyed", replace(world, keks=world.keks - {kek})
    present = state(world).intent
    unused = deciding.unused(world.keks, stored(world), (present.generation if present else 1) - 1)
    if unused and world.troubles and world.late is None:
        yield (
            "old KEKs are shredded",
            replace(
                world,
                keks=world.keks - set(unused),
                shredded=world.shredded | set(unused),
                troubles=world.troubles - 1,
            ),
        )


def carried_out(world: World, step: Step, known: Stored) -> World:
    """The world after a step of somebody who knew this."""
    match step:
        case AskForKek(generation, provider):
            if any(intent.generation == generation for intent in world.intents):
                return world
            generation = max(generation, *(kek.name.generation + 1 for kek in world.keks), 1)
            if any(intent.generation == generation for intent in world.intents):
                return world
            made = world.made + 1
            intent = KekIntent(generation, f"operation {made}", provider, now(world))
            return replace(world, intents=world.intents | {intent}, made=made)
        case Rewrap(dek, under):
            if not opens(world, dek):
                return world
            world, kek = _with_kek(world, step, known)
            name = secret_name(RING, dek.number, under.name(RING))
            if kek is None or any(copy.secret == name for copy in world.copies):
                return world
            uid = f"{name} {kek.fingerprint}"
            copy = replace(dek, kek=kek, provider=under.provider, secret=name, uid=uid)
            return replace(world, copies=world.copies | {copy}, used=world.used | {kek})
        case Drop(old, kept):
            if not opens(world, kept):
                return world
            return replace(world, copies=frozenset(copy for copy in world.copies if copy.uid != old.uid))


def opens(world: World, dek: Dek) -> bool:
    """Whether this copy is there and its KEK is."""
    return dek in world.copies and dek.kek in world.keks


def _with_kek(world: World, step: Rewrap, known: Stored) -> tuple[World, Kek | None]:
    """The KEK to wrap with, made unless it is there. Who comes late may have looked before it was: it makes another."""
    kek = deciding.used(known, step.under)
    if kek is not None:
        return world, kek if kek in world.keks else None
    name = step.under.name(RING)
    there = sorted((kek for kek in world.keks if kek.name == name), key=lambda kek: kek.fingerprint)
    if there and world.late is None and known.copies == stored(world).copies:
        return world, there[0]
    made = Kek(name, str(world.made))
    return replace(world, keks=world.keks | {made}, made=world.made + 1), made


def check(world: World) -> None:
    """What holds in each world.

    Raises:
        Violation: it does not.
    """
    for number in MEANT:
        if not any(opens(world, copy) for copy in world.copies if copy.number == number):
            raise Violation(f"version {number} is lost")
        if not opens(world, stored(world)[number]):
            raise Violation(f"version {number} is looked for where it does not open")
    if not any(copy.number == 3 for copy in world.copies):
        raise Violation("what is somebody's was taken away")
    if gone := world.used - world.keks - world.shredded:
        raise Violation(f"a KEK that backups need was destroyed: {gone}")


def check_the_end(world: World) -> None:
    """What comes when nothing more happens.

    Raises:
        Violation: something else does.
    """
    asked = len(world.intents)
    for _ in range(30):
        if world.late is not None:
            world = carried_out(replace(world, late=None), *world.late)
        said = state(world)
        if said.step is None:
            break
        world = carried_out(world, said.step, stored(world))
        check(world)
    else:
        raise Violation("it never comes to rest")
    if len(world.intents) > asked + 2:
        raise Violation("more KEKs than were due")
    said = state(world)
    if said.intent is None or (said.wrapped, said.of) != (2, 2):
        raise Violation(f"not all versions are wrapped: {said}")
    since = said.intent.since or START
    if since + PERIOD * DAY <= now(world) or since < START + world.rotate_at * DAY:
        raise Violation("a KEK is due, and none is made")
    for number in MEANT:
        if len([copy for copy in world.copies if copy.number == number]) != 1:
            raise Violation(f"version {number} is stored twice")


def _words(step: Step) -> str:
    match step:
        case AskForKek(generation, _):
            return f"ask for KEK {generation}"
        case Rewrap(dek, under):
            return f"wrap version {dek.number} with KEK {under.generation}"
        case Drop(old, _):
            return f"drop {old.secret}"
