from __future__ import annotations

import base64
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from localkube.certificates import Authority, write_kubeconfig


def test_serving_certificate_is_valid_for_loopback_by_its_own_authority_only() -> None:
    authority = Authority("a")
    pair = authority.serving("kube-apiserver", "127.0.0.1")
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "127.0.0.1" in [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    store = Store([x509.load_pem_x509_certificate(authority.pair.certificate)])
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("kubernetes.default.svc"))
    assert verifier.verify(certificate, [])


def test_client_certificate_carries_user_and_group() -> None:
    certificate = x509.load_pem_x509_certificate(Authority("a").client("admin", "system:masters").certificate)
    assert certificate.subject.rfc4514_string() == "CN=admin,O=system:masters"


def test_kubeconfig_is_private_inline_and_verified(tmp_path: Path) -> None:
    authority = Authority("a")
    file = write_kubeconfig(
        tmp_path / "kubeconfig",
        url="https://127.0.0.1:1",
        authority=authority.pair.certificate,
        name="hub",
        client=authority.client("admin"),
    )
    assert file.stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(file.read_text())
    cluster = config["clusters"][0]["cluster"]
    assert set(cluster) == {"server", "certificate-authority-data"}
    assert base64.b64decode(cluster["certificate-authority-data"]) == authority.pair.certificate
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
