"""The port between rooms and Approvals: what can be asked for, and how it is carried out.

A room offers its operations; the room `approvals` knows when one has been approved, by whom, and that it was begun only
once. Neither imports the other; `roadstead.process` puts them together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from roadstead.api.problems import Problem
from roadstead.kernel.context import Context
from roadstead.kernel.objects import Gvr, Key

Check: TypeAlias = Callable[[Mapping[str, str]], Problem | None]
"""What is wrong with parameters, or None; pure. Its field begins with ``spec.parameters``."""


@dataclass(frozen=True, slots=True)
class Order:
    """One approved Approval.

    Attributes:
        approval: which one.
        uid: of the Approval: the same however often it is carried on, and no other Approval has it.
        subject: what it is about, as the API server had it a moment ago; it has the uid that was approved.
        parameters: what it is bound to; `Operation.check` has found nothing wrong with them.
        requested_by: user who asked for it.
        approved_by: users who said yes, in alphabetical order.
        begun: when it was begun.
    """

    approval: Key
    uid: str
    subject: Mapping[str, Any]
    parameters: Mapping[str, str]
    requested_by: str
    approved_by: tuple[str, ...]
    begun: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """It is done, or was done before; ``message`` says what, for the record."""

    message: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """It goes on: ``message`` says what is waited for, ``again`` after how many seconds to call once more."""

    message: str
    again: float


@dataclass(frozen=True, slots=True)
class Impossible:
    """It cannot be done as it was asked for, and never will be; ``message`` names cause and cure."""

    message: str


Outcome: TypeAlias = Done | Unfinished | Impossible


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that an Approval can ask for.

    Attributes:
        subject: type of what it is done to.
        name: as in ``spec.operation``.
        check: what is wrong with the parameters; asked before anybody has to approve anything.
        carry_out: does it. Idempotent: it is called again after a crash or an error, until it says `Done` or
            `Impossible`. What it raises is tried again. Its writes are conditional on what it has read.
    """

    subject: Gvr
    name: str
    check: Check
    carry_out: Callable[[Order, Context], Awaitable[Outcome]]
