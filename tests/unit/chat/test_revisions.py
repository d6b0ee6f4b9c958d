from dataclasses import replace
from typing import Any

import orjson
import pytest

from roadstead.chat import revisions
from roadstead.chat.revisions import Revision, RevisionUnreadable, from_object, numbered, to_child, to_trim
from roadstead.kernel import objects
from roadstead.kernel.templates import Template
from unit.chat.services import TEMPLATES, build, pod_of, revision, service

BASE = service(config={"A": "1"})

RESTARTS: dict[str, Any] = {
    "image": "registry.example/chat:2",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "x"}],
    "resources": {"requests": {"cpu": "2"}},
    "config": {"A": "2"},
    "retention": {"sessions": "1d"},
    "termination": {"gracePeriod": "90s"},
    "tls": {"secretName": "other"},
    "encryption": {"keyRingRef": {"name": "ring"}},
}
AT_ONCE: dict[str, Any] = {
    "replicas": 9,
    "autoscaling": {"maxReplicas": 10},
    "traffic": {"port": 8443, "hostname": "chat.example.com"},
    "disruptionBudget": {"minAvailable": 1},
    "monitoring": {"interval": "5s"},
    "rollout": {"bakeTime": "5m"},
    "residency": {"jurisdictions": ["HK"]},
    "topology": {"regions": [{"name": "hkg"}, {"name": "sgp"}]},
}


@pytest.mark.parametrize("field", RESTARTS)
def test_what_restarts_pods_is_a_new_revision(field: str) -> None:
    changed = service(**{"config": {"A": "1"}, field: RESTARTS[field]})
    assert revision(changed).hash != revision(BASE).hash


@pytest.mark.parametrize("field", AT_ONCE)
def test_what_restarts_nothing_is_applied_at_once(field: str) -> None:
    changed = service(**{"config": {"A": "1"}, field: AT_ONCE[field]})
    assert revision(changed).hash == revision(BASE).hash
    assert pod_of(build(changed)) == pod_of(build(BASE))


def test_every_field_of_the_spec_is_one_or_the_other() -> None:
    fixed = {"storage"}  # its size and class cannot change, and onDelete restarts nothing
    assert {field.alias for field in type(BASE.spec).model_fields.values()} == RESTARTS.keys() | AT_ONCE.keys() | fixed


def test_a_changed_template_is_a_new_revision() -> None:
    before = revision(BASE)
    pod = Template("pod", before.pod.source.replace("65532", "65533"))
    after = revisions._revision(0, before.spec, pod, before.workload)
    assert after.hash != before.hash


def stored(of: Revision) -> dict[str, Any]:
    child = to_child("desk", "bank", of)
    return {**child.body, "metadata": {**child.body["metadata"], "name": child.name}}


def test_a_revision_comes_back_as_it_was() -> None:
    before = replace(revision(BASE), number=7)
    after = from_object(stored(before))
    assert after == before
    assert pod_of(build(BASE, at=after)) == pod_of(build(BASE, at=before))


def test_a_region_that_waits_for_its_turn_keeps_the_templates_of_its_revision() -> None:
    old = stored(revision(BASE))
    container = old["data"]["templates"]["pod"]["spec"]["containers"][0]
    container["livenessProbe"]["periodSeconds"] = 99
    pod = Template("pod", orjson.dumps(old["data"]["templates"]["pod"], option=orjson.OPT_SORT_KEYS).decode())
    older = revisions._revision(1, revision(BASE).spec, pod, revision(BASE).workload)
    rendered = pod_of(build(BASE, at=from_object(stored(older))))
    assert rendered["containers"][0]["livenessProbe"]["periodSeconds"] == 99


def test_it_is_kept_as_a_controller_revision_of_the_service() -> None:
    child = to_child("desk", "bank", replace(revision(BASE), number=3))
    assert child.gvr == objects.CONTROLLER_REVISIONS
    assert child.name == f"desk-{revision(BASE).hash}"
    assert child.body["revision"] == 3


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda body: body.pop("data"), id="without data"),
        pytest.param(lambda body: body.pop("revision"), id="without a number"),
        pytest.param(lambda body: body["data"].pop("templates"), id="without templates"),
        pytest.param(lambda body: body["data"]["templates"].update(pod=[]), id="a template that is no map"),
        pytest.param(
            lambda body: body["data"]["templates"]["pod"].update(a="{{ }}"), id="a template that does not compile"
        ),
        pytest.param(lambda body: body["data"]["spec"].pop("image"), id="without an image"),
        pytest.param(lambda body: body["data"]["spec"].update(image="evil:1"), id="with another image"),
        pytest.param(lambda body: body.update(data="text"), id="data that is text"),
    ],
)
def test_a_damaged_revision_is_never_returned_to(damage: Any) -> None:
    body = stored(revision(BASE))
    damage(body)
    with pytest.raises(RevisionUnreadable, match=r"ControllerRevision desk-[0-9a-f]{10}"):
        from_object(body)


def history(*images: int) -> list[Revision]:
    found: list[Revision] = []
    for image in images:
        new = numbered(revision(service(image=f"registry.example/chat:{image}")), found)
        found = [entry for entry in found if entry.hash != new.hash] + [new]
    return found


def test_numbers_count_up_and_a_spec_that_comes_back_gets_a_new_one() -> None:
    assert [entry.number for entry in history(1, 2, 3)] == [1, 2, 3]
    assert [entry.number for entry in history(1, 2, 1)] == [2, 3]
    assert [entry.number for entry in history(1, 1)] == [1]


@pytest.mark.parametrize(
    ("in_use", "limit", "gone"),
    [
        pytest.param((), 3, [1, 2], id="the oldest go"),
        pytest.param((1,), 3, [2], id="but never one in use"),
        pytest.param((1, 2, 3, 4, 5), 1, [], id="even when all are"),
        pytest.param((5,), 4, [], id="what is in use does not count"),
        pytest.param((), 10, [], id="nothing goes below the limit"),
    ],
)
def test_trimming(in_use: tuple[int, ...], limit: int, gone: list[int]) -> None:
    known = history(1, 2, 3, 4, 5)
    used = {entry.hash for entry in known if entry.number in in_use}
    assert [entry.number for entry in to_trim(known, used, limit)] == gone


def test_the_hash_of_a_spec_does_not_depend_on_the_order_of_its_maps() -> None:
    assert revision(service(config={"A": "1", "B": "2"})).hash == revision(service(config={"B": "2", "A": "1"})).hash


def test_the_workload_template_is_part_of_it() -> None:
    assert revision(service(storage={"size": "1Gi"})).workload.digest == TEMPLATES["statefulset"].digest
