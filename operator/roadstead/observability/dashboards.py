"""Writes the dashboards as Grafana reads them: ``python -m roadstead.observability.dashboards ROOT``.

The builders are those of grafana-foundation-sdk, which is needed to write them and not to run the operator.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DataTransformerConfig
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from roadstead.observability.queries import BOARDS, Board, Panel

FOLDER = "charts/roadstead/dashboards"
HEIGHT = 7
MARK = "python -m roadstead.observability.dashboards"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def build(board: Board) -> dashboard.Dashboard:
    """The builder of one dashboard; the data source is a variable, so that it fits any Grafana."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["roadstead"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Data source"))
    )
    for panel in board.panels:
        builder = builder.with_panel(_panel(panel))
    return builder


def _panel(panel: Panel) -> timeseries.Panel | table.Panel:
    return _graph(panel) if panel.matrix is None else _matrix(panel, *panel.matrix)


def _graph(panel: Panel) -> timeseries.Panel:
    builder = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .span(panel.width)
        .height(HEIGHT)
    )
    for query in panel.queries:
        builder = builder.with_target(
            prometheus.Dataquery().expr(query.expression).legend_format(query.legend).datasource(_SOURCE)
        )
    return builder


def _matrix(panel: Panel, row: str, column: str) -> table.Panel:
    options = {"rowField": row, "columnField": column, "valueField": "Value"}
    builder = (
        table.Panel()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .span(panel.width)
        .height(HEIGHT)
        .with_transformation(DataTransformerConfig(id_val="groupingToMatrix", options=options))
    )
    for query in panel.queries:
        asked = prometheus.Dataquery().expr(query.expression).instant().format(PromQueryFormat.TABLE)
        builder = builder.with_target(asked.datasource(_SOURCE))
    return builder


def text(board: Board) -> str:
    """A dashboard as its file has it; the first line names the generator."""
    body = JSONEncoder(sort_keys=True, indent=2).encode(build(board).build())
    return f'{{"__comment": "Written by {MARK}; do not edit",{body[1:]}\n'


def write(root: Path) -> None:
    """Write every dashboard below a repository's root."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        content = text(board)
        json.loads(content)
        (folder / f"{board.uid}.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
