"""Revisions: the part of a service that goes from region to region, as it was.

A revision is what a pod is made of: some fields of the spec, and the templates of the workload. Whatever else the spec
says (replicas, autoscaling, traffic, budgets, monitoring, topology) restarts nothing and is applied everywhere at once.

Revisions are kept as ControllerRevisions beside the ChatService in the hub, named ``<service>-<hash>``. They hold the
templates themselves, not only a digest of them: otherwise an operator with new templates would restart the pods of
every region at once, those included that are still to wait for their turn, and could not roll back to what was before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from pydantic import ValidationError

from roadstead.api.chatservice import ChatServiceSpec, Encryption, PullPolicy, Resources, Retention, Termination, Tls
from roadstead.api.fields import LocalSecret, Model
from roadstead.kernel.errors import Terminal
from roadstead.kernel.objects import CONTROLLER_REVISIONS, Child
from roadstead.kernel.templates import Template, TemplateSet, compiled, digest_of

HASH_LENGTH: Final = 10
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"


class RevisionUnreadable(Terminal):
    """A stored revision is not what we wrote; it cannot be returned to."""


class Revisioned(Model):
    """The fields of a ChatService's spec that make a revision.

    A field that is added here must be absent (None) by default: otherwise the hash of every service changes with the
    operator's version, and everything restarts.
    """

    image: str
    image_pull_policy: PullPolicy
    image_pull_secrets: tuple[LocalSecret, ...]
    resources: Resources
    config: dict[str, str]
    retention: Retention
    termination: Termination
    tls: Tls
    encryption: Encryption | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision.

    Attributes:
        number: counts up within the service; the newest spec has the highest. 0 before it is stored.
        spec: the revisioned fields.
        pod: the template of the pods.
        workload: the template of the Deployment or StatefulSet.
        hash: 10 hex digits over all of these but the number; the same spec and templates give the same hash.
    """

    number: int
    spec: Revisioned = field(hash=False)
    pod: Template = field(hash=False, compare=False)
    workload: Template = field(hash=False, compare=False)
    hash: str


def revision_of(spec: ChatServiceSpec, templates: TemplateSet) -> Revision:
    """The revision that a spec stands for, without a number."""
    part = Revisioned(**{name: getattr(spec, name) for name in Revisioned.model_fields})
    return _revision(0, part, templates["pod"], templates["deployment" if spec.storage is None else "statefulset"])


def object_name(service: str, revision: Revision) -> str:
    """The name of the ControllerRevision."""
    return f"{service}-{revision.hash}"


def to_child(service: str, namespace: str, revision: Revision) -> Child:
    """The ControllerRevision that keeps a revision, for the hub.

    Its data never changes; its number does, when an earlier spec becomes the newest again.
    """
    return Child(
        CONTROLLER_REVISIONS,
        namespace,
        object_name(service, revision),
        {
            "metadata": {"labels": {"app.kubernetes.io/name": "chat", INSTANCE_LABEL: service}},
            "revision": revision.number,
            "data": {
                "spec": _dumped(revision.spec),
                "templates": {
                    "pod": orjson.loads(revision.pod.source),
                    "workload": orjson.loads(revision.workload.source),
                },
            },
        },
    )


def from_object(body: Mapping[str, Any]) -> Revision:
    """Read a ControllerRevision back.

    Raises:
        RevisionUnreadable: it was not written by us, was changed, or is of a version that we cannot read.
    """
    name = body["metadata"]["name"]
    try:
        data = body["data"]
        revision = _revision(
            int(body["revision"]),
            Revisioned.model_validate(data["spec"]),
            _stored_template("pod", data["templates"]["pod"]),
            _stored_template("workload", data["templates"]["workload"]),
        )
    except (KeyError, TypeError, ValueError, ValidationError, Terminal) as error:
        raise RevisionUnreadable(
            f"ControllerRevision {name} cannot be read ({type(error).__name__}); delete it, it cannot be returned to"
        ) from None
    if not name.endswith(f"-{revision.hash}"):
        raise RevisionUnreadable(
            f"ControllerRevision {name} holds revision {revision.hash}: its data was changed; delete it"
        )
    return revision


def numbered(revision: Revision, history: Iterable[Revision]) -> Revision:
    """The revision with the number that it has, or gets, among those stored.

    The newest spec has the highest number; a spec that comes back gets a new one, as with StatefulSets.
    """
    known = list(history)
    newest = max(known, key=lambda entry: entry.number, default=None)
    if newest is not None and newest.hash == revision.hash:
        return replace(revision, number=newest.number)
    return replace(revision, number=1 + (newest.number if newest is not None else 0))


def to_trim(history: Sequence[Revision], in_use: Collection[str], limit: int) -> tuple[Revision, ...]:
    """The revisions to delete, oldest first.

    Args:
        history: all that are stored.
        in_use: hashes that the service or any region runs, targets or could return to; these are never deleted and do
            not count.
        limit: how many others are kept, the newest of them.
    """
    idle = sorted((entry for entry in history if entry.hash not in in_use), key=lambda entry: entry.number)
    return tuple(idle[: max(0, len(idle) - limit)])


def _revision(number: int, spec: Revisioned, pod: Template, workload: Template) -> Revision:
    content = orjson.dumps({"spec": _dumped(spec), "templates": digest_of(pod, workload)}, option=orjson.OPT_SORT_KEYS)
    return Revision(number, spec, pod, workload, hashlib.sha256(content).hexdigest()[:HASH_LENGTH])


def _dumped(spec: Revisioned) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True)


def _stored_template(name: str, tree: Any) -> Template:
    # Nearly all services have the same templates, so a stored one is nearly always compiled already.
    return compiled(f"stored revision, {name}", orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode())
