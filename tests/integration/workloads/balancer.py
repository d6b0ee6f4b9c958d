"""What a Kubernetes Service is to a client: one address, and any of the living replicas behind it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence

from integration.workloads.relays import Relay


class Balancer:
    """Passes TCP connections on, in turn; a replica that refuses is passed over. It never looks inside."""

    def __init__(self, relays: Sequence[Relay]) -> None:
        self._turns = itertools.cycle(relays)
        self._count = len(relays)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"wss://localhost:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            for relay in itertools.islice(self._turns, self._count):
                with contextlib.suppress(OSError):
                    far = await asyncio.open_connection("127.0.0.1", relay.port)
                    await asyncio.gather(_copy(reader, far[1]), _copy(far[0], writer))
                    return
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(task)
            writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
