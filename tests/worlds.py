"""A hub, the regions and the operator, all real, for tests of the operator as a whole; see tests/README.md.

The clusters are bare control planes; the operator is a process with its ServiceAccount's token and the chart's rights.
What the tests themselves do goes through `localkube.rest`, never through the operator's own client.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusters import StartCluster, eventually
from localkube import nodes
from localkube.bare import BareCluster
from localkube.rest import Api, ApiError
from localoperator import Operator, connect, grant
from specs import edited

Body = dict[str, Any]

NAMESPACE = "chat"
SECRET = "chat-tls"
IMAGE = "registry.example/chat:{}"
SETTLE_SECONDS = 40.0
"""How long anything may take on a machine that does other things too; it is a limit, never a measurement."""

_GROUPS = {
    "namespaces": "/api/v1",
    "serviceaccounts": "/api/v1",
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
    "pods": "/api/v1",
    "resourcequotas": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "controllerrevisions": "/apis/apps/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "events": "/apis/events.k8s.io/v1",
    "servicemonitors": "/apis/monitoring.coreos.com/v1",
    "certificates": "/apis/cert-manager.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "chatservices": "/apis/roadstead.dev/v1alpha1",
    "regions": "/apis/roadstead.dev/v1alpha1",
    "keyrings": "/apis/roadstead.dev/v1alpha1",
    "approvals": "/apis/roadstead.dev/v1alpha1",
    "keyversions": "/apis/roadstead.dev/v1alpha1",
}
CHILD_TYPES = (
    "serviceaccounts",
    "configmaps",
    "secrets",
    "services",
    "deployments",
    "statefulsets",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
    "networkpolicies",
    "servicemonitors",
    "certificates",
    "roles",
    "rolebindings",
)
_CLUSTER_SCOPED = frozenset({"namespaces", "regions"})


class Objects:
    """What a person with all rights does in one cluster, in one line each. ``resource`` is a plural name."""

    def __init__(self, cluster: BareCluster) -> None:
        self.cluster = cluster
        self._api: Api = cluster.api

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any request; a server that starts, or has just learnt a kind, is asked again."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                return self._api.request(method, path, body)
            except ApiError as error:
                if error.status != 429 or time.monotonic() > end:
                    raise
            time.sleep(0.2)

    def get(self, resource: str, name: str, namespace: str = NAMESPACE) -> Body:
        """The object; `ApiError` when it is not there."""
        found: Body = self.request("GET", _path(resource, namespace, name))
        return found

    def find(self, resource: str, name: str, namespace: str = NAMESPACE) -> Body | None:
        """The object, or None."""
        try:
            return self.get(resource, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, resource: str, namespace: str = "", *, labels: str = "") -> list[Body]:
        """All objects with these labels; none when the type is not served."""
        query = f"?labelSelector={labels}" if labels else ""
        try:
            return list(self.request("GET", _path(resource, namespace) + query)["items"] or ())
        except ApiError as error:
            if error.status == 404:
                return []
            raise

    def create(self, resource: str, body: Mapping[str, Any], namespace: str = NAMESPACE) -> bool:
        """POST; False when the name is taken."""
        return self._api.create(_path(resource, namespace), body)

    def apply(self, resource: str, body: Mapping[str, Any], namespace: str = NAMESPACE) -> Body:
        """What `kubectl apply --server-side --force-conflicts` does."""
        path = _path(resource, namespace, body["metadata"]["name"])
        answer: Body = self.request("APPLY", f"{path}?fieldManager=person&force=true", body)
        return answer

    def patch(self, resource: str, name: str, patch: Mapping[str, Any], namespace: str = NAMESPACE) -> Body:
        """A merge patch, under a manager of its own."""
        answer: Body = self.request("PATCH", f"{_path(resource, namespace, name)}?fieldManager=somebody", patch)
        return answer

    def delete(self, resource: str, name: str, namespace: str = NAMESPACE) -> None:
        """Delete; harmless when it is not there."""
        try:
            self.request("DELETE", _path(resource, namespace, name))
        except ApiError as error:
            if error.status != 404:
                raise

    def namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Make a namespace and wait until pods can be made in it."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
        self.create("namespaces", body)
        eventually(lambda: self.find("serviceaccounts", "default", name), deadline=SETTLE_SECONDS)

    def children(self, service: str, namespace: str = NAMESPACE) -> dict[str, Body]:
        """Every child of a service in this cluster, of all types but ControllerRevision, by ``resource/name``."""
        labels = f"roadstead.dev/owner-name={service}"
        return {
            f"{resource}/{item['metadata']['name']}": item
            for resource in CHILD_TYPES
            for item in self.items(resource, namespace, labels=labels)
        }

    def revisions(self, service: str, namespace: str = NAMESPACE) -> list[Body]:
        """The stored revisions of a service, oldest first."""
        found = self.items("controllerrevisions", namespace, labels=f"roadstead.dev/owner-name={service}")
        return sorted(found, key=lambda revision: int(revision["revision"]))

    def events(self, namespace: str = NAMESPACE, *, regarding: str = "") -> set[str]:
        """Reasons of the events about an object."""
        return {event["reason"] for event in self.items("events", namespace) if event["regarding"]["name"] == regarding}

    def told(self, name: str, namespace: str = NAMESPACE) -> list[str]:
        """Every event about an object, in the order of time: for the message of a test that fails."""
        events = [event for event in self.items("events", namespace) if event["regarding"]["name"] == name]
        events.sort(key=lambda event: str(event.get("eventTime")))
        return [f"{event.get('eventTime')} {event['reason']}: {event.get('note')}" for event in events]


class World:
    """One hub, its members, and at most one operator that this object knows of.

    Args:
        hub: with our CRDs.
        members: clusters by region name; connected by `connect`.
    """

    def __init__(self, hub: BareCluster, members: Mapping[str, BareCluster]) -> None:
        self.hub = hub
        self.members = dict(members)
        self.at_hub = Objects(hub)
        self.at = {name: Objects(cluster) for name, cluster in members.items()}
        self.operator: Operator | None = None
        self._numbers = itertools.count(1)

    @property
    def running(self) -> Operator:
        """The operator."""
        assert self.operator is not None, "no operator was started"
        return self.operator

    def start(self, *flags: str, server: str | None = None, environment: Mapping[str, str] | None = None) -> Operator:
        """Start the operator and wait until it leads.

        It goes by the same name each time, so that it does not wait for the lease of one that a test has killed.
        """
        self.operator = Operator(self.hub, "--identity=the-only-one", *flags, server=server, environment=environment)
        self.operator.wait_leading()
        return self.operator

    def restart(self, *flags: str) -> Operator:
        """End the operator as kill -9 does, and start another."""
        self.running.kill()
        self.stop()
        return self.start(*flags)

    def stop(self) -> None:
        """Stop the operator, whatever state it is in."""
        if self.operator is not None:
            self.operator.stop()
            self.operator = None

    def fresh_name(self, prefix: str = "svc") -> str:
        """A name that no other service of this world has."""
        return f"{prefix}-{next(self._numbers)}"

    def apply(self, body: Mapping[str, Any]) -> Body:
        """Apply a ChatService in the hub."""
        return self.at_hub.apply("chatservices", body, body["metadata"]["namespace"])

    def service(self, name: str, namespace: str = NAMESPACE) -> Body:
        """The ChatService as it is."""
        return self.at_hub.get("chatservices", name, namespace)

    def status(self, name: str, namespace: str = NAMESPACE) -> Body:
        """Its status; empty before the first."""
        found: Body = self.service(name, namespace).get("status") or {}
        return found

    def condition(self, name: str, type_: str, namespace: str = NAMESPACE, resource: str = "chatservices") -> Body:
        """One condition of a ChatService or Region; empty when it is not there."""
        return condition_of(self.at_hub.get(resource, name, namespace), type_)

    def entry(self, name: str, region: str, namespace: str = NAMESPACE) -> Body:
        """``status.regions`` of one region; empty when it is not there."""
        regions = self.status(name, namespace).get("regions") or ()
        return next((entry for entry in regions if entry["name"] == region), {})

    def wait_ready(self, name: str, namespace: str = NAMESPACE, *, seconds: float = SETTLE_SECONDS) -> Body:
        """Wait until the service is Ready for its present generation; returns it."""
        return self.wait(name, "Ready", "True", namespace=namespace, seconds=seconds)

    def wait_told(self, name: str, *reasons: str) -> None:
        """Wait until there are events with these reasons; they are written after the status, not with it."""
        eventually(lambda: self.at_hub.events(regarding=name) >= set(reasons), what=f"events {', '.join(reasons)}")

    def wait(
        self,
        name: str,
        type_: str,
        status: str,
        *,
        reason: str = "",
        namespace: str = NAMESPACE,
        resource: str = "chatservices",
        seconds: float = SETTLE_SECONDS,
    ) -> Body:
        """Wait for a condition that was derived from the present generation; returns the object."""

        def holds() -> Body:
            body = self.at_hub.get(resource, name, namespace)
            found = condition_of(body, type_)
            current = found.get("observedGeneration") == body["metadata"]["generation"]
            right = found.get("status") == status and reason in ("", found.get("reason"))
            assert current and right, _said(body)
            return body

        return eventually(holds, deadline=seconds, what=f"{resource} {name}: {type_} is {status} {reason}".rstrip())

    def delete(self, *names: str, namespace: str = NAMESPACE) -> None:
        """Delete services and wait until they are gone."""
        for name in names:
            self.at_hub.delete("chatservices", name, namespace)
        for name in names:
            self.wait_gone(name, namespace)

    def wait_gone(self, name: str, namespace: str = NAMESPACE) -> None:
        """Wait until a service is no longer there."""

        def gone() -> bool:
            body = self.at_hub.find("chatservices", name, namespace)
            assert body is None, _said(body)
            return True

        eventually(gone, deadline=SETTLE_SECONDS, what=f"{name} is gone")

    def look_again(self, name: str, namespace: str = NAMESPACE) -> None:
        """Have a service reconciled once more, by an annotation that means nothing, and wait until that is over."""
        before = self.reconciles()
        note = {"metadata": {"annotations": {"example.com/touched": str(time.monotonic())}}}
        self.at_hub.patch("chatservices", name, note, namespace)
        eventually(lambda: self.reconciles() > before, deadline=SETTLE_SECONDS)

    def reconciles(self) -> float:
        """How many reconciles of ChatServices have ended."""
        return metric(self.running, "controller_runtime_reconcile_total", controller="ChatService")

    def writes(self) -> dict[str, float]:
        """How much was written so far."""
        return {
            "children": self.running.metric("roadstead_child_writes_total"),
            "statuses": metric(self.running, "roadstead_status_writes_total", kind="ChatService"),
        }

    def state(self, name: str, namespace: str = NAMESPACE) -> dict[str, Body]:
        """Everything of one service everywhere: the object itself, its revisions and its children by region."""
        found = {"hub/chatservice": self.service(name, namespace)}
        found |= {f"hub/revision/{item['metadata']['name']}": item for item in self.at_hub.revisions(name, namespace)}
        for place, objects in {"hub": self.at_hub, **self.at}.items():
            found |= {f"{place}/{key}": body for key, body in objects.children(name, namespace).items()}
        return found


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a region's Deployment. ``at`` is monotonic; ``settled``: all its pods are new and ready."""

    at: float
    image: str
    settled: bool
    ready: int


class Recorder:
    """Looks at a service's Deployments in all regions, again and again, while a test goes on.

    Args:
        places: where each region's Deployment is.
        service: its name.
    """

    def __init__(self, places: Mapping[str, Objects], service: str) -> None:
        self._places = places
        self._service = service
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: dict[str, list[Sample]] = {region: [] for region in places}

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._end.is_set():
            for region, objects in self._places.items():
                with contextlib.suppress(OSError, ApiError):
                    found = objects.get("deployments", f"{self._service}-{region}")
                    self.samples[region].append(_sample(found))
            self._end.wait(0.02)

    def images(self, region: str) -> list[str]:
        """Tags of the images that were seen there, in order, each once in a row."""
        return [image.rpartition(":")[2] for image, _ in itertools.groupby(s.image for s in self.samples[region])]

    def moved(self, region: str, tag: str) -> float:
        """When the region was first seen with this version."""
        return next(sample.at for sample in self.samples[region] if sample.image.endswith(f":{tag}"))

    def settled(self, region: str, tag: str) -> float:
        """When the region was first seen to run nothing but this version."""
        return next(s.at for s in self.samples[region] if s.settled and s.image.endswith(f":{tag}"))

    def most_unsettled(self) -> int:
        """How many regions were at most in between two versions at the same time."""
        changes = sorted((s.at, region, s.settled) for region, samples in self.samples.items() for s in samples)
        unsettled: set[str] = set()
        most = 0
        for _, region, settled in changes:
            unsettled = unsettled - {region} if settled else unsettled | {region}
            most = max(most, len(unsettled))
        return most

    def fewest_ready(self, region: str) -> int:
        """The smallest number of ready pods that was seen."""
        return min(sample.ready for sample in self.samples[region])


def _sample(deployment: Body) -> Sample:
    status = deployment.get("status") or {}
    wanted = deployment["spec"]["replicas"]
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    current = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return Sample(
        time.monotonic(), image_of(deployment), current and counts == {wanted}, int(status.get("readyReplicas", 0))
    )


@contextlib.contextmanager
def world(
    start_cluster: StartCluster,
    regions: Sequence[str] = ("hkg", "sgp"),
    *,
    probe: Mapping[str, Any] | None = None,
    node_count: int = 2,
) -> Iterator[World]:
    """Start hub and members, connect them, and give the namespace and its certificate; no operator yet.

    Args:
        start_cluster: the fixture.
        regions: names of the regions that are clusters of their own.
        probe: spec.probe of the regions; default: every two seconds.
        node_count: fake nodes of each member.
    """
    hub = start_cluster("hub", with_crds=True)
    made = World(hub, {name: start_cluster(name) for name in regions})
    grant(hub)
    made.at_hub.namespace(NAMESPACE)
    make_certificate(made.at_hub, SECRET)
    probe = probe or {"interval": "2s", "timeout": "2s", "failureThreshold": 2}
    for name, cluster in made.members.items():
        cluster.add_nodes(node_count, labels={nodes.REGION_LABEL: name})
        made.at[name].namespace(NAMESPACE)
        connect(hub, cluster, name, probe=probe)
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def running(start_cluster: StartCluster) -> Iterator[World]:
    """`world` with a running operator, which must not have met an error that nobody foresaw; its log is shown."""
    with world(start_cluster) as made:
        made.start()
        try:
            yield made
        finally:
            print(f"--- log of the operator ---\n{made.running.log_path.read_text()[-6000:]}")
        assert made.running.metric("controller_runtime_reconcile_panics_total") == 0, "an error that nobody foresaw"


def chat(name: str, regions: Sequence[str] = ("hkg", "sgp"), *, namespace: str = NAMESPACE, **edits: Any) -> Body:
    """A ChatService that is ready quickly; ``edits`` are fields by path, with ``__`` for dots."""
    # An API server drops what it does not know at the root, so a path without spec would test nothing.
    assert all(path.startswith(("spec", "metadata")) for path in edits), edits
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "ChatService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "image": IMAGE.format("1.0"),
            "topology": {"mode": "ActiveActive", "regions": [{"name": region} for region in regions]},
            "replicas": 1,
            "tls": {"secretName": SECRET},
            "rollout": {"bakeTime": "0s"},
        },
    }
    return edited(body, {path.replace("__", "."): value for path, value in edits.items()})


def pool(name: str, node_selector: Mapping[str, str], **spec: Any) -> Body:
    """A Region that is a node pool of the hub."""
    return {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Region",
        "metadata": {"name": name},
        "spec": {"cluster": {"inCluster": {"nodeSelector": dict(node_selector)}}, "jurisdiction": "HK", **spec},
    }


def make_certificate(objects: Objects, name: str, content: str = "one", namespace: str = NAMESPACE) -> None:
    """A Secret of type kubernetes.io/tls, or its replacement by another content."""
    encoded = base64.b64encode(content.encode()).decode()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": encoded, "tls.key": encoded},
    }
    objects.apply("secrets", body, namespace)


def children_of(name: str, region: str, *more: str) -> set[str]:
    """Every object of a service in one region, as docs/concepts lists them; ``more`` are those that its spec adds."""
    base = f"{name}-{region}"
    return {
        f"serviceaccounts/{base}",
        f"secrets/{base}-tls",
        f"services/{base}",
        f"services/{base}-peers",
        f"deployments/{base}",
        f"poddisruptionbudgets/{base}",
        f"networkpolicies/{base}-default-deny",
        f"networkpolicies/{base}-allow",
        *more,
    }


def condition_of(body: Mapping[str, Any], type_: str) -> Body:
    """One condition of an object; empty when it is not there."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == type_), {})


def metric(operator: Operator, name: str, **labels: str) -> float:
    """Sum of a metric over the series with these labels; 0 when there is none."""
    _, text = operator.fetch("/metrics")
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{")) and all(part in line for part in wanted)
    )


def versions(state: Mapping[str, Body]) -> dict[str, str]:
    """Uid and resourceVersion of each object: equal for two states exactly when nothing was written in between."""
    return {key: f"{body['metadata']['uid']} {body['metadata']['resourceVersion']}" for key, body in state.items()}


def image_of(workload: Mapping[str, Any]) -> str:
    """The image of a Deployment's or StatefulSet's only container."""
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def _path(resource: str, namespace: str, name: str = "") -> str:
    space = "" if resource in _CLUSTER_SCOPED or not namespace else f"/namespaces/{namespace}"
    return f"{_GROUPS[resource]}{space}/{resource}" + (f"/{name}" if name else "")


def _said(body: Mapping[str, Any]) -> str:
    """What an object says of itself, for the message of a test that waited in vain."""
    status = body.get("status") or {}
    said = [f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in status.get("conditions") or ()]
    said += [json.dumps({key: status[key] for key in ("rollout", "regions") if key in status})]
    return "\n".join(said)
