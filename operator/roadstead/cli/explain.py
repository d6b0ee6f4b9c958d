"""``roadstead explain-plan``: reads the hub and the regions, and puts the plan together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from roadstead.admission.facts import FactFinder
from roadstead.admission.rules import ServiceFacts
from roadstead.api.chatservice import ChatService
from roadstead.api.kinds import API_VERSION
from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from roadstead.api.region import Region
from roadstead.chat import desired, revisions
from roadstead.chat.desired import Certificate, Observed
from roadstead.chat.placement import Placement, Verdict
from roadstead.chat.revisions import Revision
from roadstead.cli.compare import Place, compare, deletions, existing
from roadstead.cli.draft import Draft, children, draft, refusals
from roadstead.cli.exits import ExitCode, Failure
from roadstead.cli.hub import Access, Hub, connected, everything, member_of
from roadstead.cli.manifests import Document, UnreadableManifest, read
from roadstead.cli.output import Format, data, line
from roadstead.cli.plan import Action, Change, Plan, RegionPlan, as_data, told
from roadstead.cli.sources import contents, is_file
from roadstead.kernel import objects
from roadstead.kernel.errors import Forbidden, NotFound, RoadsteadError, UntrustedKubeconfig
from roadstead.kernel.objects import CHAT_SERVICES, REGIONS, Gvr, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.templates import TemplateSet, load

_ANY_CERTIFICATE: Final = Certificate({"tls.crt": "LS0tCg==", "tls.key": "LS0tCg=="})
"""Stands in where the content is not known; an object made from it is never compared or shown."""
_EVERY_TYPE: Final = frozenset(objects.OPTIONAL_TYPES)


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asks."""

    target: str
    namespace: str
    hub_id: str
    system_namespace: str
    fail_on_changes: bool = False
    summary: bool = False
    output: Format = Format.TABLE


@dataclass(frozen=True, slots=True)
class _World:
    """What is read once for all services. ``trials`` are Regions that only the file has."""

    hub: Hub
    regions: Mapping[str, Region]
    trials: frozenset[str]
    templates: TemplateSet
    now: datetime
    clients: dict[str, Any] = field(default_factory=dict)


async def explain(access: Access, question: Question) -> None:
    """Explain what the operator would do.

    Raises:
        Failure: the file cannot be understood, or there is no such service.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        documents = _documents(question) if is_file(question.target) else []
        stored = {region.metadata.name: region for region in await _stored_regions(hub)}
        trials = _regions_in(documents)
        regions = {**stored, **{name: _overlaid(trial, stored.get(name)) for name, trial in trials.items()}}
        world = _World(hub, regions, frozenset(trials.keys() - stored), load("chat"), datetime.now(UTC))
        try:
            if documents:
                plans = [await _plan_file(world, question, document) for document in _services_in(documents)]
            else:
                plans = [await _plan_name(world, question)]
        finally:
            for client in world.clients.values():
                await client.close()
    _conclude(plans, question)


def explain_offline(question: Question) -> None:
    """Explain what can be told from a file alone: placement, order, and every object that there would be."""
    if not is_file(question.target):
        raise Failure(f"{question.target} is no file, and --offline asks no cluster; name a manifest", ExitCode.USAGE)
    documents = _documents(question)
    regions = _regions_in(documents)
    templates, now = load("chat"), datetime.now(UTC)
    plans = []
    for document in _services_in(documents):
        body = _placed_in(document.data, question.namespace or "default")
        wrong, warnings = refusals(body, None, ServiceFacts(regions))
        if wrong:
            plans.append(Plan(_label(body), exists=False, refusals=tuple(wrong)))
            continue
        drawn = draft(parse("ChatService", body), regions, templates, now, offline=True)
        warnings = ["nothing was compared: --offline asks no cluster, and knows only Regions in the file", *warnings]
        observed = _offline_observed(drawn)
        plans.append(
            Plan(
                _label(body),
                exists=False,
                revision=drawn.target.hash,
                warnings=tuple(warnings),
                placements=drawn.placements,
                rehearsal=drawn.rehearsal,
                regions=tuple(
                    _uncompared(drawn, place, drawn.target, observed, templates, "not compared: --offline")
                    for place in drawn.placements
                    if place.writable
                ),
            )
        )
    _conclude(plans, question)


def _offline_observed(drawn: Draft) -> Observed:
    return Observed(served=_EVERY_TYPE, certificate=_ANY_CERTIFICATE, floor=drawn.floor)


def _documents(question: Question) -> list[Document]:
    [(source, content)] = list(contents([question.target]))
    try:
        return read(source, content)
    except UnreadableManifest as error:
        raise Failure(f"{source}:{error.line}: {error}", ExitCode.USAGE) from None


def _services_in(documents: Sequence[Document]) -> list[Document]:
    found = [d for d in documents if isinstance(d.data, Mapping) and d.data.get("kind") == "ChatService"]
    if not found:
        source = documents[0].source if documents else "the file"
        raise Failure(f"{source} holds no ChatService; name a manifest with one", ExitCode.USAGE)
    return found


def _regions_in(documents: Sequence[Document]) -> dict[str, Region]:
    found = {}
    for document in documents:
        body = document.data
        if isinstance(body, Mapping) and body.get("kind") == "Region" and body.get("apiVersion") == API_VERSION:
            try:
                region = parse("Region", body, strict=True)
            except SpecError as error:
                message = f"{document.source}:{document.line}: {error.problems[0]}"
                raise Failure(message, ExitCode.FAULTY) from None
            found[region.metadata.name] = region
    return found


def _overlaid(trial: Region, stored: Region | None) -> Region:
    return trial if stored is None else stored.model_copy(update={"spec": trial.spec})


async def _stored_regions(hub: Hub) -> list[Region]:
    found = []
    try:
        bodies = await everything(hub.client, REGIONS)
    except NotFound as error:
        raise Failure(f"{error}; is Roadstead installed in this cluster?", ExitCode.NOT_FOUND) from None
    for body in bodies:
        try:
            found.append(parse("Region", body))
        except SpecError:
            continue  # its Stalled condition says what is wrong; nothing is placed there
    return found


async def _plan_name(world: _World, question: Question) -> Plan:
    namespace, _, name = question.target.rpartition("/")
    namespace = namespace or question.namespace or world.hub.namespace
    body = await world.hub.client.find(CHAT_SERVICES, namespace, name)
    if body is None:
        raise Failure(f"ChatService {namespace}/{name} does not exist", ExitCode.NOT_FOUND)
    try:
        service = parse("ChatService", body)
    except SpecError as error:
        return Plan(_label(body), exists=True, refusals=tuple(map(str, error.problems)))
    return await _plan(world, question, service, exists=True, warnings=_version_warning(service, service, world))


async def _plan_file(world: _World, question: Question, document: Document) -> Plan:
    new = _placed_in(document.data, question.namespace or world.hub.namespace)
    metadata = new["metadata"]
    old = None
    if metadata.get("name"):
        old = await world.hub.client.find(CHAT_SERVICES, str(metadata["namespace"])[:253], str(metadata["name"])[:253])
    facts = await _admission_facts(world, question, new)
    wrong, warnings = refusals(new, old, facts)
    if wrong:
        return Plan(_label(new), exists=old is not None, refusals=tuple(wrong), warnings=tuple(warnings))
    kept = {"metadata": {**metadata, **_identity(old)}, "status": (old or {}).get("status") or {}}
    service = parse("ChatService", {**new, **kept})
    if old is not None:
        warnings += _version_warning(_parsed(old), service, world)
    return await _plan(world, question, service, exists=old is not None, warnings=warnings)


def _placed_in(body: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    metadata = body.get("metadata")
    known = dict(metadata) if isinstance(metadata, Mapping) else {}
    return {**body, "metadata": {**known, "namespace": known.get("namespace") or namespace}}


def _identity(old: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if old is None else {"uid": old["metadata"]["uid"], "generation": old["metadata"].get("generation", 0)}


def _parsed(body: Mapping[str, Any]) -> ChatService | None:
    try:
        return parse("ChatService", body)
    except SpecError:
        return None


def _version_warning(old: ChatService | None, new: ChatService, world: _World) -> list[str]:
    """Said when the operator derives another revision from the same spec: it has other templates than we have."""
    status = new.status
    if old is None or not status.revision or status.observed_generation != old.metadata.generation:
        return []
    if status.revision == revisions.revision_of(old.spec, world.templates).hash:
        return []
    return [
        "the operator in the hub makes other pods of this spec than this program would: their versions differ; use the "
        "roadstead of the operator's version for an exact plan"
    ]


async def _admission_facts(world: _World, question: Question, body: Mapping[str, Any]) -> ServiceFacts:
    spec = body.get("spec")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("tls") or {}, Mapping):
        return ServiceFacts(world.regions)
    try:
        facts = await FactFinder(world.hub.client, question.system_namespace).about_service(body)
    except Forbidden:
        return ServiceFacts(world.regions)  # without the Secret: that warning is left out
    return replace(facts, regions=world.regions)


async def _plan(
    world: _World, question: Question, service: ChatService, *, exists: bool, warnings: Sequence[str]
) -> Plan:
    drawn = draft(service, world.regions, world.templates, world.now)
    key = Key(CHAT_SERVICES.kind, service.metadata.namespace, service.metadata.name)
    owner = Owner(await _hub_id(world, question, key), key, service.metadata.uid)
    source = await _certificate(world, drawn)
    regions = await asyncio.gather(
        *(_region(world, drawn, owner, place, source) for place in drawn.placements),
        *(_left(world, owner, name) for name in drawn.leaving),
    )
    return Plan(
        service=f"{key.namespace}/{key.name}",
        exists=exists,
        revision=drawn.target.hash,
        present=service.status.revision,
        warnings=tuple(warnings),
        placements=drawn.placements,
        rehearsal=drawn.rehearsal,
        regions=tuple(regions),
    )


async def _hub_id(world: _World, question: Question, key: Key) -> str:
    """What marks the operator's objects: said by the person, read off one of them, or what it is unless set."""
    if question.hub_id:
        return question.hub_id
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


@dataclass(frozen=True, slots=True)
class _Source:
    """The certificate in the hub: None when there is none; ``unread`` when the person may not read it."""

    certificate: Certificate | None = None
    unread: bool = False


async def _certificate(world: _World, drawn: Draft) -> _Source:
    name = drawn.service.spec.tls.secret_name
    if name is None:
        return _Source()
    try:
        secret = await world.hub.client.find(objects.SECRETS, drawn.service.metadata.namespace, name)
    except Forbidden:
        return _Source(_ANY_CERTIFICATE, unread=True)
    content = (secret or {}).get("data") or {}
    if not content.get("tls.crt") or not content.get("tls.key"):
        return _Source()
    return _Source(Certificate({part: content[part] for part in ("tls.crt", "tls.key", "ca.crt") if content.get(part)}))


async def _region(world: _World, drawn: Draft, owner: Owner, place: Placement, source: _Source) -> RegionPlan:
    name = place.region
    if place.verdict is Verdict.REFUSED:
        return RegionPlan(name, note="nothing is written here; what is there from before is left as it is")
    revision = await _revision(world, drawn, name)
    if revision is None:
        return RegionPlan(name, note=f"revision {drawn.revision_in(name)} is no longer stored; nothing is changed here")
    region = world.regions[name]
    in_hub = region.spec.cluster.in_cluster is not None
    observed = Observed(certificate=source.certificate, floor=drawn.floor)
    observed = replace(observed, present_replicas=drawn.present_replicas(name), served=_EVERY_TYPE)
    if (finding := desired.missing(revision, observed)) is not None:
        return RegionPlan(name, revision.hash, drawn.pods(name), note=f"nothing is made yet: {finding.message}")
    why = _unreadable(world, place)
    if not why:
        try:
            client = await _client(world, region)
            served = [gvr for gvr in _EVERY_TYPE if await client.serves(gvr)]
            observed = replace(observed, served=frozenset(served))
            if (finding := desired.missing(revision, observed)) is not None:
                return RegionPlan(name, revision.hash, drawn.pods(name), note=f"nothing is made yet: {finding.message}")
            built = children(drawn, name, revision, observed, world.templates)
            unread: frozenset[Gvr] = frozenset({objects.SECRETS}) if source.unread else frozenset()
            here = Place(client, _owner_in(owner, in_hub=in_hub), name, in_hub)
            changes = await compare(here, built, unread=unread)
            return RegionPlan(name, revision.hash, drawn.pods(name), tuple(changes))
        except RoadsteadError as error:
            why = _cause(region, error)
    return _uncompared(drawn, place, revision, observed, world.templates, why)


def _unreadable(world: _World, place: Placement) -> str:
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


async def _revision(world: _World, drawn: Draft, region: str) -> Revision | None:
    hash_ = drawn.revision_in(region)
    if hash_ == drawn.target.hash:
        return drawn.target
    metadata = drawn.service.metadata
    body = await world.hub.client.find(objects.CONTROLLER_REVISIONS, metadata.namespace, f"{metadata.name}-{hash_}")
    try:
        return None if body is None else revisions.from_object(body)
    except revisions.RevisionUnreadable:
        return None


async def _client(world: _World, region: Region) -> Any:
    if region.spec.cluster.in_cluster is not None:
        return world.hub.client
    name = region.metadata.name
    if name not in world.clients:
        world.clients[name] = await member_of(world.hub.client, region)
    return world.clients[name]


async def _left(world: _World, owner: Owner, name: str) -> RegionPlan:
    """A region that the topology no longer names: all that the service has there goes."""
    region = world.regions.get(name)
    if region is None:
        return RegionPlan(name, note="the service leaves it, and there is no such Region: what is there stays")
    in_hub = region.spec.cluster.in_cluster is not None
    try:
        here = Place(await _client(world, region), _owner_in(owner, in_hub=in_hub), name, in_hub)
        changes = deletions(await existing(here))
    except RoadsteadError as error:
        return RegionPlan(name, note=f"the service leaves it; {_cause(region, error)}")
    return RegionPlan(name, changes=tuple(changes), note="the service leaves it")


def _uncompared(
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


def _label(body: Mapping[str, Any]) -> str:
    metadata = body["metadata"]
    return f"{str(metadata.get('namespace'))[:64]}/{str(metadata.get('name', ''))[:64]}"


def _conclude(plans: Sequence[Plan], question: Question) -> None:
    if question.output is Format.TABLE:
        for number, plan in enumerate(plans):
            if number:
                line()
            for text in told(plan, summary=question.summary):
                line(text)
    else:
        data(
            {"apiVersion": API_VERSION, "kind": "PlanList", "items": [as_data(plan) for plan in plans]}, question.output
        )
    if any(plan.obstructed for plan in plans):
        raise Failure("it cannot be carried out as it is", ExitCode.FAULTY)
    if question.fail_on_changes:
        if changes := sum(plan.changes for plan in plans):
            raise Failure(f"{changes} objects would be changed", ExitCode.CHANGES)
        if any(c.action is Action.UNKNOWN for plan in plans for region in plan.regions for c in region.changes):
            raise Failure("not everything could be compared", ExitCode.UNREACHABLE)
