from __future__ import annotations

import base64

import yaml

from localkube.certificates import Authority
from roadstead.api.parse import parse
from roadstead.cli import joining
from roadstead.cli.joining import Credentials, Wish
from roadstead.cli.output import to_yaml
from roadstead.kernel.kubeconfig import parse as parse_kubeconfig

WISH = Wish("hkg", "HK", ("a", "b"), "roadstead-system")


def test_the_kubeconfig_is_one_that_the_operator_takes() -> None:
    ca = Authority("a member").pair.certificate.decode()
    content = to_yaml(joining.kubeconfig("hkg", Credentials("https://10.0.0.1:6443", ca, "token", "api.example")))
    access = parse_kubeconfig(content.encode())
    assert (access.server, access.token, access.tls_server_name) == ("https://10.0.0.1:6443", "token", "api.example")
    assert access.ca == ca and access.client_certificate is None


def test_the_region_is_one_that_admission_takes() -> None:
    body = joining.region(WISH)
    region = parse("Region", body, strict=True)
    assert region.spec.zones == ("a", "b")
    reference = region.spec.cluster.kubeconfig_secret_ref
    assert reference is not None and (reference.namespace, reference.name) == ("roadstead-system", "region-hkg")
    secret = joining.secret(WISH, "content")
    assert base64.b64decode(secret["data"][reference.key]) == b"content"
    assert secret["metadata"] == {"name": reference.name, "namespace": reference.namespace}
    assert "zones" not in joining.region(Wish("x", "HK", (), "n"))["spec"]


def test_only_filled_tokens_of_the_account_count() -> None:
    def secret(**changes: object) -> dict[str, object]:
        body = {**joining.token_secret("n", "member"), "data": {"token": "eA=="}}
        return {**body, **changes}

    assert len(joining.tokens_of("member", [secret()])) == 1
    assert joining.tokens_of("other", [secret()]) == []
    assert joining.tokens_of("member", [secret(data={}), secret(type="Opaque"), secret(data=None)]) == []


def test_a_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(Credentials("https://x", "ca", "s3cret"))
    content = to_yaml(joining.kubeconfig("hkg", Credentials("https://x", "ca", "s3cret", "name")))
    assert yaml.safe_load(content)["clusters"][0]["cluster"]["tls-server-name"] == "name"
