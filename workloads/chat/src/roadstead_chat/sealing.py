"""Encrypting what the store keeps, with the ring that is mounted; without one, everything stays as it was handed in.

What is handed in is ciphertext already, whose keys only clients have. This is the second lock: it binds a payload to
the very row that it is stored in, and it can be changed every few days without asking a client.

Only payloads are encrypted. Rooms, accounts, numbers and times are what a store finds them by, and lie open.
"""

from __future__ import annotations

import contextlib

from roadstead_keys import MountError, Ring, UnknownVersionError
from roadstead_keys.ring import version_of

from roadstead_chat.messages import Message

OPEN = 0
"""In the place of a version: the payload is not encrypted."""


class Sealing:
    """The lock of one store.

    Args:
        ring: what is encrypted with; None: nothing is.
        store: identity of the store.
    """

    def __init__(self, ring: Ring | None, store: str) -> None:
        self.ring = ring
        self._store = store

    def seal(self, message: Message) -> tuple[bytes, int]:
        """Return the payload as it is stored, and the version that it was encrypted with.

        Raises:
            NoPrimaryError: the ring has no version to write with yet.
        """
        if self.ring is None:
            return message.payload, OPEN
        sealed = self.ring.encrypt(message.payload, self._context(message))
        return sealed, version_of(sealed)

    def open(self, message: Message, version: int) -> bytes:
        """Return the payload of a message as it was read from the store.

        Args:
            message: with the payload as it is stored.
            version: what is stored beside it.

        Raises:
            KeysError: it cannot be read now, or was changed.
        """
        if version == OPEN:
            return message.payload
        if self.ring is None:  # the store was refused at the start; somebody has put the row in since then
            raise UnknownVersionError(version)
        try:
            return self.ring.decrypt(message.payload, self._context(message))
        except UnknownVersionError:
            # Its writer may have had the keyset a moment earlier; or it was given back to the regions.
            with contextlib.suppress(MountError):
                self.ring.reload()
            return self.ring.decrypt(message.payload, self._context(message))

    def reseal(self, message: Message, version: int) -> tuple[bytes, int]:
        """Return the payload of a stored message, encrypted with the version that is written with now.

        Args:
            message: with the payload as it is stored.
            version: what is stored beside it.

        Raises:
            KeysError: it cannot be read now, or was changed.
        """
        if version == OPEN or self.ring is None:
            return self.seal(message)
        fresh = self.ring.rewrap(message.payload, self._context(message))
        return fresh, version_of(fresh)

    def _context(self, message: Message) -> bytes:
        """Everything that tells the row apart from every other, each with its length before it."""
        parts = (
            "roadstead-chat/message/1",
            *(self._store, str(message.pos), message.origin, str(message.seq), message.room, message.account),
            *(message.client_id, str(message.accepted_us), "" if message.copy_of is None else str(message.copy_of)),
        )
        return b"".join(len(part).to_bytes(4) + part for part in (text.encode() for text in parts))
