"""Our whole error tree, split by what the queue does with an error.

    RoadsteadError
    ├── Retryable            back off and try again (honouring ``retry_after``)
    │   ├── Unreachable      no answer: refused, timed out, circuit open
    │   ├── Throttled        429, with the server's own Retry-After
    │   ├── ServerFault      5xx
    │   ├── Conflict         409: somebody else wrote, or something is there already; 422 about metadata.uid
    │   └── Gone             410: the resourceVersion is too old; list again
    └── Terminal             trying the same again should not help; looked at again after a minute
        ├── NotFound         404 that names an object: it does not exist
        ├── NotServed        404 that names none: the path is not served, which proves nothing about objects
        ├── Unauthorised     401: the credentials are not accepted
        ├── Forbidden        403: RBAC, quota or Pod Security say no
        ├── Invalid          400, 422 and the rest of 4xx: the API server or an admission webhook refuses the object
        └── UntrustedKubeconfig   a member's kubeconfig asks for something we never do

    Fatal                    the process must end (the lease is lost); stands apart, so that nobody swallows it

Messages carry the server's own words; they never carry a body that was sent.
"""

from __future__ import annotations


class RoadsteadError(Exception):
    """Base of every error that this package raises on purpose."""


class Retryable(RoadsteadError):
    """Trying again later may help.

    Attributes:
        retry_after: seconds that the other side asked us to wait, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(Retryable):
    """The cluster gave no answer; only this cluster is affected."""


class Throttled(Retryable):
    """The API server answered 429."""


class ServerFault(Retryable):
    """The API server answered 5xx."""


class Conflict(Retryable):
    """The API server answered 409."""


class Gone(Retryable):
    """The API server answered 410: the watch or list must start anew."""


class Terminal(RoadsteadError):
    """Trying the same again should not help; the queue looks again after a minute all the same."""


class NotFound(Terminal):
    """The API server answered 404 and named what does not exist: the object, or its namespace."""


class NotServed(Terminal):
    """Somebody answered 404 without naming an object: the type is not served, or a gateway does not know the path.

    Not a `NotFound`: whoever takes the absence of an object for a reason to delete what belonged to it must not take
    this for one.
    """


class Unauthorised(Terminal):
    """The API server answered 401."""


class Forbidden(Terminal):
    """The API server answered 403."""


class Invalid(Terminal):
    """The API server or an admission webhook refuses the object."""


class UntrustedKubeconfig(Terminal):
    """A kubeconfig uses a feature that would run code, read files or skip verification."""


class Fatal(Exception):
    """The process must end; Kubernetes starts it again. Not a `RoadsteadError`, so that nobody swallows it."""


_BY_STATUS: dict[int, type[Terminal]] = {401: Unauthorised, 403: Forbidden, 404: NotFound}


def from_status(status: int, message: str, *, retry_after: float | None = None) -> RoadsteadError:
    """The error for an HTTP answer of an API server.

    A 500 whose message says that the *object* cannot be merged (duplicate list keys, undeclared fields under
    server-side apply) is the caller's fault and stays so: it is terminal.

    A 422 about ``metadata.uid`` says that the object which was meant has been replaced by another of its name: what we
    know is old, and looking again helps. (When there is no object of that name at all, the server says 409.)
    """
    match status:
        case 409:
            return Conflict(message, retry_after=retry_after)
        case 410:
            return Gone(message, retry_after=retry_after)
        case 429:
            return Throttled(message, retry_after=retry_after)
        case 500 if "failed to create typed" in message or "field not declared in schema" in message:
            return Invalid(message)
        case 422 if "metadata.uid: Invalid value" in message:
            return Conflict(message, retry_after=retry_after)
        case _ if status >= 500 or status == 408:
            return ServerFault(message, retry_after=retry_after)
        case _:
            return _BY_STATUS.get(status, Invalid)(message)
