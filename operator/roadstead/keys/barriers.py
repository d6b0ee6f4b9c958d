"""What keeps a ring from going on: each function tells what is waited for, and nothing when nothing is."""

from __future__ import annotations

from datetime import datetime

from roadstead.api.conditions import Reason
from roadstead.api.keyversion import KeyMark as Mark
from roadstead.keys import versions as life
from roadstead.keys.state import RegionView, Ring
from roadstead.keys.steps import Wait
from roadstead.keys.versions import Version


def ledger_behind(ring: Ring) -> tuple[Wait, ...]:
    """Regions that have what no ledger of theirs can have: it was restored from a backup, so nothing may be written."""
    current = life.primary(ring.versions)
    found = []
    for region in ring.regions:
        if region.keyset is None:
            continue
        found += [_behind(region, what) for what in _unknown(ring, region)]
        if region.keyset.primary > (current.number if current else 0):
            found.append(_behind(region, f"version {region.keyset.primary} as its primary, and the ledger does not"))
    return tuple(found)


def _unknown(ring: Ring, region: RegionView) -> list[str]:
    known = {version.number: version for version in ring.versions}
    keys = (*(region.keyset.keys if region.keyset else ()), *region.rewrap.keys)
    found = []
    for number, fingerprint in dict.fromkeys(keys):
        version = known.get(number)
        if version is None or version.phase in life.UNKNOWN_TO_REGIONS:
            found.append(f"version {number}, which the ledger does not have")
        elif version.fingerprint != fingerprint:
            found.append(f"another version {number} than the ledger")
    return found


def _behind(region: RegionView, what: str) -> Wait:
    message = (
        f"region {region.name} has {what}: the hub was restored from a backup, and this region may have the only copy; "
        "nothing is written before the newer KeyVersions and Secrets are restored, or taken over from the region "
        "(roadstead keys adopt). If the keyset was only edited by hand, delete its Secret in that region"
    )
    return Wait(Reason.LEDGER_BEHIND, message, region.name)


def material_lost(ring: Ring) -> tuple[Wait, ...]:
    """Versions that regions should have and the hub cannot give them."""
    return tuple(
        Wait(
            Reason.MATERIAL_LOST,
            f"the Secret with version {version.number} is gone from the hub, or holds another key; regions keep what "
            "they have, and get nothing new; restore it from a backup",
        )
        for version in ring.versions
        if version.given and not ring.is_there(version)
    )


def unreadable(ring: Ring, before_what: str) -> tuple[Wait, ...]:
    """Regions that cannot be read."""
    return tuple(
        Wait(
            Reason.REGION_UNREADABLE,
            f"region {region.name} cannot be read, and must be {before_what}; mend its connection, exclude it "
            "(roadstead keys exclude) or, if it never comes back, take it out of spec.regions and delete its Region",
            region.name,
        )
        for region in ring.counted
        if region.keyset is None
    )


def excluded(ring: Ring, before_what: str) -> tuple[Wait, ...]:
    """Regions that nobody waits for, and that may still write with what they had."""
    return tuple(
        Wait(
            Reason.REGION_EXCLUDED,
            f"region {region.name} is excluded and may still write with what it had; it must come back {before_what}, "
            "or be taken out of spec.regions and its Region be deleted",
            region.name,
        )
        for region in ring.regions
        if region.excluded
    )


def possession(ring: Ring, version: Version) -> tuple[Wait, ...]:
    """Regions that have not proved that they read a version."""
    missing = (possession_of(region, version) for region in ring.counted if region.keyset is not None)
    return (
        *unreadable(ring, f"before version {version.number} is written with"),
        *(wait for wait in missing if wait is not None),
    )


def possession_of(region: RegionView, version: Version) -> Wait | None:
    """Why a region that can be read has not proved that it reads a version."""
    if region.keyset is None or not region.keyset.has(version):
        message = f"region {region.name} does not have version {version.number} yet"
        return Wait(Reason.NOT_DISTRIBUTED, message, region.name)
    if region.consumers and version.number not in region.reads:
        message = (
            f"not every pod in region {region.name} that uses the ring has proved that it reads version "
            f"{version.number}"
        )
        return Wait(Reason.NOT_PROVED, message, region.name)
    return None


def in_use(ring: Ring, current: Version | None) -> tuple[Wait, ...]:
    """Regions that have not proved that they write with the primary."""
    waits = []
    number = current.number if current else 0
    for region in ring.counted:
        if region.keyset is None:
            continue
        if region.keyset.primary != number or (region.consumers and region.writes != number):
            message = f"not every pod in region {region.name} has proved that it writes with version {number}"
            waits.append(Wait(Reason.OLD_PRIMARY_IN_USE, message, region.name))
    return tuple(waits)


def still_held(region: RegionView, version: Version) -> Wait:
    """A region has a version that no region should have any more."""
    message = f"region {region.name} still has version {version.number}"
    return Wait(Reason.NOT_DISTRIBUTED, message, region.name)


def has_proved(ring: Ring, region: RegionView) -> bool:
    """Whether a region that was excluded has all that is given, and reads and writes as the others do, or are to."""
    current, coming = life.primary(ring.versions), life.coming(ring.versions)
    if coming is not None and coming.handed_out and possession_of(region, coming):
        return False
    return (
        current is None or not region.consumers or (current.number in region.reads and region.writes == current.number)
    )


def stored_nowhere(ring: Ring, version: Version) -> bool:
    """Whether every region has said that nothing it stores was encrypted with a version. Who is silent has not."""
    return bool(ring.regions) and all(
        region.keyset is not None
        and not region.excluded
        and version.number not in region.wanted
        and region.stored is not None
        and region.stored.get(version.number) == 0
        for region in ring.regions
    )


def is_urgent(ring: Ring) -> bool:
    """Whether the primary must not stay so any longer than the barriers take."""
    current = life.primary(ring.versions)
    return current is not None and current.mark is not Mark.NONE


def patience(ring: Ring, version: Version, now: datetime) -> tuple[Wait, ...]:
    """What only time ends before a version that all have proved is written with."""
    if is_urgent(ring) or life.primary(ring.versions) is None:
        return ()
    ready = version.since + ring.policy.soak
    led = (version.staged or version.since) + ring.policy.lead
    waits = []
    if now < led:
        message = f"version {version.number} is announced, and written with from {led:%Y-%m-%dT%H:%M:%SZ} on"
        waits.append(Wait(Reason.LEAD, message, until=led))
    if now < ready:
        message = f"version {version.number} is proved, and soaks until {ready:%Y-%m-%dT%H:%M:%SZ}"
        waits.append(Wait(Reason.SOAK, message, until=ready))
    return tuple(waits)


def clock(ring: Ring) -> tuple[Wait, ...]:
    """Clocks that differ: nothing irreversible is done by them."""
    if ring.clock_agrees:
        return ()
    message = "our clock and the API server's differ by more than the skew; set the nodes' clocks (NTP)"
    return (Wait(Reason.CLOCKS_DIFFER, message),)


def full(ring: Ring) -> tuple[Wait, ...]:
    """A keyset that is so large that no key is added."""
    held = sum(version.given for version in ring.versions)
    if held < life.MOST_IN_KEYSET:
        return ()
    message = (
        f"the keysets hold {held} versions, and take no more than {life.MOST_IN_KEYSET}; none is ever dropped: let "
        "some retire (spec.retention, or spec.attestation with a workload that writes anew)"
    )
    return (Wait(Reason.KEYSET_FULL, message),)
