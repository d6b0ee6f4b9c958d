"""When a ring gets another KEK, and what is wrapped anew next. Pure.

The order in which nothing can be lost: the intent to make a KEK is durable before the KEK is; a version has a copy
under the new KEK, read back and opened, before its copy under the old one goes; and no KEK is destroyed here that
anything was ever wrapped with. So whoever is cut off at any point goes on from what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from roadstead.api.keyring import KekProviderKind
from roadstead.keys.kek import Kek
from roadstead.keys.stored import Dek, KekIntent, Stored

_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ring's spec says of its KEK, and what somebody asks for besides.

    Attributes:
        provider: where the next KEK is made.
        every: how long one is used for new versions.
        at: one more at this moment; None: at none.
        above: a KEK of a larger generation is wanted, since this one has to go; 0: none has to.
    """

    provider: KekProviderKind
    every: timedelta
    at: datetime | None = None
    above: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a decision is made from.

    Attributes:
        rules: what is wanted.
        stored: what is there.
        begun: when what an operation of the ledger stands for was begun: the first KEK has no intent of its own.
        clock_agrees: our clock and the API server's are within the skew.
    """

    rules: Rules
    stored: Stored
    begun: Mapping[str, datetime] = field(default_factory=dict)
    clock_agrees: bool = True


@dataclass(frozen=True, slots=True)
class AskForKek:
    """Write the intent to make a KEK; whoever comes second is refused."""

    generation: int
    provider: KekProviderKind


@dataclass(frozen=True, slots=True)
class Rewrap:
    """Make a copy of a version under another KEK."""

    dek: Dek
    under: KekIntent


@dataclass(frozen=True, slots=True)
class Drop:
    """Open the copy that is kept, and then delete the other one."""

    old: Dek
    kept: Dek


Step = AskForKek | Rewrap | Drop


@dataclass(frozen=True, slots=True)
class KekState:
    """What is so, and what is next.

    Attributes:
        intent: of the KEK that new versions are wrapped with; None before there is one.
        kek: the KEK itself; None before anything is wrapped with it.
        next: when another one is due, also in the past; None before there is one.
        wrapped: number of versions that are under it alone.
        of: number of versions that have to be.
        step: the next one; None: nothing is to be done.
    """

    intent: KekIntent | None = None
    kek: Kek | None = None
    next: datetime | None = None
    wrapped: int = 0
    of: int = 0
    step: Step | None = None


def decide(view: View, now: datetime, skip: frozenset[int] = frozenset()) -> KekState:
    """What is so, and the next step.

    Args:
        view: what is known.
        now: in UTC.
        skip: versions that cannot be wrapped anew at present; the others do not wait for them.
    """
    intent = present(view.stored, view.begun)
    if intent is None:
        return KekState()  # the first version asks for the first KEK
    staged = view.stored.staged()
    done = {number for number, copies in staged.items() if len(copies) == 1 and _is_under(copies[0], intent)}
    return KekState(
        intent=intent,
        kek=used(view.stored, intent),
        next=_due(view.rules, intent),
        wrapped=len(done),
        of=len(staged),
        step=_step(view, intent, {n: c for n, c in staged.items() if n not in done | skip}, now),
    )


def present(stored: Stored, begun: Mapping[str, datetime]) -> KekIntent | None:
    """The KEK that versions are wrapped with from now on: the newest that was asked for.

    Args:
        stored: what is there. An intent that is lost is known from what is wrapped with its KEK.
        begun: see `View.begun`.
    """
    traces = (
        KekIntent(copy.kek.name.generation, copy.kek.name.operation, copy.provider, begun.get(copy.kek.name.operation))
        for copy in stored.ours()
    )
    # Of two of one generation the first: what was written down says since when.
    return max((*stored.intents, *traces), key=lambda intent: intent.generation, default=None)


def used(stored: Stored, intent: KekIntent) -> Kek | None:
    """The KEK that was made for an intent, if something is wrapped with it: others of its name are surplus then."""
    found = {copy.kek for copy in stored.ours() if _is_under(copy, intent)}
    return min(found, key=lambda kek: kek.fingerprint, default=None)


def surplus(listed: Iterable[Kek], stored: Stored) -> tuple[Kek, ...]:
    """KEKs that two have made at once for one intent, but for those that were taken.

    One that goes by a name which nothing is wrapped with may be all that opens an old backup: it stays.
    """
    in_use = {copy.kek for copy in stored.copies}
    names = {kek.name for kek in in_use}
    return tuple(kek for kek in listed if kek.name in names and kek not in in_use)


def unused(listed: Iterable[Kek], stored: Stored, up_to: int) -> tuple[Kek, ...]:
    """KEKs of these generations that nothing is wrapped with, and nothing will be.

    Args:
        listed: every KEK of the ring in its provider.
        stored: every copy, strangers too.
        up_to: the last generation that may go.
    """
    in_use = {copy.kek for copy in stored.copies}
    coming = {(intent.generation, intent.operation) for intent in stored.intents[-1:]}
    return tuple(
        kek
        for kek in listed
        if kek.name.generation <= up_to
        and kek not in in_use
        and (kek.name.generation, kek.name.operation) not in coming
    )


def _due(rules: Rules, intent: KekIntent) -> datetime:
    """When another KEK is due."""
    since = intent.since
    if since is None:
        return _LONG_AGO
    if intent.provider is not rules.provider or intent.generation <= rules.above:
        return since
    asked = rules.at is not None and rules.at > since
    return min(since + rules.every, rules.at) if asked and rules.at else since + rules.every


def _step(view: View, intent: KekIntent, undone: Mapping[int, list[Dek]], now: datetime) -> Step | None:
    for copies in undone.values():
        if len(copies) > 1:
            return Drop(copies[0], copies[-1])
    # Not before a version is staged: there would be nothing that another KEK protects.
    if view.clock_agrees and view.stored.staged() and _due(view.rules, intent) <= now:
        return AskForKek(intent.generation + 1, view.rules.provider)
    for _, copies in sorted(undone.items()):
        return Rewrap(copies[0], intent)
    return None


def _is_under(copy: Dek, intent: KekIntent) -> bool:
    name = copy.kek.name
    return (name.generation, name.operation, copy.provider) == (intent.generation, intent.operation, intent.provider)
