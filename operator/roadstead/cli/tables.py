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
    "Idle": "green",
    "Primary": "green",
    "True": "green",
    "Done": "green",
    "Approved": "yellow",
    "Executing": "yellow",
    "Expired": "red",
    "Progressing": "yellow",
    "Rotating": "yellow",
    "Published": "yellow",
    "Superseded": "yellow",
    "Suspended": "yellow",
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
    "Blocked": "red",
    "Compromised": "red",
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
    head.add_row("Service", words(row.label))
    head.add_row("Image", words(row.image))
    if row.runs not in ("", row.image):
        head.add_row("Runs", words(row.runs))
    head.add_row("Ready", state(row.ready, row.reason))
    head.add_row("Rollout", _progress(row.rollout))
    if row.rollout.message:
        head.add_row("", words(row.rollout.message))
    if row.peaks:
        head.add_row("Peaks", words(", ".join(row.peaks)))
    table = plain_table("REGION", "PHASE", "PODS", "REVISION", "ROLE", "MESSAGE")
    for cell in row.regions:
        table.add_row(
            words(cell.region),
            state(cell.phase),
            cell.replicas,
            _revision(cell.revision),
            words(cell.role),
            words(cell.message),
        )
    conditions = plain_table("CONDITION", "STATUS", "REASON", "MESSAGE")
    for type_, status, reason, message in row.conditions:
        conditions.add_row(words(type_), words(status), words(reason), words(message))
    return Group(head, Text(), table, Text(), conditions)


def regions(rows: Sequence[RegionRow]) -> RenderableType:
    """All regions."""
    if not rows:
        return Text("No regions; see roadstead region add --help.")
    table = plain_table("REGION", "PHASE", "LAW", "ZONES", "CLUSTER", "VERSION", "NODES", "CPU", "MEMORY", "SERVICES")
    for row in rows:
        table.add_row(
            words(row.name),
            state(row.phase),
            words(row.jurisdiction),
            words(",".join(row.zones)),
            row.cluster,
            words(row.version),
            row.nodes,
            row.cpu,
            row.memory,
            str(row.services),
        )
    return Group(table, *(Text(f"{row.name}: {printable(row.message)}") for row in rows if row.message))


def _matrix(rows: Sequence[ServiceRow], regions: Sequence[str]) -> RenderableType:
    table = plain_table("SERVICE", "READY", *(_heading(region) for region in regions), "ROLLOUT")
    for row in rows:
        cells = {cell.region: cell for cell in row.regions}
        table.add_row(
            words(row.label),
            state(row.ready),
            *(_cell(cells.get(region)) for region in regions),
            _progress(row.rollout),
        )
    return Group(table, *_reasons(rows))


def _list(rows: Sequence[ServiceRow]) -> RenderableType:
    table = plain_table("SERVICE", "READY", "REGION", "PHASE", "PODS", "REVISION", "ROLE", "ROLLOUT")
    for row in rows:
        for index, cell in enumerate(row.regions):
            first = index == 0
            table.add_row(
                words(row.label) if first else "",
                state(row.ready) if first else "",
                words(cell.region),
                state(cell.phase),
                cell.replicas,
                _revision(cell.revision),
                words(cell.role),
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


def plain_table(*headings: str) -> Table:
    """A table without lines, whose columns are as wide as they need to be."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _heading(region: str) -> str:
    return printable(region).upper()


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("-")
    text = state(cell.phase)
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
    text.append_text(state(progress.phase))
    if progress.going and progress.region:
        text.append(f" {progress.region}")
    return text


def state(word: str, detail: str = "") -> Text:
    """A state in its colour, with what makes it so."""
    text = Text(printable(word), style=_COLOURS.get(word, ""))
    if detail and detail != word:
        text.append(f" ({printable(detail)})", style="default")
    return text


def _revision(hash_: str) -> str:
    return hash_[:REVISION_SHOWN]


def words(value: str) -> Text:
    """Text from a cluster."""
    return Text(printable(value))
