"""Making one region's children what they should be: create, update, leave alone, prune.

Everything here follows from four facts about server-side apply that `tests/integration/kernel` proves on a real API
server: an apply with ``resourceVersion: "1"`` creates or answers 409; one with ``uid`` updates that object or answers
409; every foreign change to a field that we own changes our entry in ``managedFields``; and who writes others' fields
into that entry owns them, so that the next apply removes them.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.concurrency import gathered
from roadstead.kernel.errors import (
    Conflict,
    Fatal,
    Forbidden,
    Invalid,
    NotFound,
    NotServed,
    RoadsteadError,
    ServerFault,
    Unreachable,
)
from roadstead.kernel.fieldset import digest, managers_of, missing, owned_fields, taken_over
from roadstead.kernel.objects import Child, Gvr
from roadstead.kernel.ownership import Claim, Owner, claim, is_lost, stamped
from roadstead.kernel.store import NOTHING, ChildStore, Record, to_record

Name = tuple[Gvr, str]
"""What one child is known by within its owner's namespace."""
ROUNDS = 3
"""How often a pass is made anew at once because somebody changed something meanwhile."""
SHORTEST_QUOTE = 8
"""Characters of a Secret's value, or of a line of it, that must not be repeated; fewer may be there by chance."""
OUR_MANAGERS = frozenset({objects.FIELD_MANAGER, objects.STATUS_MANAGER, objects.HANDOVER_MANAGER})


class Verdict(Enum):
    """What has to be done about one desired child, from what the cache says."""

    CREATE = "create"
    KEEP = "keep"
    UPDATE = "update"
    INSPECT = "inspect"
    """The body is the one that we last wrote, but whether somebody changed it since must be read (after a restart)."""
    WAIT = "wait"
    """It is being deleted; it can be made again when it is gone."""


def judge(body_hash: bytes, record: Record | None) -> Verdict:
    """Compare a desired body with the record of the child."""
    if record is None:
        return Verdict.CREATE
    if record.terminating:
        return Verdict.WAIT
    if record.body_hash != body_hash or record.fields == NOTHING:
        return Verdict.UPDATE
    if record.expected == NOTHING:
        return Verdict.INSPECT
    return Verdict.KEEP if record.fields == record.expected else Verdict.UPDATE


def is_drift(body_hash: bytes, record: Record) -> bool:
    """Whether a child that has to be updated is as it is because somebody else changed it.

    The hash may be what they changed. Then what we own differs from what we last saw ourselves own; without such a
    memory, only an equal hash proves that nobody asked for another body.
    """
    if record.expected == NOTHING:
        return record.body_hash == body_hash
    return record.fields != record.expected


@dataclass(frozen=True, slots=True)
class Problem:
    """A child that could not be made as desired; ``message`` has the cluster's own words."""

    child: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass over one region's children did.

    ``made`` names the children that were created; ``drifted`` those that somebody else had changed and who that was, as
    far as the object tells; ``spared`` those that were left so, or absent, for now because the caller wished it;
    ``stale`` those that are, in the end, not what they should be all the same, because somebody was quicker.
    """

    made: tuple[str, ...] = ()
    updated: int = 0
    deleted: int = 0
    waiting: tuple[str, ...] = ()
    conflicts: tuple[Problem, ...] = ()
    refused: tuple[Problem, ...] = ()
    drifted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    spared: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    failed: RoadsteadError | None = None

    @property
    def created(self) -> int:
        """How many children were created."""
        return len(self.made)

    @property
    def unobstructed(self) -> bool:
        """Whether the cluster took all that was sent."""
        return not (self.waiting or self.conflicts or self.refused or self.failed)

    @property
    def complete(self) -> bool:
        """Whether every child is now as desired, but for those that were spared."""
        return self.unobstructed and not self.stale

    @property
    def writes(self) -> int:
        """Writes that this pass sent and the server took."""
        return self.created + self.updated + self.deleted


@dataclass(slots=True)
class _Tally:
    made: list[str] = field(default_factory=list)
    updated: int = 0
    deleted: int = 0
    waiting: list[str] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    drifted: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    stale: tuple[str, ...] = ()
    failed: RoadsteadError | None = None

    def outcome(self) -> Outcome:
        return Outcome(
            tuple(sorted(self.made)),
            self.updated,
            self.deleted,
            tuple(sorted(self.waiting)),
            tuple(sorted(self.conflicts, key=lambda problem: problem.child)),
            tuple(sorted(self.refused, key=lambda problem: problem.child)),
            tuple(sorted(self.drifted)),
            tuple(sorted(set(self.spared))),
            self.stale,
            self.failed,
        )


def body_hash_of(child: Child, owner_uid: str) -> bytes:
    """The digest of a body as it is rendered, before our labels and annotations, and of whose it is.

    The uid is in it so that an owner which was deleted and made again takes its children over visibly: an object that
    lost its labels is known by the uid in its annotation, and must not carry that of an owner who is gone.
    """
    return digest([child.body, owner_uid])


def applied_digest(records: Iterable[Record]) -> str:
    """H(type, name, uid, body hash, owned fields) over the children of a region, in hex.

    This is what ``status.regions[].applied`` records. While it and the digest of the inputs stand, nothing needs to be
    rendered, read or written, also after a restart.
    """
    state = blake2b(digest_size=12)
    for record in records:
        state.update(f"{record.gvr}\0{record.name}\0{record.uid}\0{record.terminating}\0".encode())
        state.update(record.body_hash)
        state.update(record.fields)
    return state.hexdigest()


def without_content(child: Child, words: str) -> str:
    """A cluster's words about a child, but not if they quote a Secret: a webhook may repeat what it refuses."""
    if child.gvr != objects.SECRETS:
        return words
    parts: set[str] = set()
    for encoded in (child.body.get("data") or {}).values():
        decoded = b64decode(encoded).decode(errors="replace")
        parts |= {encoded, decoded, *decoded.splitlines()}
    if any(len(part) >= SHORTEST_QUOTE and part in words for part in parts):
        return (
            "the cluster's answer quotes the Secret and is not repeated here; ask the webhook or gateway in front of it"
        )
    return words


async def create_secret(client: ClusterClient, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Create a Secret; `Conflict` when its name is taken, and no other refusal quotes what is in it."""
    try:
        return await client.create(objects.SECRETS, namespace, body, manager=objects.FIELD_MANAGER)
    except RoadsteadError as error:
        child = Child(objects.SECRETS, namespace, body["metadata"]["name"], {"data": body.get("data")})
        words = without_content(child, str(error))
        if words == str(error):
            raise
        raise type(error)(f"{child}: {words}") from None


class Applier:
    """Applies and prunes one owner's children in one region of one cluster.

    Args:
        client: the cluster.
        store: what is known of its children.
        owner: who owns them.
        region: the region's name, put on every child; empty for children that belong to no region.
    """

    def __init__(self, client: ClusterClient, store: ChildStore, owner: Owner, region: str) -> None:
        self._client = client
        self._store = store
        self._owner = owner
        self._region = region
        self._spare: Collection[str] = ()
        self._tally = _Tally()

    async def converge(
        self,
        desired: Sequence[Child],
        *,
        prune: bool = True,
        spare: Collection[str] = (),
        lost: Collection[Name] = (),
    ) -> Outcome:
        """Make the children what ``desired`` says, in parallel, and delete what is no longer desired.

        Nothing is deleted when any child could not be applied: a half-made state is not a reason to take more away.
        Nor is what we never applied: a copy that a person made of a child has all its labels.

        Args:
            desired: all of them.
            prune: whether to delete.
            spare: children, as ``str`` of them, whose drift or absence is left alone this time.
            lost: what `delete_lost` is to look for when all is as desired.
        """
        self._spare = spare
        for _ in range(ROUNDS):
            await self._pass(desired, prune=prune)
            self._tally.stale = self._stale(desired, prune=prune)
            if not self._tally.stale or not self._tally.outcome().unobstructed:
                break
        if prune and lost and self._tally.outcome().complete:
            wanted = {(child.gvr, child.name) for child in desired}
            await self.delete_lost(name for name in lost if name not in wanted)
            self._tally.stale = self._stale(desired, prune=prune)
        return self._tally.outcome()

    async def _pass(self, desired: Sequence[Child], *, prune: bool) -> None:
        known = self._known()
        await gathered(self._one(child, known.get((child.gvr, child.name))) for child in desired)
        tally = self._tally
        if prune and not (tally.failed or tally.refused or tally.conflicts):
            await self.delete(self._unwanted(desired, known))

    def _known(self) -> dict[tuple[Gvr, str], Record]:
        return {(r.gvr, r.name): r for r in self._store.children(self._owner.key, self._region)}

    def _unwanted(self, desired: Sequence[Child], known: Mapping[tuple[Gvr, str], Record]) -> list[Record]:
        wanted = {(child.gvr, child.name) for child in desired}
        return [r for identity, r in known.items() if identity not in wanted and r.fields != NOTHING]

    def _stale(self, desired: Sequence[Child], *, prune: bool) -> tuple[str, ...]:
        """What somebody changed, deleted or brought back while this was under way.

        The event of it has been taken in already, and wakes nobody again: if what is known now were recorded as what
        was applied, it would count as right for ever.
        """
        known, spared = self._known(), set(self._tally.spared)
        judged = (
            (child, judge(body_hash_of(child, self._owner.uid), known.get((child.gvr, child.name))))
            for child in desired
        )
        stale = [str(child) for child, verdict in judged if verdict is not Verdict.KEEP and str(child) not in spared]
        extra = self._unwanted(desired, known) if prune else []
        return (*stale, *(f"{record.gvr.kind} {record.name}" for record in extra))

    async def delete(self, records: Iterable[Record]) -> Outcome:
        """Delete exactly these objects (by uid); those that linger are reported as waiting."""
        await gathered(self._delete(record) for record in records)
        return self._tally.outcome()

    async def delete_lost(self, names: Iterable[Name]) -> Outcome:
        """Delete what is ours by the uid and our Apply entry, though nothing tells us of it any more.

        A child that loses its labels leaves our watches. While it is wanted, that is drift: applying it finds it. One
        that nobody wants any more has to be looked for, by name.
        """
        known = self._known()
        await gathered(self._delete_if_lost(*name) for name in names if name not in known)
        return self._tally.outcome()

    async def _delete_if_lost(self, gvr: Gvr, name: str) -> None:
        try:
            found = await self._client.find(gvr, self._owner.key.namespace, name, metadata_only=True)
        except Forbidden as error:
            self._tally.refused.append(Problem(f"{gvr.kind} {self._owner.key.namespace}/{name}", str(error)))
            return
        except RoadsteadError as error:
            self._tally.failed = error
            return
        if found is None or not is_lost(found["metadata"], self._owner, self._region):
            return
        await self._delete(to_record(gvr, found))

    async def _one(self, child: Child, record: Record | None) -> None:
        body_hash = body_hash_of(child, self._owner.uid)
        try:
            match judge(body_hash, record):
                case Verdict.KEEP:
                    pass
                case Verdict.WAIT:
                    self._tally.waiting.append(str(child))
                case Verdict.CREATE if str(child) in self._spare:
                    self._tally.spared.append(str(child))
                case Verdict.CREATE:
                    await self._create(child, body_hash)
                case Verdict.INSPECT:
                    await self._inspect(child, body_hash)
                case Verdict.UPDATE if record is not None:
                    await self._update(child, body_hash, record.uid, drifted=is_drift(body_hash, record))
        except Fatal:
            raise
        except (Forbidden, Invalid, NotFound, NotServed) as error:  # not found: the namespace
            self._tally.refused.append(Problem(str(child), without_content(child, str(error))))
        except RoadsteadError as error:
            words = without_content(child, str(error))
            self._tally.failed = error if words == str(error) else ServerFault(words)

    async def _create(self, child: Child, body_hash: bytes) -> None:
        body = stamped(child, self._owner, self._region, body_hash)
        body["metadata"]["resourceVersion"] = "1"
        try:
            answer = await self._apply(child, body)
        except Conflict:
            await self._inspect(child, body_hash)
            return
        self._store.upsert(child.gvr, answer, expected=True)
        self._tally.made.append(str(child))

    async def _update(self, child: Child, body_hash: bytes, uid: str, *, drifted: bool) -> None:
        managers: tuple[str, ...] = ()
        if drifted:
            if str(child) in self._spare:
                self._tally.spared.append(str(child))
                return
            # Before the repair, which takes the field and the name with it.
            found = await self._client.find(child.gvr, child.namespace, child.name, metadata_only=True)
            managers = managers_of(found["metadata"], OUR_MANAGERS, child.body) if found is not None else ()
        body = stamped(child, self._owner, self._region, body_hash)
        body["metadata"]["uid"] = uid
        try:
            if child.gvr in objects.WORKLOAD_TYPES and "replicas" not in (child.body.get("spec") or {}):
                await self._hand_over_replicas(child)
            answer = await self._apply_over(child, body)
        except NotFound:
            raise Conflict(f"{child} is gone") from None
        if drifted:
            self._tally.drifted.append((str(child), managers))
        self._store.upsert(child.gvr, answer, expected=True, moved=True)
        self._tally.updated += 1

    async def _apply_over(self, child: Child, body: dict[str, Any]) -> dict[str, Any]:
        """Apply; what somebody has put beside ours so that both together are refused is taken out.

        An apply leaves alone what others own. A port that somebody gave another number is another element of the list
        then, with the name of ours, and no repair would ever be accepted.
        """
        try:
            return await self._apply(child, body)
        except Invalid:
            found = await self._client.find(child.gvr, child.namespace, child.name, metadata_only=True)
            if found is None or found["metadata"]["uid"] != body["metadata"]["uid"]:
                raise
            entries = taken_over(found["metadata"], objects.FIELD_MANAGER, OUR_MANAGERS)
            if entries is None:
                raise
            identity = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
            patch = {"metadata": {**identity, "managedFields": entries}}
            await self._client.merge_patch(child.gvr, child.namespace, child.name, patch, manager=objects.FIELD_MANAGER)
            return await self._apply(child, body)

    async def _inspect(self, child: Child, body_hash: bytes) -> None:
        """Read the metadata of what is there: it may be ours and right, ours and drifted, or not ours."""
        found = await self._client.find(child.gvr, child.namespace, child.name, metadata_only=True)
        if found is None:
            raise Conflict(f"{child} is gone")
        metadata = found["metadata"]
        if claim(metadata, self._owner, self._region) is Claim.FOREIGN:
            message = f"{child} exists and is not ours; delete it or rename the service, it is never taken over"
            self._tally.conflicts.append(Problem(str(child), message))
            return
        if "deletionTimestamp" in metadata:
            self._tally.waiting.append(str(child))
            return
        record = to_record(child.gvr, found)
        fields = owned_fields(metadata, objects.FIELD_MANAGER) or {}
        body = stamped(child, self._owner, self._region, body_hash)
        if record.body_hash == body_hash and next(missing(body, fields), None) is None:
            self._store.confirm(self._owner.key, [record])
            return
        await self._update(child, body_hash, record.uid, drifted=record.body_hash == body_hash)

    async def _hand_over_replicas(self, child: Child) -> None:
        """Own the present number of replicas under a second manager before we stop applying it.

        A field whose last owner drops it is removed, and the server puts the default in: a Deployment of seven replicas
        that we leave to an autoscaler by leaving the field out would drop to one.
        """
        live = await self._client.get(child.gvr, child.namespace, child.name)
        ours = owned_fields(live["metadata"], objects.FIELD_MANAGER) or {}
        if "f:replicas" not in ours.get("f:spec", {}):
            return
        body = {
            "apiVersion": child.gvr.api_version,
            "kind": child.gvr.kind,
            "metadata": {"name": child.name, "namespace": child.namespace, "uid": live["metadata"]["uid"]},
            "spec": {"replicas": live["spec"]["replicas"]},
        }
        await self._client.apply(child.gvr, child.namespace, child.name, body, manager=objects.HANDOVER_MANAGER)

    async def _apply(self, child: Child, body: dict[str, Any]) -> dict[str, Any]:
        return await self._client.apply(
            child.gvr, child.namespace, child.name, body, manager=objects.FIELD_MANAGER, force=True
        )

    async def _delete(self, record: Record) -> None:
        namespace = self._owner.key.namespace
        label = f"{record.gvr.kind} {namespace}/{record.name}"
        if record.terminating:
            self._tally.waiting.append(label)
            return
        try:
            lingers = await self._client.delete(record.gvr, namespace, record.name, uid=record.uid)
            self._tally.deleted += 1
            if lingers:
                self._tally.waiting.append(label)
            else:
                self._store.forget(self._owner.key, record.gvr, record.uid)
        except Fatal:
            raise
        except Conflict:  # the uid is another's: ours is gone
            self._store.forget(self._owner.key, record.gvr, record.uid)
        except (Forbidden, Invalid, NotServed) as error:
            self._tally.refused.append(Problem(label, _of_deletion(record.gvr, str(error))))
        except RoadsteadError as error:
            words = _of_deletion(record.gvr, str(error))
            self._tally.failed = error if words == str(error) or isinstance(error, Unreachable) else ServerFault(words)


def _of_deletion(gvr: Gvr, words: str) -> str:
    """A cluster's words about a deletion; what is deleted is not at hand, so nothing tells whether it is quoted."""
    if gvr != objects.SECRETS:
        return words
    return "the cluster refuses the deletion; its words are not repeated, since they may quote the Secret"
