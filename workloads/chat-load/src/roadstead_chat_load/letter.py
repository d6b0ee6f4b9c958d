"""One message, written or read by hand: sealed for whoever has the file with the room's key."""

import base64
import binascii
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.utils import random

from roadstead_chat_load.client import CONNECT_SECONDS, Target
from roadstead_chat_load.keys import KeyFileError, token

ANSWER_SECONDS = 15.0
TOKEN_SECONDS = 60


class LetterError(Exception):
    """The message was not taken, or cannot be read; the message says why."""


def room_key(path: Path) -> SecretBox:
    """The key of a room: of the file, or a new one that is written into it.

    Raises:
        KeyFileError: the file holds something else, or cannot be used.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            return SecretBox(base64.b64decode(path.read_bytes().strip(), validate=True))
        except (OSError, binascii.Error, ValueError) as error:
            raise KeyFileError(f"{path} is no room's key ({error}); name another file, it is made") from None
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be made ({error.strerror}); name a file in a directory that is there"
        ) from None
    key = random(SecretBox.KEY_SIZE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(key) + b"\n")
    return SecretBox(key)


async def send(target: Target, signing: Ed25519PrivateKey, box: SecretBox, room: str, text: str) -> str:
    """Send one message; returns the identity under which it is durable.

    Raises:
        LetterError: the relay did not take it.
    """
    async with _connected(target, signing, "writer", room) as stream:
        client_id = uuid.uuid4().hex
        payload = base64.b64encode(box.encrypt(text.encode())).decode()
        frame = {"type": "send", "room": room, "id": client_id, "payload": payload}
        await stream.send_str(orjson.dumps(frame).decode())
        async for answer in _frames(stream):
            if answer["type"] == "accepted" and answer["id"] == client_id:
                return f"{answer['origin']}:{answer['seq']}"
        raise LetterError("the relay closed without an answer")


async def read(target: Target, signing: Ed25519PrivateKey, box: SecretBox, room: str) -> list[str]:
    """All messages of a room, in order.

    Raises:
        LetterError: the relay did not give them, or one does not open with the room's key.
    """
    found: list[str] = []
    async with _connected(target, signing, "reader", room) as stream:
        await stream.send_str(orjson.dumps({"type": "join", "room": room, "from": "start"}).decode())
        async for frame in _frames(stream):
            if frame["type"] == "live":
                return found
            if frame["type"] == "message":
                try:
                    found.append(box.decrypt(base64.b64decode(frame["payload"])).decode())
                except CryptoError:
                    raise LetterError(f"message {frame['id']} of {room} was not sealed with this key") from None
        raise LetterError(f"the relay closed with {stream.close_code} before the end of the room")


@asynccontextmanager
async def _connected(
    target: Target, signing: Ed25519PrivateKey, account: str, room: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    headers = {"Authorization": f"Bearer {token(signing, account, [room], TOKEN_SECONDS)}"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CONNECT_SECONDS)) as session:
        try:
            stream = await session.ws_connect(
                target.url, ssl=target.tls, server_hostname=target.server_name, headers=headers, max_msg_size=0
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise LetterError(f"{target.url} cannot be reached: {str(error) or type(error).__name__}") from None
        async with stream:
            yield stream


async def _frames(stream: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    """What the relay says, until it closes.

    Raises:
        LetterError: it refuses, or says nothing for long.
    """
    while True:
        try:
            message = await stream.receive(timeout=ANSWER_SECONDS)
        except TimeoutError:
            raise LetterError(f"the relay said nothing for {ANSWER_SECONDS:.0f} s") from None
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        for line in message.data.split("\n"):
            frame: dict[str, Any] = orjson.loads(line)
            if frame["type"] == "error":
                raise LetterError(f"{frame['code']}: {frame['message']}")
            yield frame
