"""The finalizer: what keeps one of our resources until what it has elsewhere is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.context import Context
from roadstead.kernel.errors import Conflict, NotFound
from roadstead.kernel.objects import Gvr, Key


def is_held(body: Mapping[str, Any]) -> bool:
    """Whether the resource has our finalizer."""
    return objects.FINALIZER in (body["metadata"].get("finalizers") or ())


async def add(gvr: Gvr, key: Key, body: Mapping[str, Any], ctx: Context) -> None:
    """Put our finalizer on a resource as it was read.

    Raises:
        Conflict: it was changed since, or is gone or another; it is looked at again.
    """
    metadata = {
        "name": key.name,
        "uid": body["metadata"]["uid"],
        # The answer is taken in as the newest: an edit in between would be in it, and nobody would look at that.
        "resourceVersion": body["metadata"]["resourceVersion"],
        "finalizers": [objects.FINALIZER],
        **({"namespace": key.namespace} if key.namespace else {}),
    }
    patch = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}
    try:
        answer = await ctx.hub.client.apply(gvr, key.namespace, key.name, patch, manager=objects.FIELD_MANAGER)
    except (NotFound, Conflict):
        raise Conflict(f"{key} was changed, made anew or deleted meanwhile; it is looked at again") from None
    ctx.resources.upsert(key.kind, answer)


async def remove(gvr: Gvr, key: Key, body: Mapping[str, Any], ctx: Context) -> None:
    """Take our finalizer away, whoever else has it too (a restored backup): an apply would only give up our share.

    Raises:
        Conflict: somebody wrote in between; it is tried again.
    """
    metadata = body["metadata"]
    others = [name for name in metadata.get("finalizers") or () if name != objects.FINALIZER]
    patch = {"metadata": {"finalizers": others, "resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}}
    try:
        await ctx.hub.client.merge_patch(gvr, key.namespace, key.name, patch, manager=objects.FIELD_MANAGER)
    except NotFound:
        return
