"""Types of declared ClickHouse columns, and the Python values that fit them.

A value that does not fit is a defect of its record, found before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from operator import index
from types import GenericAlias
from typing import Any, Final, TypeAlias

import msgspec

from streams.core.records.bad_records import RowUnfit

Fit: TypeAlias = Callable[[Any], Any]
"""A value as the outbox keeps it (numbers, text, lists and mappings); raises `ValueError`."""

TIME = "DateTime64(3, 'UTC')"
"""milliseconds since the epoch"""
PYTHON: Mapping[type, str] = {
    str: "String",
    int: "Int64",
    float: "Float64",
    bool: "Bool",
    datetime: TIME,
    date: "Date",
}

ROW_MAX_BYTES: Final = 872 << 10
"""in MessagePack: a row must fit one entry of the outbox, or no commit that owes it can be made"""
_SMALL: Final = frozenset({type(None), bool, int, float})
_encode = msgspec.msgpack.Encoder().encode

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAYS_MAX = 65_535
_INTEGERS = {
    f"{sign}Int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_WRAPPERS = {"LowCardinality": 1, "Nullable": 1, "Array": 1, "Map": 2}
_NO_MAP_KEYS = ("Bool", "Nullable", "Array", "Map")
"""A JSON object, which holds a refused row, cannot have such keys."""
_FORMS: Mapping[str, Callable[..., Any]] = {
    "LowCardinality": lambda inner: inner,
    "Nullable": lambda inner: inner | None,
    "Array": lambda inner: GenericAlias(list, (inner,)),
    "Map": lambda key, item: GenericAlias(dict, (key, item)),
}
_PLAIN_FORMS: Mapping[str, type] = {
    "String": str,
    "Bool": bool,
    "Float32": float,
    "Float64": float,
    "Date": int,
    TIME: int,
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """``name`` is String, UInt64, Map...; ``inside`` the types in its parentheses."""

    name: str
    inside: tuple[ColumnType, ...] = ()

    def __str__(self) -> str:
        """As in system.columns."""
        if not self.inside:
            return self.name
        return f"{self.name}({', '.join(map(str, self.inside))})"

    @property
    def fit(self) -> Fit:
        return _fit(self)

    @property
    def form(self) -> Any:
        """The Python type of `fit`'s result, for msgspec."""
        if self.name in _WRAPPERS:
            inside = [kind.form for kind in self.inside]
            return _FORMS[self.name](*inside)
        return int if self.name in _INTEGERS else _PLAIN_FORMS[self.name]


def column_type(declared: str | type) -> ColumnType:
    """Raises `ValueError` for an unsupported type."""
    text = declared if isinstance(declared, str) else PYTHON.get(declared, str(declared))
    found, rest = _parse(text.strip())
    if rest:
        raise ValueError(f"{text!r} does not end after {found}")
    return found


def fit_row(table: str, fits: Mapping[str, Fit], row: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `RowUnfit` for a missing or unknown column, for a value that does not fit, and for a row that no
    entry of the outbox holds."""
    fitted = {}
    for name, fit in fits.items():
        try:
            fitted[name] = fit(row[name])
        except KeyError:
            raise RowUnfit(f"a row of {table} has no {name!r}") from None
        except ValueError as error:
            raise RowUnfit(f"column {name!r} of {table}: {error}") from None
    if len(row) > len(fitted):
        more = next(name for name in row if name not in fits)
        raise RowUnfit(f"{table} has no column {more!r}")
    if _may_be_large(fitted) and (size := len(_encode(fitted))) > ROW_MAX_BYTES:
        raise RowUnfit(f"a row of {table} has {size} bytes, more than {ROW_MAX_BYTES}")
    return fitted


def _may_be_large(row: Mapping[str, Any]) -> bool:
    """Without encoding it: four bytes a character at most, and what a container holds is unknown."""
    size = 0
    for value in row.values():
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif kind not in _SMALL:
            return True
    return size > ROW_MAX_BYTES // 8


def _parse(text: str) -> tuple[ColumnType, str]:
    for plain in (TIME, *_INTEGERS, "String", "Bool", "Float32", "Float64", "Date"):
        behind = text.removeprefix(plain)
        if behind != text and not behind[:1].isalnum() and behind[:1] != "(":
            return ColumnType(plain), behind.lstrip()
    name, _, rest = text.partition("(")
    count = _WRAPPERS.get(name)
    if count is None:
        known = ", ".join([*_INTEGERS, "Float32, Float64, String, Bool, Date", TIME, *_WRAPPERS])
        raise ValueError(f"{text!r} is no column type dia writes; those are {known}")
    inside = []
    for number in range(count):
        one, rest = _parse(rest.lstrip())
        mark = ")" if number == count - 1 else ","
        if not rest.startswith(mark):
            raise ValueError(f"{text!r} has no {mark!r} after {one}")
        inside.append(one)
        rest = rest[1:]
    if name == "Map" and inside[0].name in _NO_MAP_KEYS:
        raise ValueError(f"a Map has no keys of {inside[0]}; they are text or numbers")
    return ColumnType(name, tuple(inside)), rest.lstrip()


@cache
def _fit(kind: ColumnType) -> Fit:
    if kind.name in _INTEGERS:
        return _integer(kind.name, *_INTEGERS[kind.name])
    if kind.name == "Nullable":
        inner = _fit(kind.inside[0])
        return lambda value: None if value is None else inner(value)
    if kind.name == "LowCardinality":
        return _fit(kind.inside[0])
    if kind.name == "Array":
        return _array(_fit(kind.inside[0]))
    if kind.name == "Map":
        return _map(_fit(kind.inside[0]), _fit(kind.inside[1]))
    return _SCALARS[kind.name]


def _integer(name: str, low: int, high: int) -> Callable[[Any], int]:
    def fit(value: Any) -> int:
        number = value if type(value) is int else _whole(value)
        if not low <= number <= high:
            raise ValueError(f"expected {name}, {low} to {high}, got {number}")
        return number

    return fit


def _whole(value: Any) -> int:
    try:
        return index(value)
    except TypeError:
        raise _unexpected("an integer", value) from None


def _real(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str | bytes) or value is None:
        raise _unexpected("a number", value)
    try:
        return float(value)
    except (TypeError, OverflowError):
        raise _unexpected("a number", value) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _unexpected("text", value)
    if not value.isascii():
        value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return value


def _truth(value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise _unexpected("true or false", value)


def _moment(value: Any) -> int:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _unexpected("a time with its zone, or milliseconds since the epoch", value)
        return round(value.astimezone(UTC).timestamp() * 1000)
    return _milliseconds(value)


def _day(value: Any) -> int:
    if isinstance(value, date) and not isinstance(value, datetime):
        return _days(value.toordinal() - _EPOCH_DAY)
    return _days(value)


def _array(inner: Fit) -> Fit:
    def fit(value: Any) -> list[Any]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            raise _unexpected("a list", value)
        return [inner(one) for one in value]

    return fit


def _map(key: Fit, item: Fit) -> Fit:
    def fit(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _unexpected("a mapping", value)
        return {key(name): item(one) for name, one in value.items()}

    return fit


def _unexpected(wanted: str, value: Any) -> ValueError:
    return ValueError(f"expected {wanted}, got {type(value).__name__} {str(value)[:80]!r}")


_milliseconds = _integer(TIME, -2_208_988_800_000, 10_413_791_999_999)
_days = _integer("Date", 0, _DAYS_MAX)
_SCALARS: Mapping[str, Fit] = {
    "String": _text,
    "Bool": _truth,
    "Float32": _real,
    "Float64": _real,
    "Date": _day,
    TIME: _moment,
}
