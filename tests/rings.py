"""What tests look at of a KeyRing, and what they wait for."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import worlds
from clusters import eventually
from worlds import NAMESPACE, SETTLE_SECONDS, Body, World


def ring_of(world: World, name: str) -> Body:
    return world.at_hub.get("keyrings", name)


def status_of(world: World, name: str) -> Body:
    found: Body = ring_of(world, name).get("status") or {}
    return found


def phases(world: World, name: str) -> dict[int, str]:
    found = world.at_hub.items("keyversions", NAMESPACE)
    mine = [entry for entry in found if entry["spec"]["ring"] == name]
    return {entry["spec"]["number"]: entry["status"]["phase"] for entry in mine}


def rotate(world: World, name: str) -> None:
    """What a person does who wants a new version now."""
    now = datetime.now(UTC).isoformat()
    world.at_hub.patch("keyrings", name, {"spec": {"schedule": {"rotateAt": now}}})


def settled(world: World, name: str, primary: int) -> None:
    def done() -> bool:
        status = status_of(world, name)
        assert (status.get("primary"), status.get("phase")) == (primary, "Idle"), (status, phases(world, name))
        return True

    eventually(done, deadline=SETTLE_SECONDS)


def region(world: World, name: str, of: str) -> Body:
    """What the status says of a region; empty when it says nothing."""
    entries = status_of(world, name).get("regions") or ()
    return next((entry for entry in entries if entry["name"] == of), {})


def blocked(world: World, name: str, by: str) -> None:
    def so() -> bool:
        status = status_of(world, name)
        assert status.get("blockedBy") == by, (status, phases(world, name))
        return True

    eventually(so, deadline=SETTLE_SECONDS)


def looked_at(world: World, name: str) -> None:
    """Have a ring reconciled once more, and wait until that is over."""
    for _ in range(2):  # what is under way at the first may have read before
        before = _passes(world)
        note = {"metadata": {"annotations": {"example.com/touched": world.fresh_name("note")}}}
        world.at_hub.patch("keyrings", name, note)
        eventually(partial(_more_passes, world, before), deadline=SETTLE_SECONDS)


def _passes(world: World) -> float:
    return worlds.metric(world.running, "controller_runtime_reconcile_total", controller="KeyRing")


def _more_passes(world: World, before: float) -> bool:
    return _passes(world) > before


def ended(world: World, name: str, phase: str = "Done", *, seconds: float = SETTLE_SECONDS) -> str:
    """Wait until an Approval has come to a phase; its message."""

    def so() -> bool:
        status = world.at_hub.get("approvals", name).get("status") or {}
        assert status.get("phase") == phase, status
        return True

    eventually(so, deadline=seconds)
    return str(world.at_hub.get("approvals", name)["status"]["message"])
