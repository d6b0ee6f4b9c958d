"""The packed store against a plain dict: any history, seen in any order that watches, lists and answers can have.

Mutant killed: any of the four guards against old news taken out of `ChildStore` (version, uid, burial, list version).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.kernel.objects import CHILD_TYPES, DEPLOYMENTS, SERVICES, WORKLOAD_TYPES, Gvr, Key
from roadstead.kernel.store import ChildStore, Record, WorkloadStatus, _pack, _unpack, to_record
from unit.kernel.objects_as_seen import HUB, seen

OWNERS = [Key("ChatService", "n", "a"), Key("ChatService", "n", "b"), Key("Region", "", "r")]
TYPES = [SERVICES, DEPLOYMENTS]
digests = st.binary(min_size=8, max_size=8)
labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=253)

workloads = st.builds(
    WorkloadStatus,
    generation=st.integers(0, 2**63),
    observed_generation=st.integers(0, 2**63),
    wanted=st.integers(0, 2**31 - 1),
    replicas=st.integers(0, 2**31 - 1),
    updated=st.integers(0, 2**31 - 1),
    ready=st.integers(0, 2**31 - 1),
    available=st.integers(0, 2**31 - 1),
    failure=st.text(max_size=500),
)


@st.composite
def one_record(draw: st.DrawFn) -> Record:
    """Only workloads have their status, only Services an address; everything else is free."""
    gvr = draw(st.sampled_from(CHILD_TYPES))
    return Record(
        gvr=gvr,
        name=draw(labels),
        region=draw(st.just("") | labels.map(lambda text: text[:63])),
        uid=str(draw(st.uuids())),
        resource_version=draw(st.integers(0, 2**63)),
        body_hash=draw(digests),
        fields=draw(digests),
        expected=draw(digests),
        terminating=draw(st.booleans()),
        workload=draw(st.none() | workloads) if gvr in WORKLOAD_TYPES else None,
        address=draw(st.text(max_size=253)) if gvr == SERVICES else "",
    )


records = one_record()


@given(st.lists(records, max_size=6))
def test_packing_loses_nothing(some: list[Record]) -> None:
    assert list(_unpack(_pack(some))) == some


@dataclass
class Server:
    """One API server's truth: objects by (type, name), every event so far, one counter of versions."""

    version: int = 0
    count: int = 0
    objects: dict[tuple[Gvr, str], tuple[Key | None, dict[str, Any]]] = field(default_factory=dict)
    events: list[tuple[str, Gvr, dict[str, Any]]] = field(default_factory=list)

    def write(self, gvr: Gvr, name: str, owner: Key | None, fields: str) -> dict[str, Any]:
        self.version += 1
        known = self.objects.get((gvr, name))
        if known is None:
            self.count += 1
        number = self.count if known is None else int(known[1]["metadata"]["number"])
        body = seen(owner, name, number=number, version=self.version, fields={fields: {}})
        body["metadata"]["number"] = number
        self.objects[gvr, name] = (owner, body)
        self.events.append(("ADDED" if known is None else "MODIFIED", gvr, body))
        return body

    def delete(self, gvr: Gvr, name: str) -> None:
        known = self.objects.pop((gvr, name), None)
        if known is not None:
            self.version += 1
            body = copy.deepcopy(known[1])
            body["metadata"]["resourceVersion"] = str(self.version)
            self.events.append(("DELETED", gvr, body))

    def truth(self) -> set[tuple[Key, Gvr, str, bytes]]:
        return {
            (owner, gvr, body["metadata"]["uid"], to_record(gvr, body).fields)
            for (gvr, _), (owner, body) in self.objects.items()
            if owner is not None
        }


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.sampled_from(TYPES),
            st.sampled_from(["x", "y"]),
            st.sampled_from([*OWNERS[:2], None]),
            st.sampled_from(["f:a", "f:b"]),
            st.sampled_from(["other", "answered", "answered late"]),
        ),
        st.tuples(st.just("delete"), st.sampled_from(TYPES), st.sampled_from(["x", "y"])),
        st.tuples(st.just("deliver"), st.integers(1, 3)),
        st.tuples(st.just("late answers")),
        st.tuples(st.just("relist"), st.sampled_from(TYPES)),
    ),
    max_size=40,
)


def view(store: ChildStore) -> set[tuple[Key, Gvr, str, bytes]]:
    return {(owner, r.gvr, r.uid, r.fields) for owner in store.owners() for r in store.children(owner)}


@settings(max_examples=400, deadline=None)
@given(steps)
def test_any_history_ends_with_what_the_server_has(history: list[tuple[Any, ...]]) -> None:
    """Every event is delivered in order or replaced by a list; answers to our own writes come early, late or never."""
    server, store = Server(), ChildStore(HUB)
    delivered = dict.fromkeys(TYPES, 0)
    late: list[tuple[Gvr, dict[str, Any], bool]] = []

    def told(change: Callable[[], list[Key]]) -> None:
        before = view(store)
        owners = set(change())
        assert {owner for owner, *_ in before ^ view(store)} <= owners, "an owner lost or got something unheard"

    def deliver(gvr: Gvr, limit: int) -> None:
        while limit and delivered[gvr] < len(server.events):
            kind, what, body = server.events[delivered[gvr]]
            delivered[gvr] += 1
            if what != gvr:
                continue
            limit -= 1
            if kind == "DELETED":
                told(partial(store.remove, gvr, body))
            else:
                told(partial(store.upsert, gvr, body, moved=kind == "MODIFIED"))

    def relist(gvr: Gvr) -> None:
        alive = [body for (what, _), (_, body) in server.objects.items() if what == gvr]
        for body in alive:
            told(partial(store.upsert, gvr, body))
        told(partial(store.retain, gvr, {body["metadata"]["uid"] for body in alive}, server.version))
        delivered[gvr] = len(server.events)

    def answer() -> None:
        while late:
            gvr, body, updated = late.pop()
            told(partial(store.upsert, gvr, body, expected=True, moved=updated))

    for step in history:
        match step:
            case ("write", gvr, name, owner, fields, how):
                known = server.objects.get((gvr, name))
                if known is not None and known[0] != owner:
                    answer()  # nobody changes whose an object is while the answer to its creation is under way
                    if how != "other":  # we take back only what we have seen taken
                        deliver(gvr, -1)
                body = server.write(gvr, name, owner, fields)
                if owner is not None and how != "other":  # labels are only ever taken away by others
                    late.append((gvr, body, known is not None))
                if how == "answered":
                    answer()
            case ("delete", gvr, name):
                server.delete(gvr, name)
            case ("deliver", limit):
                for gvr in TYPES:
                    deliver(gvr, limit)
            case ("late answers",):
                answer()
            case ("relist", gvr):
                relist(gvr)
    for gvr in TYPES:
        deliver(gvr, -1)
    answer()
    assert view(store) == server.truth()
