"""The watcher's patience, under a fake clock and a fake cluster; real servers are in `tests/integration/kernel`.

Mutants that these tests were seen to kill: a 410 that comes again and again listed in a loop; a watch that ends at once
begun again in a loop; failures that are hours apart added up; an error of ours that ends the watcher; no hourly list.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from roadstead.kernel.client import WatchEvent
from roadstead.kernel.errors import Forbidden, Gone, NotServed, ServerFault, Unreachable
from roadstead.kernel.objects import SERVICES, Gvr
from roadstead.kernel.watch import ABSENT_RETRY, LONGEST_PAUSE, RESYNC_AFTER, STALE_AFTER, Watcher
from unit.kernel.fake_clock import FakeClock

Follow = Callable[[], AsyncIterator[WatchEvent]]


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


class FakeCluster:
    """Answers lists with ``items`` (or raises ``list_error``); ``follow`` makes each watch."""

    name = "hkg"

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = 10
        self.list_error: Exception | None = None
        self.lists = 0
        self.watches: list[str] = []
        self.follow: Follow = self.silence
        self.forgotten = 0

    async def silence(self) -> AsyncIterator[WatchEvent]:
        await asyncio.Event().wait()
        yield WatchEvent("", {})

    def raising(self, error: Exception) -> Follow:
        async def follow() -> AsyncIterator[WatchEvent]:
            raise error
            yield WatchEvent("", {})

        return follow

    def saying(self, *events: WatchEvent, then: Callable[[], Awaitable[None]] | None = None) -> Follow:
        async def follow() -> AsyncIterator[WatchEvent]:
            for event in events:
                yield event
            if then is not None:
                await then()

        return follow

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        self.lists += 1
        if self.list_error is not None:
            raise self.list_error
        yield self.items, str(self.version)

    def watch(self, *_: Any, resource_version: str, **__: Any) -> AsyncIterator[WatchEvent]:
        self.watches.append(resource_version)
        if len(self.watches) > 2000:
            pytest.fail("a tight loop of watches")  # no Exception, so that the watcher cannot swallow it
        return self.follow()

    def forget_discovery(self) -> None:
        self.forgotten += 1


class FakeSink:
    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.error: Exception | None = None

    def seen(self, gvr: Gvr, body: Any, *, moved: bool) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(("moved" if moved else "seen", body["metadata"]["name"]))

    def gone(self, gvr: Gvr, body: Any) -> None:
        self.told.append(("gone", body["metadata"]["name"]))

    def listed(self, gvr: Gvr, uids: set[str], resource_version: int) -> None:
        self.told.append(("listed", (frozenset(uids), resource_version)))


class Place:
    def __init__(self, **options: Any) -> None:
        self.clock, self.cluster, self.sink = FakeClock(), FakeCluster(), FakeSink()
        client: Any = self.cluster
        self.watcher = Watcher(client, SERVICES, self.sink, self.clock, jitter=lambda: 0.0, **options)
        self.task: asyncio.Task[None] | None = None

    async def run(self, seconds: float = 0.0) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self.watcher.run())
        await self.clock.advance(seconds)
        assert not self.task.done(), self.task.exception()

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    await made.stop()


async def test_a_list_then_a_watch_from_its_version(place: Place) -> None:
    place.cluster.items = [item("a", 3), item("b", 5)]
    await place.run()
    assert place.sink.told == [("seen", "a"), ("seen", "b"), ("listed", (frozenset("ab"), 10))]
    assert place.cluster.watches == ["10"] and place.watcher.synced.is_set()


async def test_events_are_told_and_the_next_watch_goes_on_from_the_last(place: Place) -> None:
    async def later() -> None:
        await place.clock.sleep(60)

    place.cluster.follow = place.cluster.saying(
        WatchEvent("ADDED", item("a", 11)),
        WatchEvent("MODIFIED", item("a", 12)),
        WatchEvent("DELETED", item("a", 13)),
        WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "20"}}),
        then=later,
    )
    await place.run()
    assert place.sink.told[1:] == [("seen", "a"), ("moved", "a"), ("gone", "a")]
    place.cluster.follow = place.cluster.silence
    await place.run(60)
    assert place.cluster.watches == ["10", "20"] and place.cluster.lists == 1


async def test_gone_lists_anew(place: Place) -> None:
    place.cluster.follow = place.cluster.raising(Gone("too old"))
    await place.run()
    place.cluster.follow, place.cluster.version = place.cluster.silence, 30
    await place.run(1)
    assert place.cluster.lists == 2 and place.cluster.watches[-1] == "30"
    assert place.sink.told[-1] == ("listed", (frozenset(), 30))


@pytest.mark.parametrize("error", [Gone("x"), Unreachable("x"), ServerFault("x"), Forbidden("x")])
async def test_a_server_that_never_lets_us_watch_is_asked_less_and_less_often(place: Place, error: Exception) -> None:
    place.cluster.follow = place.cluster.raising(error)
    await place.run(600)
    assert len(place.cluster.watches) < 600 / LONGEST_PAUSE + 20
    await place.run(600)
    assert len(place.cluster.watches) > 600 / LONGEST_PAUSE + 20, "but it is asked"


async def test_a_watch_that_is_ended_at_once_is_begun_again_less_and_less_often(place: Place) -> None:
    place.cluster.follow = place.cluster.saying()
    await place.run(600)
    assert 5 < len(place.cluster.watches) < 600 / LONGEST_PAUSE + 20 and place.cluster.lists == 1


async def test_after_an_outage_a_version_too_old_costs_no_further_wait(place: Place) -> None:
    """The server was away for minutes and has forgotten our version: that is news, not one more failure."""
    place.cluster.follow = place.cluster.raising(Unreachable("refused"))
    await place.run(300)
    answers = [place.cluster.raising(Gone("too old"))]

    def follow() -> Any:
        return (answers.pop() if answers else place.cluster.silence)()

    place.cluster.follow = follow
    await place.run(LONGEST_PAUSE + 0.5)
    assert answers == [] and place.cluster.lists == 2
    assert place.watcher.age() < STALE_AFTER


async def test_a_list_that_fails_is_tried_again_and_says_why(place: Place) -> None:
    place.cluster.list_error = Forbidden("may not list services")
    await place.run(10)
    assert "may not list" in place.watcher.error and "may not list" in place.watcher.forbidden
    assert not place.watcher.synced.is_set()
    place.cluster.list_error = None
    place.cluster.follow = place.cluster.saying(
        WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "20"}}),
        then=asyncio.Event().wait,  # type: ignore[arg-type]
    )
    await place.run(60)
    assert (place.watcher.error, place.watcher.forbidden) == ("", "") and place.watcher.synced.is_set()


async def test_breaks_with_news_in_between_do_not_add_up(place: Place) -> None:
    """A load balancer cuts every watch after a while: each time it is back at once."""

    async def cut() -> None:
        await place.clock.sleep(50)
        raise Unreachable("reset")

    place.cluster.follow = place.cluster.saying(
        WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "11"}}), then=cut
    )
    await place.run(50 * 20)
    assert len(place.cluster.watches) >= 20


async def test_an_error_of_our_own_ends_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.sink.error = KeyError("uid")
    place.cluster.items = [item("a", 1)]
    await place.run(10)
    assert "KeyError" in place.watcher.error and "KeyError" in caplog.text
    place.sink.error = None
    await place.run(60)
    assert place.sink.told[0] == ("seen", "a") and place.watcher.synced.is_set()


async def test_a_list_is_made_anew_after_an_hour(place: Place) -> None:
    async def end() -> None:
        await place.clock.sleep(240)

    place.cluster.follow = place.cluster.saying(then=end)
    await place.run(RESYNC_AFTER - 1)
    assert place.cluster.lists == 1
    await place.run(300)
    assert place.cluster.lists == 2


async def test_age_is_the_time_since_the_server_said_anything(place: Place) -> None:
    await place.run(STALE_AFTER - 1)
    assert place.watcher.age() < STALE_AFTER
    await place.run(2)
    assert place.watcher.age() == pytest.approx(STALE_AFTER + 1)


async def test_an_optional_type_that_is_not_served_is_an_empty_collection() -> None:
    place = Place(optional=True)
    place.cluster.list_error = NotServed("no such type")
    await place.run(STALE_AFTER * 1.5)
    assert place.watcher.synced.is_set() and not place.watcher.served
    assert place.watcher.age() == 0.0 and place.watcher.error == "" and place.cluster.lists == 1
    place.cluster.list_error = None
    await place.run(ABSENT_RETRY)
    assert place.watcher.served and place.cluster.forgotten == 1 and place.cluster.lists == 2
    await place.stop()


async def test_a_type_that_must_be_served_and_is_not_is_an_error(place: Place) -> None:
    place.cluster.list_error = NotServed("no such type")
    await place.run(60)
    assert "no such type" in place.watcher.error and not place.watcher.synced.is_set()
    assert 5 < place.cluster.lists < 20
