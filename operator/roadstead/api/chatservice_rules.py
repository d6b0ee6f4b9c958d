"""What a ChatService's schema alone cannot say."""

import re
from collections.abc import Iterable, Iterator

from roadstead.api.chatservice import (
    NAME_MAX_LENGTH,
    RESERVED_ENV,
    ChatService,
    ChatServiceSpec,
    Peak,
    TopologyMode,
)
from roadstead.api.chatservice_changes import primaries
from roadstead.api.network_rules import NETWORK_RULES
from roadstead.api.quantity import amount
from roadstead.api.region_rules import CEL_COUNTRY, COUNTRY_CURE, NOT_A_COUNTRY, is_listed, name_rules
from roadstead.api.rules import Rule, Values, cel_digits, cel_text, once
from roadstead.api.schedules import cron_fault, is_time_zone
from roadstead.api.shapes import JURISDICTION

_PRIMARIES = "{0}.regions.filter(r, has(r.role) && r.role == 'Primary')"
_REPLICAS = "(has(r.replicas) ? r.replicas : self.replicas)"
_OWN_LABELS = ("app.kubernetes.io/", "roadstead.dev/")
# A region's API server refuses the ConfigMap above this, and counts the values only.
CONFIG_MAX_BYTES = 1024 * 1024
NO_PORT = "^[^/]*:(0|0[0-9]+|6553[6-9]|655[4-9][0-9]|65[6-9][0-9]{2}|6[6-9][0-9]{3}|[7-9][0-9]{4})/"
_NATIVE_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def _misplaced_roles(chat: ChatService) -> Iterator[Values]:
    if chat.spec.topology.mode is TopologyMode.ACTIVE_ACTIVE:
        for region in chat.spec.topology.regions:
            if region.role is not None:
                yield {"region": region.name, "value": region.role.value}


def _primary_count(chat: ChatService) -> tuple[Values, ...]:
    passive = chat.spec.topology.mode is TopologyMode.ACTIVE_PASSIVE
    count = len(primaries(chat.spec))
    return once(passive and count != 1, count=count)


def _replicas(spec: ChatServiceSpec) -> Iterator[tuple[str, int]]:
    for region in spec.topology.regions:
        yield region.name, spec.replicas if region.replicas is None else region.replicas


def _above_maximum(chat: ChatService) -> Iterator[Values]:
    scaling = chat.spec.autoscaling
    if scaling is not None and scaling.min_replicas is None:
        for region, replicas in _replicas(chat.spec):
            if replicas > scaling.max_replicas:
                yield {"value": scaling.max_replicas, "replicas": replicas, "region": region}


def _min_above_max(chat: ChatService) -> tuple[Values, ...]:
    scaling = chat.spec.autoscaling
    if scaling is None or scaling.min_replicas is None:
        return ()
    return once(scaling.min_replicas > scaling.max_replicas, value=scaling.min_replicas, max=scaling.max_replicas)


def _peaks(chat: ChatService) -> tuple[Peak, ...]:
    return chat.spec.autoscaling.peaks if chat.spec.autoscaling is not None else ()


def _high_peaks(chat: ChatService) -> Iterator[Values]:
    for peak in _peaks(chat):
        if chat.spec.autoscaling is not None and peak.replicas > chat.spec.autoscaling.max_replicas:
            yield {"peak": peak.name, "value": peak.replicas, "max": chat.spec.autoscaling.max_replicas}


def _unknown_zones(chat: ChatService) -> Iterator[Values]:
    for peak in _peaks(chat):
        if not is_time_zone(peak.time_zone):
            yield {"peak": peak.name, "value": peak.time_zone}


def _bad_schedules(chat: ChatService) -> Iterator[Values]:
    for peak in _peaks(chat):
        if fault := cron_fault(peak.schedule):
            yield {"peak": peak.name, "value": peak.schedule, "fault": fault[0].lower() + fault[1:]}


def _without_cpu(chat: ChatService) -> tuple[Values, ...]:
    resources = chat.spec.resources
    return once(chat.spec.autoscaling is not None and "cpu" not in resources.requests and "cpu" not in resources.limits)


def _low_limits(chat: ChatService) -> Iterator[Values]:
    limits = chat.spec.resources.limits
    for name, request in chat.spec.resources.requests.items():
        if name in limits and amount(request) > amount(limits[name]):
            yield {"name": name, "value": limits[name], "request": request}


def _odd_resources(names: Iterable[str]) -> Iterator[Values]:
    for name in names:
        if name not in _NATIVE_RESOURCES and not name.startswith("hugepages-") and "/" not in name:
            yield {"value": name}


def _resource_names(which: str) -> Rule:
    return Rule(
        name=f"Resources in {which} are ones that pods can have",
        at=f"spec.resources.{which}",
        field=f"spec.resources.{which}",
        says="has the key {value}, which is no resource of pods",
        cure="write cpu, memory, ephemeral-storage, hugepages-SIZE or an extended resource such as example.com/device",
        found=lambda chat: _odd_resources(getattr(chat.spec.resources, which)),
        cel="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-') || k.contains('/'))",
        values={
            "value": "self.map(k, !(k in ['cpu', 'memory', 'ephemeral-storage']) && "
            "!k.startsWith('hugepages-') && !k.contains('/'), k)[0]"
        },
    )


def _tls_members(chat: ChatService) -> tuple[Values, ...]:
    secret, issuer = chat.spec.tls.secret_name is not None, chat.spec.tls.issuer_ref is not None
    return once(secret == issuer, number="both" if secret else "none")


def _budget_members(chat: ChatService) -> tuple[Values, ...]:
    budget = chat.spec.budget
    most, least = budget.max_unavailable is not None, budget.min_available is not None
    return once(most == least, number="both" if most else "none")


def _reserved(chat: ChatService) -> Iterator[Values]:
    return ({"value": key} for key in chat.spec.config if key in RESERVED_ENV)


def _with_nul(chat: ChatService) -> Iterator[Values]:
    return ({"key": key} for key, value in chat.spec.config.items() if "\0" in value)


def _own_annotations(chat: ChatService) -> Iterator[Values]:
    for key in chat.spec.traffic.service_annotations:
        if key.startswith("roadstead.dev/") or ".roadstead.dev/" in key:
            yield {"value": key}


def _own_labels(chat: ChatService) -> Iterator[Values]:
    return ({"value": key} for key in chat.spec.monitoring.labels if key.startswith(_OWN_LABELS))


def _unlisted(chat: ChatService) -> Iterator[Values]:
    if chat.spec.residency is not None:
        for code in chat.spec.residency.jurisdictions:
            if not is_listed(code):
                yield {"value": code}


def _no_size(chat: ChatService) -> tuple[Values, ...]:
    return once(chat.spec.storage is not None and amount(chat.spec.storage.size) == 0)


CHAT_SERVICE_RULES = (
    *name_rules(
        NAME_MAX_LENGTH, "^[a-z]([-a-z0-9]*[a-z0-9])?$", "a DNS label that starts with a letter, as Services need it"
    ),
    Rule(
        name="Only ActivePassive has roles",
        at="spec.topology",
        field="spec.topology.regions[{region}].role",
        says="is {value}, but with mode ActiveActive regions have no roles",
        cure="remove the role, or write spec.topology.mode ActivePassive",
        found=_misplaced_roles,
        cel="self.mode == 'ActivePassive' || self.regions.all(r, !has(r.role))",
        values={
            "region": "self.regions.map(r, has(r.role), r.name)[0]",
            "value": "self.regions.map(r, has(r.role), r.role)[0]",
        },
    ),
    Rule(
        name="ActivePassive has exactly one Primary",
        at="spec.topology",
        field="spec.topology.regions",
        says="has {count} regions with role Primary, but mode ActivePassive needs one",
        cure="write role Primary at exactly one region",
        found=_primary_count,
        cel=f"self.mode != 'ActivePassive' || {_PRIMARIES.format('self')}.size() == 1",
        values={"count": cel_digits(f"{_PRIMARIES.format('self')}.size()")},
    ),
    Rule(
        name="minReplicas is at most maxReplicas",
        at="spec.autoscaling",
        field="spec.autoscaling.minReplicas",
        says="is {value}, above maxReplicas {max}",
        cure="write {max} or less, or raise maxReplicas",
        found=_min_above_max,
        cel="!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
        values={"value": cel_digits("self.minReplicas"), "max": cel_digits("self.maxReplicas")},
    ),
    Rule(
        name="Without minReplicas, a region's replicas are at most maxReplicas",
        at="spec",
        field="spec.autoscaling.maxReplicas",
        says="is {value}, below the {replicas} replicas of region {region}, its lower bound without minReplicas",
        cure="write {replicas} or more, or write minReplicas",
        found=_above_maximum,
        cel="!has(self.autoscaling) || has(self.autoscaling.minReplicas) || "
        f"self.topology.regions.all(r, {_REPLICAS} <= self.autoscaling.maxReplicas)",
        values={
            "value": cel_digits("self.autoscaling.maxReplicas"),
            "replicas": cel_digits(
                f"self.topology.regions.map(r, {_REPLICAS} > self.autoscaling.maxReplicas, {_REPLICAS})[0]"
            ),
            "region": f"self.topology.regions.map(r, {_REPLICAS} > self.autoscaling.maxReplicas, r.name)[0]",
        },
    ),
    Rule(
        name="A peak's replicas are at most maxReplicas",
        at="spec.autoscaling",
        field="spec.autoscaling.peaks[{peak}].replicas",
        says="is {value}, above maxReplicas {max}",
        cure="write {max} or less, or raise maxReplicas",
        found=_high_peaks,
        cel="!has(self.peaks) || self.peaks.all(p, p.replicas <= self.maxReplicas)",
        values={
            "peak": "self.peaks.map(p, p.replicas > self.maxReplicas, p.name)[0]",
            "value": cel_digits("self.peaks.map(p, p.replicas > self.maxReplicas, p.replicas)[0]"),
            "max": cel_digits("self.maxReplicas"),
        },
    ),
    Rule(  # no CEL: an API server without a time zone database would refuse every zone but UTC
        name="A peak's time zone exists",
        at="spec.autoscaling",
        field="spec.autoscaling.peaks[{peak}].timeZone",
        says="is {value}, which the IANA time zone database does not have",
        cure="write a name such as Asia/Hong_Kong or UTC",
        found=_unknown_zones,
    ),
    Rule(  # no CEL: it cannot read cron
        name="A peak's schedule comes true",
        at="spec.autoscaling",
        field="spec.autoscaling.peaks[{peak}].schedule",
        says="is {value}, which never comes true: {fault}",
        cure="write minute, hour, day of month, month and day of week, such as 0 9 11 11 *",
        found=_bad_schedules,
    ),
    Rule(
        name="Autoscaling has a CPU request to count against",
        at="spec",
        field="spec.resources.requests",
        says="has no cpu, which spec.autoscaling counts utilisation against",
        cure="write a cpu request such as 100m",
        found=_without_cpu,
        cel="!has(self.autoscaling) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || "
        "(has(self.resources.limits) && 'cpu' in self.resources.limits)",
    ),
    Rule(
        name="A limit is never below its request",
        at="spec.resources",
        field="spec.resources.limits.{name}",
        says="is {value}, below the request {request}",
        cure="write {request} or more, or lower the request",
        found=_low_limits,
        cel="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || "
        "!isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || "
        "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
        values={
            name: expression.format(
                "self.requests.map(k, k in self.limits && isQuantity(string(self.requests[k])) && "
                "isQuantity(string(self.limits[k])) && quantity(string(self.requests[k]))"
                ".compareTo(quantity(string(self.limits[k]))) > 0, k)[0]"
            )
            for name, expression in {
                "name": "{0}",
                "value": "string(self.limits[{0}])",
                "request": "string(self.requests[{0}])",
            }.items()
        },
    ),
    _resource_names("requests"),
    _resource_names("limits"),
    Rule(
        name="The certificate has exactly one source",
        at="spec.tls",
        field="spec.tls",
        says="sets {number} of secretName and issuerRef",
        cure="write exactly one of them",
        found=_tls_members,
        cel="has(self.secretName) != has(self.issuerRef)",
        values={"number": "(has(self.secretName) ? 'both' : 'none')"},
    ),
    Rule(
        name="A disruption budget has exactly one bound",
        at="spec.disruptionBudget",
        field="spec.disruptionBudget",
        says="sets {number} of maxUnavailable and minAvailable",
        cure="write exactly one of them",
        found=_budget_members,
        cel="has(self.maxUnavailable) != has(self.minAvailable)",
        values={"number": "(has(self.maxUnavailable) ? 'both' : 'none')"},
    ),
    Rule(
        name="Variables that the operator sets are its own",
        at="spec.config",
        field="spec.config",
        says="has the key {value}, which the operator sets itself",
        cure="remove it",
        found=_reserved,
        cel=f"self.all(k, !(k in {list(RESERVED_ENV)}))",
        values={"value": f"self.map(k, k in {list(RESERVED_ENV)}, k)[0]"},
    ),
    Rule(
        name="A variable holds no NUL character",
        at="spec.config",
        field="spec.config.{key}",
        says="has a NUL character, which ends the text of a variable",
        cure="remove it",
        found=_with_nul,
        cel="self.all(k, !self[k].contains('\\x00'))",
        values={"key": "self.map(k, self[k].contains('\\x00'), k)[0]"},
    ),
    Rule(
        name="The variables fit into a ConfigMap",
        at="spec.config",
        field="spec.config",
        says=f"has more than {CONFIG_MAX_BYTES} bytes in its values, which no ConfigMap holds",
        cure="shorten them; a character beyond ASCII takes 2 to 4 bytes",
        found=lambda chat: once(sum(len(value.encode()) for value in chat.spec.config.values()) > CONFIG_MAX_BYTES),
        cel=f"self.map(k, size(bytes(self[k]))).sum() <= {CONFIG_MAX_BYTES}",
    ),
    Rule(
        name="The port of an image's registry is one",
        at="spec.image",
        field="spec.image",
        says="is {value}, whose registry has a port that is none",
        cure="write a port from 1 to 65535, or none",
        found=lambda chat: once(re.match(NO_PORT, chat.spec.image) is not None, value=chat.spec.image),
        cel=f"!self.matches({cel_text(NO_PORT)})",
        values={"value": "self"},
    ),
    Rule(
        name="Annotations of roadstead.dev are the operator's own",
        at="spec.traffic.serviceAnnotations",
        field="spec.traffic.serviceAnnotations",
        says="has the key {value}, which is the operator's own",
        cure="remove it",
        found=_own_annotations,
        cel="self.all(k, !k.startsWith('roadstead.dev/') && !k.contains('.roadstead.dev/'))",
        values={"value": "self.map(k, k.startsWith('roadstead.dev/') || k.contains('.roadstead.dev/'), k)[0]"},
    ),
    Rule(
        name="Labels that objects are found by are the operator's own",
        at="spec.monitoring.labels",
        field="spec.monitoring.labels",
        says="has the key {value}, which is the operator's own",
        cure="remove it",
        found=_own_labels,
        cel="self.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('roadstead.dev/'))",
        values={"value": "self.map(k, k.startsWith('app.kubernetes.io/') || k.startsWith('roadstead.dev/'), k)[0]"},
    ),
    Rule(
        name="Jurisdictions are countries that exist",
        at="spec.residency",
        field="spec.residency.jurisdictions",
        says=f"has {{value}}, {NOT_A_COUNTRY}",
        cure=COUNTRY_CURE,
        found=_unlisted,
        cel=f"self.jurisdictions.all(j, !j.matches({cel_text(JURISDICTION)}) || j.matches('{CEL_COUNTRY}'))",
        values={
            "value": f"self.jurisdictions.map(j, j.matches({cel_text(JURISDICTION)}) && !j.matches('{CEL_COUNTRY}'), "
            "j)[0]"
        },
    ),
    *NETWORK_RULES,
    Rule(
        name="A volume has a size",
        at="spec.storage",
        field="spec.storage.size",
        says="is 0",
        cure="write a size such as 1Gi",
        found=_no_size,
        cel="!isQuantity(string(self.size)) || quantity(string(self.size)).compareTo(quantity('0')) > 0",
    ),
)
