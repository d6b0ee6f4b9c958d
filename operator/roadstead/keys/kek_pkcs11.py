"""KEKs in a hardware security module, through PKCS#11.

The library is C code of somebody else's, so it runs in a process of its own (`roadstead.keys.pkcs11_worker`), which is
ended when it takes too long. A PIN that was refused is never tried again: modules lock themselves after a few attempts.

A process may go on missing a key that another has made: SoftHSM 2.6.1 did so for as long as nothing else changed, in 7
of 12 races. So what lists keys does it in a fresh process, and no key is called missing before one has looked. And a
fresh process may see no token, or one without a PIN, while another logs in: SoftHSM then writes the token's file anew.
It may see a key without a value while another makes it. So both are looked at a few times, and no process is killed
while it may be writing, if it ends when told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roadstead.keys import kek as keks
from roadstead.keys.kek import Kek, KekName, ProviderDown, ProviderRefuses, Reason

_PREFIX: Final = "roadstead"
_CHUNK: Final = 64 * 1024
_GRACE: Final = 5.0
"""Seconds for a process to end of itself, and as many for the system to end it."""

_LOOKS: Final = 6
_TRIES: Final = 2
"""How often a login may fail without a word on the PIN: some module may count what it does not speak of."""

_DOWN: Final = frozenset({Reason.FAILED, Reason.CRASHED, Reason.TIMED_OUT, Reason.UNREACHABLE})
_FINAL: Final = frozenset({Reason.PIN_WRONG, Reason.PIN_LOCKED})
"""What another attempt with the same PIN makes worse."""

_UNSETTLED: Final = frozenset({Reason.TOKEN_MISSING, Reason.PIN_UNSET, Reason.FAILED})
"""What a process may find while another writes; never a PIN that was refused."""


@dataclass(frozen=True, slots=True)
class Token:
    """Where a token is and how to get in.

    Attributes:
        library: path of the PKCS#11 library.
        label: of the token.
        pin: the user's; never shown.
        environment: variables that the library reads.
        limit: seconds for one request.
    """

    library: str
    label: str
    pin: str = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    limit: float = 10.0


class Pkcs11Provider:
    """See `roadstead.keys.kek.KekProvider`. Make another one when the token or its PIN has changed, and `close` this.

    Args:
        token: where the keys are.
        random: so many unpredictable bytes.
    """

    def __init__(self, token: Token, random: Callable[[int], bytes]) -> None:
        self._token = token
        self._random = random
        self._process: _Process | None = None
        self._turn = asyncio.Lock()
        self._given_up: Reason | None = None

    async def ensure(self, name: KekName) -> tuple[Kek, ...]:
        """See `KekProvider.ensure`."""
        label = _label(name)
        if not (found := await self._ask("fingerprints", {"label": label}, afresh=True)):
            await self._ask("generate", {"label": label})
            found = await self._ask("fingerprints", {"label": label}, afresh=True)
        if not found:
            raise ProviderDown(Reason.KEK_MISSING, f"somebody destroyed KEK {name} as soon as it was made")
        return tuple(Kek(name, fingerprint) for fingerprint in found)

    async def wrap(self, kek: Kek, key: bytes, context: bytes) -> bytes:
        """See `KekProvider.wrap`."""
        nonce = self._random(keks.NONCE_BYTES)
        sealed = await self._ask_of(kek, "wrap", nonce=_text(nonce), key=_text(key), context=_text(context))
        return keks.packed(nonce, b64decode(sealed))

    async def unwrap(self, kek: Kek, wrapped: bytes, context: bytes) -> bytes:
        """See `KekProvider.unwrap`."""
        nonce, sealed = keks.unpacked(wrapped)
        return b64decode(
            await self._ask_of(kek, "unwrap", nonce=_text(nonce), sealed=_text(sealed), context=_text(context))
        )

    async def destroy(self, kek: Kek) -> None:
        """See `KekProvider.destroy`."""
        try:
            await self._ask_of(kek, "destroy")
        except ProviderRefuses as error:
            if error.reason is not Reason.KEK_MISSING:
                raise

    async def keks(self, ring: str) -> tuple[Kek, ...]:
        """See `KekProvider.keks`."""
        found = await self._ask("find", {"prefix": f"{_PREFIX}/{ring}/"}, afresh=True)
        named = ((_name_of(label), fingerprint) for label, fingerprint in found)
        listed = [Kek(name, fingerprint) for name, fingerprint in named if name is not None and name.ring == ring]
        return tuple(sorted(listed, key=lambda kek: (str(kek.name), kek.fingerprint)))

    async def close(self) -> None:
        """End the process; the next request would start another."""
        async with self._turn:
            await self._end()

    async def _ask_of(self, kek: Kek, method: str, **arguments: str) -> Any:
        request = {"label": _label(kek.name), "fingerprint": kek.fingerprint, **arguments}
        for afresh in (False, True):
            try:
                return await self._ask(method, request, afresh=afresh)
            except ProviderRefuses as error:
                if error.reason is not Reason.KEK_MISSING:
                    raise
        raise keks.missing(kek)

    async def _ask(self, method: str, arguments: Mapping[str, str], *, afresh: bool = False) -> Any:
        async with self._turn:
            if afresh:
                await self._end()
            if self._given_up is not None:
                raise self._error(self._given_up)
            looks = 0
            while True:
                process = self._process or await self._start()
                answer = await self._exchange(process, {"method": method, **arguments})
                if (reason := _reason(answer)) is None:
                    return answer["result"]
                if reason not in (Reason.DAMAGED, Reason.KEK_MISSING):
                    await self._end()
                looks += 1
                if reason is not Reason.KEK_UNUSABLE or looks == _LOOKS:  # it may be half made, or half destroyed
                    raise self._error(reason, answer)

    async def _start(self) -> _Process:
        """Start a process that is logged in. One that saw no token, or not all of it, makes room for another."""
        request = {"library": self._token.library, "token": self._token.label, "pin": self._token.pin}
        looks = tries = 0
        while True:
            process = self._process = _Process(self._token.environment)
            try:
                answer = await self._exchange(process, request)
            except BaseException:
                # The module may have refused the PIN just now, and counts, whether or not anybody still waits.
                self._note(_reason(json.loads(process.rest or "{}")))
                raise
            if (reason := _reason(answer)) is None:
                return process
            self._note(reason)
            await self._end()
            looks += 1
            tries += answer["tried"]
            if reason not in _UNSETTLED or looks == _LOOKS or tries == _TRIES:
                raise self._error(reason, answer)

    def _note(self, reason: Reason | None) -> None:
        if reason in _FINAL:
            self._given_up = reason

    async def _exchange(self, process: _Process, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._token.limit):
                line = await process.ask(json.dumps(request).encode() + b"\n")
        except TimeoutError:
            await self._end()
            raise self._error(Reason.TIMED_OUT) from None
        except BaseException:  # called off: an answer that still comes would be taken for the next one's
            await self._end()
            raise
        if not line:
            await self._end()
            raise self._error(Reason.CRASHED)
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    def _error(self, reason: Reason, answer: Mapping[str, Any] | None = None) -> ProviderDown | ProviderRefuses:
        words = _WORDS[reason].format(
            token=self._token.label,
            library=self._token.library,
            limit=f"{self._token.limit:g}",
            code=(answer or {}).get("code", ""),
        )
        return ProviderDown(reason, words) if reason in _DOWN else ProviderRefuses(reason, words)


class _Process:
    """A worker that runs.

    Not `asyncio.create_subprocess_exec`: when a loop ends while one starts, Python 3.11 cancels the task that connects
    its pipes, and then waits for ever for those pipes to close. Here a process can be ended as soon as there is one.

    Args:
        environment: variables that the library reads.

    Attributes:
        rest: what it still said when nobody waited for it any more.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        # Nothing of our own environment: a library that is told where to log would do so.
        ours = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path for path in sys.path if path)}
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            # Of this very thread, since the worker asks to be ended with the thread that started it; in a group of its
            # own, since an interrupt from a terminal could come while it writes.
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", "roadstead.keys.pkcs11_worker"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={**ours, **environment},
                process_group=0,
            )
        self.rest = b""
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._descriptor = os.pidfd_open(self.pid)
        self._loop.add_reader(self._descriptor, self._reap)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def ask(self, line: bytes) -> bytes:
        """The line that answers a line; none when the process has ended."""
        answer = b""
        with contextlib.suppress(ConnectionError):  # it ended
            await self._loop.sock_sendall(self._socket, line)
            while part := await self._loop.sock_recv(self._socket, _CHUNK):
                answer += part
                if answer.endswith(b"\n"):
                    return answer
        return b""

    async def end(self) -> None:
        """Tell it that there is nothing more to do, and kill it only if that is not enough.

        Waits also when it is called off meanwhile, since whoever calls off must not find half a token.
        """
        with contextlib.suppress(OSError):  # it ended
            self._socket.shutdown(socket.SHUT_WR)
        killer = self._loop.call_later(_GRACE, self._process.kill)
        deadline = self._loop.time() + 2 * _GRACE
        called_off: asyncio.CancelledError | None = None
        while not self._ended.done() and (rest := deadline - self._loop.time()) > 0:
            try:
                await asyncio.wait([self._ended], timeout=rest)
            except asyncio.CancelledError as error:
                called_off = error
        killer.cancel()
        with contextlib.suppress(OSError):  # nothing
            self.rest = self._socket.recv(_CHUNK)
        self._socket.close()
        if called_off is not None:
            raise called_off

    def _reap(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._process.wait()
        self._ended.set_result(None)


_WORDS: Final = {
    Reason.FAILED: "the PKCS#11 library answers {code} for token {token!r}; see the module's own log",
    Reason.CRASHED: "the PKCS#11 library {library} ended its process; see the module's own log",
    Reason.TIMED_OUT: "the PKCS#11 library gave no answer within {limit} s; is token {token!r} reachable?",
    Reason.UNREACHABLE: "the module of token {token!r} cannot be reached",
    Reason.LIBRARY: "the PKCS#11 library {library} cannot be loaded; mount it into the operator's pod, name its path",
    Reason.TOKEN_MISSING: "there is no token {token!r}; name one that `pkcs11-tool --list-slots` shows",
    Reason.TOKEN_AMBIGUOUS: "there is more than one token {token!r}; give each a label of its own",
    Reason.TOKEN_FULL: "token {token!r} takes no more keys; make room in it, nothing was changed",
    Reason.PIN_WRONG: "token {token!r} refuses the PIN; it was tried once and is not until its Secret changes",
    Reason.PIN_LOCKED: "the PIN of token {token!r} is locked; let its security officer unlock it, change the Secret",
    Reason.PIN_UNSET: "token {token!r} has no user's PIN; let its security officer set one",
    Reason.MECHANISM: "token {token!r} lacks CKM_AES_KEY_GEN, CKM_AES_GCM or CKM_AES_CMAC; use a module that has them",
    Reason.KEK_MISSING: "the KEK is not in token {token!r}",
    Reason.KEK_UNUSABLE: "a key in token {token!r} has no fingerprint ({code}): its making was cut short, or the token "
    "denies it CKM_AES_CMAC; destroy it if nothing was wrapped with it",
    Reason.DAMAGED: str(keks.damaged()),
}


def _reason(answer: Mapping[str, Any]) -> Reason | None:
    word = answer.get("reason")
    return None if word is None else Reason(word)


def _label(name: KekName) -> str:
    return f"{_PREFIX}/{name.ring}/{name.generation}/{name.operation}"


def _name_of(label: str) -> KekName | None:
    match label.split("/"):
        case [_, ring, generation, operation] if generation.isdecimal():
            return KekName(ring, int(generation), operation)
        case _:
            return None


def _text(content: bytes) -> str:
    return b64encode(content).decode()
