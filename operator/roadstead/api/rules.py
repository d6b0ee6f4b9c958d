"""What a rule is: one sentence that holds in Python and, wherever CEL can say it, in the API server.

A rule is declared once, with one wording. Python fills the wording from the offending values; the CRD gets the same
wording as a CEL ``messageExpression``. A test compares what both say about generated objects.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from roadstead.api.problems import Problem, shown

Values = Mapping[str, object]
_CHILD = re.compile(r"\w+(\.\w+)*")
_INDEX = re.compile(r"\[\{\w+\}\]")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A rule about one object.

    Attributes:
        name: The rule as a sentence.
        at: Path of the schema node that holds the CEL rule; ``[]`` steps into a list, empty is the whole object.
        field: Wording: the offending field. Words in braces are filled from the values.
        says: Wording: what is wrong with it.
        cure: Wording: what to write instead.
        found: The offences in an object (the model), as values for the wording; empty when the rule holds.
        cel: The same rule in CEL, true when it holds; None where CEL cannot say it.
        values: CEL expressions of type string for the words in braces.
    """

    name: str
    at: str
    field: str
    says: str
    cure: str
    found: Callable[[Any], Iterable[Values]]
    cel: str | None = None
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def problems(self, obj: Any) -> list[Problem]:
        """What the rule finds in an object (its model)."""
        return [_problem(self, values) for values in self.found(obj)]

    def validation(self) -> dict[str, str]:
        """The entry of ``x-kubernetes-validations``."""
        return _validation(self)


@dataclasses.dataclass(frozen=True, slots=True)
class ChangeRule:
    """A rule about an edit: the same attributes as :class:`Rule`; ``found`` takes the old object and the new one."""

    name: str
    at: str
    field: str
    says: str
    cure: str
    found: Callable[[Any, Any], Iterable[Values]]
    cel: str | None = None
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def problems(self, old: Any, new: Any) -> list[Problem]:
        """What the rule finds in an edit (two models)."""
        return [_problem(self, values) for values in self.found(old, new)]

    def validation(self) -> dict[str, str]:
        """The entry of ``x-kubernetes-validations``."""
        return _validation(self)


def once(broken: bool, **values: object) -> tuple[Values, ...]:
    """One offence with these values, or none."""
    return (values,) if broken else ()


def cel_text(text: str) -> str:
    """A CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def cel_digits(number: str, digits: int = 4) -> str:
    """CEL that writes an integer of 0 or more.

    The cost estimate of ``string(int)`` has no bound, so that an API server refuses every message that contains one; a
    substring is as long as its source at most.

    Args:
        number: A CEL expression of type int.
        digits: How many it has at most; of a larger one, the last ones are written.
    """

    def digit(of: str) -> str:
        return f"'0123456789'.substring({of} % 10, {of} % 10 + 1)"

    powers = (10**power for power in range(digits - 1, 0, -1))
    higher = "".join(f"({number} >= {power} ? {digit(f'({number} / {power})')} : '') + " for power in powers)
    return f"({higher}{digit(number)})"


def _problem(rule: Rule | ChangeRule, values: Values) -> Problem:
    texts = {name: shown(value) for name, value in values.items()}
    return Problem(
        rule.field.format(**texts), texts.get("value", ""), rule.says.format(**texts), rule.cure.format(**texts)
    )


def wording(rule: Rule | ChangeRule) -> str:
    """The whole sentence of a rule, with ``<name>`` where a value will stand."""
    return _PLACEHOLDER.sub(r"<\1>", f"{rule.field} {rule.says}; {rule.cure}")


def _validation(rule: Rule | ChangeRule) -> dict[str, str]:
    if rule.cel is None:
        raise ValueError(f"the rule {rule.name!r} has no CEL; it is checked in Python alone")
    sentence = f"{rule.field} {rule.says}; {rule.cure}"
    entry = {"rule": rule.cel, "message": wording(rule)}
    if _PLACEHOLDER.search(sentence):
        # Text and placeholders alternate in what split() returns.
        parts = [
            rule.values[part] if place % 2 else cel_text(part)
            for place, part in enumerate(_PLACEHOLDER.split(sentence))
            if part
        ]
        entry["messageExpression"] = " + ".join(parts)
    # Where the server says "Invalid value": the field itself, not the object that holds the rule.
    below = _INDEX.sub("[]", rule.field).removeprefix(f"{rule.at}.")
    if rule.at and _CHILD.fullmatch(below) and not below.startswith("spec."):
        entry["fieldPath"] = f".{below}"
    return entry
