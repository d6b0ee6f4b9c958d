"""End-to-end encryption: one random key a room, known to the clients of this run only and sent nowhere."""

import orjson
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.utils import random


class SealError(Exception):
    """The payload was not sealed with the room's key, or was changed on its way."""


class RoomSeal:
    """Seals and opens the messages of one room.

    Args:
        size: length of the plaintext in bytes; shorter ones are padded.
    """

    def __init__(self, size: int) -> None:
        self._box = SecretBox(random(SecretBox.KEY_SIZE))
        self._size = size

    def seal(self, account: str, number: int) -> bytes:
        """Encrypt the sender's ``number``-th message."""
        plain = orjson.dumps({"from": account, "n": number, "text": "the plaintext of a load run"})
        return bytes(self._box.encrypt(plain.ljust(self._size)))

    def open(self, payload: bytes) -> tuple[str, int]:
        """Decrypt, and return the sender and the number that it wrote inside.

        Raises:
            SealError: it does not open.
        """
        try:
            value = orjson.loads(self._box.decrypt(payload))
        except (CryptoError, ValueError, orjson.JSONDecodeError) as error:
            raise SealError(str(error)) from None
        return value["from"], value["n"]
