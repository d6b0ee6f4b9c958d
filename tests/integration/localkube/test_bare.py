"""Bare control planes: side by side, stopped without a trace, frozen, restarted, gone with their owner."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clusters import StartCluster, eventually, kubectl, kubectl_json
from localkube import bare, crds, detached, rbac
from localkube.bare import BareCluster
from localkube.processes import ProcessError
from localkube.rest import Api, ApiError

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster) -> BareCluster:
    started = start_cluster("alone")
    started.add_nodes(2, labels={"topology.kubernetes.io/region": "hkg"})
    return started


def alive(pid: int) -> bool:
    return detached.start_time(pid) is not None


def test_two_clusters_side_by_side_share_nothing(cluster: BareCluster) -> None:
    other = bare.start("alone", controllers=False, scheduler=False, kwok=False)
    try:
        assert other.url != cluster.url
        assert not set(other.pids.values()) & set(cluster.pids.values())
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "only-here"}}
        assert other.api.create("/api/v1/namespaces", body)
        with pytest.raises(ApiError) as refused:
            cluster.api.request("GET", "/api/v1/namespaces/only-here")
        assert refused.value.status == 404
        with pytest.raises(ssl.SSLCertVerificationError):
            _with_authority_of(cluster, other).request("GET", "/version")
    finally:
        pids = list(other.pids.values())
        other.stop()
    assert not [pid for pid in pids if alive(pid)]
    assert not other.directory.exists()
    other.stop()  # a second time does no harm


def _with_authority_of(trusted: BareCluster, contacted: BareCluster) -> Api:
    api = trusted.api
    api._address = contacted.api._address
    return api


def test_pods_run_on_fake_nodes_and_claims_are_bound(cluster: BareCluster) -> None:
    kubectl(cluster, "create", "deployment", "web", "--image=registry.example/web:1", "--replicas=3")
    kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=30s")
    claim = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
    kubectl(cluster, "apply", "-f", "-", stdin=claim)
    eventually(lambda: kubectl_json(cluster, "get", "pvc", "data")["status"].get("phase") == "Bound")
    kubectl(cluster, "delete", "deployment/web", "pvc/data", "--wait=true", "--timeout=30s")


def test_nodes_carry_their_labels_and_are_ready(cluster: BareCluster) -> None:
    def ready() -> list[str]:
        found = kubectl_json(cluster, "get", "nodes", "-l", "topology.kubernetes.io/region=hkg")["items"]
        return [
            node["metadata"]["name"]
            for node in found
            if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        ]

    assert eventually(lambda: ready() if len(ready()) == 2 else []) == ["node-0", "node-1"]


def test_frozen_api_server_answers_nothing_and_then_everything(cluster: BareCluster) -> None:
    cluster.pause_apiserver()
    try:
        assert not cluster.api.ready()
    finally:
        cluster.resume_apiserver()
    cluster.wait_ready(10)


def test_stopped_api_server_comes_back_on_the_same_port_with_its_data(cluster: BareCluster) -> None:
    kubectl(cluster, "create", "configmap", "kept", "--from-literal=a=b")
    url = cluster.url
    cluster.stop_apiserver()
    with pytest.raises(ConnectionRefusedError):
        cluster.api.request("GET", "/version")
    cluster.start_apiserver()
    assert cluster.url == url
    assert kubectl_json(cluster, "get", "configmap", "kept")["data"] == {"a": "b"}


def test_new_authority_makes_old_kubeconfigs_useless(start_cluster: StartCluster) -> None:
    own = start_cluster("renewed")
    before = own.api
    serving = ssl.get_server_certificate(("127.0.0.1", before._address.port or 0))
    own.restart_apiserver(new_certificate=True)
    assert ssl.get_server_certificate(("127.0.0.1", before._address.port or 0)) != serving
    assert before.ready()

    own.restart_apiserver(new_authority=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        before.request("GET", "/version")
    # the controllers got new kubeconfigs too: they still make the account of a new namespace
    kubectl(own, "create", "namespace", "after")
    eventually(lambda: kubectl_json(own, "get", "serviceaccounts", "-n", "after")["items"])


def test_service_account_kubeconfig_is_that_account_and_nothing_more(cluster: BareCluster, tmp_path: Path) -> None:
    file = rbac.service_account_kubeconfig(cluster, "roadstead-system", "operator", directory=tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = Api(file).request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert answer["status"]["userInfo"]["username"] == "system:serviceaccount:roadstead-system:operator"
    with pytest.raises(ApiError) as refused:
        Api(file).request("GET", "/api/v1/secrets")
    assert refused.value.status == 403


def test_webhook_at_a_loopback_address_is_called(cluster: BareCluster) -> None:
    """Nothing listens there: the refusal itself proves that the API server called exactly this address."""
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "loopback"},
        "webhooks": [
            {
                "name": "loopback.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1/validate"},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}
                ],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    assert cluster.api.create(path, configuration)
    try:
        eventually(
            lambda: (
                "127.0.0.1:1" in kubectl(cluster, "create", "secret", "generic", "x", "--dry-run=server", check=False)
            )
        )
    finally:
        cluster.api.request("DELETE", f"{path}/loopback")


def test_crds_of_other_projects_are_served(cluster: BareCluster) -> None:
    names = crds.apply(cluster.api, [crds.path("servicemonitors"), crds.path("certificates")])
    assert names == ["servicemonitors.monitoring.coreos.com", "certificates.cert-manager.io"]
    assert kubectl_json(cluster, "get", "servicemonitors", "-A")["items"] == []


def test_failed_start_tells_the_last_words_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"kube-apiserver ended with code 1.*\n.*no-such-flag"):
        bare.start("broken", workdir=tmp_path / "w", extra_apiserver_args=["--no-such-flag"])
    assert not [p for p in _processes() if str(tmp_path) in p]


def _processes() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


OWNER = """
import json, sys, time
from localkube import bare
cluster = bare.start("orphan", controllers=False, scheduler=False, kwok=False)
print(json.dumps({"pids": list(cluster.pids.values()), "directory": str(cluster.directory)}), flush=True)
cluster.pause_apiserver()  # frozen children must die too
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_cluster_dies_with_its_owner(number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    told = json.loads(owner.stdout.readline())
    assert all(alive(pid) for pid in told["pids"])
    owner.send_signal(number)
    owner.wait(20)
    owner.stdout.close()
    eventually(lambda: not [pid for pid in told["pids"] if alive(pid)], deadline=10)
    eventually(lambda: not Path(told["directory"]).exists(), deadline=10)


def test_processes_started_from_a_thread_outlive_the_thread() -> None:
    """PR_SET_PDEATHSIG fires with the thread that forked; hence the supervisor."""
    made: list[BareCluster] = []
    options = {"controllers": False, "scheduler": False, "kwok": False}
    thread = threading.Thread(target=lambda: made.append(bare.start("threaded", **options)))  # type: ignore[arg-type]
    thread.start()
    thread.join()
    try:
        time.sleep(0.5)
        assert made[0].api.ready()
    finally:
        made[0].stop()


def test_detached_cluster_is_found_in_the_register_and_stopped() -> None:
    cluster = bare.start("kept", controllers=False, scheduler=False, kwok=False, live_on=True)
    pids = list(cluster.pids.values())
    cluster.release()
    entry = next(entry for entry in detached.entries() if entry.directory == cluster.directory)
    assert Api(entry.kubeconfig).ready()
    assert detached.stop(entry)
    assert not [pid for pid in pids if alive(pid)]
    assert not cluster.directory.exists()
    assert entry not in detached.entries()
