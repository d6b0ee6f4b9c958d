from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from integration.workloads.relays import Clients, Site
from integration.workloads.tls_pairs import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> Iterator[Site]:
    site = Site(tmp_path, authority)
    yield site
    site.close()


@pytest_asyncio.fixture
async def clients(site: Site) -> AsyncIterator[Clients]:
    clients = Clients(site)
    yield clients
    await clients.close()
