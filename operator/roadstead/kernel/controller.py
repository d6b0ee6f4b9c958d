"""The workers: take a key, reconcile it, and let the queue know how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from roadstead.kernel.context import Context, Reconcile, Result
from roadstead.kernel.errors import Fatal, Retryable, Terminal
from roadstead.kernel.logs import bound
from roadstead.kernel.objects import Key

TERMINAL_RETRY = 60.0
"""Seconds until a key is looked at again whose last run ended with an error that trying again should not help."""
RECONCILE_TIMEOUT = 120.0
"""Seconds after which a reconcile is called off and retried: requests have shorter limits, so this is a bug's limit."""

LOOK_SECONDS = 0.5
"""Seconds after which, again and again, a run is asked whether it only waits for a slow server."""
MAX_WAITING = 1_024
"""Runs that may go on without a worker; each holds the children of one service in memory."""

log = logging.getLogger(__name__)
_waits: ContextVar[list[Callable[[], bool]]] = ContextVar("_waits")


@contextmanager
def waiting_for(is_slow: Callable[[], bool]) -> Iterator[None]:
    """Tell what the present run waits for in this block: while that is slow, the run needs no worker; others get it."""
    waits = _waits.get([])
    waits.append(is_slow)
    try:
        yield
    finally:
        waits.remove(is_slow)


class Controller:
    """Runs reconcile functions, many keys at once, one run per key.

    Args:
        ctx: handed to every reconcile.
        reconcilers: the function of each kind.
        workers: how many keys are worked on at once; those that wait for a slow server are not counted.
    """

    def __init__(self, ctx: Context, reconcilers: Mapping[str, Reconcile], *, workers: int) -> None:
        self._ctx = ctx
        self._reconcilers = reconcilers
        self._workers = workers
        self._runs = 0
        self._waiting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled; a run that is under way is given up at an await, which is always safe.

        Raises:
            ExceptionGroup: with a `Fatal` in it: the process must end.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(group), name=f"worker {number}")

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while True:
            waits: list[Callable[[], bool]] = []
            run = self._start(group, await self._ctx.queue.get(), waits)
            while not run.done():
                await asyncio.wait({run}, timeout=LOOK_SECONDS)
                if not run.done() and len(self._waiting) < MAX_WAITING and any(is_slow() for is_slow in waits):
                    self._waiting.add(run)
                    run.add_done_callback(self._waiting.discard)
                    break

    def _start(self, group: asyncio.TaskGroup, key: Key, waits: list[Callable[[], bool]]) -> asyncio.Task[None]:
        """Begin a run. Its key is given back however it ends: also when it is cancelled before its first step.

        A standby's workers are cancelled in the moment when it takes over, and the leader's have the same queue: a key
        that was not given back would never run again.
        """
        run = self._run(key, waits)
        try:
            task = group.create_task(run)
        except RuntimeError:  # the group is being ended, and this worker will hear of it at its next await
            run.close()
            self._ctx.queue.done(key)
            raise asyncio.CancelledError from None
        task.add_done_callback(lambda _: self._ctx.queue.done(key))
        return task

    async def _run(self, key: Key, waits: list[Callable[[], bool]]) -> None:
        _waits.set(waits)
        await self._one(key)

    async def _one(self, key: Key) -> None:
        reconcile = self._reconcilers.get(key.kind)
        if reconcile is None:
            return
        self._runs += 1
        queue, metrics = self._ctx.queue, self._ctx.metrics
        started = self._ctx.clock.monotonic()
        outcome = "error"
        limit = asyncio.timeout(RECONCILE_TIMEOUT)
        with bound(kind=key.kind, namespace=key.namespace, name=key.name, reconcile=f"{self._runs:x}"):
            try:
                async with limit:
                    result = await reconcile(key, self._ctx)
                outcome = self._settle(key, result)
            except Fatal:
                raise
            except Retryable as error:
                delay = queue.retry(key, retry_after=error.retry_after)
                log.warning("%s: %s; again in %.1f s", key, error, delay)
            except Terminal as error:
                # An answer of a server may change by itself (an API server that starts refuses for a moment), and then
                # nothing else would wake the key: only slower, never never.
                delay = queue.retry(key, retry_after=TERMINAL_RETRY)
                log.error("%s: %s; needs a change, looked at again in %.0f s", key, error, delay)
            except Exception as error:
                if isinstance(error, TimeoutError) and limit.expired():
                    log.error("%s: no end after %.0f s; again in %.1f s", key, RECONCILE_TIMEOUT, queue.retry(key))
                else:
                    metrics.panics(key.kind)
                    log.exception("%s: unexpected error; again in %.1f s", key, queue.retry(key))
            finally:
                metrics.reconciled(key.kind, outcome, self._ctx.clock.monotonic() - started)

    def _settle(self, key: Key, result: Result) -> str:
        queue = self._ctx.queue
        if result.requeue_after is not None:
            queue.add_after(key, result.requeue_after)
        if result.unfinished:
            delay = queue.retry(key, retry_after=result.retry_after)
            log.info("%s: %s; again in %.1f s", key, result.unfinished, delay)
            return "requeue"
        queue.forget(key)
        return "requeue_after" if result.requeue_after is not None else "success"
