"""Proving which versions a process holds, and which it writes with.

The operator puts into the mount, for each version, 32 random bytes that only this version decrypts (the challenge).
The answer is an HMAC under these bytes of who answers and of the generation that it has loaded: whoever has not
decrypted the challenge cannot make it, and it is worth nothing for another pod, another start of the same container, or
another keyset.

Which version is written with is shown by writing: the same words, encrypted. A ciphertext cannot name one version and
be readable with another.

Beside it stands what can only be said: how many ciphertexts of each version the process still stores, and which
versions it was asked for and does not hold. That statement is part of the words, so that nobody else can make it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tink import TinkError

from roadstead_keys.ring import MOST_WANTED, Inventory, Ring

_READS = b"roadstead-keys/reads/1"
_WRITES = b"roadstead-keys/writes/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process has proved.

    Attributes:
        generation: of the keyset that it holds.
        reads: HMAC-SHA-256 for each version whose challenge it has read.
        writes: a ciphertext; empty while no version may be written with.
        inventory: number of ciphertexts that it stores, by version; None: it does not say.
        wanted: versions that it was asked for and does not hold.
    """

    generation: int
    reads: Mapping[int, bytes]
    writes: bytes
    inventory: Mapping[int, int] | None = None
    wanted: frozenset[int] = frozenset()


def challenge_context(ring: str, version: int, region: str) -> bytes:
    """What a challenge is bound to, as associated data of its AEAD."""
    return _words(b"roadstead-keys/challenge/1", ring, str(version), region)


def statement(inventory: Mapping[int, int] | None, wanted: Iterable[int]) -> str:
    """What is said beside the proof, in the one form that a MAC can be taken of; empty when nothing is said.

    Args:
        inventory: as in `Answer`.
        wanted: as in `Answer`; none wanted is the same as nothing said.
    """
    said = _said(inventory, wanted)
    return json.dumps(said, sort_keys=True, separators=(",", ":")) if said else ""


def reads_words(pod: str, instance: str, generation: int, statement: str = "") -> bytes:
    """What the HMAC is taken of, and what is written to show which version is written with."""
    return _words(_READS, pod, instance, str(generation), statement)


def writes_context(ring: str, region: str) -> bytes:
    """What the ciphertext of an answer is bound to."""
    return _words(_WRITES, ring, region)


def answer(ring: Ring, pod: str, instance: str, inventory: Inventory | None = None) -> Answer:
    """Prove what is held in this moment.

    Args:
        ring: what the application itself encrypts and decrypts with.
        pod: uid of the pod.
        instance: another one for each start of the process, such as random bytes in hexadecimal digits.
        inventory: of everything that the process stores, by `Held.inventory`. One that was counted while another keyset
            was held is left out: something may have been written with that one after it was counted.
    """
    held = ring.held
    bundle = held.bundle
    stored = dict(inventory.stored) if inventory is not None and inventory.generation == bundle.generation else None
    # What is stored under a version that is not held will be asked for, whether or not somebody has asked yet.
    missing = frozenset(number for number, count in (stored or {}).items() if count and number not in held.versions)
    wanted = frozenset(sorted(ring.wanted | missing)[:MOST_WANTED])
    words = reads_words(pod, instance, bundle.generation, statement(stored, wanted))
    reads = {}
    for version, challenge in bundle.challenges.items():
        primitive = held.keys.versions.get(version)
        if primitive is None:
            continue
        try:
            key = primitive.decrypt(challenge, challenge_context(bundle.ring, version, bundle.region))
        except TinkError:
            continue  # a challenge that is not for us proves nothing; the operator sees that it is missing
        reads[version] = hmac.new(key, words, hashlib.sha256).digest()
    writes = b""
    if bundle.active:
        writes = held.keys.versions[held.keys.primary].encrypt(words, writes_context(bundle.ring, bundle.region))
    return Answer(bundle.generation, reads, writes, stored, wanted)


def receipt(given: Answer, instance: str) -> str:
    """An answer as it is handed in: the value at the pod's uid in the ConfigMap of the ring's receipts.

    Args:
        given: by `answer`.
        instance: the same as there.
    """
    said = {
        "instance": instance,
        "generation": given.generation,
        "reads": {str(number): base64.b64encode(mac).decode() for number, mac in sorted(given.reads.items())},
        "writes": base64.b64encode(given.writes).decode(),
    }
    return json.dumps(said | _said(given.inventory, given.wanted), sort_keys=True)


def _said(inventory: Mapping[int, int] | None, wanted: Iterable[int]) -> dict[str, object]:
    said: dict[str, object] = {}
    if inventory is not None:
        said["inventory"] = {str(number): count for number, count in inventory.items()}
    if numbers := sorted(wanted):
        said["wanted"] = numbers
    return said


def _words(*parts: bytes | str) -> bytes:
    """Parts, each with its length before it, so that none can pass for the end of another."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)
