"""Label selectors and network peers, in the shape that NetworkPolicy has them."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from roadstead.api.fields import LabelKey, LabelValue, Model, SetList
from roadstead.api.shapes import CIDR

Cidr = Annotated[str, StringConstraints(pattern=CIDR, min_length=4, max_length=43)]


class SelectorOperator(StrEnum):
    """How a requirement compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """One requirement of a label selector."""

    key: LabelKey = Field(description="The label's key.", examples=["kubernetes.io/metadata.name"])
    operator: SelectorOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: Annotated[tuple[LabelValue, ...], Field(max_length=32), SetList()] = Field(
        default=(), description="The label's values: one or more with In and NotIn, none otherwise."
    )


class LabelSelector(Model):
    """A selection by labels; all its parts must hold. Without parts it selects everything."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] = Field(
        default={}, description="Labels that must be there with these values."
    )
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=16)] = Field(
        default=(),
        description="Requirements that must hold.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class IpBlock(Model):
    """A range of addresses."""

    cidr: Cidr = Field(description="The range, IPv4 or IPv6, such as 10.0.0.0/8.", examples=["10.0.0.0/8"])
    except_: Annotated[tuple[Cidr, ...], Field(max_length=16), SetList()] = Field(
        default=(), alias="except", description="Ranges within cidr that are left out."
    )


class NetworkPeer(Model):
    """A source of connections: a range of addresses, or pods by their labels and their namespace's labels."""

    namespace_selector: LabelSelector | None = Field(
        default=None,
        description="Namespaces by their labels; an empty selector means all. Absent: the service's own namespace.",
        json_schema_extra={"x-kubernetes-map-type": "atomic"},
        examples=[{}],
    )
    pod_selector: LabelSelector | None = Field(
        default=None,
        description="Pods by their labels; an empty selector means all. Absent: all pods of those namespaces.",
        json_schema_extra={"x-kubernetes-map-type": "atomic"},
        examples=[{}],
    )
    ip_block: IpBlock | None = Field(
        default=None,
        description="A range of addresses. Stands alone, without selectors.",
        examples=[{"cidr": "10.0.0.0/8"}],
    )
