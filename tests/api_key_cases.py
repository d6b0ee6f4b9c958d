"""The smallest KeyRing and KeyVersion, and what is wrong with edits of them: said by Python in unit tests, by an API
server in integration tests. A rule of theirs without a line here fails a test."""

from __future__ import annotations

from typing import Any

from specs import ABSENT, Body, edited

Edits = dict[str, Any]

CRON: Edits = {"schedule": "0 3 * * 1,4"}
NO_HASTE: Edits = {"spec.lead": "0s", "spec.soak": "0s", "spec.schedule.jitter": "0s"}
FINGERPRINT = "0123456789abcdef" * 2


def ring(name: str = "chat", namespace: str = "default", **edits: Any) -> Body:
    """A minimal KeyRing; ``edits`` as for :func:`specs.chat`."""
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "KeyRing",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"regions": ["hkg", "sin"], "distribution": "Cleartext"},
    }
    return edited(body, {path.replace("__", "."): value for path, value in edits.items()})


def key_version(namespace: str = "default", **edits: Any) -> Body:
    """Version 7 of the ring `chat` as the operator makes it; ``edits`` as for :func:`specs.chat`."""
    body = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "KeyVersion",
        "metadata": {"name": "chat-v7", "namespace": namespace},
        "spec": {
            "ring": "chat",
            "ringID": "r0123456789ab",
            "number": 7,
            "keyType": "XAES-256-GCM",
            "operation": "0123456789abcdef",
        },
        "status": {"phase": "Reserved"},
    }
    return edited(body, {path.replace("__", "."): value for path, value in edits.items()})


LATE = "which is not longer than spec.lead, spec.soak and spec.schedule.jitter together; write a longer period"

RINGS_KEPT: list[tuple[str, Edits]] = [
    ("only what is required", {}),
    ("a name of 40 characters", {"metadata.name": "x" * 40}),
    ("a name that starts with a digit", {"metadata.name": "1st"}),
    ("the shortest period", {"spec.schedule.every": "1m", **NO_HASTE}),
    ("the longest period", {"spec.schedule.every": "5y"}),
    ("a period just longer than lead, soak and jitter", {"spec.schedule.every": "3h10m1ms"}),
    ("a period, an anchor in the past", {"spec.schedule": {"every": "72h", "anchor": "2020-02-29T00:00:00Z"}}),
    ("an anchor in another zone, with a fraction", {"spec.schedule.anchor": "2030-01-01T08:00:00.5+08:00"}),
    ("an anchor and the default period", {"spec.schedule.anchor": "2026-01-01T00:00:00Z"}),
    ("cron", {"spec.schedule.cron": CRON}),
    ("cron in a zone", {"spec.schedule.cron": {**CRON, "timeZone": "America/Argentina/Buenos_Aires"}}),
    ("cron with any lead: its slots have no period", {"spec.schedule.cron": CRON, "spec.lead": "30d"}),
    ("no jitter", {"spec.schedule.jitter": "0s"}),
    ("a schedule that is suspended", {"spec.schedule.state": "Suspended"}),
    ("the shortest retention", {"spec.retention": "1m"}),
    ("the longest retention", {"spec.retention": "100y"}),
    ("AES-256-GCM", {"spec.keyType": "AES-256-GCM"}),
    ("KEKs in an HSM", {"spec.kek": {"provider": "PKCS11"}}),
    ("the shortest and one more KEK", {"spec.kek": {"rotateEvery": "1h", "rotateAt": "2026-01-01T00:00:00Z"}}),
    ("the longest life of a KEK", {"spec.kek.rotateEvery": "5y"}),
    ("keysets that only the regions open", {"spec.distribution": "Encrypted"}),
    ("one region with a name of 23 characters", {"spec.regions": ["r" * 23]}),
    (
        "the largest ring",
        {
            "metadata.name": "x" * 40,
            "spec.regions": [f"r{number:02d}".ljust(23, "r") for number in range(32)],
            "spec.schedule": {
                "every": "1w1w1w1w1w1w1w1w1w1w1w1w1w1w1w1w",
                "jitter": "1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m",
            },
            "spec.lead": "1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m",
            "spec.soak": "1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m",
        },
    ),
]
"""What both take, with a word on each."""

RINGS_BROKEN: list[tuple[Edits, str, str]] = [
    ({"metadata.name": "x" * 41}, "metadata.name", "longer than 40 characters; write a shorter name"),
    ({"metadata.name": "a.b"}, "metadata.name", "is a.b, which is not a DNS label; write lower-case letters"),
    ({"spec.schedule": {"cron": CRON, "every": "3d"}}, "spec.schedule", "sets cron together with every or anchor"),
    (
        {"spec.schedule": {"cron": CRON, "anchor": "2026-01-01T00:00:00Z"}},
        "spec.schedule",
        "sets cron together with every or anchor; write cron alone",
    ),
    ({"spec.schedule.every": "3h10m"}, "spec.schedule.every", f"is 3h10m, {LATE}"),
    ({"spec.schedule.every": "1m"}, "spec.schedule.every", f"is 1m, {LATE}"),
    ({"spec.lead": "30d"}, "spec.schedule.every", f"is 3d, {LATE}"),
    ({"spec.soak": "7d"}, "spec.schedule.every", f"is 3d, {LATE}"),
    ({"spec.schedule.jitter": "7d"}, "spec.schedule.every", f"is 3d, {LATE}"),
]
"""What breaks exactly one rule: edits, the field, words."""

RINGS_REFUSED: list[tuple[str, Edits, str, str]] = [
    ("no spec", {"spec": ABSENT}, "spec", "Required value"),
    ("no regions", {"spec.regions": ABSENT}, "spec.regions", "Required value"),
    ("an empty list of regions", {"spec.regions": []}, "spec.regions", "at least 1 items"),
    ("33 regions", {"spec.regions": [f"r{number}" for number in range(33)]}, "spec.regions", "at most 32 items"),
    ("a region twice", {"spec.regions": ["hkg", "hkg"]}, "spec.regions[1]", "Duplicate value"),
    ("a region that is no label", {"spec.regions": ["a.b"]}, "spec.regions[0]", "is a.b, not a DNS label; write"),
    ("nothing said of the distribution", {"spec.distribution": ABSENT}, "spec.distribution", "Required value"),
    ("no such distribution", {"spec.distribution": "Sealed"}, "spec.distribution", "supported"),
    ("a period below the minimum", {"spec.schedule.every": "59s", **NO_HASTE}, "every", "is 59s, below 1m; write 1m"),
    ("a period above the maximum", {"spec.schedule.every": "6y"}, "spec.schedule.every", "is 6y, above 5y; write 5y"),
    ("a period in words", {"spec.schedule.every": "3 days"}, "every", "is 3 days, not a duration; write numbers"),
    ("a lead above its bound", {"spec.lead": "31d"}, "spec.lead", "is 31d, above 30d; write 30d or less"),
    ("a lead in words", {"spec.lead": "soon"}, "spec.lead", "is soon, not a duration; write numbers"),
    ("a soak above its bound", {"spec.soak": "8d"}, "spec.soak", "is 8d, above 7d; write 7d or less"),
    ("a jitter above its bound", {"spec.schedule.jitter": "8d"}, "jitter", "is 8d, above 7d; write 7d or less"),
    ("the longest text of a duration", {"spec.schedule.every": "9999999y" * 4}, "every", "above 5y; write 5y or less"),
    ("a retention below its bound", {"spec.retention": "59s"}, "spec.retention", "is 59s, below 1m; write 1m or more"),
    ("a retention above its bound", {"spec.retention": "101y"}, "spec.retention", "is 101y, above 100y; write 100y"),
    (
        "an anchor without a zone",
        {"spec.schedule.anchor": "2026-01-01T00:00:00"},
        "anchor",
        "must be of type date-time",
    ),
    ("no such provider", {"spec.kek": {"provider": "Vault"}}, "spec.kek.provider", "supported values"),
    ("a KEK for minutes", {"spec.kek": {"rotateEvery": "59m"}}, "rotateEvery", "is 59m, below 1h; write 1h or more"),
    ("a KEK for ever", {"spec.kek": {"rotateEvery": "6y"}}, "rotateEvery", "is 6y, above 5y; write 5y or less"),
    ("a KEK on a day", {"spec.kek": {"rotateAt": "2026-01-01"}}, "spec.kek.rotateAt", "must be of type date-time"),
    ("an anchor that is a day", {"spec.schedule.anchor": "2026-01-01"}, "anchor", "must be of type date-time"),
    ("an anchor on a day that is none", {"spec.schedule.anchor": "2026-02-30T00:00:00Z"}, "anchor", "date-time"),
    ("an anchor that is a number", {"spec.schedule.anchor": 0}, "spec.schedule.anchor", "must be of type"),
    ("six cron fields", {"spec.schedule.cron": {"schedule": "0 0 3 * * 1"}}, "schedule", "not five cron fields; write"),
    ("no cron schedule", {"spec.schedule.cron": {}}, "spec.schedule.cron.schedule", "Required value"),
    (
        "a time zone that cannot be",
        {"spec.schedule.cron": {**CRON, "timeZone": "+08:00"}},
        "spec.schedule.cron.timeZone",
        "is +08:00, not the name of a time zone; write a name such as Asia/Hong_Kong or UTC",
    ),
    ("a boolean for the state", {"spec.schedule.state": True}, "spec.schedule.state", "must be of type string"),
    ("no such state", {"spec.schedule.state": "Paused"}, "spec.schedule.state", "supported values"),
    ("no such key type", {"spec.keyType": "AES-128-GCM"}, "spec.keyType", "supported values"),
    ("a field that was taken out", {"spec.provider": {"kubernetes": {}}}, "spec.provider", "unknown field"),
]
"""What the schema refuses: a word, edits, where the server sees it, its words. Python refuses them too."""

MARKED: Edits = {"status.phase": "Superseded", "status.mark": "Compromised", "status.fingerprint": FINGERPRINT}

VERSIONS_KEPT: list[tuple[str, Edits]] = [
    ("as the operator makes it", {}),
    ("the first", {"metadata.name": "chat-v1", "spec.number": 1}),
    *(
        (f"number {number}", {"metadata.name": f"chat-v{number}", "spec.number": number})
        for number in (10, 99, 100, 4095, 10_000, 90_807, 100_000, 999_999)
    ),
    ("the longest name", {"metadata.name": f"{'x' * 40}-v999999", "spec.ring": "x" * 40, "spec.number": 999_999}),
    ("a ring that is called like a version", {"metadata.name": "chat-v7-v7", "spec.ring": "chat-v7"}),
    ("a slot", {"spec.slot": "2026-11-22T00:00:00Z"}),
    (
        "every field of the status",
        {
            **MARKED,
            "status.since": "2026-11-22T00:00:00Z",
            "status.stagedAt": "2026-11-21T00:00:00Z",
            "status.returned": True,
        },
    ),
]

VERSIONS_BROKEN: list[tuple[Edits, str, str]] = [
    (
        {"metadata.name": "chat-v8"},
        "metadata.name",
        "is chat-v8, but its ring and number make chat-v7; let the operator",
    ),
    ({"metadata.name": "chat-v07"}, "metadata.name", "is chat-v07, but its ring and number make chat-v7"),
    ({"metadata.name": "chat"}, "metadata.name", "is chat, but its ring and number make chat-v7"),
    ({"metadata.name": "talk-v7"}, "metadata.name", "is talk-v7, but its ring and number make chat-v7"),
    ({"spec.number": 123_456}, "metadata.name", "is chat-v7, but its ring and number make chat-v123456"),
]

VERSIONS_REFUSED: list[tuple[str, Edits, str, str]] = [
    ("no status", {"status": ABSENT}, "status", "Required value"),
    ("no phase", {"status": {}}, "status.phase", "Required value"),
    ("no such phase", {"status.phase": "Active"}, "status.phase", "supported values"),
    ("no such mark", {"status.mark": "Doubtful"}, "status.mark", "supported values"),
    ("half a fingerprint", {"status.fingerprint": "0" * 16}, "status.fingerprint", "at least 32"),
    ("a fingerprint in capitals", {"status.fingerprint": "A" * 32}, "status.fingerprint", "should match"),
    ("number 0", {"spec.number": 0, "metadata.name": "chat-v0"}, "spec.number", "greater than or equal to 1"),
    ("a large number", {"spec.number": 1_000_000, "metadata.name": "chat-v1000000"}, "spec.number", "999999"),
    ("a number in quotes", {"spec.number": "7"}, "spec.number", "must be of type integer"),
    ("a long name of a ring", {"spec.ring": "x" * 41, "metadata.name": f"{'x' * 41}-v7"}, "spec.ring", "more than 40"),
    (
        "a ring that is no label",
        {"spec.ring": "a.b", "metadata.name": "a.b-v7"},
        "spec.ring",
        "is a.b, not a DNS label",
    ),
    ("no identity", {"spec.ringID": ABSENT}, "spec.ringID", "Required value"),
    (
        "an identity that is none",
        {"spec.ringID": "R0123456789ab"},
        "spec.ringID",
        "not the identity of a ring; write r",
    ),
    (
        "an operation that is none",
        {"spec.operation": "x" * 16},
        "spec.operation",
        "not the mark of an operation; write",
    ),
    ("no operation", {"spec.operation": ABSENT}, "spec.operation", "Required value"),
    ("no key type", {"spec.keyType": ABSENT}, "spec.keyType", "Required value"),
    ("a slot that is a day", {"spec.slot": "2026-01-01"}, "spec.slot", "must be of type date-time"),
    ("a field that there is not", {"status.phse": "Ready"}, "status.phse", "unknown field"),
]

STAGED: Edits = {"status.phase": "Staged", "status.fingerprint": FINGERPRINT}

# Numbers and rings are part of the name, and no edit changes that: such a change breaks two rules.
VERSION_CHANGES: list[tuple[Edits, Edits, tuple[str, ...]]] = [
    ({}, {"spec.number": 8}, ("spec changes; write what it was", "make chat-v8")),
    ({}, {"spec.ring": "talk"}, ("spec changes; write what it was", "make talk-v7")),
    ({}, {"spec.ringID": "rbbbbbbbbbbbb"}, ("spec changes; write what it was; another version is another object",)),
    ({}, {"spec.keyType": "AES-256-GCM"}, ("spec changes; write what it was",)),
    ({}, {"spec.operation": "f" * 16}, ("spec changes; write what it was",)),
    ({}, {"spec.slot": "2026-11-22T00:00:00Z"}, ("spec changes; write what it was",)),
    ({"spec.slot": "2026-11-22T00:00:00Z"}, {}, ("spec changes; write what it was",)),
    (
        {"status.phase": "Draining"},
        {"status.phase": "Primary"},
        ("status.phase changes from Draining to Primary, which is not a step that there is; write Draining again",),
    ),
    (
        STAGED,
        {**STAGED, "status.fingerprint": "f" * 32},
        (f"status.fingerprint changes; write {FINGERPRINT} again; other material is another version",),
    ),
    (STAGED, {"status.phase": "Staged"}, (f"status.fingerprint changes; write {FINGERPRINT} again",)),
    (MARKED, {**MARKED, "status.mark": ""}, ("status.mark is taken back from Compromised; write Compromised again",)),
    (MARKED, {**MARKED, "status.mark": ABSENT}, ("status.mark is taken back from Compromised",)),
    (MARKED, {**MARKED, "status.mark": "Suspended"}, ("status.mark is taken back from Compromised",)),
]
"""Before, after, and what is said: nothing else."""

RING_CHANGES: list[tuple[Edits, Edits, str]] = [
    (
        {},
        {"spec.kek": {"provider": "PKCS11"}},
        "spec.kek.provider changes from Kubernetes to PKCS11; write Kubernetes again",
    ),
    (
        {"spec.kek": {"provider": "PKCS11"}},
        {"spec.kek": {"rotateEvery": "30d"}},
        "spec.kek.provider changes from PKCS11 to Kubernetes; write PKCS11 again",
    ),
]
"""Before, after, and what is said: nothing else."""

VERSION_EDITS: list[tuple[str, Edits, Edits]] = [
    ("the fingerprint, when it is staged", {}, {**STAGED, "status.stagedAt": "2026-11-22T00:00:00Z"}),
    (
        "the next phase with its time",
        STAGED,
        {**STAGED, "status.phase": "Published", "status.since": "2026-11-22T00:00:00Z"},
    ),
    ("a mark", STAGED, {**STAGED, "status.mark": "Suspended"}),
    ("a mark that is taken back", {**STAGED, "status.mark": "Suspended"}, STAGED),
    ("a worse mark", {**STAGED, "status.mark": "Suspended"}, {**STAGED, "status.mark": "Compromised"}),
    ("what was compromised goes on", MARKED, {**MARKED, "status.phase": "Compromised"}),
    (
        "its return",
        {**STAGED, "status.phase": "Retired"},
        {**STAGED, "status.phase": "Retired", "status.returned": True},
    ),
    ("nothing", {"spec.slot": "2026-11-22T00:00:00Z"}, {"spec.slot": "2026-11-22T00:00:00Z"}),
    (
        "the same slot in another zone",
        {"spec.slot": "2026-11-22T00:00:00Z"},
        {"spec.slot": "2026-11-22T08:00:00+08:00"},
    ),
    ("labels", {}, {"metadata.labels": {"a": "b"}}),
]

RINGS_THAT_NEVER_ROTATE: list[tuple[Edits, str, str]] = [
    (
        {"spec.schedule.cron": {**CRON, "timeZone": "Asia/Atlantis"}},
        "spec.schedule.cron.timeZone",
        "is Asia/Atlantis, which the IANA time zone database does not have; write a name such as Asia/Hong_Kong",
    ),
    (
        {"spec.schedule.cron": {"schedule": "0 9 30 2 *"}},
        "spec.schedule.cron.schedule",
        "is 0 9 30 2 *, which never comes true: bad day-of-month",
    ),
    ({"spec.schedule.cron": {"schedule": "0 25 * * *"}}, "spec.schedule.cron.schedule", "never comes true"),
]
"""What no API server can tell: the webhook does."""
