"""Rings whose keysets only the regions can open: a hub, two regions, the operator with its own rights, real agents."""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from roadstead_keys_agent import sealed

import sealedkeysets
import worlds
from clusters import StartCluster, eventually, run_kubectl
from keyconsumers import Consumer, SealedConsumer
from sealedkeysets import private_key, public_pem
from worlds import NAMESPACE, SETTLE_SECONDS, Body, World

MakeRing = Callable[..., str]


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    with worlds.running(start_cluster) as made:
        yield made


@dataclass
class Region:
    """Private keys of a region, by what they are called here, and where they are."""

    name: str
    directory: Path
    world: World
    keys: dict[str, Any] = field(default_factory=dict)

    def key(self, name: str) -> Any:
        """A private key of this region, made when first asked for."""
        if name not in self.keys:
            self.keys[name] = private_key()
            sealedkeysets.written(self.keys[name], self.file(name))
        return self.keys[name]

    def file(self, name: str) -> Path:
        return self.directory / f"{self.name}-{name}.pem"

    def declare(self, *names: str) -> None:
        """Write public keys into the Region; none takes them out."""
        keys = [public_pem(self.key(name)) for name in names]
        self.world.at_hub.patch(
            "regions", self.name, {"spec": {"keyEncryption": {"publicKeys": keys} if keys else None}}, ""
        )


@pytest.fixture
def regions(world: World, tmp_path: Path) -> Iterator[dict[str, Region]]:
    """Both regions, each with a key `first` that the Region names."""
    found = {name: Region(name, tmp_path, world) for name in world.members}
    for region in found.values():
        region.declare("first")
    yield found
    for region in found.values():
        region.declare()


@pytest.fixture
def make(world: World, regions: dict[str, Region]) -> Iterator[MakeRing]:
    """Make rings that rotate at once when a test says so; they are deleted after the test."""
    made: list[str] = []

    def ring(*names: str, **spec: Any) -> str:
        name = world.fresh_name("ring")
        said = {
            "regions": list(names or regions),
            "distribution": "Encrypted",
            "schedule": {"every": "72h", "jitter": "0s"},
            "lead": "0s",
            "soak": "0s",
        }
        made.append(name)
        world.at_hub.apply(
            "keyrings",
            {
                "apiVersion": "roadstead.dev/v1alpha1",
                "kind": "KeyRing",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": said | spec,
            },
        )
        return name

    yield ring
    for name in made:
        with contextlib.suppress(OSError, RuntimeError):
            world.at_hub.delete("keyrings", name)


@pytest.fixture
def pod(world: World, regions: dict[str, Region], tmp_path: Path) -> Iterator[Callable[..., SealedConsumer]]:
    """Make pods with an agent; they are deleted after the test."""
    made: list[Consumer] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rs-sealed-") as memory:

        def consumer(ring: str, region: str, *keys: str) -> SealedConsumer:
            name = world.fresh_name("pod")
            directory, target = tmp_path / name, Path(memory, name)
            directory.mkdir()
            target.mkdir()
            place = [f"--key-file={regions[region].file(key)}" for key in keys or ("first",)]
            found = SealedConsumer(world.at[region], ring, region, name, directory, target, place)
            made.append(found)
            return found

        yield consumer
        for one in made:
            one.end()


def status_of(world: World, name: str) -> Body:
    found: Body = world.at_hub.get("keyrings", name).get("status") or {}
    return found


def phases(world: World, name: str) -> dict[int, str]:
    found = world.at_hub.items("keyversions", NAMESPACE)
    return {one["spec"]["number"]: one["status"]["phase"] for one in found if one["spec"]["ring"] == name}


def rotate(world: World, name: str) -> None:
    world.at_hub.patch("keyrings", name, {"spec": {"schedule": {"rotateAt": datetime.now(UTC).isoformat()}}})


def settled(world: World, name: str, primary: int) -> None:
    def done() -> bool:
        status = status_of(world, name)
        ready = worlds.condition_of({"status": status}, "Ready").get("status")
        assert (status.get("primary"), status.get("phase"), ready) == (primary, "Idle", "True"), status
        return True

    eventually(done, deadline=SETTLE_SECONDS)


def said(world: World, name: str, region: str) -> str:
    entries = status_of(world, name).get("regions") or ()
    return str(next((entry["message"] for entry in entries if entry["name"] == region), ""))


def secret(world: World, name: str, region: str) -> Body:
    """As it is there; what is not there yet, or not to be read, is no failure of those who wait for it."""
    found = world.at[region].find("secrets", f"{name}.{region}.keyset")
    assert found is not None
    return {**found, "data": found.get("data") or {}}


def content(world: World, name: str, region: str, key: str = "keyset.sealed") -> Any:
    data = secret(world, name, region)["data"]
    assert key in data
    return json.loads(base64.b64decode(data[key]))


def generation(world: World, name: str, region: str) -> int:
    return int(content(world, name, region, "ring.json")["generation"])


def sealed_for(world: World, name: str, region: str) -> set[str]:
    return {one["key"] for one in content(world, name, region)["recipients"]}


def id_of(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sealed.key_id(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def material(pod: Consumer) -> set[bytes]:
    """Of each version that a pod holds, as it may be found: raw, and in base64 at each of the three offsets."""
    keyset = json.loads(pod.ring.held.bundle.keyset)
    found = set()
    for entry in keyset["key"]:
        value = base64.b64decode(entry["keyData"]["value"])
        key = value[-32:]
        found |= {key, base64.b64encode(value)} | {base64.b64encode(b"\0" * at + key)[4:40] for at in range(3)}
    return found


def everything(world: World, region: str) -> bytes:
    """All Secrets and ConfigMaps of a region, as they are stored, and decoded."""
    secrets, maps = (world.at[region].items(kind) for kind in ("secrets", "configmaps"))
    values = [value for body in secrets for value in (body.get("data") or {}).values()]
    return b"\n".join([json.dumps([*secrets, *maps]).encode(), *map(base64.b64decode, values)])


def test_a_whole_rotation_with_keysets_that_only_the_regions_open(
    world: World, make: MakeRing, pod: Callable[..., SealedConsumer]
) -> None:
    name = make()
    settled(world, name, 1)
    here, there = pod(name, "hkg"), pod(name, "sgp")
    for one in (here, there):
        eventually(one.load, deadline=SETTLE_SECONDS)
        one.prove()
    text = here.ring.encrypt(b"words", b"row 1")
    rotate(world, name)

    def done() -> bool:
        here.catch_up()
        there.catch_up()
        assert phases(world, name) == {1: "Draining", 2: "Primary"}
        return True

    eventually(done, deadline=SETTLE_SECONDS)
    settled(world, name, 2)
    assert there.ring.decrypt(text, b"row 1") == b"words"
    newer = there.ring.encrypt(b"more", b"row 2")
    assert newer[:5] == b"\x01\x00\x00\x00\x02"
    assert here.ring.decrypt(newer, b"row 2") == b"more"
    for region in ("hkg", "sgp"):
        assert secret(world, name, region)["data"].keys() == {"keyset.sealed", "ring.json"}
        found = everything(world, region)
        assert b"keyset.sealed" in found
        assert not [part for part in material(here) if part in found], "keys lie in the region"
    told = (
        json.dumps([world.at_hub.items("keyrings", NAMESPACE), world.at_hub.items("events", NAMESPACE)])
        + world.running.log_path.read_text()
    )
    assert not [part for part in material(here) if part.decode("latin1") in told]


SPOILT = [
    "deleted",
    "emptied",
    "garbage",
    "without the words beside it",
    "another ciphertext",
    "a key less in the statement",
    "another authenticator",
    "a keyset in clear text beside it",
    "a note of kubectl beside it",
    "another region's",
    "an older one put back",
    "a generation that is none",
]


def spoil(world: World, name: str, what: str) -> None:
    objects, child = world.at["hkg"], f"{name}.hkg.keyset"
    if what == "deleted":
        objects.delete("secrets", child)
        return
    data = dict(secret(world, name, "hkg")["data"])
    made = content(world, name, "hkg")

    def put(key: str, value: bytes) -> None:
        data[key] = base64.b64encode(value).decode()

    match what:
        case "emptied":
            data = dict.fromkeys(data)
        case "garbage":
            put("keyset.sealed", b"\x00{")
        case "without the words beside it":
            data["ring.json"] = None
        case "another ciphertext":
            put("keyset.sealed", json.dumps(made | {"ciphertext": "A" * 400}).encode())
        case "a key less in the statement":
            put("keyset.sealed", json.dumps(made | {"statement": made["statement"] | {"keys": []}}).encode())
        case "another authenticator":
            macs = {number: base64.b64encode(bytes(32)).decode() for number in made["authenticators"]}
            put("keyset.sealed", json.dumps(made | {"authenticators": macs}).encode())
        case "a keyset in clear text beside it":
            put("keyset.json", b'{"primaryKeyId": 1}')
        case "a note of kubectl beside it":
            run_kubectl(
                world.at["hkg"].cluster,
                *("-n", NAMESPACE, "annotate", "secret", child),
                "kubectl.kubernetes.io/last-applied-configuration={}",
            )
            return
        case "another region's":
            data = secret(world, name, "sgp")["data"]
        case "an older one put back":
            before = generation(world, name, "hkg")
            objects.delete("secrets", child)
            eventually(lambda: (objects.find("secrets", child) or {}).get("data"), deadline=SETTLE_SECONDS)
            eventually(lambda: generation(world, name, "hkg") > before, deadline=SETTLE_SECONDS)
        case "a generation that is none":
            words = content(world, name, "hkg", "ring.json")
            put("ring.json", json.dumps(words | {"generation": 10**30}).encode())
    objects.patch("secrets", child, {"data": data})


@pytest.mark.parametrize("what", SPOILT)
def test_a_sealed_keyset_that_somebody_spoils_comes_back(
    world: World, make: MakeRing, pod: Callable[..., SealedConsumer], what: str
) -> None:
    name = make()
    settled(world, name, 1)
    user = pod(name, "hkg")
    eventually(user.load, deadline=SETTLE_SECONDS)
    text = user.ring.encrypt(b"words", b"row 1")
    before = generation(world, name, "hkg")
    spoil(world, name, what)
    if what.endswith("beside it"):  # fields of somebody else wake nobody; the next pass sees them
        world.at_hub.patch("keyrings", name, {"metadata": {"annotations": {"example.com/touched": what}}})

    def right() -> bool:
        found = secret(world, name, "hkg")
        assert found["data"].keys() == {"keyset.sealed", "ring.json"}
        assert not (found["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/last-applied-configuration")
        assert generation(world, name, "hkg") > before
        assert user.load(), user.said.read_text()
        assert (set(user.ring.versions), user.ring.primary) == ({1}, 1)
        return bool(content(world, name, "hkg")["statement"]["region"] == "hkg")

    eventually(right, deadline=SETTLE_SECONDS)
    settled(world, name, 1)
    assert user.ring.decrypt(text, b"row 1") == b"words"


def test_another_rings_keyset_is_not_written_over(world: World, make: MakeRing) -> None:
    """As with clear text: it may be the only copy, of a ring that the hub has forgotten."""
    name, other = make("hkg"), make("hkg")
    settled(world, name, 1)
    settled(world, other, 1)
    theirs = secret(world, other, "hkg")["data"]
    world.at["hkg"].patch("secrets", f"{name}.hkg.keyset", {"data": theirs})
    eventually(lambda: status_of(world, name).get("blockedBy") == "LedgerBehind: hkg", deadline=SETTLE_SECONDS)
    assert secret(world, name, "hkg")["data"] == theirs
    world.at["hkg"].delete("secrets", f"{name}.hkg.keyset")
    settled(world, name, 1)


def test_a_version_that_the_ledger_does_not_know_is_seen_without_opening(world: World, make: MakeRing) -> None:
    name = make("hkg")
    settled(world, name, 1)
    made = content(world, name, "hkg")
    keys = [*made["statement"]["keys"], [7, "0" * 32]]
    changed = base64.b64encode(json.dumps(made | {"statement": made["statement"] | {"keys": keys}}).encode()).decode()
    world.at["hkg"].patch("secrets", f"{name}.hkg.keyset", {"data": {"keyset.sealed": changed}})
    eventually(lambda: status_of(world, name).get("blockedBy") == "LedgerBehind: hkg", deadline=SETTLE_SECONDS)
    assert secret(world, name, "hkg")["data"]["keyset.sealed"] == changed


def test_without_a_public_key_nothing_is_given_in_clear_text_instead(
    world: World, make: MakeRing, regions: dict[str, Region]
) -> None:
    regions["sgp"].declare()
    name = make()
    words = "Region sgp has no spec.keyEncryption.publicKeys to seal keysets for; make a key pair there with"
    eventually(lambda: words in said(world, name, "sgp"), deadline=SETTLE_SECONDS)
    ready = worlds.condition_of(world.at_hub.get("keyrings", name), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NoPublicKey")
    eventually(lambda: world.at["hkg"].find("secrets", f"{name}.hkg.keyset"), deadline=SETTLE_SECONDS)
    assert not world.at["sgp"].find("secrets", f"{name}.sgp.keyset")
    assert phases(world, name).get(1) != "Primary", "a region of the ring cannot read it"
    regions["sgp"].declare("first")
    settled(world, name, 1)


def test_clear_text_becomes_sealed_while_the_ring_is_in_use(
    world: World, make: MakeRing, pod: Callable[..., SealedConsumer]
) -> None:
    name = make(distribution="Cleartext")
    settled(world, name, 1)
    user = pod(name, "hkg")
    eventually(user.load, deadline=SETTLE_SECONDS)
    user.prove()
    text = user.ring.encrypt(b"words", b"row 1")
    assert secret(world, name, "hkg")["data"].keys() == {"keyset.json", "ring.json"}
    # Somebody else's field stays when ours is applied; this one must not.
    note = {"data": {"keyset.json": secret(world, name, "sgp")["data"]["keyset.json"]}}
    world.at["sgp"].request(
        "APPLY",
        f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}.sgp.keyset?fieldManager=somebody",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}.sgp.keyset"}, **note},
    )
    world.at_hub.patch("keyrings", name, {"spec": {"distribution": "Encrypted"}})

    def so() -> bool:
        keys = [secret(world, name, region)["data"].keys() for region in ("hkg", "sgp")]
        assert keys == [{"keyset.sealed", "ring.json"}] * 2, keys
        return user.load()

    eventually(so, deadline=SETTLE_SECONDS)
    user.prove()
    settled(world, name, 1)
    assert user.ring.decrypt(text, b"row 1") == b"words"
    assert not [part for part in material(user) for at in ("hkg", "sgp") if part in everything(world, at)]
    world.at_hub.patch("keyrings", name, {"spec": {"distribution": "Cleartext"}})
    eventually(
        lambda: secret(world, name, "hkg")["data"].keys() == {"keyset.json", "ring.json"} and user.load(),
        deadline=SETTLE_SECONDS,
    )


def test_a_regions_key_is_replaced_without_a_moment_in_which_pods_cannot_open(
    world: World, make: MakeRing, pod: Callable[..., SealedConsumer], regions: dict[str, Region]
) -> None:
    name, hkg = make("hkg"), regions["hkg"]
    settled(world, name, 1)
    user = pod(name, "hkg")
    eventually(user.load, deadline=SETTLE_SECONDS)
    first = generation(world, name, "hkg")

    hkg.declare("first", "second")
    both = {id_of(hkg.key("first")), id_of(hkg.key("second"))}
    eventually(lambda: sealed_for(world, name, "hkg") == both, deadline=SETTLE_SECONDS)
    eventually(user.load, deadline=SETTLE_SECONDS)
    newer = pod(name, "hkg", "first", "second")
    eventually(newer.load, deadline=SETTLE_SECONDS)

    hkg.declare("second")
    eventually(lambda: sealed_for(world, name, "hkg") == {id_of(hkg.key("second"))}, deadline=SETTLE_SECONDS)
    eventually(newer.load, deadline=SETTLE_SECONDS)
    user.mount()
    eventually(lambda: "here is the private key of" in user.said.read_text(), deadline=SETTLE_SECONDS)
    assert user.ring.versions == {1}, "who has not got the new key goes on with what it has"
    user.stop()
    user.start(f"--key-file={hkg.file('second')}")
    eventually(user.load, deadline=SETTLE_SECONDS)
    assert generation(world, name, "hkg") == first + 2, "sealed anew once for each change, and not more often"
    settled(world, name, 1)
