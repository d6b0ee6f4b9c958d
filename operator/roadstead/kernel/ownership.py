"""Whose is it? Decided from labels, the apply entry and the owner's uid, with no request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.fieldset import owned_fields
from roadstead.kernel.objects import Child, Key
from roadstead.kernel.store import owner_of


class Claim(Enum):
    """What an existing object is to an owner that wants to have its name."""

    OURS = "ours"
    """Our labels, or our apply entry with our owner's uid: anything that differs is drift."""
    FOREIGN = "foreign"
    """Made by somebody else, or by us for another owner: never adopted."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A custom resource that owns children.

    ``reference`` makes children in the hub garbage-collectable; it is never set on children in members, nor where owner
    and child are not in the same namespace: the collector would delete such a child at once.
    """

    hub: str
    key: Key
    uid: str
    reference: Mapping[str, Any] | None = None


def claim(metadata: Mapping[str, Any], owner: Owner, region: str) -> Claim:
    """What the object with this metadata is to ``owner`` in a region.

    A child of the same owner for another region is not: two regions of one cluster whose names make one name of two
    children would take it from each other for ever.

    An object with our labels for this key but another owner uid is ours too: names are unique, so the former owner of
    that name is proven absent by the present one (it was deleted and made again while the region was away).
    """
    if owner_of(metadata, owner.hub) == owner.key:
        other = (metadata.get("labels") or {}).get(objects.REGION_LABEL, region)
        return Claim.OURS if other == region else Claim.FOREIGN
    if _names_another(metadata):
        return Claim.FOREIGN
    uid = (metadata.get("annotations") or {}).get(objects.OWNER_UID_ANNOTATION)
    if uid == owner.uid and owned_fields(metadata, objects.FIELD_MANAGER) is not None:
        return Claim.OURS
    return Claim.FOREIGN


def _names_another(metadata: Mapping[str, Any]) -> bool:
    """Whether all labels are as a hub of ours applied them, for whomever: what a person edited is in no Apply entry."""
    fields = owned_fields(metadata, objects.FIELD_MANAGER) or {}
    own = (fields.get("f:metadata") or {}).get("f:labels") or {}
    hub = (metadata.get("labels") or {}).get(objects.HUB_LABEL, "")
    return f"f:{objects.HUB_LABEL}" in own and owner_of(metadata, hub) is not None


def is_lost(metadata: Mapping[str, Any], owner: Owner, region: str) -> bool:
    """Whether the object is a child of ``owner`` in this region that does not say so in its labels any more.

    Only what we applied is; a copy has no Apply entry of ours. Where the region's label is left, it must be this one.
    """
    return (
        claim(metadata, owner, region) is Claim.OURS
        and owned_fields(metadata, objects.FIELD_MANAGER) is not None
        and (metadata.get("labels") or {}).get(objects.REGION_LABEL, region) == region
    )


def stamped(child: Child, owner: Owner, region: str, body_hash: bytes) -> dict[str, Any]:
    """The body to apply: the child's own, with identity, our labels and our annotations."""
    metadata = dict(child.body.get("metadata") or {})
    labels = {
        **(metadata.get("labels") or {}),
        objects.MANAGED_BY_LABEL: objects.MANAGED_BY,
        objects.HUB_LABEL: owner.hub,
        objects.OWNER_KIND_LABEL: owner.key.kind,
        objects.OWNER_NAME_LABEL: owner.key.name,
    }
    if owner.key.namespace:
        labels[objects.OWNER_NAMESPACE_LABEL] = owner.key.namespace
    if region:
        labels[objects.REGION_LABEL] = region
    annotations = {
        **(metadata.get("annotations") or {}),
        objects.OWNER_UID_ANNOTATION: owner.uid,
        objects.BODY_HASH_ANNOTATION: body_hash.hex(),
    }
    metadata |= {"name": child.name, "labels": labels, "annotations": annotations}
    if child.namespace:
        metadata["namespace"] = child.namespace
    if owner.reference is not None:
        metadata["ownerReferences"] = [dict(owner.reference)]
    return {**child.body, "apiVersion": child.gvr.api_version, "kind": child.gvr.kind, "metadata": metadata}
