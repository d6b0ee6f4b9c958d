"""How the number of pods follows the load, and the planned peaks of it."""

from typing import Annotated

from pydantic import Field, StringConstraints

from roadstead.api.duration import Between, Duration, parse_duration
from roadstead.api.fields import DnsLabel, Integer, MapList, Model
from roadstead.api.shapes import CRON, TIME_ZONE
from roadstead.api.topology import MAX_REPLICAS


class Peak(Model):
    """A planned time of high load, such as a sales day."""

    name: DnsLabel = Field(description="Name of the peak, unique within the service.", examples=["singles-day"])
    time_zone: Annotated[str, StringConstraints(pattern=TIME_ZONE, min_length=1, max_length=64)] = Field(
        description="IANA time zone in which the schedule is read, so that daylight saving is followed.",
        examples=["Asia/Hong_Kong"],
    )
    schedule: Annotated[str, StringConstraints(pattern=CRON, min_length=9, max_length=128)] = Field(
        description="When the load starts, as five cron fields: minute, hour, day of month, month, day of week. A "
        "start in the hour that daylight saving skips happens right after it; one in the hour that repeats "
        "happens once.",
        examples=["0 9 11 11 *"],
    )
    duration: Annotated[Duration, Between("1m", "30d")] = Field(
        description="How long the load lasts after each start. 1m to 30d.", examples=["15h"]
    )
    scale_up_before: Annotated[Duration, Between("0s", "7d")] = Field(
        default=parse_duration("30m"),
        description="How long before each start the replicas are raised, so that they are ready in time. 0s to 7d.",
    )
    scale_down_after: Annotated[Duration, Between("0s", "7d")] = Field(
        default=parse_duration("15m"),
        description="How long after the end of the load the replicas stay raised. 0s to 7d.",
    )
    replicas: Integer = Field(
        ge=1,
        le=MAX_REPLICAS,
        description="Number of pods in each region that the autoscaler keeps at least during the peak. Where peaks "
        "overlap, the largest number counts. At most maxReplicas.",
        examples=[20],
    )


class Autoscaling(Model):
    """How the number of pods follows the load."""

    min_replicas: Integer | None = Field(
        default=None,
        ge=1,
        le=MAX_REPLICAS,
        description="Number of pods in each region that are kept at least. Absent: the region's replicas.",
    )
    max_replicas: Integer = Field(
        ge=1, le=MAX_REPLICAS, description="Number of pods in each region that are never exceeded.", examples=[20]
    )
    target_cpu_utilization_percentage: Integer = Field(
        default=70,
        ge=1,
        le=1000,
        alias="targetCPUUtilizationPercentage",
        description="Average CPU use that the autoscaler aims at, in percent of spec.resources.requests.cpu.",
    )
    scale_down_stabilization: Annotated[Duration, Between("0s", "1h")] = Field(
        default=parse_duration("5m"),
        description="How long the load must be lower before pods are removed. 0s to 1h.",
    )
    peaks: Annotated[tuple[Peak, ...], Field(max_length=32), MapList("name")] = Field(
        default=(), description="Planned times of high load, at which pods are added beforehand."
    )
