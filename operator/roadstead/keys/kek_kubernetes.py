"""KEKs in Secrets of the operator's namespace: the provider that needs nothing else.

Whoever may read Secrets there may unwrap every key; an API server that encrypts Secrets at rest is asked for in
docs/concepts/keys.md. What this provider adds over a plain Secret is that the wrapped keys, and their backups, are
worth nothing without the KEK.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from roadstead.kernel import objects
from roadstead.kernel.apply import create_secret
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import Conflict
from roadstead.keys import kek as keks
from roadstead.keys.kek import Kek, KekName

RING_LABEL: Final = "roadstead.dev/ring"
ROLE_LABEL: Final = "roadstead.dev/key-role"
ROLE: Final = "kek"
_GENERATION: Final = "roadstead.dev/kek-generation"
_OPERATION: Final = "roadstead.dev/operation"
_KEY: Final = "kek"
_KEY_BYTES: Final = 32


class KubernetesProvider:
    """See `roadstead.keys.kek.KekProvider`.

    Args:
        client: the hub.
        namespace: the operator's.
        random: so many unpredictable bytes.
    """

    def __init__(self, client: ClusterClient, namespace: str, random: Callable[[int], bytes]) -> None:
        self._client = client
        self._namespace = namespace
        self._random = random

    async def ensure(self, name: KekName) -> tuple[Kek, ...]:
        """See `KekProvider.ensure`. The Secret's name has the operation in it, so there is one at most."""
        found = await self._client.find(objects.SECRETS, self._namespace, secret_name(name))
        if found is None:
            try:
                found = await create_secret(self._client, self._namespace, self._secret(name))
            except Conflict:  # somebody was quicker, for the same operation
                found = await self._client.get(objects.SECRETS, self._namespace, secret_name(name))
        return (Kek(name, _fingerprint(_key(found, name))),)

    async def wrap(self, kek: Kek, key: bytes, context: bytes) -> bytes:
        """See `KekProvider.wrap`."""
        cipher = AESGCM(await self._read(kek))
        nonce = self._random(keks.NONCE_BYTES)
        return keks.packed(nonce, cipher.encrypt(nonce, key, context))

    async def unwrap(self, kek: Kek, wrapped: bytes, context: bytes) -> bytes:
        """See `KekProvider.unwrap`."""
        nonce, sealed = keks.unpacked(wrapped)
        cipher = AESGCM(await self._read(kek))
        try:
            return cipher.decrypt(nonce, sealed, context)
        except InvalidTag:
            raise keks.damaged() from None

    async def destroy(self, kek: Kek) -> None:
        """See `KekProvider.destroy`. Backups of the cluster still have it."""
        found = await self._client.find(objects.SECRETS, self._namespace, secret_name(kek.name))
        if found is None or _fingerprint(_key(found, kek.name)) != kek.fingerprint:
            return
        uid = found["metadata"]["uid"]
        await self._client.delete(objects.SECRETS, self._namespace, secret_name(kek.name), uid=uid)

    async def keks(self, ring: str) -> tuple[Kek, ...]:
        """See `KekProvider.keks`."""
        found = []
        labels = f"{ROLE_LABEL}={ROLE},{RING_LABEL}={ring}"
        async for items, _ in self._client.pages(objects.SECRETS, self._namespace, labels=labels):
            for secret in items:
                if (name := _name_of(secret, ring)) is not None:
                    found.append(Kek(name, _fingerprint(_key(secret, name))))
        return tuple(sorted(found, key=lambda kek: (str(kek.name), kek.fingerprint)))

    async def _read(self, kek: Kek) -> bytes:
        found = await self._client.find(objects.SECRETS, self._namespace, secret_name(kek.name))
        if found is None:
            raise keks.missing(kek)
        key = _key(found, kek.name)
        if _fingerprint(key) != kek.fingerprint:
            raise keks.missing(kek)
        return key

    def _secret(self, name: KekName) -> dict[str, Any]:
        return {
            "metadata": {
                "name": secret_name(name),
                "namespace": self._namespace,
                "labels": {
                    objects.MANAGED_BY_LABEL: objects.MANAGED_BY,
                    ROLE_LABEL: ROLE,
                    RING_LABEL: name.ring,
                },
                "annotations": {_GENERATION: str(name.generation), _OPERATION: name.operation},
            },
            "type": "roadstead.dev/kek",
            "immutable": True,
            "data": {_KEY: b64encode(self._random(_KEY_BYTES)).decode()},
        }


def secret_name(name: KekName) -> str:
    """Name of the Secret that holds a KEK."""
    return f"kek-{name}"


def _name_of(secret: Mapping[str, Any], ring: str) -> KekName | None:
    """What a Secret says it is; None when somebody put our labels on another."""
    annotations = secret["metadata"].get("annotations") or {}
    try:
        name = KekName(ring, int(annotations[_GENERATION]), annotations[_OPERATION])
    except (KeyError, ValueError):
        return None
    return name if secret_name(name) == secret["metadata"]["name"] else None


def _key(secret: Mapping[str, Any], name: KekName) -> bytes:
    try:
        key = b64decode(secret["data"][_KEY], validate=True)
    except (KeyError, TypeError, binascii.Error):
        key = b""
    if len(key) != _KEY_BYTES:
        raise keks.ProviderRefuses(
            keks.Reason.KEK_MISSING,
            f"Secret {secret_name(name)} has no KEK of {_KEY_BYTES} bytes in its key {_KEY!r}; restore it from a "
            "backup, or delete it if no version was ever wrapped with it",
        )
    return key


def _fingerprint(key: bytes) -> str:
    """AES-CMAC (NIST SP 800-38B) of fixed words: what an HSM can compute with a key that it does not give away."""
    mac = cmac.CMAC(AES(key))
    mac.update(keks.FINGERPRINT_WORDS)
    return mac.finalize().hex()
