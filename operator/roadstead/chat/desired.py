"""The objects that a service is made of in one region.

Everything that restarts pods comes from the *revision*, which the rollout hands out region by region; all the rest
comes from the spec as it is now. The shell adds owner labels and annotations; nothing here knows a uid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from roadstead.api.chatservice import ChatService
from roadstead.api.conditions import Reason
from roadstead.chat.finding import Finding
from roadstead.chat.names import Names
from roadstead.chat.observed import Certificate, Observed, Scale, scale
from roadstead.chat.placement import RegionFacts
from roadstead.chat.revisions import Revision
from roadstead.chat.variables import variables
from roadstead.kernel import objects
from roadstead.kernel.objects import Child, Gvr
from roadstead.kernel.templates import TemplateSet

__all__ = ("PREREQUISITES", "Certificate", "Observed", "Scale", "build", "missing", "possible", "scale")


def build(
    service: ChatService, region: RegionFacts, revision: Revision, observed: Observed, templates: TemplateSet
) -> tuple[Child, ...]:
    """Every object of the service in one region, complete but for owner labels and annotations.

    Raises:
        ValueError: something in `PREREQUISITES` is missing; what is there must then be left as it is, because a partial
            answer would have the rest deleted.
        TemplateError: a template is wrong.
    """
    if (finding := missing(revision, observed, service.metadata.namespace)) is not None:
        raise ValueError(finding.message)
    names = Names(service.metadata.name, region.name, service.metadata.namespace)
    size = scale(service, region, observed)
    values = variables(service, region, revision, observed, size, names)
    pod = revision.pod.render(values)
    children = [
        names.child(gvr, name, templates[template].render(values))
        for gvr, name, template in _plain_children(service, size, revision, observed, names)
    ]
    children.append(names.child(names.workload(service), names.base, revision.workload.render({**values, "pod": pod})))
    children += _config_maps(revision, observed, names, values, templates)
    children += _former_certificate(service, region, revision, observed, size, names, templates)
    return tuple(children)


def missing(revision: Revision, observed: Observed, namespace: str) -> Finding | None:
    """What must be there before a region's objects can be made and is not; None when nothing is missing.

    Args:
        revision: the region's.
        observed: what was found out.
        namespace: of the service.
    """
    found = (check(revision, observed, namespace) for check in PREREQUISITES)
    return next((finding for finding in found if finding is not None), None)


def certificate_is_missing(revision: Revision, observed: Observed, namespace: str) -> Finding | None:
    """The Secret with the certificate must be in the hub."""
    secret = revision.spec.tls.secret_name
    if secret is None or observed.certificate is not None:
        return None
    return Finding(
        Reason.SECRET_MISSING,
        f"spec.tls.secretName is {secret}, but Secret {namespace}/{secret} in the hub {observed.certificate_fault}",
    )


def issuer_is_not_served(revision: Revision, observed: Observed, _namespace: str) -> Finding | None:
    """A certificate from an issuer needs cert-manager in the region's cluster."""
    issuer = revision.spec.tls.issuer_ref
    if issuer is None or objects.CERTIFICATES in observed.served:
        return None
    return Finding(
        Reason.NOT_AVAILABLE,
        f"spec.tls.issuerRef names {issuer.kind} {issuer.name}, but the region's cluster does not serve "
        "certificates.cert-manager.io; install cert-manager there or use spec.tls.secretName",
    )


def keyset_is_not_given(revision: Revision, observed: Observed, _namespace: str) -> Finding | None:
    """Pods that mount a keyset need one in the region."""
    return observed.no_keyset if revision.spec.encryption is not None else None


PREREQUISITES: Final[tuple[Callable[[Revision, Observed, str], Finding | None], ...]] = (
    certificate_is_missing,
    issuer_is_not_served,
    keyset_is_not_given,
)


def possible(names: Names, revisions: Iterable[Revision], served: Collection[Gvr]) -> tuple[tuple[Gvr, str], ...]:
    """Type and name of every object that the service may ever have had in the region, whatever its spec said.

    Args:
        names: of the service in the region.
        revisions: all that are stored: each may have had a config map.
        served: types that the region's API server serves, of those that it need not.
    """
    found = [
        (objects.SERVICE_ACCOUNTS, names.base),
        (objects.SERVICES, names.base),
        (objects.SERVICES, names.peers),
        *((gvr, names.base) for gvr in objects.WORKLOAD_TYPES),
        (objects.ROLES, names.keys),
        (objects.ROLE_BINDINGS, names.keys),
        (objects.HORIZONTAL_POD_AUTOSCALERS, names.base),
        (objects.POD_DISRUPTION_BUDGETS, names.base),
        *((objects.NETWORK_POLICIES, name) for name in names.network_policies),
        (objects.SECRETS, names.copied_tls),
        *((objects.CONFIG_MAPS, name) for name in {names.config(revision): None for revision in revisions} if name),
    ]
    if objects.CERTIFICATES in served:
        found.append((objects.CERTIFICATES, names.issued_tls))
    if objects.SERVICE_MONITORS in served:
        found.append((objects.SERVICE_MONITORS, names.base))
    return tuple(found)


def _plain_children(
    service: ChatService, size: Scale, revision: Revision, observed: Observed, names: Names
) -> list[tuple[Gvr, str, str]]:
    """Type, name and template of every object but the workload and the config maps."""
    tls = revision.spec.tls
    children = [
        (objects.SERVICE_ACCOUNTS, names.base, "serviceaccount"),
        (objects.SERVICES, names.base, "service"),
        (objects.SERVICES, names.peers, "service-peers"),
        (objects.POD_DISRUPTION_BUDGETS, names.base, "pdb"),
        (objects.NETWORK_POLICIES, names.network_policies[0], "networkpolicy-default-deny"),
        (objects.NETWORK_POLICIES, names.network_policies[1], "networkpolicy-allow"),
        (objects.SECRETS, names.tls(tls), "secret")
        if tls.secret_name is not None
        else (objects.CERTIFICATES, names.tls(tls), "certificate"),
    ]
    if service.spec.encryption is not None:
        children += [(objects.ROLES, names.keys, "role"), (objects.ROLE_BINDINGS, names.keys, "rolebinding")]
    if size.autoscaled:
        children.append((objects.HORIZONTAL_POD_AUTOSCALERS, names.base, "hpa"))
    if objects.SERVICE_MONITORS in observed.served:
        children.append((objects.SERVICE_MONITORS, names.base, "servicemonitor"))
    return children


def _former_certificate(
    service: ChatService,
    region: RegionFacts,
    revision: Revision,
    observed: Observed,
    size: Scale,
    names: Names,
    templates: TemplateSet,
) -> list[Child]:
    """The certificate of the revision before, when it has another source: its pods mount it, and may still restart."""
    former = observed.last_good
    if former is None or names.tls(former.spec.tls) == names.tls(revision.spec.tls):
        return []
    before = replace(observed, certificate=observed.last_certificate)
    if missing(former, before, service.metadata.namespace) is not None:
        return []  # its source is gone: nothing that could be kept up to date
    values = variables(service, region, former, before, size, names)
    gvr, template = (
        (objects.SECRETS, "secret")
        if former.spec.tls.secret_name is not None
        else (objects.CERTIFICATES, "certificate")
    )
    return [names.child(gvr, names.tls(former.spec.tls), templates[template].render(values))]


def _config_maps(
    revision: Revision, observed: Observed, names: Names, values: Mapping[str, Any], templates: TemplateSet
) -> list[Child]:
    """The map of the revision, and the one of the revision before: its pods may still restart."""
    wanted = {names.config(revision): revision.spec.config}
    if observed.last_good is not None:
        wanted.setdefault(names.config(observed.last_good), observed.last_good.spec.config)
    return [
        names.child(
            objects.CONFIG_MAPS,
            name,
            templates["configmap"].render({**values, "config_name": name, "config": config}),
        )
        for name, config in wanted.items()
        if config
    ]
