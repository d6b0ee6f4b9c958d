"""A cordon is put on a region that grew while nobody looked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from roadstead.api.chatservice import ServiceRegionStatus
from roadstead.chat.desired import Observed, scale
from roadstead.chat.placement import RegionFacts
from roadstead.chat.work import View
from roadstead.kernel.objects import DEPLOYMENTS, Key
from roadstead.kernel.store import to_record
from unit.chat.services import service
from unit.chat.test_status import pods
from unit.kernel.objects_as_seen import seen

CORDONED = RegionFacts("hkg", "HK", cordoned=True)


def test_a_region_that_its_autoscaler_has_raised_is_not_cut_down_by_a_cordon() -> None:
    """The status says 4. Then the region was away for a while (or the operator was), its autoscaler raised it to 12
    under load, and somebody cordoned it because of just that: nothing more goes there, "what runs keeps running"."""
    of = service(autoscaling={"minReplicas": 2, "maxReplicas": 20})
    workload = replace(to_record(DEPLOYMENTS, seen(Key("ChatService", "bank", "desk"))), workload=pods(12, wanted=12))
    site: Any = SimpleNamespace(name="hkg")
    entry = ServiceRegionStatus(name="hkg", desired_replicas=4, ready_replicas=4, applied="a1", input="i1")
    view = View(site, CORDONED, entry, (workload,), frozenset())
    assert scale(of, CORDONED, Observed(present_replicas=view.present_replicas(autoscaled=True))).maximum >= 12
