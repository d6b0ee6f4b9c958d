"""The material of versions in the hub: random keys of our own, wrapped by a KEK, each in a Secret that never changes.

A version's material is made once because its Secret is created once: its name has the ring's identity and the number in
it. What was put there by somebody else does not carry the operation of the ledger's intent, and is never used. What is
wrapped anew, with a later KEK, is a Secret of another name; only a version that is stored already gets one.

KEKs are asked for in the same way: a Secret without content takes the generation, and says which operation it is for.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from roadstead.api.keyring import KekProviderKind
from roadstead.api.keyversion import KeyType, KeyVersion
from roadstead.kernel import objects
from roadstead.kernel.apply import create_secret
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.concurrency import gathered
from roadstead.kernel.errors import Conflict, Terminal
from roadstead.keys import kek as keks
from roadstead.keys import kek_rotation
from roadstead.keys.kek import Kek, KekName, KekProvider
from roadstead.keys.ledger import RING_ID_LABEL
from roadstead.keys.material import KEY_BYTES, Material, fingerprint, wrapping_context
from roadstead.keys.stored import Dek, KekIntent, Meant, Stored

ROLE_LABEL: Final = "roadstead.dev/key-role"
DEK_ROLE: Final = "dek"
INTENT_ROLE: Final = "kek-intent"
_NUMBER: Final = "roadstead.dev/key-version"
_OPERATION: Final = "roadstead.dev/operation"
_KEY_TYPE: Final = "roadstead.dev/key-type"
_FINGERPRINT: Final = "roadstead.dev/fingerprint"
_RING: Final = "roadstead.dev/keyring"
_KEK_GENERATION: Final = "roadstead.dev/kek-generation"
_KEK_OPERATION: Final = "roadstead.dev/kek-operation"
_KEK_FINGERPRINT: Final = "roadstead.dev/kek-fingerprint"
_KEK_PROVIDER: Final = "roadstead.dev/kek-provider"
_SINCE: Final = "roadstead.dev/since"
_WRAPPED: Final = "wrapped"


class Deks:
    """Material of the rings of a hub.

    Args:
        client: the hub.
        namespace: the operator's.
        providers: of KEKs; one for each kind, also where it can only say that it is not set up.
        random: so many unpredictable bytes.
    """

    def __init__(
        self,
        client: ClusterClient,
        namespace: str,
        providers: Mapping[KekProviderKind, KekProvider],
        random: Callable[[int], bytes],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._providers = providers
        self._random = random

    async def stored(self, ring_id: str, entries: Mapping[int, KeyVersion]) -> Stored:
        """What is there of a ring. Secrets that do not say what they are, are left out.

        Args:
            ring_id: of the ring.
            entries: its ledger.
        """
        copies, intents = [], []
        pages = self._client.pages(
            objects.SECRETS, self._namespace, labels=f"{RING_ID_LABEL}={ring_id}", metadata_only=True
        )
        async for items, _ in pages:
            for item in items:
                metadata = item["metadata"]
                match (metadata.get("labels") or {}).get(ROLE_LABEL):
                    case "dek" if (dek := _dek(metadata, ring_id)) is not None:
                        copies.append(dek)
                    case "kek-intent" if (intent := _intent(metadata, ring_id)) is not None:
                        intents.append(intent)
        meant = {
            number: Meant(entry.spec.operation, entry.status.fingerprint or "") for number, entry in entries.items()
        }
        return Stored(copies, intents, meant)

    async def make(self, entry: KeyVersion, known: Stored, provider: KekProviderKind) -> None:
        """Make the material of a version whose number was taken, unless it is there; see `keep`."""
        material = Material(entry.spec.number, entry.spec.key_type, self._random(KEY_BYTES))
        await self._keep(entry, material, known, provider)

    async def keep(self, entry: KeyVersion, material: Material, known: Stored, provider: KekProviderKind) -> None:
        """Wrap and store the material of a version whose number was taken, unless it is there.

        Args:
            entry: of the ledger.
            material: of the version.
            known: what is stored of the ring.
            provider: where the first KEK of a ring is made.

        Raises:
            Terminal: a Secret of its name is there, and was made for another intent, or holds other material.
        """
        there = await self._keep(entry, material, known, provider)
        if there.fingerprint != fingerprint(entry.spec.ring_id, material):
            raise Terminal(
                f"Secret {self._namespace}/{there.secret} holds other material than what version {entry.spec.number} "
                "is to have, made meanwhile for the same number; nobody was given it: delete that Secret"
            )

    async def _keep(self, entry: KeyVersion, material: Material, known: Stored, provider: KekProviderKind) -> Dek:
        """The same; what is there then may be what another operator has made for the same intent."""
        spec = entry.spec
        # The first KEK is made for the intent of the first version, which is in the ledger.
        intent = kek_rotation.present(known, {}) or KekIntent(1, spec.operation, provider, None)
        kek = await self._kek(spec.ring_id, intent, known)
        context = wrapping_context(spec.ring_id, spec.number)
        wrapped = await self._providers[intent.provider].wrap(kek, material.key, context)
        dek = Dek(
            number=spec.number,
            key_type=spec.key_type,
            operation=spec.operation,
            fingerprint=fingerprint(spec.ring_id, material),
            kek=kek,
            provider=intent.provider,
            ring=f"{entry.metadata.namespace}/{spec.ring}",
            # Whatever it is wrapped with: two that make it at once must want the same name.
            secret=secret_name(spec.ring_id, spec.number),
            uid="",
        )
        there = await self._create(dek, wrapped)
        if there is None or there.operation != spec.operation:
            raise Terminal(
                f"Secret {self._namespace}/{dek.secret} exists and was not made for KeyVersion "
                f"{entry.metadata.namespace}/{entry.metadata.name}; delete it"
            )
        return there

    async def open(self, ring_id: str, deks: Iterable[Dek]) -> list[Material]:
        """The material itself, of versions that are stored.

        Raises:
            ProviderRefuses: a version cannot be unwrapped, or is not what its fingerprint says.
        """
        return list(await gathered(self._open(ring_id, dek) for dek in deks))

    # --- the KEK

    async def ask_for_kek(
        self, ring_id: str, ring: str, generation: int, provider: KekProviderKind, now: datetime
    ) -> KekIntent:
        """Write down that a KEK is to be made.

        Args:
            ring_id: of the ring.
            ring: its namespace and name, for people.
            generation: the least that it may have. What the provider has by chance of a larger one is left alone.
            provider: where it will be made; looked at first, so that nothing is begun with one that is away.
            now: in UTC.

        Raises:
            Conflict: somebody has asked for this generation.
        """
        there = max((kek.name.generation for kek in await self._providers[provider].keks(ring_id)), default=0)
        if there >= generation:
            name = intent_name(ring_id, generation)
            if await self._client.find(objects.SECRETS, self._namespace, name, metadata_only=True) is not None:
                raise Conflict(f"Secret {self._namespace}/{name}: somebody has asked for this KEK, and it is there")
        intent = KekIntent(max(generation, there + 1), self._random(8).hex(), provider, now)
        body = {
            "metadata": {
                "name": intent_name(ring_id, intent.generation),
                "namespace": self._namespace,
                "labels": _labels(ring_id, INTENT_ROLE),
                "annotations": {
                    _RING: ring,
                    _KEK_GENERATION: str(intent.generation),
                    _KEK_OPERATION: intent.operation,
                    _KEK_PROVIDER: provider.value,
                    # To the microsecond: one that came back a little older than it was would be due again.
                    _SINCE: now.astimezone(UTC).isoformat(),
                },
            },
            "type": "roadstead.dev/kek-intent",
            "immutable": True,
        }
        await self._client.create(objects.SECRETS, self._namespace, body, manager=objects.FIELD_MANAGER)
        return intent

    async def rewrap(self, ring_id: str, dek: Dek, under: KekIntent, known: Stored) -> Dek:
        """Make a copy of a version under another KEK; the one that is there stays.

        Raises:
            Terminal: a Secret of the copy's name is there and is none.
        """
        (material,) = await self.open(ring_id, [dek])
        kek = await self._kek(ring_id, under, known)
        wrapped = await self._providers[under.provider].wrap(kek, material.key, wrapping_context(ring_id, dek.number))
        copy = Dek(
            number=dek.number,
            key_type=dek.key_type,
            operation=dek.operation,
            fingerprint=dek.fingerprint,
            kek=kek,
            provider=under.provider,
            ring=dek.ring,
            secret=secret_name(ring_id, dek.number, under.name(ring_id)),
            uid="",
        )
        there = await self._create(copy, wrapped)
        if there is None or (there.operation, there.fingerprint) != (dek.operation, dek.fingerprint):
            raise Terminal(f"Secret {self._namespace}/{copy.secret} exists and is no copy of {dek.secret}; delete it")
        return there

    async def drop(self, ring_id: str, old: Dek, kept: Dek) -> None:
        """Delete a copy, once another of the same material was read back and opened.

        Raises:
            ProviderRefuses: the other one cannot be opened.
        """
        await self.open(ring_id, [kept])
        if (kept.number, kept.fingerprint) != (old.number, old.fingerprint) or kept.secret == old.secret:
            raise ValueError(f"{kept.secret} is no copy of {old.secret}")
        await self._client.delete(objects.SECRETS, self._namespace, old.secret, uid=old.uid)

    # --- what goes for ever

    async def remove(self, ring_id: str, number: int) -> None:
        """Delete every Secret of a version, also one that is somebody's: what is left of it is in old backups."""
        for copy in (await self.stored(ring_id, {})).copies:
            if copy.number == number:
                await self._client.delete(objects.SECRETS, self._namespace, copy.secret, uid=copy.uid)

    async def listed(self, ring_id: str, provider: KekProviderKind) -> tuple[Kek, ...]:
        """Every KEK of a ring in a provider."""
        return await self._providers[provider].keks(ring_id)

    async def shred(
        self, ring_id: str, up_to: int, past: Collection[KekProviderKind] = ()
    ) -> tuple[tuple[Kek, ...], tuple[Kek, ...]]:
        """Destroy the KEKs up to a generation that nothing is wrapped with, and look what is left of that generation.

        The newest that was asked for stays. Where a KEK may be that cannot be looked at now, an error says so, and the
        rest is not touched.

        Args:
            ring_id: of the ring.
            up_to: the last generation that may go.
            past: providers that may have KEKs of the ring although nothing in the hub says so.

        Returns:
            What was destroyed, and what is there all the same.
        """
        stored = await self.stored(ring_id, {})
        needed = {copy.provider for copy in stored.copies} | {intent.provider for intent in stored.intents} | set(past)
        gone = []
        for provider, there in await self._everywhere(ring_id, needed):
            for kek in kek_rotation.unused(there, stored, up_to):
                await provider.destroy(kek)
                gone.append(kek)
        # Once more: what the provider says, and not what it was told.
        found = [kek for _, there in await self._everywhere(ring_id, needed) for kek in there]
        return tuple(gone), tuple(kek for kek in found if kek.name.generation <= up_to)

    async def _everywhere(
        self, ring_id: str, needed: Collection[KekProviderKind]
    ) -> list[tuple[KekProvider, tuple[Kek, ...]]]:
        """Every KEK of a ring, by provider; without those that are not set up and not needed."""
        found = []
        for kind, provider in self._providers.items():
            try:
                found.append((provider, await provider.keks(ring_id)))
            except keks.ProviderRefuses as error:
                if kind in needed or error.reason is not keks.Reason.NOT_CONFIGURED:
                    raise
        return found

    async def destroy(self, kek: Kek, provider: KekProviderKind) -> None:
        """Destroy one KEK."""
        await self._providers[provider].destroy(kek)

    async def _open(self, ring_id: str, dek: Dek) -> Material:
        try:
            return await self._opened(ring_id, dek)
        except keks.ProviderRefuses as error:
            if error.reason is not keks.Reason.DAMAGED:
                raise
            words = f"Secret {self._namespace}/{dek.secret}: {error}"
            raise keks.ProviderRefuses(error.reason, words) from None

    async def _opened(self, ring_id: str, dek: Dek) -> Material:
        secret = await self._client.get(objects.SECRETS, self._namespace, dek.secret)
        try:
            wrapped = b64decode((secret.get("data") or {})[_WRAPPED], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise keks.damaged() from None
        key = await self._providers[dek.provider].unwrap(dek.kek, wrapped, wrapping_context(ring_id, dek.number))
        if len(key) != KEY_BYTES:
            raise keks.damaged()
        material = Material(dek.number, dek.key_type, key)
        if fingerprint(ring_id, material) != dek.fingerprint:
            raise keks.damaged()
        return material

    async def _kek(self, ring_id: str, intent: KekIntent, known: Stored) -> Kek:
        """The KEK of an intent: the one that something is wrapped with, or else one that is made now."""
        if (kek := kek_rotation.used(known, intent)) is not None:
            return kek
        # Two that make it at once make it for one operation; either may be used, since each version says which.
        return (await self._providers[intent.provider].ensure(intent.name(ring_id)))[0]

    async def _create(self, dek: Dek, wrapped: bytes) -> Dek | None:
        """Make the Secret of a version; what is there in its place, when one of that name is."""
        ring_id = dek.kek.name.ring
        body = {
            "metadata": {
                "name": dek.secret,
                "namespace": self._namespace,
                "labels": _labels(ring_id, DEK_ROLE),
                "annotations": {
                    _RING: dek.ring,
                    _NUMBER: str(dek.number),
                    _OPERATION: dek.operation,
                    _KEY_TYPE: dek.key_type.value,
                    _FINGERPRINT: dek.fingerprint,
                    _KEK_GENERATION: str(dek.kek.name.generation),
                    _KEK_OPERATION: dek.kek.name.operation,
                    _KEK_FINGERPRINT: dek.kek.fingerprint,
                    _KEK_PROVIDER: dek.provider.value,
                },
            },
            "type": "roadstead.dev/dek",
            "immutable": True,
            "data": {_WRAPPED: b64encode(wrapped).decode()},
        }
        try:
            made = await create_secret(self._client, self._namespace, body)
        except Conflict:
            made = await self._client.get(objects.SECRETS, self._namespace, dek.secret, metadata_only=True)
        return _dek(made["metadata"], ring_id)


def secret_name(ring_id: str, number: int, rewrapped: KekName | None = None) -> str:
    """Name of a Secret with a version's wrapped material, in the operator's namespace.

    Args:
        ring_id: of the ring.
        number: of the version.
        rewrapped: what it was wrapped with anew; None: it is as it was made.
    """
    # With the operation: after an intent was lost there may be two KEKs of one generation, and a copy under each.
    again = f"-k{rewrapped.generation}-{rewrapped.operation}" if rewrapped is not None else ""
    return f"dek-{ring_id}-v{number}{again}"


def intent_name(ring_id: str, generation: int) -> str:
    """Name of the Secret that says that a KEK was asked for: creating it is the compare-and-swap."""
    return f"kek-intent-{ring_id}-{generation}"


def _labels(ring_id: str, role: str) -> dict[str, str]:
    return {objects.MANAGED_BY_LABEL: objects.MANAGED_BY, ROLE_LABEL: role, RING_ID_LABEL: ring_id}


def _dek(metadata: Mapping[str, Any], ring_id: str) -> Dek | None:
    said = metadata.get("annotations") or {}
    try:
        name = KekName(ring_id, int(said[_KEK_GENERATION]), said[_KEK_OPERATION])
        dek = Dek(
            number=int(said[_NUMBER]),
            key_type=KeyType(said[_KEY_TYPE]),
            operation=said[_OPERATION],
            fingerprint=said[_FINGERPRINT],
            kek=Kek(name, said[_KEK_FINGERPRINT]),
            provider=KekProviderKind(said[_KEK_PROVIDER]),
            ring=said[_RING],
            secret=metadata["name"],
            uid=metadata["uid"],
        )
    except (KeyError, ValueError):
        return None
    names = (secret_name(ring_id, dek.number), secret_name(ring_id, dek.number, name))
    return dek if dek.secret in names else None


def _intent(metadata: Mapping[str, Any], ring_id: str) -> KekIntent | None:
    said = metadata.get("annotations") or {}
    try:
        since = datetime.fromisoformat(said[_SINCE])
        provider = KekProviderKind(said[_KEK_PROVIDER])
        intent = KekIntent(int(said[_KEK_GENERATION]), said[_KEK_OPERATION], provider, since)
    except (KeyError, ValueError):
        return None
    return intent if metadata["name"] == intent_name(ring_id, intent.generation) and since.tzinfo else None
