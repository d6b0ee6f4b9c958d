"""The kind KeyRing: a key that is rotated over several regions, and never written with before all can read it."""

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from roadstead.api.conditions import Conditions
from roadstead.api.duration import Between, Duration, cel_milliseconds, format_duration, parse_duration
from roadstead.api.fields import Integer, MapList, Model, Moment, ObjectMeta, RegionName, SetList, Timestamp, shortened
from roadstead.api.keyversion import MOST_VERSIONS, RING_NAME_MAX_LENGTH, Fingerprint, KeyType, OperationId, RingId
from roadstead.api.region_rules import name_rules
from roadstead.api.rules import ChangeRule, Rule, Values, cel_text, once
from roadstead.api.schedules import cron_fault, is_time_zone
from roadstead.api.shapes import CRON, DNS_LABEL, DURATION, TIME_ZONE

NAME_MAX_LENGTH: Final = RING_NAME_MAX_LENGTH
Versions = Annotated[str, StringConstraints(max_length=8192), shortened(8192)]
"""Numbers of versions; see `roadstead.api.ranges`."""
DEFAULT_PERIOD: Final = parse_duration("72h")
MAX_REGIONS: Final = 32
MAX_WAITS: Final = 4 * MAX_REGIONS
MOST_REWRAPS: Final = 64
MOST_GENERATION: Final = 2**53


class KeyCron(Model):
    """Slots that a cron schedule names."""

    schedule: Annotated[str, StringConstraints(pattern=CRON, min_length=9, max_length=128)] = Field(
        description="Five cron fields: minute, hour, day of month, month, day of week. Note that 0 0 */3 * * is not "
        "every 72 hours: it fires on the 31st and on the 1st.",
        examples=["0 3 * * 1,4"],
    )
    time_zone: Annotated[str, StringConstraints(pattern=TIME_ZONE, min_length=1, max_length=64)] = Field(
        default="UTC",
        description="IANA time zone in which the schedule is read, so that daylight saving is followed.",
        examples=["Asia/Hong_Kong"],
    )


class ScheduleState(StrEnum):
    """Whether slots begin versions."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"


class KeySchedule(Model):
    """When a new version is begun. Slots that were missed are made up for by one version, then the grid goes on."""

    every: Annotated[Duration, Between("1m", "5y")] | None = Field(
        default=None,
        description="A slot each so often, counted from the anchor. 1m to 5y. Absent, and without cron: 72h.",
        examples=["72h"],
    )
    anchor: Moment | None = Field(
        default=None,
        description="A moment of the grid of every; it may lie in the past or in the future. Absent: when the ring was "
        "made.",
        examples=["2026-01-01T00:00:00Z"],
    )
    cron: KeyCron | None = Field(
        default=None,
        description="Slots by a cron schedule instead. Not together with every or anchor.",
        examples=[{"schedule": "0 3 * * 1,4", "timeZone": "Asia/Hong_Kong"}],
    )
    jitter: Annotated[Duration, Between("0s", "7d")] = Field(
        default=parse_duration("1h"),
        description="By how much at most a slot is begun later, always the same for one ring and spread evenly over "
        "rings, so that not all of them rotate in one minute. 0s to 7d.",
    )
    rotate_at: Moment | None = Field(
        default=None,
        description="One slot more, at this moment, also while Suspended and without jitter: written as the present "
        "moment it rotates now. It makes one version.",
        examples=["2026-11-23T12:00:00Z"],
    )
    state: ScheduleState = Field(
        default=ScheduleState.RUNNING,
        description="Running, or Suspended: no slot begins a version. A rotation that is under way goes on, and so "
        "does rotateAt.",
    )

    @property
    def period(self) -> timedelta | None:
        """Time between two slots; None with cron."""
        return None if self.cron is not None else self.every or DEFAULT_PERIOD


class KekProviderKind(StrEnum):
    """Where key-encryption keys live."""

    KUBERNETES = "Kubernetes"
    PKCS11 = "PKCS11"


class KeyKek(Model):
    """The key-encryption key (KEK): what versions are wrapped with in the hub."""

    provider: KekProviderKind = Field(
        default=KekProviderKind.KUBERNETES,
        description="Kubernetes: KEKs lie in Secrets of the operator's namespace. PKCS11: they are made in the "
        "hardware security module that the operator is set up with, and never leave it. Never changes.",
        examples=["PKCS11"],
    )
    rotate_every: Annotated[Duration, Between("1h", "5y")] = Field(
        default=parse_duration("90d"),
        description="A new KEK so long after the present one was made. Every version that is stored is wrapped with it "
        "anew; regions notice nothing. 1h to 5y.",
    )
    rotate_at: Moment | None = Field(
        default=None,
        description="One KEK more, at this moment: written as the present moment, now. It makes one.",
        examples=["2026-11-23T12:00:00Z"],
    )


class KeyDistribution(StrEnum):
    """How the regions get the keys."""

    CLEARTEXT = "Cleartext"
    ENCRYPTED = "Encrypted"


class KeyAttestation(StrEnum):
    """Whether pods are believed when they say what they store."""

    IGNORED = "Ignored"
    TRUSTED = "Trusted"


class KeyRingSpec(Model):
    """What a platform engineer says about a ring."""

    regions: Annotated[tuple[RegionName, ...], Field(min_length=1, max_length=MAX_REGIONS), SetList()] = Field(
        description="The Regions that use the key. No version is written with before each has proved that it can read "
        "it. One that is added gets the keys before it serves; one that is taken out loses them. 1 to 32, each named "
        "once.",
        examples=[["hkg", "sgp"]],
    )
    schedule: KeySchedule = Field(default=KeySchedule(), description="When a new version is begun.")
    lead: Annotated[Duration, Between("0s", "30d")] = Field(
        default=parse_duration("2h"),
        description="Least time from the moment when a version's material is durable to the first write with it. 0s to "
        "30d.",
    )
    soak: Annotated[Duration, Between("0s", "7d")] = Field(
        default=parse_duration("10m"),
        description="Least time from the last region's proof to the first write with it. 0s to 7d.",
    )
    retention: Annotated[Duration, Between("1m", "100y")] | None = Field(
        default=None,
        description="How long data lives at most that was written with a version, counted from the last write with it; "
        "then the version is taken out of the regions. 1m to 100y. Absent: for ever.",
        examples=["7y"],
    )
    attestation: KeyAttestation = Field(
        default=KeyAttestation.IGNORED,
        description="Trusted: a version also retires when every pod of the ring, at least one in each region, has said "
        "in its proof that nothing it stores was written with it; for workloads that write anew what is old. Volumes "
        "whose pods are away say nothing, so scale none down. Ignored: only retention ends it. What was "
        "compromised is given up when they say so, in either case.",
        examples=["Trusted"],
    )
    removal_delay: Annotated[Duration, Between("0s", "5y")] = Field(
        default=parse_duration("30d"),
        description="Least time from a version's end to the deletion of its material in the hub, which needs an "
        "Approval besides. 0s to 5y.",
        examples=["30d"],
    )
    key_type: KeyType = Field(
        default=KeyType.XAES_256_GCM,
        description="XAES-256-GCM: random nonces of 192 bits, no limit of messages. AES-256-GCM: where a reader knows "
        "nothing else; at most 2^32 messages with one version. It counts for versions that are made from now on.",
    )
    kek: KeyKek = Field(default=KeyKek(), description="What versions are wrapped with in the hub.")
    distribution: KeyDistribution = Field(
        description="Encrypted: keysets are sealed for the public keys in spec.keyEncryption of each Region; "
        "`roadstead keys agent` opens them in the pods, with a private key that does not leave the region. Cleartext: "
        "they lie in Secrets of the regions in the clear: whoever may read Secrets of the namespace there may read "
        "them; that is why it must be said in so many words. It may be changed while the ring is in use.",
        examples=["Encrypted"],
    )


class KeyRingPhase(StrEnum):
    """A ring's state in one word."""

    PENDING = "Pending"
    IDLE = "Idle"
    ROTATING = "Rotating"
    BLOCKED = "Blocked"


class RingWait(Model):
    """Something that the ring waits for."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="One CamelCase word for machines."
    )
    region: Annotated[str, StringConstraints(max_length=23)] = Field(
        default="", description="Name of the Region that it is about; empty when it is about none."
    )
    since: Timestamp = Field(description="Since when it is waited for without a break.")
    message: Annotated[str, StringConstraints(max_length=1024), shortened(1024)] = Field(
        default="", description="For people: what is waited for, and what helps."
    )


class RingRegion(Model):
    """What is known of the ring in one region."""

    name: RegionName = Field(description="Name of the Region.")
    generation: Integer = Field(
        default=0, ge=0, le=MOST_GENERATION, description="Generation of the keyset that it was given."
    )
    primary: Integer = Field(
        default=0, ge=0, le=MOST_VERSIONS, description="Version that the keyset says to write with; 0: none yet."
    )
    versions: Versions = Field(default="", description="Versions in that keyset, such as 3-16,18.")
    reads: Versions = Field(
        default="",
        description="Versions that every pod there has proved to read. Only the primary and the newest are asked for: "
        "a pod loads a keyset whole or not at all.",
    )
    writes: Integer = Field(
        default=0,
        ge=0,
        le=MOST_VERSIONS,
        description="The oldest version that a pod there has proved to write with; 0: not every one has proved any.",
    )
    proved: Integer = Field(
        default=0, ge=0, le=1_000_000, description="Number of pods that have proved to hold the present keyset."
    )
    consumers: Integer = Field(default=0, ge=0, le=1_000_000, description="Number of pods that have to.")
    keyset: Annotated[str, StringConstraints(max_length=16)] = Field(
        default="",
        description="16 hexadecimal digits of the numbers, fingerprints and primary that its keyset has: what an "
        "Approval of AdoptKeyset is bound to. Empty: there is none, or it cannot be read.",
    )
    excluded: bool = Field(
        default=False,
        description="Nothing waits for it, by an Approval, until its pods have proved what those of the others have.",
    )
    message: Annotated[str, StringConstraints(max_length=1024), shortened(1024)] = Field(
        default="", description="What is waited for there."
    )


class RingRewrap(Model):
    """How far data that was written with an older version has been written anew."""

    version: Integer = Field(ge=1, le=MOST_VERSIONS, description="Number of the version.")
    remaining: Integer = Field(
        default=0, ge=0, le=2**53, description="Number of ciphertexts that pods say they still store."
    )
    silent: Integer = Field(
        default=0, ge=0, le=1_000_000, description="Number of pods that have not said how many they store."
    )


class RingKek(Model):
    """The key that versions are wrapped with."""

    generation: Integer = Field(ge=1, le=MOST_VERSIONS, description="1, 2, ...: another one after each rotation.")
    operation: OperationId = Field(description="Of the intent that it was made for.")
    fingerprint: Fingerprint | None = Field(
        default=None,
        description="AES-CMAC of fixed words; tells nothing of the key. Absent before anything is wrapped with it.",
    )
    provider: KekProviderKind | None = Field(default=None, description="Where it lives.")
    since: Timestamp | None = Field(default=None, description="When it was asked for.")
    next_rotation: Timestamp | None = Field(default=None, description="When the next one is due.")
    wrapped: Integer = Field(
        default=0, ge=0, le=MOST_VERSIONS, description="Number of stored versions that are wrapped with it."
    )
    stored: Integer = Field(
        default=0, ge=0, le=MOST_VERSIONS, description="Number of versions that are stored, and have to be."
    )


class KeyRingStatus(Model):
    """What the operator found and did."""

    observed_generation: Integer = Field(
        default=0, ge=0, le=2**53, description="The metadata.generation that this status was derived from."
    )
    ring_id: RingId | None = Field(
        default=None, alias="ringID", description="Identity of the ring, also in each of its KeyVersions."
    )
    phase: KeyRingPhase = Field(
        default=KeyRingPhase.PENDING,
        description="Pending: nothing can be written yet. Idle: nothing is due. Rotating: a version is on its way. "
        "Blocked: it cannot get further until somebody changes something; see the conditions.",
    )
    primary: Integer = Field(default=0, ge=0, le=MOST_VERSIONS, description="Version to write with; 0: none yet.")
    primary_since: Timestamp | None = Field(default=None, description="Since when it is.")
    coming: Integer = Field(
        default=0, ge=0, le=MOST_VERSIONS, description="Version that is to be the next primary; 0: none."
    )
    next_rotation: Timestamp | None = Field(default=None, description="When the next slot begins, jitter included.")
    blocked_by: Annotated[str, StringConstraints(max_length=253), shortened(253)] = Field(
        default="", description="What a rotation waits for, in one word, and where."
    )
    waits: tuple[RingWait, ...] = Field(
        default=(),
        max_length=MAX_WAITS,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description="Everything that the ring waits for, one entry for each reason and region.",
    )
    versions: Integer = Field(default=0, ge=0, le=MOST_VERSIONS, description="Number of versions in the keysets.")
    kek: RingKek | None = Field(default=None, description="The key that new versions are wrapped with.")
    regions: Annotated[tuple[RingRegion, ...], Field(max_length=2 * MAX_REGIONS), MapList("name")] = Field(
        default=(), description="One entry for each region that has keys of this ring or should have."
    )
    rewrap: Annotated[tuple[RingRewrap, ...], Field(max_length=MOST_REWRAPS), MapList("version")] = Field(
        default=(),
        description="One entry for each version that is not written with any more and of which pods say what they "
        "still store; the oldest 64.",
    )
    removable: Integer = Field(
        default=0,
        ge=0,
        le=MOST_VERSIONS,
        description="Versions up to this number may be removed when they have ended for spec.removalDelay, by an "
        "Approval; 0: none.",
    )
    kek_above: Integer = Field(
        default=0,
        ge=0,
        le=MOST_VERSIONS,
        description="A KEK of a larger generation than this is wanted, so that those up to it can be destroyed, by an "
        "Approval; 0: none is.",
    )
    retention: Annotated[str, StringConstraints(max_length=32)] = Field(
        default="",
        description="The retention that counts: that of the spec, but one that is shorter than before counts from its "
        "Approval on. forever: none.",
    )
    conditions: Conditions = Field(
        default=(), description="Ready, Reconciling and Stalled, as kstatus has them; Deleting while it is removed."
    )


class KeyRing(Model):
    """A key that is rotated over several regions, and written with only when all of them can read it."""

    metadata: ObjectMeta = ObjectMeta()
    spec: KeyRingSpec = Field(description="What a platform engineer says about the ring.")
    status: KeyRingStatus = Field(default=KeyRingStatus(), description="What the operator found and did.")


def _late(ring: KeyRing) -> Iterable[Values]:
    period = ring.spec.schedule.period
    takes = ring.spec.lead + ring.spec.soak + ring.spec.schedule.jitter
    return once(period is not None and takes >= period, period=format_duration(period or DEFAULT_PERIOD))


def _total(*durations: str) -> str:
    return " + ".join(map(cel_milliseconds, durations))


_PERIOD: Final = f"(has(self.schedule.every) ? self.schedule.every : {cel_text(format_duration(DEFAULT_PERIOD))})"
_TAKES: Final = ("self.lead", "self.soak", "self.schedule.jitter")
# What is no duration at all is the matter of the rule at its own field.
_ARE_DURATIONS: Final = " && ".join(f"{text}.matches({cel_text(DURATION)})" for text in (*_TAKES, _PERIOD))


def _unknown_zone(ring: KeyRing) -> Iterable[Values]:
    cron = ring.spec.schedule.cron
    return () if cron is None else once(not is_time_zone(cron.time_zone), value=cron.time_zone)


def _bad_schedule(ring: KeyRing) -> Iterable[Values]:
    cron = ring.spec.schedule.cron
    fault = cron_fault(cron.schedule) if cron is not None else ""
    return () if cron is None else once(bool(fault), value=cron.schedule, fault=fault[:1].lower() + fault[1:])


KEY_RING_RULES = (
    *name_rules(NAME_MAX_LENGTH, DNS_LABEL, "a DNS label", "versions, keysets and receipts"),
    Rule(
        name="Slots come from a period or from cron",
        at="spec.schedule",
        field="spec.schedule",
        says="sets cron together with every or anchor",
        cure="write cron alone, or every with an optional anchor",
        found=lambda ring: once(
            ring.spec.schedule.cron is not None
            and (ring.spec.schedule.every is not None or ring.spec.schedule.anchor is not None)
        ),
        cel="!has(self.cron) || (!has(self.every) && !has(self.anchor))",
    ),
    Rule(  # no CEL: an API server without a time zone database would refuse every zone but UTC
        name="A schedule's time zone exists",
        at="spec.schedule",
        field="spec.schedule.cron.timeZone",
        says="is {value}, which the IANA time zone database does not have",
        cure="write a name such as Asia/Hong_Kong or UTC",
        found=_unknown_zone,
    ),
    Rule(  # no CEL: it cannot read cron
        name="A schedule comes true",
        at="spec.schedule",
        field="spec.schedule.cron.schedule",
        says="is {value}, which never comes true: {fault}",
        cure="write minute, hour, day of month, month and day of week, such as 0 3 * * 1,4",
        found=_bad_schedule,
    ),
    Rule(
        name="A rotation ends before the next one begins",
        at="spec",
        field="spec.schedule.every",
        says="is {period}, which is not longer than spec.lead, spec.soak and spec.schedule.jitter together",
        cure="write a longer period, or shorter ones of the three",
        found=_late,
        cel=f"has(self.schedule.cron) || !({_ARE_DURATIONS}) || {_total(*_TAKES)} < {_total(_PERIOD)}",
        values={"period": _PERIOD},
    ),
)

KEY_RING_CHANGES: tuple[ChangeRule, ...] = (
    ChangeRule(
        name="Keys do not move to another provider",
        at="spec",
        field="spec.kek.provider",
        says="changes from {old} to {new}",
        cure="write {old} again; docs/concepts/keys.md says how keys are moved",
        found=lambda old, new: once(
            old.spec.kek.provider is not new.spec.kek.provider, old=old.spec.kek.provider, new=new.spec.kek.provider
        ),
        cel="self.kek.provider == oldSelf.kek.provider",
        values={"old": "oldSelf.kek.provider", "new": "self.kek.provider"},
    ),
)
