"""What a region has of a ring: the Secret with its keyset, and the answers of its pods. Pure.

The Secret is read before it is written, whoever wrote it: a version in there that the ledger does not know means that
the ledger is older than the region, and an answer is worth what it proves, not what it says.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from roadstead_keys.ring import MOST_WANTED
from roadstead_keys_agent.sealed import Sealed
from tink.proto import aes_gcm_pb2, tink_pb2, x_aes_gcm_pb2

from roadstead.api.keyring import MOST_GENERATION
from roadstead.api.keyring_names import CONSUMER_LABEL_PREFIX, consumer_label, keyset_name, receipts_name, rewrap_name
from roadstead.api.keyversion import KeyType
from roadstead.kernel.objects import CONFIG_MAPS, SECRETS, Child
from roadstead.keys import material as materials
from roadstead.keys import sealing
from roadstead.keys.challenge import Answer, Asked, challenge
from roadstead.keys.material import KEY_BYTES, Material
from roadstead.keys.sealing import Purpose, Recipients
from roadstead.keys.state import Keyset

__all__ = (
    "CONSUMER_LABEL_PREFIX",
    "NOTHING",
    "Held",
    "answers_in",
    "asked_of",
    "consumer_label",
    "consumers",
    "held_in",
    "keyset_name",
    "keyset_secret",
    "receipts",
    "receipts_name",
    "rewrap_name",
)

KEYSET_KEY: Final = "keyset.json"
RING_KEY: Final = "ring.json"
MOST_COUNTED: Final = 10_000
"""Versions in an inventory: several times as many as a ring may have."""
MOST_INSTANCE: Final = 128
"""Characters of what tells one start of a process from another."""
MOST_NUMBER: Final = 2**32 - 1
"""The highest number that a ciphertext can name."""

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

# What people and pods may write there, as Python says it: no content may end a pass over the whole ring.
_UNREADABLE: Final = (
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError),
    *(binascii.Error, json_format.ParseError),
)
_TYPES: Final = {
    "type.googleapis.com/google.crypto.tink.XAesGcmKey": (KeyType.XAES_256_GCM, x_aes_gcm_pb2.XAesGcmKey),
    "type.googleapis.com/google.crypto.tink.AesGcmKey": (KeyType.AES_256_GCM, aes_gcm_pb2.AesGcmKey),
}


@dataclass(frozen=True, slots=True)
class Held:
    """What the Secret of a region holds.

    Attributes:
        keyset: numbers, fingerprints and primary; empty when there is none, or none that can be read.
        generation: how often it was changed; 0: never.
        keys: the material itself, of a keyset in clear text; never shown.
        damaged: what is there is not what a ring makes.
        sealed: the keyset, when it is sealed; what it says is to be `checked`.
    """

    keyset: Keyset = field(default_factory=Keyset)
    generation: int = 0
    keys: tuple[Material, ...] = field(default=(), repr=False)
    damaged: bool = False
    sealed: Sealed | None = None


NOTHING: Final = Held()


def asked_of(keyset: Keyset) -> frozenset[int]:
    """The versions that pods prove to read: the one to write with, and the newest, which is to be the next.

    A pod loads a keyset whole or not at all, so the others follow from the generation that its answer is bound to.
    """
    newest = max((number for number, _ in keyset.keys), default=0)
    return frozenset({newest, keyset.primary}) - {0}


def keyset_secret(
    asked: Asked,
    namespace: str,
    name: str,
    keyset: Keyset,
    keys: Iterable[Material],
    generation: int,
    recipients: Recipients | None = None,
    purpose: Purpose = Purpose.SERVING,
) -> Child:
    """The Secret that gives a region a keyset, to serve with or only to rewrap with.

    Args:
        asked: the ring's identity and the region.
        namespace: of the ring.
        name: of the Secret.
        keyset: what the region is given; not empty.
        keys: the material of each of its versions.
        generation: larger than any that the region had.
        recipients: whom it is sealed for; None: it is given in clear text.
        purpose: what a sealed keyset says that it is for, so that none is taken for the other.

    Raises:
        ValueError: the material is not that of the keyset.
    """
    held = {key.number: key for key in keys}
    wanted = dict(keyset.keys)
    if {n: materials.fingerprint(asked.ring, key) for n, key in held.items()} != wanted:
        raise ValueError(f"the material is not that of versions {sorted(wanted)}")
    # Tink has no keyset without a primary; who may write with it is said beside it.
    primary = keyset.primary or min(held)
    said = {
        "ring": asked.ring,
        "region": asked.region,
        "generation": generation,
        "active": keyset.primary != 0,
        "challenges": {
            str(number): b64encode(challenge(asked, held[number])).decode() for number in sorted(asked_of(keyset))
        },
    }
    plain, beside = materials.keyset(held.values(), primary), json.dumps(said, sort_keys=True).encode()
    content = {KEYSET_KEY: plain, RING_KEY: beside}
    if recipients is not None:
        proving = [held[number] for number in sorted(asked_of(keyset))]
        made = sealing.seal(asked, keyset, generation, plain, beside, proving, recipients, purpose)
        content = {sealing.FILE: made, RING_KEY: beside}
    data = {name: b64encode(value).decode() for name, value in content.items()}
    return Child(SECRETS, namespace, name, {"type": "roadstead.dev/keyset", "data": data})


def receipts(namespace: str, ring: str, region: str) -> Child:
    """The ConfigMap in which pods answer; its content is theirs."""
    return Child(CONFIG_MAPS, namespace, receipts_name(ring, region), {})


def held_in(asked: Asked, secret: Mapping[str, Any] | None, purpose: Purpose = Purpose.SERVING) -> Held:
    """What a region's Secret holds, whoever wrote it; what of it cannot be read is left out.

    Args:
        asked: the ring's identity and the region.
        secret: as it is there.
        purpose: what its keyset is for.
    """
    if secret is None:
        return NOTHING
    data = secret.get("data") or {}
    if sealing.FILE in data:
        return _sealed_in(asked, secret, data, purpose)
    try:
        said = json.loads(b64decode(data[RING_KEY], validate=True))
        active = said["active"] is True
        challenged = frozenset(int(number) for number in said["challenges"])
        parsed = json_format.Parse(b64decode(data[KEYSET_KEY], validate=True), tink_pb2.Keyset())
        own = (said["ring"], said["region"]) == (asked.ring, asked.region)
    except _UNREADABLE:
        return Held(generation=_generation(data), damaged=True)
    found = [key for entry in parsed.key if (key := _material(entry)) is not None]
    keys = tuple(sorted((key.number, materials.fingerprint(asked.ring, key)) for key in found))
    keyset = Keyset(keys, parsed.primary_key_id if active else 0)
    whole = len(found) == len(parsed.key) == len({key.number for key in found})
    damaged = not (own and whole and challenged == asked_of(keyset))
    return Held(keyset, _generation(data), tuple(found), damaged)


def _sealed_in(asked: Asked, secret: Mapping[str, Any], data: Mapping[str, Any], purpose: Purpose) -> Held:
    try:
        found = sealing.parse(b64decode(data[sealing.FILE], validate=True))
        beside = b64decode(data[RING_KEY], validate=True)
    except _UNREADABLE:
        return Held(generation=_generation(data), damaged=True)
    keyset, said = sealing.keyset_of(found), found.statement
    own = (said.ring, said.region, said.purpose) == (asked.ring, asked.region, purpose)
    whole = said.beside == sealing.digest(beside) and found.authenticators.keys() == asked_of(keyset)
    return Held(keyset, _generation(data), (), not (own and whole) or is_exposed(secret), found)


def authenticated_with(held: Held) -> frozenset[int]:
    """The versions that are needed to tell whether a sealed keyset is ours; none when that is known."""
    return frozenset() if held.sealed is None or held.damaged else frozenset(held.sealed.authenticators)


def is_exposed(secret: Mapping[str, Any]) -> bool:
    """Whether a sealed keyset has something beside it that may be one in clear text, and that an apply of ours leaves.

    It is somebody else's field then: what they wrote themselves, or what kubectl notes of what it has applied.
    """
    data, annotations = secret.get("data") or {}, secret["metadata"].get("annotations") or {}
    return sealing.FILE in data and (KEYSET_KEY in data or _LAST_APPLIED in annotations)


def checked(held: Held, asked: Asked, keys: Iterable[Material], recipients: Recipients | None, known: int) -> Held:
    """The same, and damaged unless it is in the form that the operator makes now, and no older one put back.

    Args:
        held: what was read, of a Secret that is there.
        asked: the ring's identity and the region.
        keys: versions that the hub has.
        recipients: whom it should be sealed for; None: nobody.
        known: generation that the region was given last, as the status knows it.
    """
    if recipients is None:
        right = held.sealed is None
    else:
        right = held.sealed is not None and sealing.recipients_of(held.sealed) == recipients.ids
        right = right and held.sealed is not None and sealing.is_ours(asked, held.sealed, keys)
    return replace(held, damaged=held.damaged or not right or held.generation < known)


def answers_in(config_map: Mapping[str, Any] | None) -> tuple[Answer, ...]:
    """What the pods of a region have answered. Whatever is no answer is left out: it proves nothing."""
    found = []
    for pod, text in ((config_map or {}).get("data") or {}).items():
        try:
            said = json.loads(text)
            reads = {int(number): b64decode(mac, validate=True) for number, mac in said["reads"].items()}
            writes = b64decode(said["writes"], validate=True)
            statement = _inventory(said.get("inventory")), _wanted(said.get("wanted", []))
            instance = _instance(said["instance"])
            found.append(Answer(pod, instance, int(said["generation"]), reads, writes, *statement))
        except _UNREADABLE:
            continue
    return tuple(found)


def consumers(pods: Iterable[Mapping[str, Any]], label: str, elsewhere: frozenset[str]) -> frozenset[str]:
    """Uids of the pods that may still read or write: all that have not ended.

    Args:
        pods: of the region's cluster, with the label.
        label: of the ring: `consumer_label`.
        elsewhere: the ring's other regions. Their pods do not count, should they be in this cluster, too; those that
            name no region that there is count wherever they are, since they may use any keyset.
    """
    ended = ("Succeeded", "Failed")
    return frozenset(
        pod["metadata"]["uid"]
        for pod in pods
        if (pod.get("status") or {}).get("phase") not in ended
        and (pod["metadata"].get("labels") or {}).get(label) not in elsewhere
    )


def _instance(said: Any) -> str:
    """What tells one start of a process from another.

    Raises:
        ValueError: it cannot be one: what has no bytes can be in no proof, and would end the pass over the whole ring.
    """
    if not isinstance(said, str) or not said.isascii() or len(said) > MOST_INSTANCE:
        raise ValueError("an instance that cannot be one")
    return said


def _inventory(said: Any) -> dict[int, int] | None:
    """Number of ciphertexts by version, as a process says it; None when it says nothing.

    Raises:
        ValueError: it cannot be one, so whoever says it is not to be believed in anything.
    """
    if said is None:
        return None
    if len(said) > MOST_COUNTED:
        raise ValueError("an inventory of more versions than a ring can have")
    # One number written in two ways would be two of them.
    found = {int(number): count for number, count in said.items() if str(int(number)) == number and _whole(count, 0)}
    if len(found) != len(said) or not all(_whole(number, 1, MOST_NUMBER) for number in found):
        raise ValueError("an inventory that cannot be one")
    return found


def _wanted(said: Any) -> frozenset[int]:
    """Versions that a process asks for.

    Raises:
        ValueError: they cannot be.
    """
    if not isinstance(said, list) or len(said) > MOST_WANTED or not all(_whole(n, 1, MOST_NUMBER) for n in said):
        raise ValueError("versions that cannot be asked for")
    return frozenset(said)


def _whole(value: object, least: int, most: int = 2**53) -> bool:
    return type(value) is int and least <= value <= most


def _generation(data: Mapping[str, Any]) -> int:
    """The generation that content claims, damaged or not, so that the next one is larger."""
    try:
        said = int(json.loads(b64decode(data[RING_KEY], validate=True))["generation"])
    except _UNREADABLE:
        return 0
    return said if 0 <= said < MOST_GENERATION else 0  # no operator has counted that far


def _material(entry: tink_pb2.Keyset.Key) -> Material | None:
    known = _TYPES.get(entry.key_data.type_url)
    if known is None:
        return None
    key_type, message = known
    try:
        key = message.FromString(entry.key_data.value).key_value
    except DecodeError:
        return None
    return Material(entry.key_id, key_type, key) if len(key) == KEY_BYTES else None
