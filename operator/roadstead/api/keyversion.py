"""The kind KeyVersion: one version of a ring's key, in the ring's ledger.

A version is never pruned and has no owner reference: deleting the ring must delete neither the numbers that were used
nor what says which material is which. It has no status subresource, so that what is read and made again in one piece,
as backups do, comes back in the phase that it had: a version that was compromised must not return as a fresh one.

The phases are those of NIST SP 800-57 part 1 (section 7), where it has a word.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from roadstead.api.fields import Integer, Model, Moment, ObjectMeta, Timestamp
from roadstead.api.rules import ChangeRule, Rule, Values, cel_digits, cel_text, once
from roadstead.api.shapes import DNS_LABEL, FINGERPRINT, OPERATION, RING_ID

MOST_VERSIONS: Final = 999_999
"""More than a rotation each minute for a year; a Tink key id has room for more."""

RING_NAME_MAX_LENGTH: Final = 40
"""So that a ring's versions, keysets and receipts have names and labels of at most 63 characters."""

RingName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=RING_NAME_MAX_LENGTH)]
RingId = Annotated[str, StringConstraints(pattern=RING_ID, min_length=13, max_length=13)]
Fingerprint = Annotated[str, StringConstraints(pattern=FINGERPRINT, min_length=32, max_length=32)]
OperationId = Annotated[str, StringConstraints(pattern=OPERATION, min_length=16, max_length=16)]


class KeyType(StrEnum):
    """What a version encrypts with; names of Tink's key types."""

    XAES_256_GCM = "XAES-256-GCM"
    AES_256_GCM = "AES-256-GCM"


class KeyPhase(StrEnum):
    """Where a version stands."""

    RESERVED = "Reserved"
    """Its number is taken. Nothing else is there."""
    STAGED = "Staged"
    """Its material is durable in the hub, and nowhere else (pre-activation)."""
    PUBLISHED = "Published"
    """It is being handed to the regions, which still write with another."""
    READY = "Ready"
    """Every region that serves has proved that it can read what it encrypts."""
    PRIMARY = "Primary"
    """Regions write with it, each as soon as it has taken that up (active)."""
    SUPERSEDED = "Superseded"
    """Another is primary; not every region has proved that it writes with that one."""
    SUSPENDED = "Suspended"
    """Decrypts only, and stays so until a person says otherwise."""
    DRAINING = "Draining"
    """Decrypts only, until nothing is left that was written with it (deactivated)."""
    RETIRED = "Retired"
    """No region has it any more; the hub does (archival)."""
    REMOVED = "Removed"
    """Its wrapped material was deleted. Old backups may hold it."""
    SHREDDED = "Shredded"
    """So was the key that it was wrapped with: a backup helps only if it has that key, too (destroyed)."""
    DISCARDED = "Discarded"
    """It never was primary, so nothing was written with it."""
    COMPROMISED = "Compromised"
    """Regions read with it only to write anew what it had encrypted."""


class KeyMark(StrEnum):
    """What a person has said of a version; it decides where the version goes when it no longer is the primary."""

    NONE = ""
    SUSPENDED = "Suspended"
    COMPROMISED = "Compromised"


MAY_BECOME: Final[Mapping[KeyPhase, frozenset[KeyPhase]]] = {
    KeyPhase.RESERVED: frozenset({KeyPhase.STAGED, KeyPhase.DISCARDED}),
    KeyPhase.STAGED: frozenset({KeyPhase.PUBLISHED, KeyPhase.DISCARDED}),
    KeyPhase.PUBLISHED: frozenset({KeyPhase.READY, KeyPhase.DISCARDED}),
    KeyPhase.READY: frozenset({KeyPhase.PRIMARY, KeyPhase.DISCARDED}),
    KeyPhase.PRIMARY: frozenset({KeyPhase.SUPERSEDED}),
    KeyPhase.SUPERSEDED: frozenset({KeyPhase.DRAINING, KeyPhase.SUSPENDED, KeyPhase.COMPROMISED}),
    KeyPhase.SUSPENDED: frozenset({KeyPhase.DRAINING, KeyPhase.COMPROMISED}),
    KeyPhase.DRAINING: frozenset({KeyPhase.RETIRED, KeyPhase.COMPROMISED}),
    KeyPhase.RETIRED: frozenset({KeyPhase.REMOVED, KeyPhase.COMPROMISED}),
    KeyPhase.COMPROMISED: frozenset({KeyPhase.REMOVED}),
    KeyPhase.DISCARDED: frozenset({KeyPhase.REMOVED}),
    KeyPhase.REMOVED: frozenset({KeyPhase.SHREDDED}),
    KeyPhase.SHREDDED: frozenset(),
}
"""Every step that there is. `tests/unit/keys` proves that none leads back."""


class KeyVersionSpec(Model):
    """Which version this is. Never changes."""

    ring: RingName = Field(description="Name of the KeyRing, in the same namespace.", examples=["chat"])
    ring_id: RingId = Field(
        alias="ringID",
        description="Identity of the ring. A ring that is deleted and made again under its name goes on with this one.",
        examples=["r0123456789ab"],
    )
    number: Integer = Field(
        ge=1,
        le=MOST_VERSIONS,
        description="Number of the version, 1 to 999999: the id of its key in Tink's keysets, and the four bytes after "
        "the first of each ciphertext. Never used twice in a ring.",
        examples=[7],
    )
    slot: Moment | None = Field(
        default=None,
        description="The slot of the schedule that it was made for; a slot makes one version at most. Absent: it "
        "took the place of one that was marked or discarded.",
        examples=["2026-11-22T00:00:00Z"],
    )
    key_type: KeyType = Field(description="What it encrypts with.", examples=["XAES-256-GCM"])
    operation: OperationId = Field(
        description="Of the operator's intent to make it. Material that was made for another intent is never adopted.",
        examples=["0123456789abcdef"],
    )


class KeyVersionStatus(Model):
    """How far it has come."""

    phase: KeyPhase = Field(
        description="Reserved: its number is taken. Staged: its material is durable. Published: regions are given it. "
        "Ready: every region has proved that it reads with it. Primary: regions write with it. Superseded: another is "
        "primary. Draining: decrypts only. Retired: no region has it. Removed: its material was deleted. Shredded: so "
        "was every key that it was wrapped with; a backup of the hub that has such a key, too, still opens it. "
        "Discarded: never was primary. Suspended: decrypts only until a person says otherwise. Compromised: read only "
        "to write anew.",
    )
    since: Timestamp | None = Field(default=None, description="When it came into its phase.")
    staged_at: Timestamp | None = Field(default=None, description="When its material was durable.")
    fingerprint: Fingerprint | None = Field(
        default=None, description="Of its material; one-way. Absent before it is Staged."
    )
    mark: KeyMark = Field(
        default=KeyMark.NONE,
        description="What an administrator has said of it: Suspended or Compromised; empty: nothing. Of the primary it "
        "brings another version without waiting for lead and soak. When no region writes with it any more, a Suspended "
        "one decrypts only and never retires, and a Compromised one leaves every keyset: what it encrypted is only "
        "read to be written anew, with the keyset for rewrapping. Compromised is never taken back.",
    )
    returned: bool = Field(
        default=False,
        description="Whether regions are given it again though it is Retired: a pod met data that was written with it, "
        "or an administrator said so. An administrator takes it back.",
    )
    retained_from: Timestamp | None = Field(
        default=None,
        description="From when spec.retention and spec.removalDelay count, where that is later than since: a region "
        "that was excluded had been able to write with it until it came back, or the last of it was written anew. "
        "Absent: from since on.",
    )
    rewrapped: bool = Field(
        default=False,
        description="Whether every pod has said that nothing it stores was written with it: a Compromised version "
        "leaves the keysets for rewrapping, too.",
    )


class KeyVersion(Model):
    """One version of a ring's key. Written by the operator only; see KeyRing."""

    metadata: ObjectMeta = ObjectMeta()
    spec: KeyVersionSpec = Field(description="Which version this is. Never changes.")
    status: KeyVersionStatus = Field(
        description="How far it has come. Required when the object is made: a backup that is restored without it would "
        "bring a version back as a fresh one."
    )


def object_name(ring: str, number: int) -> str:
    """Name of the KeyVersion of a ring: creating it is the compare-and-swap that takes the number."""
    return f"{ring}-v{number}"


def _step(old: KeyVersion, new: KeyVersion) -> Iterable[Values]:
    was, is_ = old.status.phase, new.status.phase
    return once(was is not is_ and is_ not in MAY_BECOME[was], old=was, new=is_)


def _steps_in_cel() -> str:
    phase = "{}.status.phase"
    old, new = phase.format("oldSelf"), phase.format("self")
    steps = (
        f"({old} == {cel_text(was)} && {new} in [{', '.join(cel_text(to) for to in sorted(tos))}])"
        for was, tos in MAY_BECOME.items()
        if tos
    )
    return f"{old} == {new} || {' || '.join(steps)}"


_NAME: Final = f"self.spec.ring + '-v' + {cel_digits('self.spec.number', digits=len(str(MOST_VERSIONS)))}"

KEY_VERSION_RULES = (
    Rule(
        name="A version is called by its ring and number",
        at="",
        field="metadata.name",
        says="is {value}, but its ring and number make {expected}",
        cure="let the operator make it; its name is what makes a number unique",
        found=lambda version: once(
            version.metadata.name != object_name(version.spec.ring, version.spec.number),
            value=version.metadata.name,
            expected=object_name(version.spec.ring, version.spec.number),
        ),
        cel=f"self.metadata.name == {_NAME}",
        values={"value": "self.metadata.name", "expected": _NAME},
    ),
)

KEY_VERSION_CHANGES = (
    ChangeRule(
        name="What a version is never changes",
        at="",
        field="spec",
        says="changes",
        cure="write what it was; another version is another object, and the operator makes it",
        found=lambda old, new: once(old.spec != new.spec),
        cel="self.spec == oldSelf.spec",
    ),
    ChangeRule(
        name="A version only goes forward",
        at="",
        field="status.phase",
        says="changes from {old} to {new}, which is not a step that there is",
        cure="write {old} again; where it can go no further, another version takes its place",
        found=_step,
        cel=_steps_in_cel(),
        values={"old": "oldSelf.status.phase", "new": "self.status.phase"},
    ),
    ChangeRule(
        name="Material is never exchanged",
        at="",
        field="status.fingerprint",
        says="changes",
        cure="write {old} again; other material is another version",
        found=lambda old, new: once(
            old.status.fingerprint not in (None, new.status.fingerprint), old=old.status.fingerprint
        ),
        cel="!has(oldSelf.status.fingerprint) || "
        "(has(self.status.fingerprint) && self.status.fingerprint == oldSelf.status.fingerprint)",
        values={"old": "oldSelf.status.fingerprint"},
    ),
    ChangeRule(
        name="Nobody is told that a key which was compromised is well again",
        at="",
        field="status.mark",
        says="is taken back from Compromised",
        cure="write Compromised again; another version takes its place",
        found=lambda old, new: once(
            old.status.mark is KeyMark.COMPROMISED and new.status.mark is not KeyMark.COMPROMISED
        ),
        cel="oldSelf.status.mark != 'Compromised' || self.status.mark == 'Compromised'",
    ),
)
