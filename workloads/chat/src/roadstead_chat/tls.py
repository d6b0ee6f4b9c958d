"""The server's TLS context, and its certificate renewed in place.

The same ``SSLContext`` takes the new pair: open connections keep theirs, new handshakes get the new one, the listener
never closes.
"""

import hashlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

_log = logging.getLogger(__name__)


class TlsError(Exception):
    """The files do not hold a usable pair."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the replicas of a service have in common: the key pair of their certificate.

    Attributes:
        secret: derived from the private key; who has it holds the key.
        public_key: DER of the public key.
    """

    secret: bytes
    public_key: bytes


def public_key_of(certificate_der: bytes) -> bytes:
    """Return the DER of a certificate's public key."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Certificate:
    """The pair in ``tls.crt`` and ``tls.key`` of a directory, as Kubernetes mounts it.

    Attributes:
        context: TLS 1.3 only, for the listener.
        identities: of the current pair, and of the one before it: replicas do not see a renewed Secret in the same
            second.

    Raises:
        TlsError: there is no usable pair at the start.
    """

    def __init__(self, directory: Path, reloaded: Callable[[str], None]) -> None:
        self._paths = (directory / "tls.crt", directory / "tls.key")
        self._reloaded = reloaded
        self._loaded = self._read()
        self.context = _new_context()
        self.identities = [_load(self.context, self._paths, self._loaded)]

    def _read(self) -> tuple[bytes, bytes]:
        try:
            certificate, key = (path.read_bytes() for path in self._paths)
        except OSError as error:
            raise TlsError(
                f"{error.filename} cannot be read ({error.strerror}); mount the kubernetes.io/tls Secret there"
            ) from None
        return certificate, key

    def reload(self) -> None:
        """Take a changed pair; keep the old one when the new cannot be used, and try again at the next call."""
        try:
            found = self._read()
            if found == self._loaded:
                return
            # First into a context that nobody uses: a half-written or mismatched pair must not spoil the listener.
            _load(_new_context(), self._paths, found)
            identity = _load(self.context, self._paths, found)
        except TlsError as error:
            _log.warning("the certificate could not be reloaded, the old one stays", extra={"error": str(error)})
            self._reloaded("failed")
            return
        self._loaded = found
        if identity != self.identities[0]:
            self.identities = [identity, self.identities[0]]
        _log.info("certificate reloaded")
        self._reloaded("loaded")


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _load(context: ssl.SSLContext, paths: tuple[Path, Path], expected: tuple[bytes, bytes]) -> Identity:
    try:
        context.load_cert_chain(*paths)
        private = load_pem_private_key(expected[1], None)
        public = x509.load_pem_x509_certificate(expected[0]).public_key()
    except (ssl.SSLError, OSError, ValueError, TypeError) as error:
        raise TlsError(f"{paths[0]} and {paths[1]} are no certificate with its key: {error}") from None
    secret = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Identity(
        hashlib.sha256(b"roadstead-chat peer v1\0" + secret).digest(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )
