"""What is left of a region that is gone."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from roadstead.kernel.metrics import Metrics


def test_a_region_that_is_gone_has_no_series_and_others_keep_theirs() -> None:
    """Regions come and go; nothing may be kept of each. (Mutant: only the gauges are removed.)"""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for region in ("hkg", "sgp"):
        metrics.region_up.labels(region).set(1)
        metrics.region_probe.labels(region).set(0.1)
        metrics.requested(region, "GET", 200, 0.1)
        metrics.requested(region, "PATCH", 409, 0.1)
    metrics.forget_region("hkg")
    metrics.forget_region("never-seen")
    text = generate_latest(registry).decode()
    assert "hkg" not in text
    assert 'rest_client_requests_total{cluster="sgp",code="409",method="PATCH"} 1.0' in text
