"""The chart on a real API server: helm, kubectl as GitOps uses it, users with the built-in roles. Pods are KWOK's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from api_key_cases import key_version
from approvals import approval
from clusters import StartCluster, eventually, kubectl, kubectl_json, run_kubectl
from localkube import binaries
from localkube.bare import BareCluster

CHART = Path(__file__).resolve().parents[3] / "charts" / "roadstead"
NAMESPACE = "roadstead-system"
IMAGE = "--set=image.repository=registry.example/roadstead-operator"
REGION = {
    "apiVersion": "roadstead.dev/v1alpha1",
    "kind": "Region",
    "metadata": {"name": "home"},
    "spec": {"cluster": {"inCluster": {}}, "jurisdiction": "HK"},
}


def helm(cluster: BareCluster, *arguments: str) -> str:
    command = [str(binaries.path("helm")), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def render(*arguments: str, release: str = "roadstead") -> str:
    command = [str(binaries.path("helm")), "template", release, str(CHART), f"--namespace={NAMESPACE}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def bundle(cluster: BareCluster, *, timeout: bool = False) -> list[str]:
    found = kubectl_json(cluster, "get", "validatingwebhookconfiguration", "roadstead")["webhooks"]
    return [str(webhook["timeoutSeconds"] if timeout else webhook["clientConfig"].get("caBundle")) for webhook in found]


def fill_bundle(cluster: BareCluster) -> list[str]:
    """As the operator does it: by server-side apply, under its own name."""
    webhooks = [
        {"name": f"{kind}.roadstead.dev", "clientConfig": {"caBundle": _certificate()}}
        for kind in ("chatservices", "regions")
    ]
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "roadstead"},
        "webhooks": webhooks,
    }
    kubectl(cluster, "apply", "--server-side", "--field-manager=roadstead", "-f", "-", stdin=json.dumps(body))
    return bundle(cluster)


def _certificate() -> str:
    import base64
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.serialization import Encoding

    from roadstead.admission.certificates import issue_authority

    return base64.b64encode(issue_authority(datetime.now(UTC)).certificate.public_bytes(Encoding.PEM)).decode()


def may(cluster: BareCluster, user: str, *what: str) -> bool:
    return run_kubectl(cluster, "auth", "can-i", *what, f"--as={user}").stdout.strip() == "yes"


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster) -> BareCluster:
    hub = start_cluster("chart")
    for zone in ("a", "b"):
        hub.add_nodes(1, labels={"topology.kubernetes.io/zone": zone}, prefix=f"node-{zone}")
    kubectl(hub, "create", "namespace", NAMESPACE)
    kubectl(hub, "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    return hub


@pytest.fixture(scope="module")
def installed(cluster: BareCluster) -> str:
    """What helm says after the installation."""
    return helm(cluster, "install", "roadstead", str(CHART), IMAGE)


def test_it_installs_into_a_restricted_namespace_and_pods_are_made(cluster: BareCluster, installed: str) -> None:
    kubectl(cluster, "-n", NAMESPACE, "rollout", "status", "deployment/roadstead-operator", "--timeout=60s")
    pods = kubectl_json(cluster, "-n", NAMESPACE, "get", "pods")["items"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2  # spread over the zones


def test_the_notes_say_what_to_do_next(installed: str) -> None:
    notes = installed.partition("NOTES:")[2]
    assert "rollout status deployment/roadstead-operator" in notes
    assert "kind: Region" in notes
    assert "kubectl explain chatservice.spec" in notes


def test_the_region_of_the_notes_is_accepted_by_the_schema(cluster: BareCluster, installed: str) -> None:
    text = installed.partition("<<EOF\n")[2].partition("EOF")[0]
    region = yaml.safe_load("\n".join(line.removeprefix("     ") for line in text.splitlines()))
    answer = kubectl(cluster, "create", "-f", "-", stdin=json.dumps(region), check=False)
    assert "failed calling webhook" in answer  # after the schema, and closed: no operator answers here


def test_an_upgrade_leaves_the_ca_bundle_alone(cluster: BareCluster, installed: str) -> None:
    before = fill_bundle(cluster)
    assert None not in before
    helm(cluster, "upgrade", "roadstead", str(CHART), IMAGE, "--set=webhooks.timeoutSeconds=7")
    assert set(bundle(cluster, timeout=True)) == {"7"}
    assert bundle(cluster) == before


@pytest.mark.parametrize("way", [(), ("--server-side", "--force-conflicts")], ids=["client side", "server side"])
def test_gitops_leaves_the_ca_bundle_alone(cluster: BareCluster, installed: str, way: tuple[str, ...]) -> None:
    before = fill_bundle(cluster)
    for _ in range(2):
        kubectl(cluster, "apply", *way, "-f", "-", stdin=render(IMAGE))
    assert bundle(cluster) == before


def test_users_with_the_built_in_roles_see_and_change_services(cluster: BareCluster, installed: str) -> None:
    kubectl(cluster, "create", "namespace", "bank")
    for role in ("view", "edit"):
        kubectl(cluster, "-n", "bank", "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er")
    chat = ("chatservices.roadstead.dev", "-n", "bank")
    eventually(lambda: may(cluster, "viewer", "get", *chat), what="the role to be aggregated")
    eventually(lambda: may(cluster, "editer", "create", *chat), what="the role to be aggregated")
    assert not may(cluster, "viewer", "create", *chat)
    assert not may(cluster, "editer", "create", "regions.roadstead.dev")
    assert not may(cluster, "editer", "patch", "chatservices.roadstead.dev", "--subresource=status", "-n", "bank")
    kubectl(cluster, "create", "clusterrolebinding", "regions", "--clusterrole=roadstead-region-admin", "--user=ops")
    eventually(lambda: may(cluster, "ops", "create", "regions.roadstead.dev"), what="the binding to count")


def test_the_operator_may_do_what_it_needs_and_not_more(cluster: BareCluster, installed: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:roadstead-operator"
    for allowed in (
        ("patch", "deployments.apps", "-n", "bank"),
        ("patch", "chatservices.roadstead.dev", "--subresource=status", "-n", "bank"),
        ("patch", "validatingwebhookconfigurations/roadstead"),
        ("update", "leases/roadstead-operator", "-n", NAMESPACE),
        ("get", "/readyz"),
    ):
        assert may(cluster, account, *allowed), allowed
    for refused in (
        ("create", "chatservices.roadstead.dev", "-n", "bank"),
        ("delete", "chatservices.roadstead.dev", "-n", "bank"),
        ("patch", "validatingwebhookconfigurations/another"),
        ("update", "leases/another", "-n", NAMESPACE),
        ("update", "leases/roadstead-operator", "-n", "bank"),
        ("create", "pods", "-n", "bank"),
        ("get", "pods", "--subresource=log", "-n", "bank"),
        ("create", "clusterroles"),
        ("delete", "namespaces"),
        ("list", "configmaps", "--subresource=status"),
    ):
        assert not may(cluster, account, *refused), refused


def test_a_member_with_named_namespaces_is_prepared_by_one_command(cluster: BareCluster) -> None:
    answer = helm(
        cluster,
        "install",
        "roadstead-member",
        str(CHART),
        "--set=mode=member",
        "--set=member.namespaces={chat}",
        "--set=member.createNamespaces=true",
    )
    assert "roadstead region add NAME" in answer
    assert "write in chat only" in answer
    account = f"system:serviceaccount:{NAMESPACE}:roadstead-member"
    eventually(lambda: may(cluster, account, "patch", "secrets", "-n", "chat"), what="the binding to count")
    assert may(cluster, account, "watch", "secrets", "--all-namespaces")
    assert not may(cluster, account, "patch", "secrets", "-n", "bank")
    assert not may(cluster, account, "get", "chatservices.roadstead.dev", "-n", "chat")
    token = kubectl(cluster, "-n", NAMESPACE, "get", "secret", "roadstead-member-token", "-o", "jsonpath={.data.token}")
    assert token
    helm(cluster, "uninstall", "roadstead-member")
    assert "chat" in kubectl(cluster, "get", "namespace", "chat", "-o", "name")


def forged(cluster: BareCluster) -> str:
    """What the API server says to an Approval in another's name."""
    body = approval("forged", spec__requestedBy="somebody-else")
    return kubectl(cluster, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)


def is_refused(cluster: BareCluster) -> bool:
    return "ValidatingAdmissionPolicy 'roadstead-approvals'" in forged(cluster)


def test_forged_approvals_are_refused_whatever_else_is_switched_off(cluster: BareCluster, installed: str) -> None:
    eventually(lambda: is_refused(cluster))
    helm(cluster, "upgrade", "roadstead", str(CHART), IMAGE, "--set=webhooks.enabled=false", "--set=crds.install=false")
    assert is_refused(cluster)
    helm(cluster, "upgrade", "roadstead", str(CHART), IMAGE)
    assert is_refused(cluster)


def test_removing_the_release_keeps_the_kinds_and_what_was_made_of_them(cluster: BareCluster, installed: str) -> None:
    """Nearly last in this file: nothing is installed afterwards."""
    version = key_version()
    kubectl(cluster, "create", "-f", "-", stdin=json.dumps(version))
    helm(cluster, "uninstall", "roadstead", "--wait")
    kubectl(cluster, "create", "-f", "-", stdin=json.dumps(REGION))
    assert kubectl(cluster, "get", "regions", "-o", "name").strip() == "region.roadstead.dev/home"
    assert is_refused(cluster), "what is forged while there is no operator would count when there is one again"
    assert "which nobody deletes" in kubectl(cluster, "delete", "keyversion", "chat-v7", check=False)
    helm(cluster, "install", "roadstead", str(CHART), IMAGE)
    assert kubectl(cluster, "get", "regions", "-o", "name").strip() == "region.roadstead.dev/home"
    assert is_refused(cluster)
    helm(cluster, "uninstall", "roadstead")


def test_everything_can_be_removed_as_the_how_to_says(cluster: BareCluster, installed: str) -> None:
    """After the one above."""
    how_to = (CHART.parents[1] / "docs" / "how-to" / "uninstall.md").read_text()
    commands = re.findall(r"^kubectl (delete (?:crd|validatingadmission\S+) .*)$", how_to, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        kubectl(cluster, *command.split())
    names = {document["metadata"]["name"] for document in yaml.safe_load_all(render(IMAGE)) if document}
    left = kubectl(cluster, "get", "crd,validatingadmissionpolicy,validatingadmissionpolicybinding", "-o", "name")
    assert [name for name in left.split() if name.rpartition("/")[2] in names] == []


def test_an_upgrade_from_a_release_without_approvals_brings_the_policies(cluster: BareCluster, tmp_path: Path) -> None:
    """After the one above; Helm makes the kind and the policy in one go, in whatever order."""
    old = shutil.copytree(CHART, tmp_path / "roadstead")
    (old / "templates" / "hub" / "policies.yaml").unlink()
    (old / "files" / "crds" / "roadstead.dev_approvals.yaml").unlink()
    helm(cluster, "install", "roadstead", str(old), IMAGE)
    assert not is_refused(cluster)
    helm(cluster, "upgrade", "roadstead", str(CHART), IMAGE)
    eventually(lambda: is_refused(cluster))
    helm(cluster, "uninstall", "roadstead")
