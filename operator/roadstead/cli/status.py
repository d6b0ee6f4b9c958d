"""``roadstead status``: one look, or a watch. The API server tells what changes; nothing is polled."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from roadstead.cli import overview, tables
from roadstead.cli.exits import ELSEWHERE, ExitCode, Failure
from roadstead.cli.hub import Access, Hub, connected, everything, no_region
from roadstead.cli.output import Format, console, data, note, unpadded
from roadstead.cli.overview import RegionRow, ServiceRow
from roadstead.kernel.clock import SystemClock
from roadstead.kernel.errors import NotServed
from roadstead.kernel.objects import CHAT_SERVICES, REGIONS, Gvr
from roadstead.kernel.watch import Watcher

REDRAW_INTERVAL = 0.25
"""Seconds between two drawings at least; changes come in bursts."""
LOCAL_LOOK = 1.0
"""Seconds between two looks at how the watch is; no request is made for it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asks."""

    name: str = ""
    namespace: str = ""
    everywhere: bool = False
    regions: bool = False
    watch: bool = False
    until_ready: bool = False
    seconds: float | None = None
    output: Format = Format.TABLE


Rows = list[ServiceRow] | list[RegionRow]


async def report(access: Access, question: Question) -> None:
    """Show what is asked for.

    Raises:
        Failure: no such object; or what is waited for is stalled or does not come in time.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        view = _View(question, hub)
        view.take(await _listed(hub, view))
        if question.name and not view.bodies:
            raise await _not_found(hub, question, view)
        if question.watch:
            await _follow(hub, view)
        else:
            view.print()


async def _not_found(hub: Hub, question: Question, view: _View) -> Failure:
    if question.regions:
        return await no_region(hub, question.name)
    if question.everywhere:
        return Failure(
            f"no namespace has a ChatService {question.name}; roadstead status -A lists all", ExitCode.NOT_FOUND
        )
    message = f"ChatService {view.namespace}/{question.name} does not exist; {ELSEWHERE}"
    return Failure(message, ExitCode.NOT_FOUND)


async def _listed(hub: Hub, view: _View) -> list[dict[str, Any]]:
    try:
        return await everything(hub.client, view.gvr, view.namespace, fields=view.fields)
    except NotServed as error:
        raise Failure(f"{error}; is Roadstead installed in this cluster?", ExitCode.NOT_FOUND) from None


class _View:
    """What is known and shown. It is the sink of the watcher."""

    def __init__(self, question: Question, hub: Hub) -> None:
        self.question = question
        self.gvr: Gvr = REGIONS if question.regions else CHAT_SERVICES
        self.namespace = "" if question.regions or question.everywhere else question.namespace or hub.namespace
        self.fields = f"metadata.name={question.name}" if question.name else ""
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.changed = asyncio.Event()
        self.trouble = ""

    def take(self, bodies: list[dict[str, Any]]) -> None:
        self.bodies = {body["metadata"]["uid"]: body for body in bodies}

    def seen(self, gvr: Gvr, body: Mapping[str, Any], *, moved: bool) -> None:
        del gvr, moved
        self.bodies[body["metadata"]["uid"]] = body
        self.changed.set()

    def gone(self, gvr: Gvr, body: Mapping[str, Any]) -> None:
        del gvr
        self.bodies.pop(body["metadata"]["uid"], None)
        self.changed.set()

    def listed(self, gvr: Gvr, uids: set[str], resource_version: int) -> None:
        del gvr, resource_version
        for uid in self.bodies.keys() - uids:
            del self.bodies[uid]
        self.changed.set()

    def rows(self) -> Rows:
        bodies = sorted(self.bodies.values(), key=lambda b: (b["metadata"].get("namespace", ""), b["metadata"]["name"]))
        if self.question.regions:
            return [overview.region_row(body) for body in bodies]
        return [overview.service_row(body) for body in bodies]

    def drawn(self, width: int) -> RenderableType:
        rows = self.rows()
        if self.question.regions:
            return tables.regions([row for row in rows if isinstance(row, RegionRow)])
        found = [row for row in rows if isinstance(row, ServiceRow)]
        if self.question.name and len(found) == 1:
            return tables.service(found[0])
        return tables.services(found, width)

    def plain(self) -> dict[str, Any]:
        rows = self.rows()
        if self.question.regions:
            return {"regions": overview.regions_as_data(row for row in rows if isinstance(row, RegionRow))}
        return {"services": overview.services_as_data(row for row in rows if isinstance(row, ServiceRow))}

    def print(self) -> None:
        if self.question.output is Format.TABLE:
            out = console()
            with out.capture() as captured:
                out.print(self.drawn(out.width))
            sys.stdout.write(unpadded(captured.get()))
        else:
            data(self.plain(), self.question.output)


async def _follow(hub: Hub, view: _View) -> None:
    question = view.question
    watcher = Watcher(
        hub.client, view.gvr, view, SystemClock(), namespace=view.namespace, fields=view.fields, metadata_only=False
    )
    view.changed.set()
    task = asyncio.create_task(watcher.run())
    try:
        with _screen(view) as draw:
            async with asyncio.timeout(question.seconds):
                while True:
                    await _news(view, watcher)
                    draw()
                    if question.until_ready and _is_over(view):
                        return
                    await asyncio.sleep(REDRAW_INTERVAL)
    except TimeoutError:
        if question.until_ready:
            late = ", ".join(_name(row) for row in view.rows() if row.ready != "True") or "there is nothing"
            raise Failure(f"not Ready in time: {late}", ExitCode.TIMED_OUT) from None
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _news(view: _View, watcher: Watcher) -> None:
    """Wait until something is different, the connection included."""
    while not view.changed.is_set() and watcher.error == view.trouble:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOCAL_LOOK):
                await view.changed.wait()
    view.changed.clear()
    if watcher.error and watcher.error != view.trouble:
        note(f"roadstead: the watch is interrupted and tried again: {watcher.error}")
    view.trouble = watcher.error


def _is_over(view: _View) -> bool:
    rows = view.rows()
    if overview.all_ready(rows):
        return True
    if stuck := overview.stalled(rows):
        message = "; ".join(f"{_name(row)} is stalled: {row.message}" for row in stuck)
        raise Failure(message, ExitCode.FAULTY)
    return False


def _name(row: ServiceRow | RegionRow) -> str:
    return row.label if isinstance(row, ServiceRow) else row.name


@contextlib.contextmanager
def _screen(view: _View) -> Any:
    """Something that draws: in place on a terminal, one after the other elsewhere, and never the same twice."""
    if view.question.output is Format.TABLE and sys.stdout.isatty():
        from rich.live import Live  # noqa: PLC0415

        out = console()
        with Live(view.drawn(out.width), console=out, auto_refresh=False, vertical_overflow="ellipsis") as live:
            yield lambda: live.update(view.drawn(out.width), refresh=True)
        return
    yield _printer(view)


def _printer(view: _View) -> Callable[[], None]:
    last: list[dict[str, Any]] = []

    def draw() -> None:
        plain = view.plain()
        if last == [plain]:
            return
        last[:] = [plain]
        if view.question.output is Format.TABLE:
            view.print()
            sys.stdout.write("\n")
            sys.stdout.flush()
        else:
            data(plain, view.question.output, compact=True)

    return draw
