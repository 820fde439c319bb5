"""Scans flat JSON objects into columns, without a Python object per record.

The *strict subset*: one object without white space, each field at most once and no unknown ones,
ASCII strings without escapes, integers of up to 18 digits, numbers as in
streams/core/kernels/decimals.py, ``null`` where allowed, values within bounds. Any other record is
*slow*: it goes to the decoder.

Law (tests/properties/test_scan_laws.py): for any bytes, a record is slow or its fields equal
msgspec's.

``names``, ``shape`` and ``bounds`` (streams/core/kernels/record_shape.py) come from
streams/core/formats/scalar_fields.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel
from streams.core.kernels.decimals import read_double
from streams.core.kernels.machine import byte_at, load64
from streams.core.kernels.record_shape import (
    COLUMN,
    HIGH,
    KIND,
    LOW,
    MAY_LACK,
    NAME_AT,
    NAME_SIZE,
    NULLABLE,
    TEXT,
    WHOLE,
)
from streams.core.kernels.texts import same, string_end

WHOLE_DIGITS_MAX: Final = 18

_U = np.uint64
_BRACE, _END, _QUOTE, _COLON, _COMMA, _MINUS, _DIGIT_0, _DIGIT_9 = (
    ord(sign) for sign in '{}":,-09'
)
_NULL = _U(int.from_bytes(b"null", "little"))
_FOUR_BYTES = _U(0xFFFFFFFF)


@inlined
def _field_at(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    names: NDArray[np.uint8],
    shape: NDArray[np.int64],
    guess: int,
) -> int:
    """The field whose name and closing quote are at ``at``; -1: none. ``guess`` and the fields
    behind it are tried first."""
    for step in range(len(shape)):
        field = guess + step
        if field >= len(shape):
            field -= len(shape)
        size = shape[field, NAME_SIZE]
        if at + size < stop and byte_at(buffer, at + size) == _QUOTE:
            if same(buffer, at, names, shape[field, NAME_AT], size):
                return field
    return -1


@inlined
def _read_whole(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """The integer at ``at``, and its end; -1 where it is not read."""
    negative = byte_at(buffer, at) == _MINUS
    if negative:
        at += 1
    first, value = at, 0
    while (
        at < stop and at - first <= WHOLE_DIGITS_MAX and _DIGIT_0 <= byte_at(buffer, at) <= _DIGIT_9
    ):
        value = value * 10 + int(byte_at(buffer, at) - _DIGIT_0)
        at += 1
    digits = at - first
    if (
        digits == 0
        or digits > WHOLE_DIGITS_MAX
        or (digits > 1 and byte_at(buffer, first) == _DIGIT_0)
    ):
        return -1, 0
    return at, -value if negative else value


@inlined
def _read_object(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    row: int,
    names: NDArray[np.uint8],
    shape: NDArray[np.int64],
    bounds: NDArray[np.float64],
    text_at: NDArray[np.int64],
    text_size: NDArray[np.int64],
    wholes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    absent: NDArray[np.bool_],
) -> bool:
    if stop - at < 2 or byte_at(buffer, at) != _BRACE:
        return False
    seen, field = 0, -1
    while True:
        at += 1
        if at >= stop or byte_at(buffer, at) != _QUOTE:
            return False
        field = _field_at(buffer, at + 1, stop, names, shape, field + 1)
        if field < 0 or seen & (1 << field):
            return False
        seen |= 1 << field
        at += shape[field, NAME_SIZE] + 2
        if at + 1 >= stop or byte_at(buffer, at) != _COLON:
            return False
        at += 1
        kind, column = shape[field, KIND], shape[field, COLUMN]
        low, high = shape[field, LOW], shape[field, HIGH]
        if shape[field, NULLABLE] and load64(buffer, at) & _FOUR_BYTES == _NULL:
            absent[field, row] = True
            at += 4
        elif kind == TEXT:
            end = string_end(buffer, at + 1, stop) if byte_at(buffer, at) == _QUOTE else -1
            size = end - at - 1
            if end < 0 or size < low or size > high:
                return False
            text_at[column, row] = at + 1
            text_size[column, row] = size
            at = end + 1
        elif kind == WHOLE:
            at, whole = _read_whole(buffer, at, stop)
            if at < 0 or whole < low or whole > high:
                return False
            wholes[column, row] = whole
        else:
            at, number = read_double(buffer, at, stop)
            if at < 0 or not bounds[field, 0] <= number <= bounds[field, 1]:
                return False
            numbers[column, row] = number
        if at >= stop:
            return False
        if byte_at(buffer, at) != _COMMA:
            break
    if byte_at(buffer, at) != _END or at + 1 != stop:
        return False
    for other in range(len(shape)):
        if not seen & (1 << other):
            if not shape[other, MAY_LACK]:
                return False
            absent[other, row] = True
    return True


@kernel(
    "int64(BYTES, int64[::1], int64[::1], BYTES, int64[:, ::1], float64[:, ::1], "
    "int64[:, ::1], int64[:, ::1], int64[:, ::1], float64[:, ::1], boolean[:, ::1], boolean[::1])"
)
def scan(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    names: NDArray[np.uint8],
    shape: NDArray[np.int64],
    bounds: NDArray[np.float64],
    text_at: NDArray[np.int64],
    text_size: NDArray[np.int64],
    wholes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    absent: NDArray[np.bool_],
    slow: NDArray[np.bool_],
) -> int:
    """Read record i, ``sizes[i]`` bytes at ``starts[i]``, into column i of the outputs, or set
    ``slow[i]``; skips records already slow. Returns the number of slow records.

    ``text_at``, ``text_size``: place of each TEXT field. ``wholes``, ``numbers``: the other values.
    ``absent``: a row per field; absent fields have no value. Outputs of slow records are undefined.
    """
    count = 0
    for row in range(len(starts)):
        at = starts[row]
        if not slow[row]:
            slow[row] = not _read_object(
                buffer, at, at + sizes[row], row, names, shape, bounds,
                text_at, text_size, wholes, numbers, absent,
            )  # fmt: skip
        if slow[row]:
            count += 1
    return count


@kernel("void(BYTES, int64[::1], int64[::1], int64[::1], int64[::1], boolean[::1])")
def mark_other_keys(
    buffer: NDArray[np.uint8],
    key_at: NDArray[np.int64],
    key_size: NDArray[np.int64],
    text_at: NDArray[np.int64],
    text_size: NDArray[np.int64],
    slow: NDArray[np.bool_],
) -> None:
    """Set ``slow`` for each record whose key differs from its text."""
    for row in range(len(slow)):
        if slow[row]:
            continue
        size = key_size[row]
        slow[row] = size != text_size[row] or not same(
            buffer, key_at[row], buffer, text_at[row], size
        )
