"""What we know of our children in one cluster, packed.

220,000 children as Python objects cost more than a hundred MiB; as bytes, one string for each owner, they cost a tenth.
A record holds what deciding needs and nothing else: identity, the body hash that we wrote, a digest of the fields that
we own, what that digest was when we last wrote, and, for workloads, the few status fields that readiness needs.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from roadstead.kernel import objects
from roadstead.kernel.fieldset import owned_fields
from roadstead.kernel.objects import CHILD_TYPES, Gvr, Key

_HEAD = struct.Struct("<BB16sQ8s8s8sBBH")
_TERMINATING = 1
NOTHING = bytes(8)
"""A digest that no child has: "not known"."""
BURIED = 4096
"""How many deletions are remembered; a write is answered long before so many others have gone."""
_FOR_EVER = 2**63 - 1

_WHOSE = (
    objects.OWNER_KIND_LABEL,
    objects.OWNER_NAMESPACE_LABEL,
    objects.OWNER_NAME_LABEL,
    objects.REGION_LABEL,
)
_INDEX = {gvr: position for position, gvr in enumerate(CHILD_TYPES)}


@dataclass(frozen=True, slots=True)
class WorkloadStatus:
    """The part of a Deployment's or StatefulSet's state that readiness is derived from.

    ``failure`` is the controller's own message when it cannot make pods (quota, Pod Security, a webhook).
    """

    generation: int = 0
    observed_generation: int = 0
    wanted: int = 0
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One child as it is in the cluster. Digests are 8 bytes; `NOTHING` when unknown."""

    gvr: Gvr
    name: str
    region: str
    uid: str
    resource_version: int
    body_hash: bytes
    fields: bytes
    expected: bytes
    terminating: bool = False
    workload: WorkloadStatus | None = None
    address: str = ""


def digest_of_owned(metadata: Mapping[str, Any]) -> bytes:
    """The digest of our apply entry; `NOTHING` when we have none. The server writes ``fieldsV1`` in a stable order."""
    fields = owned_fields(metadata, objects.FIELD_MANAGER)
    return NOTHING if fields is None else blake2b(orjson.dumps(fields), digest_size=8).digest()


def owner_of(metadata: Mapping[str, Any], hub: str) -> Key | None:
    """The custom resource that an object's labels name as its owner; None when it is not of this hub.

    Labels that somebody else has written prove nothing: taken for true, an edit of one label would have a running
    Deployment deleted as an orphan of an owner who never existed, or as something that another owner does not want.
    Nor does a copy in another namespace belong to the owner of the original: children live beside their owner.
    """
    labels = metadata.get("labels") or {}
    if labels.get(objects.HUB_LABEL) != hub or labels.get(objects.MANAGED_BY_LABEL) != objects.MANAGED_BY:
        return None
    kind, name = labels.get(objects.OWNER_KIND_LABEL), labels.get(objects.OWNER_NAME_LABEL)
    if kind not in objects.OWNER_KINDS or not name:
        return None  # also because a member must not fill our queue and our metrics with kinds of its own
    fields = owned_fields(metadata, objects.FIELD_MANAGER)
    if fields is not None:
        own = (fields.get("f:metadata") or {}).get("f:labels") or {}
        if any(f"f:{label}" not in own for label in _WHOSE if label in labels):
            return None
    namespace = labels.get(objects.OWNER_NAMESPACE_LABEL, "")
    return Key(kind, namespace, name) if namespace == metadata.get("namespace", "") else None


def _count(value: Any) -> int:
    """A number of pods as every API server sends it: one beyond would make our own status one that none takes."""
    return min(max(int(value), 0), 2**31 - 1)


def project_workload(body: Mapping[str, Any]) -> WorkloadStatus:
    """Keep of a Deployment or StatefulSet what readiness needs."""
    status = body.get("status") or {}
    failure = ""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            failure = str(condition.get("message", ""))[:500]
    return WorkloadStatus(
        generation=int(body["metadata"].get("generation", 0)),
        observed_generation=int(status.get("observedGeneration", 0)),
        wanted=_count((body.get("spec") or {}).get("replicas", 1)),
        replicas=_count(status.get("replicas", 0)),
        updated=_count(status.get("updatedReplicas", 0)),
        ready=_count(status.get("readyReplicas", 0)),
        available=_count(status.get("availableReplicas", 0)),
        failure=failure,
    )


def address_of(body: Mapping[str, Any]) -> str:
    """Where a load balancer makes a Service reachable from outside; empty while, or where, there is none."""
    for ingress in ((body.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if found := ingress.get("hostname") or ingress.get("ip"):
            return str(found)[:253]
    return ""


def to_record(gvr: Gvr, body: Mapping[str, Any]) -> Record:
    """A record of an object (full or metadata only) as the API server returned it."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    try:
        body_hash = unhexlify(annotations.get(objects.BODY_HASH_ANNOTATION, ""))
    except ValueError:
        body_hash = NOTHING
    return Record(
        gvr=gvr,
        name=metadata["name"],
        region=(metadata.get("labels") or {}).get(objects.REGION_LABEL, ""),
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        body_hash=body_hash if len(body_hash) == len(NOTHING) else NOTHING,
        fields=digest_of_owned(metadata),
        expected=NOTHING,
        terminating="deletionTimestamp" in metadata,
        workload=project_workload(body) if gvr in objects.WORKLOAD_TYPES and "spec" in body else None,
        address=address_of(body) if gvr == objects.SERVICES else "",
    )


class ChildStore:
    """Children of every owner of this hub in one cluster.

    Args:
        hub: our hub id; objects of other hubs are not ours to know.
    """

    def __init__(self, hub: str) -> None:
        self._hub = hub
        self._blobs: dict[Key, bytes] = {}
        self._buried: dict[str, int] = {}
        self._listed: dict[Gvr, int] = {}

    def __len__(self) -> int:
        return len(self._blobs)

    def owners(self) -> Iterable[Key]:
        """Every custom resource that has children here, whether it still exists or not."""
        return tuple(self._blobs)

    def children(self, owner: Key, region: str | None = None) -> list[Record]:
        """The owner's children, of one region or of all, in a stable order."""
        records = [record for record in _unpack(self._blobs.get(owner, b"")) if region in (None, record.region)]
        records.sort(key=lambda record: (_INDEX[record.gvr], record.name))
        return records

    def upsert(self, gvr: Gvr, body: Mapping[str, Any], *, expected: bool = False, moved: bool = False) -> list[Key]:
        """Take in an object from a list, a watch or an answer to our own write.

        Args:
            gvr: its type.
            body: the object; older than what we know is ignored (an event may come after the answer to a write, and an
                answer after the event of the deletion that followed it).
            expected: the object is how our own write left it.
            moved: it was there before under another state (a MODIFIED event, an update's answer): if its owner does not
                know it, somebody changed the labels that say whose it is, and the former owner must forget it.

        Returns:
            The owners to reconcile: none when nothing of interest changed, two when it went from one to another.
        """
        metadata = body["metadata"]
        owner = owner_of(metadata, self._hub)
        version = int(metadata["resourceVersion"])
        if owner is None:  # it still has the two labels that the watch selects by, but none that say whose it is
            return self._forget_elsewhere(gvr, metadata["uid"], None, version)
        new = to_record(gvr, body)
        blob = self._blobs.get(owner, b"")
        place = _find(blob, _INDEX[gvr], new.name.encode())
        former: list[Key] = []
        if place is None:
            if self._buried.get(new.uid, -1) >= version or (expected and version <= self._listed.get(gvr, -1)):
                return []
            if moved and (known := self._elsewhere(gvr, new.uid, owner)) is not None:
                if known[1] > version:
                    return []
                self._drop(known[0], gvr, new.uid, version)
                former = [known[0]]
            self._blobs[owner] = blob + _pack([replace(new, expected=new.fields) if expected else new])
            return [owner, *former]
        old = next(_unpack(blob[place.start : place.end]))
        same_object = old.uid == new.uid
        if old.resource_version > version:
            if expected and same_object:  # somebody, often a controller, wrote before our answer came back
                late = _pack([replace(old, expected=new.fields)])
                self._blobs[owner] = blob[: place.start] + late + blob[place.end :]
            return []
        new = replace(new, expected=new.fields if expected else old.expected if same_object else NOTHING)
        self._blobs[owner] = blob[: place.start] + _pack([new]) + blob[place.end :]
        return [] if new == replace(old, resource_version=version) else [owner]

    def confirm(self, owner: Key, records: Iterable[Record]) -> None:
        """These records are how they should be: what they own now is what is expected from here on."""
        confirmed = {(record.gvr, record.name): record for record in records}
        changed = [
            replace(known, expected=known.fields)
            if (record := confirmed.get((known.gvr, known.name))) is not None and record.fields == known.fields
            else known
            for known in _unpack(self._blobs.get(owner, b""))
        ]
        if changed:
            self._blobs[owner] = _pack(changed)

    def remove(self, gvr: Gvr, body: Mapping[str, Any]) -> list[Key]:
        """The object is gone (or lost the labels that made it ours); returns the owners to reconcile."""
        metadata = body["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if self._buried.get(uid) == _FOR_EVER:
            return []  # we deleted it ourselves and know; looking for it elsewhere would cost a scan of everything
        self._bury(uid, version)
        owner = owner_of(metadata, self._hub)
        if owner is not None and self._drop(owner, gvr, uid, version):
            return [owner]
        return self._forget_elsewhere(gvr, uid, owner, version)

    def forget(self, owner: Key, gvr: Gvr, uid: str) -> None:
        """We deleted this object ourselves and the server says that it is gone."""
        self._bury(uid, _FOR_EVER)
        self._drop(owner, gvr, uid, _FOR_EVER)

    def retain(self, gvr: Gvr, uids: set[str], up_to: int) -> list[Key]:
        """After a complete list at resourceVersion ``up_to``: drop what was not in it; returns the owners.

        What was in it under another owner than we knew was taken in under its new one; the former must forget it.
        """
        self._listed[gvr] = up_to if up_to < _FOR_EVER else -1  # a type that is not served has no version
        index = _INDEX[gvr]
        alive = {_uid_bytes(uid) for uid in uids}
        holders: dict[bytes, tuple[int, Key]] = {}
        touched: dict[Key, None] = {}
        for owner, blob in list(self._blobs.items()):  # by the heads alone: this runs over everything, in one go
            for place in _places(blob):
                if place.type != index:
                    continue
                if place.uid not in alive and place.version <= up_to:
                    loser = (place.version, owner)
                    self._bury(_uid_text(place.uid), up_to)
                else:
                    this = (place.version, owner)
                    loser, holders[place.uid] = sorted((this, holders.get(place.uid, (-1, owner))))
                if loser[0] >= 0 and self._drop(loser[1], gvr, _uid_text(place.uid), loser[0]):
                    touched[loser[1]] = None
        return list(touched)

    def _bury(self, uid: str, version: int) -> None:
        """Remember that this object was gone at this version, so that a late answer to a write does not raise it."""
        self._buried.pop(uid, None)
        self._buried[uid] = version
        while len(self._buried) > BURIED:
            del self._buried[next(iter(self._buried))]

    def _drop(self, owner: Key, gvr: Gvr, uid: str, version: int) -> bool:
        blob, index, wanted = self._blobs.get(owner, b""), _INDEX[gvr], _uid_bytes(uid)
        for place in _places(blob):
            if place.type == index and place.uid == wanted and place.version <= version:
                rest = blob[: place.start] + blob[place.end :]
                if rest:
                    self._blobs[owner] = rest
                else:
                    del self._blobs[owner]
                return True
        return False

    def _elsewhere(self, gvr: Gvr, uid: str, but: Key | None) -> tuple[Key, int] | None:
        """Which other owner knows the object, and at which version: labels that were edited by hand do not tell."""
        wanted, index = _uid_bytes(uid), _INDEX[gvr]
        for owner, blob in self._blobs.items():
            if owner != but and wanted in blob:
                for place in _places(blob):
                    if place.uid == wanted and place.type == index:
                        return owner, place.version
        return None

    def _forget_elsewhere(self, gvr: Gvr, uid: str, but: Key | None, version: int) -> list[Key]:
        known = self._elsewhere(gvr, uid, but)
        return [known[0]] if known is not None and self._drop(known[0], gvr, uid, version) else []


class _Place(NamedTuple):
    """Where a record is in a blob, and what its head says."""

    start: int
    end: int
    type: int
    uid: bytes
    version: int
    name: int
    """Length of the name, which follows the head."""


def _places(blob: bytes) -> Iterator[_Place]:
    start = 0
    while start < len(blob):
        index, _, uid, version, _, _, _, name, region, workload = _HEAD.unpack_from(blob, start)
        end = start + _HEAD.size + name + region + workload
        yield _Place(start, end, index, uid, version, name)
        start = end


def _find(blob: bytes, index: int, name: bytes) -> _Place | None:
    for place in _places(blob):
        text = place.start + _HEAD.size
        if place.type == index and blob[text : text + place.name] == name:
            return place
    return None


def _uid_bytes(uid: str) -> bytes:
    return unhexlify(uid.replace("-", ""))


def _uid_text(uid: bytes) -> str:
    text = uid.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _pack(records: Iterable[Record]) -> bytes:
    parts = []
    for record in records:
        name, region = record.name.encode(), record.region.encode()
        workload = record.address.encode() if record.workload is None else _pack_workload(record.workload)
        parts.append(
            _HEAD.pack(
                _INDEX[record.gvr],
                _TERMINATING if record.terminating else 0,
                _uid_bytes(record.uid),
                record.resource_version,
                record.body_hash,
                record.fields,
                record.expected,
                len(name),
                len(region),
                len(workload),
            )
        )
        parts += (name, region, workload)
    return b"".join(parts)


def _unpack(blob: bytes) -> Iterator[Record]:
    at = 0
    while at < len(blob):
        index, flags, uid, version, body_hash, fields, expected, names, regions, workloads = _HEAD.unpack_from(blob, at)
        at += _HEAD.size
        name = blob[at : at + names].decode()
        at += names
        region = blob[at : at + regions].decode()
        at += regions
        is_workload = workloads and CHILD_TYPES[index] in objects.WORKLOAD_TYPES
        workload = _unpack_workload(blob[at : at + workloads]) if is_workload else None
        address = "" if is_workload else blob[at : at + workloads].decode()
        at += workloads
        yield Record(
            gvr=CHILD_TYPES[index],
            name=name,
            region=region,
            uid=_uid_text(uid),
            resource_version=version,
            body_hash=body_hash,
            fields=fields,
            expected=expected,
            terminating=bool(flags & _TERMINATING),
            workload=workload,
            address=address,
        )


_WORKLOAD = struct.Struct("<QQIIIII")


def _pack_workload(status: WorkloadStatus) -> bytes:
    numbers = _WORKLOAD.pack(
        status.generation,
        status.observed_generation,
        status.wanted,
        status.replicas,
        status.updated,
        status.ready,
        status.available,
    )
    return numbers + status.failure.encode()


def _unpack_workload(blob: bytes) -> WorkloadStatus:
    generation, observed, wanted, replicas, updated, ready, available = _WORKLOAD.unpack_from(blob)
    failure = blob[_WORKLOAD.size :].decode()
    return WorkloadStatus(generation, observed, wanted, replicas, updated, ready, available, failure)
