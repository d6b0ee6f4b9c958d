"""A ring from its first version to its deletion: a hub, two regions, the operator with its own rights, real keysets."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from roadstead_keys.errors import UnknownVersionError

import worlds
from clusters import eventually, kubectl
from keyconsumers import Consumer
from rings import blocked, looked_at, phases, region, ring_of, rotate, settled, status_of
from worlds import NAMESPACE, SETTLE_SECONDS, World

MakeRing = Callable[..., str]


def test_the_first_version_is_handed_out_and_written_with(
    world: World, make: MakeRing, pod: Callable[[str, str], Consumer]
) -> None:
    name = make()
    settled(world, name, 1)
    assert phases(world, name) == {1: "Primary"}
    said = kubectl(world.hub, "-n", NAMESPACE, "wait", "--for=condition=Ready", f"keyring/{name}", "--timeout=40s")
    assert "condition met" in said
    here, there = pod(name, "hkg"), pod(name, "sgp")
    here.load()
    there.load()
    text = here.ring.encrypt(b"words", b"row 1")
    assert text[:5] == b"\x01\x00\x00\x00\x01"
    assert there.ring.decrypt(text, b"row 1") == b"words"


def test_nobody_writes_with_a_version_before_each_pod_has_proved_to_read_it(
    world: World, make: MakeRing, pod: Callable[[str, str], Consumer]
) -> None:
    name = make()
    settled(world, name, 1)
    quick, slow = pod(name, "hkg"), pod(name, "sgp")
    quick.catch_up()
    slow.catch_up()
    rotate(world, name)
    eventually(lambda: phases(world, name).get(2) == "Published", deadline=SETTLE_SECONDS)
    eventually(lambda: quick.load() and 2 in quick.ring.versions, deadline=SETTLE_SECONDS)
    quick.prove()
    blocked(world, name, "NotProved: sgp")
    assert phases(world, name) == {1: "Primary", 2: "Published"}
    assert quick.ring.primary == 1, "who has the new version goes on with the old one"

    eventually(lambda: slow.load() and 2 in slow.ring.versions, deadline=SETTLE_SECONDS)
    slow.prove()
    eventually(lambda: phases(world, name)[2] == "Primary", deadline=SETTLE_SECONDS)
    eventually(lambda: quick.load() and quick.ring.primary == 2, deadline=SETTLE_SECONDS)
    quick.prove()
    text = quick.ring.encrypt(b"words", b"row 1")
    assert slow.ring.decrypt(text, b"row 1") == b"words", "also who has not heard yet that it is primary"
    blocked(world, name, "OldPrimaryInUse: sgp")
    assert phases(world, name)[1] == "Superseded", "one pod may still write with it"

    eventually(lambda: slow.load() and slow.ring.primary == 2, deadline=SETTLE_SECONDS)
    slow.prove()
    eventually(lambda: phases(world, name) == {1: "Draining", 2: "Primary"}, deadline=SETTLE_SECONDS)
    settled(world, name, 2)
    entries = {entry["name"]: entry for entry in status_of(world, name)["regions"]}
    assert {(entry["proved"], entry["consumers"]) for entry in entries.values()} == {(1, 1)}


def test_what_is_no_proof_proves_nothing(world: World, make: MakeRing, pod: Callable[[str, str], Consumer]) -> None:
    name = make("hkg")
    settled(world, name, 1)
    honest, liar = pod(name, "hkg"), pod(name, "hkg")
    for one in (honest, liar):
        one.catch_up()
    rotate(world, name)
    eventually(lambda: honest.load() and 2 in honest.ring.versions, deadline=SETTLE_SECONDS)
    honest.prove()
    blocked(world, name, "NotProved: hkg")
    own = liar.answered()
    for forged in (
        json.dumps(honest.answered()),
        json.dumps({**own, "generation": own["generation"] + 1}),
        json.dumps({**own, "reads": {"2": own["reads"]["1"]}}),
        "nonsense",
        "[" * 100_000,
        json.dumps({"instance": [], "generation": "x", "reads": 5, "writes": None}),
    ):
        liar.hand_in(forged)
        looked_at(world, name)
        assert phases(world, name) == {1: "Primary", 2: "Published"}, forged[:200]
    eventually(lambda: liar.load() and 2 in liar.ring.versions, deadline=SETTLE_SECONDS)
    liar.prove()
    eventually(lambda: phases(world, name)[2] == "Primary", deadline=SETTLE_SECONDS)


@pytest.mark.parametrize("what", ["deleted", "emptied", "with a key less", "with another ring's key", "garbage"])
def test_a_keyset_that_somebody_spoils_comes_back(world: World, make: MakeRing, what: str) -> None:
    name = make("hkg")
    settled(world, name, 1)
    other = make("hkg")
    settled(world, other, 1)
    objects = world.at["hkg"]
    before = objects.get("secrets", f"{name}.hkg.keyset")
    if what == "deleted":
        objects.delete("secrets", f"{name}.hkg.keyset")
    else:
        data = dict(before["data"])
        match what:
            case "emptied":
                data = dict.fromkeys(data)
            case "with a key less":
                keyset = json.loads(base64.b64decode(data["keyset.json"]))
                data["keyset.json"] = base64.b64encode(json.dumps({**keyset, "key": []}).encode()).decode()
            case "with another ring's key":
                data["keyset.json"] = objects.get("secrets", f"{other}.hkg.keyset")["data"]["keyset.json"]
            case _:
                data["keyset.json"] = base64.b64encode(b"\x00{").decode()
        objects.patch("secrets", f"{name}.hkg.keyset", {"data": data})
    spoilt_by_another_ring = what == "with another ring's key"
    if spoilt_by_another_ring:
        blocked(world, name, "LedgerBehind: hkg")
        assert objects.get("secrets", f"{name}.hkg.keyset")["data"]["keyset.json"] != before["data"]["keyset.json"]
        objects.delete("secrets", f"{name}.hkg.keyset")

    def right() -> bool:
        found = (objects.find("secrets", f"{name}.hkg.keyset") or {}).get("data") or {}
        return bool(found.get("keyset.json") == before["data"]["keyset.json"])

    eventually(right, deadline=SETTLE_SECONDS)
    settled(world, name, 1)
    said = json.loads(base64.b64decode(objects.get("secrets", f"{name}.hkg.keyset")["data"]["ring.json"]))
    assert said["generation"] > json.loads(base64.b64decode(before["data"]["ring.json"]))["generation"]


def test_a_region_that_joins_and_one_that_leaves(
    world: World, make: MakeRing, pod: Callable[[str, str], Consumer]
) -> None:
    name = make("hkg")
    settled(world, name, 1)
    world.at_hub.patch("keyrings", name, {"spec": {"regions": ["hkg", "sgp"]}})
    user = pod(name, "sgp")
    eventually(user.load, deadline=SETTLE_SECONDS)
    user.prove()
    settled(world, name, 1)
    world.at_hub.patch("keyrings", name, {"spec": {"regions": ["hkg"]}})
    eventually(
        lambda: "does not name it any more" in region(world, name, "sgp").get("message", ""), deadline=SETTLE_SECONDS
    )
    assert world.at["sgp"].find("secrets", f"{name}.sgp.keyset"), "a pod there would lose its keys"
    user.end()
    eventually(lambda: not world.at["sgp"].find("secrets", f"{name}.sgp.keyset"), deadline=SETTLE_SECONDS)
    eventually(lambda: not region(world, name, "sgp"), deadline=SETTLE_SECONDS)
    assert world.at["hkg"].find("secrets", f"{name}.hkg.keyset")


def test_two_regions_that_are_one_cluster_have_each_a_keyset_and_pods_of_its_own(
    world: World, make: MakeRing, tmp_path: Path
) -> None:
    pools = ("east", "west")
    for one in pools:
        world.at_hub.apply("regions", worlds.pool(one, {"example.com/pool": one}), "")
    name = make(*pools)
    settled(world, name, 1)
    users = {}
    for one in (*pools, "esat"):  # the last has a slip of the pen in its label
        directory = tmp_path / one
        directory.mkdir()
        users[one] = Consumer(world.at_hub, name, one, world.fresh_name("pod"), directory)
    for one in pools:
        users[one].catch_up()
        assert users[one].ring.held.bundle.region == one
    rotate(world, name)

    def both_read() -> bool:
        for one in pools:
            users[one].catch_up()
        return all(2 in users[one].ring.versions for one in pools)

    eventually(both_read, deadline=SETTLE_SECONDS)
    # Who names no region of the ring may use the keyset of each: it holds up both.
    eventually(lambda: {region(world, name, one).get("consumers") for one in pools} == {2}, deadline=SETTLE_SECONDS)
    eventually(lambda: {region(world, name, one).get("proved") for one in pools} == {1}, deadline=SETTLE_SECONDS)
    assert phases(world, name)[2] == "Published"
    users.pop("esat").end()
    eventually(lambda: phases(world, name)[2] == "Primary", deadline=SETTLE_SECONDS)

    def drained() -> bool:
        for user in users.values():
            user.catch_up()
        return phases(world, name) == {1: "Draining", 2: "Primary"}

    eventually(drained, deadline=SETTLE_SECONDS)
    for user in users.values():
        user.end()


def test_a_ring_in_use_is_not_deleted_and_one_that_is_made_again_goes_on_with_its_numbers(
    world: World, make: MakeRing, pod: Callable[[str, str], Consumer]
) -> None:
    name = make("hkg")
    settled(world, name, 1)
    user = pod(name, "hkg")
    user.catch_up()
    text = user.ring.encrypt(b"words", b"row 1")
    world.at_hub.delete("keyrings", name)
    said = worlds.condition_of
    eventually(lambda: said(ring_of(world, name), "Deleting").get("status") == "True", deadline=SETTLE_SECONDS)
    message = said(ring_of(world, name), "Deleting")["message"]
    assert message.startswith("region hkg: 1 pods use the ring (label keyring.roadstead.dev/")
    assert world.at["hkg"].find("secrets", f"{name}.hkg.keyset")
    user.end()
    eventually(lambda: not world.at_hub.find("keyrings", name), deadline=SETTLE_SECONDS)
    assert not world.at["hkg"].find("secrets", f"{name}.hkg.keyset")
    assert not world.at["hkg"].find("configmaps", f"{name}.hkg.receipts")
    assert phases(world, name) == {1: "Primary"}, "the ledger stays"

    again = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "KeyRing",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "regions": ["hkg"],
            "distribution": "Cleartext",
            "schedule": {"jitter": "0s"},
            "lead": "0s",
            "soak": "0s",
        },
    }
    world.at_hub.apply("keyrings", again)
    settled(world, name, 2)  # its grid begins when it was made, so a slot is due
    reader = pod(name, "hkg")
    reader.load()
    assert reader.ring.decrypt(text, b"row 1") == b"words"
    world.at_hub.delete("keyrings", name)
    reader.end()


def test_a_version_is_taken_out_when_its_data_is_gone(
    world: World, make: MakeRing, pod: Callable[[str, str], Consumer]
) -> None:
    """With a retention as short as it may be, and the 30 s by which clocks may differ."""
    name = make("hkg", retention="1m")
    settled(world, name, 1)
    user = pod(name, "hkg")
    user.catch_up()
    old = user.ring.encrypt(b"words", b"row 1")
    rotate(world, name)

    def retired() -> bool:
        user.catch_up()
        return phases(world, name) == {1: "Retired", 2: "Primary"}

    eventually(retired, deadline=150)
    eventually(lambda: user.load() and user.ring.versions == {2}, deadline=SETTLE_SECONDS)
    with pytest.raises(UnknownVersionError):
        user.ring.decrypt(old, b"row 1")


def test_no_secret_is_told_anywhere(world: World, make: MakeRing, pod: Callable[[str, str], Consumer]) -> None:
    name = make("hkg")
    settled(world, name, 1)
    user = pod(name, "hkg")
    user.catch_up()
    secrets = [*world.at_hub.items("secrets", "roadstead-system"), world.at["hkg"].get("secrets", f"{name}.hkg.keyset")]
    keyset = json.loads(base64.b64decode(secrets[-1]["data"]["keyset.json"]))
    hidden = {entry["keyData"]["value"] for entry in keyset["key"]}
    hidden |= {value for secret in secrets for value in (secret.get("data") or {}).values() if len(value) > 40}
    assert len(hidden) > 3
    told = json.dumps(
        [
            world.at_hub.items("keyrings", NAMESPACE),
            world.at_hub.items("keyversions", NAMESPACE),
            world.at_hub.items("events", NAMESPACE),
            world.running.log_path.read_text(),
            world.running.fetch("/metrics")[1],
        ]
    )
    assert not [part for part in hidden if part in told]


def test_what_an_administrator_says_of_a_version(
    world: World, make: MakeRing, pod: Callable[[str, str], Consumer]
) -> None:
    name = make("hkg", lead="1h", soak="1h", retention="1m")
    settled(world, name, 1)
    user = pod(name, "hkg")
    user.catch_up()
    first = user.ring.encrypt(b"words", b"row 1")

    def say(number: int, **words: Any) -> None:
        world.at_hub.patch("keyversions", f"{name}-v{number}", {"status": words})

    def reached(**wanted: str) -> None:
        def so() -> bool:
            user.catch_up()
            found = phases(world, name)
            assert found == {int(number[1:]): phase for number, phase in wanted.items()}
            return True

        eventually(so, deadline=150)

    say(1, mark="Suspended")
    reached(v1="Suspended", v2="Primary")  # without lead and soak
    assert user.ring.decrypt(first, b"row 1") == b"words"
    say(1, mark="")
    reached(v1="Retired", v2="Primary")
    say(1, returned=True)
    eventually(lambda: user.load() and user.ring.versions == {1, 2}, deadline=SETTLE_SECONDS)
    assert user.ring.decrypt(first, b"row 1") == b"words"
