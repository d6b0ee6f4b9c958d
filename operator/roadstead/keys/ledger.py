"""The ledger: KeyVersion objects, and what a decision needs to know of them.

Every change is conditional: a create takes the number, a replace carries the resourceVersion that was read. So whoever
acts on what is old is refused, and reads again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from roadstead.api.keyversion import KeyMark, KeyPhase, KeyType, KeyVersion, object_name
from roadstead.keys.material import Material, fingerprint
from roadstead.keys.versions import Version

RING_ID_LABEL: Final = "roadstead.dev/ring-id"
API_VERSION: Final = "roadstead.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be made, written down before it is.

    Attributes:
        ring: name of the KeyRing.
        namespace: where it is.
        ring_id: identity of the ring.
        number: of the version.
        slot: of the schedule; None: it takes the place of one that was marked or discarded.
        key_type: what it will encrypt with.
        operation: unpredictable; marks what is made for this intent and no other.
    """

    ring: str
    namespace: str
    ring_id: str
    number: int
    slot: datetime | None
    key_type: KeyType
    operation: str


def reserved(intent: Intent, now: datetime) -> dict[str, Any]:
    """The KeyVersion that takes a number. Creating it succeeds once."""
    spec: dict[str, Any] = {
        "ring": intent.ring,
        "ringID": intent.ring_id,
        "number": intent.number,
        "keyType": intent.key_type.value,
        "operation": intent.operation,
    }
    if intent.slot is not None:
        # To the microsecond: a slot that came back a little older than it was would be due again.
        spec["slot"] = intent.slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": API_VERSION,
        "kind": "KeyVersion",
        "metadata": {
            "name": object_name(intent.ring, intent.number),
            "namespace": intent.namespace,
            "labels": {RING_ID_LABEL: intent.ring_id},
        },
        "spec": spec,
        "status": {"phase": KeyPhase.RESERVED.value, "since": _text(now), "mark": "", "returned": False},
    }


def moved(body: Mapping[str, Any], to: KeyPhase, now: datetime, *, fingerprint: str = "") -> dict[str, Any]:
    """A KeyVersion in its next phase, to be written over the one that was read.

    Args:
        body: as it was read, with its resourceVersion.
        to: its next phase.
        now: in UTC.
        fingerprint: with `KeyPhase.STAGED`: of the material that is durable now.
    """
    status = {**body["status"], "phase": to.value, "since": _text(now)}
    if to is KeyPhase.STAGED:
        status |= {"fingerprint": fingerprint, "stagedAt": _text(now)}
    if to is KeyPhase.COMPROMISED:
        # What had retired before had nothing left to be written anew.
        was_retired = body["status"]["phase"] == KeyPhase.RETIRED and not body["status"].get("returned")
        status |= {"rewrapped": was_retired}
    return {**body, "status": status}


def noted(body: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """A KeyVersion with what pods have shown of it, to be written over the one that was read."""
    status = {**body["status"], "returned": version.returned, "rewrapped": version.rewrapped}
    if version.retained_from is not None:
        status["retainedFrom"] = _text(version.retained_from)
    return {**body, "status": status}


def marked(body: Mapping[str, Any], mark: KeyMark) -> dict[str, Any]:
    """A KeyVersion with what people have said of it, to be written over the one that was read."""
    return {**body, "status": {**body["status"], "mark": mark.value}}


def fingerprint_of(entry: KeyVersion, material: Material) -> str:
    """The fingerprint of an entry that has one, or that of the material that it is to have."""
    return entry.status.fingerprint or fingerprint(entry.spec.ring_id, material)


def version_of(entry: KeyVersion) -> Version:
    """What a decision needs to know of an entry."""
    status = entry.status
    return Version(
        number=entry.spec.number,
        phase=status.phase,
        since=status.since or datetime.fromtimestamp(0, UTC),
        fingerprint=status.fingerprint or "",
        slot=entry.spec.slot,
        staged=status.staged_at,
        mark=status.mark,
        returned=status.returned,
        rewrapped=status.rewrapped,
        retained_from=status.retained_from,
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
