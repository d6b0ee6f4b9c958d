"""Revisions as they are stored: one ControllerRevision each, beside the service in the hub."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from roadstead.chat.revisions import Revision, RevisionUnreadable, from_object, numbered, object_name, to_child, to_trim
from roadstead.kernel import objects
from roadstead.kernel.apply import Applier, Outcome
from roadstead.kernel.context import Context
from roadstead.kernel.objects import Key
from roadstead.kernel.ownership import Owner
from roadstead.kernel.store import NOTHING, Record

REMEMBERED = 1000
"""Revisions that are kept in memory; their content never changes, so only memory is at stake."""


class RevisionHistory:
    """Reads revisions when they are needed and keeps what was read. A converged service needs none of it."""

    def __init__(self) -> None:
        self._read: dict[str, Revision] = {}

    def stored(self, key: Key, ctx: Context) -> list[Record]:
        """The records of the service's ControllerRevisions."""
        return [r for r in ctx.hub.store.children(key) if r.gvr == objects.CONTROLLER_REVISIONS]

    def is_stored(self, key: Key, revision: Revision, ctx: Context) -> bool:
        """Whether the revision can be returned to."""
        name = object_name(key.name, revision)
        return any(record.name == name for record in self.stored(key, ctx))

    async def load(self, key: Key, hash_: str, ctx: Context) -> Revision | None:
        """The revision with this hash; None when it is not stored (any more) or cannot be read."""
        for record in self.stored(key, ctx):
            if record.name == f"{key.name}-{hash_}":
                return await self._one(key, record, ctx)
        return None

    async def all(self, key: Key, ctx: Context) -> list[Revision]:
        """Every stored revision that can be read."""
        return [r for record in self.stored(key, ctx) if (r := await self._one(key, record, ctx)) is not None]

    async def store(self, key: Key, owner: Owner, revision: Revision, ctx: Context) -> Outcome:
        """Store the revision that the spec stands for, with the number that it gets among those stored."""
        known = await self.all(key, ctx)
        child = to_child(key.name, key.namespace, numbered(revision, known))
        return await Applier(ctx.hub.client, ctx.hub.store, owner, "").converge([child], prune=False)

    async def trim(self, key: Key, owner: Owner, in_use: Collection[str], limit: int, ctx: Context) -> None:
        """Delete the oldest revisions that nothing runs or could return to, above the limit."""
        records = self.stored(key, ctx)
        if len(records) <= limit + len(in_use):
            return
        known = {record.name: await self._one(key, record, ctx) for record in records}
        surplus = {object_name(key.name, revision) for revision in to_trim(_present(known.values()), in_use, limit)}
        surplus |= {name for name, revision in known.items() if revision is None}
        surplus -= {f"{key.name}-{hash_}" for hash_ in in_use}  # one that cannot be read may be read by another version
        applier = Applier(ctx.hub.client, ctx.hub.store, owner, "")
        await applier.delete(record for record in records if record.name in surplus and record.fields != NOTHING)

    async def _one(self, key: Key, record: Record, ctx: Context) -> Revision | None:
        identity = f"{record.uid}/{record.resource_version}"
        known = self._read.get(identity)
        if known is not None:
            return known
        body = await ctx.hub.client.find(record.gvr, key.namespace, record.name)
        if body is None:
            return None
        try:
            revision = from_object(body)
        except RevisionUnreadable:
            return None
        self._read[identity] = revision
        while len(self._read) > REMEMBERED:
            del self._read[next(iter(self._read))]
        return revision


def _present(revisions: Iterable[Revision | None]) -> list[Revision]:
    return [revision for revision in revisions if revision is not None]
