"""At the start nothing can be decided yet, so whatever the hub cannot answer is asked again, and said in the log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import RoadsteadError

T = TypeVar("T")
PAUSE = 2.0
"""Seconds between two attempts."""

log = logging.getLogger(__name__)


async def patiently(read: Callable[[], Awaitable[T]], what: str, clock: Clock) -> T:
    """The first answer that is no fault, however long that takes.

    Args:
        read: asks once.
        what: what cannot be done meanwhile, in words, for the log.
        clock: time.
    """
    while True:
        try:
            return await read()
        except RoadsteadError as error:
            log.warning("cannot %s: %s", what, error)
            await clock.sleep(PAUSE)
