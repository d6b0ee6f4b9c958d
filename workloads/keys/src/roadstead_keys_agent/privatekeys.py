"""Where a region's private keys are: in files, or in a token that they never leave (PKCS#11).

Only `roadstead_keys_agent.opener` imports this, in a process that lives for one question.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from roadstead_keys_agent.errors import AgentError, Reason
from roadstead_keys_agent.sealed import POINT_BYTES

_CURVE = ec.SECP256R1()
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair.

    Attributes:
        public: uncompressed.
        agree: what the private key and another public key agree on.
    """

    public: bytes
    agree: Callable[[bytes], bytes] = field(repr=False)


@contextlib.contextmanager
def pairs(place: Mapping[str, Any]) -> Iterator[Iterator[Pair]]:
    """The key pairs of a place, as long as it is open.

    Args:
        place: ``{"files": [...]}``, or ``{"library", "token", "pin"}``.

    Raises:
        AgentError: it cannot be looked into.
    """
    if "files" in place:
        yield (_of_file(Path(path)) for path in place["files"])
    else:
        with _session(place) as session:
            yield _of_token(session, place["token"])


def generate(place: Mapping[str, Any], label: str) -> bytes:
    """Make a key pair, and never over another.

    Args:
        place: as for `pairs`; of files exactly one.
        label: of the pair in a token.

    Returns:
        The public key, uncompressed.
    """
    if "files" in place:
        return _generate_file(Path(place["files"][0]))
    with _session(place, rw=True) as session:
        return _generate_in_token(session, place["token"], label)


# --- files


def _of_file(path: Path) -> Pair:
    cure = "it needs a private key on the curve P-256 in PEM (PKCS#8) without a password"
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise AgentError(Reason.KEY_UNREADABLE, f"{path} cannot be read ({error.strerror}); {cure}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what it says may quote the file
        raise AgentError(Reason.KEY_UNREADABLE, f"{path} is no key that can be read; {cure}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AgentError(Reason.KEY_UNREADABLE, f"{path} has a key of another type; {cure}")

    def agree(point: bytes) -> bytes:
        return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point))

    return Pair(_point(key.public_key()), agree)


def _generate_file(path: Path) -> bytes:
    key = ec.generate_private_key(_CURVE)
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        raise AgentError(
            Reason.EXISTS, f"{path} is there and is never written over; what is sealed for it could not be opened again"
        ) from None
    except OSError as error:
        raise AgentError(Reason.KEY_UNREADABLE, f"{path} cannot be written ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return _point(key.public_key())


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


# --- a token


@contextlib.contextmanager
def _session(place: Mapping[str, Any], *, rw: bool = False) -> Iterator[Any]:
    library, token = place["library"], place["token"]
    try:
        import pkcs11  # noqa: PLC0415 - it is not installed where keys are files
    except ImportError:
        words = "python-pkcs11 is not installed; install roadstead-keys[pkcs11], or use the image of the operator"
        raise AgentError(Reason.LIBRARY, words) from None
    try:
        loaded = pkcs11.lib(library)
    except Exception:  # the loader raises bare ones
        raise AgentError(
            Reason.LIBRARY, f"the PKCS#11 library {library} cannot be loaded; mount it into the pod, name its path"
        ) from None
    with _worded(token), loaded.get_token(token_label=token).open(rw=rw, user_pin=place["pin"]) as session:
        yield session


@contextlib.contextmanager
def _worded(token: str) -> Iterator[None]:
    """Say what a library refuses in words of ours."""
    from pkcs11 import exceptions as refusals  # noqa: PLC0415

    known: Sequence[tuple[tuple[type[Exception], ...], Reason, str]] = (
        (
            (refusals.PinIncorrect, refusals.PinInvalid, refusals.PinLenRange, refusals.PinExpired),
            Reason.PIN_WRONG,
            "token {token!r} refuses the PIN; it was tried once, and is not until the PIN's file changes",
        ),
        (
            (refusals.PinLocked,),
            Reason.PIN_LOCKED,
            "the PIN of token {token!r} is locked; let its security officer unlock it, and change the PIN's file",
        ),
        (
            (refusals.UserPinNotInitialized,),
            Reason.PIN_UNSET,
            "token {token!r} has no user's PIN; let its security officer set one",
        ),
        (
            (refusals.NoSuchToken, refusals.TokenNotPresent, refusals.TokenNotRecognised),
            Reason.NO_TOKEN,
            "there is no token {token!r}; name one that `pkcs11-tool --list-slots` shows",
        ),
        (
            (refusals.MultipleTokensReturned,),
            Reason.NO_TOKEN,
            "there is more than one token {token!r}; give each a label of its own",
        ),
        (
            (refusals.MechanismInvalid,),
            Reason.MECHANISM,
            "token {token!r} lacks CKM_ECDH1_DERIVE or CKM_EC_KEY_PAIR_GEN with P-256; use a module that has them",
        ),
    )
    try:
        yield
    except refusals.PKCS11Error as error:
        for types, reason, words in known:
            if isinstance(error, types):
                raise AgentError(reason, words.format(token=token)) from None
        code = type(error).__name__
        words = f"the PKCS#11 library answers {code} for token {token!r}; see the module's own log"
        raise AgentError(Reason.FAILED, words) from None


def _of_token(session: Any, token: str) -> Iterator[Pair]:
    from pkcs11 import Attribute, KeyType, ObjectClass  # noqa: PLC0415

    public_ones = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.EC}
    # Read to the end before anything else is asked: a search that is under way keeps its session busy.
    for public in list(session.get_objects(public_ones)):
        point = bytes(public[Attribute.EC_POINT])[-POINT_BYTES:]  # some wrap it in an OCTET STRING, some do not
        if len(point) == POINT_BYTES and public[Attribute.EC_PARAMS] == _curve():
            yield Pair(point, _agreeing(session, public, token))


def _agreeing(session: Any, public: Any, token: str) -> Callable[[bytes], bytes]:
    from pkcs11 import KDF, Attribute, KeyType, Mechanism, ObjectClass  # noqa: PLC0415

    def agree(point: bytes) -> bytes:
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC, Attribute.ID: public.id}
        private = next(iter(list(session.get_objects(wanted))), None)
        if private is None:
            raise AgentError(
                Reason.NO_KEY,
                f"token {token!r} has the public key {public.label!r}, and no private key of the same CKA_ID; "
                "give both the same",
            )
        template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False}
        derived = private.derive_key(
            KeyType.GENERIC_SECRET,
            _SECRET_BYTES * 8,
            mechanism=Mechanism.ECDH1_DERIVE,
            mechanism_param=(KDF.NULL, None, point),
            store=False,
            template=template,
        )
        return bytes(derived[Attribute.VALUE])

    return agree


def _generate_in_token(session: Any, token: str, label: str) -> bytes:
    from pkcs11 import Attribute, KeyType, Mechanism  # noqa: PLC0415

    if list(session.get_objects({Attribute.LABEL: label})):
        raise AgentError(
            Reason.EXISTS,
            f"token {token!r} has a key {label!r}, which is never written over; give the new one another label",
        )
    # CKA_ID is what the halves of a pair have in common, so it is of this pair alone.
    public, _ = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: _curve()}, local=True
    ).generate_keypair(
        id=secrets.token_bytes(16),
        label=label,
        store=True,
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        public_template={Attribute.PRIVATE: False, Attribute.VERIFY: False},
        private_template={
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.DERIVE: True,
            Attribute.SIGN: False,
            Attribute.MODIFIABLE: False,
        },
    )
    return bytes(public[Attribute.EC_POINT])[-POINT_BYTES:]


def _curve() -> bytes:
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415

    return bytes(encode_named_curve_parameters("secp256r1"))
