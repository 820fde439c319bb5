"""A condition on fields of an event: ``amount > 10 and $.items[0].name ~ pen``.

    condition  = comparison (" and " comparison)*
    comparison = path operator literal
    path       = ["$."] name ("." name | "[" number "]")*
    operator   = == != <= >= < > ~       ~: the text contains the literal
    literal    = a JSON value, or a word without blanks, which is a text

A field that is absent meets no comparison. Numbers and texts are compared among themselves only.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.core.errors import UsageError

TEXT_MAX: Final = 1000
_COMPARISON = re.compile(
    r"\s*(?P<path>(?:\$\.)?[^\s=!<>~]+)\s*(?P<operator>==|!=|<=|>=|<|>|~)\s*"
    r'(?P<literal>"(?:[^"\\]|\\.)*"|\S+)\s*'
)
_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[\d{1,6}\])*")
_STEP = re.compile(r"(?:^|\.)(?P<name>[^.\[\]]+)|\[(?P<number>\d{1,6})\]")
_AND = re.compile(r"and\s")
_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class FieldComparison:
    path: tuple[str | int, ...]
    operator: str
    literal: Any

    def holds(self, event: Any) -> bool:
        found = event
        for step in self.path:
            if isinstance(step, int) and isinstance(found, Sequence) and not isinstance(found, str):
                if step >= len(found):
                    return False
                found = found[step]
            elif isinstance(found, Mapping) and step in found:
                found = found[step]
            else:
                return False
        return self._compares(found)

    def _compares(self, found: Any) -> bool:
        if self.operator == "~":
            return isinstance(found, str) and str(self.literal) in found
        if self.operator in ("==", "!="):
            same = _kind(found) == _kind(self.literal) and found == self.literal
            return same == (self.operator == "==")
        if _kind(found) != _kind(self.literal) or _kind(found) not in ("number", "text"):
            return False
        return _ORDERED[self.operator](found, self.literal)


@dataclass(frozen=True, slots=True)
class Condition:
    comparisons: tuple[FieldComparison, ...]

    @classmethod
    def parse(cls, text: str, option: str = "--where") -> Condition:
        """Raises `UsageError` that names ``option`` and the place."""
        if len(text) > TEXT_MAX:
            raise UsageError(f"{option} has more than {TEXT_MAX} characters.")
        at, found = 0, []
        while True:
            match = _COMPARISON.match(text, at)
            if match is None:
                raise UsageError(
                    f"{option} {text!r}: expected FIELD OPERATOR VALUE at {text[at:] or 'its end'!r}. "
                    'For example: amount > 10 and account == "ada". Operators are == != < <= > >= '
                    "and ~ (contains)."
                )
            path = _path(match["path"])
            if not path:
                raise UsageError(
                    f"{option} {text!r}: {match['path']!r} is not the name of a field. Write name, name.inner, or "
                    "name[0] for an item of a list."
                )
            found.append(FieldComparison(path, match["operator"], _value(match["literal"])))
            at = match.end()
            if at == len(text):
                return cls(tuple(found))
            joint = _AND.match(text, at)
            if joint is None:
                raise UsageError(f"{option} {text!r}: expected 'and' at {text[at:]!r}.")
            at = joint.end()

    def holds(self, event: Any) -> bool:
        return all(one.holds(event) for one in self.comparisons)


def _path(text: str) -> tuple[str | int, ...]:
    """() for other text."""
    text = text.removeprefix("$.")
    steps = _STEP.finditer(text) if _PATH.fullmatch(text) else ()
    return tuple(step["name"] or int(step["number"]) for step in steps)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__
