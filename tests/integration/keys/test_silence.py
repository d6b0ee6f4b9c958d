"""A ring's whole life, and no key, no wrapped key and no PIN in anything that a cluster or the operator tells."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import worlds
from clusters import StartCluster, eventually, kubectl
from keyconsumers import Consumer
from localoperator import NAMESPACE as OPERATORS
from rings import ended, phases, rotate, settled, status_of
from softhsm import OFFICER, PIN, SoftHsm
from worlds import SETTLE_SECONDS, Body, World

MakeRing = Callable[..., str]
MakePod = Callable[[str, str], Consumer]
Ask = Callable[..., str]
LABEL = "ring-keys"
WRONG_PIN = "no-pin-at-all-230815"
LONG = 4 * SETTLE_SECONDS
PIECE = 16
"""Bytes of a secret that are one too many when they are told."""


def written(secret: bytes) -> set[str]:
    """How pieces of a secret look in text: as they are, in hexadecimal digits, in base64 from any place on."""
    pieces = {secret[:PIECE], secret[-PIECE:]}
    found = set()
    for piece in pieces:
        found |= {piece.hex(), piece.hex().upper(), piece.hex(":"), str(list(piece))[1:-1], repr(piece)[2:-1]}
        for before in range(3):
            # Digits that only this piece decides: a neighbour has its part in the first and in the last ones.
            digits = base64.b64encode(bytes(before) + piece)[(0, 2, 3)[before] :].rstrip(b"=")[:-1].decode()
            found |= {digits, digits.replace("+", "-").replace("/", "_")}
    return found


class Watcher:
    """What must not be told, as it comes to light, and everything that is told.

    Args:
        world: where.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.hidden: dict[str, str] = {}
        self.logs: list[str] = []

    def hide(self, what: str, secret: bytes) -> None:
        self.hidden |= dict.fromkeys(written(secret), what)

    def look(self) -> None:
        """Take note of all keys that are somewhere now."""
        for secret in self.world.at_hub.items("secrets", OPERATORS):
            name = secret["metadata"]["name"]
            if name.startswith(("dek-", "kek-")):
                for value in (secret.get("data") or {}).values():
                    self.hide(name, base64.b64decode(value))
                    assert self.told_in(json.dumps(secret)), "what is looked for is not even found where it is"
        for region, objects in self.world.at.items():
            for secret in objects.items("secrets", worlds.NAMESPACE):
                self._look_into(region, secret)

    def _look_into(self, region: str, secret: Body) -> None:
        if "keyset.json" not in (secret.get("data") or {}):
            return
        text = base64.b64decode(secret["data"]["keyset.json"])
        for entry in json.loads(text)["key"]:
            key = base64.b64decode(entry["keyData"]["value"])[-32:]
            self.hide(f"key {entry['keyId']} of {region}", key)
            assert self.told_in(text.decode()), "what is looked for is not even found where it is"

    def told_in(self, text: str) -> set[str]:
        """What of it a text tells."""
        return {what for form, what in self.hidden.items() if form in text}

    def listen(self) -> None:
        """Take note of all that this operator has told."""
        operator = self.world.running
        pages = [operator.fetch(path)[1] for path in ("/metrics", "/healthz", "/readyz")]
        command = Path(f"/proc/{operator.pid}/cmdline").read_text()
        self.logs += [operator.log_path.read_text(), command, *pages]
        assert all(self.logs[-5:]), "somebody told nothing at all"

    def objects(self) -> dict[str, str]:
        """Every object of every cluster, with all but what a Secret is there to keep."""
        found = {}
        for place, cluster in {"hub": self.world.hub, **self.world.members}.items():
            kinds = kubectl(cluster, "api-resources", "--verbs=list", "-o", "name").split()
            items = json.loads(kubectl(cluster, "get", ",".join(kinds), "-A", "-o", "json", "--show-managed-fields"))[
                "items"
            ]
            for item in items:
                if item["kind"] == "Secret":
                    item.pop("data", None)
                found[f"{place} {item['kind']} {item['metadata']['name']}"] = json.dumps(item)
        return found

    def nothing_is_told(self) -> None:
        for text in self.logs:
            assert not self.told_in(text)
        told = {name: what for name, text in self.objects().items() if (what := self.told_in(text))}
        assert not told


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    made = SoftHsm(tmp_path_factory.mktemp("hsm"))
    made.init(LABEL)
    return made


@pytest.fixture(scope="module")
def start(world: World, hsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    pin_file = tmp_path_factory.mktemp("pin") / "pin"

    def started(pin: str) -> None:
        world.stop()
        pin_file.write_text(f"{pin}\n")
        world.start(*hsm.flags(LABEL, pin_file), environment=hsm.environment)

    return started


@pytest.fixture(scope="module")
def world(start_cluster: StartCluster) -> Iterator[World]:
    with worlds.world(start_cluster) as made:
        yield made


@pytest.mark.parametrize("provider", ["Kubernetes", "PKCS11"])
def test_nothing_that_is_secret_is_told_in_a_whole_life(
    world: World, start: Callable[[str], None], make: MakeRing, pod: MakePod, ask: Ask, provider: str
) -> None:
    start(PIN)
    watcher = Watcher(world)
    for pin in (PIN, OFFICER, WRONG_PIN):
        watcher.hide("a PIN", pin.encode())
        watcher.hidden[pin] = "a PIN"
    kek: Body = {"provider": provider}
    name = make("hkg", "sgp", attestation="Trusted", removalDelay="0s", kek=kek)
    settled(world, name, 1)
    users = [pod(name, "hkg"), pod(name, "sgp")]

    def come(stored: dict[int, int] | None = None, **wanted: str) -> None:
        def there() -> bool:
            for user in users:
                user.catch_up(stored)
            found = {f"v{number}": phase for number, phase in phases(world, name).items()}
            assert found == wanted, status_of(world, name)
            return {f"v{user.ring.primary}" for user in users} == {max(wanted)}

        eventually(there, deadline=LONG)
        watcher.look()

    come(v1="Primary")
    old = users[0].ring.encrypt(b"words", b"row 1")
    rotate(world, name)
    come({1: 1}, v1="Draining", v2="Primary")

    # Compromised: what it encrypted is read once more, to be written anew.
    ended(world, ask(name, "CompromiseVersion", version="1"), seconds=LONG)
    eventually(lambda: world.at["hkg"].find("secrets", f"{name}.hkg.rewrap"), deadline=LONG)
    watcher.look()
    assert any(what.startswith("key 1 ") for what in watcher.hidden.values())
    eventually(lambda: users[0].load() and 1 not in users[0].ring.versions, deadline=LONG)
    assert users[0].ring.decrypt(users[0].ring.rewrap(old, b"row 1"), b"row 1") == b"words"
    come({2: 1}, v1="Compromised", v2="Primary")
    eventually(lambda: not world.at["hkg"].find("secrets", f"{name}.hkg.rewrap"), deadline=LONG)

    # Another KEK; and what is refused, by us and by the provider.
    world.at_hub.patch("keyrings", name, {"spec": {"kek": {"rotateAt": datetime.now(UTC).isoformat()}}})
    eventually(lambda: (status_of(world, name).get("kek") or {}).get("generation") == 2, deadline=LONG)
    ended(world, ask(name, "CompromiseVersion", version="9"), "Refused", seconds=LONG)
    watcher.look()
    watcher.listen()
    if provider == "PKCS11":
        start(WRONG_PIN)
        rotate(world, name)
        eventually(lambda: status_of(world, name).get("blockedBy") == "ProviderFailed", deadline=LONG)
        watcher.listen()
        start(PIN)
        come({2: 1, 3: 1}, v1="Compromised", v2="Draining", v3="Primary")

    # Removed for ever.
    ended(world, ask(name, "RemoveVersions", upTo="1", shred="true"), seconds=LONG)
    watcher.look()
    watcher.listen()
    watcher.nothing_is_told()
    kinds = {what.split("-")[0].split(" ")[0] for what in watcher.hidden.values()}
    assert kinds >= {"a", "key", "dek", *(["kek"] if provider == "Kubernetes" else [])}
