"""What was sent to an API server, read as Kubernetes reads it; and the rules that every request of ours must keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WRITES = ("POST", "PUT", "PATCH", "DELETE")
APPLY = "application/apply-patch+yaml"
OUR_GROUP = "roadstead.dev"
LEDGER = "keyversions"
STATUS_MANAGER = "roadstead-status"
MAIN_MANAGERS = frozenset({"roadstead", "roadstead-handover"})
LARGEST_PAGE = 500
REVIEWS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Groups whose POSTs ask a question and store nothing."""
CR_METADATA = frozenset({"name", "namespace", "uid", "resourceVersion", "finalizers"})
"""What may be written to the main resource of one of our kinds: the finalizer, and what makes that conditional."""


@dataclass(slots=True)
class Request:
    """One request.

    Attributes:
        number: Its place in the log, from 1.
        method: HTTP method.
        path: Path without query.
        query: Decoded query.
        headers: By lower-case name, without credentials.
        body: Decoded JSON; None without a body, or when it is not JSON.
        status: Of the answer that the client got; 0 as long as it got none.
        decided: Status that the API server answered, whether or not the client got it; 0 when it never heard of it.
    """

    number: int
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    status: int = 0
    decided: int = 0

    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __post_init__(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[0] == "api" and len(parts) > 2:
            rest = parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            self.group, rest = parts[1], parts[3:]
        else:
            return
        if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
            self.namespace, rest = rest[1], rest[2:]
        self.resource, self.name, self.subresource, *_ = (*rest, "", "", "")

    @property
    def committed(self) -> bool:
        """Whether the API server did what was asked."""
        return 0 < self.decided < 400

    @property
    def verb(self) -> str:
        """The verb as RBAC has it; ``get`` for what is no resource."""
        match self.method:
            case "GET" | "HEAD" if self.resource and self.query.get("watch") in ("true", "1"):
                return "watch"
            case "GET" | "HEAD":
                return "list" if self.resource and not self.name else "get"
            case "POST":
                return "create"
            case "PUT":
                return "update"
            case "PATCH":
                return "patch"
            case "DELETE":
                return "delete" if self.name else "deletecollection"
        return self.method.lower()

    @property
    def writes(self) -> bool:
        """Whether it changes something that is stored."""
        return self.method in WRITES and self.group not in REVIEWS and self.query.get("dryRun") != "All"

    @property
    def applies(self) -> bool:
        """Whether it is a server-side apply."""
        return self.method == "PATCH" and self.headers.get("content-type", "").split(";")[0] == APPLY

    @property
    def right(self) -> tuple[str, str, str]:
        """Group, resource (with subresource) and verb that RBAC must grant; for other paths ``("", path, "get")``."""
        if not self.resource:
            return "", self.path, "get"
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return self.group, resource, self.verb

    def __str__(self) -> str:
        return f"#{self.number} {self.verb} {self.path} by {self.query.get('fieldManager', '-')}: {self.status}"


def counted(request: Request) -> bool:
    """Writes that a run makes the same number of, however long it takes: neither leases nor events."""
    return request.writes and request.resource not in ("leases", "events")


def decoded(content: bytes) -> Any:
    """JSON, or None."""
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def rights(requests: Iterable[Request]) -> set[tuple[str, str, str]]:
    """Every right that was used; to be compared, both ways, with what RBAC grants."""
    return {request.right for request in requests}


def lint(requests: Iterable[Request]) -> list[str]:
    """Every rule of ours that a request broke, as ``<request>: <rule>``."""
    return [f"{request}: {broken}" for request in requests for broken in _broken(request)]


def _broken(request: Request) -> Iterator[str]:
    if request.verb == "list":
        limit = request.query.get("limit", "")
        if not limit.isdigit() or not 0 < int(limit) <= LARGEST_PAGE:
            yield f"a list must have a limit of at most {LARGEST_PAGE}"
    if request.verb == "watch" and request.query.get("allowWatchBookmarks") != "true":
        yield "a watch must ask for bookmarks"
    if not request.writes:
        return
    if request.verb == "deletecollection":
        yield "nothing is deleted by collection"
    elif request.verb == "delete":
        if not _uid(request.body):
            yield "a delete must carry the uid of what it means as a precondition"
    else:
        yield from _broken_manager(request)
        yield from _broken_body(request)
    if _is_ledger(request):
        if request.verb not in ("create", "update"):
            yield "the ledger is created and replaced, in one piece"
    elif request.group == OUR_GROUP and request.verb in ("create", "update", "delete"):
        yield "our own kinds belong to people: they are neither made, nor replaced, nor deleted"


def _broken_manager(request: Request) -> Iterator[str]:
    manager = request.query.get("fieldManager", "")
    if request.subresource == "status":
        if manager != STATUS_MANAGER:
            yield f"a status is written by {STATUS_MANAGER}, not by {manager or 'nobody'}"
    elif manager not in MAIN_MANAGERS:
        yield f"{manager or 'nobody'} is no declared field manager of a main resource"


def _broken_body(request: Request) -> Iterator[str]:
    body = request.body if isinstance(request.body, dict) else {}
    if request.subresource == "status":
        if "spec" in body:
            yield "a status write carries no spec"
        return
    if "status" in body and request.verb == "patch":
        yield "a status is written through /status only"
    if _is_ledger(request):
        if request.verb == "update" and not (body.get("metadata") or {}).get("resourceVersion"):
            yield "an entry of the ledger is replaced only as it was read: with its resourceVersion"
    elif request.group == OUR_GROUP:
        if "spec" in body:
            yield "the spec of our own kinds belongs to people"
        foreign = set(body.get("metadata") or {}) - CR_METADATA
        if foreign:
            yield f"of our own kinds only the finalizer is written, not {', '.join(sorted(foreign))}"
    elif request.applies and not _conditional(body):
        yield "an apply must carry resourceVersion 1 (create) or a uid (update): else it may raise what was deleted"


def _is_ledger(request: Request) -> bool:
    """Whether it is about KeyVersions, which nobody but the operator writes."""
    return request.group == OUR_GROUP and request.resource == LEDGER


def _conditional(body: Mapping[str, Any]) -> bool:
    metadata = body.get("metadata") or {}
    return metadata.get("resourceVersion") == "1" or bool(metadata.get("uid"))


def _uid(body: Any) -> Any:
    return ((body or {}).get("preconditions") or {}).get("uid") if isinstance(body, dict) else None
