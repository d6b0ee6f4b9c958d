"""The agent in a real pod, exactly as docs/how-to/keep-keys-in-a-region.md says it, from the operator's own image."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clusters import eventually
from localkube import images, kind
from localkube.kind import KindCluster
from sealedkeysets import content_of, files, private_key, public_pem

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "keep-keys-in-a-region.md"
KUBELET = 180.0
"""Seconds within which a kubelet brings a Secret that has changed into a mount; it takes up to two minutes."""
WORKLOAD = """
import time
from roadstead_keys.ring import Ring

ring = Ring.open("/keys")  # no retry: the agent is up before this begins
text = ring.encrypt(b"words", b"row 1")
while True:
    ring.reload()
    print(ring.held.bundle.generation, sorted(ring.versions), ring.decrypt(text, b"row 1").decode(), flush=True)
    time.sleep(1)
"""


@pytest.fixture(scope="module")
def region() -> Iterator[KindCluster]:
    if not kind.available():
        pytest.skip("no Docker answers and none can be started here: the agent is not tried in a real pod")
    cluster = kind.start("k-sealed")
    yield cluster
    cluster.stop()


def deployment(image: str) -> dict[str, Any]:
    """The one of the document, with images that are here and a workload that says what it can read."""
    blocks = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    (found,) = [body for body in map(yaml.safe_load, blocks) if body["kind"] == "Deployment"]
    spec = found["spec"]["template"]["spec"]
    (agent,), (main,) = spec["initContainers"], spec["containers"]
    for container in (agent, main):
        container |= {"image": image, "imagePullPolicy": "Never"}
    main["command"] = ["python3", "-c", WORKLOAD]
    body: dict[str, Any] = found
    return body


def secret(name: str, content: Mapping[str, bytes]) -> dict[str, Any]:
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "chat"}, "data": data}


def test_a_pod_reads_what_only_its_region_can_open(region: KindCluster) -> None:
    image = images.build("operator")
    region.load_image(image.archive)
    key = private_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    sealed = dict(files(public_pem(key)))

    def apply(*bodies: dict[str, Any]) -> None:
        region.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(bodies))

    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat"}})
    apply(secret("hkg-key", {"key.pem": pem}), secret("chat.hkg.keyset", sealed), deployment(image.reference))

    def told(container: str) -> str:
        return str(region.kubectl("-n", "chat", "logs", "deployment/notes", "-c", container, "--tail=3"))

    region.kubectl("-n", "chat", "rollout", "status", "deployment/notes", "--timeout=120s", seconds=130)
    eventually(lambda: "7 [1, 2, 3] words" in told("notes"), deadline=60, interval=1)
    assert "generation 7 of ring r0123456789ab was opened" in told("keys")

    apply(secret("chat.hkg.keyset", files(public_pem(key), generation=8)))
    eventually(lambda: "8 [1, 2, 3] words" in told("notes"), deadline=KUBELET, interval=2)

    def python(container: str, code: str) -> str:  # the image has no shell
        inside = ("exec", "deployment/notes", "-c", container, "--", "python3", "-c", code)
        return str(region.kubectl("-n", "chat", *inside)).strip()

    assert "tmpfs" in python("notes", "print([line for line in open('/proc/mounts') if ' /keys ' in line])")
    assert python("notes", "print(open('/keys/keyset.json').read())").encode() == content_of(1, 2, 3, primary=2)
    assert (
        python("notes", "import os; print([os.path.exists(at) for at in ('/private', '/sealed')])") == "[False, False]"
    )
    used = python("keys", "print(open('/proc/1/status').read())")
    (line,) = [line for line in used.splitlines() if line.startswith("VmRSS:")]
    assert int(line.split()[1]) < 40_000, line
    restarts = region.kubectl("-n", "chat", "get", "pods", "-o", "jsonpath={..restartCount}")
    assert set(restarts.split()) == {"0"}
