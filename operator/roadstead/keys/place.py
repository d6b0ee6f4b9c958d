"""One region of a ring: what is there is read, and what a pass writes there is conditional on what it has read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from roadstead.api.conditions import Reason
from roadstead.api.keyring import RingRegion
from roadstead.api.ranges import from_ranges
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
from roadstead.keys.material import Material
from roadstead.keys.regional import Held
from roadstead.keys.sealing import Purpose, Recipients
from roadstead.keys.state import Keyset, RegionView
from roadstead.keys.stored import Dek
from roadstead.keys.versions import Version


@dataclass(frozen=True, slots=True)
class Found:
    """A Secret with keys as it was read; None: there is none."""

    secret: Mapping[str, Any] | None = None
    held: Held = regional.NOTHING


NOTHING: Final = Found()
NOTHING_PROVED: Final = Proved(frozenset(), 0)
MOST_GONE: Final = 50
"""Answers of pods that are no more, until they are taken away."""


@dataclass(frozen=True, slots=True)
class Place:
    """One region as it was read.

    Attributes:
        name: of the Region.
        wanted: the spec names it.
        client: its cluster; None: it cannot be read.
        serving: the Secret with its keyset, and what it holds.
        rewrap: the Secret with what is only written anew, and what it holds.
        pods: uids of those that use the ring.
        can_answer: there is a place for their answers.
        answers: of them, as they were received.
        proved: what each of them has proved.
        recipients: whom keysets are sealed for; None: they are given in clear text.
        problem: why it cannot be read or written.
        reason: the same in one word.
        gone: uids of pods whose answers are still there and that are not.
    """

    name: str
    wanted: bool
    client: ClusterClient | None = None
    serving: Found = NOTHING
    rewrap: Found = NOTHING
    pods: frozenset[str] = frozenset()
    can_answer: bool = False
    answers: tuple[Answer, ...] = ()
    proved: Mapping[str, Proved] | None = None
    recipients: Recipients | None = None
    gone: frozenset[str] = frozenset()
    problem: str = ""
    reason: Reason = Reason.REGION_UNREADABLE

    @property
    def for_nobody(self) -> bool:
        """Whether nothing can be given to it, since it is to be sealed and there is no public key."""
        return self.recipients is not None and not self.recipients.points

    def troubled(self, problem: str, reason: Reason) -> Place:
        """The same, with what went wrong there."""
        return replace(self, problem=problem, reason=reason)


async def read(
    name: str, ring: Key, ring_id: str, regions: frozenset[str], ctx: Context, *, wanted: bool, encrypted: bool
) -> Place:
    """Read a region. What fails is said in the place.

    Args:
        name: of the Region.
        ring: the KeyRing.
        ring_id: its identity.
        regions: all of the ring.
        ctx: of the pass.
        wanted: the spec names it.
        encrypted: keysets are to be sealed for it.
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
        serving = await client.find(objects.SECRETS, ring.namespace, regional.keyset_name(ring.name, name))
        rewrap = await client.find(objects.SECRETS, ring.namespace, regional.rewrap_name(ring.name, name))
        config_map = await client.find(objects.CONFIG_MAPS, ring.namespace, regional.receipts_name(ring.name, name))
        pods: set[str] = set()
        async for items, _ in client.pages(objects.PODS, ring.namespace, labels=label):
            pods |= regional.consumers(items, label, regions - {name})
    except Fatal:
        raise
    except RoadsteadError as error:
        return Place(name, wanted, problem=f"region {name}: {error}", reason=Reason.REGION_UNREADABLE)
    asked = Asked(ring_id, name)
    place = Place(
        name,
        wanted,
        client,
        Found(serving, regional.held_in(asked, serving, Purpose.SERVING)),
        Found(rewrap, regional.held_in(asked, rewrap, Purpose.REWRAP)),
        frozenset(pods),
        config_map is not None,
        regional.answers_in(config_map),
        # Read before the pods: whoever had answered by then was a pod then.
        gone=frozenset((config_map or {}).get("data") or ()) - pods,
        recipients=Recipients.of(site.public_keys) if encrypted else None,
    )
    return place.troubled(_no_key(name), Reason.NO_PUBLIC_KEY) if place.for_nobody else place


def _no_key(name: str) -> str:
    return (
        f"spec.distribution is Encrypted, and Region {name} has no spec.keyEncryption.publicKeys to seal keysets for; "
        "make a key pair there with `roadstead keys agent keygen`, and write the public key into the Region. Until "
        "then it keeps what it has"
    )


def numbers_to_check(places: Iterable[Place]) -> frozenset[int]:
    """The versions that are needed to tell whether what regions have sealed is ours."""
    held = (found.held for place in places for found in (place.serving, place.rewrap))
    return frozenset[int]().union(*map(regional.authenticated_with, held))


def checked(place: Place, ring_id: str, keys: Sequence[Material], known: int) -> Place:
    """The same, with whatever is not in the form that the operator makes now taken for damaged.

    Args:
        place: as it was read.
        ring_id: identity of the ring.
        keys: at least those of `numbers_to_check` that the hub has.
        known: the newest generation of its keyset that the status knows of.
    """
    asked = Asked(ring_id, place.name)

    def right(found: Found, known: int) -> Found:
        if found.secret is None:
            return found
        return replace(found, held=regional.checked(found.held, asked, keys, place.recipients, known))

    return replace(place, serving=right(place.serving, known), rewrap=right(place.rewrap, 0))


@dataclass(frozen=True, slots=True)
class Given:
    """Of whom a keyset is.

    Attributes:
        owner: the KeyRing.
        ring_id: its identity.
        generation: the newest that the status knows of in the region.
    """

    owner: Owner
    ring_id: str
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a region did not take something."""

    problem: str
    reason: Reason


async def give(
    place: Place, name: str, there: Found, keyset: Keyset, keys: Iterable[Material], given: Given
) -> Found | Refusal:
    """Write a keyset over the one that was read, or take it away when there is nothing in it.

    Args:
        place: as it was read.
        name: of the Secret.
        there: what was read of it.
        keyset: what the region should have.
        keys: the material of its versions.
        given: by whom.

    Returns:
        What is there then, or why it is not.

    Raises:
        Conflict: somebody has written meanwhile.
    """
    owner, client = given.owner, place.client
    if client is None:
        return Refusal(place.problem, place.reason)
    child = Child(objects.SECRETS, owner.key.namespace, name, {})
    not_ours = Refusal(
        f"region {place.name}: {child} exists and is not ours; delete it, it is never taken over", Reason.NOT_OURS
    )
    if not keyset.keys:
        if there.secret is not None:
            if claim(there.secret["metadata"], owner, place.name) is Claim.FOREIGN:
                return not_ours
            await client.delete(child.gvr, child.namespace, name, uid=there.secret["metadata"]["uid"])
        return NOTHING
    if place.for_nobody:
        return Refusal(place.problem, place.reason)
    if there.secret is not None and place.recipients is not None and regional.is_exposed(there.secret):
        # An apply leaves what somebody else wrote beside it. The next pass makes it anew; mounts keep what they have.
        if claim(there.secret["metadata"], owner, place.name) is Claim.FOREIGN:
            return not_ours
        await client.delete(child.gvr, child.namespace, name, uid=there.secret["metadata"]["uid"])
        return Found(None, Held(generation=there.held.generation))
    generation = max(there.held.generation, given.generation) + 1
    asked = Asked(given.ring_id, place.name)
    purpose = Purpose.SERVING if name == regional.keyset_name(owner.key.name, place.name) else Purpose.REWRAP
    child = regional.keyset_secret(asked, child.namespace, name, keyset, keys, generation, place.recipients, purpose)
    try:
        written = await _apply(client, child, there.secret, place.name, owner)
    except (Fatal, Conflict):
        raise
    except NotFound:
        words = (
            f"namespace {child.namespace} is not in region {place.name}; create it there, "
            "the operator makes no namespaces in members"
        )
        return Refusal(words, Reason.NAMESPACE_MISSING)
    except RoadsteadError as error:
        return Refusal(f"region {place.name}: {without_content(child, str(error))}", Reason.REFUSED)
    return not_ours if written is None else Found(written, regional.held_in(asked, written, purpose))


async def offer_receipts(place: Place, owner: Owner) -> Place:
    """Make the ConfigMap for answers wherever there is a keyset: also where a crash or a person took it away."""
    if place.client is None or not place.serving.held.keyset.keys:
        return place
    if place.can_answer:
        await _drop_gone(place, owner)
        return place
    child = regional.receipts(owner.key.namespace, owner.key.name, place.name)
    await _apply(place.client, child, None, place.name, owner)
    return replace(place, can_answer=True)


async def _drop_gone(place: Place, owner: Owner) -> None:
    """Take the answers of pods away that are no more: nobody else does, and a ConfigMap takes no more than 1 MiB.

    Many at a time, so that a rollout is not followed by a write for each of its pods.
    """
    if place.client is None or len(place.gone) < MOST_GONE:
        return
    name = regional.receipts_name(owner.key.name, place.name)
    found = await place.client.find(objects.CONFIG_MAPS, owner.key.namespace, name, metadata_only=True)
    if found is None or claim(found["metadata"], owner, place.name) is not Claim.OURS:
        return  # whatever it holds is not ours to take away
    body = {"metadata": {"uid": found["metadata"]["uid"]}, "data": dict.fromkeys(sorted(place.gone))}
    await place.client.merge_patch(objects.CONFIG_MAPS, owner.key.namespace, name, body, manager=objects.FIELD_MANAGER)


async def clear(place: Place, owner: Owner) -> None:
    """Take what is ours out of a region."""
    if place.client is None:
        return
    namespace = owner.key.namespace
    receipts = await place.client.find(
        objects.CONFIG_MAPS, namespace, regional.receipts_name(owner.key.name, place.name), metadata_only=True
    )
    secrets = ((objects.SECRETS, found.secret) for found in (place.serving, place.rewrap))
    for gvr, found in (*secrets, (objects.CONFIG_MAPS, receipts)):
        if found is not None and claim(found["metadata"], owner, place.name) is Claim.OURS:
            await place.client.delete(gvr, namespace, found["metadata"]["name"], uid=found["metadata"]["uid"])


def only_there(place: Place, stored: Mapping[int, Dek]) -> int:
    """A version that the region has and the hub does not; 0: there is none."""
    for number, fingerprint in (*place.serving.held.keyset.keys, *place.rewrap.held.keyset.keys):
        if number not in stored or stored[number].fingerprint != fingerprint:
            return number
    return 0


def view(place: Place, primary: int, *, excluded: bool) -> RegionView:
    """What a decision needs to know of it.

    Args:
        place: as it was read, with what its pods have proved.
        primary: number of the version to write with; 0: none yet.
        excluded: a person has said that nothing waits for it.
    """
    if place.client is None:
        return RegionView(place.name, None, excluded=excluded)
    proved = _proofs(place)
    return RegionView(
        place.name,
        _keyset(place.serving.held),
        consumers=bool(place.pods),
        reads=frozenset.intersection(*(one.reads for one in proved)) if proved else frozenset(),
        writes=min((one.writes for one in proved), default=0),
        rewrap=_keyset(place.rewrap.held),
        stored=stored(proved, primary),
        wanted=frozenset[int]().union(*(one.wanted for one in proved)),
        excluded=excluded,
    )


def stored(proved: Sequence[Proved], primary: int) -> dict[int, int] | None:
    """Number of ciphertexts by version that the pods of a region still store; None: not each has said so.

    What a pod counted before it wrote with the primary is worth nothing: it may have written with an older version
    since.
    """
    counts = [one.inventory for one in proved if one.inventory is not None and one.writes == primary]
    if not counts or len(counts) < len(proved):
        return None
    named = set(counts[0]).intersection(*counts)
    return {number: sum(count[number] for count in counts) for number in named}


def _proofs(place: Place) -> list[Proved]:
    """What each pod has proved: a pod that has not answered has proved nothing."""
    return [(place.proved or {}).get(pod, NOTHING_PROVED) for pod in sorted(place.pods)]


def _keyset(held: Held) -> Keyset:
    # What is damaged is not what anybody wants, so it is written anew; what was in it still counts.
    return Keyset(held.keyset.keys, -1) if held.damaged else held.keyset


def facts(
    place: Place, versions: tuple[Version, ...], known: RingRegion | None, *, excluded: bool
) -> derived.RegionFacts:
    """What its status is derived from.

    Args:
        place: as it was read.
        versions: the ledger.
        known: what the status has said of it; None: nothing.
        excluded: nothing waits for it.
    """
    current = life.primary(versions) or life.coming(versions)
    proofs = _proofs(place)
    seen = view(place, current.number if current else 0, excluded=excluded)
    if place.client is not None and place.proved is None and known is not None:
        # The provider is away, so no answer can be verified: what was proved before has not become untrue by that.
        seen = replace(seen, reads=from_ranges(known.reads), writes=known.writes)
        count = min(known.proved, len(place.pods))
    else:
        count = sum(1 for one in proofs if current is not None and current.number in one.reads)
    return derived.RegionFacts(
        name=place.name,
        wanted=place.wanted,
        keyset=place.serving.held.keyset if place.client is not None else None,
        # Never less: what is counted from it must not repeat while the region is away or has lost its Secret.
        generation=max(place.serving.held.generation, known.generation if known else 0),
        consumers=len(place.pods),
        proved=count,
        reads=seen.reads,
        writes=seen.writes,
        inventories=tuple(one.inventory for one in proofs),
        excluded=excluded,
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
