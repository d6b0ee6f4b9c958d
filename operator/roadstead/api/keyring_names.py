"""What the objects of a KeyRing in a region are called: what a workload mounts, and where its pods answer.

Two Regions may be one cluster, so the region is in each name; neither name can have a dot.
"""

from typing import Final

CONSUMER_LABEL_PREFIX: Final = "keyring.roadstead.dev"
"""Of the label on every pod that uses a ring. Without it a pod is not waited for."""


def keyset_name(ring: str, region: str) -> str:
    """Name of the Secret with a ring's keyset, in the ring's namespace of the region."""
    return f"{ring}.{region}.keyset"


def receipts_name(ring: str, region: str) -> str:
    """Name of the ConfigMap in which pods answer, beside the Secret."""
    return f"{ring}.{region}.receipts"


def rewrap_name(ring: str, region: str) -> str:
    """Name of the Secret with versions that are only encrypted anew; it is there while somebody still stores some."""
    return f"{ring}.{region}.rewrap"


def consumer_label(ring: str) -> str:
    """Key of the label that pods of a ring have; its value is the region whose keyset they use.

    It is a label for each ring, so that a pod can use several.
    """
    return f"{CONSUMER_LABEL_PREFIX}/{ring}"
