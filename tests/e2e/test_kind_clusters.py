"""Two regions as kind clusters side by side: what later tests and the demo take for granted, shown on real nodes."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localkube import egress, images, kind, kind_ready, nodeimage_parts, runs
from localkube.docker import Docker
from localkube.kind import KindCluster

SCRIPTS = Path(kind.__file__).resolve().parents[1]

# how a pod of ours runs under Pod Security "restricted"
RESTRICTED = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def regions() -> Iterator[tuple[KindCluster, KindCluster]]:
    if not kind.available():
        pytest.skip("no Docker answers and none can be started here: kind clusters are not tested")
    hkg, sgp = kind.start("k-hkg"), kind.start("k-sgp", workers=1)
    yield hkg, sgp
    sgp.stop()
    hkg.stop()


@pytest.fixture(scope="module")
def chat_image(regions: tuple[KindCluster, KindCluster]) -> str:
    image = images.build("chat")
    for cluster in regions:
        cluster.load_image(image.archive)
    return image.reference


def pod(name: str, image: str, code: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", code],
        "securityContext": RESTRICTED,
    } | spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]} | spec,
    }


def apply(cluster: KindCluster, *bodies: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(bodies))


def output_of(cluster: KindCluster, name: str, seconds: float = 60) -> str:
    """Wait for a pod to end and return what it printed; its own words when it failed."""

    def ended() -> bool:
        return cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}") in ("Succeeded", "Failed")

    kind_ready.until(f"pod {name} to end", ended, seconds=seconds)
    printed = cluster.kubectl("logs", name)
    assert cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}") == "Succeeded", printed
    return printed


def test_a_pod_of_our_image_resolves_names_and_keeps_a_file_on_a_volume(
    regions: tuple[KindCluster, KindCluster], chat_image: str
) -> None:
    hkg, _ = regions
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    volume = {
        "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        "securityContext": {"fsGroup": 65532},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    write = (
        "import os, pathlib, socket, aiohttp, cryptography, roadstead_chat\n"
        "pathlib.Path('/data/kept').write_text(socket.gethostbyname('kubernetes.default.svc.cluster.local'))\n"
        "print(os.getuid())"
    )
    apply(hkg, claim, pod("writer", chat_image, write, **volume))
    assert output_of(hkg, "writer") == "65532\n"

    apply(hkg, pod("reader", chat_image, "print(open('/data/kept').read())", **volume))
    assert output_of(hkg, "reader") == f"{kind_ready.API_SERVICE}\n"


def test_the_root_filesystem_of_our_image_can_be_read_only_and_our_user_writes_only_where_it_may(
    regions: tuple[KindCluster, KindCluster], chat_image: str
) -> None:
    hkg, _ = regions
    code = "import pathlib\ntry: pathlib.Path('/tmp/x').write_text('')\nexcept OSError as e: print(e.strerror)"
    apply(hkg, pod("confined", chat_image, code))
    assert output_of(hkg, "confined") == "Read-only file system\n"


def test_a_pod_reaches_the_api_server_of_the_other_region_and_verifies_it(
    regions: tuple[KindCluster, KindCluster], chat_image: str
) -> None:
    hkg, sgp = regions
    config = yaml.safe_load(sgp.internal_kubeconfig().read_text())["clusters"][0]["cluster"]
    authority = base64.b64decode(config["certificate-authority-data"]).decode()
    code = (
        "import ssl, urllib.request\n"
        f"context = ssl.create_default_context(cadata={authority!r})\n"
        f"print(urllib.request.urlopen({config['server'] + '/readyz'!r}, context=context, timeout=10).read().decode())"
    )
    apply(hkg, pod("across", chat_image, code))
    assert output_of(hkg, "across") == "ok\n"


def test_a_pod_reaches_a_node_port_of_the_other_region_on_each_of_its_nodes(
    regions: tuple[KindCluster, KindCluster], chat_image: str
) -> None:
    hkg, sgp = regions
    serve = "import http.server; http.server.test(http.server.BaseHTTPRequestHandler, port=8080)"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"type": "NodePort", "selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    apply(sgp, pod("server", chat_image, serve), service)
    sgp.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s", seconds=70)
    port = sgp.kubectl("get", "service", "server", "-o", "jsonpath={.spec.ports[0].nodePort}")
    addresses = [sgp.node_address(node) for node in sgp.node_names()]
    assert len(addresses) == 2
    code = f"import socket\nfor a in {addresses!r}: socket.create_connection((a, {port}), 10).close()\nprint('reached')"
    apply(hkg, pod("caller", chat_image, code))
    assert output_of(hkg, "caller") == "reached\n"


def rejected(run_id: str) -> int:
    """Return how many packets the run's egress rules have rejected so far."""
    listed = subprocess.run(
        ["nft", "list", "table", "inet", egress.table(run_id)], capture_output=True, text=True, check=True
    ).stdout
    return sum(int(count) for count in re.findall(r"counter packets (\d+)", listed))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the counters of the firewall")
def test_nothing_leaves_the_network_neither_from_a_node_nor_from_a_pod(
    regions: tuple[KindCluster, KindCluster], chat_image: str
) -> None:
    hkg, sgp = regions
    outside = "198.51.100.7"  # TEST-NET-2: nobody's, so that even a broken rule disturbs nobody
    before = rejected(kind.session().run.id)
    connect = f"exec 3<>/dev/tcp/{outside}/443"
    # a reject is an answer, and not the time-out that a mere lack of an answer ends in
    said = hkg.docker.run("exec", hkg.control_plane, "bash", "-c", f"{{ {connect}; }} 2>&1", check=False, seconds=20)
    assert "Connection refused" in said
    from_node = rejected(kind.session().run.id)
    assert from_node > before

    code = (
        f"import socket\ntry: socket.create_connection(({outside!r}, 443), 5)\nexcept OSError as e: print(e.strerror)"
    )
    apply(hkg, pod("escape", chat_image, code))
    assert output_of(hkg, "escape") == "Connection refused\n"
    assert rejected(kind.session().run.id) > from_node

    near = f"exec 3<>/dev/tcp/{sgp.node_address(sgp.control_plane)}/6443"
    assert hkg.docker.succeeds("exec", hkg.control_plane, "timeout", "5", "bash", "-c", near)


def test_the_network_is_closed_before_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Recorder(kind.Session):
        def __init__(self) -> None:
            self.docker = Docker(host="unix:///nowhere", ours=True)
            self.run = runs.Run("abc123", Path("/nonexistent"), None)
            self._bridges = {}

    monkeypatch.setattr(egress, "refuse", lambda docker, run_id, bridges, image: calls.append(f"refuse {bridges[0]}"))
    monkeypatch.setattr(Docker, "run", lambda self, *arguments, **_: calls.append(" ".join(arguments[:2])))
    assert Recorder()._network("net") == "rs-abc123-net"
    assert calls == ["refuse rs-abc123-0", "network create"]


def test_a_stopped_node_comes_back_at_its_address_and_works(regions: tuple[KindCluster, KindCluster]) -> None:
    _, sgp = regions
    worker = next(node for node in sgp.node_names() if node != sgp.control_plane)
    address = sgp.node_address(worker)
    sgp.stop_node(worker, grace=1)
    assert json.loads(sgp.docker.run("inspect", worker))[0]["State"]["Running"] is False
    sgp.start_node(worker)
    assert sgp.node_address(worker) == address
    # through kube-proxy and the pod network of the worker to CoreDNS, wherever it runs
    assert sgp.docker.succeeds("exec", worker, "timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/10.96.0.10/53")


def answers(cluster: KindCluster) -> bool:
    try:
        return cluster.kubectl("get", "--raw=/readyz", "--request-timeout=2s", seconds=10) == "ok"
    except kind.KindError:
        return False


def test_an_api_server_goes_and_comes_back(regions: tuple[KindCluster, KindCluster]) -> None:
    hkg, sgp = regions
    hkg.stop_apiserver()
    assert not answers(hkg)
    assert answers(sgp)
    hkg.start_apiserver()
    assert answers(hkg)


def test_a_frozen_api_server_keeps_silent_and_goes_on(regions: tuple[KindCluster, KindCluster]) -> None:
    hkg, _ = regions
    hkg.pause_apiserver()
    try:
        assert not answers(hkg)
    finally:
        hkg.resume_apiserver()
    kind_ready.api(hkg)


# What a run leaves behind, shown with a network and a container in the place of a whole cluster.
_STANDS_FOR_A_CLUSTER = """
import sys, time
from localkube import kind
session = kind.session()
network = session._network("net")
session.docker.run("run", "-d", "--name", session.run.prefix + "x-control-plane", "--network", network,
                   "--entrypoint", "sleep", session.image(), "1000")
if "keep" in sys.argv:
    kind.keep()
print(session.run.id, flush=True)
if "keep" not in sys.argv:
    time.sleep(600)
"""


def traces(on: Docker, run_id: str) -> list[str]:
    """Return everything that is left of a run."""
    prefix = f"{runs.PREFIX}{run_id}-"
    found = on.lines("ps", "-a", "--filter", f"name=^{prefix}", "--format", "{{.Names}}")
    found += on.lines("network", "ls", "--filter", f"name=^{prefix}", "--format", "{{.Name}}")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found += [egress.table(run_id)] if egress.table(run_id) in tables else []
    return found + [name for name in runs.every() if name == run_id]


def start_program(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
    )


def run_id_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    assert re.fullmatch("[0-9a-f]{6}", line), program.communicate()
    return line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may list the firewall")
def test_nothing_is_left_of_a_process_that_was_killed(regions: tuple[KindCluster, KindCluster]) -> None:
    on = regions[0].docker
    program = start_program(_STANDS_FOR_A_CLUSTER)
    run_id = run_id_of(program)
    assert len(traces(on, run_id)) == 4  # container, network, firewall table, record: so the check below can fail
    program.kill()
    program.communicate()
    kind_ready.until("the janitor to remove everything", lambda: not traces(on, run_id), seconds=120)
    assert answers(regions[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may list the firewall")
def test_a_kept_run_outlives_its_process_and_a_plain_sweep(regions: tuple[KindCluster, KindCluster]) -> None:
    on = regions[0].docker
    program = start_program(_STANDS_FOR_A_CLUSTER, "keep")
    run_id = run_id_of(program)
    program.communicate(timeout=120)
    kind.sweep()
    assert len(traces(on, run_id)) == 4
    assert kind.sweep(run_id=run_id) == [run_id]
    assert traces(on, run_id) == []


def test_a_sweep_never_touches_a_living_run(regions: tuple[KindCluster, KindCluster]) -> None:
    kind.sweep(kept=True)
    assert answers(regions[0])
    with pytest.raises(runs.NotOurRunError, match="in use by another process"):
        kind.sweep(run_id=kind.session().run.id)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may list the firewall")
def test_nothing_is_left_after_ctrl_c_while_a_cluster_starts(regions: tuple[KindCluster, KindCluster]) -> None:
    on = regions[0].docker
    code = "from localkube import kind; print(kind.session().run.id, flush=True); kind.start('interrupted')"
    program = start_program(code)
    run_id = run_id_of(program)
    name = f"{runs.PREFIX}{run_id}-interrupted-control-plane"
    kind_ready.until("its node to be there", lambda: on.inspect(name) is not None, seconds=120)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=120)
    assert program.returncode != 0
    assert "KeyboardInterrupt" in errors
    kind_ready.until("everything to be removed", lambda: not traces(on, run_id), seconds=120)


def test_a_name_that_is_no_dns_label_is_refused() -> None:
    with pytest.raises(ValueError, match="'Hong Kong' is no DNS label"):
        kind.start("Hong Kong")


def test_the_image_of_a_region_is_the_pinned_kubernetes(regions: tuple[KindCluster, KindCluster]) -> None:
    version = json.loads(regions[0].kubectl("get", "--raw=/version"))["gitVersion"]
    assert version == nodeimage_parts.kubernetes_version()
