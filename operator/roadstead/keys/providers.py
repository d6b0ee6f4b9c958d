"""What every provider of KEKs gets besides: its failures are counted, and one that is not set up says how it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from roadstead.keys.kek import Kek, KekName, KekProvider, ProviderDown, ProviderRefuses, Reason

Failed = Callable[[str], None]
"""Takes the reason of a failure, in one word."""


class Counted:
    """A provider whose failures are counted. See `roadstead.keys.kek.KekProvider`.

    Args:
        provider: that does the work.
        failed: is told of each failure.
    """

    def __init__(self, provider: KekProvider, failed: Failed) -> None:
        self._provider = provider
        self._failed = failed

    async def ensure(self, name: KekName) -> tuple[Kek, ...]:
        """See `KekProvider.ensure`."""
        with self._counting():
            return await self._provider.ensure(name)

    async def wrap(self, kek: Kek, key: bytes, context: bytes) -> bytes:
        """See `KekProvider.wrap`."""
        with self._counting():
            return await self._provider.wrap(kek, key, context)

    async def unwrap(self, kek: Kek, wrapped: bytes, context: bytes) -> bytes:
        """See `KekProvider.unwrap`."""
        with self._counting():
            return await self._provider.unwrap(kek, wrapped, context)

    async def destroy(self, kek: Kek) -> None:
        """See `KekProvider.destroy`."""
        with self._counting():
            await self._provider.destroy(kek)

    async def keks(self, ring: str) -> tuple[Kek, ...]:
        """See `KekProvider.keks`."""
        with self._counting():
            return await self._provider.keks(ring)

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except (ProviderDown, ProviderRefuses) as error:
            self._failed(error.reason)
            raise


class NotConfigured:
    """What stands for a provider that this operator is not set up with. See `roadstead.keys.kek.KekProvider`.

    Args:
        cure: which field asks for it, and what has to be set.
    """

    def __init__(self, cure: str) -> None:
        self._cure = cure

    async def ensure(self, name: KekName) -> tuple[Kek, ...]:
        """See `KekProvider.ensure`."""
        raise self._refusal()

    async def wrap(self, kek: Kek, key: bytes, context: bytes) -> bytes:
        """See `KekProvider.wrap`."""
        raise self._refusal()

    async def unwrap(self, kek: Kek, wrapped: bytes, context: bytes) -> bytes:
        """See `KekProvider.unwrap`."""
        raise self._refusal()

    async def destroy(self, kek: Kek) -> None:
        """See `KekProvider.destroy`."""
        raise self._refusal()

    async def keks(self, ring: str) -> tuple[Kek, ...]:
        """See `KekProvider.keks`."""
        raise self._refusal()

    def _refusal(self) -> ProviderRefuses:
        return ProviderRefuses(Reason.NOT_CONFIGURED, self._cure)
