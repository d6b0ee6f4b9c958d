"""The acts of the demo: each shows one promise being kept, and fails loudly when it is not."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demonstration.commands import REPOSITORY
from demonstration.stage import HOSTNAME, NAMESPACE, REGIONS, SERVICE, Stage, deliver
from demonstration.terminal import note, run, write_manifest

MESSAGES = 10_000
BAKE = "5s"
PATIENT, IMPATIENT = "3m", "25s"
"""``progressDeadline`` of versions that work, however slow the machine, and of the one that is known not to."""
RING = "advisers"
TEXT = "Meet me at the roadstead, before the keys change."
BROKEN_IMAGE = "localhost:1/roadstead-chat:broken"
"""Nobody listens there, so the kubelet knows at once; a name that nobody resolves takes it a minute here."""


class PromiseBrokenError(RuntimeError):
    """Something that the demo shows did not happen."""


def service(stage: Stage, image: str, deadline: str = PATIENT) -> dict[str, Any]:
    """The ChatService of the demo; short times, so that a person need not wait."""
    return {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "ChatService",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {
            "image": image,
            "replicas": 1,
            "topology": {"mode": "ActiveActive", "regions": [{"name": name} for name in REGIONS]},
            "residency": {"jurisdictions": ["HK", "SG"]},
            "tls": {"secretName": f"{SERVICE}-tls"},
            "traffic": {"hostname": HOSTNAME, "serviceType": "NodePort"},
            "storage": {"size": "64Mi", "onDelete": "Delete"},
            "encryption": {"keyRingRef": {"name": RING}},
            "config": {"CHAT_TOKEN_PUBLIC_KEYS": stage.keys.public_key, "CHAT_KEYS_REFRESH_SECONDS": "1"},
            "rollout": {"bakeTime": BAKE, "progressDeadline": deadline},
            "termination": {"gracePeriod": "20s"},
        },
    }


def ring() -> dict[str, Any]:
    """The KeyRing of the demo: it rotates when somebody says so, and waits for nothing but proofs."""
    return {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "KeyRing",
        "metadata": {"name": RING, "namespace": NAMESPACE},
        "spec": {
            "regions": list(REGIONS),
            "distribution": "Cleartext",
            "schedule": {"every": "72h", "jitter": "0s"},
            "lead": "0s",
            "soak": "0s",
            "attestation": "Trusted",
        },
    }


def apply(stage: Stage, image: str, deadline: str = PATIENT) -> None:
    """Apply the service with an image; what is new in its manifest is printed."""
    manifest = stage.folder / f"{SERVICE}.yaml"
    write_manifest(manifest, service(stage, image, deadline))
    stage.kubectl("apply", "-f", str(manifest), show=True)


def create(stage: Stage) -> None:
    """From nothing to Ready in every region."""
    stage.kubectl("create", "namespace", NAMESPACE, show=True)
    stage.kubectl(
        "-n",
        NAMESPACE,
        "create",
        "secret",
        "tls",
        f"{SERVICE}-tls",
        f"--cert={stage.keys.certificate}",
        f"--key={stage.keys.private_key}",
        show=True,
    )
    manifest = stage.folder / "ring.yaml"
    write_manifest(manifest, ring())
    stage.kubectl("apply", "-f", str(manifest), show=True)
    stage.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", f"keyring/{RING}", "--timeout=60s", show=True)
    apply(stage, stage.images.first.reference)
    stage.kubectl(
        "-n", NAMESPACE, "wait", "--for=condition=Ready", f"chatservice/{SERVICE}", "--timeout=120s", show=True
    )
    stage.kubectl("get", "roadstead", "-A", show=True)


def urls(stage: Stage) -> dict[str, str]:
    """Where clients reach each region: a node's address and the Service's node port."""
    found = {}
    for name in REGIONS:
        path = "jsonpath={.spec.ports[0].nodePort}"
        port = stage.region_kubectl(name, "-n", NAMESPACE, "get", "service", f"{SERVICE}-{name}", "-o", path, show=True)
        cluster = stage.regions[name]
        found[name] = f"wss://{cluster.node_address(cluster.control_plane)}:{port}"
    return found


def load(stage: Stage, messages: int = MESSAGES, rate: int = 0) -> dict[str, Any]:
    """Send messages through every region, encrypted end to end, and check that each arrives once and in order.

    Args:
        stage: where.
        messages: how many in all.
        rate: messages a second in all; 0 for as many as will go.

    Returns:
        The load client's report.
    """
    command: list[str | Path] = [
        REPOSITORY / ".venv/bin/roadstead-chat-load",
        "run",
        *(f"--url={url}" for url in urls(stage).values()),
        f"--signing-key-file={stage.keys.signing_key}",
        f"--ca-file={stage.keys.authority}",
        f"--server-name={HOSTNAME}",
        f"--messages={messages}",
        f"--rate={rate}",
        "--settle=90",
        "--limit=240",
        "--json",
    ]
    report: dict[str, Any] = json.loads(run(command, shown=stage.typed(command), seconds=300))
    return report


def letter(stage: Stage, region: str, command: str, *words: str) -> str:
    """Send or read a message of the room of letters; returns what was printed."""
    line: list[str | Path] = [
        REPOSITORY / ".venv/bin/roadstead-chat-load",
        command,
        f"--url={urls(stage)[region]}",
        f"--signing-key-file={stage.keys.signing_key}",
        f"--ca-file={stage.keys.authority}",
        f"--server-name={HOSTNAME}",
        f"--room-key-file={stage.folder / 'room.key'}",
        *words,
    ]
    return run(line, shown=stage.typed(line), seconds=60)


def rotate(stage: Stage) -> int:
    """The key changes over all regions, each proved by real pods; returns the version that is written with then.

    A message that was written before is read after it, when the version that it was written with is in no region any
    more: the relays have encrypted it anew.
    """
    region = REGIONS[0]
    wait = ("-n", NAMESPACE, "wait", "--for=condition=Ready", f"chatservice/{SERVICE}", "--timeout=120s")
    stage.kubectl(*wait, seconds=130)
    letter(stage, region, "send", TEXT)
    before = int(stage.kubectl("-n", NAMESPACE, "get", f"keyring/{RING}", "-o", "jsonpath={.status.primary}"))
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = json.dumps({"spec": {"schedule": {"rotateAt": at}}})
    stage.kubectl("-n", NAMESPACE, "patch", f"keyring/{RING}", "--type=merge", f"--patch={patch}", show=True)
    _follow_ring(stage, before, 300)
    status: list[str | Path] = [
        *(REPOSITORY / ".venv/bin/roadstead", "keys", "status", RING, f"--namespace={NAMESPACE}"),
        f"--kubeconfig={stage.hub.kubeconfig}",
    ]
    run(status, shown=stage.typed(status))
    if TEXT not in letter(stage, region, "read").splitlines():
        raise PromiseBrokenError("the message that was written before the rotation cannot be read after it")
    note(f"written with version {before}, which no region has any more, and read")
    return before + 1


def _follow_ring(stage: Stage, before: int, seconds: float) -> None:
    """Print the rotation's steps until the version that was written with before has retired."""
    columns = "jsonpath={.status.phase}|{.status.primary}|{.status.blockedBy}"
    proofs = "{range .status.regions[*]}{.name} {.proved}/{.consumers} reads {.reads} writes {.writes}, {end}"
    old = f"keyversion/{RING}-v{before}"
    deadline, last = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        answer = stage.kubectl("-n", NAMESPACE, "get", f"keyring/{RING}", "-o", f"{columns}|{proofs}")
        phase, primary, blocked, proved = answer.split("|", 3)
        was = stage.kubectl("-n", NAMESPACE, "get", old, "-o", "jsonpath={.status.phase}")
        line = f"{phase:<9} primary {primary}, version {before} {was}; {proved.strip(' ,')}  {blocked}"
        if line != last:
            note(line)
            last = line
        if int(primary or 0) > before and was == "Retired" and phase == "Idle":
            return
        time.sleep(0.5)
    raise PromiseBrokenError(f"the key was not changed within {seconds:.0f} s; last: {last}")


def repair(stage: Stage) -> float:
    """Edit an object by hand and watch it come back; returns the seconds that it took."""
    region = REGIONS[0]
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    workload = f"statefulset/{SERVICE}-{region}"
    wanted = stage.region_kubectl(region, "-n", NAMESPACE, "get", workload, "-o", path)
    stage.region_kubectl(region, "-n", NAMESPACE, "set", "image", workload, "*=registry.example/intruder:1", show=True)
    started = time.monotonic()
    while stage.region_kubectl(region, "-n", NAMESPACE, "get", workload, "-o", path) != wanted:
        if time.monotonic() - started > 15:
            raise PromiseBrokenError(f"{workload} in {region} was not restored within 15 s")
    took = time.monotonic() - started
    note(f"restored after {took:.2f} s (a kubectl call included): {wanted}")
    return took


def follow(stage: Stage, wanted: str, seconds: float) -> None:
    """Print the rollout's steps until its phase is ``wanted``."""
    columns = (
        "jsonpath={.status.rollout.phase}|{.status.rollout.regionsDone}|{.status.rollout.message}|{.status.revision}"
    )
    note(f"to follow it in another terminal: roadstead status {SERVICE} -n {NAMESPACE} --watch")
    deadline = time.monotonic() + seconds
    last = ""
    while time.monotonic() < deadline:
        answer = stage.kubectl("-n", NAMESPACE, "get", f"chatservice/{SERVICE}", "-o", columns)
        if answer != last:
            phase, done, message, revision = answer.split("|", 3)
            note(f"{phase:<12} {done}/{len(REGIONS)} regions  revision {revision}  {message}")
            last = answer
            if phase == wanted:
                return
        time.sleep(0.3)
    raise PromiseBrokenError(f"the rollout did not become {wanted} within {seconds:.0f} s; last: {last}")


def roll_out(stage: Stage) -> None:
    """A new version, region by region."""
    deliver(stage, stage.images.second)
    apply(stage, stage.images.second.reference)
    _wait_observed(stage)
    follow(stage, "Complete", 400)


def roll_back(stage: Stage) -> None:
    """A version whose image does not exist: it stops in the first region and goes back by itself."""
    apply(stage, BROKEN_IMAGE, IMPATIENT)
    _wait_observed(stage)
    follow(stage, "RolledBack", 240)
    for region in REGIONS:
        path = "jsonpath={.spec.template.spec.containers[0].image}"
        image = stage.region_kubectl(region, "-n", NAMESPACE, "get", f"statefulset/{SERVICE}-{region}", "-o", path)
        if image != stage.images.second.reference:
            raise PromiseBrokenError(f"region {region} runs {image} after the rollback")
    path = "jsonpath={.status.rollout.message}"
    why = stage.kubectl("-n", NAMESPACE, "get", f"chatservice/{SERVICE}", "-o", path, show=True)
    if "ImagePull" not in why:
        raise PromiseBrokenError(f"the status does not tell why the pods did not start: {why}")
    stage.kubectl("-n", NAMESPACE, "get", f"chatservice/{SERVICE}", "-o", "wide", show=True)


def _wait_observed(stage: Stage) -> None:
    """Until the status speaks of the spec that was just applied."""
    deadline = time.monotonic() + 30
    path = "jsonpath={.metadata.generation} {.status.observedGeneration}"
    while time.monotonic() < deadline:
        generation, observed = stage.kubectl("-n", NAMESPACE, "get", f"chatservice/{SERVICE}", "-o", path).split(" ")
        if generation == observed:
            return
        time.sleep(0.1)
    raise PromiseBrokenError("the operator did not look at the new spec within 30 s")


def remove(stage: Stage) -> None:
    """Delete the service, and then its ring; nothing may be left in any region."""
    stage.kubectl("-n", NAMESPACE, "delete", f"chatservice/{SERVICE}", "--timeout=60s", show=True)
    stage.kubectl("-n", NAMESPACE, "delete", f"keyring/{RING}", "--timeout=90s", show=True)
    for region in REGIONS:
        kinds = (
            "statefulsets,deployments,services,configmaps,secrets,networkpolicies,serviceaccounts,poddisruptionbudgets,"
            "roles,rolebindings"
        )
        left = stage.region_kubectl(
            region, "get", kinds, "-A", "-l", "app.kubernetes.io/managed-by=roadstead", "-o", "name", show=True
        )
        if left.strip():
            raise PromiseBrokenError(f"region {region} still has {left.split()}")
        note(f"region {region}: nothing left")
