"""Proving which versions a process holds, and which it writes with.

The operator puts into the mount, for each version, 32 random bytes that only this version decrypts (the challenge).
The answer is an HMAC under these bytes of who answers and of the generation that it has loaded: whoever has not
decrypted the challenge cannot make it, and it is worth nothing for another pod, another start of the same container, or
another keyset.

Which version is written with is shown by writing: the same words, encrypted. A ciphertext cannot name one version and
be readable with another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tink import TinkError

from roadstead_keys.ring import Ring

_READS = b"roadstead-keys/reads/1"
_WRITES = b"roadstead-keys/writes/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process has proved.

    Attributes:
        generation: of the keyset that it holds.
        reads: HMAC-SHA-256 for each version whose challenge it has read.
        writes: a ciphertext; empty while no version may be written with.
    """

    generation: int
    reads: Mapping[int, bytes]
    writes: bytes


def challenge_context(ring: str, version: int, region: str) -> bytes:
    """What a challenge is bound to, as associated data of its AEAD."""
    return _words(b"roadstead-keys/challenge/1", ring, str(version), region)


def reads_words(pod: str, instance: str, generation: int) -> bytes:
    """What the HMAC is taken of."""
    return _words(_READS, pod, instance, str(generation))


def writes_context(ring: str, region: str) -> bytes:
    """What the ciphertext of an answer is bound to."""
    return _words(_WRITES, ring, region)


def answer(ring: Ring, pod: str, instance: str) -> Answer:
    """Prove what is held in this moment.

    Args:
        ring: what the application itself encrypts and decrypts with.
        pod: uid of the pod.
        instance: another one for each start of the process, such as random bytes in hexadecimal digits.
    """
    held = ring.held
    bundle, words = held.bundle, reads_words(pod, instance, held.bundle.generation)
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
    return Answer(bundle.generation, reads, writes)


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
    return json.dumps(said, sort_keys=True)


def _words(*parts: bytes | str) -> bytes:
    """Parts, each with its length before it, so that none can pass for the end of another."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)
