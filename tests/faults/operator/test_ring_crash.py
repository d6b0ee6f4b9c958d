"""kill -9 at every write of a ring's life: the ledger, the keys and the regions come to be the same as without.

A reference run takes a ring through its first version, one rotation, and one rotation of the key that versions are
wrapped with, with a pod in each of two regions that loads, proves, encrypts and decrypts all the time, and counts the
operator's writes: into the hub, and into each region. Then, for each of them, a new ring lives the same life, and the
operator is killed once before the write reaches the API server or once after it was made but before the answer; another
is started, and the life goes on. So for each provider of KEKs; the module's keys are counted in the module itself.

By default `PART` of these crashes for each provider, always the same, spread over all writes but those of mere
statuses, so that it takes a few minutes: a life lasts 20 seconds or more, since the operator looks at proofs every
five. All of them with ``ROADSTEAD_FULL=1``.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from roadstead_keys.errors import NoPrimaryError

import worlds
from clusters import StartCluster, eventually
from faults.background import proxied
from faults.proxy import Moment, Proxy
from faults.wire import Request, counted
from keyconsumers import Consumer
from localkube import rbac
from localoperator import MEMBER_ACCOUNT, SERVICE_ACCOUNT, Operator
from localoperator import NAMESPACE as OPERATORS
from softhsm import PIN, SoftHsm
from worlds import NAMESPACE, Body, World, condition_of

REGIONS = ("hkg", "sgp")
HUB = "hub"
FULL = bool(os.environ.get("ROADSTEAD_FULL"))
PART = 5
"""Crashes, of all of one provider, in a run that is not full."""
PROVIDERS = ("Kubernetes", "PKCS11")
LABEL = "crash-keys"
SECONDS = 60.0
INTERVAL = 0.1
MARK = "roadstead.dev/"

Wire = dict[str, list[Request]]


def target(request: Request) -> str:
    """Which object a write is about; the name of one that is made is in its body."""
    return f"{request.resource}/{request.name or request.body['metadata']['name']}"


def of_a_ring(ring: str, request: Request) -> bool:
    """The writes that are counted: those to a ring, its ledger, its keys, keysets and receipts.

    Others live one after the other, and the operator may still write to the one before, which is gone.
    """
    if not counted(request) or request.resource not in ("keyrings", "keyversions", "secrets", "configmaps"):
        return False
    return request.namespace == OPERATORS or f"{target(request).partition('/')[2]}-".startswith(f"{ring}-")


def lasting(request: Request) -> bool:
    """Those of them that each life makes the same number of, in the same order: no status but the ring's identity."""
    return request.subresource != "status" or not request.body["status"].get("conditions")


def lasting_of_a_ring(ring: str, request: Request) -> bool:
    """Both."""
    return of_a_ring(ring, request) and lasting(request)


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when the operator is killed."""

    cluster: str
    write: int
    moment: Moment
    what: str

    def __str__(self) -> str:
        return f"killed {self.moment.value} write {self.write} into {self.cluster} ({self.what})"


class Crashing:
    """A hub and its regions, each behind a proxy, and an operator that is started again whenever it was killed."""

    def __init__(self, world: World, proxies: Mapping[str, Proxy], kubeconfig: Path, hsm: SoftHsm) -> None:
        self.world = world
        self.hsm = hsm
        self._pin_file = kubeconfig.parent / "pin"
        self._pin_file.write_text(PIN)
        self.proxies = proxies
        self._kubeconfig = kubeconfig
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start an operator; under the same name, so that it need not wait for the lease of a dead one."""
        self.starts += 1
        flags = ("--identity=phoenix", f"--kubeconfig={self._kubeconfig}", *self.hsm.flags(LABEL, self._pin_file))
        self.world.operator = Operator(self.world.hub, *flags, environment=self.hsm.environment)

    def kill(self) -> None:
        """As kill -9 does."""
        self.world.running.kill()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait, with an operator that runs."""

        def holds() -> bool:
            if self.world.running._process.poll() is not None:
                self.world.stop()
                self.start()
            return bool(condition())

        eventually(holds, deadline=SECONDS, interval=INTERVAL, what=what)


class Life:
    """One ring through its first version, a rotation, and a rotation of its KEK.

    Args:
        crashing: the world.
        directory: empty; for the mounts of its pods.
        provider: of its KEKs.
    """

    def __init__(self, crashing: Crashing, directory: Path, provider: str) -> None:
        self._provider = provider
        self._crashing = crashing
        self._world = crashing.world
        self.name = self._world.fresh_name("ring")
        self._directory = directory / self.name
        self._directory.mkdir()
        self._pods: list[Consumer] = []
        self._material: dict[int, set[str]] = {}
        self._begins = {name: len(proxy.log) for name, proxy in crashing.proxies.items()}

    def wire(self) -> Wire:
        """The writes to it so far, by cluster."""
        logs = {name: self._crashing.proxies[name].log[begin:] for name, begin in self._begins.items()}
        return {name: [request for request in log if of_a_ring(self.name, request)] for name, log in logs.items()}

    def run(self) -> None:
        """Live, and look at what there is in the end."""
        for region in REGIONS:
            mount = self._directory / region
            mount.mkdir()
            self._pods.append(Consumer(self._world.at[region], self.name, region, f"{self.name}-{region}", mount))
        self._world.at_hub.apply("keyrings", ring(self.name, self._provider))
        self._crashing.until(lambda: self._settled(1, 1), "version 1 is primary and at rest")
        texts = [pod.ring.encrypt(pod.name.encode(), b"row 1") for pod in self._pods]
        now = datetime.now(UTC).isoformat()
        self._world.at_hub.patch("keyrings", self.name, {"spec": {"schedule": {"rotateAt": now}}})
        self._crashing.until(lambda: self._settled(2, 1), "version 2 is primary and at rest")
        given = [self._world.at[region].get("secrets", f"{self.name}.{region}.keyset") for region in REGIONS]
        now = datetime.now(UTC).isoformat()
        self._world.at_hub.patch("keyrings", self.name, {"spec": {"kek": {"rotateAt": now}}})
        self._crashing.until(lambda: self._settled(2, 2), "every version is wrapped with KEK 2")
        self._check(texts)
        after = [self._world.at[region].get("secrets", f"{self.name}.{region}.keyset") for region in REGIONS]
        assert [s["data"]["keyset.json"] for s in after] == [s["data"]["keyset.json"] for s in given]

    def end(self) -> None:
        """Delete it, with an operator that lets it go."""
        for pod in self._pods:
            pod.end()
        self._world.at_hub.delete("keyrings", self.name)
        gone = self._world.at_hub.find
        self._crashing.until(lambda: gone("keyrings", self.name) is None, f"{self.name} is gone")

    def _use(self) -> None:
        """What pods do all the time: load, prove, write with what they have, and read what the others write."""
        for region, pod in zip(REGIONS, self._pods, strict=True):
            if not pod.load():
                continue
            # A pod has no right to make the ConfigMap, only to put its answer into it.
            if self._world.at[region].find("configmaps", f"{self.name}.{region}.receipts") is not None:
                pod.prove()
            for number, material in self._keyset(region)[1].items():
                self._material.setdefault(number, set()).add(material)
        for writer in self._pods:
            try:
                text = writer.ring.encrypt(b"words", b"row 2")
            except (NoPrimaryError, AssertionError):
                continue
            for reader in self._pods:
                assert reader.ring.decrypt(text, b"row 2") == b"words"

    def _settled(self, primary: int, generation: int) -> bool:
        self._use()
        body = self._world.at_hub.get("keyrings", self.name)
        status, ready = body.get("status") or {}, condition_of(body, "Ready")
        current = ready.get("observedGeneration") == body["metadata"]["generation"]
        said = (status.get("primary"), status.get("phase"), ready.get("status"), current)
        assert said == (primary, "Idle", "True", True), (self._phases(), status)
        kek = status.get("kek") or {}
        found = (kek.get("generation"), kek.get("wrapped"), kek.get("stored"))
        assert found == (generation, primary, primary), status
        assert [pod.ring.primary for pod in self._pods] == [primary] * len(REGIONS)
        return True

    def _versions(self) -> list[Body]:
        found = self._world.at_hub.items("keyversions", NAMESPACE)
        return sorted((v for v in found if v["spec"]["ring"] == self.name), key=lambda v: int(v["spec"]["number"]))

    def _phases(self) -> dict[int, str]:
        return {version["spec"]["number"]: version["status"]["phase"] for version in self._versions()}

    def _keyset(self, region: str) -> tuple[int, dict[int, str]]:
        """Primary, and the material by number."""
        secret = self._world.at[region].get("secrets", f"{self.name}.{region}.keyset")
        keyset = json.loads(base64.b64decode(secret["data"]["keyset.json"]))
        return keyset["primaryKeyId"], {key["keyId"]: key["keyData"]["value"] for key in keyset["key"]}

    def _check(self, texts: list[bytes]) -> None:
        world, versions = self._world, self._versions()
        assert self._phases() == {1: "Draining", 2: "Primary"}
        assert [version["metadata"]["name"] for version in versions] == [f"{self.name}-v1", f"{self.name}-v2"]
        assert {version["spec"]["ringID"] for version in versions} == {self._ring_id}

        secrets = {secret["metadata"]["name"]: secret for secret in world.at_hub.items("secrets", OPERATORS)}
        deks = sorted(name for name in secrets if name.startswith(f"dek-{self._ring_id}-"))
        (intent,) = (name for name in secrets if name.startswith(f"kek-intent-{self._ring_id}-"))
        assert intent == f"kek-intent-{self._ring_id}-2"
        operation = secrets[intent]["metadata"]["annotations"][f"{MARK}kek-operation"]
        assert deks == [f"dek-{self._ring_id}-v{number}-k2-{operation}" for number in (1, 2)]
        # Their names have operations in them that were durable before: so a crash leaves no other.
        assert self._keks(secrets) == [f"1-{versions[0]['spec']['operation']}", f"2-{operation}"]
        for version, name in zip(versions, deks, strict=True):
            said = secrets[name]["metadata"]["annotations"]
            assert said[f"{MARK}operation"] == version["spec"]["operation"]
            assert said[f"{MARK}fingerprint"] == version["status"]["fingerprint"]
            assert (said[f"{MARK}kek-generation"], said[f"{MARK}kek-operation"]) == ("2", operation)
            assert said[f"{MARK}kek-provider"] == self._provider

        one, two = (self._keyset(region) for region in REGIONS)
        assert one == two
        assert (one[0], sorted(one[1])) == (2, [1, 2])
        assert self._material == {number: {material} for number, material in one[1].items()}, "a number was used twice"
        for pod in self._pods:
            assert (pod.ring.primary, pod.ring.versions) == (2, frozenset({1, 2}))
            assert [pod.ring.decrypt(text, b"row 1").decode() for text in texts] == [p.name for p in self._pods]
        for region in REGIONS:
            receipts = world.at[region].get("configmaps", f"{self.name}.{region}.receipts")
            assert receipts["metadata"]["labels"][f"{MARK}owner-name"] == self.name

    def _keks(self, secrets: Mapping[str, Body]) -> list[str]:
        """Generation and operation of each KEK that the provider has of this ring."""
        if self._provider == "Kubernetes":
            prefix = f"kek-{self._ring_id}-"
            return sorted(name.removeprefix(prefix) for name in secrets if name.startswith(prefix))
        labels = (label.split("/") for label in self._crashing.hsm.labels(LABEL))
        return sorted(f"{generation}-{operation}" for _, of, generation, operation in labels if of == self._ring_id)

    @property
    def _ring_id(self) -> str:
        return str(self._world.at_hub.get("keyrings", self.name)["status"]["ringID"])


def ring(name: str, provider: str) -> Body:
    """A KeyRing that rotates as soon as somebody asks for it and all is proved."""
    spec = {
        "regions": list(REGIONS),
        "distribution": "Cleartext",
        "schedule": {"every": "72h", "jitter": "0s"},
        "lead": "0s",
        "soak": "0s",
        "kek": {"provider": provider},
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "KeyRing", "metadata": metadata, "spec": spec}


def described(request: Request) -> str:
    """A write in words."""
    phase = ((request.body or {}).get("status") or {}).get("phase", "")
    words = (request.verb, target(request), request.subresource, phase)
    return " ".join(word for word in words if word)


def once(wire: Wire, provider: str) -> None:
    """Assert that nothing was made twice, no version came into a phase twice, and only what was wrapped anew went."""
    hub = [request for request in wire[HUB] if request.committed]
    made = Counter(target(request) for request in hub if request.verb == "create")
    secrets = 2 + 2 + 1 + (2 if provider == "Kubernetes" else 0)  # versions, copies, an intent, KEKs
    assert sorted(resource.partition("/")[0] for resource in made) == ["keyversions"] * 2 + ["secrets"] * secrets
    assert set(made.values()) == {1}, made
    moved = Counter(described(request) for request in hub if request.resource == "keyversions")
    assert len(moved) == 2 + 6 + 4, moved  # each is made; version 1 goes to Draining and version 2 to Primary
    assert set(moved.values()) == {1}, moved
    gone = Counter(target(r) for requests in wire.values() for r in requests if r.verb == "delete" and r.committed)
    assert sorted(name.rpartition("-")[2] for name in gone) == ["v1", "v2"], gone
    assert all(name.startswith("secrets/dek-") for name in gone), gone
    assert set(gone.values()) == {1}, gone


@pytest.fixture(scope="module")
def crashing(start_cluster: StartCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashing]:
    """Every request of the operator, to the hub and to each region, passes a proxy."""
    directory = tmp_path_factory.mktemp("crash")
    with worlds.world(start_cluster, REGIONS) as world, contextlib.ExitStack() as stack:
        proxies = {}
        for name, cluster in {HUB: world.hub, **world.members}.items():
            proxies[name] = stack.enter_context(proxied(cluster))
            account = SERVICE_ACCOUNT if name == HUB else MEMBER_ACCOUNT
            token = rbac.service_account_token(cluster.api, OPERATORS, account)
            path = proxies[name].kubeconfig(directory / name, token)
            if name != HUB:
                data = {"kubeconfig": base64.b64encode(path.read_bytes()).decode()}
                world.at_hub.patch("secrets", f"region-{name}", {"data": data}, OPERATORS)
        stack.callback(world.stop)
        hsm = SoftHsm(tmp_path_factory.mktemp("hsm"))
        hsm.init(LABEL)
        made = Crashing(world, proxies, directory / HUB, hsm)
        world.running.wait_leading()
        for region in REGIONS:
            world.wait(region, "Ready", "True", resource="regions", namespace="")
        yield made


def crashes(wire: Wire) -> list[Place]:
    """Where to crash: everywhere, or at a part that is spread over all lasting writes, before and after by turns."""
    writes = [
        (name, number, described(request))
        for name, log in wire.items()
        for number, request in enumerate((r for r in log if FULL or lasting(r)), start=1)
    ]
    if FULL:
        return [Place(name, number, moment, what) for name, number, what in writes for moment in Moment]
    chosen = sorted({round(step * (len(writes) - 1) / (PART - 1)) for step in range(PART)})
    picked = zip([writes[index] for index in chosen], itertools.cycle(Moment), strict=False)
    return [Place(name, number, moment, what) for (name, number, what), moment in picked]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_crash_at_any_write_of_a_rotation_changes_nothing_in_the_end(
    crashing: Crashing, tmp_path: Path, provider: str
) -> None:
    reference = Life(crashing, tmp_path, provider)
    reference.run()
    wire = reference.wire()
    reference.end()
    once(wire, provider)
    least = {name: len(list(filter(lasting, log))) for name, log in wire.items()}

    for place in crashes(wire):
        life, starts = Life(crashing, tmp_path, provider), crashing.starts
        proxy = crashing.proxies[place.cluster]
        counts = partial(of_a_ring if FULL else lasting_of_a_ring, life.name)
        crash = proxy.crash(place.write, place.moment, crashing.kill, counts=counts)
        try:
            life.run()
            proxy.clear_faults()
            once(life.wire(), provider)
        except Exception as error:
            raise AssertionError(f"{place}: {error}") from error
        # how many statuses are written on the way depends on what is seen when
        assert crash.done.is_set() or place.write > least[place.cluster], f"{place}: only {crash.seen} writes"
        assert crashing.starts <= starts + 1, str(place)
        assert crashing.world.running.metric("controller_runtime_reconcile_panics_total") == 0, str(place)
        life.end()
