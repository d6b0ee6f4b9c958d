"""The process that talks to a PKCS#11 library: a crash or a hang of the library ends this process and nothing else.

Each line of standard input is a request and each line that is written an answer, both JSON. The library gets neither:
it is C code that may print. What it says of an error is never passed on, since it may quote what it was given; only the
name of a return value is, and that is ours to word (`roadstead.keys.kek_pkcs11`).

The terms are those of PKCS #11 version 3.1 (OASIS).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import IO, Any, Final, Protocol, cast

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass, SecretKey, Session, Token
from pkcs11 import exceptions as refusals

from roadstead.keys.kek import FINGERPRINT_WORDS, TAG_BYTES, Reason

_TEMPLATE: Final = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.PRIVATE: True,
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.SIGN: True,
    Attribute.VERIFY: False,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
    Attribute.MODIFIABLE: False,
}
"""The key never leaves the token, and does nothing but encrypt, decrypt and compute its fingerprint (CMAC)."""
_PR_SET_PDEATHSIG: Final = 1
_NEEDED: Final = (Mechanism.AES_KEY_GEN, Mechanism.AES_GCM, Mechanism.AES_CMAC)
_REASONS: Final[dict[type[Exception], Reason]] = {
    refusals.PinIncorrect: Reason.PIN_WRONG,
    refusals.PinInvalid: Reason.PIN_WRONG,
    refusals.PinLenRange: Reason.PIN_WRONG,
    refusals.PinExpired: Reason.PIN_WRONG,
    refusals.UserPinNotInitialized: Reason.PIN_UNSET,
    refusals.PinLocked: Reason.PIN_LOCKED,
    refusals.NoSuchToken: Reason.TOKEN_MISSING,
    refusals.TokenNotPresent: Reason.TOKEN_MISSING,
    refusals.TokenNotRecognised: Reason.TOKEN_MISSING,
    refusals.MultipleTokensReturned: Reason.TOKEN_AMBIGUOUS,
    refusals.DeviceMemory: Reason.TOKEN_FULL,
    refusals.TokenWriteProtected: Reason.TOKEN_FULL,
    refusals.MechanismInvalid: Reason.MECHANISM,
    refusals.ObjectHandleInvalid: Reason.KEK_UNUSABLE,  # it was destroyed a moment ago
    refusals.KeyHandleInvalid: Reason.KEK_UNUSABLE,
}


class _Refused(Exception):
    def __init__(self, reason: Reason, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class _Key(Protocol):
    """What a `SecretKey` can do here; which of it the library adds depends on the key's own attributes."""

    @property
    def label(self) -> str | None: ...
    def encrypt(self, data: bytes, **options: Any) -> bytes: ...
    def decrypt(self, data: bytes, **options: Any) -> bytes: ...
    def sign(self, data: bytes, **options: Any) -> bytes: ...
    def destroy(self) -> None: ...


class Worker:
    """One logged-in session of one token.

    Args:
        token: as found.
        pin: the user's; tried once.
    """

    def __init__(self, token: Token, pin: str) -> None:
        self._session: Session = token.open(rw=True, user_pin=pin)

    def generate(self, label: str) -> None:
        """Make a key, whether or not there is one of this label."""
        self._session.generate_key(
            KeyType.AES, 256, label=label, id=label.encode(), store=True, template=dict(_TEMPLATE)
        )

    def fingerprints(self, label: str) -> list[str]:
        """Of every key that has this label."""
        return sorted(_fingerprint(key) for key in self._labelled(label))

    def wrap(self, label: str, fingerprint: str, nonce: str, key: str, context: str) -> str:
        """AES-256-GCM; the nonce is the caller's."""
        parameters = GCMParams(b64decode(nonce), b64decode(context), TAG_BYTES * 8)
        found = self._the(label, fingerprint)
        sealed = found.encrypt(b64decode(key), mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        return b64encode(sealed).decode()

    def unwrap(self, label: str, fingerprint: str, nonce: str, sealed: str, context: str) -> str:
        """The way back."""
        parameters = GCMParams(b64decode(nonce), b64decode(context), TAG_BYTES * 8)
        found = self._the(label, fingerprint)
        try:
            key = found.decrypt(b64decode(sealed), mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        except (refusals.EncryptedDataInvalid, refusals.EncryptedDataLenRange):
            raise _Refused(Reason.DAMAGED) from None
        except (refusals.GeneralError, refusals.FunctionFailed):
            # Some libraries say no more than this of a tag that is wrong. The token is well when it computes.
            if _fingerprint(found) == fingerprint:
                raise _Refused(Reason.DAMAGED) from None
            raise
        return b64encode(key).decode()

    def destroy(self, label: str, fingerprint: str) -> None:
        """Destroy the one of this label that has the fingerprint."""
        self._the(label, fingerprint).destroy()

    def find(self, prefix: str) -> list[list[str]]:
        """Label and fingerprint of every key whose label begins so."""
        ours = [key for key in self._keys({}) if (key.label or "").startswith(prefix)]
        return sorted([str(key.label), _fingerprint(key)] for key in ours)

    def _labelled(self, label: str) -> list[_Key]:
        return self._keys({Attribute.LABEL: label})

    def _keys(self, more: dict[Attribute, Any]) -> list[_Key]:
        template = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, **more}
        # Read to the end before anything else is asked: a search that is under way keeps its session busy.
        return [cast("_Key", key) for key in self._session.get_objects(template) if isinstance(key, SecretKey)]

    def _the(self, label: str, fingerprint: str) -> _Key:
        for key in self._labelled(label):
            if _fingerprint(key) == fingerprint:
                return key
        raise _Refused(Reason.KEK_MISSING)


def _fingerprint(key: _Key) -> str:
    try:
        return key.sign(FINGERPRINT_WORDS, mechanism=Mechanism.AES_CMAC).hex()
    except (AttributeError, refusals.MechanismInvalid):
        # The token has the mechanism. SoftHSM shows a key that another process makes before it has a value.
        raise _Refused(Reason.KEK_UNUSABLE, str(key.label)) from None


def _look(library: str, token: str) -> Token:
    """The one token of this label; nothing is tried with it.

    Raises:
        _Refused: the library or the token is not as it should be.
    """
    try:
        loaded = pkcs11.lib(library)
    except Exception:  # the loader raises bare ones
        raise _Refused(Reason.LIBRARY) from None
    found = loaded.get_token(token_label=token)
    if not set(_NEEDED) <= set(found.slot.get_mechanisms()):
        raise _Refused(Reason.MECHANISM)
    return found


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there are no more requests. The first one opens the session.

    What is wrong with it says whether the PIN was tried: nobody tries one again that a module may have counted.
    """
    worker: Worker | None = None
    tried = False
    for line in requests:
        request: dict[str, Any] = json.loads(line)
        try:
            if worker is None:
                found = _look(request["library"], request["token"])
                tried = True
                worker = Worker(found, request["pin"])
                answer: dict[str, Any] = {"result": None}
            else:
                method: Callable[..., Any] = getattr(worker, request.pop("method"))
                answer = {"result": method(**request)}
        except _Refused as refused:
            answer = {"reason": refused.reason, "code": refused.code, "tried": tried}
        except refusals.PKCS11Error as error:
            reason = _REASONS.get(type(error), Reason.FAILED)
            answer = {"reason": reason, "code": type(error).__name__, "tried": tried}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        if worker is None or answer.get("reason") is Reason.FAILED:
            return  # a session after such an error is worth nothing


def main() -> None:
    """Keep the ends of the pipes to ourselves, then serve."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # also when the library hangs and never sees the end
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.excepthook = lambda *_: None  # a traceback shows what it was called with
    serve(requests, answers)


if __name__ == "__main__":
    main()
