"""What `explain-plan` reads of the hub, once for all services, and the connections that it opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from roadstead.api.region import Region
from roadstead.chat import revisions
from roadstead.chat.observed import Certificate, certificate_in
from roadstead.chat.revisions import Revision
from roadstead.cli.draft import Draft
from roadstead.cli.exits import ExitCode, Failure
from roadstead.cli.hub import Hub, everything, member_of
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import Forbidden, NotServed
from roadstead.kernel.objects import REGIONS, Key
from roadstead.kernel.templates import TemplateSet

ANY_CERTIFICATE: Final = Certificate({"tls.crt": "LS0tCg==", "tls.key": "LS0tCg=="})
"""Stands in where the content is not known; an object made from it is never compared or shown."""


@dataclass(frozen=True, slots=True)
class Source:
    """The certificate in the hub, or why it is none; ``unread`` when the person may not read it."""

    certificate: Certificate | None = None
    unread: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What is read once for all services. ``trials`` are Regions that only the file has."""

    hub: Hub
    regions: Mapping[str, Region]
    trials: frozenset[str]
    templates: TemplateSet
    now: datetime
    clients: dict[str, ClusterClient] = field(default_factory=dict)


async def stored_regions(hub: Hub) -> list[Region]:
    """Every Region in the hub that can be read."""
    found = []
    try:
        bodies = await everything(hub.client, REGIONS)
    except NotServed as error:
        raise Failure(f"{error}; is Roadstead installed in this cluster?", ExitCode.NOT_FOUND) from None
    for body in bodies:
        try:
            found.append(parse("Region", body))
        except SpecError:
            continue  # its Stalled condition says what is wrong; nothing is placed there
    return found


async def hub_id_of(world: World, key: Key, said: str) -> str:
    """What marks the operator's objects: said by the person, read off one of them, or what it is unless set."""
    if said:
        return said
    selector = f"{objects.MANAGED_BY_LABEL}={objects.MANAGED_BY},{objects.OWNER_NAME_LABEL}={key.name}"
    try:
        stored = await everything(world.hub.client, objects.CONTROLLER_REVISIONS, key.namespace, labels=selector)
        for body in stored:
            if hub := body["metadata"]["labels"].get(objects.HUB_LABEL):
                return str(hub)
    except Forbidden:
        pass
    try:
        namespace = await world.hub.client.get(objects.NAMESPACES, "", "kube-system", metadata_only=True)
    except Forbidden as error:
        raise Failure(f"{error}; say --hub-id, the uid of the hub's namespace kube-system", ExitCode.DENIED) from None
    return str(namespace["metadata"]["uid"])


async def certificate_of(world: World, drawn: Draft) -> Source:
    """The content of the Secret that the spec names."""
    name = drawn.service.spec.tls.secret_name
    if name is None:
        return Source()
    try:
        secret = await world.hub.client.find(objects.SECRETS, drawn.service.metadata.namespace, name)
    except Forbidden:
        return Source(ANY_CERTIFICATE, unread=True)
    certificate, fault = certificate_in(secret)
    return Source(certificate, fault=fault)


async def revision_of(world: World, drawn: Draft, region: str) -> Revision | None:
    """The revision that a region has in the end; None when it is not stored any more."""
    hash_ = drawn.revision_in(region)
    if hash_ == drawn.target.hash:
        return drawn.target
    metadata = drawn.service.metadata
    body = await world.hub.client.find(objects.CONTROLLER_REVISIONS, metadata.namespace, f"{metadata.name}-{hash_}")
    try:
        return None if body is None else revisions.from_object(body)
    except revisions.RevisionUnreadable:
        return None


async def client_of(world: World, region: Region) -> ClusterClient:
    """A connection to a region's cluster, opened once."""
    if region.spec.cluster.in_cluster is not None:
        return world.hub.client
    name = region.metadata.name
    if name not in world.clients:
        world.clients[name] = await member_of(world.hub.client, region)
    return world.clients[name]
