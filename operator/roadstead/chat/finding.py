"""What a check found. A finding becomes a condition as it stands: the reason for machines, the message for people."""

from __future__ import annotations

from dataclasses import dataclass

from roadstead.api.conditions import Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something cannot be, in one word and in one sentence that names the value and the cure."""

    reason: Reason
    message: str
