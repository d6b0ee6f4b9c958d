"""``roadstead keys rotate``, ``suspend`` and ``resume``: what one person may decide about a ring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from roadstead.api.keyversion import KeyMark, KeyPhase, object_name
from roadstead.cli.exits import FIELD_MANAGER, ExitCode, Failure
from roadstead.cli.following import following
from roadstead.cli.hub import Access, Hub, connected
from roadstead.cli.output import Format, data, line, note, to_yaml
from roadstead.cli.ring_status import body_of, ring_of, server_now
from roadstead.cli.rings import COMING, RingRow, VersionRow, ring_row, versions_as_data
from roadstead.kernel.objects import KEY_RINGS, KEY_VERSIONS

_MARKABLE: Final = (*COMING, KeyPhase.PRIMARY, KeyPhase.SUPERSEDED, KeyPhase.SUSPENDED, KeyPhase.DRAINING)
"""Phases in which a mark of a version comes to anything."""


@dataclass(frozen=True, slots=True)
class Act:
    """What the command line asks for.

    Attributes:
        ring: name, or NAMESPACE/NAME.
        namespace: of the ring.
        wait: stay until it has come about.
        seconds: and no longer than this.
        dry_run: print what would be written, and write nothing.
        output: how the result is printed.
    """

    ring: str
    namespace: str = ""
    wait: bool = False
    seconds: float | None = None
    dry_run: bool = False
    output: Format = Format.TABLE


async def rotate(access: Access, act: Act) -> None:
    """Have a ring make another version now.

    Raises:
        Failure: there is no such ring; or with ``wait``, it is stalled, or not done in time.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        row = await ring_of(hub, act.ring, act.namespace)
        _refuse_deleted(row)
        moment = _slot(row, server_now(hub))
        patch = {"spec": {"schedule": {"rotateAt": moment}}}
        if act.dry_run:
            _print_patch(row, patch, act.output)
            return
        await _patch(hub, row, patch)
        if act.output is Format.TABLE:
            line(f"KeyRing {row.label} makes another version: spec.schedule.rotateAt is {moment}")
            if row.coming:
                line(f"It comes after version {row.coming}, whose rotation is under way.")
            if not act.wait:
                line(f"See how far it is: roadstead keys status {row.name} -n {row.namespace}")
        elif not act.wait:
            data({"ring": row.label, "rotateAt": moment}, act.output)
        if act.wait:
            await _followed(hub, row, act, datetime.fromisoformat(moment))


async def schedule(access: Access, act: Act, state: str) -> None:
    """Suspend or resume the schedule of a ring.

    Raises:
        Failure: there is no such ring.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        row = await ring_of(hub, act.ring, act.namespace)
        _refuse_deleted(row)
        patch = {"spec": {"schedule": {"state": state}}}
        if act.dry_run:
            _print_patch(row, patch, act.output)
            return
        changed = row.schedule != state
        if changed:
            await _patch(hub, row, patch)
    if act.output is not Format.TABLE:
        data({"ring": row.label, "state": state, "changed": changed}, act.output)
        return
    already = "" if changed else " already"
    if state == "Suspended":
        line(f"The schedule of KeyRing {row.label} is suspended{already}: no slot begins a version.")
        if row.coming:
            line(f"The rotation to version {row.coming} goes on.")
        line("A ticket comes when its primary is older than 1.25 periods, no page.")
    else:
        line(f"The schedule of KeyRing {row.label} runs{already}; slots that were missed become one version.")


async def mark(access: Access, act: Act, number: int, *, suspended: bool) -> None:
    """Say that a version is not to retire, or take that back. Needs the right to update KeyVersions.

    Raises:
        Failure: there is no such version, or nothing would come of it.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        row = await ring_of(hub, act.ring, act.namespace)
        version = version_of(row, number)
        wanted = KeyMark.SUSPENDED.value if suspended else KeyMark.NONE.value
        if version.mark == KeyMark.COMPROMISED.value:
            raise Failure(
                f"version {number} of KeyRing {row.label} is marked Compromised, which is never taken back; "
                "another version takes its place",
                ExitCode.REFUSED,
            )
        if suspended and version.phase not in _MARKABLE:
            raise Failure(
                f"version {number} of KeyRing {row.label} is {version.phase}, so that nothing is left to suspend; "
                f"name one that is read: roadstead keys history {row.name} -n {row.namespace}",
                ExitCode.REFUSED,
            )
        name = object_name(row.name, number)
        patch = {"status": {"mark": wanted}}
        if act.dry_run:
            _print(_object(KEY_VERSIONS.kind, row.namespace, name, patch), act.output)
            return
        changed = version.mark != wanted
        if changed:
            await hub.client.merge_patch(KEY_VERSIONS, row.namespace, name, patch, manager=FIELD_MANAGER)
    if act.output is not Format.TABLE:
        data({"ring": row.label, "version": number, "mark": wanted, "changed": changed}, act.output)
        return
    already = "" if changed else " already"
    if not suspended:
        line(f"Version {number} of KeyRing {row.label} is suspended no longer{already}.")
        return
    line(f"Version {number} of KeyRing {row.label} is marked Suspended{already}: it does not retire.")
    if version.phase is KeyPhase.PRIMARY:
        line("It is the primary: another version takes its place at once, when every pod has proved that one.")
    elif version.phase in COMING:
        line("It never was the primary: it is discarded, and another version takes its place.")


def version_of(row: RingRow, number: int) -> VersionRow:
    """A version of a ring.

    Raises:
        Failure: it has none of this number.
    """
    found = next((version for version in row.versions if version.number == number), None)
    if found is None:
        known = f"{row.versions[0].number} to {row.versions[-1].number}" if row.versions else "none yet"
        raise Failure(f"KeyRing {row.label} has no version {number}; there are: {known}", ExitCode.NOT_FOUND)
    return found


# --- waiting for a rotation


async def _followed(hub: Hub, row: RingRow, act: Act, moment: datetime) -> None:
    """Tell how far the rotation is until nothing is left of it."""
    last = row.versions[-1].number if row.versions else 0
    told: set[str] = set()
    reached = "it has not begun"
    try:
        async with (
            asyncio.timeout(act.seconds),
            following(hub.client, row.namespace, (KEY_RINGS, row.name), (KEY_VERSIONS, "")) as latest,
        ):
            while True:
                await latest.news()
                bodies = latest.of(KEY_RINGS)
                if not bodies:
                    raise Failure(f"KeyRing {row.label} was deleted meanwhile", ExitCode.FAULTY)
                now = ring_row(bodies[0], latest.of(KEY_VERSIONS))
                ours = _ours(now.versions, last, moment)
                for text in _news(now, ours):
                    if text not in told:
                        told.add(text)
                        note(text)
                if ours is not None:
                    reached = f"version {ours.number} is {ours.phase}"
                if ours is not None and _is_done(now, ours):
                    break
                if now.stalled:
                    raise Failure(f"KeyRing {row.label} is stalled: {_why(now)}", ExitCode.FAULTY)
    except TimeoutError:
        raise Failure(f"KeyRing {row.label} is not done in time: {reached}", ExitCode.TIMED_OUT) from None
    if act.output is Format.TABLE:
        line(f"Version {ours.number} is the primary, and nobody writes with another.")
    else:
        data({"ring": row.label, "versions": versions_as_data([ours])}, act.output)


def _ours(versions: Sequence[VersionRow], last: int, moment: datetime) -> VersionRow | None:
    """The version that was made for this moment, or in place of one that was."""
    made = [version for version in versions if version.number > last]
    first = next((version for version in made if version.slot is not None and version.slot >= moment), None)
    if first is None:
        return None
    later = [version for version in made if version.number >= first.number]
    return next((version for version in later if version.phase is not KeyPhase.DISCARDED), first)


def _is_done(row: RingRow, ours: VersionRow) -> bool:
    """Whether it is written with everywhere, or has been overtaken after it was."""
    if ours.phase in (*COMING, KeyPhase.SUPERSEDED, KeyPhase.DISCARDED):
        return False
    others = [version for version in row.versions if version.number < ours.number]
    return not any(version.phase in (KeyPhase.PRIMARY, KeyPhase.SUPERSEDED) for version in others)


def _news(row: RingRow, ours: VersionRow | None) -> Iterator[str]:
    if ours is not None:
        yield f"version {ours.number}: {ours.phase}"
    for wait in row.waits:
        where = f" {wait.region}" if wait.region else ""
        yield f"waits: {wait.reason}{where}: {wait.message}"


def _why(row: RingRow) -> str:
    stalled = next((wait.message for wait in row.waits), "")
    return row.message or stalled or row.reason


# --- writing


def _refuse_deleted(row: RingRow) -> None:
    if row.reason == "Deleting":
        raise Failure(f"KeyRing {row.label} is being deleted; nothing is begun with it any more", ExitCode.REFUSED)


async def _patch(hub: Hub, row: RingRow, patch: Mapping[str, Any]) -> None:
    """Change exactly the ring that was read, whatever has come to have its name."""
    body = await body_of(hub, row.name, row.namespace)
    conditional = {"metadata": {"uid": body["metadata"]["uid"]}, **patch}
    await hub.client.merge_patch(KEY_RINGS, row.namespace, row.name, conditional, manager=FIELD_MANAGER)


def _print_patch(row: RingRow, patch: Mapping[str, Any], output: Format) -> None:
    _print(_object(KEY_RINGS.kind, row.namespace, row.name, patch), output)


def _object(kind: str, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
    """What a patch changes, as the object has it."""
    head = {"apiVersion": KEY_RINGS.api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    return {**head, **patch}


def _print(body: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        data(body, output)
    else:
        line(to_yaml(body).rstrip("\n"))


def _slot(row: RingRow, now: datetime) -> str:
    """The present moment, to the millisecond; later than every slot there was, because a slot makes one version."""
    newest = max((version.slot for version in row.versions if version.slot is not None), default=None)
    value = now if newest is None else max(now, newest + timedelta(milliseconds=1))
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
