"""The keeper on the leader and the followers on every replica, against a hub in memory."""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from roadstead.admission.certificates import CERT_MANAGER_ANNOTATION, serving_names
from roadstead.admission.keeper import CertificateFollower, CertificateKeeper
from roadstead.admission.tls import ServingTls
from roadstead.kernel.errors import Conflict, Fatal, Invalid, NotFound, Unreachable
from unit.admission.fakes import HandClock, MemoryHub

NAMESPACE, SECRET, CONFIGURATION = "roadstead-system", "roadstead-webhook-tls", "roadstead"
NAMES = serving_names("roadstead-webhook", NAMESPACE)


def hub_with_webhooks() -> MemoryHub:
    hub = MemoryHub()
    webhooks = [{"name": f"{kind}.roadstead.dev", "clientConfig": {"service": {"name": "w"}}} for kind in "ab"]
    hub.put("validatingwebhookconfigurations", {"metadata": {"name": CONFIGURATION}, "webhooks": webhooks})
    return hub


def keeper_of(hub: Any, clock: HandClock) -> CertificateKeeper:
    return CertificateKeeper(
        hub,
        namespace=NAMESPACE,
        secret=SECRET,
        configuration=CONFIGURATION,
        names=NAMES,
        clock=clock,
    )


def bundles(hub: MemoryHub) -> list[bytes]:
    webhooks = hub.objects["validatingwebhookconfigurations", "", CONFIGURATION]["webhooks"]
    return [base64.b64decode(webhook["clientConfig"].get("caBundle", "")) for webhook in webhooks]


def stored(hub: MemoryHub, name: str) -> bytes:
    return base64.b64decode(hub.objects["secrets", NAMESPACE, SECRET]["data"][name])


async def settle(keeper: CertificateKeeper) -> float:
    for _ in range(5):
        if delay := await keeper.tend():
            return delay
    raise AssertionError("the keeper does not come to rest")


async def test_the_first_look_makes_everything_and_the_second_publishes_it() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    assert await settle(keeper) == 15.0
    assert hub.writes == ["create", "apply"]
    assert bundles(hub) == [stored(hub, "ca.crt")] * 2


async def test_looking_again_writes_nothing() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    await settle(keeper_of(hub, clock))
    hub.writes.clear()
    for _ in range(5):
        await settle(keeper_of(hub, clock))
        clock.time += timedelta(days=5)
    assert hub.writes == []


async def test_a_bundle_that_somebody_took_away_is_written_again() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    await settle(keeper)
    del hub.objects["validatingwebhookconfigurations", "", CONFIGURATION]["webhooks"][1]["clientConfig"]["caBundle"]
    hub.writes.clear()
    await settle(keeper)
    assert hub.writes == ["apply"]
    assert bundles(hub) == [stored(hub, "ca.crt")] * 2


async def test_a_deleted_secret_is_made_anew_and_published() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    await settle(keeper)
    before = stored(hub, "ca.crt")
    del hub.objects["secrets", NAMESPACE, SECRET]
    await settle(keeper)
    assert stored(hub, "ca.crt") != before
    assert bundles(hub) == [stored(hub, "ca.crt")] * 2


async def test_labels_that_others_put_on_the_secret_stay() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    await settle(keeper)
    hub.objects["secrets", NAMESPACE, SECRET]["metadata"]["labels"]["backup"] = "no"
    clock.time += timedelta(days=61)
    await settle(keeper)
    assert hub.objects["secrets", NAMESPACE, SECRET]["metadata"]["labels"]["backup"] == "no"


async def test_a_whole_rotation_of_the_ca_publishes_before_it_serves() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    await settle(keeper)
    first = bundles(hub)[0]
    seen = [first]
    for _ in range(400 * 4):
        clock.time += timedelta(hours=6)
        await settle(keeper)
        if bundles(hub)[0] != seen[-1]:
            seen.append(bundles(hub)[0])
        serving = x509.load_pem_x509_certificate(stored(hub, "tls.crt"))
        issuers = {ca.subject for ca in x509.load_pem_x509_certificates(bundles(hub)[0])}
        assert serving.issuer in issuers
    counts = [len(x509.load_pem_x509_certificates(bundle)) for bundle in seen]
    assert counts == [1, 2, 2, 1]
    assert seen[-1] not in first


async def test_a_bundle_that_was_late_is_published_one_look_before_the_new_ca_signs() -> None:
    """The hub refused the webhook configuration for a day, right after the next CA was introduced."""
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    await settle(keeper)
    clock.time += timedelta(days=240)
    await settle(keeper)
    clock.time += timedelta(days=6)
    assert await keeper.tend() == 0.0
    apply = hub.apply

    async def refuse(*_: Any, **__: Any) -> dict[str, Any]:
        raise Unreachable("hub does not answer")

    hub.apply = refuse  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        await keeper.tend()
    clock.time += timedelta(days=1)
    hub.apply = apply  # type: ignore[method-assign]
    signed = stored(hub, "tls.crt")
    await keeper.tend()
    assert bundles(hub)[0] == stored(hub, "ca.crt")
    assert stored(hub, "tls.crt") == signed
    await settle(keeper)
    assert stored(hub, "tls.crt") != signed


async def overtake(hub: MemoryHub, winner: CertificateKeeper, loser: CertificateKeeper) -> None:
    """Let the winner write after the loser has read, and see the loser come to the winner's result."""
    read = hub.find

    async def read_then_be_overtaken(gvr: Any, namespace: str, name: str) -> dict[str, Any] | None:
        found = await read(gvr, namespace, name)
        hub.find = read  # type: ignore[method-assign]
        await settle(winner)
        return found

    hub.find = read_then_be_overtaken  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        await loser.tend()
    made = stored(hub, "tls.crt")
    await settle(loser)
    assert stored(hub, "tls.crt") == made


async def test_who_loses_the_race_to_create_uses_what_the_winner_made() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    winner, loser = keeper_of(hub, clock), keeper_of(hub, clock)
    await overtake(hub, winner, loser)


async def test_who_loses_the_race_to_renew_uses_what_the_winner_made() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    winner, loser = keeper_of(hub, clock), keeper_of(hub, clock)
    await settle(winner)
    clock.time += timedelta(days=61)
    await overtake(hub, winner, loser)


async def test_a_secret_of_cert_manager_is_not_touched() -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    metadata = {"name": SECRET, "annotations": {CERT_MANAGER_ANNOTATION: "roadstead-webhook"}}
    hub.put("secrets", {"metadata": metadata, "data": {}}, NAMESPACE)
    with pytest.raises(Invalid, match=r"webhooks.certificates.mode"):
        await keeper_of(hub, clock).tend()
    assert hub.writes == []


async def test_without_the_chart_it_says_what_is_missing() -> None:
    hub, clock = MemoryHub(), HandClock()
    keeper = keeper_of(hub, clock)
    assert await keeper.tend() == 0.0
    with pytest.raises(NotFound, match="install it with the chart"):
        await keeper.tend()


async def test_failures_are_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    hub, clock = hub_with_webhooks(), HandClock()
    keeper = keeper_of(hub, clock)
    failures = iter([Unreachable("hub does not answer"), Conflict("modified")])
    read = hub.find

    async def fail_first(*args: Any) -> dict[str, Any] | None:
        for failure in failures:
            raise failure
        return await read(*args)

    hub.find = fail_first  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.WARNING):
        await run_until(keeper.run(), clock, lambda: 15.0 in clock.slept)
    assert clock.slept[:2] == [2.0, 0.1]
    assert "hub does not answer" in caplog.text
    assert bundles(hub) == [stored(hub, "ca.crt")] * 2


async def test_the_loss_of_the_lease_ends_it() -> None:
    hub, clock = hub_with_webhooks(), HandClock()

    async def lost(*_: Any, **__: Any) -> dict[str, Any]:
        raise Fatal("the lease is lost")

    hub.create = lost  # type: ignore[method-assign]
    with pytest.raises(Fatal):
        await keeper_of(hub, clock).run()


async def run_until(loop: Any, clock: HandClock, done: Any) -> None:
    """Run an endless loop whose sleeps take no time until ``done`` holds."""
    sleep = clock.sleep

    async def and_yield(delay: float) -> None:
        await sleep(delay)
        await asyncio.sleep(0)

    clock.sleep = and_yield  # type: ignore[method-assign]
    task = asyncio.ensure_future(loop)
    try:
        async with asyncio.timeout(5):
            while not done():  # noqa: ASYNC110 - the clock is ours and wakes nobody
                await asyncio.sleep(0)
    finally:
        task.cancel()


async def test_a_follower_waits_for_the_secret_then_reads_it_now_and_then() -> None:
    hub, clock, tls = hub_with_webhooks(), HandClock(), ServingTls()
    follower = CertificateFollower(hub, namespace=NAMESPACE, secret=SECRET, tls=tls, clock=clock, interval=15.0)
    assert not await follower.load()
    assert not tls.loaded.is_set()
    await settle(keeper_of(hub, clock))
    await run_until(follower.run(), clock, lambda: len(clock.slept) > 2)
    assert tls.loaded.is_set()
    assert set(clock.slept) == {15.0}


async def test_a_follower_takes_up_a_renewed_certificate_once() -> None:
    hub, clock, tls = hub_with_webhooks(), HandClock(), ServingTls()
    keeper = keeper_of(hub, clock)
    follower = CertificateFollower(hub, namespace=NAMESPACE, secret=SECRET, tls=tls, clock=clock)
    await settle(keeper)
    assert await follower.load()
    first = tls.not_after
    assert not await follower.load()
    clock.time += timedelta(days=61)
    await settle(keeper)
    assert await follower.load()
    assert tls.not_after is not None
    assert first is not None
    assert tls.not_after - first == timedelta(days=61)


async def test_a_follower_serves_on_when_the_secret_becomes_unusable(caplog: pytest.LogCaptureFixture) -> None:
    hub, clock, tls = hub_with_webhooks(), HandClock(), ServingTls()
    follower = CertificateFollower(hub, namespace=NAMESPACE, secret=SECRET, tls=tls, clock=clock)
    await settle(keeper_of(hub, clock))
    await follower.load()
    good = tls.not_after
    hub.objects["secrets", NAMESPACE, SECRET]["data"]["tls.crt"] = base64.b64encode(b"nonsense").decode()
    await run_until(follower.run(), clock, lambda: len(clock.slept) > 1)
    assert "cannot be served" in caplog.text
    assert tls.not_after == good


async def test_a_key_of_another_certificate_is_refused_and_the_old_pair_stays_whole() -> None:
    hub, clock, tls = hub_with_webhooks(), HandClock(), ServingTls()
    await settle(keeper_of(hub, clock))
    certificate, key = stored(hub, "tls.crt"), stored(hub, "tls.key")
    assert tls.load(certificate, key)
    with pytest.raises(ValueError, match="do not belong together"):
        tls.load(certificate, stored(hub, "ca.key"))
    assert not tls.load(certificate, key)
