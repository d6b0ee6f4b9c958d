"""The operator's webhooks as a person meets them: kubectl, a real API server, the chart's configuration and rights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api_key_cases import RINGS_THAT_NEVER_ROTATE, ring
from clusters import StartCluster, eventually, fresh_namespace, kubectl, run_kubectl
from integration.admission.serving import CONFIGURATION, NAMESPACE, apply, bundles, install_webhooks, region, service
from localkube import ports
from localkube.bare import BareCluster
from localoperator import Operator, grant

Run = Callable[[], Operator]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    claim = ports.Claim(1)
    yield claim.ports[0]
    claim.release()


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster, port: int) -> BareCluster:
    """A hub of its own: webhooks that fail closed would stop every other test."""
    hub = start_cluster("admission", with_crds=True)
    hub.add_nodes(1, prefix="hub")
    grant(hub)
    install_webhooks(hub, port)
    return hub


@pytest.fixture(scope="module")
def operator(cluster: BareCluster, port: int) -> Iterator[Operator]:
    with _operator(cluster, port) as running:
        running.wait_ready()
        eventually(lambda: all(bundles(cluster)), what="the caBundle of every webhook")
        answer = apply(cluster, region("hkg"), region("sin", "SG"))
        assert "denied" not in answer
        yield running


def _operator(cluster: BareCluster, port: int) -> Operator:
    return Operator(cluster, "--webhook-address=127.0.0.1", f"--webhook-port={port}", webhooks=True)


@pytest.fixture(scope="module")
def space(cluster: BareCluster) -> str:
    return fresh_namespace(cluster, "bank")


def peaks(**changes: Any) -> dict[str, Any]:
    peak = {"name": "sale", "timeZone": "Asia/Hong_Kong", "schedule": "0 9 11 11 *", "duration": "15h", "replicas": 5}
    return {"maxReplicas": 10, "peaks": [peak | changes]}


def test_a_sound_service_is_created(cluster: BareCluster, operator: Operator, space: str) -> None:
    answer = apply(cluster, service("sound", space, "hkg", "sin"))
    assert "chatservice.roadstead.dev/sound created" in answer


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(
            {"residency": {"jurisdictions": ["HK"]}},
            ("spec.topology.regions[1].name is sin", "lies in SG", "choose a region in HK"),
            id="a region outside the residency",
        ),
        pytest.param(
            {"autoscaling": peaks(timeZone="Asia/Atlantis")}, ("timeZone", "Asia/Atlantis"), id="an unknown time zone"
        ),
        pytest.param({"autoscaling": peaks(schedule="0 25 * * *")}, ("schedule", "0 25 * * *"), id="a 25th hour"),
    ],
)
def test_a_service_is_refused_in_words(
    cluster: BareCluster, operator: Operator, space: str, spec: dict[str, Any], words: tuple[str, ...]
) -> None:
    answer = apply(cluster, service("bad", space, "hkg", "sin", **spec))
    assert 'admission webhook "chatservices.roadstead.dev" denied the request' in answer
    assert all(word in answer for word in words), answer


def test_a_ring_is_judged_too(cluster: BareCluster, operator: Operator, space: str) -> None:
    for edits, field, words in RINGS_THAT_NEVER_ROTATE:
        answer = apply(cluster, ring("never", space, **edits))
        assert 'admission webhook "keyrings.roadstead.dev" denied the request' in answer, answer
        assert f"{field} {words.partition(';')[0]}" in answer or words in answer
    apply(cluster, region("keyed"))
    answer = apply(cluster, ring("kept", space, **{"spec.regions": ["keyed", "nrt"]}))
    assert "Warning: spec.regions[1] is nrt, and there is no Region of that name" in answer
    assert "keyring.roadstead.dev/kept created" in answer
    refused = run_kubectl(cluster, "delete", "region", "keyed", "--wait=false")
    assert f"is keyed, a Region that has keys of KeyRings ({space}/kept)" in refused.stderr
    assert "take keyed out of spec.regions of each" in refused.stderr


def test_a_region_that_is_not_there_yet_is_a_warning(cluster: BareCluster, operator: Operator, space: str) -> None:
    answer = apply(cluster, service("early", space, "hkg", "nrt"))
    assert "Warning: spec.topology.regions[1].name is nrt" in answer
    assert "chatservice.roadstead.dev/early created" in answer


def test_a_service_moves_once_the_other_region_serves(cluster: BareCluster, operator: Operator, space: str) -> None:
    pair = ("--type=kubernetes.io/tls", "--from-literal=tls.crt=x", "--from-literal=tls.key=x")
    kubectl(cluster, "-n", space, "create", "secret", "generic", "moving", *pair)

    def moving(*regions: str) -> str:
        at_once = {"tls": {"secretName": "moving"}, "rollout": {"bakeTime": "0s"}}
        return apply(cluster, service("moving", space, *regions, **at_once))

    assert "created" in moving("hkg")
    kubectl(cluster, "-n", space, "wait", "--for=condition=Ready", "chat/moving", "--timeout=60s")

    answer = moving("hgk")
    assert "spec.topology.regions[0].name is hgk, and there is no Region of that name" in answer
    answer = moving("sin")
    assert "regions is sin, where no pod would be ready, and not hkg any more, where some are" in answer

    assert "configured" in moving("hkg", "sin")
    kubectl(cluster, "-n", space, "wait", "--for=condition=Ready", "chat/moving", "--timeout=60s")
    assert "configured" in moving("sin")

    kubectl(cluster, "-n", space, "annotate", "chat", "moving", "roadstead.dev/abandon=sin")
    assert "configured" in moving("hkg")


def test_a_refused_edit_leaves_what_was_there(cluster: BareCluster, operator: Operator, space: str) -> None:
    apply(cluster, service("kept", space, "hkg", "sin"))
    answer = apply(cluster, service("kept", space, "hkg", "sin", residency={"jurisdictions": ["HK"]}))
    assert "denied the request" in answer
    assert kubectl(cluster, "-n", space, "get", "chat", "kept", "-o", "jsonpath={.spec.residency}") == ""


@pytest.mark.parametrize(
    ("reference", "secret", "words"),
    [
        pytest.param(
            {"namespace": "default", "name": "r", "key": "kubeconfig"},
            None,
            ("kubeconfigSecretRef.namespace is default", f"put the Secret into {NAMESPACE}"),
            id="a kubeconfig in another namespace",
        ),
        pytest.param(
            {"namespace": NAMESPACE, "name": "region-exec", "key": "kubeconfig"},
            {
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"exec": {"command": "sh"}}}],
            },
            ("user.exec is not accepted",),
            id="a kubeconfig that would run a command",
        ),
    ],
)
def test_a_region_is_refused_in_words(
    cluster: BareCluster, operator: Operator, reference: dict[str, str], secret: Any, words: tuple[str, ...]
) -> None:
    if secret is not None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": reference["name"], "namespace": NAMESPACE},
            "stringData": {"kubeconfig": json.dumps(secret)},
        }
        apply(cluster, body)
    answer = apply(cluster, region("bad", cluster={"kubeconfigSecretRef": reference}))
    assert 'admission webhook "regions.roadstead.dev" denied the request' in answer
    assert all(word in answer for word in words), answer


def test_a_missing_kubeconfig_is_a_warning(cluster: BareCluster, operator: Operator) -> None:
    reference = {"namespace": NAMESPACE, "name": "not-yet", "key": "kubeconfig"}
    answer = apply(cluster, region("member", cluster={"kubeconfigSecretRef": reference}))
    assert "Warning: spec.cluster.kubeconfigSecretRef is roadstead-system/not-yet" in answer
    assert "region.roadstead.dev/member created" in answer


def test_a_region_in_use_is_deleted_only_when_it_is_abandoned(
    cluster: BareCluster, operator: Operator, space: str
) -> None:
    apply(cluster, region("used"), service("holder", space, "used"))
    answer = run_kubectl(cluster, "delete", "region", "used", "--wait=false")
    assert answer.returncode != 0
    assert f"still holds 1 service ({space}/holder)" in answer.stderr
    assert "take used out of spec.topology.regions" in answer.stderr
    kubectl(cluster, "annotate", "region", "used", "roadstead.dev/abandon=true")
    answer = run_kubectl(cluster, "delete", "region", "used", "--wait=false")
    assert answer.returncode == 0, answer.stderr
    assert "Warning: Region used is abandoned" in answer.stderr


def test_a_jurisdiction_that_services_are_bound_to_does_not_change(
    cluster: BareCluster, operator: Operator, space: str
) -> None:
    apply(cluster, region("bound"))
    apply(cluster, service("resident", space, "bound", residency={"jurisdictions": ["HK"]}))
    answer = apply(cluster, region("bound", "SG"))
    assert f"spec.jurisdiction is SG, outside the residency of 1 service ({space}/resident)" in answer


def test_a_dry_run_is_judged_too(cluster: BareCluster, operator: Operator, space: str) -> None:
    body = service("dry", space, "hkg", "sin", residency={"jurisdictions": ["HK"]})
    answer = kubectl(cluster, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)
    assert "denied the request" in answer


def test_a_service_encrypts_with_a_ring_that_exists_and_the_ring_stays(
    cluster: BareCluster, operator: Operator, space: str
) -> None:
    encrypted = service("encrypted", space, "hkg", "sin", encryption={"keyRingRef": {"name": "keys"}})
    answer = apply(cluster, encrypted)
    assert f"spec.encryption.keyRingRef.name is keys, and there is no KeyRing {space}/keys; create it first" in answer
    assert "created" in apply(cluster, ring("keys", space, spec__regions=["hkg"]))
    answer = apply(cluster, encrypted)
    assert "spec.topology.regions[1].name is sin" in answer
    assert "it has: hkg" in answer
    assert "configured" in apply(cluster, ring("keys", space, spec__regions=["hkg", "sin"]))
    assert "created" in apply(cluster, encrypted)
    deleted = run_kubectl(cluster, "-n", space, "delete", "keyring", "keys", "--wait=false")
    assert f"ChatService {space}/encrypted encrypts with" in deleted.stderr
    answer = apply(cluster, ring("keys", space, spec__regions=["hkg"]))
    assert f"has no sin any more, where ChatService {space}/encrypted encrypts with the ring" in answer
    kubectl(cluster, "-n", space, "delete", "chat", "encrypted")
    assert "deleted" in kubectl(cluster, "-n", space, "delete", "keyring", "keys", "--wait=false")


def test_a_configuration_with_a_wrong_path_admits_nothing(
    cluster: BareCluster, operator: Operator, space: str, port: int
) -> None:
    """A webhook of kopf alone says yes here."""
    for path in ("/validate-nothing", "/validate-region"):
        install_webhooks(cluster, port, path=path)
        try:
            eventually(
                lambda: "failed calling webhook" in apply(cluster, service("stray", space, "hkg")),
                what=f"a refusal at {path}",
            )
        finally:
            install_webhooks(cluster, port)
    assert "NotFound" in kubectl(cluster, "-n", space, "get", "chat", "stray", check=False)
    eventually(lambda: "created" in apply(cluster, service("no-stray", space, "hkg")), what="the right path again")


def test_an_upgrade_of_the_chart_keeps_the_bundle(cluster: BareCluster, operator: Operator, port: int) -> None:
    before = bundles(cluster)
    assert all(before)
    install_webhooks(cluster, port)
    assert bundles(cluster) == before


def test_a_bundle_that_was_taken_away_comes_back(cluster: BareCluster, operator: Operator) -> None:
    before = bundles(cluster)
    patch = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
    kubectl(cluster, "patch", "validatingwebhookconfiguration", CONFIGURATION, "--type=json", f"-p={json.dumps(patch)}")
    eventually(lambda: bundles(cluster) == before, deadline=30, what="the caBundle to be written again")


def test_without_the_operator_nothing_of_ours_passes_and_everything_else_does(
    cluster: BareCluster, operator: Operator, space: str, port: int
) -> None:
    """Last in this file: it stops the operator."""
    apply(cluster, service("closing", space, "hkg"))
    operator.stop()
    answer = apply(cluster, service("after", space, "hkg"))
    assert 'failed calling webhook "chatservices.roadstead.dev"' in answer
    deleted = run_kubectl(cluster, "delete", "region", "sin", "--wait=false")
    assert 'failed calling webhook "regions.roadstead.dev"' in deleted.stderr
    # Other kinds, and what of ours is no spec: a finalizer must come off without an operator that answers.
    kubectl(cluster, "-n", space, "create", "configmap", "free")
    kubectl(cluster, "-n", space, "label", "chat", "closing", "team=chat")
    patch = {"metadata": {"finalizers": None}}
    kubectl(cluster, "-n", space, "patch", "chat", "closing", "--type=merge", f"-p={json.dumps(patch)}")
    kubectl(cluster, "-n", space, "delete", "chat", "closing", "--wait=false")
    with _operator(cluster, port) as again:
        again.wait_ready()
        eventually(lambda: "created" in apply(cluster, service("later", space, "hkg")), what="an operator that answers")
