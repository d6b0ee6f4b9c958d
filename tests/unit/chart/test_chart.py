"""What the chart renders, without a cluster. Schemas and scores are gates of their own (scripts/testrun/gates.py)."""

from __future__ import annotations

import copy
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_crds
from localkube import binaries
from roadstead import main
from roadstead.admission.webhook import ENDPOINTS
from roadstead.api.kinds import KINDS
from roadstead.kernel.objects import CHILD_TYPES, HUB_ONLY_TYPES, MANAGED_BY, MANAGED_BY_LABEL

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "roadstead"
CI = sorted(path.name for path in (CHART / "ci").glob("*.yaml"))
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(binaries.path("helm")), *arguments], capture_output=True, text=True, check=False)


@cache
def rendered(*arguments: str, release: str = "roadstead") -> str:
    done = helm("template", release, str(CHART), "--namespace=roadstead-system", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*arguments: str, release: str = "roadstead") -> list[Object]:
    return [item for item in yaml.safe_load_all(rendered(*arguments, release=release)) if item]


def sets(*settings: str) -> tuple[str, ...]:
    return tuple(f"--set={setting}" for setting in settings)


def with_ci(name: str) -> tuple[str, ...]:
    return (f"--values={CHART / 'ci' / name}",)


def named(objects: list[Object], kind: str, name: str = "") -> Object:
    found = [item for item in objects if item["kind"] == kind and name in ("", item["metadata"]["name"])]
    assert len(found) == 1, [item["metadata"]["name"] for item in found]
    return found[0]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def pod_template(objects: list[Object]) -> Object:
    template: Object = named(objects, "Deployment")["spec"]["template"]
    return template


def operator(objects: list[Object]) -> Object:
    container: Object = pod_template(objects)["spec"]["containers"][0]
    return container


def granted(rules: list[Object]) -> dict[tuple[str, str], set[str]]:
    """Verbs by (group, resource); rules that name objects count as well."""
    found: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule.get("apiGroups", ()):
            for resource in rule.get("resources", ()):
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


CHILDREN = {(gvr.group, gvr.resource) for gvr in CHILD_TYPES if gvr not in HUB_ONLY_TYPES}


# --- the operator's pods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", *(name for name in CI if "member" not in name)])
def test_the_operator_knows_every_flag_that_it_is_given(name: str) -> None:
    arguments = operator(render(*(with_ci(name) if name else ())))["args"]
    environment = {"ROADSTEAD_NAMESPACE": "roadstead-system"}
    flags = main.options(arguments, environment)
    assert flags.namespace == "roadstead-system"


def test_flags_say_what_the_values_say() -> None:
    objects = render(*with_ci("everything-set.yaml"))
    flags = main.options(operator(objects)["args"], {})
    assert flags.hub_id == "hub-1"
    assert (flags.workers, flags.metrics_port, flags.webhook_port) == (32, 9000, 10443)
    assert (flags.lease_duration, flags.renew_deadline, flags.retry_period) == (30.0, 20.0, 5.0)
    assert (flags.log_format, flags.log_level) == ("text", "DEBUG")
    assert flags.webhook_certificates == "external"
    module = main.hsm(flags, {"SOFTHSM2_CONF": "/hsm/softhsm2.conf", "A_VARIABLE": "1"})
    assert module is not None
    assert (module.library, module.token) == ("/hsm/libsofthsm2.so", "roadstead")
    assert dict(module.environment) == {"SOFTHSM2_CONF": "/hsm/softhsm2.conf", "A_VARIABLE": "1"}
    assert flags.webhook_configuration == named(objects, "ValidatingWebhookConfiguration")["metadata"]["name"]
    assert flags.webhook_service == named(objects, "Service", "hub-webhook")["metadata"]["name"]
    assert flags.webhook_secret == named(objects, "Certificate")["spec"]["secretName"]


def test_pods_meet_the_restricted_standard() -> None:
    spec = pod_template(render())["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 10_000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = spec["containers"][0]["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any(key in spec for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} == {"emptyDir"}


def test_an_upgrade_never_takes_a_replica_away_first() -> None:
    deployment = named(render(), "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_probes_ask_what_the_operator_serves() -> None:
    container = operator(render())
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"metrics": 8080, "webhook": 9443}
    assert "--metrics-address=0.0.0.0" in container["args"]


def test_replicas_are_spread_over_zones_and_nodes() -> None:
    constraints = pod_template(render())["spec"]["topologySpreadConstraints"]
    assert [item["topologyKey"] for item in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {item["whenUnsatisfiable"] for item in constraints} == {"ScheduleAnyway"}


@pytest.mark.parametrize("name", ["", "everything-set.yaml"])
def test_everything_that_selects_pods_selects_the_operators(name: str) -> None:
    objects = render(*(with_ci(name) if name else ()))
    labels = pod_template(objects)["metadata"]["labels"]
    selectors = [named(objects, "Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [item["spec"]["selector"] for item in of_kind(objects, "Service")]
    selectors += [item["spec"]["selector"]["matchLabels"] for item in of_kind(objects, "PodDisruptionBudget")]
    selectors += [item["spec"]["podSelector"]["matchLabels"] for item in of_kind(objects, "NetworkPolicy")]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector.items() <= labels.items()


def test_an_upgrade_of_the_chart_alone_restarts_no_pod() -> None:
    assert "helm.sh/chart" not in pod_template(render())["metadata"]["labels"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "0" * 64
    image = operator(render(*sets("image.repository=r/o", "image.tag=v1", f"image.digest={digest}")))["image"]
    assert image == f"r/o@{digest}"


def test_the_policy_lets_in_webhooks_and_scrapes_and_out_names_and_api_servers() -> None:
    spec = named(render(*with_ci("everything-set.yaml")), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    webhooks, scrapes = spec["ingress"]
    assert webhooks["ports"][0]["port"] == 10443
    assert "from" not in webhooks
    assert scrapes["ports"][0]["port"] == 9000
    assert scrapes["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53, 6443, 1792]


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", *CI])
def test_no_role_has_a_wildcard_or_a_way_to_more_rights(name: str) -> None:
    objects = render(*(with_ci(name) if name else ()))
    roles = of_kind(objects, "ClusterRole") + of_kind(objects, "Role")
    assert roles
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule.get("apiGroups", ()), *rule.get("resources", ())]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert not any("/exec" in resource or "/token" in resource for _, resource in granted(role["rules"]))


def test_the_hub_may_write_every_type_of_child_and_nothing_else() -> None:
    objects = render()
    verbs = granted(named(objects, "ClusterRole", "roadstead-operator")["rules"])
    written = {resource for resource, allowed in verbs.items() if allowed & WRITES}
    ours = {
        *(("roadstead.dev", resource) for resource in ("regions/status", "chatservices", "chatservices/status")),
        *(("roadstead.dev", resource) for resource in ("keyrings", "keyrings/status", "keyversions")),
        *(("roadstead.dev", resource) for resource in ("approvals", "approvals/status")),
    }
    others = {
        *((gvr.group, gvr.resource) for gvr in HUB_ONLY_TYPES),
        ("events.k8s.io", "events"),
        ("roadstead.dev", "chatservices/finalizers"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    }
    assert written == CHILDREN | ours | others
    for child in CHILDREN:
        assert verbs[child] == {"get", "list", "watch", "create", "patch", "delete"}


def test_the_operator_cannot_make_or_replace_what_people_write() -> None:
    verbs = granted(named(render(), "ClusterRole", "roadstead-operator")["rules"])
    assert verbs["roadstead.dev", "regions"] == {"get", "list", "watch"}
    for plural in ("chatservices", "keyrings"):
        assert verbs["roadstead.dev", plural] == {"get", "list", "watch", "patch"}  # patch: the finalizer
    # create: in dry runs, which have to be refused.
    assert verbs["roadstead.dev", "approvals"] == {"get", "list", "watch", "create"}
    for kind in KINDS:
        if kind.status_subresource:
            assert verbs["roadstead.dev", f"{kind.plural}/status"] == {"patch"}


def test_the_operator_writes_the_ledger_of_keys_and_deletes_nothing_of_it() -> None:
    verbs = granted(named(render(), "ClusterRole", "roadstead-operator")["rules"])
    assert verbs["roadstead.dev", "keyversions"] == {"list", "watch", "create", "update"}
    assert not any(resource.startswith("keyversions/") for _, resource in verbs)


def test_what_has_a_name_is_granted_by_name() -> None:
    objects = render(release="roadstead")
    rules = [*named(objects, "ClusterRole", "roadstead-operator")["rules"], *named(objects, "Role")["rules"]]
    by_name = {
        (resource, verb): rule["resourceNames"]
        for rule in rules
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
        if "resourceNames" in rule
    }
    assert by_name["leases", "update"] == ["roadstead-operator"]
    assert by_name["validatingwebhookconfigurations", "patch"] == ["roadstead"]
    assert by_name["secrets", "update"] == ["roadstead-webhook-tls"]


def test_without_regions_in_the_hub_no_workload_can_be_written_there() -> None:
    objects = render(*sets("rbac.inClusterRegions=false"))
    verbs = granted(named(objects, "ClusterRole", "roadstead-operator")["rules"])
    for child in CHILDREN:
        assert not verbs[child] & WRITES, child
    assert "get" in verbs["", "secrets"]


@pytest.mark.parametrize("name", ["cert-manager.yaml", "nothing-optional.yaml"])
def test_who_does_not_keep_certificates_may_not(name: str) -> None:
    objects = render(*with_ci(name))
    verbs = granted(named(objects, "ClusterRole", "roadstead-operator")["rules"])
    assert ("admissionregistration.k8s.io", "validatingwebhookconfigurations") not in verbs
    # Keys are made, in Secrets, and never written again.
    assert granted(named(objects, "Role")["rules"])["", "secrets"] & WRITES == {"create", "delete"}


def test_a_module_is_mounted_with_its_pin_in_a_file() -> None:
    objects = render(*with_ci("everything-set.yaml"))
    container, pod = operator(objects), pod_template(objects)["spec"]
    flags = main.options(container["args"], {})
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert flags.pkcs11_pin_file == f"{mounts['pkcs11-pin']}/pin"
    assert mounts["hsm"] == "/hsm"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["pkcs11-pin"]["secret"]["secretName"] == "hsm-pin"
    assert volumes["pkcs11-pin"]["secret"]["items"] == [{"key": "pin", "path": "pin"}]
    assert volumes["hsm"]["persistentVolumeClaim"] == {"claimName": "hsm"}
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert (given["SOFTHSM2_CONF"], given["A_VARIABLE"]) == ("/hsm/softhsm2.conf", "1")
    ports = [port["port"] for rule in named(objects, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
    assert 1792 in ports


def test_without_a_module_nothing_speaks_of_one() -> None:
    assert main.hsm(main.options(operator(render())["args"], {}), {}) is None
    assert "pkcs11" not in json.dumps(named(render(), "Deployment"))


@pytest.mark.parametrize(
    "settings",
    [
        ("keys.pkcs11.library=/hsm/lib.so",),
        ("keys.pkcs11.library=/hsm/lib.so", "keys.pkcs11.token=roadstead"),
        ("keys.pkcs11.pinSecret=hsm-pin",),
        ("keys.pkcs11.library=lib.so", "keys.pkcs11.token=roadstead", "keys.pkcs11.pinSecret=hsm-pin"),
    ],
)
def test_half_a_module_is_refused(settings: tuple[str, ...]) -> None:
    done = helm("template", "roadstead", str(CHART), *sets(*settings))
    assert done.returncode != 0
    assert "pkcs11" in done.stderr


def test_a_member_gets_an_account_with_the_rights_of_children_and_no_more() -> None:
    objects = render("--set=mode=member", release="roadstead-member")
    assert {item["kind"] for item in objects} == {"ServiceAccount", "Secret", "ClusterRole", "ClusterRoleBinding"}
    assert named(objects, "ServiceAccount")["metadata"]["name"] == "roadstead-member"
    verbs = granted(named(objects, "ClusterRole")["rules"])
    assert {resource for resource, allowed in verbs.items() if allowed & WRITES} == CHILDREN
    assert not any(group == "roadstead.dev" for group, _ in verbs)
    subject = named(objects, "ClusterRoleBinding")["subjects"][0]
    assert (subject["namespace"], subject["name"]) == ("roadstead-system", "roadstead-member")


def test_a_member_with_named_namespaces_is_written_to_in_these_only() -> None:
    objects = render(*with_ci("member-some-namespaces.yaml"), release="roadstead-member")
    everywhere = granted(named(objects, "ClusterRole", "roadstead-member")["rules"])
    assert not any(allowed & WRITES for allowed in everywhere.values())
    inside = granted(named(objects, "ClusterRole", "roadstead-member-workloads")["rules"])
    assert set(inside) == CHILDREN
    assert all(allowed == {"create", "patch", "delete"} for allowed in inside.values())
    bindings = of_kind(objects, "RoleBinding")
    assert [item["metadata"]["namespace"] for item in bindings] == ["chat", "chat-staging"]
    assert {item["roleRef"]["name"] for item in bindings} == {"roadstead-member-workloads"}
    for namespace in of_kind(objects, "Namespace"):
        assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert not of_kind(objects, "Secret")


def test_users_get_services_and_rings_by_the_roles_they_have_and_regions_by_none() -> None:
    objects = render()
    edit = named(objects, "ClusterRole", "roadstead-edit")
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    written = {"create", "update", "patch", "delete", "deletecollection"}
    writes = {what: verbs & written for what, verbs in granted(edit["rules"]).items() if verbs & WRITES}
    assert writes == {("roadstead.dev", plural): written for plural in ("chatservices", "keyrings", "approvals")}
    admin = named(objects, "ClusterRole", "roadstead-region-admin")
    assert not any("aggregate" in label for label in admin["metadata"]["labels"])
    off = render(*sets("rbac.aggregateToDefaultRoles=false"))
    assert not any("aggregate" in label for item in off for label in item["metadata"].get("labels") or {})


def test_users_see_every_kind_and_nobody_but_the_operator_writes_the_ledger_of_keys() -> None:
    objects = render()
    view = named(objects, "ClusterRole", "roadstead-view")
    for role in ("view", "edit", "admin"):
        assert view["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"
    statuses = {f"{kind.plural}/status" for kind in KINDS if kind.status_subresource}
    seen = {("roadstead.dev", resource) for resource in {kind.plural for kind in KINDS} | statuses}
    assert granted(view["rules"]) == {resource: {"get", "list", "watch"} for resource in seen}
    for found in of_kind(objects, "ClusterRole"):
        if found["metadata"]["name"] != "roadstead-operator":
            assert not granted(found["rules"]).get(("roadstead.dev", "keyversions"), set()) & WRITES


def test_no_role_is_needed_beside_another() -> None:
    objects = render()
    seen = granted(named(objects, "ClusterRole", "roadstead-view")["rules"])
    for name in ("edit", "approve"):
        rights = granted(named(objects, "ClusterRole", f"roadstead-{name}")["rules"])
        assert all(verbs <= rights[what] for what, verbs in seen.items()), name


def test_who_may_approve_is_said_by_name_and_asks_for_nothing() -> None:
    objects = render()
    role = named(objects, "ClusterRole", "roadstead-approve")
    assert not any("aggregate" in label for label in role["metadata"]["labels"])
    writes = {what: verbs for what, verbs in granted(role["rules"]).items() if verbs - {"get", "list", "watch"}}
    assert writes == {("roadstead.dev", "approvals"): {"get", "list", "watch", "approve", "patch", "update"}}
    for found in of_kind(objects, "ClusterRole"):
        if found["metadata"]["name"] != "roadstead-approve":
            assert not any("approve" in rule["verbs"] for rule in found["rules"])


# --- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [(), ("webhooks.enabled=false",), ("rbac.create=false",), ("crds.install=false",)])
def test_policies_are_in_force_whatever_else_is_off_and_fail_closed(settings: tuple[str, ...]) -> None:
    objects = render(*sets(*settings))
    policies = of_kind(objects, "ValidatingAdmissionPolicy")
    assert [policy["metadata"]["name"] for policy in policies] == ["roadstead-approvals", "roadstead-keyversions"]
    kept = [*policies, *of_kind(objects, "ValidatingAdmissionPolicyBinding")]
    assert {item["metadata"]["annotations"]["helm.sh/resource-policy"] for item in kept} == {"keep"}
    bound = {binding["spec"]["policyName"] for binding in of_kind(objects, "ValidatingAdmissionPolicyBinding")}
    assert bound == {policy["metadata"]["name"] for policy in policies}
    for policy in policies:
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert {rule["apiGroups"][0] for rule in policy["spec"]["matchConstraints"]["resourceRules"]} == {
            "roadstead.dev"
        }
    for binding in of_kind(objects, "ValidatingAdmissionPolicyBinding"):
        assert binding["spec"]["validationActions"] == ["Deny"]
        assert "matchResources" not in binding["spec"], "nothing is left out"


def test_policies_know_the_operator_by_the_account_that_it_runs_as() -> None:
    named_otherwise = sets("serviceAccount.name=harbour-master", "fullnameOverride=port")
    objects = render(*named_otherwise)
    (account,) = of_kind(objects, "ServiceAccount")
    user = f"system:serviceaccount:{account['metadata']['namespace']}:harbour-master"
    for policy in of_kind(objects, "ValidatingAdmissionPolicy"):
        assert f"'{user}'" in str(policy["spec"]["validations"])


def test_a_member_has_no_policies() -> None:
    assert not of_kind(render(*sets("mode=member")), "ValidatingAdmissionPolicy")


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_webhooks_are_the_handlers_with_their_paths_kinds_and_operations() -> None:
    webhooks = named(render(), "ValidatingWebhookConfiguration")["webhooks"]
    found = {
        (webhook["clientConfig"]["service"]["path"], rule["apiGroups"][0], rule["resources"][0], *rule["operations"])
        for webhook in webhooks
        for rule in webhook["rules"]
    }
    assert found == {(item.path, item.group, item.resource, *item.operations) for item in ENDPOINTS}


def test_webhooks_fail_closed_quickly_and_for_our_kinds_only() -> None:
    for webhook in named(render(), "ValidatingWebhookConfiguration")["webhooks"]:
        assert webhook["failurePolicy"] == "Fail"
        assert webhook["timeoutSeconds"] == 5
        assert webhook["sideEffects"] == "None"
        assert webhook["admissionReviewVersions"] == ["v1"]
        assert "namespaceSelector" not in webhook
        assert "objectSelector" not in webhook
        for rule in webhook["rules"]:
            assert rule["apiGroups"] == ["roadstead.dev"]
            assert not any("/" in resource or "*" in resource for resource in rule["resources"])


@pytest.mark.parametrize("name", ["", *CI])
def test_the_chart_says_nothing_about_the_ca_bundle(name: str) -> None:
    assert "caBundle:" not in "\n".join(
        yaml.safe_dump(item)
        for item in render(*(with_ci(name) if name else ()))
        if item["kind"] == "ValidatingWebhookConfiguration"
    )


def test_the_webhooks_service_leads_to_the_webhooks_port() -> None:
    objects = render()
    service = named(objects, "Service", "roadstead-webhook")
    target = named(objects, "ValidatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["service"]
    assert (target["name"], target["namespace"]) == (service["metadata"]["name"], service["metadata"]["namespace"])
    assert service["spec"]["ports"][0]["port"] == target["port"] == 443
    assert service["spec"]["ports"][0]["targetPort"] == "webhook"
    assert "publishNotReadyAddresses" not in service["spec"]


def test_cert_manager_issues_for_the_name_that_is_called() -> None:
    objects = render(*with_ci("cert-manager.yaml"))
    certificate = named(objects, "Certificate")
    assert certificate["spec"]["dnsNames"] == ["roadstead-webhook.roadstead-system.svc"]
    assert certificate["spec"]["privateKey"]["algorithm"] == "ECDSA"  # a second type of key would be served beside
    assert certificate["spec"]["issuerRef"] == {"name": "roadstead-webhook", "kind": "Issuer"}
    annotations = named(objects, "ValidatingWebhookConfiguration")["metadata"]["annotations"]
    reference = f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"
    assert annotations["cert-manager.io/inject-ca-from"] == reference


def test_without_webhooks_none_of_their_objects_is_there() -> None:
    objects = render(*with_ci("nothing-optional.yaml"))
    assert not of_kind(objects, "ValidatingWebhookConfiguration")
    assert [item["metadata"]["name"] for item in of_kind(objects, "Service")] == ["roadstead-metrics"]
    assert "--webhook-port=0" in operator(objects)["args"]


# --- CRDs, monitoring, GitOps -----------------------------------------------------------------------------------------


def test_crds_are_those_of_the_repository_and_are_kept() -> None:
    found = {item["metadata"]["name"]: item for item in of_kind(render(), "CustomResourceDefinition")}
    assert set(found) == {kind.crd_name for kind in KINDS}
    for path in (ROOT / "crds").glob("*.yaml"):
        wanted = yaml.safe_load(path.read_text())
        crd = copy.deepcopy(found[wanted["metadata"]["name"]])
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert crd == wanted


@pytest.mark.parametrize("settings", [("crds.install=false",), ("mode=member",)])
def test_crds_can_be_left_to_others(settings: tuple[str, ...]) -> None:
    assert not of_kind(render(*sets(*settings)), "CustomResourceDefinition")


@pytest.mark.parametrize(
    "crd",
    [
        pytest.param("kind: X\n", id="without metadata"),
        pytest.param("# g\nkind: X\nmetadata:\n  annotations:\n    a: b\nspec:\n", id="with annotations first"),
        pytest.param("# g\nkind: X\nmetadata:\n  name: x\n  annotations:\n    a: b\nspec:\n", id="with annotations"),
    ],
)
def test_a_crd_that_is_written_otherwise_is_not_copied_half(crd: str) -> None:
    with pytest.raises(ValueError, match="expected one"):
        chart_crds.for_the_chart(crd)


@pytest.mark.parametrize(
    ("create", "served", "there"),
    [
        pytest.param("Auto", False, False, id="auto where the kind is not served"),
        pytest.param("Auto", True, True, id="auto where it is"),
        pytest.param("Always", False, True, id="always, for helm template in GitOps"),
        pytest.param("Never", True, False, id="never"),
    ],
)
def test_the_service_monitor_is_made(create: str, served: bool, there: bool) -> None:
    versions = ("--api-versions=monitoring.coreos.com/v1",) if served else ()
    objects = render(*sets(f"metrics.serviceMonitor.create={create}"), *versions)
    assert bool(of_kind(objects, "ServiceMonitor")) is there


def test_every_dashboard_becomes_a_config_map_of_valid_json() -> None:
    files = {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
    maps = of_kind(render(*sets("dashboards.create=true", "alerts.create=Never")), "ConfigMap")
    assert {key: text for item in maps for key, text in item["data"].items()} == files
    for text in files.values():
        json.loads(text)
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)
    assert [item["metadata"]["name"] for item in of_kind(render(), "ConfigMap")] == ["roadstead-alerts"]


@pytest.mark.parametrize(
    ("create", "served", "kind"),
    [
        pytest.param("Auto", True, "PrometheusRule", id="auto where the kind is served"),
        pytest.param("Auto", False, "ConfigMap", id="auto where it is not"),
        pytest.param("PrometheusRule", False, "PrometheusRule", id="one kind, for helm template in GitOps"),
        pytest.param("ConfigMap", True, "ConfigMap", id="the other kind"),
        pytest.param("Never", True, "", id="never"),
    ],
)
def test_the_alerts_are_those_of_the_repository(create: str, served: bool, kind: str) -> None:
    versions = ("--api-versions=monitoring.coreos.com/v1/PrometheusRule",) if served else ()
    address = "https://runbooks.example.com"
    objects = render(*sets(f"alerts.create={create}", f"alerts.runbookURL={address}/", "alerts.labels.a=b"), *versions)
    found = [item for item in objects if item["metadata"]["name"] == "roadstead-alerts"]
    assert [item["kind"] for item in found] == ([kind] if kind else [])
    if not found:
        return
    text = (CHART / "rules" / "roadstead.yaml").read_text().replace("docs/runbooks", address)
    [item] = found
    content = item["spec"] if kind == "PrometheusRule" else yaml.safe_load(item["data"]["roadstead.yaml"])
    assert content == yaml.safe_load(text) == {"groups": content["groups"]}
    assert item["metadata"]["labels"]["a"] == "b"
    addresses = {rule["annotations"]["runbook_url"] for group in content["groups"] for rule in group["rules"]}
    assert f"{address}/RoadsteadNoLeader.md" in addresses and len(addresses) > 10


@pytest.mark.parametrize("name", ["", "cert-manager.yaml", "member.yaml"])
def test_rendering_again_gives_the_same(name: str) -> None:
    """Else a GitOps controller would apply for ever: no random, no clock, no look at the cluster."""
    arguments = with_ci(name) if name else ()
    again = helm("template", "roadstead", str(CHART), "--namespace=roadstead-system", *arguments).stdout
    assert again == rendered(*arguments)


@pytest.mark.parametrize("name", ["", *CI])
def test_no_object_of_the_chart_is_taken_for_a_child(name: str) -> None:
    for item in render(*(with_ci(name) if name else ())):
        assert (item["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) != MANAGED_BY


@pytest.mark.parametrize("name", ["", *CI])
def test_names_fit_and_objects_have_their_namespace(name: str) -> None:
    for release in ("roadstead", "a-release-name-that-is-as-long-as-helm-lets-it-be-53c"):
        for item in render(*(with_ci(name) if name else ()), release=release):
            assert len(item["metadata"]["name"]) <= 63
            cluster_wide = item["kind"].startswith(("Cluster", "Custom", "Validating")) or item["kind"] == "Namespace"
            assert ("namespace" in item["metadata"]) is not cluster_wide, item["metadata"]["name"]


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("replica=3", id="a name that does not exist"),
        pytest.param("image.tags=1", id="a name that does not exist, inside"),
        pytest.param("webhooks.certificates.issuerRef.nam=x", id="a name that does not exist, deep inside"),
        pytest.param("mode=both", id="a mode that does not exist"),
        pytest.param("replicas=0", id="no replica"),
        pytest.param("webhooks.port=443", id="a port that a non-root process cannot have"),
        pytest.param("image.digest=sha256:abc", id="half a digest"),
        pytest.param("leaderElection.leaseDuration=15", id="a duration without a unit"),
        pytest.param("logging.level=chatty", id="a level that does not exist"),
        pytest.param("metrics.serviceMonitor.create=true", id="a boolean where there are three choices"),
        pytest.param("member.namespaces={Chat}", id="a namespace that cannot be"),
    ],
)
def test_values_with_a_mistake_are_refused(setting: str) -> None:
    done = helm("template", "roadstead", str(CHART), f"--set={setting}")
    assert done.returncode != 0
    assert "specifications of the schema" in done.stderr, done.stderr


def leaves(values: Any, prefix: str = "") -> list[str]:
    if isinstance(values, dict) and values and prefix not in ("resources.requests", "resources.limits"):
        return [leaf for key, value in values.items() for leaf in leaves(value, f"{prefix}.{key}".lstrip("."))]
    return [prefix]


VALUES = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))


@pytest.mark.parametrize("value", VALUES)
def test_every_value_is_in_the_schema_and_in_the_readme(value: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for step in value.split("."):
        assert schema["additionalProperties"] is False
        schema = schema["properties"][step]
    assert schema["description"]
    assert f"| `{value}` |" in (CHART / "README.md").read_text()


def test_the_readme_names_no_value_that_is_gone() -> None:
    named_values = {
        line.split("`")[1] for line in (CHART / "README.md").read_text().splitlines() if line.startswith("| `")
    }
    assert named_values == set(VALUES)
