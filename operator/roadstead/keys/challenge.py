"""The operator's side of the proof of possession; the consumer's is `roadstead_keys.proof`, whose words are used here.

For each version that a region holds it is given 32 random bytes that only this version decrypts. Who answers with an
HMAC under these bytes has decrypted them. The bytes are derived from the version's material, so that nothing has to be
stored to verify an answer, and a restart asks nobody anew.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from roadstead_keys import keyset as keysets
from roadstead_keys.errors import DecryptError
from roadstead_keys.proof import challenge_context, reads_words, statement, writes_context
from roadstead_keys.ring import version_of
from tink import TinkError

from roadstead.keys.material import Material, keyset

_SECRET_BYTES: Final = 32
_MOST_ANSWER: Final = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """Where and of whom something is asked.

    Attributes:
        ring: identity of the ring.
        region: name of the Region.
    """

    ring: str
    region: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process says it holds, as it was received.

    Attributes:
        pod: uid of the pod.
        instance: another one for each start of the process.
        generation: of the keyset that it says it has loaded.
        reads: an HMAC for each version.
        writes: a ciphertext.
        inventory: number of ciphertexts that it says it stores, by version; None: it does not say.
        wanted: versions that it says it was asked for and does not hold.
    """

    pod: str
    instance: str
    generation: int
    reads: Mapping[int, bytes]
    writes: bytes
    inventory: Mapping[int, int] | None = None
    wanted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Proved:
    """What an answer proves.

    Attributes:
        reads: versions that the process reads.
        writes: the version that it writes with; 0: it has not proved any.
        inventory: number of ciphertexts that it stores, by version; None: it has not said, or not as a holder. Nobody
            else can have said it, but whether it is true is the process's word: this is no proof.
        wanted: versions that it was asked for and does not hold, in the same way.
    """

    reads: frozenset[int]
    writes: int
    inventory: Mapping[int, int] | None = None
    wanted: frozenset[int] = frozenset()


def challenge(asked: Asked, material: Material) -> bytes:
    """The challenge for one version: what is encrypted is the same each time, the ciphertext is not."""
    primitive = keysets.load(keyset([material], material.number)).versions[material.number]
    made: bytes = primitive.encrypt(
        _secret(asked, material), challenge_context(asked.ring, material.number, asked.region)
    )
    return made


def verify(asked: Asked, materials: Iterable[Material], answer: Answer) -> Proved:
    """What an answer proves. Whatever is wrong with it proves nothing, and is no error."""
    held = {material.number: material for material in materials}
    said = statement(answer.inventory, answer.wanted)
    words = reads_words(answer.pod, answer.instance, answer.generation, said)
    reads = frozenset(
        number
        for number, mac in answer.reads.items()
        if number in held and hmac.compare_digest(_mac(asked, held[number], words), mac)
    )
    writes = _writes(asked, held, answer.writes, words)
    # Words beside a proof that fails are anybody's.
    return Proved(reads, writes, answer.inventory, answer.wanted) if reads else Proved(reads, writes)


def _writes(asked: Asked, held: Mapping[int, Material], ciphertext: bytes, words: bytes) -> int:
    if len(ciphertext) > _MOST_ANSWER:
        return 0
    try:
        number = version_of(ciphertext)
        material = held[number]
        primitive = keysets.load(keyset([material], number)).versions[number]
        said = primitive.decrypt(ciphertext, writes_context(asked.ring, asked.region))
    except (DecryptError, KeyError, TinkError):
        return 0
    return number if hmac.compare_digest(said, words) else 0


def _mac(asked: Asked, material: Material, words: bytes) -> bytes:
    return hmac.new(_secret(asked, material), words, hashlib.sha256).digest()


def _secret(asked: Asked, material: Material) -> bytes:
    info = f"roadstead/dek/challenge/1|{asked.ring}|{material.number}|{asked.region}".encode()
    return HKDF(SHA256(), _SECRET_BYTES, salt=None, info=info).derive(material.key)
