"""The ring of a running relay: kept fresh and proved, counted in the store, and the store encrypted anew with it.

The order is what makes a count true: first it is noted which keyset is held, then everything is committed that was
encrypted before, then the file itself is asked. Nothing is counted in memory.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping

from roadstead_keys import Ring
from roadstead_keys.keeper import Keeper
from roadstead_keys.poster import Poster

from roadstead_chat.archive import Archive, ArchiveReader
from roadstead_chat.config import Config
from roadstead_chat.journal import Journal, Resealed
from roadstead_chat.metrics import Metrics
from roadstead_chat.sealing import OPEN
from roadstead_chat.writer import StoreError, Writer

BATCH = 100
"""Messages that are encrypted anew in one transaction: what others wait for at most."""
LOOK_SECONDS = 1.0
_logger = logging.getLogger(__name__)


class Keys:
    """What a relay does with its ring.

    Args:
        config: settings.
        ring: what is mounted.
        writer: of the store.
        metrics: where the state is shown.
    """

    def __init__(self, config: Config, ring: Ring, writer: Writer, metrics: Metrics) -> None:
        hand_in = Poster.in_cluster(config.keys_receipts, config.pod_uid).hand_in if config.keys_receipts else None
        self._ring = ring
        self._writer = writer
        self._metrics = metrics
        # Beside the reader of the backlogs: nobody waits for a count.
        self._census = ArchiveReader(config.store)
        self._keeper = Keeper(ring, config.pod_uid, hand_in, self._count, config.keys_refresh_seconds)
        self._pause = BATCH / config.rewrap_per_second
        self._refresh = config.keys_refresh_seconds
        self._swept: object = None
        self._wanted: frozenset[int] = frozenset()
        self._unfolded = False
        self._writable = asyncio.Event()
        metrics.watch(ring, self._keeper)

    @property
    def waits_for(self) -> str:
        """Why clients may not come yet; empty when they may."""
        if self._keeper.proved:
            return ""
        if self._keeper.problem:
            return f"the keyset could not be proved: {self._keeper.problem}"
        if not self._ring.primary:
            return "the key ring has no version to write with yet"
        return "the keyset has not been proved yet"

    async def writable(self) -> None:
        """Wait until something can be written: without a key to write with the store takes nothing."""
        await self._writable.wait()

    async def keep(self) -> None:
        """Keep the ring fresh and proved, until cancelled."""
        await self._keeper.run()

    async def rewrap(self) -> None:
        """Encrypt anew whatever is not encrypted with the version that is written with, until cancelled.

        From the moment when the keyset is proved: a pod that has never become ready leaves its store as it was.
        """
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._ring.primary:
                self._writable.set()
            if self._wanted != self._ring.wanted:
                self._wanted = self._ring.wanted
                self._keeper.nudge()
            held = self._ring.held
            keys = held.bundle.generation, held.rewrap and held.rewrap.bundle.generation
            # Also without a new keyset: a batch may have been refused, or a row put there from a backup.
            if self._keeper.proved and (keys != self._swept or loop.time() >= due):
                if await self._sweep():
                    self._swept = keys
                due = loop.time() + self._refresh

    def close(self) -> None:
        """Close the file."""
        self._census.close()

    async def _sweep(self) -> bool:
        """Go through the store once; whether all of it was looked at."""
        try:
            stored = await self._census.ask(Archive.stored_by_version)
            done = failed = 0
            for version in stored.keys() - {self._ring.primary}:
                some, stuck = await self._reseal(version)
                done, failed = done + some, failed + stuck
                self._unfolded |= version == OPEN and some > 0
        except (StoreError, sqlite3.Error) as error:
            _logger.warning("the store could not be encrypted anew", extra={"error": str(error)})
            return False
        if self._unfolded:
            # Nothing of what was not encrypted may lie on in the write-ahead log.
            self._unfolded = not await self._writer.fold()
        self._metrics.key_stuck.set(failed)
        if done:
            _logger.info("store encrypted anew", extra={"messages": done, "left": failed, "with": self._ring.primary})
            self._keeper.nudge()
        return True

    async def _reseal(self, version: int) -> tuple[int, int]:
        done = failed = after = 0
        while True:
            step = await self._step(version, after)
            if step.upto is None:
                return done, failed
            done, failed, after = done + step.done, failed + step.failed, step.upto
            self._metrics.key_rewrapped.inc(step.done)
            await asyncio.sleep(self._pause)

    async def _step(self, version: int, after: int) -> Resealed:
        steps: list[Resealed] = []

        def work(journal: Journal) -> int:
            steps.append(journal.reseal(version, after, BATCH))
            return 0

        await self._writer.run(work)
        return steps[-1]  # a transaction that was done apart from its neighbours was done twice

    async def _count(self) -> Mapping[int, int] | None:
        """Every ciphertext in the store by version; None when the store cannot be asked now."""
        try:
            await self._writer.run(lambda _: 0)
            stored = await self._census.ask(Archive.stored_by_version)
        except (StoreError, sqlite3.Error) as error:
            _logger.warning("the store could not be counted", extra={"error": str(error)})
            return None
        self._metrics.key_stored(stored, self._ring.primary)
        return {version: count for version, count in stored.items() if version > OPEN}  # below is no number of a ring
