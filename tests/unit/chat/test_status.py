from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roadstead.api.chatservice import ChatService, ChatServiceStatus
from roadstead.api.conditions import Condition, Reason
from roadstead.api.parse import dump, parse
from roadstead.chat import desired, rollout, status
from roadstead.chat.peaks import Floor
from roadstead.chat.placement import RegionFacts, place
from roadstead.chat.status import Facts, OutcomeKind, RegionOutcome
from roadstead.kernel.store import WorkloadStatus
from unit.chat.services import service

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
REGIONS = {name: RegionFacts(name, "HK") for name in ("hkg", "sgp")}
# With the times that the passes tell of: they are not about the API's defaults.
SPEC: dict[str, Any] = {
    "topology": {"regions": [{"name": "hkg"}, {"name": "sgp"}]},
    "rollout": {"bakeTime": "60s", "progressDeadline": "10m"},
}


def pods(ready: int, wanted: int = 2, **fields: Any) -> WorkloadStatus:
    counts = {"replicas": wanted, "updated": wanted, "ready": ready, "available": ready, **fields}
    return WorkloadStatus(generation=1, observed_generation=1, wanted=wanted, **counts)


def outcome(region: str, kind: OutcomeKind = OutcomeKind.APPLIED, **fields: Any) -> RegionOutcome:
    return RegionOutcome(region, kind, **{"workload": pods(2), "applied": "a1", "input": "i1", **fields})


class Told:
    """Passes over one service, each beginning with the status that the one before left."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        self.spec = {**SPEC, **(spec or {})}
        self.regions = dict(REGIONS)
        self.now = NOW
        self.generation = 1
        self.written: dict[str, Any] = {}
        self.floor = Floor(0, (), None)

    @property
    def service(self) -> ChatService:
        return service(self.written, self.generation, **self.spec)

    def passed(self, *outcomes: RegionOutcome, target: str = "r1") -> ChatServiceStatus:
        of = self.service
        before = status.remembered(of.status)
        found = {entry.region: entry for entry in outcomes}
        placements = place(of.spec, self.regions, status.present(of.status))
        runs = {name: region.revision for name, region in before.regions.items()} or dict.fromkeys(found, target)
        views = status.views(of, placements, found, runs)
        decision = rollout.decide(before, target, views, of.spec.rollout, self.now)
        scales = {
            placement.region: desired.scale(of, self.regions[placement.region], desired.Observed())
            for placement in placements
            if placement.writable
        }
        result = status.derive(Facts(of, placements, decision, views, found, scales, self.floor), self.now)
        self.written = dump(result)
        return result

    def running(self) -> "Told":
        for _ in range(2):
            self.passed(outcome("hkg"), outcome("sgp"))
        return self


def of(found: ChatServiceStatus, kind: str) -> Condition:
    return next(condition for condition in found.conditions if condition.type == kind)


def truth(found: ChatServiceStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status.value, condition.reason) for condition in found.conditions}


def test_a_service_that_is_as_the_spec_asks() -> None:
    found = Told().running().passed(outcome("hkg"), outcome("sgp"))
    assert truth(found) == {
        "Ready": ("True", "Ready"),
        "Reconciling": ("False", "Ready"),
        "Stalled": ("False", "NotStalled"),
        "Placed": ("True", "Placed"),
        "RolledOut": ("True", "RolledOut"),
    }
    assert (found.ready_regions, found.rollout.phase, found.rollout.regions_done) == ("2/2", "Complete", 2)
    assert [(region.name, region.phase, region.ready_replicas) for region in found.regions] == [
        ("hkg", "Ready", 2),
        ("sgp", "Ready", 2),
    ]
    assert found.regions[0].address == "desk-hkg.bank.svc"
    assert found.observed_generation == 1


def test_the_same_facts_change_nothing() -> None:
    told = Told().running()
    written = told.written
    told.now += timedelta(days=3)
    told.passed(outcome("hkg"), outcome("sgp"))
    assert told.written == written


def test_what_is_remembered_survives_being_stored() -> None:
    told = Told().running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    state = status.remembered(told.service.status)
    assert state.regions["hkg"].revision == "r2"
    assert state == status.remembered(
        parse(
            "ChatService",
            {
                "metadata": {"name": "desk"},
                "spec": told.service.spec.model_dump(by_alias=True, mode="json"),
                "status": told.written,
            },
        ).status
    )
    again = rollout.decide(
        state,
        "r2",
        status.views(told.service, place(told.service.spec, REGIONS, {"hkg", "sgp"}), {}, {}),
        told.service.spec.rollout,
        told.now,
    )
    assert again.state == state


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param(lambda told: told.regions.pop("hkg"), id="its Region is deleted"),
        pytest.param(
            lambda told: told.regions.update(hkg=RegionFacts("hkg", "US")), id="its Region moves out of the residency"
        ),
    ],
)
def test_a_region_that_is_refused_in_flight_keeps_its_slot(gone: Callable[[Told], object]) -> None:
    told = Told({"residency": {"jurisdictions": ["HK"]}}).running()
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert [(region.name, region.revision) for region in found.regions] == [("hkg", "r2"), ("sgp", "r1")]

    gone(told)
    told.now += timedelta(minutes=9)
    found = told.passed(outcome("sgp"), target="r2")
    assert [(region.stage, region.revision) for region in found.regions] == [("Lost", "r2"), ("Settled", "r1")]
    assert truth(found)["Stalled"][0] == "True", "what is wrong with the Region is told all the same"
    assert found.regions[0].phase == "Refused"

    told.regions = dict(REGIONS)
    told.now += timedelta(minutes=9)
    found = told.passed(outcome("hkg", workload=pods(1)), outcome("sgp"), target="r2")
    assert [(region.stage, region.revision) for region in found.regions] == [("Updating", "r2"), ("Settled", "r1")]


def test_a_region_that_is_refused_for_good_does_not_hold_up_the_others() -> None:
    told = Told().running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    del told.regions["hkg"]
    told.passed(outcome("sgp"), target="r2")
    told.now += timedelta(minutes=10)
    found = told.passed(outcome("sgp"), target="r2")
    assert [(region.stage, region.revision) for region in found.regions] == [("Lost", "r2"), ("Updating", "r2")]
    told.passed(outcome("sgp"), target="r2")
    told.now += timedelta(minutes=1)
    told.passed(outcome("sgp"), target="r2")
    told.now += timedelta(minutes=10)
    found = told.passed(outcome("sgp"), target="r2")
    assert (found.rollout.phase, found.rollout.previous, found.rollout.regions_done) == ("Complete", "r2", 1)
    assert truth(found)["RolledOut"] == ("False", "RegionNotFound")

    told.now += timedelta(days=1)
    found = told.passed(outcome("sgp"), target="r3")
    assert found.regions[1].revision == "r3", "at once: what is long gone is busy with nothing"


def test_a_refused_region_with_nothing_to_lose_is_no_part_of_the_rollout() -> None:
    told = Told()
    told.passed(outcome("hkg", OutcomeKind.NAMESPACE_MISSING, workload=None, applied=""), outcome("sgp"))
    del told.regions["hkg"]
    found = told.passed(outcome("sgp"))
    assert (found.rollout.phase, truth(found)["RolledOut"]) == ("Complete", ("True", "RolledOut"))


def test_times_move_only_with_the_status_of_a_condition() -> None:
    told = Told().running()
    told.now += timedelta(hours=1)
    told.generation = 2
    found = told.passed(outcome("hkg", workload=pods(1)), outcome("sgp"))
    assert of(found, "Ready").last_transition_time == told.now
    assert of(found, "RolledOut").last_transition_time == NOW
    assert {condition.observed_generation for condition in found.conditions} == {2}
    told.now += timedelta(hours=1)
    found = told.passed(outcome("hkg", workload=pods(0)), outcome("sgp"))
    assert of(found, "Ready").last_transition_time == NOW + timedelta(hours=1)
    assert "0 of 2 pods" in of(found, "Ready").message


def test_pods_of_the_former_revision_are_not_counted_and_the_message_says_so() -> None:
    told = Told().running()
    found = told.passed(outcome("hkg", workload=pods(2, replicas=3, updated=1)), outcome("sgp"), target="r2")
    assert found.regions[0].message == "region hkg: 0 of 2 pods of the new revision are ready"
    assert found.regions[0].ready_replicas == 2


def test_the_images_that_run_are_told_also_after_a_rollback() -> None:
    old, new = "registry.example/chat:1", "registry.example/chat:2"
    told = Told({"image": old, "topology": {"regions": [{"name": "hkg"}]}, "rollout": {"bakeTime": "0s"}})
    told.regions = {"hkg": RegionFacts("hkg", "HK")}
    for _ in range(3):
        found = told.passed(outcome("hkg"))
    assert (found.rollout.phase, found.image, found.rollout.previous_image) == ("Complete", old, old)

    told.spec["image"] = new
    found = told.passed(outcome("hkg", workload=pods(0, replicas=3, updated=1)), target="r2")
    assert (found.image, found.rollout.previous_image) == (new, old)
    told.now += timedelta(hours=1)
    for _ in range(4):
        found = told.passed(outcome("hkg", workload=pods(0, replicas=3, updated=1)), target="r2")
    assert found.rollout.phase == "RollingBack"
    for _ in range(4):
        found = told.passed(outcome("hkg"), target="r2")
    assert (found.rollout.phase, found.image, found.regions[0].image) == ("RolledBack", old, old)


BROKEN = {
    OutcomeKind.REFUSED: ("Refused", "exceeded quota: pods, used: 10, limited: 10"),
    OutcomeKind.NAMESPACE_MISSING: ("NamespaceMissing", "there is no namespace bank"),
    OutcomeKind.CONFLICT: ("NotOurs", "Service desk-hkg belongs to somebody else"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_needs_a_person_is_stalled_in_the_words_of_whoever_refused(kind: OutcomeKind) -> None:
    reason, words = BROKEN[kind]
    told = Told().running()
    found = told.passed(outcome("hkg", kind, message=words), outcome("sgp"))
    assert truth(found)["Stalled"] == ("True", reason)
    assert truth(found)["Ready"] == ("False", reason)
    assert truth(found)["Reconciling"] == ("False", reason)
    assert of(found, "Stalled").message == f"region hkg: {words}" or of(found, "Stalled").message == words
    assert found.regions[0].phase == "Refused"
    assert words in found.regions[0].message
    assert found.ready_regions == "1/2"
    assert found.regions[1].phase == "Ready", "the other region is not touched by it"


def test_a_conflict_is_said_only_while_there_is_one() -> None:
    told = Told().running()
    found = told.passed(
        outcome("hkg", OutcomeKind.CONTESTED, message="kubectl keeps changing Deployment desk-hkg"), outcome("sgp")
    )
    assert truth(found)["Conflict"] == ("True", "FoughtOver")
    assert truth(found)["Ready"] == ("True", "Ready"), "everything is as it should be, if only for now"
    assert "Conflict" not in truth(told.passed(outcome("hkg"), outcome("sgp")))


def test_a_region_that_cannot_be_reached_is_waited_for() -> None:
    told = Told().running()
    told.regions["sgp"] = RegionFacts("sgp", "HK", reachable=False, message="connection refused")
    found = told.passed(outcome("hkg"))
    assert truth(found)["Ready"] == ("False", "RegionUnreachable")
    assert truth(found)["Reconciling"] == ("True", "RegionUnreachable")
    assert truth(found)["Stalled"][0] == "False"
    assert truth(found)["Placed"] == ("False", "RegionUnreachable")
    assert truth(found)["RolledOut"][0] == "True"
    assert (found.regions[1].phase, found.regions[1].applied) == ("Unreachable", "a1")


@pytest.mark.parametrize(("leaving", "shown"), [(64, 96), (224, 256), (225, 256), (1000, 256)])
def test_however_many_regions_are_being_left_the_status_can_be_stored(leaving: int, shown: int) -> None:
    names = [f"new-{number}" for number in range(32)]
    told = Told({"topology": {"regions": [{"name": name} for name in names]}})
    told.regions = {name: RegionFacts(name, "HK") for name in names}
    outcomes = [
        outcome(f"old-{number}", OutcomeKind.REMOVING, message="cannot be reached") for number in range(leaving)
    ]
    found = told.passed(*map(outcome, names), *outcomes)
    stored = told.service.status  # read back through the schema
    assert stored.regions == found.regions
    assert (len(stored.regions), [region.name for region in stored.regions[:32]]) == (shown, names)
    more = f"{32 + leaving - 256} more regions are being left"
    assert (more in stored.regions[-1].message) == (32 + leaving > shown)

    left = {entry.region: entry for entry in outcomes}
    gone = status.deleting(stored, left, 2, NOW)
    assert len(gone.regions) == min(leaving, 256)


def test_one_pass_that_did_not_get_through_is_tried_again() -> None:
    found = Told().running().passed(outcome("hkg", OutcomeKind.WAITING, message="429"), outcome("sgp"))
    assert truth(found)["Reconciling"] == ("True", "Waiting")
    assert found.ready_regions == "1/2"


def test_a_region_outside_the_residency_is_refused_and_what_is_remembered_of_it_stays() -> None:
    told = Told().running()
    told.spec["residency"] = {"jurisdictions": ["HK"]}
    told.regions["sgp"] = RegionFacts("sgp", "SG")
    found = told.passed(outcome("hkg"))
    assert truth(found)["Placed"] == ("False", "OutsideResidency")
    assert truth(found)["Stalled"] == ("True", "OutsideResidency")
    assert (found.regions[1].phase, found.regions[1].last_good_revision) == ("Refused", "r1")


def test_a_rollout_shows_where_it_is() -> None:
    told = Told().running()
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert (found.revision, found.rollout.previous, found.rollout.phase) == ("r2", "r1", "Progressing")
    assert (found.rollout.region, found.rollout.regions_done, found.rollout.regions_total) == ("hkg", 0, 2)
    assert truth(found)["RolledOut"] == ("False", "RollingOut")
    assert truth(found)["Reconciling"] == ("True", "RollingOut")
    assert "0 of 2 regions run revision r2" in of(found, "RolledOut").message
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert (found.rollout.phase, found.regions[0].phase) == ("Baking", "Baking")
    assert truth(found)["RolledOut"] == ("False", "Baking")


def test_a_rollback_says_why_and_stays_stalled_until_the_spec_changes() -> None:
    told = Told().running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    told.now += timedelta(minutes=10)
    bad = outcome("hkg", workload=pods(2, replicas=3, updated=1, failure="exceeded quota"))
    found = told.passed(bad, outcome("sgp"), target="r2")
    assert (found.rollout.phase, found.regions[0].phase) == ("RollingBack", "RollingBack")
    assert truth(found)["Reconciling"] == ("True", "RollingBack")
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert found.rollout.phase == "RolledBack"
    assert truth(found)["Stalled"] == ("True", "RolledBack")
    for kind in ("Ready", "Stalled"):
        assert "exceeded quota" in of(found, kind).message
        assert of(found, kind).message.endswith(
            "; every region runs revision r1 again; change the spec, or set spec.rollout.state to Paused and back to "
            "Running to try again"
        )
    assert of(found, "RolledOut").message == "0 of 2 regions run revision r2; the condition Ready says why"
    assert of(found, "Reconciling").message == "the condition Stalled says why nothing is under way"
    assert "every region" not in found.rollout.message, "it is what is remembered"
    assert told.passed(outcome("hkg"), outcome("sgp"), target="r2") == found
    assert [region.phase for region in found.regions] == ["Ready", "Ready"]
    assert found.ready_regions == "2/2"


def test_a_rollback_does_not_speak_for_a_region_that_has_not_returned() -> None:
    told = Told().running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    told.now += timedelta(minutes=10)
    told.passed(outcome("hkg", workload=pods(1)), outcome("sgp"), target="r2")
    told.regions["hkg"] = RegionFacts("hkg", "HK", reachable=False, message="connection refused")
    found = told.passed(outcome("sgp"), target="r2")
    assert found.rollout.phase == "RolledBack"
    assert "; 1 of 2 regions run revision r1 again; waiting for hkg to be reachable again; change the spec" in (
        of(found, "Stalled").message
    )
    assert "every region" not in of(found, "Stalled").message


def test_a_rollout_that_stopped_says_how_to_go_on() -> None:
    told = Told({"rollout": {"onFailure": "Pause"}}).running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    told.now += timedelta(minutes=10)
    found = told.passed(outcome("hkg", workload=pods(1)), outcome("sgp"), target="r2")
    assert found.rollout.phase == "Failed"
    assert "Paused and back to Running to try again" in of(found, "RolledOut").message


def test_what_keeps_the_pods_is_told_of_the_whole_service() -> None:
    told = Told().running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    bad = outcome("hkg", workload=pods(2, replicas=3, updated=1), pods="pod p: CrashLoopBackOff")
    found = told.passed(bad, outcome("sgp"), target="r2")
    for kind in ("Ready", "RolledOut"):
        assert of(found, kind).message == (
            "0 of 2 regions run revision r2; waiting for hkg to become ready; region hkg: pod p: CrashLoopBackOff"
        )


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a progress deadline"])
def test_what_only_a_cordoned_region_lacks_waits_for_a_person(late: bool) -> None:
    told = Told({"rollout": {"bakeTime": "0s"}}).running()
    told.regions["hkg"] = RegionFacts("hkg", "HK", cordoned=True)
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert truth(found)["Stalled"][0] == "False", "Singapore is under way"
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert found.rollout.phase == "Progressing"
    if late:
        told.now += timedelta(minutes=10)
        found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
        assert found.rollout.phase == "Complete"
    for kind, holds in (("Ready", "False"), ("RolledOut", "False"), ("Stalled", "True"), ("Reconciling", "False")):
        assert truth(found)[kind] == (holds, "RegionCordoned")
    assert of(found, "Ready").message == (
        "1 of 2 regions run revision r2; cordoned: hkg; uncordon it (roadstead region uncordon hkg) or take it out of "
        "spec.topology.regions"
    )
    busy = outcome("hkg", OutcomeKind.WAITING, message="429")
    assert truth(told.passed(busy, outcome("sgp"), target="r2"))["Stalled"] == ("True", "RegionCordoned"), "it is still"
    told.regions["sgp"] = RegionFacts("sgp", "HK", reachable=False, message="connection refused")
    found = told.passed(outcome("hkg"), target="r2")
    assert truth(found)["Stalled"] == ("True", "RegionCordoned"), "that somebody else is away is not for a person"


def test_what_is_under_way_in_a_cordoned_region_is_finished_and_waits_for_nobody() -> None:
    told = Told({"rollout": {"maxParallelRegions": 2}}).running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    told.regions = {name: RegionFacts(name, "HK", cordoned=True) for name in told.regions}
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert (truth(found)["Ready"], truth(found)["Stalled"][0]) == (("False", "Baking"), "False")
    told.now += timedelta(seconds=30)
    found = told.passed(outcome("hkg", workload=pods(1)), outcome("sgp"), target="r2")
    bad = outcome("hkg", workload=pods(1), pods="pod p: CrashLoopBackOff")
    assert "CrashLoopBackOff" in of(told.passed(bad, outcome("sgp"), target="r2"), "Ready").message


def test_a_cordoned_region_in_a_paused_rollout_is_no_fault() -> None:
    told = Told({"rollout": {"bakeTime": "0s", "state": "Paused"}}).running()
    told.regions["hkg"] = RegionFacts("hkg", "HK", cordoned=True)
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert (truth(found)["Ready"], truth(found)["Stalled"][0]) == (("False", "Paused"), "False")
    told.spec["rollout"] = {"bakeTime": "0s"}
    for _ in range(2):
        found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert truth(found)["Stalled"] == ("True", "RegionCordoned")
    told.spec["rollout"] = {"bakeTime": "0s", "state": "Paused"}
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert (truth(found)["Ready"], truth(found)["Stalled"][0]) == (("False", "Paused"), "False"), "a person's own wish"


def test_no_image_is_said_to_run_where_there_is_no_workload() -> None:
    told = Told()
    missing = missing_in("hkg")
    assert told.passed(missing, missing_in("sgp")).image == ""
    assert told.passed(missing, outcome("sgp")).image == told.service.spec.image
    told.regions["sgp"] = RegionFacts("sgp", "HK", reachable=False, message="connection refused")
    assert told.passed(missing).image == told.service.spec.image, "it runs there although it cannot be seen"


def missing_in(region: str) -> RegionOutcome:
    return outcome(region, OutcomeKind.NAMESPACE_MISSING, workload=None, applied="")


def test_being_placed_again_is_told_in_words() -> None:
    assert of(Told().running().passed(outcome("hkg"), outcome("sgp")), "Placed").message == (
        "every region of the topology can be written"
    )


def test_a_failure_is_told_in_the_words_that_the_cluster_used_last_time() -> None:
    told = Told().running()
    told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    told.passed(outcome("hkg", OutcomeKind.REFUSED, message="exceeded quota: pods"), outcome("sgp"), target="r2")
    told.now += timedelta(minutes=10)
    found = told.passed(outcome("hkg", OutcomeKind.WAITING), outcome("sgp"), target="r2")
    assert found.rollout.phase == "RollingBack"
    assert "after 10m (spec.rollout.progressDeadline): exceeded quota: pods" in found.rollout.message


def test_a_pause_is_neither_progress_nor_a_fault() -> None:
    told = Told({"rollout": {"state": "Paused"}}).running()
    found = told.passed(outcome("hkg"), outcome("sgp"), target="r2")
    assert truth(found)["Ready"] == ("False", "Paused")
    assert (truth(found)["Reconciling"][0], truth(found)["Stalled"][0]) == ("False", "False")


def test_peaks_are_named_while_they_last() -> None:
    told = Told({"autoscaling": {"maxReplicas": 9}})
    told.floor = Floor(9, ("singles-day",), NOW)
    found = told.passed(outcome("hkg"), outcome("sgp"))
    assert found.active_peaks == ("singles-day",)
    assert truth(found)["Autoscaled"] == ("True", "AtPeak")
    told.floor = Floor(0, (), None)
    assert truth(told.passed(outcome("hkg"), outcome("sgp")))["Autoscaled"] == ("True", "FollowingLoad")


def test_a_cordoned_region_remembers_the_most_that_it_may_have() -> None:
    told = Told({"autoscaling": {"maxReplicas": 9}})
    for _ in range(2):
        told.passed(outcome("hkg", workload=pods(7, 7)), outcome("sgp"))
    told.regions["hkg"] = RegionFacts("hkg", "HK", cordoned=True)
    of_region = told.service.status.regions[0]
    size = desired.scale(
        told.service, told.regions["hkg"], desired.Observed(present_replicas=of_region.desired_replicas)
    )
    assert (size.minimum, size.maximum) == (2, 7)


def test_a_region_that_is_left_is_shown_until_nothing_is_left() -> None:
    told = Told().running()
    told.spec["topology"] = {"regions": [{"name": "hkg"}]}
    found = told.passed(
        outcome("hkg"), outcome("sgp", OutcomeKind.REMOVING, message="Service desk-sgp is being deleted")
    )
    assert [(region.name, region.phase) for region in found.regions] == [("hkg", "Ready"), ("sgp", "Removing")]
    assert truth(found)["Reconciling"] == ("True", "Progressing")
    found = told.passed(outcome("hkg"))
    assert (len(found.regions), truth(found)["Ready"][0]) == (1, "True")


def test_a_spec_that_cannot_be_carried_out_leaves_the_rest_of_the_status() -> None:
    told = Told().running()
    before = told.service.status
    found = status.invalid(before, "spec.replicas is -1; write 0 or more", 5, NOW)
    assert truth(found)["Stalled"] == ("True", "InvalidSpec")
    assert truth(found)["Ready"] == ("False", "InvalidSpec")
    assert truth(found)["RolledOut"] == ("True", "RolledOut")
    assert (found.regions, found.observed_generation) == (before.regions, 5)


def test_deletion_names_the_regions_that_hold_it_up() -> None:
    told = Told().running()
    away = outcome("sgp", OutcomeKind.UNREACHABLE, message="region sgp cannot be cleaned up: connection refused")
    found = status.deleting(told.service.status, {"hkg": outcome("hkg", OutcomeKind.REMOVING), "sgp": away}, 1, NOW)
    assert truth(found)["Deleting"] == ("True", "DeletionBlocked")
    assert truth(found)["Stalled"] == ("True", "DeletionBlocked")
    assert "region sgp cannot be cleaned up" in of(found, "Deleting").message
    assert [(region.name, region.phase) for region in found.regions] == [("hkg", "Removing"), ("sgp", "Unreachable")]
    found = status.deleting(told.service.status, {"hkg": outcome("hkg", OutcomeKind.REMOVING)}, 1, NOW)
    assert truth(found)["Deleting"] == ("True", "Deleting")
    assert truth(found)["Stalled"][0] == "False"
    assert of(found, "Deleting").message == "removing what is in hkg"


def test_what_holds_a_deletion_or_a_leaving_up_is_named() -> None:
    told = Told().running()
    words = "region sgp: StatefulSet bank/desk-sgp is still being deleted (look at its finalizers)"
    held = outcome("sgp", OutcomeKind.REMOVING, message=words)
    found = status.deleting(told.service.status, {"hkg": outcome("hkg", OutcomeKind.REMOVING), "sgp": held}, 1, NOW)
    assert of(found, "Deleting").message == f"removing what is in hkg; {words}"
    away = outcome("hkg", OutcomeKind.UNREACHABLE, message="region hkg cannot be cleaned up: connection refused")
    found = status.deleting(told.service.status, {"sgp": held, "hkg": away}, 1, NOW)
    assert truth(found)["Deleting"] == ("True", "DeletionBlocked")
    assert of(found, "Deleting").message == f"region hkg cannot be cleaned up: connection refused; {words}"
    told.spec["topology"] = {"regions": [{"name": "hkg"}]}
    assert of(told.passed(outcome("hkg"), held), "Ready").message == words


@pytest.mark.parametrize(
    ("workload", "ready"),
    [
        pytest.param(None, False, id="no workload"),
        pytest.param(pods(2), True, id="all pods"),
        pytest.param(pods(1), False, id="one is missing"),
        pytest.param(pods(2, available=1), False, id="one is ready but not available yet"),
        pytest.param(pods(2, updated=1), False, id="one is of the template before"),
        pytest.param(pods(2, replicas=3), False, id="one of before is still there"),
        pytest.param(WorkloadStatus(2, 1, 2, 2, 2, 2, 2), False, id="the controller has not seen the change"),
        pytest.param(pods(0, 0), True, id="none is wanted"),
        pytest.param(pods(1, 0, replicas=1, updated=1), False, id="none is wanted, but one is there"),
    ],
)
def test_when_a_workload_is_ready(workload: WorkloadStatus | None, ready: bool) -> None:
    assert status.is_ready(workload) is ready


@pytest.mark.parametrize(
    ("before", "workload", "lost"),
    [
        (2, pods(1), True),
        (2, pods(2), False),
        (2, pods(2, 4, updated=4), False),
        (4, pods(2, 2), False),
        (4, pods(1, 2), True),
        (0, pods(0), False),
        (2, None, False),
    ],
    ids=["one fewer", "as many", "growing", "shrinking", "shrinking and one fewer", "there were none", "not known"],
)
def test_when_pods_are_lost(before: int, workload: WorkloadStatus | None, lost: bool) -> None:
    of_before = {"regions": [{"name": "hkg", "readyReplicas": before}]}
    subject = service(of_before)
    placements = place(subject.spec, REGIONS, {"hkg"})
    (view,) = status.views(subject, placements, {"hkg": outcome("hkg", workload=workload)}, {"hkg": "r1"})
    assert view.lost is lost


def test_long_lists_and_messages_fit_into_the_schema() -> None:
    names = [f"region-{n:02}" + "x" * 13 for n in range(32)]
    told = Told({"topology": {"regions": [{"name": name} for name in names]}})
    told.regions = {name: RegionFacts(name, "HK") for name in names}
    found = told.passed(*(outcome(name, OutcomeKind.REFUSED, message="x" * 5000) for name in names))
    assert (
        parse(
            "ChatService",
            {
                "metadata": {"name": "desk"},
                "spec": {"image": "a:1", "topology": {"regions": [{"name": "a"}]}, "tls": {"secretName": "s"}},
                "status": told.written,
            },
        ).status
        == found
    )
    assert of(found, "Stalled").reason == Reason.REFUSED
