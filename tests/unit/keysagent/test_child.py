"""The process that opens keysets: what it answers, and what becomes of it when it does not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from roadstead_keys_agent import child
from roadstead_keys_agent.errors import AgentError, Reason

import sealedkeysets
from sealedkeysets import files, private_key, public_pem


def question(key_file: Path, made: Any) -> dict[str, Any]:
    return {
        "ask": "open",
        "place": {"files": [str(key_file)]},
        "content": base64.b64encode(made["keyset.sealed"]).decode(),
        "beside": base64.b64encode(made["ring.json"]).decode(),
    }


def test_a_keyset_is_opened(tmp_path: Path) -> None:
    key = private_key()
    path = sealedkeysets.written(key, tmp_path / "key.pem")
    said = child.ask(question(path, files(public_pem(key))), 30)
    assert base64.b64decode(said) == sealedkeysets.content_of(1, 2, 3, primary=2)


def test_a_refusal_comes_with_its_reason(tmp_path: Path) -> None:
    path = sealedkeysets.written(private_key(), tmp_path / "key.pem")
    with pytest.raises(AgentError, match=r"the keyset is sealed for [0-9a-f]{32}, and here is") as refused:
        child.ask(question(path, files(public_pem(private_key()))), 30)
    assert refused.value.reason is Reason.NO_KEY


def test_one_that_crashes_says_nothing_of_what_it_was_called_with() -> None:
    with pytest.raises(AgentError) as refused:
        child.ask({"ask": "open", "place": {"files": []}, "content": 5}, 30)
    assert refused.value.reason is Reason.CRASHED


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    import os

    fifo = tmp_path / "key.pem"
    os.mkfifo(fifo)
    began = time.monotonic()
    with pytest.raises(AgentError, match=r"no answer within 1 s; is the token") as refused:
        child.ask(question(fifo, files(public_pem(private_key()))), 1)
    assert refused.value.reason is Reason.TIMED_OUT
    assert time.monotonic() - began < 10


def agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roadstead_keys_agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_pair_is_made_once_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = agent("keygen", "--key-file", str(path))
    assert made.returncode == 0
    assert path.stat().st_mode & 0o777 == 0o400
    assert agent("public-key", "--key-file", str(path)).stdout == made.stdout
    again = agent("keygen", "--key-file", str(path))
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there and is never written over" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("run",), "write --open SOURCE=TARGET at least once", id="nothing to open"),
        pytest.param(("run", "--open", "/sealed"), "is /sealed; write SOURCE=TARGET", id="no target"),
        pytest.param(("keygen",), "write --key-file, or --pkcs11-library with --token and --pin-file", id="no place"),
        pytest.param(
            ("public-key", "--token", "hkg"), "write all of --pkcs11-library, --token and --pin-file", id="half a token"
        ),
        pytest.param(
            ("keygen", "--key-file", "a", "--key-file", "b"), "write --key-file once", id="two files for one pair"
        ),
    ],
)
def test_what_is_not_said_well(arguments: tuple[str, ...], words: str) -> None:
    said = agent(*arguments)
    assert said.returncode == 2
    assert words in said.stderr


def test_it_is_ready_when_there_is_a_keyset(tmp_path: Path) -> None:
    said = agent("ready", str(tmp_path))
    assert (said.returncode, said.stderr) == (1, f"no keyset yet in {tmp_path}\n")
    (tmp_path / "keyset.json").write_text(json.dumps({}))
    assert agent("ready", str(tmp_path)).returncode == 0


def test_what_stays_in_memory_loads_nothing_that_has_to_do_with_keys() -> None:
    script = (
        "import sys, roadstead_keys_agent.main; "
        "print([m for m in ('cryptography', 'pkcs11', 'tink', 'kopf', 'typer', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
