"""How rings of keys are drawn: a matrix of regions and versions, and the ledger as a list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roadstead.cli.output import printable
from roadstead.cli.rings import Holding, RegionLine, RingRow, VersionRow, WaitLine
from roadstead.cli.tables import plain_table, state, words

FIXED_WIDTH = 30
COLUMN_WIDTH = 14
FEWEST_COLUMNS = 3
MINUTE, HOUR, DAY = 60, 3600, 86400

GLYPHS = {
    Holding.ABSENT: "·",
    Holding.HELD: "○",
    Holding.WAITED_FOR: "◐",
    Holding.READ: "●",
    Holding.WRITTEN: "◆",
}
LETTERS = {
    Holding.ABSENT: "-",
    Holding.HELD: "o",
    Holding.WAITED_FOR: "?",
    Holding.READ: "r",
    Holding.WRITTEN: "W",
}
MEANINGS = {
    Holding.ABSENT: "not there",
    Holding.HELD: "there",
    Holding.WAITED_FOR: "there, not proved by every pod",
    Holding.READ: "every pod reads it",
    Holding.WRITTEN: "every pod writes with it",
}
_COLOURS = {Holding.WAITED_FOR: "yellow", Holding.READ: "green", Holding.WRITTEN: "green"}


def rings(rows: Sequence[RingRow], now: datetime) -> RenderableType:
    """All rings, a line each."""
    if not rows:
        return Text("No rings of keys.")
    table = plain_table("RING", "READY", "PHASE", "PRIMARY", "AGE", "COMING", "NEXT", "PROVED", "WAITS FOR")
    for row in rows:
        table.add_row(
            words(row.label),
            state(row.ready),
            state(row.phase),
            str(row.primary or "-"),
            _age(row.primary_since, now),
            str(row.coming or "-"),
            _next(row, now),
            words(" ".join(f"{region.name} {region.proved}/{region.consumers}" for region in row.regions)),
            words(", ".join(dict.fromkeys(_short(wait) for wait in row.waits)) or "-"),
        )
    said = [
        Text(f"{row.label}: {f'{row.reason}: ' if row.reason else ''}{printable(row.message)}")
        for row in rows
        if row.message
    ]
    return Group(table, *said)


def ring(row: RingRow, now: datetime, width: int, *, plain: bool) -> RenderableType:
    """One ring in detail, for a width in characters.

    Args:
        row: the ring.
        now: what ages are counted from.
        width: in characters; the oldest versions are left out when they do not fit.
        plain: letters instead of glyphs.
    """
    head = Table.grid(padding=(0, 2))
    head.add_row("Ring", words(row.label))
    head.add_row("Phase", state(row.phase))
    head.add_row("Ready", state(row.ready, "" if row.ready == "True" else row.reason))
    if row.message:
        head.add_row("", words(row.message))
    head.add_row("Primary", words(_since(row.primary, row.primary_since, now)))
    if row.coming:
        head.add_row("Coming", words(str(row.coming)))
    head.add_row("Next", words(_next(row, now)))
    parts: list[RenderableType] = [head, Text(), *_matrix(row, width, plain=plain)]
    if row.waits:
        waits = plain_table("WAITS FOR", "REGION", "SINCE", "MESSAGE")
        for wait in row.waits:
            waits.add_row(words(wait.reason), words(wait.region), _age(wait.since, now), words(wait.message))
        parts += [Text(), waits]
    return Group(*parts)


def history(row: RingRow, now: datetime) -> RenderableType:
    """The ledger of a ring, newest first."""
    if not row.versions:
        return Text("No versions yet.")
    table = plain_table("VERSION", "PHASE", "SINCE", "AGE", "SLOT", "FINGERPRINT", "WHAT IT IS")
    for version in reversed(row.versions):
        table.add_row(
            str(version.number),
            state(version.phase.value),
            _moment(version.since),
            _age(version.since, now),
            _moment(version.slot),
            words(version.fingerprint or "-"),
            words(version.told),
        )
    return table


def _matrix(row: RingRow, width: int, *, plain: bool) -> list[RenderableType]:
    fitting = max(FEWEST_COLUMNS, (width - FIXED_WIDTH) // COLUMN_WIDTH)
    left_out = max(0, len(row.shown) - fitting)
    table = plain_table("REGION", "PODS", "KEYSET", *(_column(version) for version in row.shown[left_out:]))
    for region in row.regions:
        cells = [_cell(holding, plain=plain) for holding in region.holdings[left_out:]]
        table.add_row(words(region.name), f"{region.proved}/{region.consumers}", f"#{region.generation}", *cells)
    marks = LETTERS if plain else GLYPHS
    used = [holding for holding in Holding if any(holding in region.holdings[left_out:] for region in row.regions)]
    parts: list[RenderableType] = [table]
    if used:
        parts.append(Text("   ".join(f"{marks[holding]} {MEANINGS[holding]}" for holding in used), style="dim"))
    if left_out:
        parts.append(Text(_older(row, left_out)))
    parts += [
        Text(f"{region.name}: excluded; rotations do not wait for it") for region in row.regions if region.excluded
    ]
    parts += [Text(f"{region.name}: {printable(region.message)}") for region in row.regions if _is_news(row, region)]
    return parts


def _is_news(row: RingRow, region: RegionLine) -> bool:
    """Whether what is said of a region is not among the waits, which are all listed."""
    return bool(region.message) and region.message not in {wait.message for wait in row.waits}


def _older(row: RingRow, left_out: int) -> str:
    """One line for the versions that do not fit."""
    first, last = row.shown[0].number, row.shown[left_out - 1].number
    missing = [region.name for region in row.regions if Holding.ABSENT in region.holdings[:left_out]]
    where = f"not all of them are in {', '.join(missing)}" if missing else "every region has them"
    return f"{left_out} older versions ({first} to {last}) do not fit here; {where}"


def _column(version: VersionRow) -> str:
    return f"{version.number} {version.phase}"


def _cell(holding: Holding, *, plain: bool) -> Text:
    return Text((LETTERS if plain else GLYPHS)[holding], style=_COLOURS.get(holding, ""))


def _short(wait: WaitLine) -> str:
    return f"{wait.reason}: {wait.region}" if wait.region else wait.reason


def _since(number: int, since: datetime | None, now: datetime) -> str:
    if not number:
        return "none yet"
    return f"{number}, since {_moment(since)} ({_age(since, now)})"


def _next(row: RingRow, now: datetime) -> str:
    if row.next is None:
        return "suspended" if row.schedule == "Suspended" else "-"
    seconds = (row.next - now).total_seconds()
    when = f"in {_span(seconds)}" if seconds > 0 else "due"
    return f"{_moment(row.next)} ({when})"


def _moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if value is not None else "-"


def _age(since: datetime | None, now: datetime) -> str:
    return "-" if since is None else _span((now - since).total_seconds())


def _span(seconds: float) -> str:
    """A duration as kubectl writes ages: two units at most."""
    left = max(0, int(seconds))
    if left < 2 * MINUTE:
        return f"{left}s"
    if left < 2 * HOUR:
        return f"{left // MINUTE}m"
    if left < 2 * DAY:
        return f"{left // HOUR}h{left % HOUR // MINUTE}m"
    return f"{left // DAY}d{left % DAY // HOUR}h"
