"""``roadstead explain-plan``: reads the hub and the regions, and puts the plan together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from roadstead.admission.facts import FactFinder
from roadstead.admission.rules import ServiceFacts
from roadstead.api.chatservice import ChatService
from roadstead.api.kinds import API_VERSION
from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from roadstead.api.region import Region
from roadstead.chat import revisions
from roadstead.chat.desired import Observed
from roadstead.cli.draft import Draft, draft, refusals
from roadstead.cli.exits import ELSEWHERE, ExitCode, Failure
from roadstead.cli.hub import Access, connected
from roadstead.cli.manifests import Document, UnreadableManifest, read
from roadstead.cli.output import Format, data, line
from roadstead.cli.plan import Action, Plan, as_data, told
from roadstead.cli.region_plan import EVERY_TYPE, plan_leaving, plan_region, uncompared
from roadstead.cli.sources import contents, is_file
from roadstead.cli.world import ANY_CERTIFICATE, World, certificate_of, hub_id_of, stored_regions
from roadstead.kernel.errors import Forbidden
from roadstead.kernel.objects import CHAT_SERVICES, Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.templates import load


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


async def explain(access: Access, question: Question) -> None:
    """Explain what the operator would do.

    Raises:
        Failure: the file cannot be understood, or there is no such service.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        documents = _documents(question) if is_file(question.target) else []
        stored = {region.metadata.name: region for region in await stored_regions(hub)}
        trials = _regions_in(documents)
        regions = {**stored, **{name: _overlaid(trial, stored.get(name)) for name, trial in trials.items()}}
        world = World(hub, regions, frozenset(trials.keys() - stored), load("chat"), datetime.now(UTC))
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
                    uncompared(drawn, place, drawn.target, observed, templates, "not compared: --offline")
                    for place in drawn.placements
                    if place.writable
                ),
            )
        )
    _conclude(plans, question)


def _offline_observed(drawn: Draft) -> Observed:
    return Observed(served=EVERY_TYPE, certificate=ANY_CERTIFICATE, floor=drawn.floor)


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


async def _plan_name(world: World, question: Question) -> Plan:
    namespace, _, name = question.target.rpartition("/")
    namespace = namespace or question.namespace or world.hub.namespace
    body = await world.hub.client.find(CHAT_SERVICES, namespace, name)
    if body is None:
        raise Failure(f"ChatService {namespace}/{name} does not exist; {ELSEWHERE}", ExitCode.NOT_FOUND)
    try:
        service = parse("ChatService", body)
    except SpecError as error:
        return Plan(_label(body), exists=True, refusals=tuple(map(str, error.problems)))
    return await _plan(world, question, service, exists=True, warnings=_version_warning(service, service, world))


async def _plan_file(world: World, question: Question, document: Document) -> Plan:
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


def _version_warning(old: ChatService | None, new: ChatService, world: World) -> list[str]:
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


async def _admission_facts(world: World, question: Question, body: Mapping[str, Any]) -> ServiceFacts:
    spec = body.get("spec")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("tls") or {}, Mapping):
        return ServiceFacts(world.regions)
    try:
        facts = await FactFinder(world.hub.client, question.system_namespace).about_service(body)
    except Forbidden:
        return ServiceFacts(world.regions)  # without the Secret: that warning is left out
    return replace(facts, regions={**facts.regions, **world.regions})


async def _plan(
    world: World, question: Question, service: ChatService, *, exists: bool, warnings: Sequence[str]
) -> Plan:
    drawn = draft(service, world.regions, world.templates, world.now)
    key = Key(CHAT_SERVICES.kind, service.metadata.namespace, service.metadata.name)
    owner = Owner(await hub_id_of(world, key, question.hub_id), key, service.metadata.uid)
    source = await certificate_of(world, drawn)
    regions = await asyncio.gather(
        *(plan_region(world, drawn, owner, place, source) for place in drawn.placements),
        *(plan_leaving(world, owner, name) for name in drawn.leaving),
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
