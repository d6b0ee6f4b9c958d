"""What Kubernetes and Prometheus are told; and the names of the metrics, which dashboards and alerts rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from roadstead.kernel.health import LAG_LIMIT, HealthServer
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import Key
from roadstead.kernel.queue import WorkQueue
from unit.kernel.fake_clock import FakeClock


class Place:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics(CollectorRegistry())
        self.problems = {"watches": "", "lease": ""}
        self.scraped = 0
        self.server = HealthServer(
            self.metrics,
            self.clock,
            live={"watches": lambda: self.problems["watches"]},
            ready={"lease": lambda: self.problems["lease"]},
            before_scrape=self.scrape,
        )

    def scrape(self) -> None:
        self.scraped += 1

    async def get(self, path: str) -> tuple[int, str, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.server.port}{path}") as answer,
        ):
            return answer.status, await answer.text(), answer.headers["Content-Type"]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    await made.server.start("127.0.0.1", 0)
    yield made
    await made.server.stop()


async def test_all_is_well(place: Place) -> None:
    assert await place.get("/healthz") == (200, "[+] loop ok\n[+] watches ok\n", "text/plain; charset=utf-8")
    assert (await place.get("/readyz"))[:2] == (200, "[+] lease ok\n")


async def test_a_failing_check_is_named_and_only_its_own_endpoint_fails(place: Place) -> None:
    place.problems["watches"] = "a watch was last heard 200 s ago"
    status, text, _ = await place.get("/healthz")
    assert status == 503 and text == "[+] loop ok\n[-] watches: a watch was last heard 200 s ago\n"
    assert (await place.get("/readyz"))[0] == 200
    place.problems |= {"watches": "", "lease": "not synced"}
    assert (await place.get("/healthz"))[0] == 200
    assert (await place.get("/readyz"))[0] == 503


@pytest.mark.parametrize(("late", "status"), [(LAG_LIMIT - 0.1, 200), (LAG_LIMIT + 0.1, 503)])
async def test_a_loop_that_runs_late_is_not_alive(place: Place, late: float, status: int) -> None:
    measuring = asyncio.create_task(place.server.measure_lag())
    await place.clock.settle()
    timer = place.clock._heap[0][2]  # the one-second timer comes this much too late
    callback, timer.callback = timer.callback, None
    await place.clock.advance(1.0 + late)
    assert callback is not None
    callback()
    await place.clock.settle()
    assert (await place.get("/healthz"))[0] == status
    lag = place.metrics.registry.get_sample_value("roadstead_event_loop_lag_seconds")
    assert lag == pytest.approx(late)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)


async def test_a_scrape_brings_gauges_up_to_date_first(place: Place) -> None:
    status, text, kind = await place.get("/metrics")
    assert status == 200 and place.scraped == 1 and kind.startswith("text/plain; version=")
    assert "workqueue_depth" in text


async def test_what_is_not_there_is_not_found(place: Place) -> None:
    assert (await place.get("/debug"))[0] == 404


def test_the_names_that_controller_runtime_has() -> None:
    """Dashboards and alerts of others work as they are."""
    clock, metrics = FakeClock(), Metrics(CollectorRegistry())
    queue = WorkQueue(clock, metrics=metrics)
    queue.add(Key("ChatService", "n", "a"))
    metrics.observe_queue(queue)
    metrics.retried("ChatService")
    metrics.started("ChatService", 0.1)
    metrics.reconciled("ChatService", "error", 0.5)
    metrics.panics("ChatService")
    metrics.requested("hub", "GET", 200, 0.01)
    value = metrics.registry.get_sample_value
    kind, name = {"controller": "ChatService"}, {"name": "ChatService"}
    assert value("controller_runtime_reconcile_total", {**kind, "result": "error"}) == 1
    assert value("controller_runtime_reconcile_errors_total", kind) == 1
    assert value("controller_runtime_reconcile_panics_total", kind) == 1
    assert value("controller_runtime_reconcile_time_seconds_sum", kind) == 0.5
    assert value("workqueue_adds_total", name) == 1
    assert value("workqueue_retries_total", name) == 1
    assert value("workqueue_depth", name) == 1
    assert value("workqueue_queue_duration_seconds_count", name) == 1
    assert value("rest_client_requests_total", {"cluster": "hub", "method": "GET", "code": "200"}) == 1
    assert value("rest_client_request_duration_seconds_count", {"cluster": "hub", "method": "GET"}) == 1


def test_the_depth_goes_back_to_nothing() -> None:
    clock, metrics = FakeClock(), Metrics(CollectorRegistry())
    queue = WorkQueue(clock, metrics=metrics)
    queue.add(Key("ChatService", "n", "a"))
    metrics.observe_queue(queue)
    assert queue._pop() is not None
    metrics.observe_queue(queue)
    assert metrics.registry.get_sample_value("workqueue_depth", {"name": "ChatService"}) == 0
    assert metrics.registry.get_sample_value("workqueue_oldest_key_age_seconds") == 0


def test_no_metric_has_a_label_for_names_of_objects() -> None:
    metrics = Metrics(CollectorRegistry())
    unbounded = {"object", "namespace", "uid", "pod", "service"}
    for family in metrics.registry.collect():
        for sample in family.samples:
            assert not unbounded & set(sample.labels), family.name
