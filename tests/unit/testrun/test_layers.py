from __future__ import annotations

import pytest

from testrun import layers


@pytest.mark.parametrize(
    ("only", "fast", "expected"),
    [
        ([], False, ["static", "unit", "property", "integration", "faults", "e2e"]),
        ([], True, ["static", "unit", "property"]),
        (["faults", "unit"], False, ["unit", "faults"]),
        (["faults"], True, []),
    ],
)
def test_which_layers_run(only: list[str], fast: bool, expected: list[str]) -> None:
    assert [layer.name for layer in layers.chosen(only, fast=fast)] == expected


def test_only_layers_with_nodes_need_docker() -> None:
    stopped = {layer.name for layer in layers.LAYERS if layers.obstacle(layer, docker=lambda: False)}
    assert stopped == {"e2e"}
    assert not [layer for layer in layers.LAYERS if layers.obstacle(layer, docker=lambda: True)]
