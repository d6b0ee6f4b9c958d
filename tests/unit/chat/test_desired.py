from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.api.conditions import Reason
from roadstead.chat import desired
from roadstead.chat.desired import Observed, Scale
from roadstead.chat.names import Names
from roadstead.chat.placement import RegionFacts
from roadstead.chat.variables import EXTERNAL_DNS_HOSTNAME
from roadstead.kernel import objects
from unit.chat import cases
from unit.chat.services import (
    CERTIFICATE,
    EVERYTHING_SERVED,
    HONG_KONG,
    TEMPLATES,
    build,
    env_of,
    observed,
    pod_of,
    revision,
    service,
)

CORDONED = RegionFacts("hkg", "HK", cordoned=True)
AUTOSCALED: dict[str, Any] = {"autoscaling": {"maxReplicas": 10}}


def leaves(value: Any, path: str = "") -> Any:
    match value:
        case dict():
            for key, item in value.items():
                yield from leaves(item, f"{path}.{key}")
        case list():
            for index, item in enumerate(value):
                yield from leaves(item, f"{path}.{index}")
    yield path, value


@pytest.mark.parametrize("case", cases.CASES)
class TestEveryService:
    def test_nothing_is_empty_or_null(self, case: str) -> None:
        for child in cases.children(case).values():
            for path, value in leaves(child.body):
                assert value not in ({}, [], None), f"{child}{path}"

    def test_every_object_says_what_it_is_called(self, case: str) -> None:
        for child in cases.children(case).values():
            assert child.body["metadata"]["name"] == child.name
            assert child.body["metadata"]["namespace"] == child.namespace == "bank"
            assert (child.body["apiVersion"], child.body["kind"]) == (child.gvr.api_version, child.gvr.kind)
            assert child.gvr in objects.CHILD_TYPES
            assert len(child.name) <= 63

    def test_pods_keep_to_pod_security_restricted(self, case: str) -> None:
        pod = pod_of(cases.children(case))
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all({"emptyDir", "secret", "projected"} & volume.keys() for volume in pod["volumes"])

    def test_everything_is_selected_by_the_same_three_labels(self, case: str) -> None:
        of, region, _ = cases.CASES[case]
        three = {
            "app.kubernetes.io/name": "chat",
            "app.kubernetes.io/instance": of.metadata.name,
            "roadstead.dev/region": region.name,
        }
        children = cases.children(case)
        selectors = [
            value
            for child in children.values()
            for path, value in leaves(child.body)
            if path.endswith(("spec.selector.matchLabels", "podSelector.matchLabels"))
            and "app.kubernetes.io/name" in value
        ]
        selectors += [c.body["spec"]["selector"] for c in children.values() if c.gvr == objects.SERVICES]
        assert len(selectors) >= 6
        assert all(selector == three for selector in selectors)

    def test_no_uid_and_no_hash_but_of_the_configuration_in_pods(self, case: str) -> None:
        of, _, _ = cases.CASES[case]
        text = str(pod_of(cases.children(case)))
        assert of.metadata.uid not in text
        assert revision(of).hash not in text

    def test_building_again_gives_the_same(self, case: str) -> None:
        assert cases.children(case) == cases.children(case)


def kinds(children: dict[str, Any]) -> set[str]:
    return {key.partition("/")[0] for key in children}


def test_storage_decides_between_deployment_and_stateful_set() -> None:
    assert "Deployment/desk-hkg" in build(service())
    assert "StatefulSet/desk-hkg" in build(service(storage={"size": "1Gi"}))


@pytest.mark.parametrize(
    ("served", "issuer", "expected"),
    [
        pytest.param((), False, set(), id="a cluster with neither gets neither"),
        pytest.param((objects.SERVICE_MONITORS,), False, {"ServiceMonitor"}, id="with the Prometheus operator"),
        pytest.param((objects.CERTIFICATES,), False, set(), id="a certificate from a Secret needs no cert-manager"),
        pytest.param((objects.CERTIFICATES,), True, {"Certificate"}, id="with cert-manager and an issuer"),
    ],
)
def test_kinds_that_a_cluster_need_not_serve(served: tuple[objects.Gvr, ...], issuer: bool, expected: set[str]) -> None:
    of = service(tls={"issuerRef": {"name": "ca"}}) if issuer else service()
    found = kinds(build(of, seen=observed(served=frozenset(served))))
    assert found & {"ServiceMonitor", "Certificate"} == expected
    assert ("Secret" in found) is not issuer


@pytest.mark.parametrize(
    ("tls", "seen", "reason", "words"),
    [
        (
            {"secretName": "chat-tls"},
            Observed(certificate_fault="does not exist; create it"),
            Reason.SECRET_MISSING,
            "is chat-tls, but Secret team/chat-tls in the hub does not exist; create it",
        ),
        (
            {"issuerRef": {"name": "ca"}},
            Observed(certificate=CERTIFICATE),
            Reason.NOT_AVAILABLE,
            "install cert-manager",
        ),
    ],
)
def test_nothing_is_built_before_the_certificate_can_be_there(
    tls: dict[str, Any], seen: Observed, reason: Reason, words: str
) -> None:
    of = service(tls=tls)
    finding = desired.missing(revision(of), seen, "team")
    assert finding is not None
    assert finding.reason is reason
    assert words in finding.message
    with pytest.raises(ValueError, match=r"spec\.tls"):
        desired.build(of, HONG_KONG, revision(of), seen, TEMPLATES)


def test_changing_the_source_of_the_certificate_never_has_two_writers_on_one_secret() -> None:
    issued = build(service(tls={"issuerRef": {"name": "ca"}}), seen=observed(served=EVERYTHING_SERVED))
    copied = build(service())
    names = {issued["Certificate/desk-hkg-issued-tls"].body["spec"]["secretName"], copied["Secret/desk-hkg-tls"].name}
    assert len(names) == 2
    assert pod_of(issued)["volumes"][0]["secret"]["secretName"] in names


def test_a_key_is_never_shown() -> None:
    assert "S0VZ" not in repr(observed())


def sized(region: RegionFacts = HONG_KONG, entry: dict[str, Any] | None = None, **fields: Any) -> Scale:
    spec = {key: value for key, value in fields.items() if key in ("replicas", "autoscaling")}
    seen = {key: value for key, value in fields.items() if key in ("floor", "present_replicas")}
    of = service(topology={"regions": [{"name": "hkg", **(entry or {})}]}, **spec)
    return desired.scale(of, region, observed(**seen))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(sized(replicas=3), (False, 3, 3), id="the service's number"),
        pytest.param(sized(replicas=3, entry={"replicas": 5}), (False, 5, 5), id="the region's own number"),
        pytest.param(sized(replicas=3, floor=9), (False, 3, 3), id="peaks do nothing without an autoscaler"),
        pytest.param(sized(replicas=3, **AUTOSCALED), (True, 3, 10), id="the least is the region's number"),
        pytest.param(
            sized(autoscaling={"minReplicas": 1, "maxReplicas": 10}),
            (True, 1, 10),
            id="unless the autoscaler has its own",
        ),
        pytest.param(sized(floor=7, **AUTOSCALED), (True, 7, 10), id="a peak raises it"),
        pytest.param(sized(floor=70, **AUTOSCALED), (True, 10, 10), id="never above the most"),
        pytest.param(sized(floor=1, **AUTOSCALED), (True, 2, 10), id="a small peak lowers nothing"),
        pytest.param(
            sized(entry={"replicas": 0}, floor=7, **AUTOSCALED), (False, 0, 0), id="0 keeps a region without pods"
        ),
        pytest.param(sized(CORDONED, replicas=5, present_replicas=3), (False, 3, 3), id="cordoned: no new replicas"),
        pytest.param(sized(CORDONED, replicas=2, present_replicas=3), (False, 2, 2), id="cordoned: but fewer"),
        pytest.param(sized(CORDONED, replicas=2), (False, 2, 2), id="cordoned: nothing known of before"),
        pytest.param(
            sized(CORDONED, floor=9, present_replicas=4, **AUTOSCALED),
            (True, 4, 4),
            id="cordoned: a peak raises nothing",
        ),
        pytest.param(
            sized(CORDONED, present_replicas=6, **AUTOSCALED), (True, 2, 6), id="cordoned: no more than there were"
        ),
        pytest.param(
            sized(CORDONED, present_replicas=0, **AUTOSCALED), (True, 1, 1), id="cordoned: an autoscaler cannot have 0"
        ),
    ],
)
def test_how_many_pods(found: Scale, expected: tuple[bool, int, int]) -> None:
    assert (found.autoscaled, found.minimum, found.maximum) == expected


@settings(deadline=None)
@given(
    st.integers(0, 20),
    st.none() | st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 30),
    st.none() | st.integers(0, 20),
)
def test_an_autoscaler_is_always_valid(
    replicas: int, least: int | None, most: int, floor: int, present: int | None
) -> None:
    size = sized(
        RegionFacts("hkg", "HK", cordoned=present is not None),
        replicas=min(replicas, most),
        autoscaling={"maxReplicas": most, **({"minReplicas": min(least, most)} if least else {})},
        floor=floor,
        present_replicas=present,
    )
    assert size.minimum <= size.maximum
    assert not size.autoscaled or size.minimum >= 1


def test_replicas_are_left_to_the_autoscaler() -> None:
    assert build(service(replicas=4))["Deployment/desk-hkg"].body["spec"]["replicas"] == 4
    autoscaled = build(service(resources={"requests": {"cpu": "1"}}, **AUTOSCALED))
    assert "replicas" not in autoscaled["Deployment/desk-hkg"].body["spec"]
    target = autoscaled["HorizontalPodAutoscaler/desk-hkg"].body["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "desk-hkg"}


@pytest.mark.parametrize(
    ("mode", "entry", "role", "named"),
    [
        ("ActiveActive", {}, "active", True),
        ("ActivePassive", {"role": "Primary"}, "primary", True),
        ("ActivePassive", {"role": "Standby"}, "standby", False),
        ("ActivePassive", {}, "standby", False),
    ],
    ids=["active serves", "the primary serves", "a standby does not", "no role is a standby"],
)
def test_roles(mode: str, entry: dict[str, str], role: str, named: bool) -> None:
    regions = [{"name": "hkg", **entry}]
    if mode == "ActivePassive" and entry.get("role") != "Primary":
        regions.append({"name": "sgp", "role": "Primary"})
    children = build(service(topology={"mode": mode, "regions": regions}, traffic={"hostname": "chat.example.com"}))
    assert env_of(children)["CHAT_ROLE"] == role
    annotations = children["Service/desk-hkg"].body["metadata"].get("annotations", {})
    assert (annotations.get(EXTERNAL_DNS_HOSTNAME) == "chat.example.com") is named


@pytest.mark.parametrize(
    ("grace", "seconds", "sleep", "drain"),
    [
        ("60s", 60, 5, "50"),
        ("20s", 20, 5, "10"),
        ("19s", 19, None, "18"),
        ("1s", 1, None, "1"),
        ("1500ms", 2, None, "1"),
    ],
)
def test_how_a_pod_ends(grace: str, seconds: int, sleep: int | None, drain: str) -> None:
    children = build(service(termination={"gracePeriod": grace}))
    pod = pod_of(children)
    assert pod["terminationGracePeriodSeconds"] == seconds
    assert env_of(children)["CHAT_DRAIN_SECONDS"] == drain
    lifecycle = pod["containers"][0].get("lifecycle")
    assert lifecycle == (None if sleep is None else {"preStop": {"sleep": {"seconds": sleep}}})


def test_the_configuration_is_a_map_of_its_own_for_each_content() -> None:
    one, two = service(config={"A": "1"}), service(config={"A": "2"})
    (name,) = (key for key in build(one) if key.startswith("ConfigMap"))
    assert name not in build(two)
    assert build(one)[name].body["immutable"] is True
    assert pod_of(build(one))["containers"][0]["envFrom"] == [{"configMapRef": {"name": name.partition("/")[2]}}]


def test_pods_of_the_revision_before_keep_their_configuration() -> None:
    before, now = service(config={"A": "1"}), service(config={"A": "2"})
    children = build(now, seen=observed(last_good=revision(before)))
    maps = [child.body["data"]["A"] for key, child in children.items() if key.startswith("ConfigMap")]
    assert sorted(maps) == ["1", "2"]
    same = build(now, seen=observed(last_good=revision(now)))
    assert sum(key.startswith("ConfigMap") for key in same) == 1


SECRET, ISSUED = {"secretName": "chat-tls"}, {"issuerRef": {"name": "internal-ca"}}


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [(SECRET, ISSUED, "Secret/chat-hkg-tls"), (ISSUED, SECRET, "Certificate/chat-hkg-issued-tls")],
    ids=["secret to issuer", "issuer to secret"],
)
def test_pods_of_the_revision_before_keep_their_certificate(
    before: dict[str, Any], now: dict[str, Any], kept: str
) -> None:
    """They mount it: without it none of them could restart while the new ones are on their way."""
    former = revision(service(tls=before))
    seen = observed(served=EVERYTHING_SERVED, last_good=former, last_certificate=CERTIFICATE)
    children = build(service(tls=now), seen=seen)
    kept = kept.replace("chat-", f"{service().metadata.name}-")
    assert kept in children
    assert children[kept].body == build(service(tls=before), seen=observed(served=EVERYTHING_SERVED))[kept].body
    settled = build(service(tls=now), seen=observed(served=EVERYTHING_SERVED, last_good=revision(service(tls=now))))
    assert kept not in settled


def test_a_former_certificate_whose_source_is_gone_holds_nothing_up() -> None:
    seen = observed(served=EVERYTHING_SERVED, last_good=revision(service(tls=SECRET)), last_certificate=None)
    assert not any(key.startswith("Secret/") for key in build(service(tls=ISSUED), seen=seen))


def test_without_configuration_there_is_no_map() -> None:
    children = build(service())
    assert "ConfigMap" not in kinds(children)
    assert "envFrom" not in pod_of(children)["containers"][0]


def test_pods_come_from_the_revision_and_the_rest_from_the_spec() -> None:
    old = service(image="registry.example/chat:1", replicas=2)
    new = service(image="registry.example/chat:2", replicas=7, traffic={"port": 8443})
    children = build(new, at=revision(old))
    assert pod_of(children)["containers"][0]["image"] == "registry.example/chat:1"
    assert children["Deployment/desk-hkg"].body["spec"]["replicas"] == 7
    assert children["Service/desk-hkg"].body["spec"]["ports"][0]["port"] == 8443


def test_zones_and_node_pools_decide_where_pods_run() -> None:
    pod = pod_of(build(service(), RegionFacts("hkg", "HK", ("a", "b"), {"pool": "hkg"})))
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["a", "b"]
    assert pod["nodeSelector"] == {"pool": "hkg"}
    assert [c["topologyKey"] for c in pod["topologySpreadConstraints"]] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    plain = pod_of(build(service()))
    assert not {"affinity", "nodeSelector"} & plain.keys()
    assert len(plain["topologySpreadConstraints"]) == 1


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        pytest.param(
            {"namespaceSelector": {}},
            {"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]}},
            id="all namespaces",
        ),
        pytest.param(
            {"podSelector": {}},
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "bank"}}},
            id="all pods of the service's own namespace",
        ),
        pytest.param(
            {"namespaceSelector": {"matchLabels": {"team": "web"}}, "podSelector": {}},
            {"namespaceSelector": {"matchLabels": {"team": "web"}}},
            id="all pods of some namespaces",
        ),
        pytest.param({"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}, id="addresses"),
    ],
)
def test_peers_keep_their_meaning_without_empty_selectors(peer: dict[str, Any], expected: dict[str, Any]) -> None:
    policy = build(service(traffic={"allowFrom": [peer]}))["NetworkPolicy/desk-hkg-allow"].body
    assert policy["spec"]["ingress"][0] == {"from": [expected], "ports": [{"protocol": "TCP", "port": 8443}]}


def test_everybody_may_connect_unless_somebody_is_named() -> None:
    policy = build(service())["NetworkPolicy/desk-hkg-allow"].body
    assert policy["spec"]["ingress"][0] == {"ports": [{"protocol": "TCP", "port": 8443}]}


@settings(deadline=None)
@given(
    image=st.just("registry.example/chat:1"),
    annotation=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200),
    value=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200),
)
def test_what_people_write_stays_where_they_wrote_it(image: str, annotation: str, value: str) -> None:
    of = service(image=image, traffic={"serviceAnnotations": {"example.com/a": annotation}}, config={"KEY": value})
    children = build(of)
    assert children["Service/desk-hkg"].body["metadata"]["annotations"]["example.com/a"] == annotation
    (config,) = (child for key, child in children.items() if key.startswith("ConfigMap"))
    assert config.body["data"] == {"KEY": value}
    assert set(children) - {f"ConfigMap/{config.name}"} == set(build(service()))


@pytest.mark.parametrize("case", cases.CASES)
def test_every_child_is_among_those_that_are_looked_for(case: str) -> None:
    of, region, seen = cases.CASES[case]
    names = Names(of.metadata.name, region.name, of.metadata.namespace)
    looked_for = desired.possible(names, [revision(of)], seen.served)
    assert {(child.gvr, child.name) for child in cases.children(case).values()} <= set(looked_for)
    assert len(looked_for) == len(set(looked_for))
