"""Record types of scalar fields, which the scanner reads (streams/core/kernels/objects.py).

A type is scanned if it is a `msgspec.Struct`, a plain JSON object, with str, int or float fields
only, optional or bounded ones included, and created by its decoder alone. A default must be of the
field's type, which msgspec does not check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from msgspec.inspect import Field, FloatType, IntType, NoneType, StrType, StructType, UnionType
from numpy.typing import NDArray

from streams.core.kernels import record_shape

_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, eq=False)
class ScalarFields:
    """``names``, ``shape`` and ``bounds`` as in streams/core/kernels/record_shape.py; ``places``
    maps an attribute to its row in ``shape``; ``passes``: records may have unknown fields."""

    names: NDArray[np.uint8]
    shape: NDArray[np.int64]
    bounds: NDArray[np.float64]
    places: Mapping[str, int]
    passes: bool

    def count(self, kind: int) -> int:
        return int((self.shape[:, record_shape.KIND] == kind).sum())

    def column(self, name: str, kind: int) -> int | None:
        """Row in the outputs of ``kind``; None for another kind."""
        place = self.places.get(name)
        if place is None or self.shape[place, record_shape.KIND] != kind:
            return None
        return int(self.shape[place, record_shape.COLUMN])

    def may_be_none(self, name: str) -> bool:
        """True for an unknown field."""
        place = self.places.get(name)
        if place is None:
            return True
        flags = self.shape[place, [record_shape.NULLABLE, record_shape.MAY_LACK]]
        return bool(flags.any())


def scalar_fields(value_type: Any) -> ScalarFields | None:
    if not (isinstance(value_type, type) and issubclass(value_type, msgspec.Struct)):
        return None
    if hasattr(value_type, "__post_init__"):
        return None
    try:
        found = msgspec.inspect.type_info(value_type)
    except (TypeError, NameError):
        return None
    if not isinstance(found, StructType) or found.array_like or found.tag is not None:
        return None
    rows = [_row(field) for field in found.fields]
    if not 0 < len(rows) <= record_shape.FIELDS_MAX or None in rows:
        return None
    return _table(found, [row for row in rows if row is not None])


@dataclass(frozen=True, slots=True)
class _Row:
    kind: int
    nullable: bool
    low: float
    high: float


def _row(field: Field) -> _Row | None:
    members = field.type.types if isinstance(field.type, UnionType) else (field.type,)
    scalars = [member for member in members if not isinstance(member, NoneType)]
    if len(scalars) != 1:
        return None
    nullable = len(members) == 2
    scalar = scalars[0]
    if not _is_of(field, scalar):
        return None
    if isinstance(scalar, StrType) and scalar.pattern is None:
        return _Row(record_shape.TEXT, nullable, scalar.min_length or 0, _least(scalar.max_length))
    if isinstance(scalar, IntType) and scalar.multiple_of is None:
        low = _greatest(scalar.ge, None if scalar.gt is None else scalar.gt + 1)
        high = _least(scalar.le, None if scalar.lt is None else scalar.lt - 1)
        return _Row(record_shape.WHOLE, nullable, low, high)
    if isinstance(scalar, FloatType) and scalar.multiple_of is None:
        above = None if scalar.gt is None else math.nextafter(scalar.gt, math.inf)
        below = None if scalar.lt is None else math.nextafter(scalar.lt, -math.inf)
        least = max((one for one in (scalar.ge, above) if one is not None), default=-math.inf)
        most = min((one for one in (scalar.le, below) if one is not None), default=math.inf)
        return _Row(record_shape.NUMBER, nullable, least, most)
    return None


def _is_of(field: Field, scalar: Any) -> bool:
    """Whether the default is None or of the field's type. False for a factory and
    `msgspec.UNSET`."""
    if field.required or field.default is None:
        return True
    allowed: Mapping[type, set[type]] = {
        StrType: {str}, IntType: {int}, FloatType: {int, float},
    }  # fmt: skip
    return type(field.default) in allowed.get(type(scalar), set())


def _greatest(*bounds: int | None) -> int:
    return max((_INT64_MIN, *(one for one in bounds if one is not None)))


def _least(*bounds: int | None) -> int:
    return min((_INT64_MAX, *(one for one in bounds if one is not None)))


def _table(found: StructType, rows: list[_Row]) -> ScalarFields | None:
    names = [field.encode_name.encode() for field in found.fields]
    shape = np.zeros((len(rows), 8), np.int64)
    bounds = np.zeros((len(rows), 2), np.float64)
    counts = [0, 0, 0]
    at = 0
    for place, (field, row, name) in enumerate(zip(found.fields, rows, names, strict=True)):
        lacks_as_none = not field.required and field.default is None
        whole = row.kind != record_shape.NUMBER
        if whole and not _INT64_MIN <= row.low <= row.high <= _INT64_MAX:
            return None
        shape[place] = (
            row.kind, at, len(name), counts[row.kind], row.nullable, lacks_as_none,
            int(row.low) if whole else 0, int(row.high) if whole else 0,
        )  # fmt: skip
        bounds[place] = row.low, row.high
        counts[row.kind] += 1
        at += len(name)
    packed = np.frombuffer(b"".join([*names, bytes(record_shape.PADDING)]), np.uint8)
    places = {field.name: place for place, field in enumerate(found.fields)}
    return ScalarFields(packed, shape, bounds, places, not found.forbid_unknown_fields)
