"""Generated KeyRings and KeyVersions for property tests: valid ones, nearly valid ones, and arbitrary JSON."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from api_key_cases import FINGERPRINT, key_version, ring
from api_strategies import durations, json_values, texts
from roadstead.api.keyversion import KeyMark, KeyPhase
from specs import ABSENT, Body

moments = st.one_of(
    *[st.sampled_from(["2026-01-01T00:00:00Z", "2020-02-29T12:30:00Z", "2030-01-01T08:00:00+08:00"])] * 4,
    st.sampled_from(
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01T08:00:00+08:00",
            "2026-01-01t00:00:00z",
            "2026-01-01T00:00:00.25Z",
            "2024-02-29T23:59:59Z",
            "2025-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00Z",
            "2026-01-01",
            "now",
            "",
        ]
    ),
    st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")),
)
# Mostly right, and about as long as each other: neither side of the sum always wins, and the rules are reached at all.
SOUND_LENGTHS = ["0s", "1m", "30m", "1h", "2h", "3h10m", "190m", "72h", "3d", "4d"]
lengths = st.one_of(*[st.sampled_from(SOUND_LENGTHS)] * 4, durations)
SOUND_CRONS = ["0 3 * * 1,4", "0 0 */3 * *", "* * * * *"]
SOUND_ZONES = ["UTC", "Asia/Hong_Kong", "Etc/GMT+8"]
schedules = st.fixed_dictionaries(
    {},
    optional={
        "every": lengths,
        "anchor": moments,
        "cron": st.fixed_dictionaries(
            {"schedule": st.sampled_from([*SOUND_CRONS * 3, "0 0 3 * * 1", "daily", ""])},
            optional={"timeZone": st.one_of(st.sampled_from([*SOUND_ZONES * 4, "+08:00", "asia"]), texts)},
        ),
        "jitter": lengths,
        "state": st.sampled_from([*["Running", "Suspended"] * 4, "Paused", True]),
    },
)
RING_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "metadata.name": st.sampled_from(["chat", "x" * 40, "x" * 41, "1st", "a.b", "a-b"]),
    "spec.regions": st.lists(st.one_of(st.sampled_from(["hkg", "sin", "r" * 23, "r" * 24]), texts), max_size=3),
    "spec.schedule": schedules,
    "spec.schedule.every": lengths,
    "spec.schedule.jitter": lengths,
    "spec.lead": st.one_of(lengths, texts),
    "spec.soak": lengths,
    "spec.retention": st.one_of(lengths, texts),
    "spec.keyType": st.sampled_from(["XAES-256-GCM", "AES-256-GCM", "AES-128-GCM", 1]),
    "spec.kek": st.fixed_dictionaries(
        {},
        optional={
            "provider": st.sampled_from([*["Kubernetes", "PKCS11"] * 3, "kubernetes", ""]),
            "rotateEvery": st.sampled_from(["1h", "90d", "5y", "59m", "6y", "soon"]),
            "rotateAt": moments,
        },
    ),
    "spec.distribution": st.sampled_from(["Cleartext", "Encrypted", "cleartext", ""]),
}
NAMES = ["chat-v7", "chat-v8", "chat-v07", "chat-v10", "chat-v999999", "talk-v7", "chat", "chat-v7-v7"]
VERSION_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "metadata.name": st.sampled_from(NAMES),
    "spec.ring": st.one_of(st.sampled_from(["chat", "talk", "chat-v7", "a.b", "x" * 41]), texts),
    "spec.ringID": st.one_of(st.sampled_from(["r0123456789ab", "rbbbbbbbbbbbb", "R0123456789ab", "r0"]), texts),
    "spec.number": st.one_of(st.sampled_from([7, 8, 10, 999_999, 1_000_000, "7", True]), st.integers(-1, 20)),
    "spec.slot": moments,
    "spec.keyType": st.sampled_from(["XAES-256-GCM", "AES-256-GCM", "AES-128-GCM"]),
    "spec.operation": st.one_of(st.sampled_from(["0123456789abcdef", "f" * 16, "F" * 16, "f" * 15]), texts),
    "status": st.sampled_from([{}, {"phase": "Ready"}, {"phase": "ready"}]),
    "status.phase": st.sampled_from([*KeyPhase, "Active"]),
    "status.mark": st.sampled_from([*KeyMark, "Doubtful"]),
    "status.since": st.just("2026-01-01T00:00:00Z"),
    "status.fingerprint": st.sampled_from([FINGERPRINT, "f" * 32, "F" * 32, "f" * 31]),
    "status.returned": st.sampled_from([True, False]),
}


@st.composite
def _edits(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    # Sorted, so that a part comes before what lies in it.
    paths = sorted(draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=4, unique=True)))
    if {path for path in paths if path in ("spec.schedule", "status")}:
        paths = [path for path in paths if not path.startswith(("spec.schedule.", "status."))]
    found: dict[str, Any] = {}
    for path in paths:
        nothing = st.nothing() if path == "metadata.name" else st.sampled_from([ABSENT, None])
        found[path] = draw(st.one_of(*[fields[path]] * 4, nothing))
    return found


def nearly_valid_rings(namespace: str = "default") -> st.SearchStrategy[Body]:
    """A minimal KeyRing with a few fields set to something that is right, wrong or at the edge."""
    return _edits(RING_FIELDS).map(lambda edits: ring(namespace=namespace, **edits))


def nearly_valid_versions(namespace: str = "default") -> st.SearchStrategy[Body]:
    """The same of a KeyVersion."""
    return _edits(VERSION_FIELDS).map(lambda edits: key_version(namespace=namespace, **edits))


def edits_of_versions(namespace: str = "default") -> st.SearchStrategy[tuple[Body, Body]]:
    """A KeyVersion, and another one of the same name that may replace it or not."""
    fields: dict[Any, st.SearchStrategy[Any]] = {
        "spec.slot": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T08:00:00+08:00", "2026-01-02T00:00:00Z"]),
        "spec.operation": st.sampled_from(["0123456789abcdef", "f" * 16]),
        "status.phase": st.sampled_from(list(KeyPhase)),
        "status.mark": st.sampled_from(list(KeyMark)),
        "status.fingerprint": st.sampled_from([FINGERPRINT, "f" * 32]),
        "status.returned": st.sampled_from([True, False]),
    }
    bodies = st.fixed_dictionaries({}, optional=fields).map(lambda edits: key_version(namespace=namespace, **edits))
    return st.tuples(bodies, bodies)


@st.composite
def broken_keys(draw: st.DrawFn) -> Body:
    """A KeyRing or a KeyVersion in which a few fields are arbitrary JSON."""
    body, fields = draw(st.sampled_from([(ring(), RING_FIELDS), (key_version(), VERSION_FIELDS)]))
    broken: Body = deepcopy(body)
    paths = draw(st.lists(st.sampled_from([*sorted(fields), "spec", "metadata", "status"]), min_size=1, max_size=3))
    for path in paths:
        at: Any = broken
        *steps, last = path.split(".")
        for step in steps:
            if not isinstance(at.get(step), dict):
                at[step] = {}
            at = at[step]
        at[last] = draw(json_values)
    return broken
