from typing import Any

import pytest

from roadstead.api.crd import custom_resource_definition
from roadstead.api.kinds import CHAT_SERVICE, KEY_RING, KEY_VERSION, KINDS, Kind
from roadstead.api.parse import parse
from specs import samples


@pytest.mark.parametrize("name", samples())
def test_every_sample_is_valid_down_to_its_spelling(name: str) -> None:
    body = samples()[name]
    parse(body["kind"], body, strict=True)


def fields_of(schema: dict[str, Any], path: str) -> set[str]:
    """Every field of a schema, as paths; items and values of a map count for their container."""
    found = set()
    for name, child in schema.get("properties", {}).items():
        found.add(f"{path}.{name}")
        found |= fields_of(child.get("items", child), f"{path}.{name}")
    return found


def fields_in(value: Any, path: str) -> set[str]:
    """Every field that an object writes, in the same form."""
    if isinstance(value, list):
        return set().union(*(fields_in(item, path) for item in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    return {f"{path}.{name}" for name in value}.union(
        *(fields_in(item, f"{path}.{name}") for name, item in value.items())
    )


# What the one sample cannot have because of what it has, and where another sample shows it.
ALTERNATIVES = {
    "spec.tls.issuerRef",
    "spec.tls.issuerRef.name",
    "spec.tls.issuerRef.kind",
    "spec.tls.issuerRef.group",
    "spec.disruptionBudget.minAvailable",
    "spec.schedule.cron",
    "spec.schedule.cron.schedule",
    "spec.schedule.cron.timeZone",
}
SAME_AS_SHOWN = ".matchExpressions", ".matchLabels", ".key", ".operator", ".values"


@pytest.mark.parametrize("kind", [CHAT_SERVICE, KEY_RING], ids=lambda kind: kind.kind)
def test_the_full_sample_has_every_field(kind: Kind) -> None:
    root = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    every = fields_of(root["properties"]["spec"], "spec")
    missing = every - fields_in(samples()[f"{kind.singular}-full.yaml"]["spec"], "spec") - ALTERNATIVES
    assert {path for path in missing if not path.endswith(SAME_AS_SHOWN)} == set()


def test_what_the_full_sample_of_a_ring_cannot_have_is_in_another() -> None:
    shown = fields_in(samples()["keyring-cron.yaml"]["spec"], "spec")
    assert {path for path in ALTERNATIVES if path.startswith("spec.schedule")} <= shown


# Nobody but the operator writes KeyVersions.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not KEY_VERSION], ids=lambda kind: kind.kind)
def test_every_kind_has_a_sample(kind: Kind) -> None:
    assert any(body["kind"] == kind.kind for body in samples().values())


def test_the_figures_of_the_design_are_in_the_active_passive_sample() -> None:
    spec = parse("ChatService", samples()["chatservice-active-passive.yaml"]).spec
    assert (spec.retention.sessions.days, spec.retention.cookies.days, spec.retention.transactions.days) == (
        30,
        730,
        7 * 365,
    )
    assert spec.residency is not None
    assert spec.residency.jurisdictions == ("HK",)
    assert spec.autoscaling is not None
    assert spec.autoscaling.peaks
