"""What is waited for when a region is left, and has no place for it.

Mutants that these tests were seen to kill: who gave the region up waits for a place all the same; nobody waits.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from roadstead.chat.bulkhead import BUSY, Bulkhead
from roadstead.chat.removal import leave
from roadstead.kernel.objects import SERVICES, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.store import to_record
from unit.chat.test_bulkhead import Slow
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
    assert (rest.message if rest else "") == ("" if give_up else f"region hkg: {BUSY}")
