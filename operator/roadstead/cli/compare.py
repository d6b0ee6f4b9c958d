"""What is in a region's cluster, beside what would be: reads, and dry runs that write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roadstead.cli.difference import unified, without_dropped
from roadstead.cli.exits import FIELD_MANAGER
from roadstead.cli.hub import everything
from roadstead.cli.plan import Action, Change
from roadstead.kernel import objects
from roadstead.kernel.apply import body_hash_of
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import Forbidden, Invalid, NotFound, NotServed
from roadstead.kernel.objects import CHILD_TYPES, HUB_ONLY_TYPES, OPTIONAL_TYPES, Child, Gvr
from roadstead.kernel.ownership import Claim, Owner, claim, stamped

MOST_AT_ONCE = 8

Live = Mapping[tuple[Gvr, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where is compared: the cluster, whose children, of which region. ``in_hub``: with the person's own rights."""

    client: ClusterClient
    owner: Owner
    region: str
    in_hub: bool


async def compare(place: Place, children: Sequence[Child], *, unread: frozenset[Gvr] = frozenset()) -> list[Change]:
    """What would happen to every object of a service in a region.

    Args:
        place: where.
        children: what should be there.
        unread: types whose desired content is not known here; they are not compared.

    Raises:
        RoadsteadError: the cluster does not answer or does not let its objects be read.
    """
    namespace = place.owner.key.namespace
    if await place.client.find(objects.NAMESPACES, "", namespace, metadata_only=True) is None:
        missing = Change(
            f"Namespace {namespace}",
            Action.REFUSED,
            message=f"does not exist in this region's cluster; create it there: kubectl create namespace {namespace}",
        )
        return [missing, *(Change(str(child), Action.CREATE, _created(place, child)) for child in children)]
    live = await existing(place)
    turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(child: Child) -> Change:
        async with turns:
            if child.gvr in unread:
                return Change(
                    str(child), Action.UNKNOWN, message="its source in the hub cannot be read with your rights"
                )
            return await _change(place, child, live.get((child.gvr, child.name)))

    changes = await asyncio.gather(*(one(child) for child in children))
    wanted = {(child.gvr, child.name) for child in children}
    return [*changes, *deletions({identity: body for identity, body in live.items() if identity not in wanted})]


async def existing(place: Place) -> Live:
    """Every object that the service has in the region, found by its labels as the operator finds them."""
    key = place.owner.key
    labels = {
        objects.MANAGED_BY_LABEL: objects.MANAGED_BY,
        objects.HUB_LABEL: place.owner.hub,
        objects.OWNER_KIND_LABEL: key.kind,
        objects.OWNER_NAMESPACE_LABEL: key.namespace,
        objects.OWNER_NAME_LABEL: key.name,
        objects.REGION_LABEL: place.region,
    }
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    types = [gvr for gvr in CHILD_TYPES if gvr not in HUB_ONLY_TYPES]
    types = [gvr for gvr in types if gvr not in OPTIONAL_TYPES or await place.client.serves(gvr)]
    lists = await asyncio.gather(*(everything(place.client, gvr, key.namespace, labels=selector) for gvr in types))
    return {
        (gvr, body["metadata"]["name"]): {"apiVersion": gvr.api_version, "kind": gvr.kind, **body}
        for gvr, bodies in zip(types, lists, strict=True)
        for body in bodies
    }


def deletions(live: Live) -> list[Change]:
    """What is said of objects that would go."""
    return [
        Change(f"{gvr.kind} {body['metadata'].get('namespace', '')}/{name}", Action.DELETE)
        for (gvr, name), body in live.items()
        if "deletionTimestamp" not in body["metadata"]
    ]


async def _change(place: Place, child: Child, live: dict[str, Any] | None) -> Change:
    client, name = place.client, str(child)
    live = live or await client.find(child.gvr, child.namespace, child.name)
    if live is not None and claim(live["metadata"], place.owner, place.region) is Claim.FOREIGN:
        return Change(name, Action.CONFLICT, message="exists and is not ours; delete it or rename the service")
    body = _body(place, child)
    try:
        after = await client.apply(
            child.gvr, child.namespace, child.name, body, manager=FIELD_MANAGER, force=True, dry_run=True
        )
    except (Forbidden, Invalid, NotFound, NotServed) as error:
        if place.in_hub and isinstance(error, Forbidden) and "cannot patch resource" in str(error):
            return Change(name, Action.UNKNOWN, message=f"you may not try it: {error}")
        return Change(name, Action.REFUSED, message=str(error))
    if live is None:
        return Change(name, Action.CREATE, _created(place, child))
    diff = unified(live, without_dropped(after, live, body), _path(place, child))
    return Change(name, Action.UPDATE if diff else Action.KEEP, diff)


def _created(place: Place, child: Child) -> str:
    """As the operator writes it: what the server fills in would only be noise."""
    return unified(None, _body(place, child), _path(place, child))


def _body(place: Place, child: Child) -> dict[str, Any]:
    return stamped(child, place.owner, place.region, body_hash_of(child, place.owner.uid))


def _path(place: Place, child: Child) -> str:
    return f"{place.region}/{child.gvr.kind}/{child.namespace}/{child.name}"
