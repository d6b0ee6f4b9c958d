"""How states are drawn: a matrix of services and regions while it fits, a list of both when it does not."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roadstead.cli.output import printable
from roadstead.cli.overview import Cell, Progress, RegionRow, ServiceRow

REVISION_SHOWN = 7
"""Characters of a revision's hash that are shown."""
CELL_WIDTH = 26
FIXED_WIDTH = 60
BAR_WIDTH = 10

_COLOURS = {
    "Ready": "green",
    "Healthy": "green",
    "Complete": "green",
    "True": "green",
    "Progressing": "yellow",
    "Baking": "yellow",
    "Pending": "yellow",
    "RollingBack": "yellow",
    "Paused": "yellow",
    "Cordoned": "yellow",
    "Suspect": "yellow",
    "Removing": "yellow",
    "Unknown": "yellow",
    "RolledBack": "red",
    "Degraded": "red",
    "Failed": "red",
    "Refused": "red",
    "Unreachable": "red",
    "False": "red",
}


def services(rows: Sequence[ServiceRow], width: int) -> RenderableType:
    """All services, for a width in characters."""
    if not rows:
        return Text("No services.")
    regions = list(dict.fromkeys(cell.region for row in rows for cell in row.regions))
    if FIXED_WIDTH + CELL_WIDTH * len(regions) <= width:
        return _matrix(rows, regions)
    return _list(rows)


def service(row: ServiceRow) -> RenderableType:
    """One service in detail."""
    head = Table.grid(padding=(0, 2))
    head.add_row("Service", _text(row.label))
    head.add_row("Image", _text(row.image))
    if row.runs not in ("", row.image):
        head.add_row("Runs", _text(row.runs))
    head.add_row("Ready", _state(row.ready, row.reason))
    head.add_row("Rollout", _progress(row.rollout))
    if row.rollout.message:
        head.add_row("", _text(row.rollout.message))
    if row.peaks:
        head.add_row("Peaks", _text(", ".join(row.peaks)))
    table = _table("REGION", "PHASE", "PODS", "REVISION", "ROLE", "MESSAGE")
    for cell in row.regions:
        table.add_row(
            _text(cell.region),
            _state(cell.phase),
            cell.replicas,
            _revision(cell.revision),
            _text(cell.role),
            _text(cell.message),
        )
    conditions = _table("CONDITION", "STATUS", "REASON", "MESSAGE")
    for type_, status, reason, message in row.conditions:
        conditions.add_row(_text(type_), _text(status), _text(reason), _text(message))
    return Group(head, Text(), table, Text(), conditions)


def regions(rows: Sequence[RegionRow]) -> RenderableType:
    """All regions."""
    if not rows:
        return Text("No regions; see roadstead region add --help.")
    table = _table("REGION", "PHASE", "LAW", "ZONES", "CLUSTER", "VERSION", "NODES", "CPU", "MEMORY", "SERVICES")
    for row in rows:
        table.add_row(
            _text(row.name),
            _state(row.phase),
            _text(row.jurisdiction),
            _text(",".join(row.zones)),
            row.cluster,
            _text(row.version),
            row.nodes,
            row.cpu,
            row.memory,
            str(row.services),
        )
    return Group(table, *(Text(f"{row.name}: {printable(row.message)}") for row in rows if row.message))


def _matrix(rows: Sequence[ServiceRow], regions: Sequence[str]) -> RenderableType:
    table = _table("SERVICE", "READY", *(_heading(region) for region in regions), "ROLLOUT")
    for row in rows:
        cells = {cell.region: cell for cell in row.regions}
        table.add_row(
            _text(row.label),
            _state(row.ready),
            *(_cell(cells.get(region)) for region in regions),
            _progress(row.rollout),
        )
    return Group(table, *_reasons(rows))


def _list(rows: Sequence[ServiceRow]) -> RenderableType:
    table = _table("SERVICE", "READY", "REGION", "PHASE", "PODS", "REVISION", "ROLE", "ROLLOUT")
    for row in rows:
        for index, cell in enumerate(row.regions):
            first = index == 0
            table.add_row(
                _text(row.label) if first else "",
                _state(row.ready) if first else "",
                _text(cell.region),
                _state(cell.phase),
                cell.replicas,
                _revision(cell.revision),
                _text(cell.role),
                _progress(row.rollout) if first else "",
            )
    return Group(table, *_reasons(rows))


def _reasons(rows: Sequence[ServiceRow]) -> list[RenderableType]:
    """Why what is not ready is not."""
    return [
        Text(f"{row.label}: {f'{row.reason}: ' if row.reason else ''}{printable(row.message)}")
        for row in rows
        if row.message
    ]


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _heading(region: str) -> str:
    return printable(region).upper()


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("-")
    text = _state(cell.phase)
    text.append(f" {cell.replicas}")
    if cell.revision:
        text.append(f" {cell.revision[:REVISION_SHOWN]}")
    if cell.role:
        text.append(f" {cell.role}")
    return text


def _progress(progress: Progress) -> Text:
    if not progress.phase:
        return Text("-")
    text = Text()
    if progress.going and progress.total:
        full = BAR_WIDTH * progress.done // progress.total
        text.append(f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] {progress.done}/{progress.total} ")
    text.append_text(_state(progress.phase))
    if progress.going and progress.region:
        text.append(f" {progress.region}")
    return text


def _state(word: str, detail: str = "") -> Text:
    text = Text(printable(word), style=_COLOURS.get(word, ""))
    if detail and detail != word:
        text.append(f" ({printable(detail)})", style="default")
    return text


def _revision(hash_: str) -> str:
    return hash_[:REVISION_SHOWN]


def _text(value: str) -> Text:
    return Text(printable(value))
