"""The shell around the KEK of a ring: carries out what `kek_rotation` decides, one version after the other.

Nothing of it has to be remembered. What fails here holds nothing else up: versions are opened with what they are
wrapped with, wherever that is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import Conflict, Fatal, RoadsteadError
from roadstead.keys.deks import Deks
from roadstead.keys.kek import Kek, ProviderRefuses, Reason
from roadstead.keys.kek_rotation import AskForKek, Drop, KekState, Rewrap, Step, View, decide, surplus
from roadstead.keys.stored import Stored

STEPS: Final = 20
"""Of one pass; then other rings have a turn."""
PATIENCE: Final = 600.0
"""Seconds for which a KEK must have been surplus before it is destroyed: what a former leader has wrapped with it, and
not stored yet, would be lost. Its requests end far sooner."""
_RECENT: Final = timedelta(days=7)
"""After a KEK was asked for, in which one is looked for that two have made at once."""
_ONE_VERSION: Final = frozenset({Reason.DAMAGED, Reason.KEK_MISSING})
"""What may be wrong with one version, while the others can be wrapped anew."""

Say = Callable[[str, str], Awaitable[None]]
"""Takes the reason of an event and its words."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of a pass.

    Attributes:
        stored: what is there now.
        state: what is said of it.
        again: look once more, at once.
        after: seconds after which something more can be done; None: nothing is planned.
        error: why something was not done.
    """

    stored: Stored
    state: KekState
    again: bool = False
    after: float | None = None
    error: RoadsteadError | None = None


class KekKeeper:
    """Keeps the KEKs of rings.

    Args:
        deks: material in the hub.
    """

    def __init__(self, deks: Deks) -> None:
        self._deks = deks
        self._surplus: dict[tuple[str, int], dict[Kek, float]] = {}

    async def keep(self, ring_id: str, ring: str, view: View, clock: Clock, say: Say) -> Kept:
        """Do what is due for one ring.

        Args:
            ring_id: its identity.
            ring: its namespace and name, for people.
            view: what is known.
            clock: for the schedule.
            say: makes an event.
        """
        stored, failed = view.stored, set[int]()
        error: RoadsteadError | None = None
        dropped = 0
        for _ in range(STEPS):
            state = self._decide(view, stored, clock, failed)
            if state.step is None:
                break
            try:
                stored = await self._carry_out(state.step, ring_id, ring, stored, clock)
            except Fatal:
                raise
            except Conflict:  # somebody was quicker; what is there now decides
                return Kept(stored, state, again=True, error=error)
            except RoadsteadError as caught:
                error = error or caught
                if not self._goes_on(state.step, caught):
                    break
                failed.add(_number(state.step))
                continue
            if isinstance(state.step, AskForKek):
                note = f"KEK generation {stored.intents[-1].generation} is asked for; {state.of} versions get it"
                await say("KekAskedFor", note)
            dropped += isinstance(state.step, Drop)
        state = self._decide(view, stored, clock, failed)
        if dropped and state.intent is not None and state.wrapped == state.of:
            await say(
                "KekRotated", f"each of {state.of} versions is wrapped with KEK generation {state.intent.generation}"
            )
        after = await self._collect(ring_id, stored, state, clock, say) if state.step is None else None
        return Kept(stored, state, again=state.step is not None and error is None, after=after, error=error)

    def _decide(self, view: View, stored: Stored, clock: Clock, failed: set[int]) -> KekState:
        return decide(View(view.rules, stored, view.begun, view.clock_agrees), clock.now(), frozenset(failed))

    def _goes_on(self, step: Step, error: RoadsteadError) -> bool:
        if isinstance(step, AskForKek):
            return False
        return not isinstance(error, ProviderRefuses) or error.reason in _ONE_VERSION

    async def _carry_out(self, step: Step, ring_id: str, ring: str, stored: Stored, clock: Clock) -> Stored:
        """Do one step; what is stored then."""
        match step:
            case AskForKek(generation, provider):
                intent = await self._deks.ask_for_kek(ring_id, ring, generation, provider, clock.now())
                return stored.changed(intents=[intent])
            case Rewrap(dek, under):
                return stored.changed(more=[await self._deks.rewrap(ring_id, dek, under, stored)])
            case Drop(old, kept):
                await self._deks.drop(ring_id, old, kept)
                return stored.changed(without=[old])
            case _ as never:
                assert_never(never)

    async def _collect(self, ring_id: str, stored: Stored, state: KekState, clock: Clock, say: Say) -> float | None:
        """Destroy what two have made at once and nobody uses; seconds until that may be done, if it is too early."""
        intent = state.intent
        if intent is None or state.kek is None or intent.since is None or clock.now() - intent.since > _RECENT:
            return None
        now, place = clock.monotonic(), (ring_id, intent.generation)
        seen = self._surplus.get(place)
        if seen is not None and any(now < since + PATIENCE for since in seen.values()):
            return max(since + PATIENCE - now for since in seen.values())
        if seen is not None and not seen:
            return None  # there was none, or it is gone
        try:
            found = surplus(await self._deks.listed(ring_id, intent.provider), stored)
            if seen is None:
                self._surplus[place] = dict.fromkeys(found, now)
                return PATIENCE if found else None
            for kek in found:
                if kek in seen:
                    await self._deks.destroy(kek, intent.provider)
                    note = f"KEK {kek.name} with fingerprint {kek.fingerprint} was made twice, and used by nothing"
                    await say("KekCollected", note)
            self._surplus[place] = {}
        except Fatal:
            raise
        except RoadsteadError:
            return PATIENCE  # it harms nobody, and the provider's failures are counted
        return None


def _number(step: Step) -> int:
    match step:
        case AskForKek():
            return 0
        case Rewrap(dek):
            return dek.number
        case Drop(old):
            return old.number
