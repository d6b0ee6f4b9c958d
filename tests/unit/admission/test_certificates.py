"""What is due next for the webhooks' certificates, by a clock that is moved by hand."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.admission.certificates import (
    Establish,
    Introduce,
    IssueServing,
    Keep,
    Lifetimes,
    Material,
    Promote,
    Retire,
    Unusable,
    carry_out,
    decide,
    read_secret,
    secret_data,
    serving_names,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = serving_names("roadstead-webhook", "roadstead-system", "127.0.0.1")
LIFE = Lifetimes()
DAY = timedelta(days=1)
MADE = carry_out(Establish("first"), None, NAMES, now=NOW)
OLDER = carry_out(IssueServing("due"), MADE, NAMES, now=NOW + 240 * DAY)
ASIDE = carry_out(Introduce("due"), OLDER, NAMES, now=NOW + 245 * DAY)


def secret(material: Material) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "data": secret_data(material)}


def verified_by(material: Material, bundle: bytes, now: datetime) -> bool:
    """Whether a client that trusts the bundle accepts what is served, by the rules of a TLS library."""
    store = x509.verification.Store(x509.load_pem_x509_certificates(bundle))
    verifier = (
        x509.verification.PolicyBuilder()
        .store(store)
        .time(now)
        .build_server_verifier(x509.DNSName("roadstead-webhook.roadstead-system.svc"))
    )
    try:
        verifier.verify(material.serving.certificate, [])
    except x509.verification.VerificationError:
        return False
    return True


@pytest.mark.parametrize(
    ("found", "published", "later", "expected"),
    [
        pytest.param(None, False, timedelta(), Establish, id="without a Secret everything is made"),
        pytest.param(Unusable("x"), True, timedelta(), Establish, id="from an unusable Secret nothing is kept"),
        pytest.param(MADE, True, timedelta(), Keep, id="what was just made is kept"),
        pytest.param(MADE, False, timedelta(), Keep, id="an unpublished bundle alone changes no certificate"),
        pytest.param(MADE, True, 59 * DAY, Keep, id="31 days before its end the certificate is kept"),
        pytest.param(MADE, True, 60 * DAY, IssueServing, id="30 days before its end the certificate is renewed"),
        pytest.param(OLDER, True, 245 * DAY, Introduce, id="120 days before its end the CA gets a successor"),
        pytest.param(MADE, True, 245 * DAY, IssueServing, id="an ended certificate is renewed before its CA is"),
        pytest.param(MADE, True, 366 * DAY, Establish, id="after the end of the only CA everything is made anew"),
        pytest.param(
            ASIDE, True, 245 * DAY + timedelta(minutes=59), Keep, id="before the overlap is over the old CA still signs"
        ),
        pytest.param(ASIDE, True, 245 * DAY + timedelta(hours=1), Promote, id="after the overlap the next CA signs"),
        pytest.param(
            ASIDE,
            False,
            300 * DAY,
            IssueServing,
            id="a CA that was never seen published does not sign, however old it is",
        ),
        pytest.param(ASIDE, False, 366 * DAY, Promote, id="when the old CA has ended the next one signs in any case"),
    ],
)
def test_the_next_step(found: Any, published: bool, later: timedelta, expected: type) -> None:
    assert isinstance(decide(found, NAMES, published=published, now=NOW + later), expected)


def test_a_certificate_without_one_of_the_names_is_made_again() -> None:
    action = decide(MADE, (*NAMES, "other.ns.svc"), published=True, now=NOW)
    assert isinstance(action, IssueServing)
    assert "other.ns.svc" in action.reason


def test_a_name_more_than_asked_for_changes_nothing() -> None:
    assert isinstance(decide(MADE, NAMES[:1], published=True, now=NOW), Keep)


def test_the_old_ca_is_retired_only_after_replicas_had_time_to_load() -> None:
    at = NOW + 245 * DAY + timedelta(hours=1)
    promoted = carry_out(Promote("due"), ASIDE, NAMES, now=at)
    assert len(x509.load_pem_x509_certificates(promoted.bundle)) == 2
    assert isinstance(decide(promoted, NAMES, published=True, now=at + timedelta(minutes=59)), Keep)
    assert isinstance(decide(promoted, NAMES, published=True, now=at + timedelta(hours=1)), Retire)
    retired = carry_out(Retire("due"), promoted, NAMES, now=at)
    assert len(x509.load_pem_x509_certificates(retired.bundle)) == 1


def test_keep_says_when_to_look_again() -> None:
    action = decide(MADE, NAMES, published=True, now=NOW)
    assert isinstance(action, Keep)
    assert action.until == NOW + 60 * DAY


def test_no_certificate_outlives_its_ca() -> None:
    late = carry_out(IssueServing("due"), MADE, NAMES, now=NOW + 300 * DAY)
    assert late.serving.certificate.not_valid_after_utc == MADE.authority.certificate.not_valid_after_utc
    # ... and one that already ends with its CA is not made again and again.
    assert isinstance(decide(replace(late, upcoming=ASIDE.upcoming), NAMES, published=False, now=NOW + 340 * DAY), Keep)


def test_a_year_of_looks_never_serves_what_the_last_published_bundle_does_not_trust() -> None:
    """Rotation as it happens: the leader looks hourly; API servers are an hour behind; replicas are too."""
    material: Material | None = None
    published, served, now = b"", None, NOW
    promotions = 0
    for _ in range(3 * 365 * 24):
        behind = published
        if material is not None:
            is_published = published == material.bundle
            published = material.bundle
        else:
            is_published = False
        action = decide(material, NAMES, published=is_published, now=now)
        promotions += isinstance(action, Promote)
        previous = served
        if not isinstance(action, Keep):
            material = carry_out(action, material, NAMES, now=now)
            if isinstance(action, Establish):
                assert material is not None
                published = behind = material.bundle
                previous = None
        assert material is not None
        for trusted in {behind, published}:
            for serving in {previous, material} - {None}:
                assert serving is not None
                if not isinstance(action, Keep) or now == NOW:
                    assert verified_by(serving, trusted, now), (action, now)
        served = material
        now += timedelta(hours=1)
    assert promotions >= 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(min_value=0, max_value=200), st.booleans()), min_size=1, max_size=12))
def test_however_irregular_the_looks_a_published_bundle_trusts_what_is_served(looks: list[tuple[int, bool]]) -> None:
    """Days between looks, and whether the leader dies between deciding and publishing."""
    now, material, trusted = NOW, carry_out(Establish("first"), None, NAMES, now=NOW), b""
    trusted = material.bundle
    for days, dies in looks:
        now += days * DAY
        for _ in range(4):
            seen = trusted == material.bundle
            trusted = material.bundle
            action = decide(material, NAMES, published=seen, now=now)
            if isinstance(action, Keep):
                break
            ended = now >= material.authority.certificate.not_valid_after_utc
            material = carry_out(action, material, NAMES, now=now)
            if not ended:
                assert verified_by(material, trusted, now)
            if dies:
                break


def test_what_is_written_is_read_back() -> None:
    for material in (MADE, ASIDE, carry_out(Promote("due"), ASIDE, NAMES, now=NOW + 246 * DAY)):
        found = read_secret(secret(material))
        assert isinstance(found, Material)
        assert found.bundle == material.bundle
        assert secret_data(found) == secret_data(material)


def without(name: str) -> dict[str, Any]:
    data = secret_data(MADE)
    del data[name]
    return {"data": data}


def with_entry(name: str, value: bytes) -> dict[str, Any]:
    return {"data": {**secret_data(MADE), name: base64.b64encode(value).decode()}}


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


OTHER = carry_out(Establish("first"), None, NAMES, now=NOW)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param({}, "ca.crt is missing", id="an empty Secret"),
        pytest.param({"data": None}, "ca.crt is missing", id="a Secret without data"),
        pytest.param(without("ca.key"), "ca.key", id="a Secret without the CA's key"),
        pytest.param(with_entry("tls.crt", b"nonsense"), "tls.crt holds no certificate", id="text for a certificate"),
        pytest.param(with_entry("tls.key", b"nonsense"), "tls.key holds no private key", id="text for a key"),
        pytest.param({"data": {**secret_data(MADE), "tls.key": "%%%"}}, "tls.key", id="what is not base64"),
        pytest.param(
            with_entry("tls.key", pem_of(ec.generate_private_key(ec.SECP256R1()))),
            "does not belong to tls.crt",
            id="somebody else's key",
        ),
        pytest.param(
            with_entry("tls.key", pem_of(rsa.generate_private_key(65537, 2048))),
            "tls.key is not an ECDSA key",
            id="a key of another sort",
        ),
        pytest.param(
            {"data": {**secret_data(MADE), **{k: secret_data(OTHER)[k] for k in ("ca.crt", "ca.key")}}},
            "tls.crt was not signed by",
            id="a certificate of another CA",
        ),
    ],
)
def test_an_unusable_secret_names_the_entry(body: dict[str, Any], says: str) -> None:
    found = read_secret(body)
    assert isinstance(found, Unusable)
    assert says in found.reason


def test_an_unusable_key_is_not_repeated() -> None:
    found = read_secret(with_entry("tls.key", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"))
    assert isinstance(found, Unusable)
    assert "c2VjcmV0" not in found.reason


def test_material_shows_no_key() -> None:
    assert "PRIVATE" not in repr(MADE)
    assert "key" not in repr(MADE)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"serving": timedelta(days=30)}, id="a certificate that is due when it is made"),
        pytest.param({"authority": timedelta(days=120)}, id="a CA that is due when it is made"),
        pytest.param(
            {"authority_renewal": timedelta(days=30)}, id="a CA that ends before its certificates are changed"
        ),
    ],
)
def test_lifetimes_that_cannot_work_are_refused(changes: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(LIFE, **changes)


def test_addresses_are_named_only_when_they_are_one_address() -> None:
    assert serving_names("w", "ns", "0.0.0.0") == ("w.ns.svc", "w.ns.svc.cluster.local")  # noqa: S104
    assert serving_names("w", "ns", "127.0.0.1")[-1] == "127.0.0.1"
    assert serving_names("w", "ns", "localhost") == serving_names("w", "ns")
