"""Event times: a field of the event, in milliseconds since the Unix epoch.

A codec may let other values pass; each affects its own record only:

    null, unset, absent       missing_field
    NaN, infinity             non_finite
    a number beyond 64 bits   the nearest of 64 bits, which no limit admits
    anything else             wrong_type

Fractions of a millisecond are cut off.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.records.bad_records import MissingField, NonFinite, WrongType
from streams.core.records.defects import Defect, defect

FIRST_MS: Final = -(1 << 63)
LAST_MS: Final = (1 << 63) - 1
_UNREAD: Final = (ArithmeticError, AttributeError, TypeError, ValueError)
_PROTOBUF_NUMBERS: Final = frozenset({1, 2, 3, 4, 5, 6})
"""``FieldDescriptor.cpp_type`` of integers and floats"""


def can_be_time(value_type: Any, field: str) -> bool:
    """Whether the declared type of ``field`` allows a number; True if the type is unknown."""
    if (message := getattr(value_type, "DESCRIPTOR", None)) is not None:
        return message.fields_by_name[field].cpp_type in _PROTOBUF_NUMBERS
    try:
        hint = typing.get_type_hints(value_type).get(field, Any)
    except (NameError, TypeError):
        return True
    return _can_be_number(hint)


def _can_be_number(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _can_be_number(typing.get_args(hint)[0])
    if origin is typing.Union or origin is types.UnionType:
        return any(map(_can_be_number, typing.get_args(hint)))
    kind = origin or hint
    if isinstance(kind, type) and kind not in (Any, object):
        return issubclass(kind, int | float) and kind is not bool
    return True


def event_times(
    time_of: Callable[[Any], Any], field: str, events: Sequence[Any], append_ms: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[int, Defect]]:
    """The event times in milliseconds, and the defects by index. Events with a defect get their
    append time."""
    try:
        return np.fromiter(map(time_of, events), np.int64, len(events)), {}
    except _UNREAD:
        pass
    found, wrong = append_ms.copy(), {}
    for row, event in enumerate(events):
        value = None
        try:
            value = time_of(event)
            # As for the whole batch, so that no record depends on the others.
            found[row : row + 1] = np.fromiter((value,), np.int64, 1)
        except _UNREAD:
            if isinstance(value, int | float) and _is_finite(value):
                found[row] = LAST_MS if value > 0 else FIRST_MS
            else:
                wrong[row] = _defect(value, f"$.{field}")
    return found, wrong


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _defect(value: Any, path: str) -> Defect:
    expected = "expected a time in milliseconds"
    if value is None or value is msgspec.UNSET:
        return defect(MissingField.code, path, f"{expected}, got null")
    if isinstance(value, float):
        return defect(NonFinite.code, path, f"{expected}, got {value}")
    return defect(WrongType.code, path, f"{expected}, got {type(value).__name__}")
