"""Fields of a batch of events as columns; refuses records with values that windows cannot hold.

Refused are: a value of another than the declared type (a codec may let it pass), a number that is
not finite, an integer beyond 64 bits, text that is not UTF-8 or too long.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from streams.core.errors import UsageError
from streams.engine.aggregates.aggregate import FieldType, FieldValues
from streams.engine.aggregates.ends import TEXT_MAX_BYTES
from streams.engine.state.table_values import text_bytes

KEY_KINDS: Final = frozenset({str, int, bool})
"""types of window keys; no floats, as two that look alike may differ"""
_KINDS: Final[Mapping[frozenset[Any], type]] = {
    frozenset({str}): str,
    frozenset({int}): int,
    frozenset({float}): float,
    frozenset({int, float}): float,
    frozenset({bool}): bool,
}
_VALUES_OF: Final[Mapping[type, frozenset[type]]] = {
    str: frozenset({str}),
    int: frozenset({int}),
    float: frozenset({int, float}),
    bool: frozenset({bool}),
}
_EMPTY: Final[Mapping[type, Any]] = {str: "", int: 0, float: 0.0, bool: False}
_TEXT_PLAIN: Final = TEXT_MAX_BYTES // 4
"""characters that fit in any encoding"""

Refused = dict[int, str]
"""The reason of each refused record, by its index in the batch."""


class Keys(NamedTuple):
    """The key of each event, and memory of their texts at least."""

    keys: list[tuple[Any, ...]]
    text_bytes: int


def field_types(value_type: Any, names: Iterable[str]) -> dict[str, FieldType]:
    """The types of some fields of an event type. Raises `UsageError` for a missing field, and for
    one whose type is not str, int, float or bool, with or without None."""
    try:
        hints = typing.get_type_hints(value_type)
    except (TypeError, NameError) as error:
        raise UsageError(f"the fields of {value_type!r} have no readable types: {error}.") from None
    found = {}
    for name in names:
        if name not in hints:
            raise UsageError(
                f"{_called(value_type)} has no field {name!r}. Its fields are "
                f"{', '.join(hints) or 'unknown: declare it as a Record'}."
            )
        found[name] = _field_type(value_type, name, hints[name])
    return found


def _called(value_type: Any) -> str:
    return getattr(value_type, "__name__", repr(value_type))


def _field_type(value_type: Any, name: str, hint: Any) -> FieldType:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _field_type(value_type, name, typing.get_args(hint)[0])
    union = origin is typing.Union or origin is types.UnionType
    members = {*(typing.get_args(hint) if union else (hint,))}
    kind = _KINDS.get(frozenset(members - {type(None)}))
    if kind is None:
        raise UsageError(
            f"field {name!r} of {_called(value_type)} is {hint}: windows take fields of str, int, float "
            f"and bool, with or without None."
        )
    return FieldType(kind, type(None) in members)


def keys_of(
    events: Sequence[Any], by: Sequence[str], types: Mapping[str, FieldType], bad: Refused
) -> Keys:
    """Made of the fields ``by``; the key of events in ``bad`` is ()."""
    key_of = attrgetter(*by)
    found: list[tuple[Any, ...]] = [*map(key_of, events)]
    texts_bytes = 0
    if len(by) == 1:
        found = [(key,) for key in found]
    for name, column in zip(by, zip(*found, strict=True), strict=True):
        kind = types[name].kind
        fits = {*map(type, column)} <= _VALUES_OF[kind] and _fits(column, kind)
        values = column if fits else _each(column, types[name], name, bad)
        if kind is str:
            texts_bytes += text_bytes("".join(values))
    for row in bad:
        found[row] = ()
    return Keys(found, texts_bytes)


def values_of(
    events: Sequence[Any], types: Mapping[str, FieldType], bad: Refused
) -> dict[str, FieldValues]:
    """The fields ``types`` of the events. Rows in ``bad`` have some value."""
    return {
        name: _column(name, [getattr(event, name) for event in events], kind, bad)
        for name, kind in types.items()
    }


def _column(name: str, values: list[Any], kind: FieldType, bad: Refused) -> FieldValues:
    found = {*map(type, values)}
    present = None
    if kind.optional and type(None) in found:
        present = np.array([value is not None for value in values], np.bool_)
        values = [_EMPTY[kind.kind] if value is None else value for value in values]
        found.discard(type(None))
    if not found <= _VALUES_OF[kind.kind] or not _fits(values, kind.kind):
        values = _each(values, kind, name, bad)
    if kind.kind is str:
        return FieldValues(values, present, text_bytes("".join(values)))
    if kind.kind is float:
        return FieldValues(np.array(values, np.float64) + 0.0, present)  # -0.0 becomes 0.0
    return FieldValues(np.array(values, np.int64), present)


def _fits(values: Sequence[Any], kind: type) -> bool:
    try:
        if kind is str:
            "".join(values).encode()
            return max(map(len, values), default=0) <= _TEXT_PLAIN
        array = np.array(values, np.float64 if kind is float else np.int64)
    except (OverflowError, UnicodeEncodeError):
        return False
    return kind is not float or bool(np.isfinite(array).all())


def _each(values: Sequence[Any], kind: FieldType, name: str, bad: Refused) -> list[Any]:
    kept = []
    for row, value in enumerate(values):
        why = _defect(value, kind.kind)
        if why and row not in bad:
            bad[row] = f"field {name!r} {why}"
        kept.append(_EMPTY[kind.kind] if why else value)
    return kept


def _defect(value: Any, kind: type) -> str:
    if type(value) not in _VALUES_OF[kind]:
        return f"is {type(value).__name__}, its type is {kind.__name__}"
    if kind is str:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return "is text that UTF-8 cannot encode"
        return f"has {size} bytes, more than {TEXT_MAX_BYTES}" if size > TEXT_MAX_BYTES else ""
    return "" if _fits([value], kind) else "is not a finite number of 64 bits"
