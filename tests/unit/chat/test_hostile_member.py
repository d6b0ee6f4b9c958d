"""What a hostile or broken member answers must not keep a status from being written."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.api.chatservice import ChatServiceStatus
from roadstead.api.parse import is_status_readable
from roadstead.kernel.store import project_workload
from unit.chat.test_status import Told, outcome


def deployment(**status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1, **status}}


@pytest.mark.parametrize("count", [2**31, 3_000_000_000, 2**32 - 1])
def test_counts_that_no_api_server_gives(count: int) -> None:
    """One region's answer must not make the status of the whole service, all its regions, unwritable."""
    told = Told().running()
    hostile = project_workload(deployment(readyReplicas=count, replicas=count))
    told.passed(outcome("hkg", workload=hostile), outcome("sgp"))
    assert is_status_readable(ChatServiceStatus, {"status": told.written}), "the API server refuses it as well"
