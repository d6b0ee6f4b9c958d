"""What a Region's schema alone cannot say."""

import re
from collections.abc import Iterable

from roadstead.api.duration import cel_milliseconds, format_duration
from roadstead.api.publickeys import PEM, point_of
from roadstead.api.region import ASSIGNED_COUNTRIES, NAME_MAX_LENGTH, Region, RegionCluster
from roadstead.api.rules import ChangeRule, Rule, Values, cel_text, once
from roadstead.api.shapes import DURATION, JURISDICTION

# XA to XZ are for users to assign; XK (Kosovo) is the best known.
CEL_COUNTRY = f"^({'|'.join(sorted(ASSIGNED_COUNTRIES))}|X[A-Z])(-|$)"
NOT_A_COUNTRY = "whose country ISO 3166-1 does not list"
COUNTRY_CURE = "write an alpha-2 code such as HK or GB, or a subdivision such as US-CA"


def is_listed(jurisdiction: str) -> bool:
    """Whether ISO 3166-1 assigns the country of a jurisdiction, or leaves it to users (XA to XZ)."""
    country = jurisdiction.partition("-")[0]
    return country in ASSIGNED_COUNTRIES or country.startswith("X")


def name_rules(most: int, pattern: str, words: str, part_of: str = "Services") -> tuple[Rule, ...]:
    """Rules about ``metadata.name``, which a schema cannot bound.

    Args:
        most: Number of characters permitted.
        pattern: Regular expression that the name matches.
        words: The same in words.
        part_of: What has names or labels that contain the name.
    """
    whole = re.compile(pattern.removesuffix("$"))
    return (
        Rule(
            name="The name is short enough for the names and labels of all children",
            at="",
            field="metadata.name",
            says=f"is {{value}}, longer than {most} characters",
            cure=f"write a shorter name: it becomes part of the names of {part_of}, which end at 63",
            found=lambda obj: once(len(obj.metadata.name) > most, value=obj.metadata.name),
            cel=f"size(self.metadata.name) <= {most}",
            values={"value": "self.metadata.name"},
        ),
        Rule(
            name=f"The name can be part of the names of {part_of}",
            at="",
            field="metadata.name",
            says=f"is {{value}}, which is not {words}",
            cure="write lower-case letters, digits and hyphens",
            found=lambda obj: once(
                bool(obj.metadata.name) and not whole.fullmatch(obj.metadata.name), value=obj.metadata.name
            ),
            cel=f"self.metadata.name.matches('{pattern}')",
            values={"value": "self.metadata.name"},
        ),
    )


def _members(cluster: RegionCluster) -> tuple[Values, ...]:
    both = cluster.in_cluster is not None and cluster.kubeconfig_secret_ref is not None
    neither = cluster.in_cluster is None and cluster.kubeconfig_secret_ref is None
    return once(both or neither, number="both" if both else "none")


def _public_keys(region: Region) -> tuple[str, ...]:
    given = region.spec.key_encryption
    return () if given is None else given.public_keys


def _moved(old: Region, new: Region) -> Iterable[Values]:
    was, is_ = (obj.spec.cluster.in_cluster is not None for obj in (old, new))
    names = {True: "inCluster", False: "kubeconfigSecretRef"}
    return once(was != is_, old=names[was], new=names[is_])


REGION_RULES = (
    *name_rules(NAME_MAX_LENGTH, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a DNS label"),
    Rule(
        name="A region has exactly one cluster",
        at="spec.cluster",
        field="spec.cluster",
        says="sets {number} of inCluster and kubeconfigSecretRef",
        cure="write exactly one of them",
        found=lambda region: _members(region.spec.cluster),
        cel="has(self.inCluster) != has(self.kubeconfigSecretRef)",
        values={"number": "(has(self.inCluster) ? 'both' : 'none')"},
    ),
    Rule(
        name="A jurisdiction is a country that exists",
        at="spec.jurisdiction",
        field="spec.jurisdiction",
        says=f"is {{value}}, {NOT_A_COUNTRY}",
        cure=COUNTRY_CURE,
        found=lambda region: once(not is_listed(region.spec.jurisdiction), value=region.spec.jurisdiction),
        cel=f"!self.matches({cel_text(JURISDICTION)}) || self.matches('{CEL_COUNTRY}')",
        values={"value": "self"},
    ),
    Rule(
        name="A probe ends before the next one starts",
        at="spec.probe",
        field="spec.probe.timeout",
        says="is {value}, above spec.probe.interval, which is {interval}",
        cure="write a timeout of at most the interval",
        found=lambda region: once(
            region.spec.probe.timeout > region.spec.probe.interval,
            value=format_duration(region.spec.probe.timeout),
            interval=format_duration(region.spec.probe.interval),
        ),
        # The default of spec.probe is {}, which an API server checks before it fills in what is missing.
        cel="!has(self.timeout) || !has(self.interval) || "
        f"!self.timeout.matches({cel_text(DURATION)}) || !self.interval.matches({cel_text(DURATION)}) || "
        f"{cel_milliseconds('self.timeout')} <= {cel_milliseconds('self.interval')}",
        values={"value": "self.timeout", "interval": "self.interval"},
    ),
    Rule(  # it does not show the value: a private key may have been written there
        name="Keysets are sealed for public keys that a token can unwrap with",
        at="spec.keyEncryption",
        field="spec.keyEncryption.publicKeys",
        says="has an entry that is not a public key on the curve P-256 in PEM",
        cure="write what `roadstead keys agent keygen` prints, from BEGIN PUBLIC KEY to END PUBLIC KEY; a private key "
        "that was written here is not private any more",
        found=lambda region: once(any(point_of(text) is None for text in _public_keys(region))),
        cel=f"!has(self.publicKeys) || self.publicKeys.all(key, key.matches({cel_text(PEM)}))",
    ),
)

REGION_CHANGES = (
    ChangeRule(
        name="A region stays what it is: a node pool or a member cluster",
        at="spec.cluster",
        field="spec.cluster",
        says="changes from {old} to {new}, which would leave what runs there behind",
        cure="write {old} again, or make a Region with another name and move the services to it",
        found=_moved,
        cel="has(self.inCluster) == has(oldSelf.inCluster)",
        values={
            "old": "(has(oldSelf.inCluster) ? 'inCluster' : 'kubeconfigSecretRef')",
            "new": "(has(self.inCluster) ? 'inCluster' : 'kubeconfigSecretRef')",
        },
    ),
)
