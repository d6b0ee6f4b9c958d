"""From the JSON of a custom resource to its model, or to what is wrong with it."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ValidationError

from roadstead.api.chatservice import ChatService, ChatServiceStatus
from roadstead.api.fields import Model, ObjectMeta
from roadstead.api.kinds import API_VERSION, BY_NAME
from roadstead.api.problems import Problem, SpecError, problems_of, shown, unknown_field
from roadstead.api.region import Region, RegionStatus

_Status = TypeVar("_Status", bound=BaseModel)


@overload
def parse(kind: Literal["Region"], body: Mapping[str, Any], *, strict: bool = False) -> Region: ...
@overload
def parse(kind: Literal["ChatService"], body: Mapping[str, Any], *, strict: bool = False) -> ChatService: ...
@overload
def parse(kind: str, body: Mapping[str, Any], *, strict: bool = False) -> Region | ChatService: ...


def parse(kind: str, body: Mapping[str, Any], *, strict: bool = False) -> Region | ChatService:
    """Read a custom resource.

    Args:
        kind: ``Region`` or ``ChatService``.
        body: The object as JSON has it.
        strict: Whether fields that do not exist are refused. The API server prunes them, so only what comes from a
            person (``roadstead lint``) needs this.

    Returns:
        The model with all defaults filled in. A status that this version cannot read counts as empty: it is derived
        anew anyway, and must never keep a spec from being carried out.

    Raises:
        SpecError: Something in metadata or spec is wrong; all of it is listed.
        KeyError: There is no such kind.
    """
    entry = BY_NAME[kind]
    if strict and (problems := _identity(kind, body)):
        raise SpecError(problems)
    try:
        metadata = ObjectMeta.model_validate(body.get("metadata") or {})
    except ValidationError as error:
        raise SpecError(problems_of(error, ObjectMeta, "metadata")) from None
    result: Region | ChatService
    if entry.model is Region:
        region_spec = _spec(Region, body, strict)
        result = Region(metadata=metadata, spec=region_spec, status=status_of(RegionStatus, body))
    else:
        chat_spec = _spec(ChatService, body, strict)
        result = ChatService(metadata=metadata, spec=chat_spec, status=status_of(ChatServiceStatus, body))
    problems = [problem for rule in entry.rules for problem in rule.problems(result)]
    if problems:
        raise SpecError(problems)
    return result


@overload
def parse_change(kind: Literal["Region"], old: Mapping[str, Any], new: Mapping[str, Any]) -> Region: ...
@overload
def parse_change(kind: Literal["ChatService"], old: Mapping[str, Any], new: Mapping[str, Any]) -> ChatService: ...
@overload
def parse_change(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Region | ChatService: ...


def parse_change(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Region | ChatService:
    """Read a custom resource that replaces another, and check what an edit cannot do.

    Args:
        kind: ``Region`` or ``ChatService``.
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


def _spec(model: type[Region] | type[ChatService], body: Mapping[str, Any], strict: bool) -> Any:
    spec_model = model.model_fields["spec"].annotation
    assert isinstance(spec_model, type) and issubclass(spec_model, BaseModel)  # noqa: S101 - for the type checker
    if body.get("spec") is None:
        raise SpecError([Problem("spec", "", "is missing", "write it")])
    extra: Literal["forbid", "ignore"] = "forbid" if strict else "ignore"
    try:
        return spec_model.model_validate(body["spec"], extra=extra)
    except ValidationError as error:
        first = error
    if strict and any(detail["type"] == "extra_forbidden" for detail in first.errors(include_url=False)):
        raise SpecError(problems_of(first, spec_model, "spec"))  # an unknown field is one without a value, too
    # The API server prunes null where a field has a default; looked at only now, because it is rare and costs a copy.
    try:
        return spec_model.model_validate(_without_nulls(body["spec"]), extra=extra)
    except ValidationError:
        raise SpecError(problems_of(first, spec_model, "spec")) from None


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
