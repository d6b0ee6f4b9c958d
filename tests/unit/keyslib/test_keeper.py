"""Keeping a ring fresh: what is proved when, what is handed in again, and that nothing that fails ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from roadstead_keys import KeysError, Ring
from roadstead_keys.keeper import Keeper

from unit.keyslib.mounts import as_json, challenge, encoded, keyset, mount, primitive

SECRET = b"s" * 32


def mounted(directory: Path, numbers: tuple[int, ...] = (1, 2), primary: int = 2, **changes: Any) -> Path:
    asked = encoded({number: challenge(number, SECRET) for number in numbers})
    mount(directory, as_json(keyset(numbers, primary)), **({"challenges": asked} | changes))
    return directory


class Hub:
    """Where receipts go."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.broken = False

    async def take(self, text: str) -> None:
        if self.broken:
            raise KeysError("the API server cannot be reached")
        self.received.append(text)

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.received[-1])
        return found


def counting(stored: Mapping[int, int] | None) -> Any:
    async def count() -> Mapping[int, int] | None:
        return stored

    return count


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is waited for is not ours
            await asyncio.sleep(0.01)


async def test_it_has_proved_once_it_writes_and_that_was_handed_in(tmp_path: Path) -> None:
    hub = Hub()
    keeper = Keeper(Ring.open(mounted(tmp_path, active=False)), "pod", hub.take)
    await keeper.turn()
    assert (keeper.proved, keeper.generation) == (False, 1)
    assert set(hub.last["reads"]) == {"1", "2"}
    mounted(tmp_path, generation=2)
    await keeper.turn()
    assert (keeper.proved, keeper.generation, hub.last["generation"]) == (True, 2, 2)


async def test_what_could_not_be_handed_in_is_not_proved(tmp_path: Path) -> None:
    hub = Hub()
    hub.broken = True
    keeper = Keeper(Ring.open(mounted(tmp_path)), "pod", hub.take, refresh=0.01)
    running = asyncio.create_task(keeper.run())
    await until(lambda: bool(keeper.problem))
    assert (keeper.proved, keeper.generation, keeper.age) == (False, 0, float("inf"))
    hub.broken = False
    await until(lambda: keeper.proved)
    await until(lambda: not keeper.problem)
    hub.broken = True
    await until(lambda: bool(keeper.problem))
    assert keeper.proved, "who serves goes on"
    running.cancel()


async def test_the_same_text_is_handed_in_again_while_there_is_no_news(tmp_path: Path) -> None:
    """An API server writes nothing then; and what somebody deleted is there again."""
    hub = Hub()
    stored = {1: 3, 2: 10}
    keeper = Keeper(Ring.open(mounted(tmp_path)), "pod", hub.take, counting(stored))
    await keeper.turn()
    stored[2] = 99  # more was written with the primary
    await keeper.turn()
    assert len(hub.received) == 2
    assert len(set(hub.received)) == 1
    stored[1] = 0
    await keeper.turn()
    assert hub.last["inventory"] == {"1": 0, "2": 99}


async def test_who_cannot_count_now_says_nothing_and_proves_all_the_same(tmp_path: Path) -> None:
    hub = Hub()
    keeper = Keeper(Ring.open(mounted(tmp_path)), "pod", hub.take, counting(None))
    await keeper.turn()
    assert keeper.proved
    assert "inventory" not in hub.last


async def test_an_inventory_that_was_overtaken_by_a_keyset_is_not_handed_in(tmp_path: Path) -> None:
    hub = Hub()
    ring = Ring.open(mounted(tmp_path))

    async def overtaken() -> Mapping[int, int]:
        mounted(tmp_path, (1, 2, 3), 3, generation=2)
        ring.reload()
        return {1: 0, 2: 0}

    await Keeper(ring, "pod", hub.take, overtaken).turn()
    assert hub.last["generation"] == 2
    assert "inventory" not in hub.last


async def test_a_mount_that_is_none_leaves_what_is_held_to_be_proved(tmp_path: Path) -> None:
    hub = Hub()
    keeper = Keeper(Ring.open(mounted(tmp_path)), "pod", hub.take, refresh=0.01)
    running = asyncio.create_task(keeper.run())
    await until(lambda: keeper.proved)
    mount(tmp_path, "{}", generation=2)
    await until(lambda: "primary" in keeper.problem)
    before = len(hub.received)
    await until(lambda: len(hub.received) > before)
    assert hub.last["generation"] == 1
    running.cancel()


async def test_somebody_who_misses_a_version_need_not_wait_for_the_next_look(tmp_path: Path) -> None:
    hub = Hub()
    keeper = Keeper(Ring.open(mounted(tmp_path)), "pod", hub.take, refresh=600)
    running = asyncio.create_task(keeper.run())
    await until(lambda: keeper.proved)
    mounted(tmp_path, (1, 2, 3), 3, generation=2)
    text = primitive(3).encrypt(b"words", b"")
    keeper.nudge()
    await until(lambda: keeper.generation == 2)
    assert keeper.ring.decrypt(text, b"") == b"words"
    running.cancel()


async def test_each_start_of_a_process_is_another_instance(tmp_path: Path) -> None:
    hub = Hub()
    ring = Ring.open(mounted(tmp_path))
    for _ in range(2):
        await Keeper(ring, "pod", hub.take).turn()
    assert len({json.loads(text)["instance"] for text in hub.received}) == 2
