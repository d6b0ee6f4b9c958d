"""Use a Roadstead KeyRing from a workload.

`Ring` holds what is mounted: `Ring.open(directory)`, `encrypt`, `decrypt`, `reload`. `proof.answer` says which versions
this process really holds, so that the operator makes none primary that somebody could not read. `keeper.Keeper` does
both while a process runs, and `poster.Poster` (extra ``aiohttp``) brings the proof to where the operator looks.

Python promises no erasure of memory: a key that was loaded stays in the process until its memory is used again.
"""

from roadstead_keys.errors import (
    DecryptError,
    KeysError,
    MountError,
    NoPrimaryError,
    NotServedError,
    UnknownVersionError,
)
from roadstead_keys.ring import Ring

__all__ = [
    "DecryptError",
    "KeysError",
    "MountError",
    "NoPrimaryError",
    "NotServedError",
    "Ring",
    "UnknownVersionError",
]
