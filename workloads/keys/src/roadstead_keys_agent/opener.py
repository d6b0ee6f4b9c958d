"""The process that has to do with keys: one question, one answer, then it ends.

It reads a JSON object from standard input and writes one. A library of an HSM gets neither end of the pipes: it is C
code that may print. No traceback is ever written: it would show what was called with.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from roadstead_keys_agent import hpke, privatekeys, sealed
from roadstead_keys_agent.errors import AgentError, Reason

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_DAMAGED = "the sealed keyset is damaged, or was put together of several; the operator writes it anew when it sees it"


def opened(content: bytes, beside: bytes, place: Mapping[str, Any]) -> bytes:
    """The keyset in the clear.

    Args:
        content: of the file keyset.sealed.
        beside: of the file ring.json.
        place: where our private keys are.

    Raises:
        AgentError: it is not for us, or not what it should be.
    """
    try:
        found = sealed.parse(content)
        said = json.loads(beside)
        own = (said["ring"], said["region"], said["generation"])
    except (sealed.NotSealedError, ValueError, LookupError, TypeError):
        raise AgentError(Reason.DAMAGED, _DAMAGED) from None
    statement = found.statement
    if sealed.digest(beside) != statement.beside or own != (statement.ring, statement.region, statement.generation):
        raise AgentError(Reason.DAMAGED, _DAMAGED)
    try:
        key = _content_key(found, place)
        return AESGCM(key).decrypt(found.nonce, found.ciphertext, statement.words())
    except (InvalidTag, ValueError):
        raise AgentError(Reason.DAMAGED, _DAMAGED) from None


def _content_key(found: sealed.Sealed, place: Mapping[str, Any]) -> bytes:
    for_whom = {one.key: one for one in found.recipients}
    held = []
    with privatekeys.pairs(place) as pairs:
        for pair in pairs:
            held.append(sealed.key_id(pair.public))
            recipient = for_whom.get(held[-1])
            if recipient is not None:
                key, nonce = hpke.opening(recipient.enc, pair.public, pair.agree, found.statement.words())
                return AESGCM(key).decrypt(nonce, recipient.wrapped, b"")
    raise AgentError(
        Reason.NO_KEY,
        f"the keyset is sealed for {_listed(for_whom)}, and here is the private key of {_listed(held)}; put the public "
        "key of one that is here into spec.keyEncryption.publicKeys of the Region (`roadstead keys agent public-key` "
        "prints it)",
    )


def _listed(ids: Any) -> str:
    return ", ".join(sorted(ids)) or "nobody"


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what is asked."""
    place = request["place"]
    try:
        match request["ask"]:
            case "open":
                content, beside = (base64.b64decode(request[name]) for name in ("content", "beside"))
                result = base64.b64encode(opened(content, beside, place)).decode()
            case "generate":
                result = sealed.pem(privatekeys.generate(place, request["label"]))
            case _:
                with privatekeys.pairs(place) as pairs:
                    result = "".join(sealed.pem(pair.public) for pair in pairs)
    except AgentError as error:
        return {"reason": error.reason, "message": str(error)}
    return {"result": result}


def main() -> None:
    """Keep the ends of the pipes to ourselves, then answer."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # also when the library hangs
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.excepthook = lambda *_: None
    with questions, answers:
        answers.write(json.dumps(answer(json.load(questions))).encode())


if __name__ == "__main__":
    main()
