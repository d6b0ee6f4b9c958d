"""What a TLS Secret holds, and what is said when it holds nothing that can be used."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.chat.observed import certificate_in

DATA = {"tls.crt": "Q0VSVA==", "tls.key": "S0VZ"}
TLS = "kubernetes.io/tls"


def test_certificate_key_and_authority_are_taken_and_nothing_else() -> None:
    data = DATA | {"ca.crt": "Q0E=", "password": "c2VjcmV0"}
    certificate, fault = certificate_in({"type": TLS, "data": data})
    assert certificate is not None and certificate.data == DATA | {"ca.crt": "Q0E="}
    assert (fault, "S0VZ" in repr(certificate)) == ("", False)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        pytest.param(None, "does not exist; create it (type kubernetes.io/tls)", id="absent"),
        pytest.param(
            {"type": "Opaque", "data": DATA}, "has the type Opaque, which cannot be changed; delete", id="type"
        ),
        pytest.param({"data": DATA}, "has the type Opaque", id="no type"),
        pytest.param({"type": TLS}, "has no tls.crt and no tls.key; put", id="empty"),
        pytest.param({"type": TLS, "data": DATA | {"tls.key": ""}}, "has no tls.key; put", id="an empty key"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_cure(secret: dict[str, Any] | None, expected: str) -> None:
    """Not that it does not exist: whoever looks finds it. (Mutant: one message for all.)"""
    certificate, fault = certificate_in(secret)
    assert certificate is None and fault.startswith(expected)
