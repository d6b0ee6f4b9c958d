"""The checks of the load client find what they are for: a client that sees no error would prove nothing."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead_chat.config import load as load_config
from roadstead_chat.tokens import TokenError, TokenVerifier
from roadstead_chat_load import keys
from roadstead_chat_load.report import Percentiles, Report, percentiles
from roadstead_chat_load.sealing import RoomSeal, SealError
from roadstead_chat_load.tally import Tally

FINE = Report(
    messages=2,
    acknowledged=2,
    refused={},
    expected=4,
    delivered=4,
    ratio=1.0,
    acknowledged_but_lost=0,
    duplicates=0,
    out_of_order=0,
    undecryptable=0,
    reconnects=0,
    retries=0,
    closes={},
    seconds=1.0,
    per_second=2.0,
    latency_ms=Percentiles(1, 1, 1, 1),
    acknowledgement_ms=Percentiles(1, 1, 1, 1),
    interrupted=False,
)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12))))
def test_a_tally_knows_what_came_twice_and_what_came_early(arrivals: list[tuple[str, int]]) -> None:
    tally = Tally()
    seen: set[tuple[str, int]] = set()
    duplicates = early = 0
    for sender, number in arrivals:
        if (sender, number) in seen:
            duplicates += 1
        else:
            early += any((sender, before) not in seen for before in range(number))
        seen.add((sender, number))
        tally.add(sender, number)
    assert (tally.received, tally.duplicates, tally.out_of_order) == (len(seen), duplicates, early)
    assert all(tally.has(sender, number) == ((sender, number) in seen) for sender in "ab" for number in range(13))


def test_a_seal_opens_only_with_its_own_key_and_unchanged() -> None:
    seal = RoomSeal(100)
    sealed = seal.seal("ann", 7)
    assert seal.open(sealed) == ("ann", 7)
    assert b"ann" not in sealed
    with pytest.raises(SealError):
        RoomSeal(100).open(sealed)
    with pytest.raises(SealError):
        seal.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_percentiles() -> None:
    assert percentiles([]) == Percentiles(0, 0, 0, 0)
    assert percentiles([number / 1000 for number in range(1, 101)]) == Percentiles(51.0, 96.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"acknowledged_but_lost": 1}, "acknowledged", id="a lost message"),
        pytest.param({"ratio": 0.99}, "ratio", id="a low ratio"),
        pytest.param({"duplicates": 1}, "twice", id="a duplicate"),
        pytest.param({"out_of_order": 1}, "earlier", id="wrong order"),
        pytest.param({"undecryptable": 1}, "decrypted", id="a payload that does not open"),
    ],
)
def test_a_broken_guarantee_is_named(change: dict[str, float], words: str) -> None:
    assert FINE.broken(1.0) == []
    (sentence,) = replace(FINE, **change).broken(1.0)  # type: ignore[arg-type]
    assert words in sentence


def test_keygen_makes_a_pair_that_the_relay_takes(tmp_path: Path) -> None:
    file = tmp_path / "seed"
    public = keys.generate(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(keys.KeyFileError, match="name a new file"):
        keys.generate(file)
    key = keys.load(file)
    assert keys.public_key(key) == public
    config = load_config({"CHAT_SERVICE": "desk", "CHAT_REGION": "hkg", "CHAT_TOKEN_PUBLIC_KEYS": public})
    verifier = TokenVerifier(config.token_public_keys, "desk")
    account = verifier.verify(keys.token(key, "ann", ["desk.*"], 60))
    assert (account.name, account.may_use("desk.fx"), account.may_use("other")) == ("ann", True, False)
    with pytest.raises(TokenError) as refused:
        verifier.verify(jwt.encode({"sub": "ann"}, key, algorithm="EdDSA"))
    assert (refused.value.reason, refused.value.claimed) == ("malformed", "ann")


@pytest.mark.parametrize("content", [b"", b"???", b"c2hvcnQ="])
def test_a_bad_key_file_is_refused_with_its_cure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seed").write_bytes(content)
    with pytest.raises(keys.KeyFileError, match="keygen"):
        keys.load(tmp_path / "seed")
    with pytest.raises(keys.KeyFileError, match="cannot be read"):
        keys.load(tmp_path / "absent")
