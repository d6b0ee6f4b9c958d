"""Rings whose versions are wrapped anew, with KEKs in Secrets and in a real PKCS#11 module: the operator as a process,
with its own rights, and everything that can be wrong with a module while a ring lives."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import worlds
from clusters import StartCluster, eventually
from localoperator import NAMESPACE as OPERATORS
from softhsm import PIN, SoftHsm
from worlds import NAMESPACE, Body, World, condition_of

LABEL = "ring-keys"
MARK = "roadstead.dev/"
SECONDS = 90.0
PROVIDERS = ("Kubernetes", "PKCS11")


@dataclass
class Place:
    """A hub with one region, and an operator with a token."""

    world: World
    hsm: SoftHsm
    pin_file: Path

    def start(self, *flags: str, **softhsm: Any) -> None:
        """Start the operator, with the token unless flags name another."""
        self.world.stop()
        flags = flags or self.hsm.flags(LABEL, self.pin_file, **softhsm)
        self.world.start(*flags, environment=self.hsm.environment)

    def ring(self, provider: str) -> str:
        """Make a ring that rotates when a test says so."""
        name = self.world.fresh_name("ring")
        spec = {
            "regions": ["hkg"],
            "distribution": "Cleartext",
            "schedule": {"every": "72h", "jitter": "0s"},
            "lead": "0s",
            "soak": "0s",
            "kek": {"provider": provider},
        }
        metadata = {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "KeyRing", "metadata": metadata, "spec": spec}
        self.world.at_hub.apply("keyrings", body)
        return name

    def body(self, name: str) -> Body:
        return self.world.at_hub.get("keyrings", name)

    def status(self, name: str) -> Body:
        found: Body = self.body(name).get("status") or {}
        return found

    def rotate(self, name: str) -> None:
        now = datetime.now(UTC).isoformat()
        self.world.at_hub.patch("keyrings", name, {"spec": {"schedule": {"rotateAt": now}}})

    def rotate_kek(self, name: str) -> None:
        now = datetime.now(UTC).isoformat()
        self.world.at_hub.patch("keyrings", name, {"spec": {"kek": {"rotateAt": now}}})

    def settled(self, name: str, primary: int, kek: int) -> None:
        """Wait until all is at rest."""

        def done() -> bool:
            body = self.body(name)
            status, ready = body.get("status") or {}, condition_of(body, "Ready")
            said = status.get("kek") or {}
            found = (status.get("primary"), status.get("phase"), ready.get("status"), said.get("generation"))
            assert found == (primary, "Idle", "True", kek), status
            assert (said["wrapped"], said["stored"]) == (primary, primary), status
            return True

        eventually(done, deadline=SECONDS)

    def stalled(self, name: str, *words: str) -> None:
        """Wait until it says why it does not go on, while the region has what it had."""

        def so() -> bool:
            body = self.body(name)
            stalled = condition_of(body, "Stalled")
            assert (stalled.get("status"), stalled.get("reason")) == ("True", "ProviderFailed"), body.get("status")
            for word in words:
                assert word in stalled["message"], stalled
            return True

        eventually(so, deadline=SECONDS)

    def touch(self, name: str) -> None:
        """Have a ring looked at now, as the queue would after a minute."""
        note = {"metadata": {"annotations": {"example.com/touched": self.world.fresh_name("note")}}}
        self.world.at_hub.patch("keyrings", name, note)

    def secrets(self, name: str, prefix: str) -> dict[str, Body]:
        ring_id = self.status(name)["ringID"]
        found = self.world.at_hub.items("secrets", OPERATORS)
        return {s["metadata"]["name"]: s for s in found if s["metadata"]["name"].startswith(f"{prefix}-{ring_id}-")}

    def keks(self, name: str, provider: str) -> list[int]:
        """Generations of the KEKs that are in the provider, each as often as there is one."""
        ring_id = self.status(name)["ringID"]
        if provider == "Kubernetes":
            return sorted(
                int(secret.removeprefix(f"kek-{ring_id}-").split("-")[0]) for secret in self.secrets(name, "kek")
            )
        return sorted(int(label.split("/")[2]) for label in self.hsm.labels(LABEL) if f"/{ring_id}/" in label)

    def keyset(self, name: str) -> Body:
        return self.world.at["hkg"].get("secrets", f"{name}.hkg.keyset")


@pytest.fixture(scope="module")
def place(start_cluster: StartCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("hsm")
    hsm = SoftHsm(directory)
    hsm.init(LABEL)
    pin_file = directory / "pin"
    pin_file.write_text(f"{PIN}\n")
    with worlds.world(start_cluster, ("hkg",)) as world:
        made = Place(world, hsm, pin_file)
        try:
            made.start()
            yield made
        finally:
            if world.operator is not None:
                print(f"--- log of the operator ---\n{world.running.log_path.read_text()[-6000:]}")
        assert world.running.metric("controller_runtime_reconcile_panics_total") == 0, "an error that nobody foresaw"


@pytest.fixture
def as_before(place: Place) -> Iterator[None]:
    """Whatever a test has done to the module, the next one has it whole."""
    yield
    place.pin_file.write_text(f"{PIN}\n")
    place.start()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_ring_lives_through_versions_and_keks(place: Place, provider: str) -> None:
    name = place.ring(provider)
    place.settled(name, 1, 1)
    place.rotate(name)
    place.settled(name, 2, 1)
    assert place.keks(name, provider) == [1]
    before, made = place.keyset(name), place.secrets(name, "dek")

    place.rotate_kek(name)
    place.settled(name, 2, 2)
    assert place.keyset(name) == before, "regions notice nothing"
    ring_id = place.status(name)["ringID"]
    (intent,) = place.secrets(name, "kek-intent").values()
    operation = intent["metadata"]["annotations"][f"{MARK}kek-operation"]
    anew = place.secrets(name, "dek")
    assert sorted(anew) == [f"dek-{ring_id}-v{number}-k2-{operation}" for number in (1, 2)]
    for number in (1, 2):
        was, is_ = made[f"dek-{ring_id}-v{number}"], anew[f"dek-{ring_id}-v{number}-k2-{operation}"]
        said = is_["metadata"]["annotations"]
        assert is_["immutable"] is True
        assert said[f"{MARK}fingerprint"] == was["metadata"]["annotations"][f"{MARK}fingerprint"]
        assert said[f"{MARK}kek-generation"] == "2"
        assert said[f"{MARK}kek-provider"] == provider
        assert is_["data"]["wrapped"] != was["data"]["wrapped"]
    assert place.keks(name, provider) == [1, 2], "old backups need the first"
    place.world.wait_told(name, "KekAskedFor", "KekRotated")

    place.rotate(name)
    place.settled(name, 3, 2)
    third = place.secrets(name, "dek")[f"dek-{ring_id}-v3"]
    assert third["metadata"]["annotations"][f"{MARK}kek-generation"] == "2"
    place.rotate_kek(name)
    place.settled(name, 3, 3)
    assert place.keks(name, provider) == [1, 2, 3]
    assert len(place.secrets(name, "dek")) == 3

    status = place.status(name)["kek"]
    assert status["provider"] == provider
    assert status["nextRotation"] > status["since"]
    nothing_is_told(place, [*made.values(), *anew.values()])


def nothing_is_told(place: Place, secrets: list[Body]) -> None:
    """No PIN and no wrapped key in a status, an event, a log or a metric."""
    world = place.world
    said = [
        json.dumps(world.at_hub.items("keyrings", NAMESPACE)),
        json.dumps(world.at_hub.items("keyversions", NAMESPACE)),
        json.dumps(world.at_hub.items("events", NAMESPACE)),
        world.running.log_path.read_text(),
        world.running.fetch("/metrics")[1],
    ]
    assert all(said)
    for secret in (PIN, *(secret["data"]["wrapped"] for secret in secrets)):
        for form in (secret, base64.b64encode(secret.encode()).decode(), secret.encode().hex()):
            assert not any(form in text for text in said)


def test_a_ring_that_nobody_asks_anything_of_is_left_alone(place: Place) -> None:
    name = place.ring("PKCS11")
    place.settled(name, 1, 1)
    before = {key: body["metadata"]["resourceVersion"] for key, body in place.secrets(name, "dek").items()}
    version = place.body(name)["metadata"]["resourceVersion"]
    place.start()
    place.world.running.wait_ready()
    seen = worlds.metric
    eventually(lambda: seen(place.world.running, "controller_runtime_reconcile_total", controller="KeyRing") > 0)
    assert place.body(name)["metadata"]["resourceVersion"] == version
    assert {key: body["metadata"]["resourceVersion"] for key, body in place.secrets(name, "dek").items()} == before


Spoil = Callable[[Place], None]


def without_hsm(place: Place) -> None:
    place.start("--workers=4")


def without_library(place: Place) -> None:
    place.start(library="/nowhere/libhsm.so")


def without_token(place: Place) -> None:
    place.start(*place.hsm.flags("nothing", place.pin_file))


def without_pin(place: Place) -> None:
    place.pin_file.unlink()
    place.start()


def with_a_wrong_pin(place: Place) -> None:
    place.pin_file.write_text("not-the-pin")
    place.start()


BAD: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "no HSM is set up": (without_hsm, ("spec.kek.provider is PKCS11", "set keys.pkcs11.library")),
    "the library is missing": (without_library, ("/nowhere/libhsm.so cannot be loaded", "mount it into")),
    "the token is missing": (without_token, ("there is no token 'nothing'", "name one that")),
    "the PIN's file is missing": (without_pin, ("has no PIN", "keys.pkcs11.pinSecret")),
    "the PIN is wrong": (with_a_wrong_pin, ("refuses the PIN", "tried once")),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.usefixtures("as_before")
def test_a_module_that_is_not_as_it_should_be_is_named_and_nothing_is_lost(place: Place, what: str) -> None:
    spoil, words = BAD[what]
    name = place.ring("PKCS11")
    place.settled(name, 1, 1)
    before, secrets = place.keyset(name), place.secrets(name, "dek")
    spoil(place)
    place.rotate(name)
    place.rotate_kek(name)
    place.stalled(name, *words)
    assert condition_of(place.body(name), "Ready")["status"] == "True", "what is primary stays so"
    assert place.keyset(name) == before
    assert place.secrets(name, "dek") == secrets
    assert place.keks(name, "PKCS11") == [1]
    failures = worlds.metric(place.world.running, "roadstead_kek_provider_errors_total", provider="PKCS11")
    assert failures > 0
    assert "not-the-pin" not in place.world.running.log_path.read_text() + json.dumps(place.body(name))

    if what == "the PIN is wrong":
        place.touch(name)  # another look is no other try
        place.pin_file.write_text(PIN)  # and no restart is needed
        place.touch(name)
    else:
        place.pin_file.write_text(PIN)
        place.start()
    place.settled(name, 2, 2)
    nothing_is_told(place, list(secrets.values()))


def test_a_module_that_hangs_costs_time_and_nothing_else(place: Place) -> None:
    name, other = place.ring("PKCS11"), place.ring("Kubernetes")
    place.settled(name, 1, 1)
    place.settled(other, 1, 1)
    with place.hsm.hanging():
        place.rotate_kek(name)
        place.rotate(name)
        place.stalled(name, "gave no answer within 10 s")
        place.rotate(other)
        place.settled(other, 2, 1)
    place.touch(name)
    place.settled(name, 2, 2)
    assert place.keks(name, "PKCS11") == [1, 2]


def workers_of(pid: int) -> list[int]:
    """Processes that the operator has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def test_a_worker_that_is_killed_again_and_again_loses_nothing(place: Place) -> None:
    name = place.ring("PKCS11")
    place.settled(name, 1, 1)
    place.rotate(name)
    place.settled(name, 2, 1)
    place.rotate_kek(name)
    killed = 0

    def killing() -> bool:
        nonlocal killed
        # Not while it makes a key: half a key in a token is a person's matter, and says so.
        if place.keks(name, "PKCS11") == [1, 2] and killed < 4:
            for pid in workers_of(place.world.running.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        place.touch(name)
        return (place.status(name).get("kek") or {}).get("wrapped") == 2 and killed >= 1

    eventually(killing, deadline=SECONDS, interval=0.3)
    place.settled(name, 2, 2)
    assert place.keks(name, "PKCS11") == [1, 2]
    assert len(place.secrets(name, "dek")) == 2


@pytest.mark.usefixtures("as_before")
def test_a_token_that_is_full_is_named_and_keeps_what_it_has(place: Place, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tiny)], check=True)
    try:
        hsm = SoftHsm(tiny)
        hsm.init(LABEL)
        place.world.stop()
        place.world.start(*hsm.flags(LABEL, place.pin_file), environment=hsm.environment)
        name = place.ring("PKCS11")
        place.settled(name, 1, 1)
        filler = tiny / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 512)
        place.rotate_kek(name)
        place.rotate(name)
        place.stalled(name, f"token '{LABEL}'")
        assert condition_of(place.body(name), "Ready")["status"] == "True"
        filler.unlink()

        def has_room() -> bool:
            place.touch(name)
            return bool(place.status(name)["kek"]["generation"] == 2)

        eventually(has_room, deadline=SECONDS, interval=1.0)
        place.settled(name, 2, 2)
        place.world.at_hub.delete("keyrings", name)
        eventually(lambda: place.world.at_hub.find("keyrings", name) is None, deadline=SECONDS)
    finally:
        place.world.stop()
        subprocess.run(["umount", "--lazy", str(tiny)], check=True)
