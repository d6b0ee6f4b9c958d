"""The templates of the objects that we create: plain YAML whose values are Jinja2 expressions.

A template in ``manifests/<room>/<name>.yaml.j2`` is YAML as anybody reads it::

    spec:
      replicas: "{{ replicas | optional }}"
      serviceName: "{{ name }}-peers"

It is parsed as YAML once, when it is loaded. The whole document then becomes one compiled Jinja2 expression that yields
the object itself, so a value can never become structure, whatever quotes, newlines or braces it holds: there is no text
into which it could be injected, and nothing to escape.

* A string that is exactly one ``{{ expression }}`` becomes the expression's own value: a number stays a number, a map a
  map. In a longer string each expression must give text or a whole number.
* ``| optional`` leaves the key or list element out when the value is None or empty. There is no other condition, no
  loop and no block: what needs logic is computed by the room and handed over as ready data.
* ``| text`` makes a whole number a string, as environment variables and annotations want it.
* An unknown variable, a None without ``optional`` and an empty map or list are errors that name the file and the path.
  (An empty list is never a no-op under server-side apply.)

Why one expression: ``bench/templates.py`` renders the 14 templates of ``manifests/chat`` in five ways. Milliseconds of
processor time for the set: text and PyYAML 33; text and libyaml 4.5; JSON text and orjson 0.43; one compiled expression
per leaf 1.2; one compiled expression per document, with the checks above, 0.36.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import orjson
import yaml
from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError

from roadstead.kernel.errors import Terminal

SUFFIX: Final = ".yaml.j2"
_EXPRESSION: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\s*\|\s*(optional|text))?")
"""All that an expression may be. Stored templates come from objects in the cluster: whoever can write one of those must
not be able to have the operator run anything."""


class TemplateError(Terminal):
    """A template is wrong, or the values handed to it are; rendering it again cannot help."""


class _Omit:
    """What ``optional`` answers for a value that is not there."""


_OMIT: Final = _Omit()


class _Refused(Exception):
    """A value that may not stand in an object; the path is filled in on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


def _optional(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises: a misspelt name must not look like a value that was left out
    return _OMIT if value is None or (isinstance(value, Mapping | list | tuple) and not value) else value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Undefined):
        return str(value)  # raises with the variable's name
    raise _Refused(f"{type(value).__name__} inside a text; only strings and whole numbers can be")


def _environment() -> Environment:
    # Nothing here is HTML, and no text is rendered: there is nothing to escape.
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters = {"optional": _optional, "text": _text}
    environment.globals.clear()
    return environment


_ENVIRONMENT: Final = _environment()


class Template:
    """One compiled template.

    Attributes:
        name: the file's path below ``manifests/``, for error messages.
        source: the parsed YAML as canonical JSON. Comments and layout are not part of it, so that editing them restarts
            nothing. ``Template(name, source)`` gives the same template again.
        digest: SHA-256 of ``source``, 64 hex digits.
    """

    __slots__ = ("_expression", "digest", "name", "source")

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.digest = hashlib.sha256(source.encode()).hexdigest()
        try:
            code = _expression_of(orjson.loads(source), "")
            self._expression = _ENVIRONMENT.compile_expression(code, undefined_to_none=False)
        except _Refused as error:
            raise TemplateError(f"{name}: {'.'.join(error.path)}: {error}") from None
        except TemplateSyntaxError as error:
            raise TemplateError(f"{name}: {error.message}") from None

    @classmethod
    def from_yaml(cls, name: str, text: str) -> Template:
        """The template in ``text``, one YAML document whose top is a map.

        Raises:
            TemplateError: not YAML, not one map, an empty map or list, or an expression that does not compile.
        """
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise TemplateError(f"{name}: not YAML: {error}; put expressions in double quotes") from None
        if not isinstance(tree, dict):
            raise TemplateError(f"{name}: holds {type(tree).__name__}; write one map, the object")
        try:
            source = orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode()
        except TypeError as error:
            raise TemplateError(f"{name}: {error}; keys must be strings, quote them") from None
        return cls(name, source)

    def render(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The object for these values, in containers of its own.

        Raises:
            TemplateError: a variable is missing, or a value is None, empty, or of a type that JSON does not have.
        """
        try:
            rendered: dict[str, Any] = _finished(self._expression(variables))
        except _Refused as error:
            raise TemplateError(f"{self.name}: {'.'.join(error.path) or 'a value'} is {error}") from None
        except UndefinedError as error:
            raise TemplateError(f"{self.name}: {error.message}") from None
        return rendered


class TemplateSet:
    """The templates of one room.

    Attributes:
        digest: SHA-256 over the names and sources of all of them; part of a reconcile's input hash.
    """

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = dict(sorted(templates.items()))
        self.digest = self.digest_of(*self._templates)

    def __getitem__(self, name: str) -> Template:
        try:
            return self._templates[name]
        except KeyError:
            raise TemplateError(f"there is no template {name!r}; there are: {', '.join(self._templates)}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all templates, sorted; ``pod`` for ``pod.yaml.j2``."""
        return tuple(self._templates)

    def digest_of(self, *names: str) -> str:
        """SHA-256 over the named templates, in the order given."""
        return digest_of(*(self[name] for name in names))


def digest_of(*templates: Template) -> str:
    """SHA-256 over the digests of some templates, in the order given; 64 hex digits."""
    return hashlib.sha256("".join(template.digest for template in templates).encode()).hexdigest()


@cache
def load(room: str) -> TemplateSet:
    """The templates of ``manifests/<room>``, loaded once per process.

    Raises:
        TemplateError: there are none, or one of them is wrong.
    """
    folder = manifests() / room
    files = [file for file in folder.iterdir() if file.name.endswith(SUFFIX)] if folder.is_dir() else []
    if not files:
        raise TemplateError(f"no *{SUFFIX} in {folder}")
    names = {file.name.removesuffix(SUFFIX): file for file in files}
    return TemplateSet(
        {
            name: Template.from_yaml(f"manifests/{room}/{file.name}", file.read_text(encoding="utf-8"))
            for name, file in names.items()
        }
    )


@lru_cache(maxsize=64)
def compiled(name: str, source: str) -> Template:
    """A template from its stored ``source``; the last 64 are kept compiled."""
    return Template(name, source)


def manifests() -> Traversable:
    """Where ``manifests/`` is: inside the installed package, or in the repository beside ``operator/``."""
    packaged = resources.files("roadstead") / "_data" / "manifests"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "manifests"


def _expression_of(tree: Any, key: str) -> str:
    """The Jinja2 expression that yields ``tree``."""
    try:
        match tree:
            case dict():
                _refuse_empty(tree)
                return "{" + ", ".join(f"{_literal(k)}: {_expression_of(v, k)}" for k, v in tree.items()) + "}"
            case list():
                _refuse_empty(tree)
                return "[" + ", ".join(_expression_of(v, str(i)) for i, v in enumerate(tree)) + "]"
            case str():
                return _expression_of_text(tree)
            case bool():
                return "true" if tree else "false"
            case int() | float():
                return repr(tree)
            case _:
                raise _Refused("null; leave the key out")
    except _Refused as error:
        if key:
            error.path.insert(0, key)
        raise


def _expression_of_text(text: str) -> str:
    if "{%" in text or "{#" in text:
        raise _Refused("blocks and comments are not available; compute the value in the room")
    parts = _EXPRESSION.split(text)  # text, expression, text, expression, ..., text
    if len(parts) == 1:
        if "{{" in text or "}}" in text:
            raise _Refused("unbalanced braces")
        return _literal(text)
    for expression in parts[1::2]:
        if not _NAME.fullmatch(expression.strip()):
            raise _Refused(f"{expression.strip()[:60]!r}; write a variable, with `| optional` or `| text` if need be")
    if len(parts) == 3 and not parts[0] and not parts[2]:
        return f"({parts[1].strip()})"
    return " ~ ".join(
        _literal(part) if i % 2 == 0 else f"(({part.strip()}) | text)" for i, part in enumerate(parts) if part
    )


def _literal(text: str) -> str:
    """A Jinja2 string literal; the lexer decodes it with Python's unicode-escape, hence only ASCII in it."""
    return "'" + text.encode("unicode_escape").decode().replace("'", "\\'") + "'"


def _refuse_empty(value: Mapping[str, Any] | Sequence[Any]) -> None:
    if not value:
        raise _Refused(f"an empty {'map' if isinstance(value, Mapping) else 'list'}; leave the key out")


def _finished(value: Any) -> Any:
    """A checked copy of ``value`` without what was left out."""
    kind = type(value)
    if kind is str or kind is int or kind is bool:
        return value
    if isinstance(value, Mapping):
        return _finished_map(value)
    if isinstance(value, list | tuple):
        return _finished_list(value)
    if isinstance(value, str):
        return str.__str__(value)  # an enum's value, not the enum: orjson and yaml differ on those
    if isinstance(value, int | float):
        return value
    if isinstance(value, Undefined):
        str(value)  # raises with the variable's name
    raise _Refused("null; hand over a value or write `| optional`" if value is None else f"a {kind.__name__}")


def _finished_map(value: Mapping[Any, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = {}
    for key, item in value.items():
        if item is _OMIT:
            continue
        try:
            if type(key) is not str:
                raise _Refused(f"under the key {key!r}, which is not a string")
            copy[key] = _finished(item)
        except _Refused as error:
            error.path.insert(0, str(key))
            raise
    _refuse_empty(copy)
    return copy


def _finished_list(value: Sequence[Any]) -> list[Any]:
    copy: list[Any] = []
    for index, item in enumerate(value):
        if item is _OMIT:
            continue
        try:
            copy.append(_finished(item))
        except _Refused as error:
            error.path.insert(0, str(index))
            raise
    _refuse_empty(copy)
    return copy
