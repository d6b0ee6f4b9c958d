"""The one TLS context that every connection of the webhook server uses, reloaded in place.

A server that is restarted for a new certificate refuses connections meanwhile (2.3 s were measured with kopf's own),
and with ``failurePolicy: Fail`` each of them is somebody's ``kubectl apply``. A context that is loaded again serves the
new certificate from the next handshake on.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from datetime import datetime

from cryptography import x509


class ServingTls:
    """A TLS 1.3 server context and what is loaded in it."""

    def __init__(self) -> None:
        self.context = _new_context()
        self.loaded = asyncio.Event()
        self.not_after: datetime | None = None
        self._present: tuple[bytes, bytes] | None = None

    def load(self, certificate: bytes, key: bytes) -> bool:
        """Serve this chain and key (PEM) from the next handshake on; False when it is served already.

        Raises:
            ValueError: they cannot be read or do not belong together; what was served before is served on.
        """
        if self._present == (certificate, key):
            return False
        not_after = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
        descriptor, path = tempfile.mkstemp(prefix="roadstead-webhook-")  # mode 0600; Python's ssl reads only files
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key + b"\n" + certificate)
            # Tried on another context first: a failure half-way would leave the real one without a pair.
            _new_context().load_cert_chain(path)
            self.context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise ValueError(f"the certificate and key do not belong together: {error.reason}") from error
        finally:
            os.unlink(path)  # noqa: PTH108 - pathlib adds nothing here
        self._present = (certificate, key)
        self.not_after = not_after
        self.loaded.set()
        return True


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # API servers have spoken TLS 1.3 since Kubernetes 1.19, and nobody else has business here.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
