"""One region of a ring: what is there is read, and what a pass writes there is conditional on what it has read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from roadstead.api.conditions import Reason
from roadstead.kernel import objects
from roadstead.kernel.apply import body_hash_of, without_content
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Conflict, Fatal, NotFound, RoadsteadError
from roadstead.kernel.objects import Child, Key
from roadstead.kernel.ownership import Claim, Owner, claim, stamped
from roadstead.keys import regional
from roadstead.keys import status as derived
from roadstead.keys import versions as life
from roadstead.keys.challenge import Answer, Asked, Proved
from roadstead.keys.decide import Keyset, RegionView
from roadstead.keys.material import Material
from roadstead.keys.regional import Held
from roadstead.keys.versions import Version


@dataclass(frozen=True, slots=True)
class Place:
    """One region as it was read.

    Attributes:
        name: of the Region.
        wanted: the spec names it.
        client: its cluster; None: it cannot be read.
        secret: its keyset as it is there.
        held: the same, understood.
        pods: uids of those that use the ring.
        can_answer: there is a place for their answers.
        answers: of them, as they were received.
        proved: what each of them has proved.
        problem: why it cannot be read or written.
        reason: the same in one word.
    """

    name: str
    wanted: bool
    client: ClusterClient | None = None
    secret: Mapping[str, Any] | None = None
    held: Held = regional.NOTHING
    pods: frozenset[str] = frozenset()
    can_answer: bool = False
    answers: tuple[Answer, ...] = ()
    proved: Mapping[str, Proved] | None = None
    problem: str = ""
    reason: Reason = Reason.REGION_UNREADABLE

    def troubled(self, problem: str, reason: Reason) -> Place:
        """The same, with what went wrong there."""
        return replace(self, problem=problem, reason=reason)


async def read(name: str, ring: Key, ring_id: str, regions: frozenset[str], ctx: Context, *, wanted: bool) -> Place:
    """Read a region. What fails is said in the place.

    Args:
        name: of the Region.
        ring: the KeyRing.
        ring_id: its identity.
        regions: all of the ring.
        ctx: of the pass.
        wanted: the spec names it.
    """
    site = ctx.fleet.site(name)
    if site is None:
        problem = f"spec.regions names {name}, but there is no Region {name}; create it or remove the entry"
        return Place(name, wanted, problem=problem, reason=Reason.REGION_NOT_FOUND)
    if not site.usable or site.member is None:
        problem = f"region {name} cannot be reached: {site.message or 'not everything there has been read yet'}"
        return Place(name, wanted, problem=problem, reason=Reason.REGION_UNREACHABLE)
    client, label = site.member.client, regional.consumer_label(ring.name)
    try:
        secret = await client.find(objects.SECRETS, ring.namespace, regional.keyset_name(ring.name, name))
        config_map = await client.find(objects.CONFIG_MAPS, ring.namespace, regional.receipts_name(ring.name, name))
        pods: set[str] = set()
        async for items, _ in client.pages(objects.PODS, ring.namespace, labels=label):
            pods |= regional.consumers(items, label, regions - {name})
    except Fatal:
        raise
    except RoadsteadError as error:
        return Place(name, wanted, problem=f"region {name}: {error}", reason=Reason.REGION_UNREADABLE)
    return Place(
        name,
        wanted,
        client,
        secret,
        regional.held_in(ring_id, secret),
        frozenset(pods),
        config_map is not None,
        regional.answers_in(config_map),
    )


async def give(place: Place, keyset: Keyset, keys: Iterable[Material], known: int, ring_id: str, owner: Owner) -> Place:
    """Write a keyset over the one that was read, or take it away when there is nothing in it.

    Args:
        place: as it was read.
        keyset: what the region should have.
        keys: the material of its versions.
        known: the newest generation that the status knows of.
        ring_id: identity of the ring.
        owner: the KeyRing.

    Raises:
        Conflict: somebody has written meanwhile.
    """
    namespace, ring = owner.key.namespace, owner.key.name
    if place.client is None:
        return place
    if not keyset.keys:
        if place.secret is not None:
            metadata = place.secret["metadata"]
            await place.client.delete(objects.SECRETS, namespace, metadata["name"], uid=metadata["uid"])
        return replace(place, secret=None, held=regional.NOTHING)
    generation = max(place.held.generation, known) + 1
    child = regional.keyset_secret(Asked(ring_id, place.name), namespace, ring, keyset, keys, generation)
    try:
        written = await _apply(place.client, child, place.secret, place.name, owner)
    except (Fatal, Conflict):
        raise
    except NotFound:
        words = (
            f"namespace {namespace} is not in region {place.name}; create it there, "
            "the operator makes no namespaces in members"
        )
        return place.troubled(words, Reason.NAMESPACE_MISSING)
    except RoadsteadError as error:
        return place.troubled(f"region {place.name}: {without_content(child, str(error))}", Reason.REFUSED)
    if written is None:
        words = f"region {place.name}: {child} exists and is not ours; delete it, it is never taken over"
        return place.troubled(words, Reason.NOT_OURS)
    return replace(place, secret=written, held=regional.held_in(ring_id, written))


async def offer_receipts(place: Place, owner: Owner) -> Place:
    """Make the ConfigMap for answers wherever there is a keyset: also where a crash or a person took it away."""
    if place.client is None or place.can_answer or not place.held.keyset.keys:
        return place
    child = regional.receipts(owner.key.namespace, owner.key.name, place.name)
    await _apply(place.client, child, None, place.name, owner)
    return replace(place, can_answer=True)


async def clear(place: Place, owner: Owner) -> None:
    """Take what is ours out of a region."""
    if place.client is None:
        return
    namespace = owner.key.namespace
    receipts = await place.client.find(
        objects.CONFIG_MAPS, namespace, regional.receipts_name(owner.key.name, place.name), metadata_only=True
    )
    for gvr, found in ((objects.SECRETS, place.secret), (objects.CONFIG_MAPS, receipts)):
        if found is not None and claim(found["metadata"], owner, place.name) is Claim.OURS:
            await place.client.delete(gvr, namespace, found["metadata"]["name"], uid=found["metadata"]["uid"])


def view(place: Place) -> RegionView:
    """What a decision needs to know of it."""
    if place.client is None:
        return RegionView(place.name, None)
    proved = [(place.proved or {}).get(pod, Proved(frozenset(), 0)) for pod in place.pods]
    keyset = place.held.keyset
    if place.held.damaged:
        keyset = Keyset(keyset.keys, -1)  # not what anybody wants, so it is written anew; what was in it still counts
    return RegionView(
        place.name,
        keyset,
        consumers=bool(place.pods),
        reads=frozenset.intersection(*(one.reads for one in proved)) if proved else frozenset(),
        writes=min((one.writes for one in proved), default=0),
    )


def facts(place: Place, versions: tuple[Version, ...]) -> derived.RegionFacts:
    """What its status is derived from."""
    current = life.primary(versions) or life.coming(versions)
    proved = [one for pod, one in (place.proved or {}).items() if pod in place.pods]
    seen = view(place)
    return derived.RegionFacts(
        name=place.name,
        wanted=place.wanted,
        keyset=place.held.keyset if place.client is not None else None,
        generation=place.held.generation,
        consumers=len(place.pods),
        proved=sum(1 for one in proved if current is not None and current.number in one.reads),
        reads=seen.reads,
        writes=seen.writes,
        problem=place.problem,
        reason=place.reason,
    )


async def _apply(
    client: ClusterClient, child: Child, there: Mapping[str, Any] | None, region: str, owner: Owner
) -> dict[str, Any] | None:
    """Create or replace exactly what was read; None when it is somebody else's."""
    if there is not None and claim(there["metadata"], owner, region) is Claim.FOREIGN:
        return None
    body = stamped(child, owner, region, body_hash_of(child, owner.uid))
    if there is None:
        body["metadata"]["resourceVersion"] = "1"  # no version that anything has: the apply creates, or is refused
    else:
        # The uid, too: with a version alone an apply would make again what was deleted meanwhile.
        body["metadata"] |= {field: there["metadata"][field] for field in ("uid", "resourceVersion")}
    return await client.apply(child.gvr, child.namespace, child.name, body, manager=objects.FIELD_MANAGER)
