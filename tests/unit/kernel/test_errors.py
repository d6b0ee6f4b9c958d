"""Which answer becomes which error, and so what the queue does."""

from __future__ import annotations

import pytest

from roadstead.kernel.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Retryable,
    RoadsteadError,
    ServerFault,
    Terminal,
    Throttled,
    Unauthorised,
    from_status,
)

TYPED = (
    'failed to create typed patch object (n/x; apps/v1, Kind=Deployment): errors: duplicate entries for key [name="A"]'
)
TABLE: list[tuple[int, str, type[RoadsteadError]]] = [
    (400, "bad", Invalid),
    (401, "who", Unauthorised),
    (403, "no", Forbidden),
    (404, "none", NotFound),
    (405, "verb", Invalid),
    (408, "slow", ServerFault),
    (409, "there", Conflict),
    (410, "old", Gone),
    (413, "big", Invalid),
    (415, "type", Invalid),
    (422, "spec.replicas: Invalid value: -1", Invalid),
    (422, 'ConfigMap "x" is invalid: metadata.uid: Invalid value: "1": field is immutable', Conflict),
    (429, "many", Throttled),
    (500, "etcdserver: leader changed", ServerFault),
    (500, TYPED, Invalid),
    (500, ".spec.lunch: field not declared in schema", Invalid),
    (502, TYPED, ServerFault),
    (503, "down", ServerFault),
    (504, "late", ServerFault),
    (301, "moved", Invalid),
    (307, "moved", Invalid),
]


@pytest.mark.parametrize(("status", "message", "kind"), TABLE, ids=lambda value: str(value)[:40])
def test_status_to_error(status: int, message: str, kind: type[RoadsteadError]) -> None:
    error = from_status(status, message)
    assert type(error) is kind
    assert str(error) == message


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_is_either_tried_again_or_waits_for_a_change(status: int) -> None:
    assert isinstance(from_status(status, "x"), Retryable) != isinstance(from_status(status, "x"), Terminal)


@pytest.mark.parametrize("status", [408, 409, 410, 429, 500, 503])
def test_what_is_tried_again_keeps_the_time_that_the_server_asked_for(status: int) -> None:
    error = from_status(status, "x", retry_after=3.0)
    assert isinstance(error, Retryable) and error.retry_after == 3.0
