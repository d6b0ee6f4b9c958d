"""The command line against a real hub, a real member and the real operator with its webhooks."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_cases import BROKEN
from api_key_cases import ring as key_ring
from approvals import APPROVER, REQUESTER, Person, bind
from clusters import eventually, kubectl, kubectl_json, run_kubectl
from integration.cli.fleet import SERVICE, Fleet, actions, edits, manifest, versions
from localkube import binaries, rbac
from localkube.bare import BareCluster
from localoperator import NAMESPACE, Operator
from roadstead.cli.exits import ExitCode
from roadstead.cli.lint import Severity, lint
from specs import Body, chat, edited, samples
from specs import region as region_body

# --- region -----------------------------------------------------------------------------------------------------------


def test_an_added_region_has_the_member_profiles_rights_and_none_of_the_administrators(
    fleet: Fleet, operator: Operator, tmp_path: Path
) -> None:
    secret = kubectl_json(fleet.hub, "-n", NAMESPACE, "get", "secret", "region-hkg")
    file = tmp_path / "kubeconfig"
    file.write_bytes(base64.b64decode(secret["data"]["kubeconfig"]))
    command = [str(binaries.path("kubectl")), f"--kubeconfig={file}", "auth", "whoami", "-o", "json"]
    me = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    user = json.loads(me.stdout)["status"]["userInfo"]["username"]
    assert user == f"system:serviceaccount:{NAMESPACE}:roadstead-member"
    assert "certificate" not in str(yaml.safe_load(file.read_text())["users"])
    stored = kubectl_json(fleet.hub, "get", "region", "hkg", "--show-managed-fields")
    assert stored["spec"]["jurisdiction"] == "HK" and stored["spec"]["zones"] == ["hkg-a", "hkg-b"]
    managers = {entry["manager"] for entry in stored["metadata"]["managedFields"] if not entry.get("subresource")}
    assert managers == {"roadstead-cli"}


def test_a_region_is_not_added_twice_but_gets_new_credentials(fleet: Fleet, operator: Operator) -> None:
    assert "exists; say --replace" in fleet.add_region("hkg", code=ExitCode.REFUSED).stderr
    before = kubectl_json(fleet.hub, "get", "region", "hkg")["spec"]
    fleet.add_region("hkg", "--replace")
    assert kubectl_json(fleet.hub, "get", "region", "hkg")["spec"] == before
    assert "does not exist" in fleet.add_region("other", "--replace", code=ExitCode.NOT_FOUND).stderr


def test_what_admission_refuses_leaves_no_secret_behind(fleet: Fleet, operator: Operator) -> None:
    elsewhere = fleet.add_region("other", "--namespace=default", code=ExitCode.REFUSED)
    assert "not the operator's namespace" in elsewhere.stderr
    assert "region-other" not in kubectl(fleet.hub, "-n", "default", "get", "secrets")


def test_a_dry_run_prints_what_would_be_written_and_writes_nothing(fleet: Fleet, operator: Operator) -> None:
    printed = list(yaml.safe_load_all(fleet.add_region("other", "--dry-run").stdout))
    assert [body["kind"] for body in printed] == ["Secret", "Region"]
    assert "other" not in fleet.regions()


def test_an_address_that_leads_nowhere_is_found_before_anything_is_written(fleet: Fleet, operator: Operator) -> None:
    result = fleet.add_region("other", "--server=https://127.0.0.1:1", code=ExitCode.UNREACHABLE)
    assert "nothing was written" in result.stderr
    assert "region-other" not in kubectl(fleet.hub, "-n", NAMESPACE, "get", "secrets")


def test_two_regions_in_one_cluster_are_warned_about(fleet: Fleet, operator: Operator) -> None:
    assert "this is the cluster of hkg too" in fleet.add_region("twin").stderr
    kubectl(fleet.hub, "delete", "region", "twin")


def test_cordon_and_uncordon(fleet: Fleet, operator: Operator) -> None:
    fleet.run("region", "cordon", "hkg")
    eventually(lambda: fleet.regions()["hkg"]["phase"] == "Cordoned")
    assert "already" in fleet.run("region", "cordon", "hkg").stdout
    fleet.run("region", "uncordon", "hkg")
    eventually(lambda: fleet.regions()["hkg"]["phase"] == "Healthy")
    unknown = fleet.run("region", "cordon", "nowhere", code=ExitCode.NOT_FOUND).stderr
    assert "Region nowhere does not exist; there are: " in unknown and "hkg" in unknown


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_shows_what_runs_where(fleet: Fleet, service: Body) -> None:
    row = next(text for text in fleet.run("status", "-A").stdout.splitlines() if SERVICE in text)
    assert "True" in row and "Ready 2/2" in row and "Complete" in row
    assert "RolledOut" in fleet.run("status", "advisers", "-n", "chat").stdout
    found = json.loads(fleet.run("status", "-n", "chat", "-o", "json").stdout)["services"][0]
    assert found["ready"] == "True" and found["regions"][0]["readyReplicas"] == 2
    assert yaml.safe_load(fleet.run("status", "-n", "chat", "-o", "yaml").stdout)["services"][0] == found
    assert fleet.run("status", "-n", "nowhere").stdout == "No services.\n"
    for command in ("status", "explain-plan"):
        unknown = fleet.run(command, "nobody", "-n", "chat", code=ExitCode.NOT_FOUND).stderr
        assert "ChatService chat/nobody does not exist; name its namespace with -n NAMESPACE" in unknown


def test_a_watch_shows_what_happens_meanwhile_and_ends_at_its_time(fleet: Fleet, service: Body) -> None:
    command = [sys.executable, "-m", "roadstead.cli.app", "status", "-n", "chat", "--watch", "-o", "json"]
    environment = {"KUBECONFIG": str(fleet.hub.kubeconfig), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["services"][0]["regions"][0]["desiredReplicas"] == 2
            kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(manifest(spec__replicas=3)))
            while json.loads(process.stdout.readline())["services"][0]["regions"][0]["readyReplicas"] != 3:
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == ExitCode.INTERRUPTED
        finally:
            process.kill()
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(service))
    fleet.run("status", "-n", "chat", "--until-ready", "--for=30s")
    fleet.run("status", "-n", "chat", "--watch", "--for=500ms")


def test_waiting_ends_at_once_when_nothing_more_will_happen_and_in_time_when_something_might(
    fleet: Fleet, service: Body
) -> None:
    stuck = chat("stuck", "chat", spec__topology__regions=[{"name": "nowhere"}])
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(stuck))
    slow = chat("slow", "chat", spec__topology__regions=[{"name": "hkg"}], spec__tls={"secretName": "not-there"})
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(slow))
    try:
        result = fleet.run("status", "stuck", "-n", "chat", "--until-ready", "--for=30s", code=ExitCode.FAULTY)
        assert "there is no Region nowhere" in result.stderr
        eventually(lambda: "SecretMissing" in fleet.run("status", "slow", "-n", "chat").stdout)
        paused = manifest(spec__rollout={"bakeTime": "1s", "state": "Paused"}, spec__image="registry.example/x:2")
        kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(paused))
        late = fleet.run("status", "advisers", "-n", "chat", "--until-ready", "--for=2s", code=ExitCode.TIMED_OUT)
        assert SERVICE in late.stderr
    finally:
        kubectl(fleet.hub, "-n", "chat", "delete", "chat", "stuck", "slow")
        kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(service))
    fleet.run("status", "advisers", "-n", "chat", "--until-ready", "--for=30s")


# --- explain-plan -----------------------------------------------------------------------------------------------------


def test_what_is_converged_has_no_changes(fleet: Fleet, service: Body) -> None:
    plan = fleet.plan(SERVICE, "--fail-on-changes")
    assert plan["changes"] == 0 and plan["rollout"]["steps"] == [] and plan["warnings"] == []
    assert len(actions(plan, "keep")) == len(plan["regions"][0]["changes"]) >= 8
    assert fleet.plan("-", "--fail-on-changes", stdin=service)["changes"] == 0


def test_hand_edits_show_as_a_diff_and_nothing_is_written(fleet: Fleet, service: Body, operator: Operator) -> None:
    member = fleet.member
    operator.signal(signal.SIGSTOP)  # so that nothing is repaired before it was looked at
    try:
        kubectl(member, "-n", "chat", "set", "image", "deployment/advisers-hkg", "chat=evil:1")
        kubectl(member, "-n", "chat", "delete", "service", "advisers-hkg-peers")
        kubectl(member, "-n", "chat", "label", "serviceaccount", "advisers-hkg", "app.kubernetes.io/component-")
        kubectl(member, "-n", "chat", "annotate", "serviceaccount", "advisers-hkg", "sidecar=welcome")
        before = versions(member)
        plan = fleet.plan("advisers", "-n", "chat", "--fail-on-changes", code=ExitCode.CHANGES)
        assert versions(member) == before
    finally:
        operator.signal(signal.SIGCONT)
    assert list(actions(plan, "create")) == ["Service chat/advisers-hkg-peers"]
    updates = actions(plan, "update")
    assert set(updates) == {"Deployment chat/advisers-hkg", "ServiceAccount chat/advisers-hkg"}
    image = service["spec"]["image"]
    assert edits(updates["Deployment chat/advisers-hkg"]) == ["-        image: evil:1", f"+        image: {image}"]
    assert edits(updates["ServiceAccount chat/advisers-hkg"]) == ["+    app.kubernetes.io/component: relay"]
    eventually(lambda: fleet.plan(SERVICE)["changes"] == 0, what="the operator to repair it all")


def test_what_is_planned_is_what_happens(fleet: Fleet, service: Body) -> None:
    new = manifest(
        spec__image="registry.example/roadstead-chat:0.2.0",
        spec__config={"CHAT_Z": "3"},
        spec__traffic={"serviceAnnotations": {"example.com/a": "1"}},
        spec__replicas=3,
    )
    before = versions(fleet.member)
    plan = fleet.plan("-", stdin=new)
    assert versions(fleet.member) == before
    assert [step["regions"] for step in plan["rollout"]["steps"]] == [["hkg"]]
    assert edits(actions(plan, "update")["Service chat/advisers-hkg"]) == ["-    example.com/b: '2'"]
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(new))
    try:
        fleet.run("status", "-n", "chat", "--until-ready", "--for=60s")
        eventually(lambda: fleet.plan(SERVICE)["changes"] == 0, what="everything that was planned to have happened")
        assert fleet.plan(SERVICE)["revision"] == plan["revision"]
        after = versions(fleet.member)
        written = {name for name in after if before.get(name) != after[name]}
        planned = {*actions(plan, "update"), *actions(plan, "create")}
        assert planned <= written
        # A new revision or body has a new hash annotation, which a diff leaves out; a status moves versions as well.
        assert {name for name in written if name.split()[0] in ("ServiceAccount", "NetworkPolicy")} <= planned
        assert before.keys() - after.keys() == set(actions(plan, "delete"))
    finally:
        kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(service))
        fleet.run("status", "-n", "chat", "--until-ready", "--for=60s")


def test_a_region_that_refuses_is_quoted(fleet: Fleet, service: Body) -> None:
    limits = {"hard": {"services": "2"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": limits}
    kubectl(fleet.member, "-n", "chat", "apply", "-f", "-", stdin=json.dumps(quota))
    try:
        other = json.dumps(manifest(metadata__name="other"))

        def quoted() -> bool:
            result = fleet.run("explain-plan", "-", stdin=other, code=ExitCode.FAULTY)
            return "exceeded quota" in result.stdout

        eventually(quoted)
    finally:
        kubectl(fleet.member, "-n", "chat", "delete", "resourcequota", "none")


def test_a_name_that_is_taken_is_a_conflict(fleet: Fleet, service: Body) -> None:
    kubectl(fleet.member, "-n", "chat", "create", "serviceaccount", "taken-hkg")
    plan = fleet.plan("-", stdin=manifest(metadata__name="taken"), code=ExitCode.FAULTY)
    assert list(actions(plan, "conflict")) == ["ServiceAccount chat/taken-hkg"]


def test_a_namespace_that_the_region_lacks_is_named(fleet: Fleet, service: Body) -> None:
    kubectl(fleet.hub, "create", "namespace", "only-in-hub")
    secret = kubectl_json(fleet.hub, "-n", "chat", "get", "secret", "chat-tls")
    secret["metadata"] = {"name": "chat-tls", "namespace": "only-in-hub"}
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(secret))
    result = fleet.run("explain-plan", "-", stdin=json.dumps(manifest(metadata__namespace="only-in-hub")), code=1)
    assert "refused  Namespace only-in-hub: does not exist in this region's cluster" in result.stdout


def test_what_admission_would_refuse_is_said_before(fleet: Fleet, service: Body) -> None:
    outside = manifest(spec__residency={"jurisdictions": ["SG"]})
    plan = fleet.plan("-", stdin=outside, code=ExitCode.FAULTY)
    assert any("lies in HK, outside of spec.residency" in refusal for refusal in plan["refusals"])
    stored = manifest(spec__storage={"size": "1Gi"})
    plan = fleet.plan("-", stdin=stored, code=ExitCode.FAULTY)
    assert any("spec.storage" in refusal for refusal in plan["refusals"])


def test_without_the_right_to_read_secrets_the_rest_is_shown(fleet: Fleet, service: Body) -> None:
    resources = "chatservices.roadstead.dev,regions.roadstead.dev,namespaces,controllerrevisions"
    kubectl(fleet.hub, "create", "clusterrole", "cli-viewer", "--verb=get,list,watch", f"--resource={resources}")
    viewer = rbac.service_account_kubeconfig(fleet.hub, "default", "viewer")
    who = "--clusterrole=cli-viewer", "--serviceaccount=default:viewer"
    kubectl(fleet.hub, "create", "clusterrolebinding", "cli-viewer", *who)
    plan = eventually(lambda: fleet.plan(SERVICE, hub=viewer))
    [region] = plan["regions"]
    assert f"you may not read Secret {NAMESPACE}/region-hkg" in region["note"]
    assert "Deployment chat/advisers-hkg" in actions(plan, "unknown") and plan["changes"] == 0
    fleet.run("explain-plan", SERVICE, "--fail-on-changes", hub=viewer, code=ExitCode.UNREACHABLE)
    fleet.run("region", "cordon", "hkg", hub=viewer, code=ExitCode.DENIED)
    assert "may not" not in fleet.run("status", "-A", hub=viewer).stderr


def test_a_node_pool_of_the_hub_is_compared_with_the_persons_own_rights(fleet: Fleet, service: Body) -> None:
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(region_body("pool")))
    body = manifest(metadata__name="pooled", spec__topology__regions=[{"name": "pool"}])
    try:
        eventually(lambda: fleet.regions()["pool"]["ready"] == "True")
        assert len(actions(fleet.plan("-", stdin=body), "create", "pool")) >= 8
        kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(body))
        eventually(lambda: fleet.plan("chat/pooled")["changes"] == 0)
        moved = edited(body, {"spec.topology.regions": [{"name": "hkg"}]})
        plan = fleet.plan("-", stdin=moved)
        assert "Deployment chat/pooled-pool" in actions(plan, "delete", "pool")
        assert "Deployment chat/pooled-hkg" in actions(plan, "create", "hkg")
    finally:
        kubectl(fleet.hub, "-n", "chat", "delete", "chat", "pooled", "--ignore-not-found")
        kubectl(fleet.hub, "delete", "region", "pool")


def test_a_region_that_does_not_answer_is_said_and_the_rest_is_shown(fleet: Fleet, service: Body) -> None:
    fleet.member.stop_apiserver()
    try:
        plan = fleet.plan(SERVICE)
        assert "not compared" in plan["regions"][0]["note"] and actions(plan, "unknown")
    finally:
        fleet.member.start_apiserver()
    eventually(lambda: fleet.plan(SERVICE)["regions"][0]["note"] == "", deadline=30)


# --- lint -------------------------------------------------------------------------------------------------------------


def test_lint_refuses_exactly_what_the_hub_refuses(fleet: Fleet, operator: Operator) -> None:
    """Every sample and every broken spec, by the CRDs and the webhooks of a real hub."""
    kubectl(fleet.hub, "create", "namespace", "lint")
    minimal = chat(namespace="lint")
    good = [body for body in samples().values() if body["kind"] == "ChatService"]
    # Lint sees files, not whether a ring that one of them names is there.
    ring = edited(samples()["keyring-full.yaml"], {"metadata.namespace": "lint"})
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(ring))
    bodies = [edited(body, {"metadata.namespace": "lint"}) for body in good]
    bodies += [edited(minimal, edit) for edit, _, _ in BROKEN]
    differing = []
    for body in bodies:
        report = lint([("f", json.dumps(body).encode())], system_namespace=NAMESPACE)
        refused = hub_refuses(fleet.hub, body)
        if refused != bool(report.count(Severity.ERROR)):
            differing.append((body["spec"], refused, [str(finding) for finding in report.findings]))
    assert differing == []


def hub_refuses(hub: BareCluster, body: Body) -> bool:
    done = run_kubectl(hub, "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(body))
    return done.returncode != 0


# --- version ----------------------------------------------------------------------------------------------------------


def test_version_shows_the_leader_and_every_api_server(fleet: Fleet, operator: Operator) -> None:
    found = json.loads(fleet.run("version", "-o", "json").stdout)
    assert found["hub"].startswith("v1.") and found["regions"]["hkg"].startswith("v1.")
    assert found["leaders"]["roadstead-operator"]


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ring(fleet: Fleet, operator: Operator) -> str:
    """A ring at rest in hkg, with one version."""
    body = key_ring(
        "vault", "chat", **{"spec.regions": ["hkg"], "spec.lead": "0s", "spec.soak": "0s", "spec.schedule.jitter": "0s"}
    )
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(body))
    eventually(lambda: ring_status(fleet)["phase"] == "Idle", what="the ring to be at rest")
    return "vault"


def ring_status(fleet: Fleet) -> dict[str, Any]:
    [found] = json.loads(fleet.run("keys", "status", "chat/vault", "-o", "json").stdout)["rings"]
    status: dict[str, Any] = found
    return status


def test_keys_status_shows_regions_and_versions(fleet: Fleet, ring: str) -> None:
    found = ring_status(fleet)
    assert (found["primary"], found["ready"], found["waits"]) == (1, "True", [])
    assert found["regions"][0]["versions"] == {"1": "Held"}
    drawn = fleet.run("keys", "status", ring, "-n", "chat").stdout
    assert "1 Primary" in drawn and drawn.isascii()
    assert "chat/vault" in fleet.run("keys", "status", "-A").stdout
    assert yaml.safe_load(fleet.run("keys", "status", "-n", "chat", "-o", "yaml").stdout)["rings"] == [found]
    for command in ("status", "history"):
        unknown = fleet.run("keys", command, "nobody", "-n", "chat", code=ExitCode.NOT_FOUND).stderr
        assert "KeyRing chat/nobody does not exist; name its namespace with -n NAMESPACE" in unknown


def test_keys_history_lists_the_ledger(fleet: Fleet, ring: str) -> None:
    [version] = json.loads(fleet.run("keys", "history", ring, "-n", "chat", "-o", "json").stdout)["versions"]
    stored = kubectl_json(fleet.hub, "-n", "chat", "get", "keyversion", "vault-v1")
    assert version["fingerprint"] == stored["status"]["fingerprint"]
    assert (version["number"], version["phase"]) == (1, "Primary")
    assert version["fingerprint"] in fleet.run("keys", "history", ring, "-n", "chat").stdout


def test_keys_rotate_follows_the_rotation_to_its_end(fleet: Fleet, ring: str) -> None:
    before = kubectl_json(fleet.hub, "-n", "chat", "get", "keyring", ring)["metadata"]["resourceVersion"]
    printed = yaml.safe_load(fleet.run("keys", "rotate", ring, "-n", "chat", "--dry-run").stdout)
    assert printed["kind"] == "KeyRing" and printed["spec"]["schedule"]["rotateAt"]
    assert kubectl_json(fleet.hub, "-n", "chat", "get", "keyring", ring)["metadata"]["resourceVersion"] == before
    result = fleet.run("keys", "rotate", ring, "-n", "chat", "--wait", "--for=60s")
    assert "Version 2 is the primary, and nobody writes with another." in result.stdout
    assert "version 2: Primary" in result.stderr
    assert "version 2: Discarded" not in result.stderr
    listed = json.loads(fleet.run("keys", "history", ring, "-n", "chat", "-o", "json").stdout)["versions"]
    assert {version["number"]: version["phase"] for version in listed} == {1: "Draining", 2: "Primary"}
    [made] = json.loads(fleet.run("keys", "rotate", ring, "-n", "chat", "--wait", "-o", "json").stdout)["versions"]
    assert (made["number"], made["phase"]) == (3, "Primary")
    stored = kubectl_json(fleet.hub, "-n", "chat", "get", "keyring", ring, "--show-managed-fields")
    assert "roadstead-cli" in {entry["manager"] for entry in stored["metadata"]["managedFields"]}


def test_keys_rotate_says_how_far_it_came_when_the_time_is_over(fleet: Fleet, operator: Operator) -> None:
    slow = key_ring("slow", "chat", **{"spec.regions": ["hkg"], "spec.lead": "1h"})
    kubectl(fleet.hub, "apply", "-f", "-", stdin=json.dumps(slow))
    eventually(lambda: "1 Primary" in fleet.run("keys", "status", "chat/slow").stdout, what="a first version")
    late = fleet.run("keys", "rotate", "chat/slow", "--wait", "--for=5s", code=ExitCode.TIMED_OUT).stderr
    assert "waits: Lead: version 2 is announced" in late
    assert "KeyRing chat/slow is not done in time: version 2 is Ready" in late
    assert "--wait too" in fleet.run("keys", "rotate", "chat/slow", "--for=5s", code=ExitCode.USAGE).stderr
    assert "It comes after version 2" in fleet.run("keys", "rotate", "chat/slow").stdout
    kubectl(fleet.hub, "-n", "chat", "delete", "keyring", "slow", "--wait=false")


def test_keys_suspend_and_resume(fleet: Fleet, ring: str) -> None:
    assert "is suspended:" in fleet.run("keys", "suspend", ring, "-n", "chat").stdout
    assert "is suspended already" in fleet.run("keys", "suspend", ring, "-n", "chat").stdout
    eventually(lambda: ring_status(fleet)["nextRotation"] is None, what="no slot to come")
    assert "suspended" in fleet.run("keys", "status", ring, "-n", "chat").stdout
    done = json.loads(fleet.run("keys", "resume", ring, "-n", "chat", "-o", "json").stdout)
    assert done == {"ring": "chat/vault", "state": "Running", "changed": True}
    eventually(lambda: ring_status(fleet)["nextRotation"], what="a slot to come")
    assert "does not retire" in fleet.run("keys", "suspend", ring, "-n", "chat", "--version=1").stdout
    eventually(lambda: history(fleet)[1] == "Draining" or history(fleet)[1] == "Suspended")
    fleet.run("keys", "resume", ring, "-n", "chat", "--version=1")
    missing = fleet.run("keys", "suspend", ring, "-n", "chat", "--version=99", code=ExitCode.NOT_FOUND).stderr
    assert "has no version 99; there are: 1 to" in missing


def history(fleet: Fleet) -> dict[int, str]:
    listed = json.loads(fleet.run("keys", "history", "chat/vault", "-o", "json").stdout)["versions"]
    return {version["number"]: version["phase"] for version in listed}


def test_what_two_people_decide_becomes_an_approval(fleet: Fleet, ring: str) -> None:
    reason = "--reason=incident 4711"
    printed = yaml.safe_load(fleet.run("keys", "compromise", ring, "1", reason, "-n", "chat", "--dry-run").stdout)
    assert printed["kind"] == "Approval"
    assert kubectl_json(fleet.hub, "-n", "chat", "get", "approvals")["items"] == []
    result = fleet.run("keys", "compromise", ring, "1", reason, "-n", "chat")
    [stored] = kubectl_json(fleet.hub, "-n", "chat", "get", "approvals")["items"]
    name = stored["metadata"]["name"]
    assert f"roadstead approve {name} -n chat" in result.stdout
    spec, body = stored["spec"], kubectl_json(fleet.hub, "-n", "chat", "get", "keyring", ring)
    assert spec["subject"] == {"kind": "KeyRing", "name": ring, "uid": body["metadata"]["uid"]}
    assert (spec["operation"], spec["parameters"]) == ("CompromiseVersion", {"version": "1"})
    assert (spec["reason"], spec["required"]) == ("incident 4711", 1)
    assert name in fleet.run("approvals", "-n", "chat").stdout
    forbidden = fleet.run("keys", "exclude", ring, "tokyo", reason, "-n", "chat", code=ExitCode.NOT_FOUND).stderr
    assert "has no region tokyo; there are: hkg" in forbidden
    assert "--reason" in fleet.run("keys", "remove", ring, "--up-to=1", "-n", "chat", code=ExitCode.USAGE).stderr
    kubectl(fleet.hub, "-n", "chat", "delete", "approvals", "--all")


def test_two_people_compromise_a_version(fleet: Fleet, ring: str) -> None:
    bind(fleet.hub, REQUESTER, "roadstead-edit", "chat")
    bind(fleet.hub, APPROVER, "roadstead-approve", "chat")
    bind(fleet.hub, APPROVER, "roadstead-view", "chat")
    asks, says_yes = Person(fleet.hub, REQUESTER), Person(fleet.hub, APPROVER)
    version = ring_status(fleet)["primary"]
    words = ["keys", "compromise", ring, str(version), "-n", "chat", "--reason=laptop stolen", "--wait", "--for=60s"]
    environment = {"KUBECONFIG": str(asks.kubeconfig), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "roadstead.cli.app", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as waiting:
        try:
            eventually(lambda: kubectl_json(fleet.hub, "-n", "chat", "get", "approvals")["items"], what="an Approval")
            [stored] = kubectl_json(fleet.hub, "-n", "chat", "get", "approvals")["items"]
            assert stored["spec"]["requestedBy"] == REQUESTER
            name = stored["metadata"]["name"]
            fleet.run("approve", name, "-n", "chat", "--yes", hub=says_yes.kubeconfig)
            told, noted = waiting.communicate(timeout=90)
            assert waiting.returncode == 0, noted
        finally:
            waiting.kill()
    assert f"  roadstead approve {name} -n chat" in told
    assert "Pending" in noted and "Done" in noted
    eventually(lambda: history(fleet)[version] == "Compromised", what="the version to be given up")
    again = fleet.run(
        "keys", "compromise", ring, str(version), "-n", "chat", "--reason=x", code=ExitCode.REFUSED
    ).stderr
    assert "is Compromised already; nothing is left to do" in again
