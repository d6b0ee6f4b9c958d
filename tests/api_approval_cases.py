"""What is right and wrong with an Approval and with edits of it: said by Python in unit tests, by an API server in
integration tests. A rule without a line here fails a test."""

from __future__ import annotations

from typing import Any

from approvals import APPROVER, OTHER, REQUESTER, UID
from specs import ABSENT

Edits = dict[str, Any]

APPROVALS_KEPT: list[tuple[str, Edits]] = [
    ("as alice asks", {}),
    ("no parameters", {"spec.parameters": ABSENT}),
    ("eight parameters", {"spec.parameters": {f"p{number}": "x" * 253 for number in range(8)}}),
    ("an empty parameter", {"spec.parameters": {"shred": ""}}),
    ("all the people there may be", {"spec.required": 8}),
    ("sixteen names", {"spec.approvals": {f"user-{number}": "r" * 256 for number in range(16)}}),
    ("names as directories have them", {"spec.requestedBy": "CN=Zoë O'Neil,OU=Keys/Ops:1"}),
    ("the longest name", {"spec.requestedBy": "x" * 256, "spec.approvals": {"y" * 256: ""}}),
    ("a moment in another zone", {"spec.expiresAt": "2030-01-01T08:00:00.5+08:00"}),
    ("a name with dots", {"metadata.name": "chat.v7", "spec.subject.name": "a.b"}),
]

APPROVALS_REFUSED: list[tuple[str, Edits, str, str]] = [
    ("no spec", {"spec": ABSENT}, "spec", "Required value"),
    ("no subject", {"spec.subject": ABSENT}, "spec.subject", "Required value"),
    ("no uid", {"spec.subject.uid": ABSENT}, "spec.subject.uid", "Required value"),
    ("a uid that is none", {"spec.subject.uid": "x" * 36}, "spec.subject.uid", "not the uid of an object; write what"),
    (
        "a kind that is none",
        {"spec.subject.kind": "keyring"},
        "spec.subject.kind",
        "is keyring, not a word in capitals",
    ),
    ("a name that is none", {"spec.subject.name": "a_b"}, "spec.subject.name", "is a_b, not a name that Kubernetes"),
    ("no operation", {"spec.operation": ABSENT}, "spec.operation", "Required value"),
    ("an operation in words", {"spec.operation": "do it"}, "spec.operation", "is do it, not a word in capitals"),
    ("no reason", {"spec.reason": ABSENT}, "spec.reason", "Required value"),
    ("an empty reason", {"spec.reason": ""}, "spec.reason", "at least 1 chars long"),
    ("a long reason", {"spec.reason": "x" * 1025}, "spec.reason", "may not be more than 1024"),
    ("nobody asks", {"spec.requestedBy": ABSENT}, "spec.requestedBy", "Required value"),
    ("somebody without a name", {"spec.requestedBy": ""}, "spec.requestedBy", "at least 1 chars long"),
    ("a long name", {"spec.requestedBy": "x" * 257}, "spec.requestedBy", "may not be more than 256"),
    ("no end", {"spec.expiresAt": ABSENT}, "spec.expiresAt", "Required value"),
    ("an end that is no moment", {"spec.expiresAt": "1h"}, "spec.expiresAt", "must be of type date-time"),
    ("nobody needed", {"spec.required": 0}, "spec.required", "greater than or equal to 1"),
    ("more than can be", {"spec.required": 9}, "spec.required", "less than or equal to 8"),
    ("nine parameters", {"spec.parameters": {f"p{n}": "" for n in range(9)}}, "spec.parameters", "at most 8"),
    ("a long parameter", {"spec.parameters": {"p": "x" * 254}}, "spec.parameters", "may not be more than 253"),
    ("a number as parameter", {"spec.parameters": {"version": 7}}, "spec.parameters.version", "must be of type string"),
    (
        "a parameter with a strange name",
        {"spec.parameters": {"up-to": "7"}},
        "spec.parameters",
        "has the key up-to, not the name of a parameter; write letters and digits, a small letter first, such as upTo",
    ),
    (
        "a parameter with a long name",
        {"spec.parameters": {"p" * 64: ""}},
        "spec.parameters",
        "longer than 63 characters",
    ),
    ("17 names", {"spec.approvals": {f"u{n}": "" for n in range(17)}}, "spec.approvals", "at most 16"),
    ("a long name that approves", {"spec.approvals": {"x" * 257: ""}}, "spec.approvals", "longer than 256 characters"),
    ("a long remark", {"spec.approvals": {APPROVER: "x" * 257}}, "spec.approvals", "may not be more than 256"),
    ("a remark that is no text", {"spec.approvals": {APPROVER: True}}, "spec.approvals", "must be of type string"),
    ("a field that there is not", {"spec.urgent": "yes"}, "spec.urgent", "unknown field"),
]
"""What the schema refuses: a word, edits, where the server sees it, its words. Python refuses them too."""

SIGNED: Edits = {"spec.approvals": {APPROVER: "ok"}}
_ASKED = "spec changes in something else than approvals; write what it was, and make another Approval"
_SAID = f"spec.approvals loses or changes what {APPROVER} has said; write it again, and add to it only"

APPROVAL_CHANGES_REFUSED: list[tuple[str, Edits, Edits, tuple[str, ...]]] = [
    ("another kind", {}, {"spec.subject.kind": "Service"}, (_ASKED,)),
    ("another name", {}, {"spec.subject.name": "claims"}, (_ASKED,)),
    ("another object", {}, {"spec.subject.uid": UID.replace("1", "2")}, (_ASKED,)),
    ("another operation", {}, {"spec.operation": "RemoveVersions"}, (_ASKED,)),
    ("another parameter", {}, {"spec.parameters.version": "8"}, (_ASKED,)),
    ("one parameter more", {}, {"spec.parameters.shred": "true"}, (_ASKED,)),
    ("no parameters any more", {}, {"spec.parameters": ABSENT}, (_ASKED,)),
    ("a parameter where there was none", {"spec.parameters": ABSENT}, {}, (_ASKED,)),
    ("another reason", {}, {"spec.reason": "because"}, (_ASKED,)),
    ("another requester", {}, {"spec.requestedBy": OTHER}, (_ASKED,)),
    ("another end", {}, {"spec.expiresAt": "2031-01-01T00:00:00Z"}, (_ASKED,)),
    ("fewer people", {"spec.required": 2}, {}, (_ASKED,)),
    ("a name that is gone", SIGNED, {}, (_SAID,)),
    ("another name for it", SIGNED, {"spec.approvals": {OTHER: "ok"}}, (_SAID,)),
    ("another remark", SIGNED, {"spec.approvals": {APPROVER: "no"}}, (_SAID,)),
    ("both", SIGNED, {"spec.reason": "because"}, (_ASKED, _SAID)),
    *(
        (
            f"a name where it is {phase}",
            {"status.phase": phase},
            SIGNED,
            (f"spec.approvals gains a name, but the Approval is {phase}; leave it as it is, and make another",),
        )
        for phase in ("Approved", "Executing", "Done", "Expired", "Refused")
    ),
    (
        "one name more where it is Done",
        {**SIGNED, "status.phase": "Done"},
        {"spec.approvals": {APPROVER: "ok", OTHER: ""}},
        ("spec.approvals gains a name, but the Approval is Done; leave it as it is, and make another",),
    ),
]
"""A word, how it is, how it would be, and what is said; the status is as it is."""

APPROVAL_EDITS: list[tuple[str, Edits, Edits]] = [
    ("nothing", {}, {}),
    ("a name", {}, SIGNED),
    ("a name where Pending is written", {"status.phase": "Pending"}, SIGNED),
    ("one name more", SIGNED, {"spec.approvals": {APPROVER: "ok", OTHER: ""}}),
    ("an empty map for none", {}, {"spec.approvals": {}}),
    ("none for an empty map", {"spec.approvals": {}}, {}),
    ("no parameters for none", {"spec.parameters": ABSENT}, {"spec.parameters": {}}),
    ("none for no parameters", {"spec.parameters": {}}, {"spec.parameters": ABSENT}),
    ("the same moment in another zone", {}, {"spec.expiresAt": "2030-01-01T08:00:00+08:00"}),
    ("a label where it is Done", {**SIGNED, "status.phase": "Done"}, {**SIGNED, "metadata.labels": {"kept": "yes"}}),
    ("the name of whoever asked: no matter of a schema", {}, {"spec.approvals": {REQUESTER: ""}}),
]
