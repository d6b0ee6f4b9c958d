"""What the agent hands on and what it refuses. What opens a keyset runs in this process here; see `test_child.py`."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from roadstead_keys.ring import Ring
from roadstead_keys_agent import child, mount, opener
from roadstead_keys_agent.agent import Agent, Files, Task, Token
from roadstead_keys_agent.errors import AgentError, Reason

import sealedkeysets
from roadstead.keys import sealing
from roadstead.keys.challenge import Asked
from sealedkeysets import HERE, files, private_key, public_pem

ELSEWHERE = Asked("r9876543210zz", "hkg")


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rs-agent-") as directory:
        yield Path(directory)


class Pod:
    """An agent, its mounts, and what it says."""

    def __init__(self, directory: Path, memory: Path) -> None:
        self.source, self.target = directory / "sealed", memory
        self.source.mkdir()
        self.key_file = directory / "key.pem"
        self.key = private_key()
        sealedkeysets.written(self.key, self.key_file)
        self.said: list[tuple[str, str]] = []
        self.time = 0.0
        self.agent = self.started()

    def started(self, **options: Any) -> Agent:
        """Another agent, which remembers nothing."""
        task = Task(self.source, self.target, options.pop("optional", False))
        place = options.pop("place", Files((self.key_file,)))
        say = lambda level, message, **_: self.said.append((level, message))  # noqa: E731
        self.agent = Agent([task], place, say, lambda: self.time, **options)
        return self.agent

    def mount(self, content: Mapping[str, bytes]) -> None:
        sealedkeysets.mount(self.source, content)

    def look(self) -> tuple[str, str]:
        """Look once; the last that was said."""
        self.agent.look()
        return self.said[-1]

    @property
    def public(self) -> str:
        return public_pem(self.key)


def answered(request: Mapping[str, Any], _: float) -> str:
    said = opener.answer(request)
    if "reason" in said:
        raise AgentError(said["reason"], said["message"])
    return str(said["result"])


@pytest.fixture
def pod(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setattr(child, "ask", answered)
    return Pod(tmp_path, memory)


def test_a_sealed_keyset_is_read_by_the_library_as_if_it_had_been_mounted(pod: Pod) -> None:
    pod.mount(files(pod.public))
    assert pod.look() == ("info", "generation 7 of ring r0123456789ab was opened")
    ring = Ring.open(pod.target)
    assert (set(ring.versions), ring.primary, ring.held.bundle.generation) == ({1, 2, 3}, 2, 7)
    assert ring.decrypt(ring.encrypt(b"words", b"row 1"), b"row 1") == b"words"
    assert (pod.target / "keyset.json").read_bytes() == sealedkeysets.content_of(1, 2, 3, primary=2)


def test_a_newer_one_is_swapped_in_and_nothing_of_the_older_one_is_left(pod: Pod) -> None:
    pod.mount(files(pod.public))
    pod.look()
    ring = Ring.open(pod.target)
    pod.mount(files(pod.public, generation=8))
    pod.look()
    assert ring.reload()
    assert ring.held.bundle.generation == 8
    names = {path.name for path in pod.target.iterdir()}
    assert names == {"..data", os.readlink(pod.target / "..data"), "keyset.json", "ring.json"}  # noqa: PTH115


def test_only_the_pods_group_may_read_it(pod: Pod) -> None:
    pod.mount(files(pod.public))
    pod.look()
    assert {stat.S_IMODE((pod.target / name).stat().st_mode) for name in ("keyset.json", "ring.json")} == {0o440}


def test_nothing_is_done_while_nothing_changes(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    pod.mount(files(pod.public))
    pod.look()
    monkeypatch.setattr(child, "ask", lambda *_: pytest.fail("it was opened again"))
    for _ in range(3):
        pod.time += 1000
        pod.look()
    assert len(pod.said) == 1


def test_either_of_two_keys_opens_it(pod: Pod, tmp_path: Path) -> None:
    former = private_key()
    pod.mount(files(public_pem(former), pod.public))
    assert pod.look()[0] == "info"
    pod.started(place=Files((sealedkeysets.written(former, tmp_path / "former.pem"), pod.key_file)))
    pod.mount(files(pod.public, generation=8))
    assert pod.look() == ("info", "generation 8 of ring r0123456789ab was opened")


def test_clear_text_is_passed_on_so_that_a_ring_can_be_changed_to_encrypted(pod: Pod) -> None:
    clear = {**files(pod.public), "keyset.json": sealedkeysets.content_of(1, 2, primary=2)}
    del clear["keyset.sealed"]
    pod.mount(clear)
    assert "it is in clear text (spec.distribution: Cleartext)" in pod.look()[1]
    assert Ring.open(pod.target).versions == {1, 2}
    pod.mount(files(pod.public, generation=8))
    assert pod.look() == ("info", "generation 8 of ring r0123456789ab was opened")
    assert Ring.open(pod.target).versions == {1, 2, 3}


def tampered(made: Mapping[str, bytes], **changes: Any) -> Mapping[str, bytes]:
    said = json.loads(made["keyset.sealed"])
    for path, value in changes.items():
        at: Any = said
        *way, last = path.split("__")
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[last] = value
    return {**made, "keyset.sealed": json.dumps(said).encode()}


OTHER = private_key()
"""Whose keysets are not for this pod."""
WORDS = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def spoilt(pod: Pod, how: str) -> Mapping[str, bytes]:
    made = files(pod.public)
    other = files(pod.public, asked=ELSEWHERE)
    match how:
        case "sealed for another region's key":
            return files(public_pem(OTHER))
        case "no JSON":
            return {**made, "keyset.sealed": b"\xff{"}
        case "JSON of another kind":
            return {**made, "keyset.sealed": b'["format"]'}
        case "another format":
            return tampered(made, format="roadstead/sealed-keyset/2")
        case "another ring's, beside the words of this one":
            return {**made, "keyset.sealed": other["keyset.sealed"]}
        case "the words of another region beside it":
            return {**made, "ring.json": files(pod.public, asked=Asked(HERE.ring, "sgp"))["ring.json"]}
        case "other words beside it":
            return {**made, "ring.json": made["ring.json"].replace(b'"active": true', b'"active": false')}
        case "a newer generation in the words":
            return {**made, "ring.json": made["ring.json"].replace(b'"generation": 7', b'"generation": 9')}
        case "a newer generation in the words and in the statement":
            beside = made["ring.json"].replace(b'"generation": 7', b'"generation": 9')
            digest = sealing.digest(beside)
            changed = tampered(made, statement__generation=9, statement__beside=digest)
            return {**changed, "ring.json": beside}
        case "another primary in the statement":
            return tampered(made, statement__primary=1)
        case "another ciphertext":
            return tampered(made, ciphertext=WORDS)
        case "another nonce":
            return tampered(made, nonce="A" * 16)
        case "a nonce that is none":
            return tampered(made, nonce="AAAA")
        case "another wrapped key":
            return tampered(made, recipients__0__wrapped=WORDS)
        case "a point off the curve":
            return tampered(made, recipients__0__enc="BAAA" + "A" * 83 + "=")
        case "no point at all":
            return tampered(made, recipients__0__enc="AAAA")
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize(
    "how",
    [
        "sealed for another region's key",
        "no JSON",
        "JSON of another kind",
        "another format",
        "another ring's, beside the words of this one",
        "the words of another region beside it",
        "other words beside it",
        "a newer generation in the words",
        "a newer generation in the words and in the statement",
        "another primary in the statement",
        "another ciphertext",
        "another nonce",
        "a nonce that is none",
        "another wrapped key",
        "a point off the curve",
        "no point at all",
    ],
)
def test_what_the_operator_has_not_sealed_for_this_pod_is_not_handed_on(pod: Pod, how: str) -> None:
    pod.mount(files(pod.public, generation=6))
    pod.look()
    before = (pod.target / "keyset.json").read_bytes()
    pod.mount(spoilt(pod, how))
    level, message = pod.look()
    assert level == "error"
    ours = "sealed for another region's key"
    assert ("put the public key of one that is here" if how == ours else "is damaged, or was put together") in message
    assert (pod.target / "keyset.json").read_bytes() == before
    assert Ring.open(pod.target).held.bundle.generation == 6, "what was handed on before stays in use"
    pod.mount(files(pod.public, generation=8))
    assert pod.look()[0] == "info"


def test_an_older_generation_and_another_ring_are_refused_also_after_a_restart(pod: Pod) -> None:
    pod.mount(files(pod.public))
    pod.look()
    pod.started()
    pod.mount(files(pod.public, generation=6))
    assert pod.look() == ("error", "the mount has generation 6, and 7 is in use; the operator writes a newer one")
    pod.mount(files(pod.public, generation=9, asked=ELSEWHERE))
    assert pod.look() == (
        "error",
        "the mount has ring r9876543210zz now, and r0123456789ab is in use; mount one ring only",
    )
    assert Ring.open(pod.target).held.bundle.generation == 7


def test_what_is_wrong_is_said_once_and_tried_again_with_pauses(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def hangs(*_: object) -> str:
        tries.append(pod.time)
        raise AgentError(Reason.TIMED_OUT, "no answer within 10 s")

    real = child.ask
    monkeypatch.setattr(child, "ask", hangs)
    pod.mount(files(pod.public))
    for _ in range(200):
        pod.look()
        pod.time += 1
    assert tries == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert pod.said == [("error", "no answer within 10 s")]
    monkeypatch.setattr(child, "ask", real)
    pod.time += 60
    assert pod.look()[0] == "info"


def test_a_key_that_is_put_there_later_is_tried_at_once(pod: Pod) -> None:
    content = pod.key_file.read_bytes()
    pod.key_file.unlink()
    pod.mount(files(pod.public))
    level, message = pod.look()
    assert (level, message.endswith("in PEM (PKCS#8) without a password")) == ("error", True)
    pod.key_file.write_bytes(content)
    assert pod.look()[0] == "info"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"nonsense", "is no key that can be read", id="nonsense"),
        pytest.param(
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no key that can be read", id="half"
        ),
    ],
)
def test_a_key_file_that_is_none(pod: Pod, content: bytes, words: str) -> None:
    pod.key_file.write_bytes(content)
    pod.mount(files(pod.public))
    assert words in pod.look()[1]


def test_nothing_is_mounted(pod: Pod) -> None:
    assert pod.look() == (
        "error",
        f"{pod.source} has no keyset.sealed beside ring.json; mount the Secret <ring>.<region>.keyset there",
    )


def test_what_may_come_and_go_is_taken_away_when_it_goes(pod: Pod) -> None:
    pod.started(optional=True)
    assert pod.look()[0] == "info"
    pod.mount(files(pod.public))
    pod.look()
    assert Ring.open(pod.target).versions == {1, 2, 3}
    pod.mount({})
    assert pod.look()[0] == "info"
    assert mount.read(pod.target) == {}
    assert not [path for path in pod.target.rglob("*") if path.is_file()], "no key is left anywhere"


def test_a_pin_that_was_refused_is_not_tried_again_by_the_next_container(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that ends is started again, and each start would be another attempt: tokens lock themselves."""
    tries: list[object] = []

    def refuses(request: Mapping[str, Any], _: float) -> str:
        tries.append(request["place"]["pin"])
        raise AgentError(Reason.PIN_WRONG, "token 'hkg' refuses the PIN")

    monkeypatch.setattr(child, "ask", refuses)
    pin = tmp_path / "pin"
    pin.write_text("1234\n")
    pod.mount(files(pod.public))
    token = Token("/lib.so", "hkg", pin)
    for _ in range(3):
        pod.started(place=token)
        for _ in range(100):
            pod.time += 60
            assert pod.look()[0] == "error"
    pod.mount(files(pod.public, generation=8))
    pod.look()
    assert tries == ["1234"]
    assert b"1234" not in b"".join(path.read_bytes() for path in pod.target.rglob("*") if path.is_file())
    pin.write_text("5678\n")
    pod.look()
    assert tries == ["1234", "5678"]


def test_keys_are_not_written_onto_a_disk(tmp_path: Path, memory: Path) -> None:
    mount.require_memory(memory)
    with pytest.raises(AgentError, match=r"keys belong into memory; mount an emptyDir with medium: Memory there"):
        mount.require_memory(Path(__file__).parent)
    with pytest.raises(AgentError, match="cannot be used"):
        mount.require_memory(tmp_path / "missing")


def test_the_statement_says_what_is_inside() -> None:
    found = sealing.parse(files(public_pem(OTHER))["keyset.sealed"])
    assert sealing.keyset_of(found) == sealedkeysets.keyset_of(1, 2, 3, primary=2)
    assert (found.statement.ring, found.statement.region, found.statement.generation) == (HERE.ring, HERE.region, 7)
