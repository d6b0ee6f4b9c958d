"""What two people have done to a ring: by Approvals that one asks for and another approves, with their own rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from roadstead_keys.errors import NotServedError

from clusters import eventually, run_kubectl
from keyconsumers import Consumer
from rings import blocked, ended, phases, region, rotate, settled, status_of
from worlds import NAMESPACE, SETTLE_SECONDS, World

MakeRing = Callable[..., str]
MakePod = Callable[[str, str], Consumer]
Ask = Callable[..., str]
RETENTION_SECONDS = 150
"""A minute of retention and half of one by which clocks may differ, and some more."""


def test_what_a_compromised_version_encrypted_is_read_only_to_be_written_anew(
    world: World, make: MakeRing, pod: MakePod, ask: Ask
) -> None:
    name = make("hkg", lead="1h", soak="1h")
    settled(world, name, 1)
    user = pod(name, "hkg")
    user.catch_up()
    old = user.ring.encrypt(b"words", b"row 1")
    ended(world, ask(name, "CompromiseVersion", version="1"))

    def moved_on() -> bool:
        user.catch_up()
        return phases(world, name) == {1: "Compromised", 2: "Primary"}  # without lead and soak

    eventually(moved_on, deadline=SETTLE_SECONDS)
    eventually(lambda: user.load() and set(user.ring.versions) == {2}, deadline=SETTLE_SECONDS)
    with pytest.raises(NotServedError):
        user.ring.decrypt(old, b"row 1")
    fresh = user.ring.rewrap(old, b"row 1")
    assert user.ring.decrypt(fresh, b"row 1") == b"words"

    # One ciphertext is left: the keyset to write anew with stays, and the status says how many there are.
    user.catch_up({1: 1, 2: 1})

    def counted() -> bool:
        assert status_of(world, name).get("rewrap") == [{"version": 1, "remaining": 1, "silent": 0}]
        return True

    eventually(counted, deadline=2 * SETTLE_SECONDS)
    assert world.at["hkg"].find("secrets", f"{name}.hkg.rewrap")
    user.catch_up({2: 2})
    eventually(lambda: not world.at["hkg"].find("secrets", f"{name}.hkg.rewrap"), deadline=2 * SETTLE_SECONDS)
    assert world.at_hub.get("keyversions", f"{name}-v1")["status"]["rewrapped"] is True
    answer = run_kubectl(
        world.hub, "-n", NAMESPACE, "patch", "keyversion", f"{name}-v1", "--type=merge", '-p={"status": {"mark": ""}}'
    )
    assert "status.mark is taken back from Compromised" in answer.stderr


def test_a_version_retires_when_nobody_stores_anything_of_it_and_comes_back_when_somebody_does(
    world: World, make: MakeRing, pod: MakePod, ask: Ask
) -> None:
    name = make("hkg", "sgp", attestation="Trusted", removalDelay="0s", kek={"rotateEvery": "90d"})
    settled(world, name, 1)
    users = [pod(name, "hkg"), pod(name, "sgp")]
    rotate(world, name)

    def drained() -> bool:
        for user in users:
            user.catch_up({1: 1})
        return phases(world, name) == {1: "Draining", 2: "Primary"}

    eventually(drained, deadline=SETTLE_SECONDS)
    users[0].prove({})
    eventually(
        lambda: status_of(world, name).get("rewrap") == [{"version": 1, "remaining": 1, "silent": 0}],
        deadline=2 * SETTLE_SECONDS,
    )
    assert phases(world, name)[1] == "Draining", "a region stores something of it"
    users[1].prove({})
    eventually(lambda: phases(world, name)[1] == "Retired", deadline=2 * SETTLE_SECONDS)
    eventually(lambda: all(user.load() and set(user.ring.versions) == {2} for user in users), deadline=SETTLE_SECONDS)

    # A volume that was away comes back with something of it.
    users[1].prove({1: 1})
    assert users[1].answered()["wanted"] == [1]
    eventually(lambda: users[1].load() and 1 in users[1].ring.versions, deadline=400)
    assert world.at_hub.get("keyversions", f"{name}-v1")["status"]["returned"] is True
    refused = ended(world, ask(name, "RemoveVersions", upTo="1"), "Refused")
    assert "version 1 is Retired, and regions have it" in refused

    # It is written anew, and an administrator says that it is not needed any more: then it can go for ever.
    for user in users:
        user.catch_up({})
    world.at_hub.patch("keyversions", f"{name}-v1", {"status": {"returned": False}})
    eventually(lambda: all(user.load() and set(user.ring.versions) == {2} for user in users), deadline=SETTLE_SECONDS)
    for user in users:
        user.prove({})
    message = ended(world, ask(name, "RemoveVersions", upTo="1", shred="true"), seconds=RETENTION_SECONDS)
    assert message.startswith("1 versions up to 1 are shredded, and the KEKs destroyed that they were wrapped with; ")
    assert phases(world, name) == {1: "Shredded", 2: "Primary"}
    ring_id = status_of(world, name)["ringID"]
    secrets = {s["metadata"]["name"] for s in world.at_hub.items("secrets", "roadstead-system")}
    assert not {secret for secret in secrets if secret.startswith((f"dek-{ring_id}-v1", f"kek-{ring_id}-1-"))}
    assert {secret for secret in secrets if secret.startswith(f"kek-{ring_id}-2-")}
    text = users[0].ring.encrypt(b"words", b"row 3")
    assert users[1].ring.decrypt(text, b"row 3") == b"words"


def test_a_region_that_is_excluded_holds_nothing_up_and_comes_back_by_its_proof(
    world: World, make: MakeRing, pod: MakePod, ask: Ask
) -> None:
    name = make("hkg", "sgp")
    settled(world, name, 1)
    well, stuck = pod(name, "hkg"), pod(name, "sgp")
    for user in (well, stuck):
        user.catch_up()
    rotate(world, name)
    eventually(lambda: phases(world, name).get(2) == "Published", deadline=SETTLE_SECONDS)

    def only_sgp() -> bool:
        well.catch_up()
        return bool(status_of(world, name).get("blockedBy") == "NotProved: sgp")

    eventually(only_sgp, deadline=SETTLE_SECONDS)
    refused = ended(world, ask(name, "ExcludeRegion", region="spg"), "Refused")
    assert refused == "spec.parameters.region is spg, which is no region of the ring; it has hkg, sgp"
    waiting = ask(name, "ExcludeRegion", approved=False, region="sgp")
    ended(world, waiting, "Pending")
    blocked(world, name, "NotProved: sgp")
    ended(world, ask(name, "ExcludeRegion", region="sgp"))

    def gone_on() -> bool:
        well.catch_up()
        assert phases(world, name) == {1: "Draining", 2: "Primary"}, status_of(world, name)
        return True

    eventually(gone_on, deadline=SETTLE_SECONDS)
    assert region(world, name, "sgp")["excluded"] is True
    assert stuck.ring.primary == 1
    stuck.catch_up()
    eventually(lambda: not region(world, name, "sgp").get("excluded"), deadline=SETTLE_SECONDS)
    settled(world, name, 2)


def test_a_shorter_retention_counts_from_its_approval_on(world: World, make: MakeRing, ask: Ask) -> None:
    name = make("hkg", retention="90d")
    settled(world, name, 1)
    world.at_hub.patch("keyrings", name, {"spec": {"retention": "1m"}})
    blocked(world, name, "RetentionNotApproved")
    rotate(world, name)
    eventually(lambda: phases(world, name) == {1: "Draining", 2: "Primary"}, deadline=SETTLE_SECONDS)
    assert status_of(world, name)["retention"] == "90d"
    ended(world, ask(name, "ShortenRetention", retention="1m"))
    eventually(lambda: phases(world, name)[1] == "Retired", deadline=RETENTION_SECONDS)
    assert status_of(world, name)["retention"] == "1m"


@pytest.mark.parametrize(
    ("operation", "parameters", "words"),
    [
        ("CompromiseVersion", {"version": "9"}, "version is 9, but the ring has no such version"),
        ("CompromiseVersion", {"version": "one"}, "spec.parameters.version is one, which is no number"),
        ("RemoveVersions", {"upTo": "1"}, "version 1 is Primary, and regions have it"),
        ("RemoveVersions", {"upTo": "999999"}, "upTo is 999999, but the newest version is 1"),
        ("ShortenRetention", {"retention": "30d"}, "write spec.retention first"),
        ("AdoptKeyset", {"region": "hkg", "keyset": "0123456789abcdef"}, "but region hkg has the keyset"),
        ("AdoptKeyset", {"region": "sgp", "keyset": "0123456789abcdef"}, "region is sgp, which spec.regions"),
        ("Anything", {}, "spec.operation is Anything, which is no operation of a KeyRing"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_field_and_changes_nothing(
    world: World, make: MakeRing, ask: Ask, operation: str, parameters: dict[str, Any], words: str
) -> None:
    name = make("hkg")
    settled(world, name, 1)
    assert words in ended(world, ask(name, operation, **parameters), "Refused")
    settled(world, name, 1)
    assert phases(world, name) == {1: "Primary"}
