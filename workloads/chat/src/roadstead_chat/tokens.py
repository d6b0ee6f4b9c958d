"""Account tokens: JWT signed with Ed25519, checked against every public key that is configured.

Several keys make rotation possible: publish the new one beside the old, sign with the new, remove the old.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LEEWAY_SECONDS = 5
MAX_TOKEN_CHARS = 8_192
MAX_ACCOUNT_CHARS = 128


class TokenError(Exception):
    """The token opens nothing.

    Attributes:
        reason: a short word for metrics: malformed, signature, expired, claims.
        claimed: the account that it claims to be of, or "" when it names none.
    """

    def __init__(self, reason: str, message: str, claimed: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.claimed = claimed


@dataclass(frozen=True, slots=True)
class Account:
    """Who is connected.

    Attributes:
        name: the token's ``sub``.
        rooms: patterns of the rooms that it may use, as in fnmatch.
        expires: end of the token, seconds since 1970.
    """

    name: str
    rooms: tuple[str, ...]
    expires: float

    def may_use(self, room: str) -> bool:
        """Whether one of the patterns matches the room."""
        return any(fnmatchcase(room, pattern) for pattern in self.rooms)


class TokenVerifier:
    """Turns a token into an account.

    Args:
        public_keys: raw Ed25519 public keys, 32 bytes each.
        audience: a token that carries ``aud`` must name this service in it.
    """

    def __init__(self, public_keys: Sequence[bytes], audience: str) -> None:
        self._keys = [Ed25519PublicKey.from_public_bytes(key) for key in public_keys]
        self._audience = audience

    def verify(self, token: str) -> Account:
        """Check signature, time and claims.

        Raises:
            TokenError: it is not good; the message is fit for the client.
        """
        claimed = claimed_account(token)
        claims = self._claims(token, claimed)
        audience = claims.get("aud")
        if audience is not None and self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise TokenError("claims", f"the token is for another service; ask for one for {self._audience}", claimed)
        name, expires = claims.get("sub"), claims["exp"]
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_ACCOUNT_CHARS or not name.isprintable():
            raise TokenError("claims", f"the claim sub must be 1 to {MAX_ACCOUNT_CHARS} printable characters", claimed)
        return Account(name, _patterns(claims.get("rooms"), claimed), float(expires))

    def _claims(self, token: str, claimed: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=["EdDSA"],
                    leeway=LEEWAY_SECONDS,
                    options={"require": ["sub", "exp"], "verify_aud": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise TokenError("expired", "the token has expired; ask for a new one", claimed) from None
            except jwt.PyJWTError as error:
                raise TokenError("malformed", f"the token cannot be used: {error}", claimed) from None
        raise TokenError("signature", "the token is not signed by a key of this service", claimed)


def claimed_account(token: str) -> str:
    """Return the unverified ``sub`` of a token, "" when it has none: only to count failures by."""
    if len(token) > MAX_TOKEN_CHARS:
        return ""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError):
        return ""
    name = claims.get("sub")
    return name[:MAX_ACCOUNT_CHARS] if isinstance(name, str) else ""


def seconds_left(account: Account, now: float | None = None) -> float:
    """Return how long the account's token still lasts, leeway included."""
    return account.expires + LEEWAY_SECONDS - (time.time() if now is None else now)


def _patterns(claim: object, claimed: str) -> tuple[str, ...]:
    if claim == "*":
        return ("*",)
    if isinstance(claim, list) and 1 <= len(claim) <= 1_000 and all(isinstance(item, str) for item in claim):
        return tuple(claim)
    raise TokenError("claims", 'the claim rooms must be "*" or a list of 1 to 1000 patterns', claimed)
