"""Conditions (``metav1.Condition``): what an object's status says in a form that tools understand.

``Ready``, ``Reconciling`` and ``Stalled`` follow kstatus, so ``kubectl wait``, Argo CD and Flux read them without
being taught. All functions are pure: time comes in as an argument.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from roadstead.api.fields import Integer, MapList, Model, Timestamp, shortened

MESSAGE_MAX_LENGTH = 4096


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """The conditions that objects of this group carry."""

    READY = "Ready"
    """The object is as the spec asks, everywhere."""
    RECONCILING = "Reconciling"
    """The operator is working towards the spec; it will get there unaided."""
    STALLED = "Stalled"
    """The operator cannot get further until somebody changes something; the message says what."""
    PLACED = "Placed"
    """Every region of the topology exists, may hold the service and is reachable."""
    ROLLED_OUT = "RolledOut"
    """Every region runs the current revision."""
    CONFLICT = "Conflict"
    """An object that is not ours has the name of a child, or somebody else keeps changing one."""
    ENCRYPTED = "Encrypted"
    """Every pod has proved that it holds the keys that the store is encrypted with."""
    AUTOSCALED = "Autoscaled"
    """The autoscalers exist and follow the peaks."""
    CONNECTED = "Connected"
    """Region: the API server of the member cluster answers."""
    DELETING = "Deleting"
    """The object is being removed; the message names what still holds it."""


class Reason(StrEnum):
    """Why a condition is as it is: one word for machines; the message is for people."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    WAITING = "Waiting"
    NOT_STALLED = "NotStalled"
    INVALID_SPEC = "InvalidSpec"
    # placement
    PLACED = "Placed"
    REGION_NOT_FOUND = "RegionNotFound"
    REGION_UNREACHABLE = "RegionUnreachable"
    REGION_CORDONED = "RegionCordoned"
    OUTSIDE_RESIDENCY = "OutsideResidency"
    NAMESPACE_MISSING = "NamespaceMissing"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a secret
    # children
    REFUSED = "Refused"
    NOT_OURS = "NotOurs"
    FOUGHT_OVER = "FoughtOver"
    NOT_AVAILABLE = "NotAvailable"
    # rollout
    ROLLED_OUT = "RolledOut"
    ROLLING_OUT = "RollingOut"
    BAKING = "Baking"
    PAUSED = "Paused"
    DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLED_BACK = "RolledBack"
    ROLLING_BACK = "RollingBack"
    # autoscaling
    FOLLOWING_LOAD = "FollowingLoad"
    AT_PEAK = "AtPeak"
    # regions
    CONNECTED = "Connected"
    NOT_PROBED = "NotProbed"
    UNREACHABLE = "Unreachable"
    CORDONED = "Cordoned"
    KUBECONFIG_MISSING = "KubeconfigMissing"
    KUBECONFIG_REFUSED = "KubeconfigRefused"
    UNAUTHORIZED = "Unauthorized"
    CLUSTER_CHANGED = "ClusterChanged"
    # keys
    ROTATING = "Rotating"
    LEDGER_BEHIND = "LedgerBehind"
    MATERIAL_LOST = "MaterialLost"
    REGION_UNREADABLE = "RegionUnreadable"
    NOT_DISTRIBUTED = "NotDistributed"
    NOT_PROVED = "NotProved"
    PROVED = "Proved"
    KEY_RING_MISSING = "KeyRingMissing"
    REGION_NOT_IN_RING = "RegionNotInKeyRing"
    OLD_PRIMARY_IN_USE = "OldPrimaryInUse"
    LEAD = "Lead"
    SOAK = "Soak"
    CLOCKS_DIFFER = "ClocksDiffer"
    REGION_EXCLUDED = "RegionExcluded"
    KEYSET_FULL = "KeysetFull"
    RETENTION_NOT_APPROVED = "RetentionNotApproved"
    PROVIDER_FAILED = "ProviderFailed"
    NO_PUBLIC_KEY = "NoPublicKey"
    # approvals
    AWAITING_APPROVAL = "AwaitingApproval"
    APPROVED = "Approved"
    EXECUTING = "Executing"
    DONE = "Done"
    EXPIRED = "Expired"
    NOT_ENFORCED = "NotEnforced"
    # deletion
    DELETING = "Deleting"
    DELETION_BLOCKED = "DeletionBlocked"


class Condition(Model):
    """One condition of an object."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="What is said to hold, such as Ready."
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="One CamelCase word for machines: why the status is as it is."
    )
    message: Annotated[str, StringConstraints(max_length=MESSAGE_MAX_LENGTH), shortened(MESSAGE_MAX_LENGTH)] = Field(
        default="", description="The same for people: what is wrong, with which value, and what mends it."
    )
    last_transition_time: Timestamp = Field(description="When the status last changed from one value to another.")
    observed_generation: Integer = Field(
        default=0, ge=0, le=2**53, description="The metadata.generation that this condition was derived from."
    )


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16), MapList("type")]


def set_condition(
    conditions: tuple[Condition, ...],
    type_: ConditionType,
    status: ConditionStatus | bool,
    reason: Reason,
    message: str = "",
    *,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Set one condition; the order of the others stays.

    Args:
        conditions: The present ones.
        type_: Which to set.
        status: Its value; a bool stands for True or False.
        reason: Why, for machines.
        message: Why, for people; cut at 4096 characters.
        generation: The ``metadata.generation`` that was looked at.
        now: The present moment, with a time zone. Becomes ``lastTransitionTime`` only when ``status`` changes.

    Returns:
        The new conditions; the argument itself when nothing differs, so that ``is`` tells whether to write.
    """
    if isinstance(status, bool):
        status = ConditionStatus.TRUE if status else ConditionStatus.FALSE
    old = find_condition(conditions, type_)
    new = Condition(
        type=str(type_),
        status=status,
        reason=str(reason),
        message=message,
        observed_generation=generation,
        # Whole seconds, as they are stored: what is read back then equals what was written.
        last_transition_time=old.last_transition_time if old and old.status is status else now.replace(microsecond=0),
    )
    if old is None:
        return (*conditions, new)
    if old == new:
        return conditions
    return tuple(new if item is old else item for item in conditions)


def drop_condition(conditions: tuple[Condition, ...], type_: ConditionType) -> tuple[Condition, ...]:
    """Leave one condition out; the argument itself when it was not there."""
    if find_condition(conditions, type_) is None:
        return conditions
    return tuple(item for item in conditions if item.type != type_)


def find_condition(conditions: tuple[Condition, ...], type_: ConditionType) -> Condition | None:
    """The condition of that type, or None."""
    return next((item for item in conditions if item.type == type_), None)


def is_true(conditions: tuple[Condition, ...], type_: ConditionType) -> bool:
    """Whether the condition is there with status True."""
    found = find_condition(conditions, type_)
    return found is not None and found.status is ConditionStatus.TRUE
