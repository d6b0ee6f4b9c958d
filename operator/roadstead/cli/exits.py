"""How the command line ends: its exit codes, and the one exception that carries one. docs/how-to/cli.md tells users."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from roadstead.kernel.errors import RoadsteadError

FIELD_MANAGER: Final = "roadstead-cli"
"""Under this name a person's writes are recorded. Never the operator's: it would take them for its own."""

ELSEWHERE: Final = "name its namespace with -n NAMESPACE (roadstead status -A lists the services of all)"
"""The cure for a service that is not found."""


class ExitCode(IntEnum):
    """What scripts may rely on."""

    OK = 0
    FAULTY = 1
    """What was looked at is wrong: errors in a manifest, a plan that would be refused, a service that is stalled."""
    USAGE = 2
    """The command line, a file or the kubeconfig cannot be understood."""
    UNREACHABLE = 3
    """A cluster gave no answer, or only an error of its own."""
    DENIED = 4
    """A cluster does not know these credentials, or does not let them do this."""
    NOT_FOUND = 5
    """There is no such object."""
    TIMED_OUT = 6
    """What was waited for did not come in time."""
    CHANGES = 7
    """``explain-plan --fail-on-changes``: something would be changed."""
    REFUSED = 8
    """A cluster refused what was to be written, or it is there already."""
    INTERRUPTED = 130
    TERMINATED = 143


class Failure(Exception):
    """The command cannot do what was asked; the message is all that the person sees.

    Attributes:
        code: with which the process ends.
    """

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def failure_of(error: RoadsteadError) -> Failure:
    """What an error of a cluster is to the person at the command line."""
    from roadstead.kernel import errors  # noqa: PLC0415 - not needed for completion

    match error:
        case errors.NotFound() | errors.NotServed():
            code = ExitCode.NOT_FOUND
        case errors.Unauthorised() | errors.Forbidden():
            code = ExitCode.DENIED
        case errors.Invalid() | errors.Conflict() | errors.UntrustedKubeconfig():
            code = ExitCode.REFUSED
        case _:
            code = ExitCode.UNREACHABLE
    return Failure(str(error), code)
