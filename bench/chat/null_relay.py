"""The limit that the relay is compared with: the same server library, TLS and frames, and nothing behind them.

It keeps no message, numbers nothing but what it echoes, and trusts everybody. What the load client reaches with it is
the most that any relay on this stack could reach; the distance is the price of durability, order and checks.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import jwt
import orjson
from aiohttp import WSMsgType, web

ROOMS: dict[str, set[web.WebSocketResponse]] = {}


async def serve(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("roadstead.chat.v1",), compress=False)
    await socket.prepare(request)
    await socket.send_json({"type": "welcome", "device": ""})
    seq = 0
    async for frame in socket:
        if frame.type is not WSMsgType.TEXT:
            break
        value = orjson.loads(frame.data)
        if value["type"] == "join":
            ROOMS.setdefault(value["room"], set()).add(socket)
            await socket.send_json({"type": "live", "room": value["room"], "cursor": {}})
        elif value["type"] == "send":
            seq += 1
            identity = {"room": value["room"], "id": value["id"], "origin": "null", "seq": seq}
            account = account_of(request)
            line = orjson.dumps({"type": "message", "account": account, "payload": value["payload"], **identity})
            for member in ROOMS[value["room"]]:
                await member.send_frame(line, WSMsgType.TEXT)
            await socket.send_frame(orjson.dumps({"type": "accepted", **identity}), WSMsgType.TEXT)
    for members in ROOMS.values():
        members.discard(socket)
    return socket


def account_of(request: web.Request) -> str:
    token = request.headers["Authorization"].removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["sub"])


async def main(tls_dir: Path, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(tls_dir / "tls.crt", tls_dir / "tls.key")
    app = web.Application()
    app.router.add_get("/v1/chat", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
