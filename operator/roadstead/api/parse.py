"""From the JSON of a custom resource to its model, or to what is wrong with it."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ValidationError

from roadstead.api.approval import Approval
from roadstead.api.chatservice import ChatService
from roadstead.api.fields import Model, ObjectMeta
from roadstead.api.keyring import KeyRing
from roadstead.api.keyversion import KeyVersion
from roadstead.api.kinds import API_VERSION, BY_NAME, Kind, Resource
from roadstead.api.problems import Problem, SpecError, problems_of, shown, unknown_field
from roadstead.api.region import Region

_Status = TypeVar("_Status", bound=BaseModel)


@overload
def parse(kind: Literal["Region"], body: Mapping[str, Any], *, strict: bool = False) -> Region: ...
@overload
def parse(kind: Literal["ChatService"], body: Mapping[str, Any], *, strict: bool = False) -> ChatService: ...
@overload
def parse(kind: Literal["KeyRing"], body: Mapping[str, Any], *, strict: bool = False) -> KeyRing: ...
@overload
def parse(kind: Literal["KeyVersion"], body: Mapping[str, Any], *, strict: bool = False) -> KeyVersion: ...
@overload
def parse(kind: Literal["Approval"], body: Mapping[str, Any], *, strict: bool = False) -> Approval: ...
@overload
def parse(kind: str, body: Mapping[str, Any], *, strict: bool = False) -> Resource: ...


def parse(kind: str, body: Mapping[str, Any], *, strict: bool = False) -> Resource:
    """Read a custom resource.

    Args:
        kind: Name of a kind, such as ``Region``.
        body: The object as JSON has it.
        strict: Whether fields that do not exist are refused. The API server prunes them, so only what comes from a
            person (``roadstead lint``) needs this.

    Returns:
        The model with all defaults filled in. A status that this version cannot read counts as empty: it is derived
        anew anyway, and must never keep a spec from being carried out. Not so where the kind has no status subresource:
        there, nothing could tell what is lost.

    Raises:
        SpecError: Something in metadata or spec is wrong, or in a status that is a part of the object; all of it is
            listed.
        KeyError: There is no such kind.
    """
    entry = BY_NAME[kind]
    if strict and (problems := _identity(kind, body)):
        raise SpecError(problems)
    try:
        metadata = ObjectMeta.model_validate(body.get("metadata") or {})
    except ValidationError as error:
        raise SpecError(problems_of(error, ObjectMeta, "metadata")) from None
    spec = _read(entry, "spec", body, strict)
    if entry.status_subresource:
        status = status_of(_part(entry, "status"), body)
    else:
        status = _read(entry, "status", body, strict)
    result: Resource = entry.model(metadata=metadata, spec=spec, status=status)
    problems = [problem for rule in entry.rules for problem in rule.problems(result)]
    if problems:
        raise SpecError(problems)
    return result


@overload
def parse_change(kind: Literal["Region"], old: Mapping[str, Any], new: Mapping[str, Any]) -> Region: ...
@overload
def parse_change(kind: Literal["ChatService"], old: Mapping[str, Any], new: Mapping[str, Any]) -> ChatService: ...
@overload
def parse_change(kind: Literal["KeyRing"], old: Mapping[str, Any], new: Mapping[str, Any]) -> KeyRing: ...
@overload
def parse_change(kind: Literal["KeyVersion"], old: Mapping[str, Any], new: Mapping[str, Any]) -> KeyVersion: ...
@overload
def parse_change(kind: Literal["Approval"], old: Mapping[str, Any], new: Mapping[str, Any]) -> Approval: ...
@overload
def parse_change(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Resource: ...


def parse_change(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Resource:
    """Read a custom resource that replaces another, and check what an edit cannot do.

    Args:
        kind: Name of a kind, such as ``Region``.
        old: The object as it is. When it cannot be read, it does not restrict the new one.
        new: The object as it would be.

    Returns:
        The model of the new object.

    Raises:
        SpecError: The new object is wrong in itself, or the change is one that cannot be carried out.
        KeyError: There is no such kind.
    """
    after = parse(kind, new)
    try:
        before = parse(kind, old)
    except SpecError:
        return after
    if problems := [problem for rule in BY_NAME[kind].changes for problem in rule.problems(before, after)]:
        raise SpecError(problems)
    return after


def dump(model: Model) -> dict[str, Any]:
    """A model as JSON has it, without fields that have no value; what :func:`parse` and an API server read."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


_TOP_LEVEL = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


def _identity(kind: str, body: Mapping[str, Any]) -> list[Problem]:
    """What only a person's file can get wrong: an API server would not have taken the object for one of the kind."""
    problems = [
        Problem(field, shown(body.get(field)), f"is {shown(body.get(field))}, not {expected}", f"write {expected}")
        for field, expected in (("apiVersion", API_VERSION), ("kind", kind))
        if body.get(field) != expected
    ]
    problems += [unknown_field(shown(field), body[field]) for field in body if field not in _TOP_LEVEL]
    metadata = body.get("metadata") or {}
    if isinstance(metadata, Mapping) and not (metadata.get("name") or metadata.get("generateName")):
        problems.append(Problem("metadata.name", "", "is missing", "write it, such as hello"))
    return problems


def _part(kind: Kind, name: str) -> type[BaseModel]:
    """The model of the spec or the status."""
    model = kind.model.model_fields[name].annotation
    assert isinstance(model, type) and issubclass(model, BaseModel)  # noqa: S101 - for the type checker
    return model


def _read(kind: Kind, name: str, body: Mapping[str, Any], strict: bool) -> Any:
    """Read the spec or the status."""
    model = _part(kind, name)
    if body.get(name) is None:
        raise SpecError([Problem(name, "", "is missing", "write it")])
    extra: Literal["forbid", "ignore"] = "forbid" if strict else "ignore"
    try:
        return model.model_validate(body[name], extra=extra)
    except ValidationError as error:
        first = error
    if strict and any(detail["type"] == "extra_forbidden" for detail in first.errors(include_url=False)):
        raise SpecError(problems_of(first, model, name))  # an unknown field is one without a value, too
    # The API server prunes null where a field has a default; looked at only now, because it is rare and costs a copy.
    try:
        return model.model_validate(_without_nulls(body[name]), extra=extra)
    except ValidationError:
        raise SpecError(problems_of(first, model, name)) from None


def status_of(model: type[_Status], body: Mapping[str, Any]) -> _Status:
    """The status that a body carries; an empty one when this version cannot read it: it is derived anew anyway."""
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()


def is_status_readable(model: type[_Status], body: Mapping[str, Any]) -> bool:
    """Whether this version can read the status that a body carries; a newer one may have written it."""
    try:
        model.model_validate(body.get("status") or {})
    except ValidationError:
        return False
    return True


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
