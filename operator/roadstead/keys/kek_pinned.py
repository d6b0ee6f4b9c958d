"""The operator's PKCS#11 token, as its flags name it, with the PIN in a file that may change while we run.

A PIN that a token has refused is never tried again; another content of the file is another PIN. What keeps a session
from being opened at all is not tried anew for each ring, but once in a while: a module that hangs would otherwise hold
up every ring for the length of a time-out each, and a token that is missing costs a few processes to be sure of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from roadstead.keys.kek import Kek, KekName, ProviderDown, ProviderRefuses, Reason
from roadstead.keys.kek_pkcs11 import Pkcs11Provider, Token

T = TypeVar("T")

REST: Final = 15.0
"""Seconds in which nothing is asked of a module that did not let us in or did not answer."""
MOST_PIN: Final = 4096
"""Bytes of a PIN's file that are read; a longer one is none."""
_WORTH_A_REST: Final = frozenset(
    {
        Reason.TIMED_OUT,
        Reason.LIBRARY,
        Reason.TOKEN_MISSING,
        Reason.TOKEN_AMBIGUOUS,
        Reason.PIN_UNSET,
        Reason.MECHANISM,
    }
)


@dataclass(frozen=True, slots=True)
class Module:
    """What the flags say of a token.

    Attributes:
        library: path of the PKCS#11 library.
        token: its label.
        pin_file: a file with the user's PIN; a line's end after it does not count.
        environment: variables that the library reads.
        limit: seconds for one request.
    """

    library: str
    token: str
    pin_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    limit: float = 10.0


class PinnedProvider:
    """See `roadstead.keys.kek.KekProvider`.

    Args:
        module: where the keys are.
        random: so many unpredictable bytes.
        monotonic: the clock, in seconds.
    """

    def __init__(self, module: Module, random: Callable[[int], bytes], monotonic: Callable[[], float]) -> None:
        self._module = module
        self._random = random
        self._monotonic = monotonic
        self._token: Token | None = None
        self._provider: Pkcs11Provider | None = None
        self._error: ProviderDown | ProviderRefuses | None = None
        self._rests_until = 0.0
        self._turn = asyncio.Lock()

    async def ensure(self, name: KekName) -> tuple[Kek, ...]:
        """See `KekProvider.ensure`."""
        return await self._asked(lambda provider: provider.ensure(name))

    async def wrap(self, kek: Kek, key: bytes, context: bytes) -> bytes:
        """See `KekProvider.wrap`."""
        return await self._asked(lambda provider: provider.wrap(kek, key, context))

    async def unwrap(self, kek: Kek, wrapped: bytes, context: bytes) -> bytes:
        """See `KekProvider.unwrap`."""
        return await self._asked(lambda provider: provider.unwrap(kek, wrapped, context))

    async def destroy(self, kek: Kek) -> None:
        """See `KekProvider.destroy`."""
        await self._asked(lambda provider: provider.destroy(kek))

    async def keks(self, ring: str) -> tuple[Kek, ...]:
        """See `KekProvider.keks`."""
        return await self._asked(lambda provider: provider.keks(ring))

    async def close(self) -> None:
        """End the process; the next request would start another."""
        if self._provider is not None:
            await self._provider.close()

    async def _asked(self, ask: Callable[[Pkcs11Provider], Awaitable[T]]) -> T:
        # One after the other, as the module is asked anyway: so those that wait learn why the first one failed.
        async with self._turn:
            provider = await self._with_the_present_pin()
            if self._error is not None and self._monotonic() < self._rests_until:
                raise type(self._error)(self._error.reason, str(self._error))
            try:
                answer = await ask(provider)
            except (ProviderDown, ProviderRefuses) as error:
                if error.reason in _WORTH_A_REST:
                    self._error, self._rests_until = error, self._monotonic() + REST
                raise
            self._error = None
            return answer

    async def _with_the_present_pin(self) -> Pkcs11Provider:
        token = self._read()
        if self._provider is None or token != self._token:
            await self.close()
            self._token, self._error = token, None
            self._provider = Pkcs11Provider(token, self._random)
        return self._provider

    def _read(self) -> Token:
        module = self._module
        try:
            with module.pin_file.open("rb") as file:
                content = file.read(MOST_PIN + 1)
            pin = content.decode().rstrip("\r\n")
        except (OSError, ValueError):
            content, pin = b"", ""
        if not pin or len(content) > MOST_PIN:
            raise ProviderRefuses(
                Reason.PIN_UNREADABLE,
                f"the file {module.pin_file} has no PIN in UTF-8; mount the Secret with the PIN of token "
                f"{module.token!r} there (keys.pkcs11.pinSecret in the chart's values)",
            )
        return Token(module.library, module.token, pin, dict(module.environment), module.limit)
