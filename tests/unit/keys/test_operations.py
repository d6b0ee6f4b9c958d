"""What two people can have done to a ring, carried out on a hub in memory."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import KeyPhase, KeyType
from roadstead.api.parse import parse
from roadstead.kernel.errors import Terminal
from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS, Key
from roadstead.kernel.operations import Done, Impossible, Order, Outcome, Unfinished
from roadstead.keys import ledger, orders, place
from roadstead.keys.deks import Deks, secret_name
from roadstead.keys.kek_keeper import KekKeeper
from roadstead.keys.kek_kubernetes import KubernetesProvider
from roadstead.keys.kek_rotation import Rules, View
from roadstead.keys.material import Material, fingerprint
from roadstead.keys.operations import KeyOperations
from roadstead.keys.place import Found, Place
from roadstead.keys.providers import NotConfigured
from roadstead.keys.regional import Held
from roadstead.keys.state import Keyset
from unit.kernel.fake_clock import FakeClock
from unit.keys.fake_hub import FakeHub

RING_ID = "r0123456789ab"
KUBERNETES, PKCS11 = KekProviderKind.KUBERNETES, KekProviderKind.PKCS11
DAY = 86_400.0
PATH = (
    KeyPhase.STAGED,
    KeyPhase.PUBLISHED,
    KeyPhase.READY,
    KeyPhase.PRIMARY,
    KeyPhase.SUPERSEDED,
    KeyPhase.DRAINING,
    KeyPhase.RETIRED,
    KeyPhase.REMOVED,
)


class Desk:
    """A ring, its ledger and its keys; what is asked for is carried out at once."""

    def __init__(self, **spec: Any) -> None:
        self.hub, self.clock = FakeHub(), FakeClock()
        self.kubernetes = KubernetesProvider(self.hub, "system", secrets.token_bytes)  # type: ignore[arg-type]
        providers = {KUBERNETES: self.kubernetes, PKCS11: NotConfigured("set keys.pkcs11")}
        self.deks = Deks(self.hub, "system", providers, secrets.token_bytes)  # type: ignore[arg-type]
        self.ctx: Any = SimpleNamespace(
            hub=SimpleNamespace(client=self.hub),
            clock=self.clock,
            queue=SimpleNamespace(add=lambda _: None),
            resources=SimpleNamespace(upsert=lambda *_: None),
            metrics=SimpleNamespace(status_written=SimpleNamespace(labels=lambda _: SimpleNamespace(inc=lambda: None))),
            events=SimpleNamespace(emit=None),
        )
        made = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self.hub._write(
            KEY_RINGS,
            {
                "apiVersion": KEY_RINGS.api_version,
                "kind": "KeyRing",
                "metadata": {"name": "chat", "namespace": "chat", "creationTimestamp": made},
                "spec": {"regions": ["hkg"], "distribution": "Cleartext", **spec},
                "status": {"ringID": RING_ID},
            },
            "uid-ring",
        )

    @property
    def ring(self) -> dict[str, Any]:
        return self.hub.objects["KeyRing", "chat"]

    def phase(self, number: int) -> str:
        return str(self.hub.objects["KeyVersion", f"chat-v{number}"]["status"]["phase"])

    async def version(self, number: int, phase: KeyPhase, *, stored: bool = True) -> Material:
        """A version in a phase; its material is known."""
        material = Material(number, KeyType.XAES_256_GCM, bytes([number]) * 32)
        intent = ledger.Intent("chat", "chat", RING_ID, number, None, KeyType.XAES_256_GCM, f"{number:016x}")
        body = await self.hub.create(KEY_VERSIONS, "chat", ledger.reserved(intent, self.clock.now()))
        entry = parse("KeyVersion", body)
        if stored:
            known = await self.deks.stored(RING_ID, {number: entry})
            await self.deks.keep(entry, material, known, KUBERNETES)
        for step in PATH[: PATH.index(phase) + 1] if phase in PATH else ():
            if step is KeyPhase.REMOVED:
                await self.deks.remove(RING_ID, number)
            body = ledger.moved(body, step, self.clock.now(), fingerprint=fingerprint(RING_ID, material))
            body = await self.hub.replace(KEY_VERSIONS, "chat", f"chat-v{number}", body)
        return material

    def entries(self) -> dict[int, Any]:
        found = (body for (kind, _), body in self.hub.objects.items() if kind == "KeyVersion")
        return {body["spec"]["number"]: parse("KeyVersion", body) for body in found}

    async def ask(self, operation: str, **parameters: str) -> Outcome:
        """Carry it out once."""
        (wanted,) = (one for one in KeyOperations(self.deks).all() if one.name == operation)
        assert wanted.check(parameters) is None
        key = Key("Approval", "chat", "ask")
        return await wanted.carry_out(
            Order(key, "uid", self.ring, parameters, "alice", ("bob",), self.clock.now()), self.ctx
        )

    async def rotate_kek(self) -> None:
        """What the ring does about its KEK."""
        status = parse("KeyRing", self.ring).status
        self.clock.step_wall(1)
        rules = Rules(KUBERNETES, timedelta(days=900), above=status.kek_above)
        view = View(rules, await self.deks.stored(RING_ID, self.entries()))

        async def nobody(_reason: str, _note: str) -> None: ...

        kept = await KekKeeper(self.deks).keep(RING_ID, "chat/chat", view, self.clock, nobody)
        assert kept.error is None

    async def shredded(self) -> Outcome:
        """Ask for what was removed to be shredded, and let the ring do its part."""
        outcome = await self.ask("RemoveVersions", upTo="1", shred="true")
        assert isinstance(outcome, Unfinished)
        assert outcome.message == "another KEK is made, since backups can be opened with the present one"
        await self.rotate_kek()
        return await self.ask("RemoveVersions", upTo="1", shred="true")


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- shredding


async def test_shredded_is_said_when_no_old_kek_is_left_and_with_the_truth_about_backups(desk: Desk) -> None:
    await desk.version(1, KeyPhase.REMOVED)
    await desk.version(2, KeyPhase.PRIMARY)
    done = await desk.shredded()
    assert isinstance(done, Done)
    assert "whoever has a backup with them, as each one of etcd is, still opens the versions" in done.message
    assert desk.phase(1) == "Shredded"
    assert [kek.name.generation for kek in await desk.kubernetes.keks(RING_ID)] == [2]


async def test_an_old_kek_that_the_provider_keeps_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.version(1, KeyPhase.REMOVED)
    await desk.version(2, KeyPhase.PRIMARY)

    async def nothing(_kek: object) -> None: ...

    monkeypatch.setattr(desk.kubernetes, "destroy", nothing)
    old, other = await desk.kubernetes.keks(RING_ID)
    waits = await desk.shredded()
    assert isinstance(waits, Unfinished)
    assert f"{old.name}, {other.name}" in waits.message
    assert desk.phase(1) == "Removed"


async def test_an_old_kek_that_a_strange_secret_is_wrapped_with_is_named(desk: Desk) -> None:
    await desk.version(1, KeyPhase.REMOVED)
    await desk.version(2, KeyPhase.PRIMARY)
    body = desk.hub.objects["Secret", secret_name(RING_ID, 2)]
    metadata = {**body["metadata"], "name": secret_name(RING_ID, 7)}
    metadata["annotations"] = {**metadata["annotations"], "roadstead.dev/key-version": "7"}
    desk.hub.objects["Secret", metadata["name"]] = {**body, "metadata": metadata}
    waits = await desk.shredded()
    assert isinstance(waits, Unfinished)
    assert "KEKs are there that open backups" in waits.message
    assert desk.phase(1) == "Removed"


async def test_nothing_is_shredded_when_the_ring_may_have_been_with_a_provider_that_is_not_set_up(desk: Desk) -> None:
    await desk.version(1, KeyPhase.REMOVED)
    await desk.version(2, KeyPhase.PRIMARY)
    desk.clock.step_wall(3600)
    desk.ring["metadata"]["creationTimestamp"] = desk.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")  # made anew
    waits = await desk.shredded()
    assert isinstance(waits, Unfinished)
    assert "a KEK that opens backups may be where this operator cannot look: set keys.pkcs11" in waits.message
    assert desk.phase(1) == "Removed"
    assert len(await desk.kubernetes.keks(RING_ID)) == 3, "and the rest is not touched"


async def test_nothing_is_shredded_when_nothing_is_stored(desk: Desk) -> None:
    await desk.version(1, KeyPhase.REMOVED)
    waits = await desk.ask("RemoveVersions", upTo="1", shred="true")
    assert isinstance(waits, Unfinished)
    assert desk.phase(1) == "Removed"
    await desk.version(2, KeyPhase.RESERVED)
    waits = await desk.ask("RemoveVersions", upTo="1", shred="true")
    assert isinstance(waits, Unfinished)
    assert waits.message == "no KEK is destroyed before version 2 is made"


async def test_no_kek_is_destroyed_that_lost_material_is_restored_with(desk: Desk) -> None:
    await desk.version(1, KeyPhase.REMOVED)
    await desk.version(2, KeyPhase.RETIRED, stored=False)
    await desk.version(3, KeyPhase.PRIMARY)
    waits = await desk.ask("RemoveVersions", upTo="1", shred="true")
    assert isinstance(waits, Unfinished)
    assert "the material of version 2 is not in the hub" in waits.message


# --- removal


@pytest.mark.parametrize("up_to", ["3", "999999"])
async def test_what_does_not_exist_yet_is_not_removed(desk: Desk, up_to: str) -> None:
    await desk.version(1, KeyPhase.RETIRED)
    await desk.version(2, KeyPhase.RETIRED)
    refused = await desk.ask("RemoveVersions", upTo=up_to)
    assert isinstance(refused, Impossible)
    assert f"upTo is {up_to}, but the newest version is 2" in refused.message
    assert "removable" not in desk.ring["status"]


async def test_a_delay_that_was_approved_is_not_shortened_by_whoever_edits_the_ring(desk: Desk) -> None:
    await desk.version(1, KeyPhase.RETIRED)
    await desk.version(2, KeyPhase.PRIMARY)
    desk.ring["spec"]["removalDelay"] = "0s"
    desk.clock.step_wall(29 * DAY)
    waits = await desk.ask("RemoveVersions", upTo="1", delay="30d")
    assert isinstance(waits, Unfinished)
    assert "the next from 2026-03-31T00:00:30Z on" in waits.message
    assert not desk.ring["status"].get("removable"), "the ring would remove it at once"
    desk.clock.step_wall(DAY + 31)
    waits = await desk.ask("RemoveVersions", upTo="1", delay="30d")
    assert isinstance(waits, Unfinished)
    assert desk.ring["status"]["removable"] == 1
    assert (waits.message, waits.again) == ("0 of 1 versions are removed; version 1 is next", 60.0)


async def test_a_removal_that_waits_says_for_what(desk: Desk) -> None:
    await desk.version(1, KeyPhase.RETIRED)
    await desk.version(2, KeyPhase.PRIMARY)
    wait = {"reason": "RegionUnreadable", "region": "hkg", "since": "2026-03-01T00:00:00Z", "message": "mend it"}
    desk.ring["status"] |= {"waits": [wait], "removable": 1}
    desk.clock.step_wall(40 * DAY)
    waits = await desk.ask("RemoveVersions", upTo="1")
    assert isinstance(waits, Unfinished)
    assert waits.message.endswith("version 1 is next, and waits: RegionUnreadable: mend it")
    assert waits.again == 60.0


async def test_removed_is_done_when_the_material_is_gone(desk: Desk) -> None:
    await desk.version(1, KeyPhase.RETIRED)
    await desk.version(2, KeyPhase.PRIMARY)
    key = "KeyVersion", "chat-v1"
    desk.hub.objects[key] = ledger.moved(desk.hub.objects[key], KeyPhase.REMOVED, desk.clock.now())
    for shred in ("true", "false"):
        waits = await desk.ask("RemoveVersions", upTo="1", shred=shred)
        assert isinstance(waits, Unfinished)
        assert waits.message == "1 versions are removed; 1 Secrets with their keys are to be deleted"
    await desk.deks.remove(RING_ID, 1)
    assert isinstance(await desk.ask("RemoveVersions", upTo="1"), Done)


# --- retention


@pytest.mark.parametrize("retention", [None, "90d"])
async def test_a_shorter_retention_has_to_be_in_the_spec_first(retention: str | None) -> None:
    desk = Desk(**({"retention": retention} if retention else {}))
    desk.ring["status"]["retention"] = retention or "forever"
    refused = await desk.ask("ShortenRetention", retention="30d")
    assert isinstance(refused, Impossible)
    assert "write spec.retention first" in refused.message
    desk.ring["spec"]["retention"] = "30d"
    assert isinstance(await desk.ask("ShortenRetention", retention="30d"), Done)
    assert desk.ring["status"]["retention"] == "30d"


# --- what is compromised


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (KeyPhase.PRIMARY, "another takes its place"),
        (KeyPhase.DRAINING, "Compromised: it leaves the keysets, and what it encrypted is written anew"),
        (KeyPhase.STAGED, "it is discarded; it never was primary"),
        (KeyPhase.RETIRED, "regions had it no more when it retired"),
    ],
)
async def test_what_is_said_of_a_compromised_version_is_true_of_its_phase(
    desk: Desk, phase: KeyPhase, words: str
) -> None:
    await desk.version(1, phase)
    done = await desk.ask("CompromiseVersion", version="1")
    assert isinstance(done, Done)
    assert words in done.message


# --- adoption


async def adopt(desk: Desk, monkeypatch: pytest.MonkeyPatch, primary: int, *keys: Material) -> Outcome:
    keyset = Keyset(tuple((key.number, fingerprint(RING_ID, key)) for key in keys), primary)
    there = Place("hkg", True, SimpleNamespace(), Found(None, Held(keyset=keyset, keys=keys)))  # type: ignore[arg-type]

    async def read(*_: object, **__: object) -> Place:
        return there

    monkeypatch.setattr(place, "read", read)
    return await desk.ask("AdoptKeyset", region="hkg", keyset=orders.digest(keyset))


async def test_another_key_that_was_made_meanwhile_is_not_taken_for_the_regions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await desk.version(1, KeyPhase.PRIMARY)
    second = await desk.version(2, KeyPhase.RESERVED)  # its material is made, of other bytes than the region's
    theirs = replace(second, key=bytes(32))
    with pytest.raises(Terminal, match=f"Secret system/{secret_name(RING_ID, 2)} holds other material.*: delete"):
        await adopt(desk, monkeypatch, 2, first, theirs)
    assert desk.phase(2) == "Reserved"
    del desk.hub.objects["Secret", secret_name(RING_ID, 2)]
    done = await adopt(desk, monkeypatch, 2, first, theirs)
    assert isinstance(done, Done)
    assert desk.phase(2) == "Primary"
    stored = await desk.deks.stored(RING_ID, desk.entries())
    assert await desk.deks.open(RING_ID, [stored[2]]) == [theirs]


async def test_what_the_hub_has_lost_is_stored_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await desk.version(1, KeyPhase.PRIMARY, stored=False)
    done = await adopt(desk, monkeypatch, 1, first)
    assert done == Done("taken over from region hkg: none was missing; stored again: 1")
    stored = await desk.deks.stored(RING_ID, desk.entries())
    assert await desk.deks.open(RING_ID, stored.values()) == [first]
    assert await adopt(desk, monkeypatch, 1, first) == Done("taken over from region hkg: none was missing")
