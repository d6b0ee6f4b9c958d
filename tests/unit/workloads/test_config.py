from __future__ import annotations

import base64

import pytest

from roadstead_chat.config import ConfigError, PeerAddress, Role, load, parse_peer

KEY = base64.b64encode(b"k" * 32).decode()
GOOD = {"CHAT_SERVICE": "desk", "CHAT_REGION": "hkg", "CHAT_TOKEN_PUBLIC_KEYS": KEY}


def test_the_defaults_are_those_of_the_contract() -> None:
    config = load(GOOD)
    assert (config.listen_port, config.ops_port, str(config.store)) == (8443, 9090, "/data/chat.db")
    assert config.role is Role.ACTIVE
    assert (config.lock_after, config.drain_seconds) == (3, 30)
    assert config.retention_sessions == 30 * 86_400
    assert config.retention_cookies == 730 * 86_400
    assert config.retention_transactions == 7 * 365 * 86_400
    assert config.token_public_keys == (b"k" * 32,)
    assert config.peers == ()


def test_several_keys_are_joined_by_commas() -> None:
    other = base64.b64encode(b"o" * 32).decode()
    assert load(GOOD | {"CHAT_TOKEN_PUBLIC_KEYS": f"{KEY}, {other},"}).token_public_keys == (b"k" * 32, b"o" * 32)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHAT_SERVICE", ""),
        ("CHAT_SERVICE", "Desk"),
        ("CHAT_REGION", "a_b"),
        ("CHAT_ROLE", "boss"),
        ("CHAT_STORE", "relative.db"),
        ("CHAT_TOKEN_PUBLIC_KEYS", ""),
        ("CHAT_TOKEN_PUBLIC_KEYS", base64.b64encode(b"short").decode()),
        ("CHAT_PEERS", "host:port"),
        ("CHAT_RETENTION_SESSIONS_SECONDS", "0"),
        ("CHAT_RETENTION_COOKIES_SECONDS", "2y"),
        ("CHAT_RETENTION_TRANSACTIONS_SECONDS", "-1"),
        ("CHAT_DRAIN_SECONDS", "9999999"),
        ("CHAT_LOCK_AFTER", "0"),
        ("CHAT_QUEUE_BYTES", "1"),
    ],
)
def test_a_problem_names_the_variable_and_the_cure(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(GOOD | {name: value})
    (problem,) = refused.value.problems
    assert name in problem
    assert any(word in problem for word in ("write", "set it"))


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        load({"CHAT_ROLE": "boss", "CHAT_DRAIN_SECONDS": "x"})
    text = str(refused.value)
    assert all(
        name in text for name in ("CHAT_SERVICE", "CHAT_REGION", "CHAT_ROLE", "CHAT_DRAIN_SECONDS", "PUBLIC_KEYS")
    )


def test_a_misspelt_variable_is_noted_and_those_of_kubernetes_are_not() -> None:
    notes = load(GOOD | {"CHAT_LOCK_AFTRE": "5", "CHAT_HKG_PORT_8443_TCP": "tcp://10.0.0.1:8443"}).unknown
    assert notes == ("CHAT_LOCK_AFTRE is not a setting and does nothing; did you mean CHAT_LOCK_AFTER?",)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("desk-hkg-peers.ns.svc", PeerAddress("desk-hkg-peers.ns.svc", 8443)),
        ("localhost:1234", PeerAddress("localhost", 1234)),
        ("10.0.0.1:1234", PeerAddress("10.0.0.1", 1234)),
        ("[fd00::1]:1234", PeerAddress("fd00::1", 1234)),
        ("[fd00::1]", PeerAddress("fd00::1", 8443)),
        ("fd00::1", PeerAddress("fd00::1", 8443)),
        ("host:", None),
        (":1234", None),
        ("host:70000", None),
        ("host:0", None),
        ("a b", None),
        ("[fd00::1", None),
        ("[fd00::1]x", None),
    ],
)
def test_peers_are_names_or_host_and_port(text: str, address: PeerAddress | None) -> None:
    assert parse_peer(text) == address
