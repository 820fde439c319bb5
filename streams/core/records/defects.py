"""Defects of records: code, sentence, path. Codes for type and range errors are derived from
msgspec's messages; a contract test pins their form."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, TypeAlias

import msgspec

from streams.core.records.bad_records import (
    EmptyValue,
    InvalidJson,
    InvalidUtf8,
    MissingField,
    NonFinite,
    OutOfRange,
    WrongType,
)
from streams.core.records.text_encoding import foreign_encoding, without_mark

_MESSAGE_MAX = 400
_PATH_MAX = 200
"""of sentences and paths, which may quote the payload"""

_Link: TypeAlias = "tuple[_Link | None, str]"

_AT_PATH = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `[^`]*`(?: \| `[^`]*`)*, got `")


class Defect(NamedTuple):
    """``path`` is a JSON path (``$.ts``), ``key`` or a header name."""

    code: str
    message: str
    path: str


def defect(code: str, path: str, what: str) -> Defect:
    """The message names the path, then ``what`` was expected."""
    path = path[:_PATH_MAX]
    return Defect(code, f"{path}: {what}"[:_MESSAGE_MAX], path)


def undecodable(value: bytes | None, error: Exception) -> Defect:
    """``error`` is the decoder's exception."""
    if not value:
        return defect(EmptyValue.code, "$", "expected a JSON object, got no value")
    if (found := bad_utf8(value)) is not None:
        return found
    if isinstance(error, msgspec.ValidationError):
        return mistyped(error)
    if isinstance(error, RecursionError):
        return defect(InvalidJson.code, "$", "expected JSON, got objects nested too deeply")
    path = _non_finite_path(value)
    if path is not None:
        return defect(
            NonFinite.code, path, "expected a finite number; NaN and Infinity are no JSON"
        )
    return defect(InvalidJson.code, "$", f"expected one JSON object: {_oddity(value) or error}")


def _oddity(value: bytes) -> str | None:
    """Why the text is not JSON, where the decoder's own words would not say it."""
    if (encoding := foreign_encoding(value)) is not None:
        return f"the text is {encoding}, not UTF-8"
    if without_mark(value) != value:
        return "a byte-order mark stands before it"
    if b"\\u" in value and _has_half_a_pair(value):
        return "a string escapes one half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    return None


def _has_half_a_pair(value: bytes) -> bool:
    """Of a text that the standard library accepts, which reads each half by itself."""
    try:
        json.dumps(json.loads(value), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def bad_utf8(value: bytes) -> Defect | None:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        encoding = foreign_encoding(value)
        got = encoding or f"an {error.reason} at byte {error.start}"
        what = f"expected UTF-8, got {got}"
        return defect(InvalidUtf8.code, "$", what)
    return None


def mistyped(error: msgspec.ValidationError) -> Defect:
    """A well-formed value of the wrong type, from msgspec's message."""
    match = _AT_PATH.fullmatch(str(error))
    assert match is not None
    what, path = match["what"], match["path"] or "$"
    if (missing := _MISSING.fullmatch(what)) is not None:
        return defect(MissingField.code, f"{path}.{missing['name']}", "this field is required")
    if _WRONG_TYPE.match(what):
        return defect(WrongType.code, path, what)
    if what == "Number out of range":
        return defect(NonFinite.code, path, "expected a finite number, got one beyond a double")
    return defect(OutOfRange.code, path, what)


def _non_finite_path(value: bytes) -> str | None:
    """The first non-finite number of a text that is JSON but for NaN and Infinity; None when the
    standard library, which accepts those, refuses it too."""
    try:
        root = json.loads(value)
    except (ValueError, RecursionError):
        return None
    # Paths are linked lists, rendered only for the defect: a string per node would need too much
    # memory.
    pending: list[tuple[_Link, Any]] = [((None, "$"), root)]
    while pending:
        link, node = pending.pop()
        if isinstance(node, float) and node - node != 0:
            return _spell(link)
        if isinstance(node, dict):
            pending.extend(((link, f".{name}"), node[name]) for name in reversed(node))
        elif isinstance(node, list):
            pending.extend(((link, f"[{i}]"), node[i]) for i in range(len(node) - 1, -1, -1))
    return None


def _spell(link: _Link) -> str:
    steps = []
    rest: _Link | None = link
    while rest is not None:
        rest, step = rest
        steps.append(step)
    return "".join(reversed(steps))
