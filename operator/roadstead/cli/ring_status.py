"""``roadstead keys status`` and ``history``: one look at rings and their ledgers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import RenderableType

from roadstead.cli import ring_tables
from roadstead.cli.exits import ExitCode, Failure
from roadstead.cli.hub import Access, Hub, connected, everything
from roadstead.cli.output import Format, console, data, is_plain, unpadded
from roadstead.cli.rings import RingRow, ring_row, rings_as_data, versions_as_data
from roadstead.kernel.errors import NotServed
from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asks."""

    ring: str = ""
    namespace: str = ""
    everywhere: bool = False
    output: Format = Format.TABLE


async def report(access: Access, question: Question) -> None:
    """Show one ring or all.

    Raises:
        Failure: there is no such ring.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        if question.ring:
            rows = [await ring_of(hub, question.ring, question.namespace)]
        else:
            rows = await _rings(hub, "" if question.everywhere else question.namespace or hub.namespace)
        now = server_now(hub)
    if question.output is not Format.TABLE:
        data({"rings": rings_as_data(rows)}, question.output)
        return
    width = console().width
    if question.ring:
        _show(ring_tables.ring(rows[0], now, width, plain=is_plain()))
    else:
        _show(ring_tables.rings(rows, now))


async def show_history(access: Access, question: Question) -> None:
    """List the versions of a ring.

    Raises:
        Failure: there is no such ring.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        row = await ring_of(hub, question.ring, question.namespace)
        now = server_now(hub)
    if question.output is Format.TABLE:
        _show(ring_tables.history(row, now))
    else:
        data({"versions": versions_as_data(row.versions)}, question.output)


def place_of(hub: Hub, ring: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of a ring, as somebody wrote it."""
    space, _, name = ring.rpartition("/")
    return space or namespace or hub.namespace, name


async def body_of(hub: Hub, ring: str, namespace: str) -> dict[str, Any]:
    """A KeyRing.

    Raises:
        Failure: it does not exist.
    """
    space, name = place_of(hub, ring, namespace)
    try:
        body = await hub.client.find(KEY_RINGS, space, name)
    except NotServed as error:
        raise _not_installed(error) from None
    if body is None:
        cure = "name its namespace with -n NAMESPACE (roadstead keys status -A lists the rings of all)"
        raise Failure(f"KeyRing {space}/{name} does not exist; {cure}", ExitCode.NOT_FOUND)
    return body


async def ring_of(hub: Hub, ring: str, namespace: str) -> RingRow:
    """A ring with its ledger.

    Raises:
        Failure: it does not exist.
    """
    body = await body_of(hub, ring, namespace)
    return ring_row(body, await everything(hub.client, KEY_VERSIONS, body["metadata"]["namespace"]))


def server_now(hub: Hub) -> datetime:
    """The hub's time: what a schedule is judged by. To be asked after the hub has answered something."""
    return datetime.now(UTC) - timedelta(seconds=hub.client.clock_ahead or 0.0)


async def _rings(hub: Hub, namespace: str) -> list[RingRow]:
    try:
        bodies = await everything(hub.client, KEY_RINGS, namespace)
        versions = await everything(hub.client, KEY_VERSIONS, namespace)
    except NotServed as error:
        raise _not_installed(error) from None
    rows = [ring_row(body, versions) for body in bodies]
    return sorted(rows, key=lambda row: (row.namespace, row.name))


def _not_installed(error: NotServed) -> Failure:
    return Failure(f"{error}; is Roadstead installed in this cluster?", ExitCode.NOT_FOUND)


def _show(drawn: RenderableType) -> None:
    out = console()
    with out.capture() as captured:
        out.print(drawn)
    sys.stdout.write(unpadded(captured.get()))
