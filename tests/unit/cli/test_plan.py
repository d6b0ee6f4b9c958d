from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from roadstead.admission.rules import ServiceFacts
from roadstead.api.chatservice import RolloutPhase
from roadstead.api.conditions import Reason
from roadstead.api.parse import parse
from roadstead.chat.placement import Placement, Verdict
from roadstead.cli.app import app
from roadstead.cli.draft import refusals
from roadstead.cli.plan import Action, Change, Plan, RegionPlan, as_data, told
from roadstead.cli.rehearsal import Rehearsal, Step
from specs import SAMPLES, chat, region

PLAN = Plan(
    service="chat/advisers",
    exists=True,
    revision="2222222222",
    present="1111111111",
    warnings=("spec.image is x",),
    placements=(
        Placement("hkg", Verdict.PLACED, Reason.PLACED),
        Placement("singapore", Verdict.AWAY, Reason.REGION_UNREACHABLE, "region singapore cannot be reached"),
    ),
    rehearsal=Rehearsal(
        steps=(Step(timedelta(), ("hkg",), "2222222222", first=False),),
        ends_with={"hkg": "2222222222", "singapore": "1111111111"},
        phase=RolloutPhase.COMPLETE,
        waiting="waiting for singapore to be reachable again",
        took=timedelta(seconds=60),
    ),
    regions=(
        RegionPlan(
            "hkg",
            "2222222222",
            "3 pods",
            (
                Change("Service chat/advisers-hkg", Action.KEEP),
                Change("Deployment chat/advisers-hkg", Action.UPDATE, "--- live/x\n+++ planned/x\n@@ -1 +1 @@\n-a\n+b"),
                Change("Secret chat/advisers-hkg-tls", Action.CONFLICT, message="exists and is not ours"),
            ),
        ),
        RegionPlan("singapore", note="not compared"),
    ),
)


def test_after_a_rollback_the_plan_says_why_the_regions_are_not_as_the_spec_asks() -> None:
    rehearsal = Rehearsal(
        steps=(),
        ends_with={"hkg": "1111111111", "sgp": "1111111111"},
        phase=RolloutPhase.ROLLED_BACK,
        waiting="",
        took=timedelta(),
        message="region hkg is not ready with revision 2222222222 after 10m",
    )
    lines = list(told(replace(PLAN, rehearsal=rehearsal)))
    assert lines[lines.index("ROLLOUT: no region gets another revision (2222222222)") :][1:3] == [
        "  this revision failed and was rolled back; it stays so until spec changes, or is tried again: hkg at "
        "1111111111, sgp at 1111111111",
        "  region hkg is not ready with revision 2222222222 after 10m",
    ]


def test_a_plan_is_told_in_order() -> None:
    assert "\n".join(told(PLAN)) == (
        """\
ChatService chat/advisers

WARNINGS
  spec.image is x

PLACEMENT
  hkg        Placed   3 pods
  singapore  Away     RegionUnreachable: region singapore cannot be reached

ROLLOUT of revision 2222222222, the times if every region is ready at once
  1. at once: hkg (revision 2222222222)
  then Complete, 1m from now at the earliest; waiting for singapore to be reachable again

REGION hkg: 1 to update, 1 in conflict, 1 as they should be
  update   Deployment chat/advisers-hkg
--- live/x
+++ planned/x
@@ -1 +1 @@
-a
+b
  conflict Secret chat/advisers-hkg-tls: exists and is not ours

REGION singapore: nothing is made
  not compared"""
    )
    assert not any(line.startswith(("---", "+", "@@")) for line in told(PLAN, summary=True))


def test_a_plan_is_data() -> None:
    data = as_data(PLAN)
    assert json.loads(json.dumps(data)) == data
    assert data["changes"] == 1 and data["rollout"]["leastSeconds"] == 60
    assert PLAN.obstructed  # by the conflict


def run(*arguments: str, stdin: Any = None, code: int = 0) -> Result:
    text = stdin if stdin is None or isinstance(stdin, str) else yaml.safe_dump_all(stdin)
    result = CliRunner().invoke(app, ["explain-plan", "--offline", *arguments], input=text)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_offline_tells_placement_order_and_objects() -> None:
    out = run("-", stdin=[chat(), region("hkg"), region("sin", spec__jurisdiction="SG")]).stdout
    assert "hkg  Placed   2 pods" in out and "1. at once: hkg, sin (first install)" in out
    assert "unknown  Deployment default/hello-sin" in out and "not compared: --offline" in out


def test_offline_says_what_residency_forbids() -> None:
    files = [chat(spec__residency={"jurisdictions": ["HK"]}), region("hkg"), region("sin", spec__jurisdiction="SG")]
    result = run("-", "-o", "json", stdin=files, code=1)
    [plan] = json.loads(result.stdout)["items"]
    assert any("lies in SG" in refusal for refusal in plan["refusals"])


def test_offline_knows_only_the_regions_in_the_file() -> None:
    result = run("-", stdin=[chat(), region("hkg")], code=1)
    assert "sin  Refused  RegionNotFound" in result.stdout


def test_a_broken_spec_is_refused_with_every_problem() -> None:
    out = run("-", stdin=[chat(spec__replicas=-1, spec__x=1)], code=1).stdout
    assert "REFUSED" in out and "spec.replicas is -1" in out and "spec.x is 1, a field that does not exist" in out


def test_a_region_that_was_given_up_in_the_hub_is_given_up_for_a_manifest_too() -> None:
    hub = chat(spec__topology__regions=[{"name": "hkg"}])
    hub["status"] = {"regions": [{"name": "hkg", "phase": "Ready", "readyReplicas": 2, "stage": "Settled"}]}
    file = chat(spec__topology__regions=[{"name": "sgp"}], metadata__annotations={"example.com/team": "chat"})
    facts = ServiceFacts({name: parse("Region", region(name)) for name in ("hkg", "sgp")})
    [refusal], _ = refusals(file, hub, facts)
    assert "annotate the service with roadstead.dev/abandon=hkg" in refusal
    hub["metadata"]["annotations"] = {"roadstead.dev/abandon": "hkg"}
    assert refusals(file, hub, facts)[0] == []


def test_a_standby_is_moved_before_the_primary_in_a_sample(tmp_path: Path) -> None:
    names = ("chatservice-active-passive", "region-hkg", "region-kln")
    file = tmp_path / "all.yaml"
    bodies = [yaml.safe_load((SAMPLES / f"{name}.yaml").read_text()) for name in names]
    del bodies[0]["spec"]["autoscaling"]["peaks"]  # one of them may be now
    file.write_text(yaml.safe_dump_all(bodies))
    [plan] = json.loads(run(str(file), "-o", "json").stdout)["items"]
    assert {entry["name"] for entry in plan["regions"]} == {"hkg", "kln"}
    assert plan["regions"][0]["pods"] == "3 to 30 pods"


@pytest.mark.parametrize(
    ("target", "stdin", "code", "words"),
    [
        pytest.param("advisers", None, 2, "is no file", id="a name"),
        pytest.param("none.yaml", None, 2, "No such file", id="no such file"),
        pytest.param("-", "a: [", 2, "not YAML", id="no YAML"),
        pytest.param("-", "a: 1", 2, "holds no ChatService", id="no service"),
        pytest.param("-", "", 2, "holds no ChatService", id="nothing"),
        pytest.param(
            "-", "{apiVersion: roadstead.dev/v1alpha1, kind: Region}", 1, "metadata.name", id="a broken region"
        ),
        pytest.param("-", "{apiVersion: roadstead.dev/v1alpha1, kind: ChatService}", 1, "metadata.name", id="no spec"),
        pytest.param("-", "{kind: ChatService, metadata: 7, spec: {tls: 3}}", 1, "apiVersion", id="nonsense"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_line(target: str, stdin: str | None, code: int, words: str) -> None:
    result = run(target, stdin=stdin or "", code=code)
    assert words in result.output
