"""The registry of kinds: what an API server, a watcher and a command line need to know of each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from roadstead.api.approval import APPROVAL_CHANGES, APPROVAL_RULES, Approval
from roadstead.api.chatservice import ChatService
from roadstead.api.chatservice_changes import CHAT_SERVICE_CHANGES
from roadstead.api.chatservice_rules import CHAT_SERVICE_RULES
from roadstead.api.keyring import KEY_RING_CHANGES, KEY_RING_RULES, KeyRing
from roadstead.api.keyversion import KEY_VERSION_CHANGES, KEY_VERSION_RULES, KeyVersion
from roadstead.api.region import Region
from roadstead.api.region_rules import REGION_CHANGES, REGION_RULES
from roadstead.api.rules import ChangeRule, Rule

GROUP = "roadstead.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "roadstead"

Resource: TypeAlias = Region | ChatService | KeyRing | KeyVersion | Approval
"""An object of the group, as a model."""


class Scope(StrEnum):
    """Where objects of a kind live."""

    CLUSTER = "Cluster"
    NAMESPACED = "Namespaced"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``.

    Attributes:
        name: Heading.
        path: JSONPath below the object.
        type: OpenAPI type: string, integer or date.
        description: What the column shows.
        wide: Shown with ``-o wide`` only.
    """

    name: str
    path: str
    type: str
    description: str
    wide: bool = False

    def as_dict(self) -> dict[str, object]:
        """The entry of ``additionalPrinterColumns``."""
        return {
            "name": self.name,
            "type": self.type,
            "description": self.description,
            "jsonPath": self.path,
            **({"priority": 1} if self.wide else {}),
        }


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the group.

    Attributes:
        kind: Name in ``kind:``.
        plural: Name in URLs.
        singular: Name on the command line.
        short_names: Abbreviations on the command line.
        scope: Whether objects have a namespace.
        model: Class with ``metadata``, ``spec`` and ``status``.
        columns: What ``kubectl get`` shows; at most six without ``-o wide``.
        rules: What the schema alone cannot say.
        changes: What an edit cannot do.
        categories: Groups such as ``kubectl get roadstead``.
        status_subresource: Whether the status is written by itself and derived anew when it is lost. Without, it is a
            part of the object like its spec: what is made with a status keeps it, and one that cannot be read is an
            error.
    """

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    scope: Scope
    model: type[Resource]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    changes: tuple[ChangeRule, ...]
    categories: tuple[str, ...] = (CATEGORY,)
    status_subresource: bool = True

    @property
    def group(self) -> str:
        """API group."""
        return GROUP

    @property
    def version(self) -> str:
        """API version that is served and stored."""
        return VERSION

    @property
    def api_version(self) -> str:
        """What objects have in ``apiVersion:``."""
        return API_VERSION

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"

    @property
    def namespaced(self) -> bool:
        """Whether objects have a namespace."""
        return self.scope is Scope.NAMESPACED


_AGE = Column("Age", ".metadata.creationTimestamp", "date", "Time since the object was made.")
_READY = ".status.conditions[?(@.type=='Ready')]"

REGION = Kind(
    kind="Region",
    plural="regions",
    singular="region",
    short_names=("rgn",),
    scope=Scope.CLUSTER,
    model=Region,
    columns=(
        Column("Phase", ".status.phase", "string", "State in one word."),
        Column("Jurisdiction", ".spec.jurisdiction", "string", "The law that applies to data kept here."),
        Column("Version", ".status.version", "string", "Version of the region's API server."),
        Column("Nodes", ".status.capacity.readyNodes", "integer", "Ready nodes."),
        Column("Ready", f"{_READY}.status", "string", "Whether services can be placed and kept here."),
        Column("Services", ".status.services", "integer", "Services placed here.", wide=True),
        Column("CPU", ".status.capacity.cpu", "string", "Allocatable cores.", wide=True),
        Column("Memory", ".status.capacity.memory", "string", "Allocatable memory.", wide=True),
        Column("Message", f"{_READY}.message", "string", "What is wrong.", wide=True),
        _AGE,
    ),
    rules=REGION_RULES,
    changes=REGION_CHANGES,
)

# No scale subresource: spec.replicas is per region and autoscalers act on each region's workload, so a scale that set
# it would report a number of pods that it does not control.
CHAT_SERVICE = Kind(
    kind="ChatService",
    plural="chatservices",
    singular="chatservice",
    short_names=("chat",),
    scope=Scope.NAMESPACED,
    model=ChatService,
    columns=(
        Column("Ready", f"{_READY}.status", "string", "Whether every region is as the spec asks."),
        Column("Reason", f"{_READY}.reason", "string", "Why, in one word."),
        Column("Regions", ".status.readyRegions", "string", "Regions that are ready, of all."),
        Column("Rollout", ".status.rollout.phase", "string", "How far the current revision is."),
        Column("Version", ".spec.image", "string", "Image that the spec asks for.", wide=True),
        Column("Runs", ".status.image", "string", "Image that the regions run.", wide=True),
        Column("Message", f"{_READY}.message", "string", "What is wrong.", wide=True),
        _AGE,
    ),
    rules=CHAT_SERVICE_RULES,
    changes=CHAT_SERVICE_CHANGES,
)

KEY_RING = Kind(
    kind="KeyRing",
    plural="keyrings",
    singular="keyring",
    short_names=("ring",),
    scope=Scope.NAMESPACED,
    model=KeyRing,
    columns=(
        Column("Primary", ".status.primary", "integer", "Version to write with; 0: none yet."),
        # Text: of a date, kubectl shows how long ago it was, and of one to come that it is invalid.
        Column("Next", ".status.nextRotation", "string", "When the next slot begins."),
        Column("Phase", ".status.phase", "string", "State in one word."),
        Column("Blocked by", ".status.blockedBy", "string", "What a rotation waits for."),
        Column("Versions", ".status.versions", "integer", "Number of versions in the keysets.", wide=True),
        Column("Message", f"{_READY}.message", "string", "What is wrong.", wide=True),
        _AGE,
    ),
    rules=KEY_RING_RULES,
    changes=KEY_RING_CHANGES,
)

KEY_VERSION = Kind(
    kind="KeyVersion",
    plural="keyversions",
    singular="keyversion",
    short_names=("kv",),
    scope=Scope.NAMESPACED,
    model=KeyVersion,
    columns=(
        Column("Ring", ".spec.ring", "string", "Name of the KeyRing."),
        Column("Number", ".spec.number", "integer", "Number of the version."),
        Column("Phase", ".status.phase", "string", "How far it has come."),
        Column("Mark", ".status.mark", "string", "What a person has said of it."),
        Column("Since", ".status.since", "date", "Time since it came into its phase."),
        _AGE,
    ),
    rules=KEY_VERSION_RULES,
    changes=KEY_VERSION_CHANGES,
    # A backup that is restored in one piece must bring each version back in the phase that it had.
    status_subresource=False,
)

APPROVAL = Kind(
    kind="Approval",
    plural="approvals",
    singular="approval",
    short_names=("appr",),
    scope=Scope.NAMESPACED,
    model=Approval,
    columns=(
        Column("Subject", ".spec.subject.name", "string", "Name of what something is to be done to."),
        Column("Operation", ".spec.operation", "string", "What is to be done."),
        Column("Phase", ".status.phase", "string", "How far it has come."),
        Column("Approved", ".status.approved", "string", "How many have approved it, of how many."),
        # Text, as the next rotation of a ring is.
        Column("Expires", ".spec.expiresAt", "string", "Until when it may be begun."),
        Column("Kind", ".spec.subject.kind", "string", "Kind of what something is to be done to.", wide=True),
        Column("Requested by", ".spec.requestedBy", "string", "Who asks for it.", wide=True),
        Column("Message", ".status.message", "string", "What is waited for, was done, or is wrong.", wide=True),
        _AGE,
    ),
    rules=APPROVAL_RULES,
    changes=APPROVAL_CHANGES,
)

KINDS = (REGION, CHAT_SERVICE, KEY_RING, KEY_VERSION, APPROVAL)
BY_NAME = {kind.kind: kind for kind in KINDS}
