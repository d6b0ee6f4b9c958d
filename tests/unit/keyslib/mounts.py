"""Mounts as a kubelet makes them, with keysets as a ring makes them."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roadstead_keys import proof
from tink import aead, json_proto_keyset_format, proto_keyset_format, secret_key_access
from tink.proto import tink_pb2, x_aes_gcm_pb2

RING, REGION = "4f6c0e9e", "hkg"
XAES = "type.googleapis.com/google.crypto.tink.XAesGcmKey"


def material(number: int, salt: bytes = b"") -> bytes:
    """The same 32 bytes for the same number, and others for another salt."""
    import hashlib

    return hashlib.sha256(str(number).encode() + salt).digest()


def tink_key(number: int, content: bytes) -> tink_pb2.Keyset.Key:
    key = x_aes_gcm_pb2.XAesGcmKey(key_value=content)
    key.params.salt_size = 8
    data = tink_pb2.KeyData(type_url=XAES, value=key.SerializeToString(), key_material_type=tink_pb2.KeyData.SYMMETRIC)
    return tink_pb2.Keyset.Key(key_data=data, key_id=number, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.TINK)


def as_json(keyset: tink_pb2.Keyset) -> str:
    from google.protobuf import json_format

    return json_format.MessageToJson(keyset)


def keyset(numbers: Iterable[int], primary: int, salt: bytes = b"") -> tink_pb2.Keyset:
    keys = [tink_key(number, material(number, salt)) for number in numbers]
    return tink_pb2.Keyset(primary_key_id=primary, key=keys)


def primitive(number: int, salt: bytes = b"") -> aead.Aead:
    """Tink's own, apart from the code that is tested."""
    aead.register()
    handle = proto_keyset_format.parse(keyset([number], number, salt).SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(aead.Aead)


def challenge(number: int, secret: bytes, *, ring: str = RING, region: str = REGION) -> bytes:
    made: bytes = primitive(number).encrypt(secret, proof.challenge_context(ring, number, region))
    return made


def mount(directory: Path, keys: str, **changes: Any) -> None:
    """Swap the content of a directory in one step, as a kubelet does."""
    said = {"ring": RING, "region": REGION, "generation": 1, "active": True, "challenges": {}} | changes
    number = max((int(found.name[2:]) for found in directory.glob("..[0-9]*")), default=0)
    fresh = directory / f"..{number + 1}"
    fresh.mkdir()
    (fresh / "ring.json").write_text(json.dumps(said))
    (fresh / "keyset.json").write_text(keys)
    link = directory / "..data_tmp"
    link.symlink_to(fresh.name)
    old = (directory / "..data").resolve() if (directory / "..data").exists() else None
    link.replace(directory / "..data")
    for name in ("ring.json", "keyset.json"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    if old:
        shutil.rmtree(old)


def encoded(challenges: Mapping[int, bytes]) -> dict[str, str]:
    return {str(number): base64.b64encode(content).decode() for number, content in challenges.items()}


def parsed_by_tink(text: str) -> aead.Aead:
    return json_proto_keyset_format.parse(text, secret_key_access.TOKEN).primitive(aead.Aead)
