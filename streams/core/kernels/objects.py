"""Scans flat JSON objects into columns, without a Python object per record.

The *strict subset*: one object in valid UTF-8, each field at most once, integers of up to 18
digits, numbers as in streams/core/kernels/decimals.py, ``null`` where allowed, values within
bounds. White space and escapes are read; unknown fields are passed over
(streams/core/kernels/unknown_fields.py). Any other record is *slow*: it goes to the decoder.

Compact ASCII is the fast case: each test for white space, escapes and other names is made only
where the expected byte is absent.

Law (tests/properties/test_scan_laws.py): for any bytes, a record is slow or its fields equal
msgspec's.

``names``, ``shape`` and ``bounds`` (streams/core/kernels/record_shape.py) come from
streams/core/formats/scalar_fields.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import called, inlined, kernel
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
from streams.core.kernels.texts import past_space, plain_end, read_text, same
from streams.core.kernels.unknown_fields import past_value

WHOLE_DIGITS_MAX: Final = 18

_U = np.uint64
_BRACE, _END, _QUOTE, _COLON, _COMMA, _MINUS, _DIGIT_0, _DIGIT_9, _SPACE = (
    ord(sign) for sign in '{}":,-09 '
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
def _sign_at(buffer: NDArray[np.uint8], at: int, stop: int, sign: int) -> int:
    """The place of ``sign``, at ``at`` or behind white space; -1: another byte is there."""
    if byte_at(buffer, at) != sign:
        at = past_space(buffer, at, stop)
        if byte_at(buffer, at) != sign:
            return -1
    return at if at < stop else -1


@called
def _other_field(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    names: NDArray[np.uint8],
    shape: NDArray[np.int64],
    arena: NDArray[np.uint8],
    used: int,
) -> tuple[int, int]:
    """The place behind the quote that ends the name at ``at``, and its field; -1: none. The place
    is -1 for an invalid name."""
    end, last, _ = read_text(buffer, at, stop, arena, used)
    if end < 0:
        return -1, -1
    size = last - used
    for field in range(len(shape)):
        if shape[field, NAME_SIZE] == size:
            if same(arena, used, names, shape[field, NAME_AT], size):
                return end + 1, field
    return end + 1, -1


@inlined
def _read_value(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    row: int,
    field: int,
    shape: NDArray[np.int64],
    bounds: NDArray[np.float64],
    arena: NDArray[np.uint8],
    used: int,
    text_at: NDArray[np.int64],
    text_size: NDArray[np.int64],
    wholes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    absent: NDArray[np.bool_],
) -> tuple[int, int]:
    """The end of the value at ``at``, and of what is used in ``arena``; end -1 where it is not
    read."""
    kind, column = shape[field, KIND], shape[field, COLUMN]
    low, high = shape[field, LOW], shape[field, HIGH]
    if shape[field, NULLABLE] and load64(buffer, at) & _FOUR_BYTES == _NULL:
        absent[field, row] = True
        return at + 4, used
    if kind == TEXT:
        if byte_at(buffer, at) != _QUOTE:
            return -1, used
        first = at + 1
        at = plain_end(buffer, first, stop)
        size = characters = at - first
        if byte_at(buffer, at) != _QUOTE or at >= stop:
            at, end, characters = read_text(buffer, first, stop, arena, used)
            if at < 0:
                return -1, used
            size = end - used
            if size < at - first:  # without escapes it stays where it is
                first, used = len(buffer) + used, end
        if characters < low or characters > high:
            return -1, used
        text_at[column, row] = first
        text_size[column, row] = size
        return at + 1, used
    if kind == WHOLE:
        at, whole = _read_whole(buffer, at, stop)
        wholes[column, row] = whole
        return (at if low <= whole <= high else -1), used
    at, number = read_double(buffer, at, stop)
    numbers[column, row] = number
    return (at if bounds[field, 0] <= number <= bounds[field, 1] else -1), used


@inlined
def _read_object(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    row: int,
    names: NDArray[np.uint8],
    shape: NDArray[np.int64],
    bounds: NDArray[np.float64],
    passes: bool,
    arena: NDArray[np.uint8],
    used: int,
    text_at: NDArray[np.int64],
    text_size: NDArray[np.int64],
    wholes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    absent: NDArray[np.bool_],
) -> int:
    """The end of what is used in ``arena``; -1: the record is slow."""
    at = _sign_at(buffer, at, stop, _BRACE)
    if at < 0:
        return -1
    seen, guess = 0, int(np.int64(0))
    while True:
        at = _sign_at(buffer, at + 1, stop, _QUOTE)
        if at < 0:
            return -1
        field = _field_at(buffer, at + 1, stop, names, shape, guess)
        if field >= 0:
            at += shape[field, NAME_SIZE] + 2
        else:
            at, field = _other_field(buffer, at + 1, stop, names, shape, arena, used)
            if at < 0 or (field < 0 and not passes):
                return -1
        at = _sign_at(buffer, at, stop, _COLON) + 1
        if at == 0 or at >= stop:
            return -1
        if byte_at(buffer, at) <= _SPACE:
            at = past_space(buffer, at, stop)
        if field < 0:
            at = past_value(buffer, at, stop, arena, used)
        else:
            if seen & (1 << field):
                return -1
            seen |= 1 << field
            guess = field + 1
            at, used = _read_value(
                buffer, at, stop, row, field, shape, bounds, arena, used,
                text_at, text_size, wholes, numbers, absent,
            )  # fmt: skip
        if at < 0 or at >= stop:
            return -1
        if byte_at(buffer, at) != _COMMA:
            at = past_space(buffer, at, stop)
            if at >= stop or byte_at(buffer, at) != _COMMA:
                break
    if at >= stop or byte_at(buffer, at) != _END:
        return -1
    if at + 1 != stop and past_space(buffer, at + 1, stop) != stop:
        return -1
    for other in range(len(shape)):
        if not seen & (1 << other):
            if not shape[other, MAY_LACK]:
                return -1
            absent[other, row] = True
    return used


@kernel(
    "int64(BYTES, int64[::1], int64[::1], BYTES, int64[:, ::1], float64[:, ::1], boolean, "
    "uint8[::1], "
    "int64[:, ::1], int64[:, ::1], int64[:, ::1], float64[:, ::1], boolean[:, ::1], boolean[::1])"
)
def scan(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    names: NDArray[np.uint8],
    shape: NDArray[np.int64],
    bounds: NDArray[np.float64],
    passes: bool,
    arena: NDArray[np.uint8],
    text_at: NDArray[np.int64],
    text_size: NDArray[np.int64],
    wholes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    absent: NDArray[np.bool_],
    slow: NDArray[np.bool_],
) -> int:
    """Read record i, ``sizes[i]`` bytes at ``starts[i]``, into column i of the outputs, or set
    ``slow[i]``; skips records already slow. Returns the number of bytes used in ``arena``.

    ``passes``: whether records may have unknown fields. ``arena``, of the length of ``buffer``,
    gets the texts that have escapes, without them; records do not overlap, so they fit.

    ``text_at``, ``text_size``: place of each TEXT field, in ``buffer`` or, from its length on, in
    ``arena``. ``wholes``, ``numbers``: the other values. ``absent``: a row per field; absent
    fields have no value. Outputs of slow records are undefined.
    """
    # Not the literal 0, of which numba would compile a version of every callee.
    used = int(np.int64(0))
    for row in range(len(starts)):
        if slow[row]:
            continue
        at = starts[row]
        end = _read_object(
            buffer, at, at + sizes[row], row, names, shape, bounds, passes, arena, used,
            text_at, text_size, wholes, numbers, absent,
        )  # fmt: skip
        slow[row] = end < 0
        used = max(used, end)
    return used


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
