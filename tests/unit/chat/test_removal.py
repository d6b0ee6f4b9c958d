"""What is waited for when a region is left, and what is done where nobody waits.

Mutants that these tests were seen to kill: who gave the region up waits for a place all the same; nobody waits; a
region that was given up is not looked at again.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from roadstead.chat.bulkhead import BUSY, Bulkhead
from roadstead.chat.converge import OBSTACLE_RETRY
from roadstead.chat.removal import leave
from roadstead.kernel.objects import SERVICES, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.store import to_record
from unit.chat.test_bulkhead import Slow
from unit.chat.world import Operator, World, children
from unit.kernel.objects_as_seen import seen

KEY = Key("ChatService", "bank", "desk")


@pytest.mark.parametrize("give_up", [False, True])
async def test_without_a_place_only_who_gave_up_does_not_wait(give_up: bool) -> None:
    places = Bulkhead(lambda key: None, places=1)
    gate = Slow()
    store = SimpleNamespace(children=lambda key, region: [to_record(SERVICES, seen(KEY))])
    site = SimpleNamespace(
        name="hkg", usable=True, message="", member=SimpleNamespace(client=SimpleNamespace(gate=gate), store=store)
    )
    ctx: Any = SimpleNamespace(fleet=SimpleNamespace(site=lambda name: site))
    with places.place("hkg", Key("ChatService", "bank", "other"), gate) as entered:
        assert entered
        rest = await leave("hkg", Owner("hub-1", KEY, "5f2c"), ctx, places, give_up=give_up)
    assert rest is not None
    assert rest.message == f"region hkg: {BUSY}"
    assert rest.awaited is not give_up


async def test_a_region_that_was_given_up_is_emptied_in_the_end_when_it_only_failed_for_a_moment() -> None:
    world = World("hkg", "sgp")
    operator = Operator(world)
    operator.take_in(world.edit("hkg", "sgp", rollout={"bakeTime": "0s"}))
    await operator.work()
    world.edit("sgp", rollout={"bakeTime": "0s"})
    operator.take_in(world.give_up("hkg"))
    world.members["hkg"].away = True  # and nobody has noticed yet
    result = await operator.work()
    assert world.region("hkg") is None, "nobody waits for it"
    assert children(world, "hkg")
    assert result.requeue_after == OBSTACLE_RETRY
    world.members["hkg"].away = False
    result = await operator.work()
    assert not children(world, "hkg")
    assert result.requeue_after is None
