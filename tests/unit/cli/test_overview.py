from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console, RenderableType

from roadstead.cli import overview, tables
from specs import Body, chat, region


def text(renderable: RenderableType, width: int = 140) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    moment = "2026-11-22T12:00:00Z"
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": moment}


def entry(name: str, phase: str = "Ready", ready: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "phase": phase,
        "readyReplicas": ready,
        "desiredReplicas": 2,
        "revision": "2cd832c8d5",
        **more,
    }


def service(name: str = "hello", *conditions: dict[str, Any], observed: int = 3, **status: Any) -> Body:
    body = chat(name, "chat")
    body["metadata"] |= {"generation": 3, "uid": name}
    body["status"] = {
        "observedGeneration": observed,
        "revision": "2cd832c8d5",
        "conditions": list(conditions) or [condition("Ready", "True", "Ready", "all is well")],
        "regions": [entry("hkg"), entry("sin")],
        "rollout": {"phase": "Complete", "revision": "2cd832c8d5"},
        **status,
    }
    return body


def rolling() -> Body:
    return service(
        "rolling",
        condition("Ready", "False", "Progressing", "rolling out"),
        regions=[entry("hkg", "Baking"), entry("sin", role="Standby")],
        rollout={"phase": "Baking", "region": "hkg", "regionsDone": 1, "regionsTotal": 2, "revision": "2cd832c8d5"},
    )


def test_the_matrix() -> None:
    rows = [overview.service_row(body) for body in (service(), rolling(), chat("new", "chat"))]
    assert text(tables.services(rows, 140)) == (
        """\
SERVICE       READY    HKG                 SIN                        ROLLOUT
chat/hello    True     Ready 2/2 2cd832c   Ready 2/2 2cd832c          Complete
chat/rolling  False    Baking 2/2 2cd832c  Ready 2/2 2cd832c Standby  [#####.....] 1/2 Baking hkg
chat/new      Unknown  Pending 0/0         Pending 0/0                -
chat/rolling: Progressing: rolling out
chat/new: the operator has not seen this version of the object yet; is it running?"""
    )


def test_a_narrow_terminal_gets_a_list() -> None:
    assert text(tables.services([overview.service_row(rolling())], 100), 100) == (
        """\
SERVICE       READY  REGION  PHASE   PODS  REVISION  ROLE     ROLLOUT
chat/rolling  False  hkg     Baking  2/2   2cd832c            [#####.....] 1/2 Baking hkg
                     sin     Ready   2/2   2cd832c   Standby
chat/rolling: Progressing: rolling out"""
    )


def test_one_service_in_detail() -> None:
    shown = text(tables.service(overview.service_row(rolling())))
    assert "Image    registry.example/roadstead-chat:0.1.0" in shown
    assert "CONDITION  STATUS  REASON       MESSAGE" in shown


def test_a_spec_that_the_operator_has_not_seen_is_unknown_whatever_it_said_before() -> None:
    row = overview.service_row(service(observed=2))
    assert row.ready == "Unknown" and not row.stalled and not overview.all_ready([row])


def test_stalled_counts_only_for_what_was_seen() -> None:
    conditions = condition("Ready", "False", "InvalidSpec", "spec.x"), condition("Stalled", "True", "InvalidSpec")
    assert overview.service_row(service("a", *conditions)).stalled
    assert not overview.service_row(service("a", *conditions, observed=2)).stalled


def test_a_deletion_is_never_ready() -> None:
    body = service()
    body["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    row = overview.service_row(body)
    assert (row.ready, row.reason) == ("False", "Deleting")


def test_a_region_that_is_left_is_shown_too() -> None:
    row = overview.service_row(service(regions=[entry("hkg"), entry("old", "Removing")]))
    assert [(cell.region, cell.phase) for cell in row.regions] == [
        ("hkg", "Ready"),
        ("sin", "Pending"),
        ("old", "Removing"),
    ]


def test_a_status_of_another_version_is_no_traceback() -> None:
    body = service(regions="what?")
    assert overview.service_row(body).ready == "Unknown"


def test_nothing_is_not_ready() -> None:
    assert not overview.all_ready([])
    assert text(tables.services([], 80)) == "No services."


def test_regions() -> None:
    body = region("hkg", spec__zones=["a", "b"])
    body["metadata"]["generation"] = 1
    body["status"] = {
        "observedGeneration": 1,
        "phase": "Unreachable",
        "version": "v1.36.3",
        "capacity": {"nodes": 3, "readyNodes": 2, "cpu": "12", "memory": "48Gi"},
        "services": 4,
        "conditions": [condition("Ready", "False", "Unreachable", "hkg does not answer")],
    }
    rows = [overview.region_row(body), overview.region_row(region("new"))]
    assert text(tables.regions(rows)) == (
        """\
REGION  PHASE        LAW  ZONES  CLUSTER  VERSION  NODES  CPU  MEMORY  SERVICES
hkg     Unreachable  HK   a,b    hub      v1.36.3  2/3    12   48Gi    4
new     Pending      HK          hub               0/0    0    0       0
hkg: hkg does not answer
new: the operator has not seen this version of the object yet; is it running?"""
    )
    assert overview.regions_as_data(rows)[0]["zones"] == ["a", "b"]


def test_words_of_a_cluster_do_not_move_the_cursor() -> None:
    body = service("a", condition("Ready", "False", "Refused", "\x1b[2Jgone"))
    assert "\x1b" not in text(tables.services([overview.service_row(body)], 140))
    assert "\x1b" not in text(tables.service(overview.service_row(body)))


def test_the_image_that_runs_is_told_beside_the_one_that_is_asked_for() -> None:
    same = overview.service_row(service(image="registry.example/roadstead-chat:1.4.0"))
    assert "Runs" not in text(tables.service(replace(same, image=same.runs)))
    rolled_back = replace(same, image="registry.example/roadstead-chat:2")
    shown = text(tables.service(rolled_back))
    assert "Image    registry.example/roadstead-chat:2" in shown
    assert "Runs     registry.example/roadstead-chat:1.4.0" in shown
