"""What the objects of one region depend on beside spec, region and revision; and how many pods that makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roadstead.api.chatservice import ChatService
from roadstead.chat.finding import Finding
from roadstead.chat.placement import RegionFacts
from roadstead.chat.revisions import Revision
from roadstead.kernel.objects import TLS_TYPE, Gvr


@dataclass(frozen=True, slots=True)
class Certificate:
    """The content of a kubernetes.io/tls Secret, base64 as the API has it. Never shown in a repr."""

    data: Mapping[str, str] = field(repr=False)


_PARTS: Final = ("tls.crt", "tls.key")


def certificate_in(secret: Mapping[str, Any] | None) -> tuple[Certificate | None, str]:
    """What a TLS Secret holds; or None, and what is wrong with it and the cure, to be read after its name.

    Only this type is taken, because only this type is watched: of another no renewal would ever be seen.

    Args:
        secret: as the hub has it; None when it is not there.
    """
    if secret is None:
        return None, f"does not exist; create it (type {TLS_TYPE})"
    if (type_ := secret.get("type")) != TLS_TYPE:
        return None, (
            f"has the type {type_ or 'Opaque'}, which cannot be changed; delete it and make it anew "
            "(kubectl create secret tls)"
        )
    data: Mapping[str, str] = secret.get("data") or {}
    missing = [part for part in _PARTS if not data.get(part)]
    if missing:
        return None, f"has no {' and no '.join(missing)}; put certificate and key there, in PEM"
    return Certificate({part: data[part] for part in (*_PARTS, "ca.crt") if data.get(part)}), ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the objects of one region depend on beside spec, region and revision.

    Attributes:
        served: types that the region's API server serves, of those that it need not.
        certificate: what is in the Secret that the revision's ``tls.secretName`` names in the hub; None when that is
            nothing that can be used.
        certificate_fault: why not, to be read after the Secret's name; see `certificate_in`.
        floor: replicas that the active peaks ask for; 0 when there is none.
        present_replicas: what the status says the region was last meant to have; None before its first time. In a
            cordoned region it is the most that it gets.
        no_keyset: why the region cannot have the keyset of the ring that the service names; None when it can.
        last_good: the revision that the region ran before, while pods of it may still run.
        last_certificate: what is in the Secret that its ``tls.secretName`` names; None as above.
    """

    served: frozenset[Gvr] = frozenset()
    certificate: Certificate | None = None
    certificate_fault: str = ""
    floor: int = 0
    present_replicas: int | None = None
    no_keyset: Finding | None = None
    last_good: Revision | None = None
    last_certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How many pods a region should have: ``minimum`` to ``maximum``; without an autoscaler the two are the same."""

    autoscaled: bool
    minimum: int
    maximum: int


def scale(service: ChatService, region: RegionFacts, observed: Observed) -> Scale:
    """How many pods the region should have. A cordoned region never gets more than it was meant to have before."""
    entry = next(entry for entry in service.spec.topology.regions if entry.name == region.name)
    wanted = service.spec.replicas if entry.replicas is None else entry.replicas
    autoscaling = service.spec.autoscaling
    ceiling = observed.present_replicas if region.cordoned else None
    if autoscaling is None or wanted == 0:  # 0 keeps a region prepared without pods; no autoscaler may wake it
        count = wanted if ceiling is None else min(wanted, ceiling)
        return Scale(autoscaled=False, minimum=count, maximum=count)
    least = max(autoscaling.min_replicas or wanted, observed.floor)
    most = autoscaling.max_replicas if ceiling is None else min(autoscaling.max_replicas, max(1, ceiling))
    return Scale(autoscaled=True, minimum=min(least, most), maximum=most)
