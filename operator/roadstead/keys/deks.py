"""The material of versions in the hub: random keys of our own, wrapped by a KEK, each in a Secret that never changes.

A version's material is made once because its Secret is created once: its name has the ring's identity and the number in
it. What was put there by somebody else does not carry the operation of the ledger's intent, and is never used.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from roadstead.api.keyversion import KeyType, KeyVersion
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.concurrency import gathered
from roadstead.kernel.errors import Conflict, Terminal
from roadstead.keys import kek as keks
from roadstead.keys.kek import Kek, KekName, KekProvider
from roadstead.keys.ledger import RING_ID_LABEL
from roadstead.keys.material import KEY_BYTES, Material, fingerprint, wrapping_context

ROLE_LABEL: Final = "roadstead.dev/key-role"
ROLE: Final = "dek"
_NUMBER: Final = "roadstead.dev/key-version"
_OPERATION: Final = "roadstead.dev/operation"
_KEY_TYPE: Final = "roadstead.dev/key-type"
_FINGERPRINT: Final = "roadstead.dev/fingerprint"
_RING: Final = "roadstead.dev/keyring"
_KEK_GENERATION: Final = "roadstead.dev/kek-generation"
_KEK_OPERATION: Final = "roadstead.dev/kek-operation"
_KEK_FINGERPRINT: Final = "roadstead.dev/kek-fingerprint"
_WRAPPED: Final = "wrapped"


@dataclass(frozen=True, slots=True)
class Dek:
    """A version's material as it is stored.

    Attributes:
        number: of the version.
        key_type: what it encrypts with.
        operation: of the intent that it was made for.
        fingerprint: of the material, as whoever made it wrote; proved when it is opened.
        kek: what it is wrapped with.
    """

    number: int
    key_type: KeyType
    operation: str
    fingerprint: str
    kek: Kek


class Deks:
    """Material of the rings of a hub.

    Args:
        client: the hub.
        namespace: the operator's.
        provider: of the KEKs.
        random: so many unpredictable bytes.
    """

    def __init__(
        self, client: ClusterClient, namespace: str, provider: KekProvider, random: Callable[[int], bytes]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._provider = provider
        self._random = random

    async def stored(self, ring_id: str) -> dict[int, Dek]:
        """What is there of a ring, by number. Secrets that do not say what they are, are left out."""
        found = {}
        labels = f"{ROLE_LABEL}={ROLE},{RING_ID_LABEL}={ring_id}"
        pages = self._client.pages(objects.SECRETS, self._namespace, labels=labels, metadata_only=True)
        async for items, _ in pages:
            for item in items:
                dek = _dek(item["metadata"], ring_id)
                if dek is not None and item["metadata"]["name"] == secret_name(ring_id, dek.number):
                    found[dek.number] = dek
        return found

    async def make(self, entry: KeyVersion, known: Mapping[int, Dek]) -> None:
        """Make the material of a version whose number was taken, unless it is there.

        Args:
            entry: of the ledger.
            known: what is stored of the ring.

        Raises:
            Terminal: a Secret of its name is there, and was made for another intent.
        """
        spec = entry.spec
        kek = await self._kek(spec.ring_id, spec.operation, known)
        material = Material(spec.number, spec.key_type, self._random(KEY_BYTES))
        wrapped = await self._provider.wrap(kek, material.key, wrapping_context(spec.ring_id, spec.number))
        body = self._secret(entry, material, kek, wrapped)
        try:
            await self._client.create(objects.SECRETS, self._namespace, body, manager=objects.FIELD_MANAGER)
        except Conflict:
            name = secret_name(spec.ring_id, spec.number)
            found = await self._client.get(objects.SECRETS, self._namespace, name, metadata_only=True)
            theirs = _dek(found["metadata"], spec.ring_id)
            if theirs is None or theirs.operation != spec.operation:
                raise Terminal(
                    f"Secret {self._namespace}/{name} exists and was not made for KeyVersion "
                    f"{entry.metadata.namespace}/{entry.metadata.name}; delete it"
                ) from None

    async def open(self, ring_id: str, deks: Iterable[Dek]) -> list[Material]:
        """The material itself, of versions that are stored.

        Raises:
            ProviderRefuses: a version cannot be unwrapped, or is not what its fingerprint says.
        """
        return list(await gathered(self._open(ring_id, dek) for dek in deks))

    async def _open(self, ring_id: str, dek: Dek) -> Material:
        secret = await self._client.get(objects.SECRETS, self._namespace, secret_name(ring_id, dek.number))
        try:
            wrapped = b64decode((secret.get("data") or {})[_WRAPPED], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise keks.damaged() from None
        key = await self._provider.unwrap(dek.kek, wrapped, wrapping_context(ring_id, dek.number))
        if len(key) != KEY_BYTES:
            raise keks.damaged()
        material = Material(dek.number, dek.key_type, key)
        if fingerprint(ring_id, material) != dek.fingerprint:
            raise keks.damaged()
        return material

    async def _kek(self, ring_id: str, operation: str, known: Mapping[int, Dek]) -> Kek:
        """What the newest version is wrapped with; the first version of a ring gets a KEK of its own operation."""
        if known:
            return known[max(known)].kek
        # Two that make it at once make it for one operation; either may be used, since each version says which.
        return (await self._provider.ensure(KekName(ring_id, 1, operation)))[0]

    def _secret(self, entry: KeyVersion, material: Material, kek: Kek, wrapped: bytes) -> dict[str, Any]:
        spec = entry.spec
        return {
            "metadata": {
                "name": secret_name(spec.ring_id, spec.number),
                "namespace": self._namespace,
                "labels": {
                    objects.MANAGED_BY_LABEL: objects.MANAGED_BY,
                    ROLE_LABEL: ROLE,
                    RING_ID_LABEL: spec.ring_id,
                },
                "annotations": {
                    _RING: f"{entry.metadata.namespace}/{spec.ring}",
                    _NUMBER: str(spec.number),
                    _OPERATION: spec.operation,
                    _KEY_TYPE: spec.key_type.value,
                    _FINGERPRINT: fingerprint(spec.ring_id, material),
                    _KEK_GENERATION: str(kek.name.generation),
                    _KEK_OPERATION: kek.name.operation,
                    _KEK_FINGERPRINT: kek.fingerprint,
                },
            },
            "type": "roadstead.dev/dek",
            "immutable": True,
            "data": {_WRAPPED: b64encode(wrapped).decode()},
        }


def secret_name(ring_id: str, number: int) -> str:
    """Name of the Secret with a version's wrapped material, in the operator's namespace."""
    return f"dek-{ring_id}-v{number}"


def _dek(metadata: Mapping[str, Any], ring_id: str) -> Dek | None:
    said = metadata.get("annotations") or {}
    try:
        name = KekName(ring_id, int(said[_KEK_GENERATION]), said[_KEK_OPERATION])
        return Dek(
            int(said[_NUMBER]),
            KeyType(said[_KEY_TYPE]),
            said[_OPERATION],
            said[_FINGERPRINT],
            Kek(name, said[_KEK_FINGERPRINT]),
        )
    except (KeyError, ValueError):
        return None
