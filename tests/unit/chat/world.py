"""A hub and regions in memory, for sequences that cannot be forced on real servers: what happens *between* two writes.

The real reconciler, stores and queue run over it. It answers as an API server does as far as a sequence needs: apply,
uid and resourceVersion as conditions, managedFields of our manager. Everything that depends on the server itself is
tested on real ones, in tests/integration.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from roadstead.chat.bulkhead import Bulkhead
from roadstead.chat.reconcile import ChatReconciler, regions_of
from roadstead.chat.removal import ABANDON_ANNOTATION
from roadstead.kernel import objects
from roadstead.kernel.context import Context, Result
from roadstead.kernel.errors import Conflict, NotFound, RoadsteadError, Unreachable
from roadstead.kernel.fleet import Fleet, Site
from roadstead.kernel.gate import Gate
from roadstead.kernel.metrics import Metrics
from roadstead.kernel.objects import CHAT_SERVICES, CHILD_TYPES, DEPLOYMENTS, SECRETS, Gvr, Key
from roadstead.kernel.queue import WorkQueue
from roadstead.kernel.resources import ResourceStore
from roadstead.kernel.store import ChildStore
from unit.chat.services import TEMPLATES
from unit.kernel.fake_clock import FakeClock

Body = dict[str, Any]
KEY = Key(CHAT_SERVICES.kind, "bank", "desk")
HUB = "hub-1"


def _fields(value: Any) -> Body:
    return {f"f:{name}": _fields(part) for name, part in value.items()} if isinstance(value, Mapping) else {}


class Cluster:
    """Objects of one API server, and the part of `ClusterClient` that a service's reconcile uses.

    ``before_apply`` is called before each write is carried out: another one's write may come in between there.
    ``away`` makes every request fail; ``unserved`` is what is answered about a type that is not served.
    """

    def __init__(self, name: str, versions: itertools.count[int]) -> None:
        self.name = name
        self.gate: Gate | None = None
        self.objects: dict[tuple[Gvr, str, str], Body] = {}
        self.writes = 0
        self.away = False
        self.unserved: dict[Gvr, RoadsteadError] = {}
        self.before_apply: Callable[[Gvr, Body], None] = lambda gvr, body: None
        self._versions = versions

    def version(self) -> str:
        return str(next(self._versions))

    def names(self, gvr: Gvr) -> set[str]:
        return {name for kind, _, name in self.objects if kind == gvr}

    def _check(self, gvr: Gvr) -> None:
        if self.away:
            raise Unreachable(f"{self.name} does not answer")
        if gvr in self.unserved:
            raise self.unserved[gvr]

    async def find(self, gvr: Gvr, namespace: str, name: str, *, metadata_only: bool = False) -> Body | None:
        try:
            return await self.get(gvr, namespace, name)
        except NotFound:
            return None

    async def get(self, gvr: Gvr, namespace: str, name: str, *, metadata_only: bool = False) -> Body:
        self._check(gvr)
        found = self.objects.get((gvr, namespace, name))
        if found is None:
            raise NotFound(f"{name} not found")
        return copy.deepcopy(found)

    async def pages(self, *_: Any, **__: Any) -> Any:
        yield [], "1"

    async def delete(self, gvr: Gvr, namespace: str, name: str, *, uid: str) -> bool:
        self._check(gvr)
        self.writes += 1
        self.objects.pop((gvr, namespace, name), None)
        return False

    async def merge_patch(self, gvr: Gvr, namespace: str, name: str, body: Body, *, manager: str) -> Body:
        self._check(gvr)
        found = self.objects[gvr, namespace, name]
        found["metadata"] |= {k: v for k, v in body["metadata"].items() if k == "finalizers"}
        if not found["metadata"]["finalizers"] and "deletionTimestamp" in found["metadata"]:
            del self.objects[gvr, namespace, name]
        return copy.deepcopy(found)

    async def apply(
        self,
        gvr: Gvr,
        namespace: str,
        name: str,
        body: Body,
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Body:
        self._check(gvr)
        self.before_apply(gvr, body)
        metadata, found = body["metadata"], self.objects.get((gvr, namespace, name))
        wanted = metadata.get("resourceVersion")
        if wanted == "1" and found is not None:
            raise Conflict(f"{name} already exists")
        if wanted not in (None, "1") and (found is None or found["metadata"]["resourceVersion"] != wanted):
            raise Conflict(f"{name}: the object has been modified")
        self.writes += 1
        made = copy.deepcopy(found) if found is not None else {"metadata": {"uid": str(uuid.uuid4()), "generation": 1}}
        made |= {"apiVersion": gvr.api_version, "kind": gvr.kind}
        made |= {part: copy.deepcopy(value) for part, value in body.items() if part != "metadata"}
        made["metadata"] |= {k: copy.deepcopy(v) for k, v in metadata.items() if k not in ("resourceVersion", "uid")}
        if not subresource:
            own = {part: value for part, value in body.items() if part not in ("apiVersion", "kind", "metadata")}
            meta = {
                k: v for k, v in metadata.items() if k in ("labels", "annotations", "ownerReferences", "finalizers")
            }
            entry = {"manager": manager, "operation": "Apply", "fieldsV1": _fields(own | {"metadata": meta})}
            made["metadata"]["managedFields"] = [entry]
        made["metadata"] |= {"name": name, "namespace": namespace, "resourceVersion": self.version()}
        self.objects[gvr, namespace, name] = made
        return copy.deepcopy(made)


class Operator:
    """One process: its own caches and queue over the world's clusters. Nothing runs but what a test asks for."""

    def __init__(self, world: World, regions: Sequence[str] | None = None) -> None:
        self.queue = WorkQueue(world.clock)
        self.resources = ResourceStore(
            lambda kind, body: regions_of(body) if kind == CHAT_SERVICES.kind else frozenset()
        )
        self.fleet = Fleet(lambda region: None)
        self.places = Bulkhead(self.queue.add, places=1)
        self.reconciler = ChatReconciler(lambda namespace, name: "v1", TEMPLATES, self.places)
        self.told: list[str] = []
        self._world = world
        hub = _member(world.hub)
        self.members = {name: _member(world.members[name]) for name in regions or world.members}
        for name, member in self.members.items():
            self.fleet.put(Site(name=name, jurisdiction="HK", reachable=True, member=member))
        self.context = Context(
            hub=hub,
            hub_id=HUB,
            namespace="roadstead-system",
            fleet=self.fleet,
            resources=self.resources,
            queue=self.queue,
            clock=world.clock,
            events=SimpleNamespace(emit=self._emit),  # type: ignore[arg-type]
            metrics=Metrics(CollectorRegistry()),
        )
        for member in (hub, *self.members.values()):
            self._list(member)

    def take_in(self, body: Body) -> Key | None:
        """The informer delivers a service."""
        return self.resources.upsert(CHAT_SERVICES.kind, copy.deepcopy(body))

    def away(self, region: str) -> None:
        """The region is known not to answer."""
        member = self.members.get(region)
        self.fleet.put(Site(name=region, jurisdiction="HK", reachable=False, message="no answer", member=member))

    def back(self, region: str) -> None:
        """The region answers again."""
        self.fleet.put(Site(name=region, jurisdiction="HK", reachable=True, member=self.members[region]))

    async def work(self, passes: int = 8, *, seconds: float = 1.0, ready: bool = True) -> Result:
        """Some passes over the service, with time between them in which pods become ready."""
        result = Result()
        for _ in range(passes):
            result = await self.reconciler.reconcile(KEY, self.context)
            if ready:
                self._pods_become_ready()
            await self._world.clock.advance(seconds)
        return result

    async def _emit(self, *_: object, reason: str, **__: object) -> bool:
        self.told.append(reason)
        return True

    def _list(self, member: Any) -> None:
        for (gvr, _, _), body in member.client.objects.items():
            if gvr in CHILD_TYPES and "managedFields" in body["metadata"]:
                member.store.upsert(gvr, body)

    def _pods_become_ready(self) -> None:
        for member in self.members.values():
            for (gvr, _, _), body in member.client.objects.items():
                if gvr == DEPLOYMENTS:
                    wanted = body["spec"].get("replicas", 1)
                    body["status"] = {"observedGeneration": body["metadata"]["generation"]}
                    body["status"] |= dict.fromkeys(
                        ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted
                    )
                    body["metadata"]["resourceVersion"] = member.client.version()
                    member.store.upsert(gvr, body, moved=True)


def _member(cluster: Cluster) -> Any:
    return SimpleNamespace(
        name=cluster.name, client=cluster, store=ChildStore(HUB), synced=True, served=frozenset[Gvr]()
    )


class World:
    """The clusters, and one service in the hub."""

    def __init__(self, *regions: str) -> None:
        self.clock = FakeClock()
        versions = itertools.count(100)
        self.hub = Cluster("hub", versions)
        self.members = {name: Cluster(name, versions) for name in regions}
        secret = {"name": "chat-tls", "namespace": KEY.namespace, "uid": str(uuid.uuid4()), "resourceVersion": "5"}
        self.hub.objects[SECRETS, KEY.namespace, "chat-tls"] = {
            "type": "kubernetes.io/tls",
            "metadata": secret,
            "data": {"tls.crt": "QQ==", "tls.key": "QQ=="},
        }

    @property
    def service(self) -> Body:
        """As it is in the hub."""
        return copy.deepcopy(self.hub.objects[CHAT_SERVICES, KEY.namespace, KEY.name])

    @property
    def status(self) -> Body:
        status: Body = self.service["status"]
        return status

    def region(self, name: str) -> Body | None:
        """What the status says of a region; None when it says nothing."""
        return next((entry for entry in self.status["regions"] if entry["name"] == name), None)

    def edit(self, *regions: str, **spec: Any) -> Body:
        """A person creates the service, or gives it another spec."""
        known = self.hub.objects.get((CHAT_SERVICES, KEY.namespace, KEY.name))
        identity = {"name": KEY.name, "namespace": KEY.namespace, "uid": str(uuid.uuid4()), "generation": 0}
        body: Body = copy.deepcopy(known) if known is not None else {"metadata": identity}
        body |= {"apiVersion": CHAT_SERVICES.api_version, "kind": CHAT_SERVICES.kind}
        body["spec"] = {
            "image": "chat:1",
            "replicas": 2,
            "topology": {"regions": [{"name": name} for name in regions]},
            "tls": {"secretName": "chat-tls"},
            "config": {"A": "1"},
            **spec,
        }
        body["metadata"]["generation"] += 1
        return self._stored(body)

    def delete(self) -> Body:
        """A person deletes the service."""
        body = self.service
        body["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"
        return self._stored(body)

    def give_up(self, *regions: str) -> Body:
        """A person gives regions up for the service."""
        body = self.service
        body["metadata"].setdefault("annotations", {})[ABANDON_ANNOTATION] = ",".join(regions)
        return self._stored(body)

    def image(self, region: str) -> str:
        """What runs there."""
        (body,) = [body for (gvr, _, _), body in self.members[region].objects.items() if gvr == DEPLOYMENTS]
        return str(body["spec"]["template"]["spec"]["containers"][0]["image"])

    def _stored(self, body: Body) -> Body:
        body["metadata"]["resourceVersion"] = self.hub.version()
        self.hub.objects[CHAT_SERVICES, KEY.namespace, KEY.name] = body
        return copy.deepcopy(body)


def is_deleted(world: World) -> bool:
    """Whether the finalizer was taken away and the service is gone."""
    return (CHAT_SERVICES, KEY.namespace, KEY.name) not in world.hub.objects


def children(world: World, region: str) -> int:
    """How many objects are in a region."""
    return sum(gvr in CHILD_TYPES for gvr, _, _ in world.members[region].objects)


def finalizers(world: World) -> list[str]:
    found: list[str] = world.service["metadata"].get("finalizers") or []
    return [name for name in found if name == objects.FINALIZER]
