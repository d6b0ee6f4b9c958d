"""What is read before a verdict, and what is not."""

from __future__ import annotations

import base64
from typing import Any

from roadstead.admission.facts import FactFinder
from roadstead.admission.rules import Operation, PlacedService, RingFact, RingUser
from unit.admission.fakes import MemoryHub

HOME = "roadstead-system"


def region(name: str, jurisdiction: str = "HK") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"cluster": {"inCluster": {}}, "jurisdiction": jurisdiction}}


def member(namespace: str, key: str | None = None) -> dict[str, Any]:
    reference = {"namespace": namespace, "name": "region-hkg"} | ({"key": key} if key else {})
    return {
        "metadata": {"name": "hkg"},
        "spec": {"cluster": {"kubeconfigSecretRef": reference}, "jurisdiction": "HK"},
    }


def chat(name: str, *regions: str) -> dict[str, Any]:
    named = [{"name": region} for region in regions]
    return {"metadata": {"name": name, "namespace": "bank"}, "spec": {"topology": {"regions": named}}}


def secret(name: str, **data: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


async def test_a_service_is_judged_by_every_region_and_its_certificate() -> None:
    hub = MemoryHub()
    for name in ("hkg", "sin", "mfm"):
        hub.put("regions", region(name))
    hub.put("secrets", secret("chat-tls", crt="c"), "bank")
    facts = await FactFinder(hub, HOME).about_service(
        {"metadata": {"namespace": "bank"}, "spec": {"tls": {"secretName": "chat-tls"}}}
    )
    assert set(facts.regions) == {"hkg", "sin", "mfm"}
    assert facts.tls is not None
    assert facts.tls.keys == frozenset({"crt"})
    assert facts.tls.value is None  # the certificate's content is nobody's business here


async def test_a_service_with_an_issuer_needs_no_secret() -> None:
    facts = await FactFinder(MemoryHub(), HOME).about_service(
        {"metadata": {"namespace": "bank"}, "spec": {"tls": {"issuerRef": {"name": "ca"}}}}
    )
    assert facts.tls is None


async def test_a_region_that_cannot_be_read_exists_nevertheless() -> None:
    hub = MemoryHub()
    hub.put("regions", region("hkg"))
    hub.put("regions", {"metadata": {"name": "odd"}, "spec": {}})
    facts = await FactFinder(hub, HOME).about_service({"metadata": {}, "spec": {}})
    assert set(facts.regions) == {"hkg", "odd"}
    assert facts.regions["odd"] is None
    facts_of_another = await FactFinder(hub, HOME).about_region(Operation.CREATE, region("sin"), None)
    assert set(facts_of_another.regions) == {"hkg"}


async def test_a_deletion_looks_through_every_page_of_services() -> None:
    hub = MemoryHub()
    for number in range(5):
        hub.put("chatservices", chat(f"chat-{number}", "hkg" if number % 2 else "sin"), "bank")
    facts = await FactFinder(hub, HOME).about_region(Operation.DELETE, None, region("hkg"))
    assert facts.services == [PlacedService("bank", "chat-1", True), PlacedService("bank", "chat-3", True)]


async def test_an_ordinary_edit_of_a_region_looks_at_no_service() -> None:
    hub = MemoryHub()
    hub.put("chatservices", chat("chat", "hkg"), "bank")
    facts = await FactFinder(hub, HOME).about_region(Operation.UPDATE, region("hkg"), region("hkg"))
    assert facts.services == []


async def test_a_region_is_not_compared_with_itself() -> None:
    hub = MemoryHub()
    hub.put("regions", region("hkg"))
    hub.put("regions", region("sin"))
    facts = await FactFinder(hub, HOME).about_region(Operation.UPDATE, region("hkg"), region("hkg"))
    assert set(facts.regions) == {"sin"}


async def test_a_kubeconfig_is_read_from_the_operators_namespace_by_its_key() -> None:
    hub = MemoryHub()
    hub.put("secrets", secret("region-hkg", kubeconfig="a", other="b"), HOME)
    found = await FactFinder(hub, HOME).about_region(Operation.CREATE, member(HOME, "other"), None)
    assert found.kubeconfig is not None
    assert found.kubeconfig.value == b"b"
    default = await FactFinder(hub, HOME).about_region(Operation.CREATE, member(HOME), None)
    assert default.kubeconfig is not None
    assert default.kubeconfig.value == b"a"


async def test_a_secret_of_another_namespace_is_not_even_looked_at() -> None:
    hub = MemoryHub()
    hub.put("secrets", secret("region-hkg", kubeconfig="a"), "default")
    facts = await FactFinder(hub, HOME).about_region(Operation.CREATE, member("default"), None)
    assert facts.kubeconfig is None


async def test_a_secret_that_is_not_there_is_told_from_an_empty_one() -> None:
    hub = MemoryHub()
    missing = await FactFinder(hub, HOME).about_region(Operation.CREATE, member(HOME), None)
    assert missing.kubeconfig is not None
    assert missing.kubeconfig.keys is None
    hub.put("secrets", {"metadata": {"name": "region-hkg"}}, HOME)
    empty = await FactFinder(hub, HOME).about_region(Operation.CREATE, member(HOME), None)
    assert empty.kubeconfig is not None
    assert empty.kubeconfig.keys == frozenset()


def encrypted(name: str, ring: str, *regions: str) -> dict[str, Any]:
    body = chat(name, *regions)
    return {**body, "spec": {**body["spec"], "encryption": {"keyRingRef": {"name": ring}}}}


async def test_a_service_with_encryption_is_judged_by_its_ring() -> None:
    hub = MemoryHub()
    new = encrypted("chat", "ring", "hkg")
    assert (await FactFinder(hub, HOME).about_service(new)).ring == RingFact(None)
    hub.put("keyrings", {"metadata": {"name": "ring"}, "spec": {"regions": ["hkg", "sin"]}}, "bank")
    assert (await FactFinder(hub, HOME).about_service(new)).ring == RingFact(frozenset({"hkg", "sin"}))
    assert (await FactFinder(hub, HOME).about_service(chat("chat", "hkg"))).ring is None


async def test_a_ring_is_judged_by_those_of_its_namespace_that_encrypt_with_it() -> None:
    hub = MemoryHub()
    hub.put("regions", region("hkg"))
    for body in (encrypted("a", "ring", "hkg"), encrypted("b", "other", "hkg"), chat("c", "hkg")):
        hub.put("chatservices", body, "bank")
    hub.put("chatservices", {**encrypted("d", "ring", "hkg"), "metadata": {"name": "d", "namespace": "fund"}}, "fund")
    ring = {"metadata": {"name": "ring", "namespace": "bank"}, "spec": {"regions": ["hkg"]}}
    facts = await FactFinder(hub, HOME).about_ring(None, ring)
    assert list(facts.users) == [RingUser("bank/a", frozenset({"hkg"}))]
    facts = await FactFinder(hub, HOME).about_ring(ring, None)
    assert (set(facts.regions), list(facts.users)) == ({"hkg"}, [])
