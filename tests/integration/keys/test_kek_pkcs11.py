"""KEKs in a real PKCS#11 module, and everything that can be wrong with one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clusters import eventually, eventually_async
from kek_contract import CONTEXT, KekContract, a_name
from roadstead.keys import kek_pkcs11
from roadstead.keys.kek import Kek, ProviderDown, ProviderRefuses, Reason
from roadstead.keys.kek_pkcs11 import Pkcs11Provider, Token, _Process
from softhsm import LIBRARY, OFFICER, PIN, SoftHsm, hangs

LABEL = "keys"
Make = Callable[[Token], Pkcs11Provider]


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    made = SoftHsm(tmp_path_factory.mktemp("hsm"))
    made.init(LABEL)
    return made


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Pkcs11Provider] = []

    def one(token: Token) -> Pkcs11Provider:
        made.append(Pkcs11Provider(token, secrets.token_bytes))
        return made[-1]

    yield one
    for provider in made:
        await provider.close()


@pytest.fixture
def provider(hsm: SoftHsm, make: Make) -> Pkcs11Provider:
    return make(hsm.token(LABEL))


@pytest.fixture
def another(hsm: SoftHsm, make: Make) -> Pkcs11Provider:
    return make(hsm.token(LABEL))


class TestContract(KekContract):
    """See `kek_contract`."""


class Counted(_Process):
    """Processes that were started, in this order."""

    started: ClassVar[list[Counted]]

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self.started.append(self)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    Counted.started = []
    monkeypatch.setattr(kek_pkcs11, "_Process", Counted)
    return Counted.started


def codes(started: list[Counted]) -> list[int | None]:
    """With what each process ended; 0 when it did so of itself."""
    return [process._process.returncode for process in started]


def worker(provider: Pkcs11Provider) -> int:
    process = provider._process
    assert process is not None
    return process.pid


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def reason(provider: Pkcs11Provider, kek: Kek | None = None) -> Reason:
    """Why nothing is wrapped now: asked of the process that runs, if one does."""
    with pytest.raises((ProviderDown, ProviderRefuses)) as caught:
        await provider.wrap(kek or Kek(a_name("any"), "0" * 32), b"k" * 32, CONTEXT)
    error = caught.value
    assert isinstance(error, ProviderDown | ProviderRefuses)
    assert PIN not in str(error)
    return error.reason


async def test_the_key_never_leaves_the_token(provider: Pkcs11Provider, hsm: SoftHsm) -> None:
    name = a_name("stays")
    await provider.ensure(name)
    script = f"""
import pkcs11
from pkcs11 import Attribute
token = pkcs11.lib({hsm.token(LABEL).library!r}).get_token(token_label={LABEL!r})
with token.open(user_pin={PIN!r}) as session:
    key = session.get_key(label="roadstead/stays/1/{name.operation}")
    for name in ("SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "PRIVATE", "EXTRACTABLE", "WRAP", "DERIVE"):
        print(name, key[Attribute[name]])
    try:
        print(key[Attribute.VALUE])
    except pkcs11.exceptions.AttributeSensitive:
        print("sensitive")
"""
    assert hsm.python(script).splitlines() == [
        "SENSITIVE True",
        "ALWAYS_SENSITIVE True",
        "NEVER_EXTRACTABLE True",
        "PRIVATE True",
        "EXTRACTABLE False",
        "WRAP False",
        "DERIVE False",
        "sensitive",
    ]


async def test_a_wrong_pin_is_tried_once(make: Make, tmp_path: Path, started: list[Counted]) -> None:
    hsm = SoftHsm(tmp_path)
    hsm.init(LABEL)
    refused = make(hsm.token(LABEL, pin="not it"))
    assert await reason(refused) is Reason.PIN_WRONG
    assert len(started) == 1
    # Whoever tried again would get in now.
    change_pin(hsm, PIN, "not it")
    assert await reason(refused) is Reason.PIN_WRONG
    assert len(started) == 1
    assert await make(hsm.token(LABEL, pin="not it")).keks("any") == ()


async def test_a_wrong_pin_is_tried_once_also_when_nobody_waits_for_the_answer(
    make: Make, tmp_path: Path, started: list[Counted]
) -> None:
    hsm = SoftHsm(tmp_path)
    hsm.init(LABEL)
    refused = make(hsm.token(LABEL, pin="not it"))
    task = asyncio.create_task(refused.keks("any"))
    await eventually_async(lambda: started, interval=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await reason(refused) is Reason.PIN_WRONG
    assert len(started) == 1


def change_pin(hsm: SoftHsm, old: str, new: str) -> None:
    hsm.python(f"""
import pkcs11
token = pkcs11.lib({LIBRARY!r}).get_token(token_label={LABEL!r})
with token.open(user_pin={old!r}, rw=True) as session:
    session.set_pin({old!r}, {new!r})
""")


async def test_a_token_without_a_pin_gets_no_more_than_two_tries(
    make: Make, tmp_path: Path, started: list[Counted]
) -> None:
    """A process may see one while another writes the token. Nothing is given up for it: no PIN was refused."""
    hsm = SoftHsm(tmp_path)
    hsm.python(f"""
import ctypes
library = ctypes.CDLL({LIBRARY!r})
assert library.C_Initialize(None) == 0
assert library.C_InitToken(0, {OFFICER.encode()!r}, {len(OFFICER)}, {LABEL.ljust(32).encode()!r}) == 0
""")
    provider = make(hsm.token(LABEL))
    assert await reason(provider) is Reason.PIN_UNSET
    assert len(started) == 2
    hsm.python(f"""
import pkcs11
token = pkcs11.lib({LIBRARY!r}).get_token(token_label={LABEL!r})
with token.open(so_pin={OFFICER!r}, rw=True) as session:
    session.init_pin({PIN!r})
""")
    assert await provider.keks("any") == ()


async def test_a_token_is_looked_for_a_few_times(
    make: Make, tmp_path: Path, started: list[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM shows none to a process that starts while another one logs in."""
    hsm = SoftHsm(tmp_path)
    hsm.init(LABEL)
    away = tmp_path / "away"
    hsm.tokens.rename(away)
    hsm.tokens.mkdir()
    provider = make(hsm.token(LABEL))
    assert await reason(provider) is Reason.TOKEN_MISSING
    assert len(started) == kek_pkcs11._LOOKS
    started.clear()

    class Back(Counted):
        def __init__(self, environment: Mapping[str, str]) -> None:
            if len(started) == 2:
                hsm.tokens.rmdir()
                away.rename(hsm.tokens)
            super().__init__(environment)

    monkeypatch.setattr(kek_pkcs11, "_Process", Back)
    assert await provider.keks("any") == ()
    assert len(started) == 3


async def test_what_is_wrong_with_the_token_is_named(hsm: SoftHsm, make: Make, tmp_path: Path) -> None:
    assert await reason(make(hsm.token("nothing"))) is Reason.TOKEN_MISSING
    assert await reason(make(hsm.token(LABEL, library="/nowhere/lib.so"))) is Reason.LIBRARY
    (tmp_path / "lib.so").write_text("no library")
    assert await reason(make(hsm.token(LABEL, library=str(tmp_path / "lib.so")))) is Reason.LIBRARY
    twice = SoftHsm(tmp_path)
    twice.init(LABEL)
    twice.init(LABEL)
    assert await reason(make(twice.token(LABEL))) is Reason.TOKEN_AMBIGUOUS


async def test_a_kek_that_is_destroyed_at_once_is_not_said_to_be_there(
    make: Make, tmp_path: Path, started: list[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = SoftHsm(tmp_path)
    hsm.init(LABEL)

    class Destroyed(Counted):
        def __init__(self, environment: Mapping[str, str]) -> None:
            for file in hsm.tokens.glob("*/*-*.object"):
                file.unlink()
            super().__init__(environment)

    monkeypatch.setattr(kek_pkcs11, "_Process", Destroyed)
    with pytest.raises(ProviderDown, match="destroyed KEK gone-1-"):
        await make(hsm.token(LABEL)).ensure(a_name("gone"))
    assert len(started) == 2


async def test_a_key_that_is_half_made_is_looked_at_a_few_times(
    make: Make, tmp_path: Path, started: list[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM shows one without a value while another process makes it; here it has no use, and goes away later."""
    hsm = SoftHsm(tmp_path)
    hsm.init(LABEL)
    hsm.python(f"""
import pkcs11
from pkcs11 import Attribute, KeyType
token = pkcs11.lib({LIBRARY!r}).get_token(token_label={LABEL!r})
with token.open(user_pin={PIN!r}, rw=True) as session:
    template = {{Attribute.SIGN: False}}
    session.generate_key(KeyType.AES, 256, label="roadstead/half/1/made", store=True, template=template)
""")
    provider = make(hsm.token(LABEL))
    with pytest.raises(ProviderRefuses, match=r"\(roadstead/half/1/made\).*destroy it if nothing") as caught:
        await provider.keks("half")
    assert caught.value.reason is Reason.KEK_UNUSABLE
    assert len(started) == kek_pkcs11._LOOKS
    assert await provider.keks("other") == (), "another ring does not mind"
    started.clear()

    class Done(Counted):
        def __init__(self, environment: Mapping[str, str]) -> None:
            if len(started) == 2:
                for file in hsm.tokens.glob("*/*-*.object"):
                    file.unlink()
            super().__init__(environment)

    monkeypatch.setattr(kek_pkcs11, "_Process", Done)
    assert await provider.keks("half") == ()
    assert len(started) == 3


async def test_a_process_ends_of_itself(provider: Pkcs11Provider, started: list[Counted]) -> None:
    """One that was killed while it wrote would leave half a token."""
    await provider.ensure(a_name("ends"))
    await provider.close()
    assert codes(started) == [0] * len(started)


async def test_a_process_that_hangs_is_ended_and_another_takes_over(
    hsm: SoftHsm, make: Make, started: list[Counted]
) -> None:
    name = a_name("hangs")
    provider = make(hsm.token(LABEL, limit=3.0))
    (kek,) = await provider.ensure(name)
    pid = worker(provider)
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(60):  # a test that fails, not one that hangs
        assert await reason(provider, kek) is Reason.TIMED_OUT
    assert not alive(pid)
    assert codes(started)[-1] == -signal.SIGKILL
    assert await provider.wrap(kek, b"k" * 32, CONTEXT)
    assert await provider.ensure(name) == (kek,)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
async def test_a_library_that_crashes_takes_nobody_with_it(provider: Pkcs11Provider, number: signal.Signals) -> None:
    (kek,) = await provider.ensure(a_name("crashes"))
    wrapped = await provider.wrap(kek, b"k" * 32, CONTEXT)
    os.kill(worker(provider), number)
    assert await reason(provider, kek) is Reason.CRASHED
    assert await provider.unwrap(kek, wrapped, CONTEXT) == b"k" * 32


async def test_a_request_that_is_called_off_leaves_no_answer_for_the_next(provider: Pkcs11Provider) -> None:
    (kek,) = await provider.ensure(a_name("cut"))
    wrapped = await provider.wrap(kek, b"k" * 32, CONTEXT)
    pid = worker(provider)
    os.kill(pid, signal.SIGSTOP)
    task = asyncio.create_task(provider.wrap(kek, b"l" * 32, CONTEXT))
    await until_waiting(task)
    task.cancel()
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await provider.unwrap(kek, wrapped, CONTEXT) == b"k" * 32


async def until_waiting(task: asyncio.Task[Any]) -> None:
    """Until nothing more happens in a task of itself."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


async def test_a_process_is_not_killed_whenever_it_is_called_off(
    provider: Pkcs11Provider, started: list[Counted]
) -> None:
    made = await provider.ensure(a_name("spared"))
    for _ in range(20):
        task = asyncio.create_task(provider.keks("another"))
        await asyncio.sleep(secrets.randbelow(300) / 1000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await provider.keks("spared") == made
    await provider.close()
    assert codes(started) == [0] * len(started)


async def test_an_end_that_is_called_off_is_an_end(provider: Pkcs11Provider, started: list[Counted]) -> None:
    """Called off again and again: no process is left, none is killed, and the task knows that it was called off."""
    await provider.keks("any")
    pid = worker(provider)
    os.kill(pid, signal.SIGSTOP)
    task = asyncio.create_task(provider.close())
    for _ in range(3):
        await until_waiting(task)
        task.cancel()
    await until_waiting(task)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert codes(started) == [0]


async def test_a_fresh_process_lists_keys_and_says_that_one_is_missing(
    provider: Pkcs11Provider, started: list[Counted]
) -> None:
    """One that runs may go on missing what another made (7 of 12 races); too rare with a race in a test."""
    (kek,) = await provider.ensure(a_name("fresh"))
    before = len(started)
    await provider.wrap(kek, b"k" * 32, CONTEXT)
    assert len(started) == before, "what is there is used as it is"
    await provider.keks("fresh")
    assert len(started) == before + 1
    assert await reason(provider) is Reason.KEK_MISSING
    assert len(started) == before + 2
    await provider.ensure(kek.name)
    assert len(started) == before + 3


def test_a_loop_ends_whatever_is_under_way(hsm: SoftHsm) -> None:
    """Python 3.11's own subprocesses keep it running for ever when it ends while one starts."""
    script = f"""
import asyncio, os
from roadstead.keys.kek_pkcs11 import Pkcs11Provider, Token
async def main(steps):
    provider = Pkcs11Provider({with_pin(hsm.token(LABEL))}, os.urandom)
    asyncio.create_task(provider.keks("any"))
    for _ in range(steps):
        await asyncio.sleep(0)
for steps in range(1, 16):
    asyncio.run(main(steps))
    children = open(f"/proc/self/task/{{os.getpid()}}/children").read()
    print(steps, "left:", children or "nobody", flush=True)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [f"{steps} left: nobody" for steps in range(1, 16)]


def with_pin(token: Token) -> str:
    """A token as a script has it; its text has no PIN."""
    return repr(token).replace("environment=", f"pin={token.pin!r}, environment=")


async def test_nobody_sees_the_pin(provider: Pkcs11Provider, hsm: SoftHsm) -> None:
    await provider.keks("any")
    process = Path(f"/proc/{worker(provider)}")
    for name in ("cmdline", "environ"):
        assert PIN.encode() not in (process / name).read_bytes()
    assert PIN not in repr(provider._token)
    assert "0                    0" in (process / "limits").read_text().partition("core file size")[2][:60]


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    """Even if it hangs at that moment, and the parent was killed."""
    hsm = SoftHsm(tmp_path)
    hsm.init(LABEL)
    script = f"""
import asyncio, os
from roadstead.keys.kek_pkcs11 import Pkcs11Provider, Token
async def main():
    provider = Pkcs11Provider({with_pin(hsm.token(LABEL))}, os.urandom)
    task = asyncio.create_task(provider.keks("any"))
    while provider._process is None:
        await asyncio.sleep(0)
    print(provider._process.pid, flush=True)
    await task
asyncio.run(main())
"""
    with hsm.hanging(), subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        eventually(lambda: hangs(pid))
        parent.kill()
        parent.wait()
        eventually(lambda: not alive(pid))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for little."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_token_that_is_full_keeps_what_it_has(tiny: Path, make: Make) -> None:
    hsm = SoftHsm(tiny)
    hsm.init(LABEL)
    provider = make(hsm.token(LABEL))
    made: list[Kek] = []
    with pytest.raises((ProviderDown, ProviderRefuses)) as caught:
        for _ in range(200):
            made.extend(await provider.ensure(a_name("many")))
    assert isinstance(caught.value, ProviderDown | ProviderRefuses)
    assert caught.value.reason in (Reason.TOKEN_FULL, Reason.FAILED)
    assert made
    for kek in made:
        assert await provider.unwrap(kek, await provider.wrap(kek, b"k" * 32, CONTEXT), CONTEXT) == b"k" * 32
    await provider.destroy(made.pop())
    await eventually_async(lambda: listed(provider, len(made)))


async def listed(provider: Pkcs11Provider, count: int) -> bool:
    return len(await provider.keks("many")) >= count
