"""The proxy in a thread of its own, for tests that start processes and wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from faults.proxy import Cluster, Proxy

START_SECONDS = 30.0


@contextlib.contextmanager
def proxied(cluster: Cluster) -> Iterator[Proxy]:
    """A running proxy in front of ``cluster``; what it is told from here takes effect with the next request."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True, name="proxy")
    thread.start()
    proxy = Proxy(cluster)
    try:
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(START_SECONDS)
        try:
            yield proxy
        finally:
            asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)
        loop.close()
