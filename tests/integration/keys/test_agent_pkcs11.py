"""The agent with a region's private key in a token: real SoftHSM2, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from roadstead_keys.ring import Ring
from roadstead_keys_agent import child
from roadstead_keys_agent.agent import Token
from roadstead_keys_agent.errors import AgentError, Reason

import sealedkeysets
from clusters import eventually
from sealedkeysets import files
from softhsm import LIBRARY, PIN, SoftHsm

OPENING = 60.0
"""Seconds for what takes a tenth of one, on a machine that has other things to do."""


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    directory = tmp_path / "hsm"
    directory.mkdir()
    made = SoftHsm(directory)
    made.init("hkg")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\n")
    return path


class Region:
    """One region's token and the pod in which an agent uses it."""

    def __init__(self, hsm: SoftHsm, pin_file: Path, directory: Path, memory: Path) -> None:
        self.hsm, self.pin_file, self.memory = hsm, pin_file, memory
        self.mounted = directory / "mounted"
        self.mounted.mkdir()
        self.log = directory / "agent.log"

    def place(self) -> list[str]:
        return ["--pkcs11-library", LIBRARY, "--token", "hkg", "--pin-file", str(self.pin_file)]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "roadstead_keys_agent", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def keygen(self, label: str = "first") -> str:
        """Make a pair; its public key."""
        made = self.command("keygen", *self.place(), "--label", label)
        assert made.returncode == 0, made.stderr
        return made.stdout

    def mount(self, content: Mapping[str, bytes]) -> None:
        sealedkeysets.mount(self.mounted, content)

    @contextlib.contextmanager
    def agent(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "roadstead_keys_agent", "run", f"--open={self.mounted}={self.memory}"]
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [*command, "--poll=0.2", *(more or [f"--limit={OPENING:g}"]), *self.place()], stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def said(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log.read_text().splitlines()]

    def opens(self, generation: int) -> Ring:
        """Wait until the workload can read a generation."""

        def opened() -> Ring | None:
            with contextlib.suppress(Exception):
                ring = Ring.open(self.memory)
                return ring if ring.held.bundle.generation == generation else None
            return None

        found = eventually(opened, deadline=OPENING)
        assert found is not None
        return found


@pytest.fixture
def region(hsm: SoftHsm, pin_file: Path, tmp_path: Path) -> Iterator[Region]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rs-agent-") as memory:
        yield Region(hsm, pin_file, tmp_path, Path(memory))


def test_a_keyset_is_opened_with_a_key_that_never_leaves_the_token(region: Region) -> None:
    public = region.keygen()
    assert region.command("public-key", *region.place()).stdout == public
    script = (
        "import pkcs11; from pkcs11 import Attribute, ObjectClass\n"
        f"with pkcs11.lib({LIBRARY!r}).get_token(token_label='hkg').open(user_pin={PIN!r}) as session:\n"
        "    (key,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})\n"
        "    print([key[a] for a in (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.SIGN, Attribute.DERIVE)])\n"
    )
    assert region.hsm.python(script).strip() == "[True, False, False, True]"
    region.mount(files(public))
    with region.agent() as process:
        ring = region.opens(7)
        assert ring.decrypt(ring.encrypt(b"words", b"row 1"), b"row 1") == b"words"
        region.mount(files(public, generation=8))
        region.opens(8)
        assert PIN.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
        assert PIN not in Path(f"/proc/{process.pid}/cmdline").read_text()
    assert PIN not in region.log.read_text()


def test_a_pair_is_made_once_and_its_successor_beside_it(region: Region) -> None:
    first = region.keygen()
    again = region.command("keygen", *region.place(), "--label", "first")
    assert (again.returncode, again.stdout) == (1, "")
    assert "token 'hkg' has a key 'first', which is never written over" in again.stderr
    second = region.keygen("second")
    assert sorted(region.command("public-key", *region.place()).stdout.split("-----END PUBLIC KEY-----\n")) == sorted(
        f"{first}{second}".split("-----END PUBLIC KEY-----\n")
    )
    with region.agent():
        for generation, keys in enumerate([(first,), (first, second), (second,)], start=7):
            region.mount(files(*keys, generation=generation))
            region.opens(generation)


def test_a_pin_that_is_refused_is_tried_once(region: Region) -> None:
    public = region.keygen()
    region.pin_file.write_text("not the pin")
    region.mount(files(public))
    with region.agent():
        eventually(lambda: "token 'hkg' refuses the PIN" in "".join(region.said()), deadline=OPENING)
    for _ in range(2):
        with region.agent():
            eventually(lambda: "the PIN was refused before this" in "".join(region.said()), deadline=OPENING)
    region.pin_file.write_text(PIN)
    with region.agent():
        region.opens(7)


def test_a_library_that_hangs_takes_nothing_with_it(region: Region) -> None:
    public = region.keygen()
    region.mount(files(public))
    with region.agent(f"--limit={OPENING:g}"):
        region.opens(7)
    with region.agent("--limit=2"), region.hsm.hanging():
        region.mount(files(public, generation=8))
        eventually(lambda: "no answer within 2 s" in "".join(region.said()), deadline=OPENING)
        assert Ring.open(region.memory).held.bundle.generation == 7, "what was handed on stays"
    with region.agent():
        region.opens(8)


@pytest.mark.parametrize(
    ("place", "reason", "words"),
    [
        pytest.param(Token("/no/such.so", "hkg", Path()), Reason.LIBRARY, "cannot be loaded; mount it", id="library"),
        pytest.param(Token(LIBRARY, "sgp", Path()), Reason.NO_TOKEN, "there is no token 'sgp'; name one", id="token"),
    ],
)
def test_what_is_not_there_is_said(region: Region, place: Token, reason: Reason, words: str) -> None:
    place = Token(place.library, place.token, region.pin_file)
    with pytest.raises(AgentError, match=words) as refused:
        child.ask({"ask": "public", "place": place.request()}, OPENING)
    assert refused.value.reason is reason


def test_without_a_file_of_the_pin_nothing_is_asked_of_the_token(region: Region) -> None:
    region.pin_file.unlink()
    with pytest.raises(AgentError, match="mount a Secret with the PIN of token 'hkg' there"):
        Token(LIBRARY, "hkg", region.pin_file).request()


def test_another_tokens_key_opens_nothing(region: Region) -> None:
    region.keygen()
    region.mount(files(sealedkeysets.public_pem(sealedkeysets.private_key())))
    with region.agent():
        eventually(lambda: "here is the private key of" in "".join(region.said()), deadline=OPENING)
    assert not os.listdir(region.memory)  # noqa: PTH208 - as short as it can be said


def test_a_pair_that_is_used_by_many_pods_at_once(region: Region) -> None:
    """SoftHSM lets a process see half a token while another logs in; the agent tries again."""
    public = region.keygen()
    region.mount(files(public))
    with contextlib.ExitStack() as stack:
        for number in range(4):
            other = Region.__new__(Region)
            other.__dict__.update(region.__dict__)
            other.memory = region.memory / str(number)
            other.memory.mkdir()
            other.log = region.log.with_name(f"{number}.log")
            stack.enter_context(other.agent())
            stack.callback(other.opens, 7)
