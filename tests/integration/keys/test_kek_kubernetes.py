"""KEKs in Secrets, on a real API server."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator

import pytest

from clusters import eventually, kubectl, run_kubectl
from kek_contract import CONTEXT, KekContract, a_name
from localkube.bare import BareCluster
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient, hub_configuration
from roadstead.kernel.errors import RoadsteadError
from roadstead.keys.kek import ProviderRefuses, Reason
from roadstead.keys.kek_kubernetes import KubernetesProvider, secret_name
from specs import Body


@pytest.fixture
async def client(hub: BareCluster) -> AsyncIterator[ClusterClient]:
    made = ClusterClient("hub", await hub_configuration(str(hub.kubeconfig)))
    yield made
    await made.close()


@pytest.fixture
def provider(client: ClusterClient, namespace: str) -> KubernetesProvider:
    return KubernetesProvider(client, namespace, secrets.token_bytes)


@pytest.fixture
def another(client: ClusterClient, namespace: str) -> KubernetesProvider:
    return KubernetesProvider(client, namespace, secrets.token_bytes)


class TestContract(KekContract):
    """See `kek_contract`."""


async def test_the_secret_cannot_be_edited(provider: KubernetesProvider, client: ClusterClient, namespace: str) -> None:
    name = a_name("edited")
    await provider.ensure(name)
    found = await client.get(objects.SECRETS, namespace, secret_name(name))
    assert found["immutable"] is True
    assert len(b64decode(found["data"]["kek"])) == 32


async def test_a_secret_without_a_key_is_named(
    provider: KubernetesProvider, client: ClusterClient, namespace: str
) -> None:
    name = a_name("empty")
    (kek,) = await provider.ensure(name)
    wrapped = await provider.wrap(kek, b"k" * 32, CONTEXT)
    found = await client.get(objects.SECRETS, namespace, secret_name(name))
    await client.delete(objects.SECRETS, namespace, secret_name(name), uid=found["metadata"]["uid"])
    kept = {key: found["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    body = {"metadata": kept, "type": found["type"], "data": {"kek": "c2hvcnQ="}}
    await client.create(objects.SECRETS, namespace, body, manager="a person")
    with pytest.raises(ProviderRefuses, match=f"Secret {secret_name(name)} has no KEK of 32 bytes") as caught:
        await provider.unwrap(kek, wrapped, CONTEXT)
    assert caught.value.reason is Reason.KEK_MISSING


async def test_a_secret_with_our_labels_is_no_kek(
    provider: KubernetesProvider, client: ClusterClient, namespace: str
) -> None:
    name = a_name("copied")
    made = await provider.ensure(name)
    found = await client.get(objects.SECRETS, namespace, secret_name(name))
    kept = {key: found["metadata"][key] for key in ("labels", "annotations")}
    body = {"metadata": {"name": f"copy-{name}", "namespace": namespace, **kept}, "data": found["data"]}
    await client.create(objects.SECRETS, namespace, body, manager="a person")
    assert await provider.keks("copied") == made


def quoting(namespace: str) -> Iterator[Body]:
    """A policy that refuses every Secret of a namespace, and says what is in it."""
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}
            ],
        },
        "validations": [{"expression": "false", "messageExpression": "'quoted: ' + string(object.data['kek'])"}],
    }
    binding = {"policyName": f"quoting-{namespace}", "validationActions": ["Deny"]}
    for kind, spec in (("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)):
        metadata = {"name": f"quoting-{namespace}"}
        yield {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


async def test_who_refuses_a_kek_and_quotes_it_is_not_repeated(
    provider: KubernetesProvider, hub: BareCluster, namespace: str
) -> None:
    kubectl(
        hub, "apply", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": [*quoting(namespace)]})
    )
    probe = ("-n", namespace, "create", "secret", "generic", "probe", "--from-literal=kek=of-the-probe")
    encoded = b64encode(b"of-the-probe").decode()
    eventually(lambda: f"quoted: {encoded}" in run_kubectl(hub, *probe, "--dry-run=server").stderr)
    with pytest.raises(RoadsteadError, match="quotes the Secret and is not repeated here") as caught:
        await provider.ensure(a_name("refused"))
    assert "quoted" not in str(caught.value)
