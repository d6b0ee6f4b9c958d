"""The kind ChatService: one chat service in one or more regions."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from roadstead.api.autoscaling import Autoscaling, Peak
from roadstead.api.chatservice_status import (
    ChatServiceStatus,
    RegionRolloutPhase,
    RegionStage,
    RolloutPhase,
    RolloutStatus,
    ServiceRegionStatus,
)
from roadstead.api.duration import Between, Duration, parse_duration
from roadstead.api.fields import (
    DnsName,
    HostName,
    Integer,
    LabelKey,
    LabelValue,
    LocalSecret,
    MapList,
    Model,
    ObjectMeta,
)
from roadstead.api.keyversion import RingName
from roadstead.api.quantity import IntOrPercent, Quantity
from roadstead.api.selectors import NetworkPeer
from roadstead.api.shapes import ENV_NAME, IMAGE
from roadstead.api.topology import MAX_REGIONS, MAX_REPLICAS, Residency, Role, Topology, TopologyMode, TopologyRegion

# Rooms import the kind and its parts from here, whichever file they are in.
__all__ = (
    "MAX_REGIONS",
    "MAX_REPLICAS",
    "NAME_MAX_LENGTH",
    "RESERVED_ENV",
    "Autoscaling",
    "ChatService",
    "ChatServiceSpec",
    "ChatServiceStatus",
    "DisruptionBudget",
    "Encryption",
    "IssuerKind",
    "IssuerRef",
    "Monitoring",
    "OnDelete",
    "OnFailure",
    "Peak",
    "PullPolicy",
    "RegionRolloutPhase",
    "RegionStage",
    "Residency",
    "Resources",
    "Retention",
    "Role",
    "Rollout",
    "RolloutPhase",
    "RolloutState",
    "RolloutStatus",
    "ServiceRegionStatus",
    "ServiceType",
    "Storage",
    "Termination",
    "Tls",
    "Topology",
    "TopologyMode",
    "TopologyRegion",
    "Traffic",
)

NAME_MAX_LENGTH = 28

# What the operator itself puts into the container's environment, or relies on (ports and the mount in the templates); a
# key of spec.config may not replace it.
RESERVED_ENV = (
    "CHAT_SERVICE",
    "CHAT_REGION",
    "CHAT_ROLE",
    "CHAT_STORE",
    "CHAT_PEERS",
    "CHAT_RETENTION_SESSIONS_SECONDS",
    "CHAT_RETENTION_COOKIES_SECONDS",
    "CHAT_RETENTION_TRANSACTIONS_SECONDS",
    "CHAT_DRAIN_SECONDS",
    "CHAT_LISTEN_HOST",
    "CHAT_LISTEN_PORT",
    "CHAT_OPS_PORT",
    "CHAT_TLS_DIR",
    "CHAT_KEYS_DIR",
    "CHAT_KEYS_REWRAP_DIR",
    "CHAT_KEYS_RECEIPTS",
    "POD_NAME",
    "POD_IP",
    "POD_UID",
)


class PullPolicy(StrEnum):
    """When a node fetches the image."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class ServiceType(StrEnum):
    """How a region's Service is reached."""

    CLUSTER_IP = "ClusterIP"
    LOAD_BALANCER = "LoadBalancer"
    NODE_PORT = "NodePort"


class IssuerKind(StrEnum):
    """The two issuer kinds of cert-manager."""

    ISSUER = "Issuer"
    CLUSTER_ISSUER = "ClusterIssuer"


class OnDelete(StrEnum):
    """What becomes of volumes."""

    RETAIN = "Retain"
    DELETE = "Delete"


class OnFailure(StrEnum):
    """What a failed rollout does."""

    ROLL_BACK = "RollBack"
    PAUSE = "Pause"


class RolloutState(StrEnum):
    """Whether rollouts go on."""

    RUNNING = "Running"
    PAUSED = "Paused"


class Resources(Model):
    """What each pod asks of its node; maps from a resource's name to a quantity."""

    requests: Annotated[dict[LabelKey, Quantity], Field(max_length=16)] = Field(
        default={},
        description="What the scheduler reserves for each pod: cpu in cores (100m is a tenth), memory in bytes. "
        "spec.autoscaling needs cpu here, because utilisation is counted against it.",
        examples=[{"cpu": "100m", "memory": "128Mi"}],
    )
    limits: Annotated[dict[LabelKey, Quantity], Field(max_length=16)] = Field(
        default={},
        description="What each pod cannot exceed: above its memory limit it is killed, above its cpu limit slowed. "
        "Never below the request of the same resource.",
        examples=[{"memory": "256Mi"}],
    )


class Traffic(Model):
    """How clients reach the service."""

    hostname: HostName | None = Field(
        default=None,
        description="DNS name under which clients reach the service. It is put into the certificates that "
        "spec.tls.issuerRef asks for and, for external-dns, onto the Services of regions that serve clients.",
        examples=["chat.example.com"],
    )
    service_type: ServiceType = Field(
        default=ServiceType.CLUSTER_IP,
        description="Type of the Service in each region: ClusterIP (inside the cluster), NodePort, or LoadBalancer.",
    )
    port: Integer = Field(
        default=443, ge=1, le=65535, description="Port of the Service; the pods listen on 8443 behind it."
    )
    service_annotations: Annotated[
        dict[LabelKey, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=32)
    ] = Field(
        default={},
        description="Annotations of the Service, such as a cloud's load balancer settings. Keys of roadstead.dev are "
        "the operator's own and are refused.",
    )
    allow_from: Annotated[tuple[NetworkPeer, ...], Field(max_length=32)] = Field(
        default=(),
        description="Who may open connections to the client port, as the peers of a NetworkPolicy. Empty: everybody "
        "may. All other ports stay closed, but for the metrics port, which any pod of the cluster may scrape. "
        "The service's own pods always reach each other.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class IssuerRef(Model):
    """An issuer of cert-manager in each region's cluster."""

    name: DnsName = Field(description="Name of the issuer.", examples=["internal-ca"])
    kind: IssuerKind = Field(
        default=IssuerKind.ISSUER, description="Issuer (in the service's namespace) or ClusterIssuer."
    )
    group: DnsName = Field(default="cert-manager.io", description="API group of the issuer.")


class Tls(Model):
    """Where the certificate comes from: exactly one of the members."""

    secret_name: DnsName | None = Field(
        default=None,
        description="Name of a Secret of type kubernetes.io/tls in the namespace of this object. It is copied to every "
        "region and again whenever it changes. Exactly one of secretName and issuerRef is set.",
        examples=["chat-tls"],
    )
    issuer_ref: IssuerRef | None = Field(
        default=None,
        description="An issuer of cert-manager that is there in every region's cluster; the private key then never "
        "leaves its region.",
        examples=[{"name": "internal-ca"}],
    )


class Storage(Model):
    """Volumes of the pods. Only onDelete can change: a StatefulSet's volume templates are fixed for its life."""

    size: Quantity = Field(
        description="Size of each pod's volume, in bytes. Cannot change; to grow a volume, edit its "
        "PersistentVolumeClaim where the storage class allows that.",
        examples=["1Gi"],
    )
    storage_class_name: DnsName | None = Field(
        default=None,
        description="Storage class of the volumes. Absent: the default class of each region's cluster. Cannot change.",
        examples=["fast"],
    )
    on_delete: OnDelete = Field(
        default=OnDelete.RETAIN,
        description="Retain: volumes outlive the service and its regions. Delete: they go when the service leaves the "
        "region or is deleted.",
    )


class KeyRingRef(Model):
    """A KeyRing in the namespace of the service."""

    name: RingName = Field(description="Name of the KeyRing.", examples=["chat"])


class Encryption(Model):
    """What the relay encrypts its store with."""

    key_ring_ref: KeyRingRef = Field(
        description="The KeyRing, in the namespace of this object. It must have every region of the service. Cannot "
        "change: what is stored could not be read with another one.",
        examples=[{"name": "chat"}],
    )


class DisruptionBudget(Model):
    """How many pods of a region a node drain may take: exactly one of the members."""

    max_unavailable: IntOrPercent | None = Field(
        default=None,
        description="Pods that may be away at once: a number, or a percentage of the region's pods. Exactly one of "
        "maxUnavailable and minAvailable is set.",
        examples=[1],
    )
    min_available: IntOrPercent | None = Field(
        default=None,
        description="Pods that must stay: a number, or a percentage of the region's pods.",
        examples=["50%"],
    )


class Rollout(Model):
    """How a new version goes from region to region."""

    bake_time: Annotated[Duration, Between("0s", "7d")] = Field(
        default=parse_duration("60s"),
        description="How long a region must stay ready with the new version before the next one starts. 0s to 7d.",
    )
    progress_deadline: Annotated[Duration, Between("1s", "1d")] = Field(
        default=parse_duration("10m"),
        description="How long one region may take to become ready with the new version before it counts as failed. "
        "1s to 1d.",
    )
    max_parallel_regions: Integer = Field(
        default=1, ge=1, le=MAX_REGIONS, description="Number of regions that are upgraded at the same time."
    )
    on_failure: OnFailure = Field(
        default=OnFailure.ROLL_BACK,
        description="RollBack: every region that was moved returns to the last revision with which a rollout "
        "completed, and the rollout ends until the spec changes. Pause: everything stays as it is and waits for a "
        "person, who changes the spec, or sets state to Paused and back to Running to try again.",
    )
    state: RolloutState = Field(
        default=RolloutState.RUNNING,
        description="Running, or Paused: no region is moved to a new version until it is Running again. Scaling, "
        "repair of drift and everything else go on.",
    )
    revision_history_limit: Integer = Field(
        default=10, ge=1, le=100, description="Number of former revisions that are kept to return to."
    )


class Retention(Model):
    """How long the workload keeps what; handed to it in seconds."""

    sessions: Annotated[Duration, Between("1m", "100y")] = Field(
        default=parse_duration("30d"),
        description="Age at which temporary sessions are deleted. 1m to 100y.",
    )
    cookies: Annotated[Duration, Between("1m", "100y")] = Field(
        default=parse_duration("730d"),
        description="Age at which cookies end. 1m to 100y; 730d and 2y are the same.",
    )
    transactions: Annotated[Duration, Between("1m", "100y")] = Field(
        default=parse_duration("7y"),
        description="Age at which records of transactions are deleted. 1m to 100y; a year is 365 days.",
    )


class Monitoring(Model):
    """The ServiceMonitor, made in every region that serves that kind."""

    interval: Annotated[Duration, Between("1s", "10m")] = Field(
        default=parse_duration("30s"), description="Time between two scrapes. 1s to 10m."
    )
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] = Field(
        default={},
        description="Labels of the ServiceMonitor, by which a Prometheus selects it.",
        examples=[{"release": "prometheus"}],
    )


class Termination(Model):
    """How a pod stops."""

    grace_period: Annotated[Duration, Between("1s", "1h")] = Field(
        default=parse_duration("60s"),
        description="How long a pod may take to flush and close its connections before it is killed. 1s to 1h.",
    )


ConfigValue = Annotated[str, StringConstraints(max_length=8192)]


class ChatServiceSpec(Model):
    """What the service should be."""

    image: Annotated[str, StringConstraints(pattern=IMAGE, min_length=1, max_length=512)] = Field(
        description="Image of the chat relay. A change is rolled out region by region as spec.rollout says. Name a "
        "version or, better, a digest.",
        examples=["registry.example/roadstead-chat:1.4.0"],
    )
    image_pull_policy: PullPolicy = Field(
        default=PullPolicy.IF_NOT_PRESENT, description="When a node fetches the image: IfNotPresent, Always or Never."
    )
    image_pull_secrets: Annotated[tuple[LocalSecret, ...], Field(max_length=8), MapList("name")] = Field(
        default=(),
        description="Secrets with registry logins. They must be there in the service's namespace in every region.",
    )
    topology: Topology = Field(
        description="Where the service runs and how its regions relate: which regions, and which of them serve.",
        examples=[{"regions": [{"name": "hkg"}]}],
    )
    replicas: Integer = Field(
        default=2,
        ge=0,
        le=MAX_REPLICAS,
        description="Number of pods in each region, unless the region says otherwise. With spec.autoscaling it is the "
        "lower bound for regions when minReplicas is absent.",
    )
    residency: Residency | None = Field(
        default=None,
        description="Where the service's data may lie. Absent: anywhere.",
        examples=[{"jurisdictions": ["HK"]}],
    )
    resources: Resources = Field(
        default=Resources(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "256Mi"}),
        description="What each pod asks of its node. The default counts only when the field is absent altogether.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="How the number of pods follows the load. Absent: it is fixed. Needs spec.resources.requests.cpu.",
        examples=[{"maxReplicas": 20}],
    )
    traffic: Traffic = Field(default=Traffic(), description="How clients reach the service.")
    tls: Tls = Field(
        description="Where the certificate comes from. Clients are served with TLS 1.3 or later, never without.",
        examples=[{"secretName": "chat-tls"}],
    )
    storage: Storage | None = Field(
        default=None,
        description="A volume for each pod's store (a StatefulSet). Absent: the store lives and dies with the pod, 1Gi "
        "at most (a Deployment). Cannot be added or removed later.",
        examples=[{"size": "1Gi"}],
    )
    encryption: Encryption | None = Field(
        default=None,
        description="The keys that the relay encrypts its store with. Its pods mount the ring's keyset, and are not "
        "ready before they have proved that they hold it. Absent: what clients hand in is stored as it is, which is "
        "ciphertext of theirs. Can be added, which is rolled out, and what is stored is encrypted then; it cannot be "
        "taken away.",
        examples=[{"keyRingRef": {"name": "chat"}}],
    )
    config: Annotated[
        dict[Annotated[str, StringConstraints(pattern=ENV_NAME, min_length=1, max_length=128)], ConfigValue],
        Field(max_length=64),
    ] = Field(
        default={},
        description="Environment variables of the relay, handed over in a ConfigMap; not for secrets. A change is a "
        "new version and is rolled out. Names that the operator sets itself are refused: "
        + ", ".join(RESERVED_ENV)
        + ".",
        examples=[{"CHAT_TOKEN_PUBLIC_KEYS": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}],
    )
    disruption_budget: DisruptionBudget | None = Field(
        default=None,  # not in the schema: a stored maxUnavailable would make it an error to apply minAvailable later
        description="How many pods of a region a node drain may take at once. Absent: maxUnavailable 1.",
        examples=[{"minAvailable": "50%"}],
    )
    rollout: Rollout = Field(default=Rollout(), description="How a new version goes from region to region.")
    retention: Retention = Field(
        default=Retention(), description="How long the workload keeps what; handed to it in seconds."
    )
    monitoring: Monitoring = Field(
        default=Monitoring(), description="The ServiceMonitor, made in every region that serves that kind."
    )
    termination: Termination = Field(default=Termination(), description="How a pod stops.")

    @property
    def budget(self) -> DisruptionBudget:
        """The disruption budget that holds: the one that is set, or one pod at a time."""
        return self.disruption_budget or DisruptionBudget(max_unavailable=1)


class ChatService(Model):
    """A chat service for clients and advisers in one or more regions."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ChatServiceSpec = Field(description="What the service should be.")
    status: ChatServiceStatus = Field(default=ChatServiceStatus(), description="What the service is.")
