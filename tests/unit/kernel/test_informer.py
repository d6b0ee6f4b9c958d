"""What the informer asks of kopf."""

from __future__ import annotations

import pytest

from roadstead.kernel.informer import settings, streams_lists


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("v1.30.4", False, id="before the gate was on"),
        pytest.param("v1.32.0", True, id="on by default"),
        pytest.param("v1.33.1", False, id="off again"),
        pytest.param("v1.34.0", True, id="on for good"),
        pytest.param("v1.36.3", True, id="what we test on"),
        pytest.param("v1.36.3+vendor.2", True, id="with a distribution's suffix"),
        pytest.param("v2.0.0", True, id="a later major version"),
        pytest.param("", False, id="unknown"),
        pytest.param("latest", False, id="not a version"),
    ],
)
def test_lists_are_streamed_where_the_api_server_can(version: str, expected: bool) -> None:
    assert streams_lists(version) is expected
    assert settings(streaming=expected).watching.initial_streaming is expected


def test_kopf_neither_posts_events_nor_limits_its_workers() -> None:
    """A worker limit can starve or deadlock; kopf's own events would tell of our internals."""
    chosen = settings(streaming=True)
    assert chosen.queueing.worker_limit is None
    assert not chosen.posting.enabled
    assert chosen.admission.managed is None
