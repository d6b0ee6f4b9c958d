from __future__ import annotations

import socket

from localkube import ports


def test_claims_never_meet_and_come_back_when_released() -> None:
    first, second = ports.Claim(20), ports.Claim(20)
    try:
        assert len({*first.ports, *second.ports}) == 40
    finally:
        first.release()
        second.release()
    assert ports._claim(first.ports[0]) is not None


def test_port_in_use_is_not_given_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert ports._claim(taken.getsockname()[1]) is None
