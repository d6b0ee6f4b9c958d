"""What is refused and what is warned about. Pure: the fleet comes in as facts.

Each rule is a function in one of the lists at the end, returns `Problem`s or warnings, and is looked at alone. Shape,
bounds and everything that one object shows by itself is in `roadstead.api`; CEL refuses most of it before us.

An update is judged by what it makes worse: what was wrong before the edit is not held against it, or a Region whose
jurisdiction was corrected would keep every service in it from getting a security fix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from roadstead.api.advice import advise
from roadstead.api.chatservice import ChatService, RegionRolloutPhase, TopologyRegion
from roadstead.api.keyring import KeyDistribution, KeyRing
from roadstead.api.parse import parse
from roadstead.api.problems import Problem, SpecError
from roadstead.api.region import KubeconfigSecretRef, Region, RegionPhase, Scheduling, lies_within
from roadstead.kernel.errors import UntrustedKubeconfig
from roadstead.kernel.kubeconfig import parse as parse_kubeconfig
from roadstead.kernel.objects import TLS_TYPE

ABANDON_ANNOTATION = "roadstead.dev/abandon"
"""``"true"`` on a Region: whoever deletes it knows that what runs there is left running and unattended. On a service
that leaves regions: the names of those that are given up for it, with commas between; ``*`` for all. It does not
wait for them, and may leave them whether or not another serves."""

_NAMED = 3
"""Number of services that a message names; the others are counted."""


class Operation(StrEnum):
    """What is being done to the object."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: refused when there is a refusal; warnings are shown in either case."""

    refusals: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """All refusals, a line each."""
        return "\n".join(map(str, self.refusals))


ALLOWED = Verdict()


@dataclass(frozen=True, slots=True)
class PlacedService:
    """A service that a region holds: its topology names the region, or it is still being removed from there.

    Attributes:
        namespace: its namespace.
        name: its name.
        named: whether the topology names the region.
        jurisdictions: where its data may lie; empty when it may anywhere.
    """

    namespace: str
    name: str
    named: bool
    jurisdictions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SecretFact:
    """What is known of a Secret that an object names.

    Attributes:
        keys: the keys it has; None when there is no such Secret.
        type: its type; empty when that is not known.
        value: the decoded value of the key that was asked for; None when it has no such key.
    """

    keys: frozenset[str] | None
    type: str = ""
    value: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RingFact:
    """What is known of a KeyRing that a service names.

    Attributes:
        regions: that its spec names; None when there is no such KeyRing.
        deleted: it is being deleted.
        sealed: spec.distribution is Encrypted.
    """

    regions: frozenset[str] | None
    deleted: bool = False
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class RingUser:
    """A ChatService that encrypts with a ring.

    Attributes:
        name: ``namespace/name``.
        regions: that its topology names, or that still hold something of it.
    """

    name: str
    regions: frozenset[str]


@dataclass(frozen=True, slots=True)
class RingFacts:
    """What a KeyRing is judged by.

    Attributes:
        regions: names of every Region there is; not asked for when the ring is deleted.
        users: the services that encrypt with it; not asked for when it is created.
    """

    regions: Collection[str] = ()
    users: Sequence[RingUser] = ()


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What a ChatService is judged by.

    Attributes:
        regions: every Region there is, by name; None for one whose spec cannot be read.
        tls: the Secret of spec.tls.secretName; None when the spec names none.
        ring: the KeyRing of spec.encryption; None when the spec names none.
    """

    regions: Mapping[str, Region | None]
    tls: SecretFact | None = None
    ring: RingFact | None = None


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """What a Region is judged by.

    Attributes:
        namespace: the operator's own.
        regions: every other Region, by name.
        services: the services that this one holds; asked for only where `needs_services` says so.
        kubeconfig: the Secret of spec.cluster.kubeconfigSecretRef; None when it names none that the operator reads.
        rings: names of the KeyRings that have keys there, with their namespaces; asked for when it is deleted.
    """

    namespace: str
    regions: Mapping[str, Region] = field(default_factory=dict)
    services: Sequence[PlacedService] = ()
    kubeconfig: SecretFact | None = None
    rings: Sequence[str] = ()


def judge_service(new: Mapping[str, Any], old: Mapping[str, Any] | None, facts: ServiceFacts) -> Verdict:
    """Judge a ChatService that is created (``old`` is None) or changed.

    Args:
        new: the object as it would be.
        old: the object as it is.
        facts: the fleet.
    """
    if old is not None and _unchanged(new, old):
        return ALLOWED
    try:
        service = parse("ChatService", new)
    except SpecError as error:
        return Verdict(error.problems)
    before = _readable_service(old)
    refusals = [problem for rule in SERVICE_RULES for problem in rule(service, facts)]
    if before is not None:
        known = {_identity(problem) for rule in SERVICE_RULES for problem in rule(before, facts)}
        refusals = [problem for problem in refusals if _identity(problem) not in known]
        refusals += _moved(_Move(service, before), facts)
    warnings = [text for advice in SERVICE_ADVICE for text in advice(service, before, facts)]
    return Verdict(tuple(refusals), (*warnings, *advise(service)))


def judge_ring(
    operation: Operation, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None, facts: RingFacts
) -> Verdict:
    """Judge a KeyRing that is created, changed or deleted.

    Args:
        operation: what is done.
        new: the object as it would be; None when it is deleted.
        old: the object as it is; None when it is created.
        facts: the fleet, and who uses the ring.
    """
    if operation is Operation.DELETE:
        return _ring_deletion(old or {}, facts)
    assert new is not None  # noqa: S101 - the server refuses reviews without the object
    if old is not None and _unchanged(new, old):
        return ALLOWED
    try:
        ring = parse("KeyRing", new)
    except SpecError as error:
        return Verdict(error.problems)
    known = ", ".join(sorted(facts.regions)[:10]) or "none yet"
    before = frozenset(map(str, ((old or {}).get("spec") or {}).get("regions") or ()))
    return Verdict(
        (*_regions_taken_away(before - set(ring.spec.regions), facts), *_sealed_for_services(ring, old, facts)),
        tuple(
            f"spec.regions[{index}] is {name}, and there is no Region of that name; no version is written with before "
            f"somebody creates it (there are: {known})"
            for index, name in enumerate(ring.spec.regions)
            if name not in facts.regions
        ),
    )


def judge_region(
    operation: Operation, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None, facts: RegionFacts
) -> Verdict:
    """Judge a Region that is created, changed or deleted.

    Args:
        operation: what is done.
        new: the object as it would be; None when it is deleted.
        old: the object as it is; None when it is created.
        facts: the fleet.
    """
    if operation is Operation.DELETE:
        return _deletion(old or {}, facts)
    assert new is not None  # noqa: S101 - the server refuses reviews without the object
    if old is not None and _unchanged(new, old):
        return ALLOWED
    try:
        region = parse("Region", new)
    except SpecError as error:
        return Verdict(error.problems)
    before = _readable_region(old)
    refusals = [problem for rule in REGION_RULES for problem in rule(region, before, facts)]
    warnings = [text for advice in REGION_ADVICE for text in advice(region, facts)]
    return Verdict(tuple(refusals), (*warnings, *advise(region)))


def needs_services(operation: Operation, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None) -> bool:
    """Whether judging a Region takes a look at every service: for a deletion and for a new jurisdiction.

    Not for an abandoned Region: there must be a way out also where there are more services than can be read in time.
    """
    if operation is not Operation.UPDATE:
        return operation is Operation.DELETE and not _abandoned(old)
    return bool(_jurisdiction(new) != _jurisdiction(old))


def placed_in(region: str, service: Mapping[str, Any]) -> PlacedService | None:
    """What a ChatService, as the API has it, holds in a region; None when nothing."""
    spec, status = service.get("spec") or {}, service.get("status") or {}
    named = region in _names((spec.get("topology") or {}).get("regions"))
    if not named and region not in _names(status.get("regions")):
        return None
    metadata = service["metadata"]
    if (not named or metadata.get("deletionTimestamp")) and {region, "*"} & _given_up(metadata.get("annotations")):
        return None
    jurisdictions = (spec.get("residency") or {}).get("jurisdictions") or ()
    return PlacedService(metadata.get("namespace", ""), metadata["name"], named, tuple(jurisdictions))


def ring_in(region: str, ring: Mapping[str, Any]) -> str:
    """Namespace and name of a KeyRing, as the API has it, that has keys in a region or should; else empty."""
    spec, status = ring.get("spec") or {}, ring.get("status") or {}
    if region not in (spec.get("regions") or ()) and region not in _names(status.get("regions")):
        return ""
    return f"{ring['metadata'].get('namespace', '')}/{ring['metadata']['name']}"


def user_of(ring: str, service: Mapping[str, Any]) -> RingUser | None:
    """A ChatService, as the API has it, that encrypts with a ring of its namespace; None when it does not."""
    spec, metadata = service.get("spec") or {}, service["metadata"]
    if ((spec.get("encryption") or {}).get("keyRingRef") or {}).get("name") != ring:
        return None
    named = _names((spec.get("topology") or {}).get("regions"))
    held = _names((service.get("status") or {}).get("regions"))
    return RingUser(f"{metadata.get('namespace', '')}/{metadata['name']}", frozenset(named) | frozenset(held))


# --- KeyRing ----------------------------------------------------------------------------------------------------------


def _ring_deletion(old: Mapping[str, Any], facts: RingFacts) -> Verdict:
    if not facts.users:
        return ALLOWED
    name = (old.get("metadata") or {}).get("name", "")
    says = f"is {name}, a KeyRing that {_users(facts.users)} encrypts with: what it stores could not be read any more"
    return Verdict((Problem("metadata.name", name, says, "delete these services first"),))


def _regions_taken_away(taken: Collection[str], facts: RingFacts) -> list[Problem]:
    """A region loses its keys only when no service is there that needs them."""
    return [
        Problem(
            "spec.regions",
            name,
            f"has no {name} any more, where {_users(users)} encrypts with the ring",
            f"take {name} out of spec.topology.regions of each first, and wait until it is gone from their "
            "status.regions",
        )
        for name in sorted(taken)
        if (users := [user for user in facts.users if name in user.regions])
    ]


def _sealed_for_services(ring: KeyRing, old: Mapping[str, Any] | None, facts: RingFacts) -> list[Problem]:
    before, now = ((old or {}).get("spec") or {}).get("distribution"), ring.spec.distribution
    if now is not KeyDistribution.ENCRYPTED or before == now or not facts.users:
        return []
    says = (
        f"is {now}, and {_users(facts.users)} encrypts with the ring: pods of a ChatService have no agent that opens "
        "sealed keysets"
    )
    return [Problem("spec.distribution", now, says, "write Cleartext, or make another ring for what has the agent")]


def _users(users: Sequence[RingUser]) -> str:
    rest = len(users) - _NAMED
    named = ", ".join(user.name for user in users[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"ChatService {named}"


# --- ChatService ------------------------------------------------------------------------------------------------------


def _outside_residency(service: ChatService, facts: ServiceFacts) -> list[Problem]:
    residency = service.spec.residency
    if residency is None:
        return []
    allowed = ", ".join(residency.jurisdictions)
    return [
        Problem(
            f"spec.topology.regions[{index}].name",
            entry.name,
            f"is {entry.name}, which lies in {region.spec.jurisdiction}, outside of spec.residency ({allowed})",
            f"choose a region in {allowed}, or add {region.spec.jurisdiction} there if the data may lie in it",
        )
        for index, entry in enumerate(service.spec.topology.regions)
        if (region := facts.regions.get(entry.name)) is not None
        and not lies_within(region.spec.jurisdiction, residency.jurisdictions)
    ]


def _no_such_ring(service: ChatService, facts: ServiceFacts) -> list[Problem]:
    encryption, ring = service.spec.encryption, facts.ring
    if encryption is None or ring is None:
        return []
    field_name, name = "spec.encryption.keyRingRef.name", encryption.key_ring_ref.name
    place = f"{service.metadata.namespace}/{name}"
    if ring.regions is None:
        return [Problem(field_name, name, f"is {name}, and there is no KeyRing {place}", "create it first")]
    if ring.deleted:
        return [
            Problem(field_name, name, f"is {name}, and KeyRing {place} is being deleted", "choose or make another one")
        ]
    if ring.sealed:
        says = (
            f"is {name}, and KeyRing {place} has spec.distribution Encrypted, which pods of a ChatService cannot open"
        )
        return [Problem(field_name, name, says, "name a ring with distribution Cleartext")]
    return [
        Problem(
            f"spec.topology.regions[{index}].name",
            entry.name,
            f"is {entry.name}, and KeyRing {place} of spec.encryption does not have that region (it has: "
            f"{', '.join(sorted(ring.regions))})",
            f"add {entry.name} to the ring's spec.regions first",
        )
        for index, entry in enumerate(service.spec.topology.regions)
        if entry.name not in ring.regions
    ]


@dataclass(frozen=True, slots=True)
class _Move:
    """An edit of a ChatService, looked at for the regions that it takes out of the topology."""

    service: ChatService
    before: ChatService

    @property
    def taken_out(self) -> list[str]:
        """Regions that the topology no longer names, without those that a person gave up for the service."""
        given_up = _given_up(self.service.metadata.annotations)
        named = {entry.name for entry in self.service.spec.topology.regions}
        before = [entry.name for entry in self.before.spec.topology.regions]
        return [] if "*" in given_up else [name for name in before if name not in named | given_up]

    def has_pods(self, region: str) -> bool:
        """Whether pods of the service are ready in a region, as far as the status knows."""
        gone = (RegionRolloutPhase.UNREACHABLE, RegionRolloutPhase.REMOVING)
        return any(
            entry.name == region and entry.ready_replicas > 0 and entry.phase not in gone
            for entry in self.before.status.regions
        )


def _moved(move: _Move, facts: ServiceFacts) -> list[Problem]:
    # What is misspelt is not ready either; one of the two says what to do.
    return _moved_nowhere(move, facts) or _moved_before_it_is_ready(move, facts)


def _moved_nowhere(move: _Move, facts: ServiceFacts) -> list[Problem]:
    """A misspelt name would empty the region that was meant."""
    held = {entry.name for entry in move.before.status.regions if entry.stage is not None}
    taken = [name for name in move.taken_out if name in held & facts.regions.keys()]
    if not taken:
        return []
    known = {entry.name for entry in move.before.spec.topology.regions} | facts.regions.keys()
    there = ", ".join(sorted(facts.regions)[:10])
    return [
        Problem(
            f"spec.topology.regions[{index}].name",
            entry.name,
            f"is {entry.name}, and there is no Region of that name (there are: {there}), while {', '.join(taken)} is "
            "taken out, where everything of the service would be deleted",
            f"write the name of a Region that exists, or create Region {entry.name} first; or {_at_once(taken)}",
        )
        for index, entry in enumerate(move.service.spec.topology.regions)
        if entry.name not in known
    ]


def _moved_before_it_is_ready(move: _Move, facts: ServiceFacts) -> list[Problem]:
    """What works goes at once; what is to work instead takes its time."""
    lost = [name for name in move.taken_out if name in facts.regions and move.has_pods(name)]
    named = move.service.spec.topology.regions
    # Of a Region that is gone, or is refused, nothing newer is known than what the status once said.
    barred = {problem.value for problem in _outside_residency(move.service, facts)}
    able = [e.name for e in named if e.name in facts.regions.keys() - barred and _wants_pods(move.service, e)]
    if not lost or any(move.has_pods(name) for name in able):
        return []
    there, gone = ", ".join(entry.name for entry in named), ", ".join(lost)
    return [
        Problem(
            "spec.topology.regions",
            there,
            f"is {there}, where no pod would be ready, and not {gone} any more, where some are",
            f"keep {gone} until another region that stays is reachable and has ready pods; or {_at_once(lost)}",
        )
    ]


def _wants_pods(service: ChatService, entry: TopologyRegion) -> bool:
    return (service.spec.replicas if entry.replicas is None else entry.replicas) > 0


def _at_once(regions: Sequence[str]) -> str:
    return f"annotate the service with {ABANDON_ANNOTATION}={','.join(regions)} to have it so at once"


def _unknown_regions(service: ChatService, before: ChatService | None, facts: ServiceFacts) -> list[str]:
    known = ", ".join(sorted(facts.regions)[:10]) or "none yet"
    return [
        f"spec.topology.regions[{index}].name is {entry.name}, and there is no Region of that name; nothing runs there "
        f"until somebody creates it (there are: {known})"
        for index, entry in enumerate(service.spec.topology.regions)
        if entry.name not in facts.regions
    ]


def _unwilling_regions(service: ChatService, before: ChatService | None, facts: ServiceFacts) -> list[str]:
    placed = {entry.name for entry in before.spec.topology.regions} if before is not None else set()
    found = []
    for index, entry in enumerate(service.spec.topology.regions):
        region = facts.regions.get(entry.name)
        if region is None or entry.name in placed:
            continue
        field_name = f"spec.topology.regions[{index}].name is {entry.name}, and that Region"
        if region.metadata.deletion_timestamp is not None:
            found.append(f"{field_name} is being deleted; choose another")
        elif region.spec.scheduling is Scheduling.CORDONED:
            found.append(f"{field_name} is cordoned; nothing is placed there until its spec.scheduling is Enabled")
        elif region.status.phase is RegionPhase.UNREACHABLE:
            found.append(f"{field_name} is unreachable; nothing is placed there until it answers")
    return found


def _missing_certificate(service: ChatService, before: ChatService | None, facts: ServiceFacts) -> list[str]:
    if facts.tls is None:
        return []
    said = f"spec.tls.secretName is {service.spec.tls.secret_name}, and"
    place = f"Secret {service.metadata.namespace}/{service.spec.tls.secret_name}"
    if facts.tls.keys is None:
        return [f"{said} there is no {place}; no pod starts until it is created"]
    if facts.tls.type not in ("", TLS_TYPE):
        cure = f"delete it and make it anew with kubectl create secret tls {service.spec.tls.secret_name}"
        return [f"{said} {place} has the type {facts.tls.type}, which is not taken; {cure}"]
    missing = sorted({"tls.crt", "tls.key"} - facts.tls.keys)
    return [f"{said} {place} has no {' and no '.join(missing)}; no pod starts until it has"] if missing else []


# --- Region -----------------------------------------------------------------------------------------------------------


def _deletion(old: Mapping[str, Any], facts: RegionFacts) -> Verdict:
    name = (old.get("metadata") or {}).get("name", "")
    if _abandoned(old):
        text = f"Region {name} is abandoned: no service waits for it, and what runs there is left running unattended"
        return Verdict(warnings=(text,))
    if facts.rings:
        rest = len(facts.rings) - _NAMED
        held = ", ".join(facts.rings[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
        cure = (
            f"take {name} out of spec.regions of each and wait until it is gone from their status.regions, or, if what "
            f"is there is to be left to itself, annotate the Region with {ABANDON_ANNOTATION}=true first"
        )
        says = f"is {name}, a Region that has keys of KeyRings ({held})"
        return Verdict((Problem("metadata.name", name, says, cure),))
    if not facts.services:
        return ALLOWED
    cure = (
        f"take {name} out of spec.topology.regions of each and wait until it is gone from their status.regions, or, if "
        f"what runs there is to be left to itself, annotate the Region with {ABANDON_ANNOTATION}=true first"
    )
    held = _listed(facts.services)
    return Verdict((Problem("metadata.name", name, f"is {name}, a Region that still holds {held}", cure),))


def _moved_out_of_residency(region: Region, before: Region | None, facts: RegionFacts) -> list[Problem]:
    if before is None or before.spec.jurisdiction == region.spec.jurisdiction:
        return []
    bound = [
        service
        for service in facts.services
        if service.jurisdictions
        and lies_within(before.spec.jurisdiction, service.jurisdictions)
        and not lies_within(region.spec.jurisdiction, service.jurisdictions)
    ]
    if not bound:
        return []
    return [
        Problem(
            "spec.jurisdiction",
            region.spec.jurisdiction,
            f"is {region.spec.jurisdiction}, outside the residency of {_listed(bound)}, placed here under "
            f"{before.spec.jurisdiction}",
            "take this region out of their topology first, or change their spec.residency",
        )
    ]


def _kubeconfig_elsewhere(region: Region, before: Region | None, facts: RegionFacts) -> list[Problem]:
    reference = region.spec.cluster.kubeconfig_secret_ref
    if reference is None or reference.namespace == facts.namespace or reference == _kubeconfig_of(before):
        return []
    # Or whoever may write Regions could have the operator use credentials that they may not read.
    return [
        Problem(
            "spec.cluster.kubeconfigSecretRef.namespace",
            reference.namespace,
            f"is {reference.namespace}, not the operator's namespace, and kubeconfigs are taken from there only",
            f"put the Secret into {facts.namespace} and write {facts.namespace}",
        )
    ]


def _kubeconfig_without_key(region: Region, before: Region | None, facts: RegionFacts) -> list[Problem]:
    reference, secret = region.spec.cluster.kubeconfig_secret_ref, facts.kubeconfig
    if reference is None or secret is None or secret.keys is None or reference.key in secret.keys:
        return []
    return [
        Problem(
            "spec.cluster.kubeconfigSecretRef.key",
            reference.key,
            f"is {reference.key}, which Secret {reference.namespace}/{reference.name} does not have",
            f"write one that it has ({', '.join(sorted(secret.keys)[:5]) or 'none'}), or add {reference.key} to it",
        )
    ]


def _kubeconfig_not_accepted(region: Region, before: Region | None, facts: RegionFacts) -> list[Problem]:
    reference, secret = region.spec.cluster.kubeconfig_secret_ref, facts.kubeconfig
    # A reference that is in use already is the reconciler's matter: the Secret changes without us being asked.
    if reference is None or secret is None or secret.value is None or reference == _kubeconfig_of(before):
        return []
    try:
        parse_kubeconfig(secret.value)
    except UntrustedKubeconfig as error:
        place = f"{reference.namespace}/{reference.name}"
        return [
            Problem(
                "spec.cluster.kubeconfigSecretRef",
                place,
                f"is {place}, whose {reference.key} is not accepted: {error}",
                "write a kubeconfig for the member's ServiceAccount into it (roadstead region add makes one)",
            )
        ]
    return []


def _kubeconfig_missing(region: Region, facts: RegionFacts) -> list[str]:
    reference, secret = region.spec.cluster.kubeconfig_secret_ref, facts.kubeconfig
    if reference is None or secret is None or secret.keys is not None:
        return []
    return [
        f"spec.cluster.kubeconfigSecretRef is {reference.namespace}/{reference.name}, and there is no such Secret; the "
        "region stays Unreachable until it is created"
    ]


def _same_cluster_twice(region: Region, facts: RegionFacts) -> list[str]:
    reference = region.spec.cluster.kubeconfig_secret_ref
    twins = sorted(
        name
        for name, other in facts.regions.items()
        if reference is not None and other.spec.cluster.kubeconfig_secret_ref == reference
    )
    if not twins:
        return []
    return [
        f"spec.cluster.kubeconfigSecretRef is that of Region {', '.join(twins)} too; regions that are one cluster fail "
        "together"
    ]


ServiceRule = Callable[[ChatService, ServiceFacts], list[Problem]]
ServiceAdvice = Callable[[ChatService, ChatService | None, ServiceFacts], list[str]]
RegionRule = Callable[[Region, Region | None, RegionFacts], list[Problem]]
RegionAdvice = Callable[[Region, RegionFacts], list[str]]

SERVICE_RULES: tuple[ServiceRule, ...] = (_outside_residency, _no_such_ring)
SERVICE_ADVICE: tuple[ServiceAdvice, ...] = (_unknown_regions, _unwilling_regions, _missing_certificate)
REGION_RULES: tuple[RegionRule, ...] = (
    _moved_out_of_residency,
    _kubeconfig_elsewhere,
    _kubeconfig_without_key,
    _kubeconfig_not_accepted,
)
REGION_ADVICE: tuple[RegionAdvice, ...] = (_kubeconfig_missing, _same_cluster_twice)


def _unchanged(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    # Labels, annotations and finalizers are nobody's business here; so says the chart's matchCondition too.
    return new.get("spec") == old.get("spec")


def _identity(problem: Problem) -> tuple[str, str]:
    # Without the field: a region keeps its fault when the list before it grows.
    return problem.value, problem.message


def _readable_service(body: Mapping[str, Any] | None) -> ChatService | None:
    try:
        return None if body is None else parse("ChatService", body)
    except SpecError:
        return None  # stored by another version; everything is judged anew


def _readable_region(body: Mapping[str, Any] | None) -> Region | None:
    try:
        return None if body is None else parse("Region", body)
    except SpecError:
        return None


def _kubeconfig_of(region: Region | None) -> KubeconfigSecretRef | None:
    return None if region is None else region.spec.cluster.kubeconfig_secret_ref


def _jurisdiction(body: Mapping[str, Any] | None) -> Any:
    return ((body or {}).get("spec") or {}).get("jurisdiction")


def _names(entries: Any) -> set[str]:
    return {str(entry.get("name", "")) for entry in entries or () if isinstance(entry, Mapping)}


def _abandoned(region: Mapping[str, Any] | None) -> bool:
    annotations = ((region or {}).get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get(ABANDON_ANNOTATION) == "true")


def _given_up(annotations: Mapping[str, Any] | None) -> set[str]:
    """Regions that a person gave up for a service, by name; ``*`` for all."""
    value = str((annotations or {}).get(ABANDON_ANNOTATION, ""))
    return {part.strip() for part in value.split(",")}


def _listed(services: Sequence[PlacedService]) -> str:
    """``3 services: a/b (still being removed), c/d, e/f``."""
    some = [str(service) if service.named else f"{service} (still being removed)" for service in services[:_NAMED]]
    rest = len(services) - len(some)
    text = ", ".join(some) + (f" and {rest} more" if rest else "")
    return f"{len(services)} service{'' if len(services) == 1 else 's'} ({text})"
