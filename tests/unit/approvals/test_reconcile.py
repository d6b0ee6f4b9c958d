from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from approvals import approval
from roadstead.approvals import reconcile
from roadstead.kernel.errors import Invalid
from roadstead.kernel.objects import Key

KEY = Key("Approval", "default", "ask")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_status_that_a_newer_version_wrote_is_not_taken_for_none() -> None:
    """Taken for Pending, what was done would be done once more."""
    with pytest.raises(Invalid, match="run the version that wrote it"):
        reconcile._read(KEY, {**approval("ask"), "status": {"phase": "DoneTwice"}})


def test_what_cannot_be_read_is_left_alone() -> None:
    with pytest.raises(Invalid, match=r"spec\.required is 99, above 8"):
        reconcile._read(KEY, approval("ask", spec__required=99))


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [
        pytest.param(None, 0, id="a server that has said nothing"),
        pytest.param(40.0, 0, id="our clock is ahead: it counts"),
        pytest.param(-40.0, 40, id="ours is behind: the server's counts"),
    ],
)
def test_the_later_clock_counts(ahead: float | None, seconds: int) -> None:
    client = SimpleNamespace(clock_ahead=ahead)
    ctx: Any = SimpleNamespace(hub=SimpleNamespace(client=client), clock=SimpleNamespace(now=lambda: NOW))
    assert (reconcile._later(ctx) - NOW).total_seconds() == seconds
