"""Somebody fights back: how what is changed or deleted again and again is put back less and less often."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS = 5
"""Repairs in a row that are ordinary drift; from the next one on it is a fight."""
MEMORY = 60.0
"""Seconds without a repair after which a fight is over."""
LONGEST_TRUCE = 60.0
"""Seconds at most between two repairs of a fight."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Repairs of one child. A storm of edits to many children is drift; a fight is about one of them.

    Attributes:
        rounds: repairs in a row, each within `MEMORY` of the one before.
        last: when the last one was, monotonic seconds.
        child: what is repaired.
        managers: field managers who may have changed it, as far as the object tells.
    """

    rounds: int = 0
    last: float = float("-inf")
    child: str = ""
    managers: tuple[str, ...] = ()

    def repaired(self, child: str, managers: tuple[str, ...], now: float) -> Contest:
        """Another repair was made."""
        rounds = self.rounds + 1 if now - self.last < MEMORY + self.truce else 1
        return Contest(rounds, now, child, managers or self.managers)

    @property
    def truce(self) -> float:
        """Seconds to wait before the next repair; doubles with each round of a fight."""
        beyond = self.rounds - ROUNDS
        return 0.0 if beyond <= 0 else min(LONGEST_TRUCE, 2.0 ** min(beyond - 1, 10))

    def left(self, now: float) -> float:
        """Seconds until the next repair may be made; 0 when it may be made now."""
        return max(0.0, self.last + self.truce - now)

    @property
    def message(self) -> str:
        """Who fights for what, in words; empty while it is ordinary drift."""
        if self.rounds <= ROUNDS:
            return ""
        who = f" (field managers there: {', '.join(self.managers)})" if self.managers else ""
        return f"{self.child} is changed back or deleted again and again{who}; let them leave what roadstead owns alone"

    def ends(self, now: float) -> float:
        """Seconds until this can be forgotten, unless there is another repair; 0 or less when it can be."""
        return self.last + MEMORY + self.truce - now
