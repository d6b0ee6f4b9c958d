"""Public keys of regions as they are written into a Region: on the curve P-256, in PEM (SubjectPublicKeyInfo)."""

import base64
import binascii
import re
from typing import Final

# All keys of this kind begin with the same 26 bytes and the 4 of an uncompressed point: 36 characters, so that a
# pattern can tell the kind and the length of a key.
_HEAD: Final = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
PEM: Final = (
    rf"^-----BEGIN PUBLIC KEY-----\r?\n{_HEAD}[A-Za-z0-9+/]{{28}}\r?\n[A-Za-z0-9+/]{{58}}==\r?\n"
    r"-----END PUBLIC KEY-----\s*$"
)
_WHOLE: Final = re.compile(PEM.removesuffix("$"))
_POINT_BYTES: Final = 65
# y^2 = x^3 - 3x + b modulo p (SP 800-186)
_P: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def point_of(text: str) -> bytes | None:
    """The public key, uncompressed; None when the text is none that lies on the curve."""
    if not _WHOLE.fullmatch(text):
        return None
    try:
        point = base64.b64decode("".join(text.split("-----")[2].split()), validate=True)[-_POINT_BYTES:]
    except binascii.Error:
        return None
    x, y = int.from_bytes(point[1:33]), int.from_bytes(point[33:])
    on_curve = x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    return point if on_curve else None
