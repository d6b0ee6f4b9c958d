"""What another server may be, where a replica is looked for; the rest is in tests/integration/workloads."""

from __future__ import annotations

import pytest

from roadstead_chat.log import Log
from roadstead_chat.metrics import Metrics
from roadstead_chat.peers import PeerError, Peers


class Stream:
    """A connection whose certificate OpenSSL took."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def get_extra_info(self, _: str) -> Stream:
        return self

    def getpeercert(self, *, binary_form: bool) -> bytes:
        assert binary_form
        return self._certificate


class Certificate:
    identities = ()


@pytest.mark.parametrize(
    ("certificate", "words"),
    [pytest.param(b"no DER", "not readable", id="not readable"), pytest.param(b"", "another key", id="none")],
)
def test_a_strange_certificate_is_a_peer_that_cannot_be_read(certificate: bytes, words: str) -> None:
    """Any other exception would end the task that tries again, and with it the count of failures."""
    metrics = Metrics("desk", "hkg", "active", "1")
    peers = Peers((), "", "own", Certificate(), Log(0, {}, {}, metrics), None, metrics)  # type: ignore[arg-type]
    with pytest.raises(PeerError, match=words):
        peers._identity_of(Stream(certificate))  # type: ignore[arg-type]
