"""Leaving: a service that is being deleted, a region that it no longer names, and what a lost owner left behind.

Nothing is forgotten because a region cannot be reached: the finalizer stays until every region where the service may
have children has said that there are none, unless the Region was deleted or a person abandoned it by annotation. What
stays behind then is found by its labels when the region returns, and swept.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from roadstead.chat.bulkhead import BUSY, Bulkhead
from roadstead.kernel import objects
from roadstead.kernel.apply import Applier, Name, Outcome, applied_digest
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Fatal, ServerFault
from roadstead.kernel.fleet import Site
from roadstead.kernel.objects import Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.store import Record

ABANDON_ANNOTATION = "roadstead.dev/abandon"
"""On a service: names of regions that are given up for it, with commas between; ``*`` for all. While it
is deleted or leaves them they are not waited for, and admission does not ask whether another serves."""


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remainder:
    """What keeps a region from being left.

    Attributes:
        region: its name.
        message: what it is and, where a person can do something, the cure.
        awaited: nobody gave the region up. Whoever did does not wait; what is left there is tried again all the same.
    """

    region: str
    message: str
    awaited: bool = True


def abandoned(body: Mapping[str, Any]) -> frozenset[str]:
    """Regions that a person has told us not to wait for."""
    value = (body["metadata"].get("annotations") or {}).get(ABANDON_ANNOTATION, "")
    return frozenset(part.strip() for part in value.split(",") if part.strip())


def remaining(site: Site, key: Key) -> list[Record]:
    """The service's children in a region's cluster, as far as is known."""
    if site.member is None:
        return []
    return [r for r in site.member.store.children(key, site.name) if r.gvr not in objects.HUB_ONLY_TYPES]


def meddled(site: Site, key: Key, applied: str) -> bool:
    """Whether what is known of the children in a region is not what the status recorded as ``applied``."""
    records = remaining(site, key)
    return bool(applied) and applied != (applied_digest(records) if records else "")


async def leave(
    region: str,
    owner: Owner,
    ctx: Context,
    places: Bulkhead,
    *,
    give_up: bool = False,
    lost: Collection[Name] = (),
) -> Remainder | None:
    """Delete the service's children in one region.

    Args:
        region: the region's name.
        owner: the service.
        ctx: everything else.
        places: in each region.
        give_up: a person abandoned the region: do what can be done, and have nobody wait.
        lost: names of objects there that may have been the service's before they lost their labels.

    Returns:
        What is left there; None when nothing is, or when the region was given up and cannot be reached.
    """
    site = ctx.fleet.site(region)
    if site is None:
        return None  # the Region was deleted: that is how its children are given up
    if not site.usable or site.member is None:
        if give_up:
            return None
        why = site.message or "not everything there has been read yet"
        return Remainder(
            region,
            f"region {region} cannot be cleaned up: {why}; bring it back, delete the Region, or annotate the service "
            f"with {ABANDON_ANNOTATION}={region}",
        )
    records = remaining(site, owner.key)
    if not records and not lost:
        return None
    with places.place(region, owner.key, site.member.client.gate) as entered:
        if not entered:
            return Remainder(region, f"region {region}: {BUSY}", awaited=not give_up)
        try:
            applier = Applier(site.member.client, site.member.store, owner, region)
            await applier.delete(records)
            outcome = await applier.delete_lost(lost)
        except Fatal:
            raise
        except Exception as error:  # as in converge: what one region does must not hold up the others
            log.exception("unexpected error while leaving region %s", region)
            outcome = Outcome(failed=ServerFault(f"an error that nobody foresaw ({type(error).__name__}); see the log"))
    message = _left(region, outcome)
    return Remainder(region, message, awaited=not give_up) if message else None


def _left(region: str, outcome: Outcome) -> str:
    """What deleting has left in a region, in words; empty when nothing."""
    if outcome.failed is not None:
        return f"region {region}: {outcome.failed}"
    if outcome.refused:
        problem = outcome.refused[0]
        return f"region {region} refuses to delete {problem.child}: {problem.message}"
    if outcome.waiting:
        return f"region {region}: {outcome.waiting[0]} is still being deleted (look at its finalizers)"
    return ""


async def sweep(key: Key, ctx: Context, places: Bulkhead) -> str:
    """The service does not exist: delete what it left behind in every connected cluster.

    Its absence is proven by a live read first, since a cache may be behind. Returns what could not be done, in words.
    """
    left = [(member, records) for member in ctx.fleet.connected(ctx.hub) if (records := member.store.children(key))]
    if not left:
        return ""
    if await ctx.hub.client.find(objects.CHAT_SERVICES, key.namespace, key.name, metadata_only=True) is not None:
        return "exists after all; waiting for the informer"
    problems = []
    for member, records in left:
        with places.place(member.name, key, member.client.gate) as entered:
            if not entered:
                problems.append(f"{member.name}: {BUSY}")
                continue
            owner = Owner(ctx.hub_id, key, uid="")
            outcome = await Applier(member.client, member.store, owner, "").delete(records)
        if outcome.failed is not None:
            problems.append(str(outcome.failed))
        problems += [problem.message for problem in outcome.refused]
    return "; ".join(problems)
