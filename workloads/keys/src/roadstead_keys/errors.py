"""What can go wrong, by what the caller does about it. No message has key material, or what a provider said of it."""


class KeysError(Exception):
    """Any error of this package."""


class MountError(KeysError):
    """What is mounted is no keyset of a ring. What was loaded before stays in use."""


class NoPrimaryError(KeysError):
    """The ring has no version to write with yet. Try again when the keyset has changed."""


class UnknownVersionError(KeysError):
    """The ciphertext names a version that the keyset does not have.

    Attributes:
        version: its number.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} is not in the keyset; it may have been retired, or not arrived yet")
        self.version = version


class NotServedError(KeysError):
    """The ciphertext names a version that is held to encrypt anew what it encrypted, and for nothing else.

    Attributes:
        version: its number.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} is not read from any more; rewrap what it encrypted")
        self.version = version


class DecryptError(KeysError):
    """The ciphertext is damaged, is of another ring, or has another context."""
