from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from approvals import approval
from roadstead.api.parse import parse
from roadstead.approvals import reconcile
from roadstead.kernel.errors import Forbidden, Invalid, RoadsteadError, Unreachable
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


OURS = (
    "ValidatingAdmissionPolicy 'roadstead-approvals' with binding 'roadstead-approvals' denied request: "
    "spec.requestedBy is somebody-else, but you are system:serviceaccount:roadstead-system:operator; write your name"
)
THEIRS = "ValidatingAdmissionPolicy 'owner' with binding 'owner' denied request: metadata.labels has no owner"
ROBOT = "ValidatingAdmissionPolicy 'roadstead-approvals' denied request: spec.requestedBy is a ServiceAccount, and"


async def answered(error: RoadsteadError | None) -> bool:
    async def create(*_: object, **__: object) -> None:
        if error is not None:
            raise error

    ctx: Any = SimpleNamespace(hub=SimpleNamespace(client=SimpleNamespace(create=create)))
    return await reconcile.is_enforced(KEY, parse("Approval", approval("ask")), ctx)


async def test_only_our_own_words_say_that_a_forged_name_is_refused() -> None:
    assert await answered(Invalid(OURS))
    assert await answered(Forbidden(OURS))
    assert not await answered(None)


@pytest.mark.parametrize("error", [Invalid(THEIRS), Forbidden(THEIRS), Invalid(ROBOT), Forbidden("exceeded quota")])
async def test_what_something_else_refuses_says_nothing_of_our_policy(error: RoadsteadError) -> None:
    with pytest.raises(Invalid, match=r"something else refuses.*; let whatever it is take Approvals") as caught:
        await answered(error)
    assert str(error) in str(caught.value)


async def test_an_api_server_that_is_away_is_asked_again() -> None:
    with pytest.raises(Unreachable):
        await answered(Unreachable("timed out"))
