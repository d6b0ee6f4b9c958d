"""What would be done in one region, or why that cannot be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from roadstead.api.kinds import API_VERSION
from roadstead.api.region import Region
from roadstead.chat import desired
from roadstead.chat.desired import Observed
from roadstead.chat.placement import Placement, Verdict
from roadstead.chat.revisions import Revision
from roadstead.cli.compare import Place, compare, deletions, existing
from roadstead.cli.draft import Draft, children
from roadstead.cli.plan import Action, Change, RegionPlan
from roadstead.cli.world import Source, World, client_of, revision_of
from roadstead.kernel import objects
from roadstead.kernel.errors import Forbidden, RoadsteadError, UntrustedKubeconfig
from roadstead.kernel.objects import Gvr
from roadstead.kernel.ownership import Owner
from roadstead.kernel.templates import TemplateSet

EVERY_TYPE: Final = frozenset(objects.OPTIONAL_TYPES)
"""What a region may serve; taken for served where nobody can look."""


async def plan_region(world: World, drawn: Draft, owner: Owner, place: Placement, source: Source) -> RegionPlan:
    """One region of the topology.

    Args:
        world: what was read of the hub.
        drawn: what follows from the spec.
        owner: of the objects.
        place: the verdict about the region.
        source: the certificate in the hub.
    """
    name = place.region
    if place.verdict is Verdict.REFUSED:
        return RegionPlan(name, note="nothing is written here; what is there from before is left as it is")
    revision = await revision_of(world, drawn, name)
    if revision is None:
        return RegionPlan(name, note=f"revision {drawn.revision_in(name)} is no longer stored; nothing is changed here")
    region = world.regions[name]
    in_hub = region.spec.cluster.in_cluster is not None
    observed = Observed(certificate=source.certificate, certificate_fault=source.fault, floor=drawn.floor)
    observed = replace(observed, present_replicas=drawn.present_replicas(name), served=EVERY_TYPE)
    if (finding := desired.missing(revision, observed, owner.key.namespace)) is not None:
        return RegionPlan(name, revision.hash, drawn.pods(name), note=f"nothing is made yet: {finding.message}")
    why = _unreadable(world, place)
    if not why:
        try:
            client = await client_of(world, region)
            served = [gvr for gvr in EVERY_TYPE if await client.serves(gvr)]
            observed = replace(observed, served=frozenset(served))
            if (finding := desired.missing(revision, observed, owner.key.namespace)) is not None:
                return RegionPlan(name, revision.hash, drawn.pods(name), note=f"nothing is made yet: {finding.message}")
            built = children(drawn, name, revision, observed, world.templates)
            unread: frozenset[Gvr] = frozenset({objects.SECRETS}) if source.unread else frozenset()
            here = Place(client, _owner_in(owner, in_hub=in_hub), name, in_hub)
            changes = await compare(here, built, unread=unread)
            return RegionPlan(name, revision.hash, drawn.pods(name), tuple(changes))
        except RoadsteadError as error:
            why = _cause(region, error)
    return uncompared(drawn, place, revision, observed, world.templates, why)


def _unreadable(world: World, place: Placement) -> str:
    """Why a region is not even tried."""
    if place.region in world.trials:
        return "not compared: this Region is only in the file"
    return f"not compared, and not changed until it answers: {place.message}" if place.verdict is Verdict.AWAY else ""


def _cause(region: Region, error: RoadsteadError) -> str:
    reference = region.spec.cluster.kubeconfig_secret_ref
    if isinstance(error, Forbidden) and reference is not None and f'"{reference.name}"' in str(error):
        place = f"Secret {reference.namespace}/{reference.name}"
        return f"not compared: you may not read {place}, with which the operator reaches this region ({error})"
    if isinstance(error, UntrustedKubeconfig):
        return f"not compared: the region's kubeconfig is not accepted: {error}"
    return f"not compared: {error}"


def _owner_in(owner: Owner, *, in_hub: bool) -> Owner:
    if not in_hub or not owner.uid:
        return owner
    reference = {"apiVersion": API_VERSION, "kind": owner.key.kind, "name": owner.key.name, "uid": owner.uid}
    return Owner(owner.hub, owner.key, owner.uid, {**reference, "controller": True})


async def plan_leaving(world: World, owner: Owner, name: str) -> RegionPlan:
    """A region that the topology no longer names: all that the service has there goes."""
    region = world.regions.get(name)
    if region is None:
        return RegionPlan(name, note="the service leaves it, and there is no such Region: what is there stays")
    in_hub = region.spec.cluster.in_cluster is not None
    try:
        here = Place(await client_of(world, region), _owner_in(owner, in_hub=in_hub), name, in_hub)
        changes = deletions(await existing(here))
    except RoadsteadError as error:
        return RegionPlan(name, note=f"the service leaves it; {_cause(region, error)}")
    return RegionPlan(name, changes=tuple(changes), note="the service leaves it")


def uncompared(
    drawn: Draft, place: Placement, revision: Revision, observed: Observed, templates: TemplateSet, why: str
) -> RegionPlan:
    """What there would be in the end, where nobody can look."""
    built = children(drawn, place.region, revision, observed, templates)
    notes = {
        objects.SERVICE_MONITORS: "where the Prometheus operator is installed",
        objects.CERTIFICATES: "where cert-manager is installed",
    }
    changes = tuple(Change(str(child), Action.UNKNOWN, message=notes.get(child.gvr, "")) for child in built)
    return RegionPlan(place.region, revision.hash, drawn.pods(place.region), changes, why)
