"""The door for clients: who may connect, and what the rest is told."""

import asyncio
import logging
import math
import re
import secrets
import time

from aiohttp import hdrs, web

from roadstead_chat.connection import Connection, Services
from roadstead_chat.lockout import Lockouts
from roadstead_chat.metrics import Metrics
from roadstead_chat.protocol import BEARER_SUBPROTOCOL, DEVICE_COOKIE, SUBPROTOCOL, Close, Code
from roadstead_chat.tokens import Account, TokenError, TokenVerifier, claimed_account, seconds_left

PATH = "/v1/chat"
HEARTBEAT_SECONDS = 30
FRAME_BYTES = 65_536
_logger = logging.getLogger(__name__)
_DEVICE = re.compile(r"[0-9a-f]{32}")


class Gate:
    """Authenticates upgrades and keeps the open connections.

    Args:
        services: what connections need.
        store: identity of our store, told to clients.
    """

    def __init__(self, services: Services, store: str) -> None:
        config = services.config
        self.draining = False
        self._left = asyncio.Event()
        self.connections: set[Connection] = set()
        self._services = services
        self._store = store
        self._verifier = TokenVerifier(config.token_public_keys, config.service)
        self._lockouts = Lockouts(config.lock_after, config.lock_seconds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client, from the upgrade to the end."""
        config, metrics = self._services.config, self._services.metrics
        if self.draining:
            return _refusal(metrics, 503, "draining", Code.DRAINING, "this relay is going; connect again", 1)
        if len(self.connections) >= config.max_connections:
            return _refusal(metrics, 503, "full", Code.FULL, "this relay has all the connections that it takes", 5)
        account = self._login(request)
        if isinstance(account, web.Response):
            return account
        device = request.cookies.get(DEVICE_COOKIE, "")
        if not _DEVICE.fullmatch(device):
            device = secrets.token_hex(16)
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            heartbeat=HEARTBEAT_SECONDS,
            compress=False,
            max_msg_size=4 * config.max_message_bytes + FRAME_BYTES,
            timeout=1,
        )
        socket.set_cookie(
            DEVICE_COOKIE,
            device,
            max_age=config.retention_cookies,
            secure=True,
            httponly=True,
            samesite="Strict",
            path=PATH,
        )
        await socket.prepare(request)
        metrics.connects.labels("accepted").inc()
        await self._serve(socket, account, device)
        return socket

    async def empty(self) -> None:
        """Wait until no connection is open."""
        while self.connections:
            self._left.clear()
            await self._left.wait()

    async def _serve(self, socket: web.WebSocketResponse, account: Account, device: str) -> None:
        config = self._services.config
        await socket.send_json(
            {
                "type": "welcome",
                "service": config.service,
                "region": config.region,
                "role": config.role.value,
                "store": self._store,
                "device": device,
                "max_message_bytes": config.max_message_bytes,
            }
        )
        if self.draining:
            await socket.close(code=Close.RESTART, message=b"draining")
            return
        connection = Connection(self._services, socket, account, device)
        expiry = _at_expiry(account, connection)
        self.connections.add(connection)
        self._services.metrics.connections.inc()
        try:
            await connection.run()
        finally:
            expiry.cancel()
            self._services.metrics.connections.dec()
            self.connections.discard(connection)
            self._left.set()

    def _login(self, request: web.Request) -> Account | web.Response:
        metrics = self._services.metrics
        token = bearer_token(request)
        if token is None:
            metrics.login_failures.labels("missing").inc()
            return _refusal(
                metrics, 401, "token", Code.TOKEN_MISSING, "send the account token as Authorization: Bearer"
            )
        now, address = time.monotonic(), request.remote or ""
        claimed = claimed_account(token)
        locked = self._lockouts.locked_for(claimed, address, now)
        if locked:
            message = "the account is locked for this address after failed logins; wait, then log in with a new token"
            return _refusal(metrics, 423, "locked", Code.ACCOUNT_LOCKED, message, math.ceil(locked))
        try:
            account = self._verifier.verify(token)
        except TokenError as error:
            metrics.login_failures.labels(error.reason).inc()
            # A token without a name locks nobody.
            if error.claimed and self._lockouts.failed(error.claimed, address, now):
                metrics.lockouts.inc()
                _logger.warning("an account was locked", extra={"account": error.claimed, "address": address})
            return _refusal(metrics, 401, "token", Code.TOKEN_INVALID, str(error))
        self._lockouts.succeeded(account.name, address)
        return account


def bearer_token(request: web.Request) -> str | None:
    """Return the token of an upgrade request.

    A browser cannot set a header on a WebSocket; it offers the token as a subprotocol beside the real one.
    """
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for offered in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(","):
        if offered.strip().startswith(BEARER_SUBPROTOCOL):
            return offered.strip().removeprefix(BEARER_SUBPROTOCOL)
    return None


def _at_expiry(account: Account, connection: Connection) -> asyncio.TimerHandle:
    # The loop refuses timers of centuries; nobody stays connected for a year.
    delay = min(max(0.0, seconds_left(account)), 31_536_000.0)
    return asyncio.get_running_loop().call_later(
        delay, connection.end, Close.TOKEN_EXPIRED, "the token has expired; connect with a new one"
    )


def _refusal(
    metrics: Metrics, status: int, outcome: str, code: Code, message: str, retry_after: int | None = None
) -> web.Response:
    metrics.connects.labels(outcome).inc()
    headers = {} if retry_after is None else {hdrs.RETRY_AFTER: str(retry_after)}
    return web.json_response({"code": code.value, "message": message}, status=status, headers=headers)
