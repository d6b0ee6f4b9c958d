"""Several things of one owner side by side, none of which outlives the call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from roadstead.kernel.errors import Fatal

T = TypeVar("T")


async def gathered(coroutines: Iterable[Awaitable[T]]) -> list[T]:
    """Run them side by side to the end of every one, then raise what one of them raised, `Fatal` before all else.

    None may be left running: the next pass over the same owner would write beside it. So neither ``asyncio.gather`` by
    itself, which leaves the others running after an error, nor a ``TaskGroup``, which breaks them off in a write.
    """
    ended = await asyncio.gather(*coroutines, return_exceptions=True)
    errors = [result for result in ended if isinstance(result, BaseException)]
    if errors:
        raise next((error for error in errors if isinstance(error, Fatal)), errors[0])
    return [result for result in ended if not isinstance(result, BaseException)]
