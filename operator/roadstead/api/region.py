"""The kind Region: one place where services run."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from roadstead.api.conditions import Conditions
from roadstead.api.duration import Between, Duration, parse_duration
from roadstead.api.fields import DnsLabel, DnsName, Integer, LabelKey, LabelValue, Model, ObjectMeta, SetList, shortened
from roadstead.api.shapes import DATA_KEY, JURISDICTION

NAME_MAX_LENGTH = 23

EXAMPLE_PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEp5BJjQ+wGmfLwN9v2vJoNXGKKW5y
WeQLmlaHf04rLrHA2epiUfQqsFuhjWlNcQjUsloBa1KyPDHN/OMjfQOEiQ==
-----END PUBLIC KEY-----
"""
"""Nobody has its private key."""

# ISO 3166-1 alpha-2, the officially assigned codes. "UK" is not one of them: a typing error here would move data across
# a border, so the list is checked and not only the shape.
ASSIGNED_COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT
    MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ
    UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - a list of 249 quoted strings is unreadable
)

Jurisdiction = Annotated[str, StringConstraints(pattern=JURISDICTION, min_length=2, max_length=6)]


class Scheduling(StrEnum):
    """Whether a region takes on more."""

    ENABLED = "Enabled"
    CORDONED = "Cordoned"


class RegionPhase(StrEnum):
    """A region's state in one word."""

    PENDING = "Pending"
    HEALTHY = "Healthy"
    SUSPECT = "Suspect"
    UNREACHABLE = "Unreachable"
    CORDONED = "Cordoned"


class InCluster(Model):
    """A node pool of the cluster in which the operator runs."""

    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] = Field(
        default={},
        description="Labels of the nodes that make up the region; pods are placed on these nodes only and capacity "
        "counts them. Empty: every node of the cluster.",
        examples=[{"topology.kubernetes.io/region": "hkg"}],
        json_schema_extra={"x-kubernetes-map-type": "atomic"},
    )


class KubeconfigSecretRef(Model):
    """A Secret of the hub that holds a member cluster's kubeconfig."""

    namespace: DnsLabel = Field(
        description="Namespace of the Secret: the operator's own. From another one the operator could be made to use "
        "credentials that whoever writes the Region may not read, so admission refuses it.",
        examples=["roadstead-system"],
    )
    name: DnsName = Field(description="Name of the Secret.", examples=["region-hkg"])
    key: Annotated[str, StringConstraints(pattern=DATA_KEY, min_length=1, max_length=253)] = Field(
        default="kubeconfig",
        description="Key of the Secret whose value is the kubeconfig. Only inline tokens, certificates and CAs are "
        "accepted: exec and auth-provider plugins, file paths and insecure-skip-tls-verify are refused.",
    )


class RegionCluster(Model):
    """Where the region's API server is: exactly one of the members."""

    in_cluster: InCluster | None = Field(
        default=None,
        description="A node pool of the cluster in which the operator runs. Exactly one of inCluster and "
        "kubeconfigSecretRef is set, and which one cannot change later.",
        examples=[{}],
    )
    kubeconfig_secret_ref: KubeconfigSecretRef | None = Field(
        default=None,
        description="A member cluster, reached with the kubeconfig in this Secret. A new kubeconfig in the Secret is "
        "taken up without a restart; a removed one makes the region Unreachable and leaves what runs there running.",
        examples=[{"namespace": "roadstead-system", "name": "region-hkg"}],
    )


class Probe(Model):
    """How the operator tells whether the region's API server answers."""

    interval: Annotated[Duration, Between("1s", "10m")] = Field(
        default=parse_duration("10s"), description="Time between the starts of two probes. 1s to 10m."
    )
    timeout: Annotated[Duration, Between("100ms", "1m")] = Field(
        default=parse_duration("5s"),
        description="How long one probe may take before it counts as failed. 100ms to 1m, at most the interval.",
    )
    failure_threshold: Integer = Field(
        default=3,
        ge=1,
        le=100,
        description="Failed probes in a row, in number, until the region is Unreachable; the first one makes it "
        "Suspect. One success makes it Healthy again.",
    )


class KeyEncryption(Model):
    """Whom keysets of rings with the distribution Encrypted are sealed for."""

    public_keys: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=1024)], ...],
        Field(min_length=1, max_length=2),
        SetList(),
    ] = Field(
        description="Public keys on the curve P-256 in PEM (SubjectPublicKeyInfo), as `roadstead keys agent keygen` "
        "prints them. The private keys stay in the region. A keyset can be opened with any one of them: two while a "
        "key is replaced by another. 1 or 2.",
        examples=[[EXAMPLE_PUBLIC_KEY]],
    )


class RegionSpec(Model):
    """What a platform engineer says about a region."""

    cluster: RegionCluster = Field(
        description="The cluster that this region is: a node pool of this one, or a member cluster. Exactly one member "
        "is set.",
        examples=[{"inCluster": {}}],
    )
    jurisdiction: Jurisdiction = Field(
        description="The law that applies to data kept here: an ISO 3166-1 alpha-2 code, optionally with an ISO 3166-2 "
        "subdivision. Services with spec.residency are placed by it. A code contains its subdivisions: US contains "
        "US-CA.",
        examples=["HK"],
    )
    zones: Annotated[tuple[LabelValue, ...], Field(max_length=16), SetList()] = Field(
        default=(),
        description="Values of the node label topology.kubernetes.io/zone. Pods run only on nodes in these zones; with "
        "two or more zones they are spread over them. Empty: on every node of the region, wherever there is room.",
        examples=[["hkg-a", "hkg-b"]],
    )
    scheduling: Scheduling = Field(
        default=Scheduling.ENABLED,
        description="Enabled: services may be placed here. Cordoned: no service that is not here yet is placed here "
        "and none that is gets more replicas or a new version; what runs keeps running.",
    )
    probe: Probe = Field(default=Probe(), description="How the region's API server is probed.")
    key_encryption: KeyEncryption | None = Field(
        default=None,
        description="For whom keysets of rings with spec.distribution Encrypted are sealed here. Absent: no such ring "
        "gets keys here.",
    )


class RegionCapacity(Model):
    """What the region's nodes offer, summed over the nodes that belong to it."""

    nodes: Integer = Field(default=0, ge=0, le=1_000_000, description="Number of nodes.")
    ready_nodes: Integer = Field(default=0, ge=0, le=1_000_000, description="Number of nodes that are Ready.")
    cpu: Annotated[str, StringConstraints(max_length=32)] = Field(
        default="0", description="Allocatable CPU of the ready nodes, as a quantity in cores."
    )
    memory: Annotated[str, StringConstraints(max_length=32)] = Field(
        default="0", description="Allocatable memory of the ready nodes, as a quantity in bytes."
    )
    pods: Integer = Field(default=0, ge=0, le=2**53, description="Number of pods that the ready nodes can hold.")


class RegionStatus(Model):
    """What the operator found."""

    observed_generation: Integer = Field(
        default=0, ge=0, le=2**53, description="The metadata.generation that this status was derived from."
    )
    phase: RegionPhase = Field(
        default=RegionPhase.PENDING,
        description="Pending: not probed yet. Healthy: answers. Suspect: the last probe failed. Unreachable: "
        "spec.probe.failureThreshold probes in a row failed, or the kubeconfig is missing or refused. Cordoned: "
        "answers and takes on nothing more.",
    )
    version: Annotated[str, StringConstraints(max_length=64), shortened(64)] = Field(
        default="", description="Version of the region's API server.", examples=["v1.36.3"]
    )
    cluster_id: Annotated[str, StringConstraints(max_length=64), shortened(64)] = Field(
        default="",
        alias="clusterID",
        description="The uid of the namespace kube-system in the region's cluster. When a kubeconfig suddenly leads to "
        "another cluster, this no longer fits and the region stops with the reason ClusterChanged.",
    )
    capacity: RegionCapacity = Field(default=RegionCapacity(), description="What the region's nodes offer.")
    services: Integer = Field(
        default=0, ge=0, le=1_000_000, description="Number of services whose topology names this region."
    )
    conditions: Conditions = Field(
        default=(), description="Ready, Reconciling, Stalled (as kstatus has them) and Connected."
    )


class Region(Model):
    """A place where services run: a member cluster, or a node pool of the cluster in which the operator runs."""

    metadata: ObjectMeta = ObjectMeta()
    spec: RegionSpec = Field(description="What a platform engineer says about the region.")
    status: RegionStatus = Field(default=RegionStatus(), description="What the operator found.")


def lies_within(jurisdiction: str, allowed: tuple[str, ...]) -> bool:
    """Whether a region of one jurisdiction may hold data that is bound to others.

    Args:
        jurisdiction: A region's code, such as ``US-CA``.
        allowed: The codes that the data may lie in; ``US`` contains ``US-CA``, not the other way round.

    Returns:
        True when one of ``allowed`` is the jurisdiction or contains it.
    """
    return jurisdiction in allowed or jurisdiction.partition("-")[0] in allowed
