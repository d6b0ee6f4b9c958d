"""Wrapped versions on a real API server: what two operators do at once, what is taken away for ever, and what is put
where ours should be."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clusters import eventually_async
from kek_contract import a_name
from localkube.bare import BareCluster
from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import KeyType, KeyVersion
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.errors import Conflict, Terminal
from roadstead.keys import kek_keeper
from roadstead.keys.deks import Deks, secret_name
from roadstead.keys.kek import Kek, KekProvider, ProviderDown, ProviderRefuses, Reason
from roadstead.keys.kek_keeper import KekKeeper
from roadstead.keys.kek_kubernetes import KubernetesProvider
from roadstead.keys.kek_pinned import REST, Module, PinnedProvider
from roadstead.keys.kek_rotation import Rules, View
from roadstead.keys.providers import NotConfigured
from roadstead.keys.stored import KekIntent, Stored
from softhsm import LIBRARY, PIN, SoftHsm
from unit.kernel.fake_clock import FakeClock

LABEL = "deks"
KUBERNETES, PKCS11 = KekProviderKind.KUBERNETES, KekProviderKind.PKCS11


@pytest.fixture
async def client(hub: BareCluster) -> AsyncIterator[ClusterClient]:
    made = ClusterClient("hub", await hub_configuration(str(hub.kubeconfig)))
    yield made
    await made.close()


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    made = SoftHsm(tmp_path_factory.mktemp("hsm"))
    made.init(LABEL)
    return made


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\n")
    return path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def module(hsm: SoftHsm, pin_file: Path, clock: FakeClock) -> AsyncIterator[PinnedProvider]:
    made = PinnedProvider(Module(LIBRARY, LABEL, pin_file, hsm.environment, 30.0), secrets.token_bytes, clock.monotonic)
    yield made
    await made.close()


@pytest.fixture
def deks(client: ClusterClient, namespace: str, module: PinnedProvider) -> Deks:
    return with_provider(client, namespace, module)


def with_provider(client: ClusterClient, namespace: str, module: KekProvider) -> Deks:
    providers = {KUBERNETES: KubernetesProvider(client, namespace, secrets.token_bytes), PKCS11: module}
    return Deks(client, namespace, providers, secrets.token_bytes)


@pytest.fixture
def ring_id() -> str:
    return "r" + secrets.token_hex(6)


def entry(ring_id: str, number: int, fingerprint: str | None = None) -> KeyVersion:
    """A KeyVersion, staged when a fingerprint is given."""
    body = {
        "metadata": {"name": f"ring-v{number}", "namespace": "chat"},
        "spec": {
            "ring": "ring",
            "ringID": ring_id,
            "number": number,
            "keyType": KeyType.XAES_256_GCM.value,
            "operation": f"{number:016x}",
        },
        "status": {"phase": "Staged" if fingerprint else "Reserved", "fingerprint": fingerprint},
    }
    return KeyVersion.model_validate(body)


async def with_versions(deks: Deks, ring_id: str, count: int, provider: KekProviderKind) -> dict[int, KeyVersion]:
    """A ring with so many versions that are staged."""
    entries: dict[int, KeyVersion] = {}
    for number in range(1, count + 1):
        entries[number] = entry(ring_id, number)
        known = await deks.stored(ring_id, entries)
        await deks.make(entries[number], known, provider)
        made = (await deks.stored(ring_id, entries))[number]
        entries[number] = entry(ring_id, number, made.fingerprint)
    return entries


async def nobody(_reason: str, _note: str) -> None:
    return


def due(deks_stored: Stored, provider: KekProviderKind, clock: FakeClock) -> View:
    """A KEK is due for what is stored, unless one was asked for within the hour."""
    begun = {copy.kek.name.operation: clock.now() - timedelta(days=100) for copy in deks_stored.copies}
    return View(Rules(provider, timedelta(hours=1)), deks_stored, begun)


@pytest.mark.parametrize("provider", [KUBERNETES, PKCS11])
async def test_every_version_is_wrapped_anew_and_opens_as_before(
    deks: Deks, ring_id: str, clock: FakeClock, provider: KekProviderKind
) -> None:
    entries = await with_versions(deks, ring_id, 3, provider)
    before = await deks.stored(ring_id, entries)
    keys = [material.key for material in await deks.open(ring_id, before.values())]
    kept = await KekKeeper(deks).keep(ring_id, "chat/ring", due(before, provider, clock), clock, nobody)
    assert kept.error is None
    after = await deks.stored(ring_id, entries)
    assert len(after.copies) == 3
    assert {copy.kek.name.generation for copy in after.copies} == {2}
    assert sorted(m.key for m in await deks.open(ring_id, after.values())) == sorted(keys)


async def test_a_kek_is_asked_for_once(deks: Deks, ring_id: str, clock: FakeClock) -> None:
    """By two at once; and by one who comes when it was made already."""
    asked = [deks.ask_for_kek(ring_id, "chat/ring", 2, KUBERNETES, clock.now()) for _ in range(2)]
    said = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in said if isinstance(one, Exception)] == [Conflict]
    entries = await with_versions(deks, ring_id, 1, KUBERNETES)
    assert (await deks.stored(ring_id, entries))[1].kek.name.generation == 2
    with pytest.raises(Conflict):
        await deks.ask_for_kek(ring_id, "chat/ring", 2, KUBERNETES, clock.now())
    assert (await deks.ask_for_kek(ring_id, "chat/ring", 3, KUBERNETES, clock.now())).generation == 3


async def test_a_ring_that_is_made_again_elsewhere_takes_its_keys_along(
    deks: Deks, ring_id: str, clock: FakeClock
) -> None:
    entries = await with_versions(deks, ring_id, 2, KUBERNETES)
    before = await deks.stored(ring_id, entries)
    view = replace(due(before, PKCS11, clock), rules=Rules(PKCS11, timedelta(days=900)))
    await KekKeeper(deks).keep(ring_id, "chat/ring", view, clock, nobody)
    after = await deks.stored(ring_id, entries)
    assert {(copy.provider, copy.kek.name.generation) for copy in after.copies} == {(PKCS11, 2)}
    await deks.open(ring_id, after.values())


async def test_what_is_removed_and_shredded_is_gone_and_nothing_else(
    deks: Deks, ring_id: str, clock: FakeClock
) -> None:
    entries = await with_versions(deks, ring_id, 3, PKCS11)
    before = await deks.stored(ring_id, entries)
    used = before[1].kek
    assert await deks.shred(ring_id, 1) == ((), (used,)), "it is in use"
    await deks.remove(ring_id, 1)
    assert sorted(await deks.stored(ring_id, entries)) == [2, 3]
    assert await deks.shred(ring_id, 1) == ((), (used,)), "others are wrapped with it"
    del entries[1]
    view = due(await deks.stored(ring_id, entries), PKCS11, clock)
    view = replace(view, rules=Rules(PKCS11, timedelta(days=900), above=1))
    await KekKeeper(deks).keep(ring_id, "chat/ring", view, clock, nobody)
    old = before[1].kek
    assert await deks.shred(ring_id, 1) == ((old,), ())
    assert [kek.name.generation for kek in await deks.listed(ring_id, PKCS11)] == [2]
    assert (await deks.shred(ring_id, 2))[0] == (), "the present one stays"
    with pytest.raises(ProviderRefuses) as caught:
        await deks.open(ring_id, [replace((await deks.stored(ring_id, entries))[2], kek=old)])
    assert caught.value.reason is Reason.KEK_MISSING
    await deks.open(ring_id, (await deks.stored(ring_id, entries)).values())


async def test_nothing_is_shredded_while_a_provider_that_has_keys_cannot_be_looked_at(
    deks: Deks, client: ClusterClient, namespace: str, ring_id: str
) -> None:
    entries = await with_versions(deks, ring_id, 1, PKCS11)
    without = with_provider(client, namespace, NotConfigured("set it up"))
    with pytest.raises(ProviderRefuses, match="set it up"):
        await without.shred(ring_id, 1)
    await deks.remove(ring_id, 1)
    assert not await deks.stored(ring_id, entries)
    assert await without.shred(ring_id, 1) == ((), ()), "nothing says that there ever was another provider"
    with pytest.raises(ProviderRefuses, match="set it up"):
        await without.shred(ring_id, 1, [PKCS11])


async def test_what_two_have_made_at_once_is_collected_when_nobody_can_need_it(
    deks: Deks, module: PinnedProvider, hsm: SoftHsm, ring_id: str, clock: FakeClock
) -> None:
    """SoftHSM makes two of one name when two ask it at once; here the second is made by hand."""
    entries = await with_versions(deks, ring_id, 1, PKCS11)
    stored = await deks.stored(ring_id, entries)
    used = stored[1].kek
    hsm.python(f"""
import pkcs11
from pkcs11 import Attribute, KeyType
token = pkcs11.lib({LIBRARY!r}).get_token(token_label={LABEL!r})
with token.open(user_pin={PIN!r}, rw=True) as session:
    label = "roadstead/{ring_id}/1/{used.name.operation}"
    template = {{Attribute.SIGN: True}}
    session.generate_key(KeyType.AES, 256, label=label, id=label.encode(), store=True, template=template)
""")
    assert len(await module.keks(ring_id)) == 2
    view = View(Rules(PKCS11, timedelta(days=90)), stored, {used.name.operation: clock.now()})
    keeper = KekKeeper(deks)
    said = []

    async def say(reason: str, note: str) -> None:
        said.append((reason, note))

    async def pass_() -> float | None:
        return (await keeper.keep(ring_id, "chat/ring", view, clock, say)).after

    assert await pass_() == kek_keeper.PATIENCE
    await clock.advance(kek_keeper.PATIENCE - 1)
    assert await pass_() == pytest.approx(1.0)
    assert len(await module.keks(ring_id)) == 2, "a former leader may still be about to store what it wrapped"
    await clock.advance(1)
    assert await pass_() is None
    assert await module.keks(ring_id) == (used,)
    (event,) = said
    assert event[0] == "KekCollected"
    await deks.open(ring_id, stored.values())


async def test_a_copy_that_does_not_open_takes_nothing_away(
    deks: Deks, client: ClusterClient, namespace: str, ring_id: str, clock: FakeClock
) -> None:
    entries = await with_versions(deks, ring_id, 2, KUBERNETES)
    stored = await deks.stored(ring_id, entries)
    intent = await deks.ask_for_kek(ring_id, "chat/ring", 2, KUBERNETES, clock.now())
    copy = await deks.rewrap(ring_id, stored[1], intent, stored)
    found = await client.get(objects.SECRETS, namespace, copy.secret)
    await client.delete(objects.SECRETS, namespace, copy.secret, uid=copy.uid)
    kept = {key: found["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    spoilt = {"metadata": kept, "type": found["type"], "data": {"wrapped": "AAAA"}}
    await client.create(objects.SECRETS, namespace, spoilt, manager="a person")
    view = due(await deks.stored(ring_id, entries), KUBERNETES, clock)
    done = await KekKeeper(deks).keep(ring_id, "chat/ring", view, clock, nobody)
    assert f"Secret {namespace}/{copy.secret}: the wrapped key is damaged" in str(done.error)
    after = await deks.stored(ring_id, entries)
    assert after[1].secret == secret_name(ring_id, 1), "what opens is used"
    assert after[2].kek.name.generation == 2, "the other version does not wait for it"
    await deks.open(ring_id, after.values())


async def test_a_copy_that_somebody_put_there_is_not_taken(
    deks: Deks, client: ClusterClient, namespace: str, ring_id: str, clock: FakeClock
) -> None:
    entries = await with_versions(deks, ring_id, 1, KUBERNETES)
    stored = await deks.stored(ring_id, entries)
    intent = KekIntent(2, "0123456789abcdef", KUBERNETES, datetime.now(UTC))
    name = secret_name(ring_id, 1, intent.name(ring_id))
    body = {"metadata": {"name": name, "namespace": namespace}, "type": "Opaque"}
    await client.create(objects.SECRETS, namespace, body, manager="a person")
    with pytest.raises(Terminal, match=f"Secret {namespace}/{name} exists and is no copy of .*; delete it"):
        await deks.rewrap(ring_id, stored[1], intent, stored)


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def test_another_pin_is_taken_up_and_a_refused_one_is_not_tried_again(
    module: PinnedProvider, pin_file: Path
) -> None:
    write(pin_file, "not-the-pin")
    for _ in range(3):
        with pytest.raises(ProviderRefuses) as caught:
            await module.keks("any")
        assert caught.value.reason is Reason.PIN_WRONG
        assert "not-the-pin" not in str(caught.value)
    first = module._provider
    write(pin_file, "")
    with pytest.raises(ProviderRefuses, match="has no PIN in UTF-8"):
        await module.keks("any")
    write(pin_file, "not-the-pin")
    with pytest.raises(ProviderRefuses):
        await module.keks("any")
    assert module._provider is first, "the same PIN again is the PIN that was refused"
    write(pin_file, PIN)
    assert await module.keks("any") == ()


async def test_a_module_that_hangs_is_not_asked_for_each_ring(hsm: SoftHsm, pin_file: Path, clock: FakeClock) -> None:
    module = PinnedProvider(
        Module(LIBRARY, LABEL, pin_file, hsm.environment, 3.0), secrets.token_bytes, clock.monotonic
    )
    kek = Kek(a_name("any"), "0" * 32)
    with contextlib.suppress(ProviderRefuses):
        await module.keks("any")
    with hsm.hanging():
        with pytest.raises(ProviderDown) as caught:
            await module.keks("any")
        assert caught.value.reason is Reason.TIMED_OUT
        assert module._provider is not None
        assert module._provider._process is None
        for _ in range(10):
            with pytest.raises(ProviderDown, match="gave no answer"):
                await module.wrap(kek, b"k" * 32, b"")
        assert module._provider._process is None, "no process was started"

    async def answers() -> bool:
        await clock.advance(REST)
        try:
            return await module.keks("any") == ()
        except ProviderDown:  # a machine that does other things, too
            return False

    await eventually_async(answers)
    await module.close()
