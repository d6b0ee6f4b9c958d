"""Bodies of children as an API server would show them, for tests of what is known of them."""

from __future__ import annotations

import uuid
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.objects import Key

HUB = "hub-1"


def uid(number: int) -> str:
    return str(uuid.UUID(int=number + (1 << 100)))


def seen(
    owner: Key | None,
    name: str = "x",
    *,
    number: int = 1,
    version: int = 1,
    region: str = "hkg",
    fields: dict[str, Any] | None = None,
    body_hash: str = "0102030405060708",
    **metadata: Any,
) -> dict[str, Any]:
    """An object with our labels for ``owner`` (None: without those that name one) and an apply entry of ours.

    The entry owns the labels, as it does while nobody else has written them.
    """
    labels = {objects.MANAGED_BY_LABEL: objects.MANAGED_BY, objects.HUB_LABEL: HUB, objects.REGION_LABEL: region}
    if owner is not None:
        labels |= {
            objects.OWNER_KIND_LABEL: owner.kind,
            objects.OWNER_NAMESPACE_LABEL: owner.namespace,
            objects.OWNER_NAME_LABEL: owner.name,
        }
    own = {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}, **(fields or {"f:data": {}})}
    entry = {"manager": objects.FIELD_MANAGER, "operation": "Apply", "fieldsV1": own}
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": uid(number),
            "resourceVersion": str(version),
            "labels": labels,
            "annotations": {objects.BODY_HASH_ANNOTATION: body_hash},
            "managedFields": [entry],
            **metadata,
        }
    }
