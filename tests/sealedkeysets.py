"""Sealed keysets as the operator makes them, apart from any ring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from roadstead.api.keyversion import KeyType
from roadstead.keys import material as materials
from roadstead.keys import sealing
from roadstead.keys.challenge import Asked
from roadstead.keys.material import Material
from roadstead.keys.sealing import Recipients
from roadstead.keys.state import Keyset

HERE = Asked("r0123456789ab", "hkg")
KEYS = tuple(Material(number, KeyType.XAES_256_GCM, bytes([number]) * 32) for number in (1, 2, 3))


def private_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def written(key: ec.EllipticCurvePrivateKey, path: Path) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def keyset_of(*numbers: int, primary: int) -> Keyset:
    held = [KEYS[number - 1] for number in numbers]
    return Keyset(tuple((key.number, materials.fingerprint(HERE.ring, key)) for key in held), primary)


def content_of(*numbers: int, primary: int) -> bytes:
    return materials.keyset([KEYS[number - 1] for number in numbers], primary)


def files(*public: str, generation: int = 7, asked: Asked = HERE, **changes: Any) -> Mapping[str, bytes]:
    """Versions 1 to 3, of which 2 is the primary."""
    said = {"ring": asked.ring, "region": asked.region, "generation": generation, "active": True, "challenges": {}}
    beside = json.dumps(said | changes).encode()
    keyset, content = keyset_of(1, 2, 3, primary=2), content_of(1, 2, 3, primary=2)
    made = sealing.seal(asked, keyset, generation, content, beside, KEYS[1:], Recipients.of(public))
    return {"keyset.sealed": made, "ring.json": beside}


def mount(directory: Path, content: Mapping[str, bytes]) -> None:
    """Swap what is mounted as a kubelet does."""
    fresh = directory / f"..{len(list(directory.iterdir()))}"
    fresh.mkdir(parents=True)
    for name, value in content.items():
        (fresh / name).write_bytes(value)
    link = directory / "..data_tmp"
    link.symlink_to(fresh.name)
    link.replace(directory / "..data")
