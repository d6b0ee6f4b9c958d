"""What an edit of a ChatService cannot do: it would lose data, or no API server could carry it out."""

from collections.abc import Iterator

from roadstead.api.chatservice import ChatService, ChatServiceSpec, Role, TopologyMode
from roadstead.api.quantity import amount
from roadstead.api.rules import ChangeRule, Values, once


def primaries(spec: ChatServiceSpec) -> list[str]:
    """The regions with role Primary; a valid ActivePassive topology has one."""
    return [region.name for region in spec.topology.regions if region.role is Role.PRIMARY]


def _mode_changed(old: ChatService, new: ChatService) -> tuple[Values, ...]:
    was, is_ = old.spec.topology.mode, new.spec.topology.mode
    return once(was is not is_, old=was.value, value=is_.value)


def _primary_moved(old: ChatService, new: ChatService) -> Iterator[Values]:
    both = {old.spec.topology.mode, new.spec.topology.mode} == {TopologyMode.ACTIVE_PASSIVE}
    for name in primaries(old.spec) if both else ():
        if name not in primaries(new.spec):
            yield {"old": name}


def _storage_came_or_went(old: ChatService, new: ChatService) -> tuple[Values, ...]:
    was, is_ = old.spec.storage is not None, new.spec.storage is not None
    return once(was != is_, change="added" if is_ else "removed")


def _size_changed(old: ChatService, new: ChatService) -> tuple[Values, ...]:
    if old.spec.storage is None or new.spec.storage is None:
        return ()
    was, is_ = old.spec.storage.size, new.spec.storage.size
    return once(amount(was) != amount(is_), old=was, value=is_)


def _class_changed(old: ChatService, new: ChatService) -> tuple[Values, ...]:
    if old.spec.storage is None or new.spec.storage is None:
        return ()
    was, is_ = (storage.storage_class_name or "the default" for storage in (old.spec.storage, new.spec.storage))
    return once(was != is_, old=was, value=is_)


def _encryption_changed(old: ChatService, new: ChatService) -> tuple[Values, ...]:
    if old.spec.encryption is None:
        return ()
    was, is_ = old.spec.encryption, new.spec.encryption
    change = "" if is_ is None else is_.key_ring_ref.name
    return once(is_ != was, old=was.key_ring_ref.name, change=f"changed to {change}" if is_ else "taken away")


CHAT_SERVICE_CHANGES = (
    ChangeRule(
        name="The mode of a topology stays",
        at="spec.topology",
        field="spec.topology.mode",
        says="changes from {old} to {value}, which would leave two stores that both accepted writes",
        cure="write {old} again, or make another ChatService",
        found=_mode_changed,
        cel="self.mode == oldSelf.mode",
        values={"old": "oldSelf.mode", "value": "self.mode"},
    ),
    ChangeRule(
        name="The primary is not moved by an edit",
        at="spec.topology",
        field="spec.topology.regions",
        says="takes role Primary from {old}, which is a promotion and not an edit",
        cure="write role Primary at {old} again",
        found=_primary_moved,
        cel="self.mode != 'ActivePassive' || oldSelf.mode != 'ActivePassive' || "
        # Both have exactly one; written without filter(), whose items have no bound for the cost estimate.
        "self.regions.all(r, !has(r.role) || r.role != 'Primary' || "
        "oldSelf.regions.exists(o, o.name == r.name && has(o.role) && o.role == 'Primary'))",
        values={"old": "oldSelf.regions.map(o, has(o.role) && o.role == 'Primary', o.name)[0]"},
    ),
    ChangeRule(
        name="Storage is neither added nor removed",
        at="spec",
        field="spec.storage",
        says="is {change}, but it can only be decided when the service is made: the pods are another kind of object",
        cure="undo the change, or make another ChatService",
        found=_storage_came_or_went,
        cel="has(self.storage) == has(oldSelf.storage)",
        values={"change": "(has(self.storage) ? 'added' : 'removed')"},
    ),
    ChangeRule(
        name="Encryption stays",
        at="spec",
        field="spec.encryption",
        says="is {change}, but what is stored is encrypted with KeyRing {old} and could not be read any more",
        cure="name KeyRing {old} again; to go without it, make another ChatService",
        found=_encryption_changed,
        cel="!has(oldSelf.encryption) || "
        "(has(self.encryption) && self.encryption.keyRingRef.name == oldSelf.encryption.keyRingRef.name)",
        values={
            "old": "oldSelf.encryption.keyRingRef.name",
            "change": "(has(self.encryption) ? 'changed to ' + self.encryption.keyRingRef.name : 'taken away')",
        },
    ),
    ChangeRule(
        name="The size of volumes stays",
        at="spec.storage",
        field="spec.storage.size",
        says="changes from {old} to {value}, but the volume templates of a StatefulSet are fixed",
        cure="write {old} again; to grow a volume, edit its PersistentVolumeClaim",
        found=_size_changed,
        cel="!isQuantity(string(self.size)) || "
        "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) == 0",
        values={"old": "string(oldSelf.size)", "value": "string(self.size)"},
    ),
    ChangeRule(
        name="The storage class of volumes stays",
        at="spec.storage",
        field="spec.storage.storageClassName",
        says="changes from {old} to {value}, but the volume templates of a StatefulSet are fixed",
        cure="undo the change, or make another ChatService",
        found=_class_changed,
        cel="has(self.storageClassName) == has(oldSelf.storageClassName) && "
        "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        values={
            "old": "(has(oldSelf.storageClassName) ? oldSelf.storageClassName : 'the default')",
            "value": "(has(self.storageClassName) ? self.storageClassName : 'the default')",
        },
    ),
)
