"""The webhooks' certificates: a CA of our own and what is due next for it. Decisions are pure; time comes in.

The API servers trust what the ``caBundle`` of the webhook configuration holds; the replicas serve what the Secret
holds; neither sees a change at the same moment as the other. So a CA is changed in three steps, each of which is valid
together with the one before and the one after:

1. `Introduce`: the next CA exists and is trusted; the old one still signs what is served.
2. `Promote`: once the bundle with both was seen published for `Lifetimes.overlap`, the next CA signs.
3. `Retire`: once every replica had `Lifetimes.overlap` to load that, the old CA is trusted no more.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The names of kubernetes.io/tls and of cert-manager, so that either can fill the Secret.
SERVING_CERTIFICATE = "tls.crt"
SERVING_KEY = "tls.key"
BUNDLE = "ca.crt"
AUTHORITY_KEY = "ca.key"
NEXT_AUTHORITY = "next-ca.crt"
NEXT_AUTHORITY_KEY = "next-ca.key"

CERT_MANAGER_ANNOTATION = "cert-manager.io/certificate-name"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates hold and when they are replaced.

    Attributes:
        authority: validity of a CA.
        authority_renewal: time left of the CA at which its successor is introduced.
        serving: validity of the serving certificate; never beyond its CA's.
        serving_renewal: time left of the serving certificate at which it is replaced.
        overlap: how long both CAs are trusted before and after the change; well above the time in which an API server
            sees a new ``caBundle`` (seconds) and a replica a new Secret (`roadstead.admission.keeper.READ_INTERVAL`).
        skew: how much earlier than now a certificate becomes valid, for API servers whose clocks are behind.
    """

    authority: timedelta = timedelta(days=365)
    authority_renewal: timedelta = timedelta(days=120)
    serving: timedelta = timedelta(days=90)
    serving_renewal: timedelta = timedelta(days=30)
    overlap: timedelta = timedelta(hours=1)
    skew: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        """Refuse lifetimes with which a certificate would be due again as soon as it is made."""
        if self.authority <= self.authority_renewal or self.serving <= self.serving_renewal:
            raise ValueError("a certificate must live longer than the time before its end at which it is replaced")
        if self.authority_renewal < self.serving_renewal + 2 * self.overlap:
            raise ValueError("authority_renewal must leave room for serving_renewal and two overlaps")


DEFAULT_LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key; ``repr`` shows neither."""

    certificate: x509.Certificate = field(repr=False)
    key: ec.EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Material:
    """What the Secret holds.

    Attributes:
        authority: the CA that signed what is served.
        serving: what the replicas serve.
        upcoming: the CA that will sign next, trusted already.
        retired: CAs that signed before and are still trusted.
    """

    authority: Pair
    serving: Pair
    upcoming: Pair | None = None
    retired: tuple[x509.Certificate, ...] = ()

    @property
    def bundle(self) -> bytes:
        """Every trusted CA as PEM, the signing one first: the ``caBundle``."""
        trusted = [self.authority.certificate]
        if self.upcoming is not None:
            trusted.append(self.upcoming.certificate)
        return b"".join(_pem(certificate) for certificate in (*trusted, *self.retired))


@dataclass(frozen=True, slots=True)
class Unusable:
    """A Secret that is there but cannot be served from; the reason names the key and what is wrong with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing is due before ``until``, unless something else changes the Secret."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Establish:
    """Begin anew with a CA and a serving certificate; the only step that API servers notice, for they trust neither."""

    reason: str


@dataclass(frozen=True, slots=True)
class Introduce:
    """Make the next CA and have it trusted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Sign with the next CA from now on."""

    reason: str


@dataclass(frozen=True, slots=True)
class IssueServing:
    """Make a new serving certificate with the same CA."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Trust the CAs that signed before no more."""

    reason: str


Action = Keep | Establish | Introduce | Promote | IssueServing | Retire


def decide(
    found: Material | Unusable | None,
    names: tuple[str, ...],
    *,
    published: bool,
    now: datetime,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> Action:
    """The one thing to do next; call again after it was done.

    Args:
        found: what the Secret holds; None when there is none.
        names: DNS names and IP addresses that the serving certificate must be valid for.
        published: whether the webhook configuration was seen holding exactly ``found.bundle``.
        now: the present moment, with a time zone.
        lifetimes: how long everything holds.
    """
    match found:
        case None:
            return Establish("there is no Secret yet")
        case Unusable(reason):
            return Establish(reason)
        case Material():
            return (
                _authority_is_over(found, now)
                or _next_authority_is_ready(found, published, now, lifetimes)
                # Before the CA's turn: after a long outage what is served may have ended, and that is what hurts.
                or _serving_is_due(found, names, now, lifetimes)
                or _authority_is_due(found, now, lifetimes)
                or _old_authority_has_served(found, now, lifetimes)
                or Keep(_next_due(found, now, lifetimes))
            )


def _authority_is_over(found: Material, now: datetime) -> Action | None:
    end = found.authority.certificate.not_valid_after_utc
    if now < end:
        return None
    if found.upcoming is not None and now < found.upcoming.certificate.not_valid_after_utc:
        return Promote(f"the CA ended at {end:%Y-%m-%dT%H:%M:%SZ}")
    return Establish(f"the CA ended at {end:%Y-%m-%dT%H:%M:%SZ}")


def _next_authority_is_ready(found: Material, published: bool, now: datetime, lifetimes: Lifetimes) -> Promote | None:
    # Unpublished it is trusted by nobody, however old it is: a leader may have died right after introducing it.
    if found.upcoming is None or not published or now < _ready_at(found.upcoming, lifetimes):
        return None
    return Promote("the next CA has been trusted for long enough")


def _authority_is_due(found: Material, now: datetime, lifetimes: Lifetimes) -> Introduce | None:
    end = found.authority.certificate.not_valid_after_utc
    if found.upcoming is not None or now < end - lifetimes.authority_renewal:
        return None
    return Introduce(f"the CA ends at {end:%Y-%m-%dT%H:%M:%SZ}")


def _serving_is_due(
    found: Material, names: tuple[str, ...], now: datetime, lifetimes: Lifetimes
) -> IssueServing | None:
    missing = sorted(set(names) - set(_names(found.serving.certificate)))
    if missing:
        return IssueServing(f"the certificate is not valid for {', '.join(missing)}")
    end = found.serving.certificate.not_valid_after_utc
    attainable = min(now + lifetimes.serving, found.authority.certificate.not_valid_after_utc)
    # The second half: under a CA that is about to end, a new certificate would not last longer, again and again.
    if now >= end - lifetimes.serving_renewal and attainable > end:
        return IssueServing(f"the certificate ends at {end:%Y-%m-%dT%H:%M:%SZ}")
    return None


def _old_authority_has_served(found: Material, now: datetime, lifetimes: Lifetimes) -> Retire | None:
    if not found.retired or now < _ready_at(found.serving, lifetimes):
        return None
    return Retire("every replica had the time to load what the present CA signed")


def _next_due(found: Material, now: datetime, lifetimes: Lifetimes) -> datetime:
    moments = [
        found.serving.certificate.not_valid_after_utc - lifetimes.serving_renewal,
        found.authority.certificate.not_valid_after_utc,
    ]
    if found.upcoming is not None:
        moments.append(_ready_at(found.upcoming, lifetimes))
    else:
        moments.append(found.authority.certificate.not_valid_after_utc - lifetimes.authority_renewal)
    if found.retired:
        moments.append(_ready_at(found.serving, lifetimes))
    # Moments in the past belong to steps that wait for something else than time.
    return min((moment for moment in moments if moment > now), default=now + lifetimes.overlap)


def _ready_at(pair: Pair, lifetimes: Lifetimes) -> datetime:
    made_at = pair.certificate.not_valid_before_utc + lifetimes.skew
    return made_at + lifetimes.overlap


def carry_out(
    action: Establish | Introduce | Promote | IssueServing | Retire,
    found: Material | Unusable | None,
    names: tuple[str, ...],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> Material:
    """Make what the action asks for; new keys come from the system's random source.

    Raises:
        ValueError: the action needs something that ``found`` does not have.
    """
    if isinstance(action, Establish):
        authority = issue_authority(now, lifetimes)
        return Material(authority, issue_serving(authority, names, now, lifetimes))
    if not isinstance(found, Material):
        raise ValueError(f"{type(action).__name__} needs certificates to begin with")
    match action:
        case Introduce():
            return replace(found, upcoming=issue_authority(now, lifetimes))
        case Promote():
            if found.upcoming is None:
                raise ValueError("Promote needs an introduced CA")
            return Material(
                authority=found.upcoming,
                serving=issue_serving(found.upcoming, names, now, lifetimes),
                retired=(found.authority.certificate, *found.retired),
            )
        case IssueServing():
            return replace(found, serving=issue_serving(found.authority, names, now, lifetimes))
        case Retire():
            return replace(found, retired=())


def issue_authority(now: datetime, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> Pair:
    """A self-signed CA (ECDSA P-256) that may sign certificates and no further CAs."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: two CAs of one name in a bundle would be told apart by key identifiers only.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"roadstead-webhook-ca-{secrets.token_hex(4)}")])
    certificate = (
        _builder(subject=name, issuer=name, key=key, since=now - lifetimes.skew, until=now + lifetimes.authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def issue_serving(
    authority: Pair, names: tuple[str, ...], now: datetime, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> Pair:
    """A serving certificate (ECDSA P-256) for these DNS names and IP addresses, with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "roadstead-webhook")])
    issuer = authority.certificate
    until = min(now + lifetimes.serving, issuer.not_valid_after_utc)
    since = max(now - lifetimes.skew, issuer.not_valid_before_utc)
    certificate = (
        _builder(subject=subject, issuer=issuer.subject, key=key, since=since, until=until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _builder(
    *, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def serving_names(service: str, namespace: str, address: str = "") -> tuple[str, ...]:
    """The names under which API servers call: the Service's, and ``address`` where the server listens on just one."""
    names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"]
    try:
        if not ipaddress.ip_address(address).is_unspecified:
            names.append(address)
    except ValueError:
        pass
    return tuple(names)


def read_secret(secret: Mapping[str, Any] | None) -> Material | Unusable | None:
    """What a Secret (as the API has it) holds; `Unusable` when anything in it does not fit together."""
    if secret is None:
        return None
    try:
        authorities = _certificates(secret, BUNDLE)
        authority = Pair(authorities[0], _key(secret, AUTHORITY_KEY))
        serving = Pair(_certificates(secret, SERVING_CERTIFICATE)[0], _key(secret, SERVING_KEY))
        upcoming = None
        if NEXT_AUTHORITY in (secret.get("data") or {}):
            upcoming = Pair(_certificates(secret, NEXT_AUTHORITY)[0], _key(secret, NEXT_AUTHORITY_KEY))
        for name, pair in ((BUNDLE, authority), (SERVING_CERTIFICATE, serving), (NEXT_AUTHORITY, upcoming)):
            if pair is not None and pair.certificate.public_key() != pair.key.public_key():
                return Unusable(f"the key in the Secret does not belong to {name}")
        serving.certificate.verify_directly_issued_by(authority.certificate)
    except _BadEntryError as error:
        return Unusable(str(error))
    except (InvalidSignature, ValueError, TypeError):
        return Unusable(f"{SERVING_CERTIFICATE} was not signed by the first certificate of {BUNDLE}")
    others = (certificate for certificate in authorities[1:] if upcoming is None or certificate != upcoming.certificate)
    return Material(authority, serving, upcoming, tuple(others))


def secret_data(material: Material) -> dict[str, str]:
    """The Secret's ``data`` (base64)."""
    data = {
        SERVING_CERTIFICATE: _pem(material.serving.certificate),
        SERVING_KEY: _key_pem(material.serving.key),
        BUNDLE: material.bundle,
        AUTHORITY_KEY: _key_pem(material.authority.key),
    }
    if material.upcoming is not None:
        data[NEXT_AUTHORITY] = _pem(material.upcoming.certificate)
        data[NEXT_AUTHORITY_KEY] = _key_pem(material.upcoming.key)
    return {name: base64.b64encode(value).decode() for name, value in data.items()}


class _BadEntryError(Exception):
    """One entry of the Secret cannot be read; the text names it."""


def secret_entry(secret: Mapping[str, Any], name: str) -> bytes:
    """One decoded entry of a Secret.

    Raises:
        ValueError: it is missing, or not base64.
    """
    try:
        return base64.b64decode((secret.get("data") or {})[name], validate=True)
    except KeyError as error:
        raise ValueError(f"{name} is missing in the Secret") from error
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"{name} in the Secret is not base64") from error


def _certificates(secret: Mapping[str, Any], name: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(secret_entry(secret, name))
    except ValueError as error:
        raise _BadEntryError(f"{name} holds no certificate: {error}") from error
    if not found:
        raise _BadEntryError(f"{name} holds no certificate")
    return found


def _key(secret: Mapping[str, Any], name: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(secret_entry(secret, name), None)
    except (ValueError, TypeError) as error:
        # The parser's words are left out: they may quote what they were given.
        raise _BadEntryError(f"{name} holds no private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _BadEntryError(f"{name} is not an ECDSA key")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
