"""Reading manifests: YAML or JSON, several documents in a file, with the line of every field.

What is read is what kubectl would read (YAML 1.1, merge keys, no timestamps), and everything else is an error with a
line: duplicate keys, tags, keys or values that JSON does not have, anchors that unfold into more than a manifest can
hold. Built from libyaml's events with a stack of our own, so that no nesting can exhaust Python's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from roadstead.api.problems import shown

MAX_BYTES: Final = 4 * 1024 * 1024
"""A file above this is refused unread; an API server takes 3 MiB in one request."""
MAX_VALUES: Final = 200_000
"""Values in a file, aliases counted with all that they stand for."""
MAX_DEPTH: Final = 100

_MOST_DIGITS: Final = 40
_EXACT: Final = 2**53
_READ_AS_WRITTEN: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "merge"))
_TEXTUAL: Final = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset("y Y yes Yes YES true True TRUE on On ON".split())  # noqa: SIM905
_FALSE: Final = frozenset("n N no No NO false False FALSE off Off OFF".split())  # noqa: SIM905
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*|0[0-7]+|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)")
_PAIR: Final = re.compile(r"(\\+)u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableManifest(ValueError):
    """A file that is no manifest.

    Attributes:
        line: where, counted from 1; 0 when it is about the whole file.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        source: name of the file, ``-`` for standard input.
        data: as JSON has it.
        line: where it begins, counted from 1.
        lines: line of each field by its path, such as ``spec.topology.regions[0].name``.
    """

    source: str
    data: Any
    line: int
    lines: Mapping[str, int] = field(repr=False, default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of a field, or of the nearest one around it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.line


def read(source: str, content: bytes) -> list[Document]:
    """The documents in a file; empty ones are left out, and a ``List`` becomes its items.

    Raises:
        UnreadableManifest: it is none, with the line and the cure.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableManifest(f"the file has {len(content)} bytes, above {MAX_BYTES}; split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableManifest("the file is not UTF-8 text", content[: error.start].count(b"\n") + 1) from None
    if text.lstrip()[:1] == "{":
        text = _PAIR.sub(_joined, text)
    try:
        documents = list(_Builder(source).documents(yaml.parse(text, Loader=_LOADER)))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise UnreadableManifest(f"not YAML: {error.problem or error.context}", line) from None
    except yaml.YAMLError as error:
        raise UnreadableManifest(f"not YAML: {str(error).splitlines()[0]}") from None
    return [item for document in documents for item in _items(document)]


def _joined(pair: re.Match[str]) -> str:
    """JSON writes what lies beyond 16 bits as two escapes, YAML as one."""
    if len(pair[1]) % 2 == 0:
        return pair[0]  # the backslash before u is itself escaped
    high, low = int(pair[2], 16), int(pair[3], 16)
    return f"{pair[1]}U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _items(document: Document) -> Iterator[Document]:
    data = document.data
    if data is None:
        return
    if not (isinstance(data, dict) and data.get("kind") == "List" and isinstance(data.get("items"), list)):
        yield document
        return
    for index, item in enumerate(data["items"]):
        prefix = f"items[{index}]"
        lines = {
            path.removeprefix(prefix).lstrip("."): line
            for path, line in document.lines.items()
            if path.startswith((f"{prefix}.", f"{prefix}["))
        }
        yield Document(document.source, item, document.line_of(prefix), lines)


@dataclass(slots=True)
class _Open:
    """A map or list that is being read."""

    value: dict[str, Any] | list[Any]
    path: str
    anchor: str | None
    before: int
    key: str | None = None
    merges: list[Any] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


class _Builder:
    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0

    def documents(self, events: Any) -> Iterator[Document]:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                yield self._document(events, _line(event))

    def _document(self, events: Any, line: int) -> Document:
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[str, int] = {}
        self._root: Any = None
        for event in events:
            if isinstance(event, yaml.DocumentEndEvent):
                break
            self._take(event)
        return Document(self._source, self._root, self._lines.pop("", line), self._lines)

    def _take(self, event: Any) -> None:
        line = _line(event)
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(line)
            case yaml.AliasEvent():
                name = str(event.anchor)
                if name not in self._anchors:
                    raise UnreadableManifest(f"the alias *{name[:60]} has no anchor before it, or is inside it", line)
                value, size = self._anchors[name]
                self._counted(size, line)
                self._place(value, line)
            case yaml.ScalarEvent():
                self._scalar(event, line)

    def _open(self, event: Any, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise UnreadableManifest(f"nested more than {MAX_DEPTH} levels deep; no manifest is", line)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise UnreadableManifest(f"the tag {event.tag[:60]} is not accepted; remove it", line)
        self._counted(1, line)
        path = self._path(line)
        if path not in self._lines:
            self._lines[path] = line
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Open(value, path, event.anchor, self._count))

    def _close(self, line: int) -> None:
        done = self._stack.pop()
        if isinstance(done.value, dict):
            for merged in done.merges:
                for key, value in merged.items():
                    done.value.setdefault(key, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._count - done.before + 1)
        self._place(done.value, line)

    def _scalar(self, event: Any, line: int) -> None:
        self._counted(1, line)
        kind = _kind(event, line)
        holder = self._stack[-1] if self._stack else None
        if holder is not None and isinstance(holder.value, dict) and holder.key is None:
            if event.anchor:
                self._anchors[event.anchor] = (event.value, 1)
            self._key(holder, "<<" if kind == "merge" else _key_text(event.value, kind, line), kind, line)
            return
        value = event.value if kind in ("str", "merge") else _plain(event.value, kind, line)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._place(value, line)

    def _key(self, holder: _Open, key: str, kind: str, line: int) -> None:
        if key in holder.seen and kind != "merge":
            raise UnreadableManifest(f"the key {shown(key)} is there twice; leave one of them out", line)
        holder.seen.add(key)
        holder.key = "\0merge" if kind == "merge" else key
        self._lines[_below(holder.path, key)] = line

    def _place(self, value: Any, line: int) -> None:
        if not self._stack:
            self._root = value
            return
        holder = self._stack[-1]
        if isinstance(holder.value, list):
            self._lines.setdefault(f"{holder.path}[{len(holder.value)}]", line)
            holder.value.append(value)
        elif holder.key is None:
            raise UnreadableManifest("a key is a map, a list or an alias; write plain text", line)
        else:
            self._merge(holder, value, line) if holder.key == "\0merge" else holder.value.update({holder.key: value})
            holder.key = None

    def _merge(self, holder: _Open, value: Any, line: int) -> None:
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise UnreadableManifest("<< merges something that is not a map", line)
        self._counted(sum(map(len, parts)), line)
        holder.merges += parts

    def _path(self, line: int) -> str:
        if not self._stack:
            return ""
        holder = self._stack[-1]
        if isinstance(holder.value, list):
            path = f"{holder.path}[{len(holder.value)}]"
            self._lines[path] = line
            return path
        if holder.key is None:
            raise UnreadableManifest("a key is a map or a list; write plain text", line)
        return _below(holder.path, holder.key)

    def _counted(self, number: int, line: int) -> None:
        self._count += number
        if self._count > MAX_VALUES:
            raise UnreadableManifest(f"more than {MAX_VALUES} values, aliases unfolded; no manifest has as many", line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _below(path: str, key: str) -> str:
    return f"{path}.{shown(key)}" if path else shown(key)


def _kind(event: Any, line: int) -> str:
    """``str``, ``null``, ``bool``, ``int``, ``float`` or ``merge``."""
    tag, text = event.tag, event.value
    if tag == "!" or tag in _TEXTUAL or (tag is None and not event.implicit[0]):
        return "str"
    if tag is not None and tag not in _READ_AS_WRITTEN:
        raise UnreadableManifest(f"the tag {tag[:60]} is not accepted; remove it", line)
    return _resolved(text)


def _resolved(text: str) -> str:
    """What kubectl (go-yaml) takes an unquoted text for; PyYAML differs on ``y``, ``1e3``, ``0o17`` and ``12:30``."""
    if text in _NULLS:
        return "null"
    if text == "<<":
        return "merge"
    if text in _TRUE or text in _FALSE:
        return "bool"
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return "int"
    return "float" if _FLOAT.fullmatch(digits) else "str"


def _key_text(text: str, kind: str, line: int) -> str:
    if kind in ("str", "int"):
        return text
    if kind == "bool":
        return "true" if text in _TRUE else "false"
    raise UnreadableManifest(f"the key {shown(text)} is not text; put it in quotes", line)


def _plain(text: str, kind: str, line: int) -> Any:
    match kind:
        case "null":
            return None
        case "bool":
            return text in _TRUE
        case "int":
            return _integer(text, line)
        case _:
            value = _float(text)
            if not math.isfinite(value):
                raise UnreadableManifest(f"{shown(text)} is no number that JSON has; write a finite one", line)
            # JSON has one kind of number: 1e3 and 2.0 are whole ones.
            return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _integer(text: str, line: int) -> int:
    digits = text.replace("_", "").lower()
    if len(digits) > _MOST_DIGITS:
        raise UnreadableManifest(f"a number with {len(digits)} digits; put it in quotes if it is text", line)
    octal = re.fullmatch(r"[-+]?0[0-7]+", digits)
    return int(digits, 8) if octal else int(digits, 0)


def _float(text: str) -> float:
    lowered = text.replace("_", "").lower()
    return math.nan if lowered.endswith((".inf", ".nan")) else float(lowered)
