import pytest

from roadstead.api.conditions import Reason
from roadstead.chat.placement import Placement, RegionFacts, Verdict, place
from unit.chat.services import service

HK = RegionFacts("hkg", "HK")


def one(facts: RegionFacts | None, *, here: bool = False, residency: list[str] | None = None) -> Placement:
    of = service(residency={"jurisdictions": residency} if residency else None)
    (placement,) = place(of.spec, {facts.name: facts} if facts else {}, {"hkg"} if here else set())
    return placement


@pytest.mark.parametrize(
    ("placement", "verdict", "reason", "words"),
    [
        pytest.param(one(HK), Verdict.PLACED, Reason.PLACED, "", id="a region that is there"),
        pytest.param(one(None), Verdict.REFUSED, Reason.REGION_NOT_FOUND, "create it", id="no such Region"),
        pytest.param(
            one(None, here=True), Verdict.REFUSED, Reason.REGION_NOT_FOUND, "hkg", id="a Region that was deleted"
        ),
        pytest.param(one(HK, residency=["HK"]), Verdict.PLACED, Reason.PLACED, "", id="inside the residency"),
        pytest.param(
            one(RegionFacts("hkg", "US-CA"), residency=["US"]),
            Verdict.PLACED,
            Reason.PLACED,
            "",
            id="in a subdivision of it",
        ),
        pytest.param(
            one(RegionFacts("hkg", "US"), residency=["US-CA"]),
            Verdict.REFUSED,
            Reason.OUTSIDE_RESIDENCY,
            "lies in US",
            id="a country is not inside its subdivision",
        ),
        pytest.param(
            one(HK, here=True, residency=["SG", "JP"]),
            Verdict.REFUSED,
            Reason.OUTSIDE_RESIDENCY,
            "(SG, JP)",
            id="outside the residency, though it was there",
        ),
        pytest.param(
            one(RegionFacts("hkg", "HK", cordoned=True)),
            Verdict.REFUSED,
            Reason.REGION_CORDONED,
            "uncordon",
            id="a cordoned region takes on no new service",
        ),
        pytest.param(
            one(RegionFacts("hkg", "HK", cordoned=True), here=True),
            Verdict.HELD,
            Reason.REGION_CORDONED,
            "stays",
            id="a cordoned region keeps what it has",
        ),
        pytest.param(
            one(RegionFacts("hkg", "HK", reachable=False, message="connection refused"), here=True),
            Verdict.AWAY,
            Reason.REGION_UNREACHABLE,
            "connection refused",
            id="a region that cannot be reached",
        ),
        pytest.param(
            one(RegionFacts("hkg", "CN", reachable=False), residency=["HK"]),
            Verdict.REFUSED,
            Reason.OUTSIDE_RESIDENCY,
            "CN",
            id="residency holds for a region that cannot be reached",
        ),
    ],
)
def test_placement(placement: Placement, verdict: Verdict, reason: Reason, words: str) -> None:
    assert (placement.verdict, placement.reason) == (verdict, reason)
    assert words in placement.message
    assert "hkg" in placement.message or verdict is Verdict.PLACED


@pytest.mark.parametrize(
    ("verdict", "writable", "counts"),
    [
        (Verdict.PLACED, True, True),
        (Verdict.HELD, True, True),
        (Verdict.AWAY, False, True),
        (Verdict.REFUSED, False, False),
    ],
)
def test_what_a_verdict_allows(verdict: Verdict, writable: bool, counts: bool) -> None:
    placement = Placement("hkg", verdict, Reason.PLACED)
    assert (placement.writable, placement.counts) == (writable, counts)


def test_the_order_is_that_of_the_topology() -> None:
    of = service(topology={"regions": [{"name": name} for name in ("sgp", "hkg", "tyo")]})
    regions = {name: RegionFacts(name, "HK") for name in ("hkg", "sgp", "tyo")}
    assert [placement.region for placement in place(of.spec, regions, set())] == ["sgp", "hkg", "tyo"]
