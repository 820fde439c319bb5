"""Passes over JSON values of any kind, nested ones too: the values of fields that a type lacks.

Whatever is passed is valid JSON (RFC 8259) in valid UTF-8.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import called, inlined
from streams.core.kernels.machine import byte_at, load64
from streams.core.kernels.texts import past_space, read_text

DEPTH_MAX: Final = 32
"""Objects and arrays within one another; their kinds are the bits of a word."""

_U = np.uint64
_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY = (ord(sign) for sign in "{}[]")
_QUOTE, _COLON, _COMMA, _MINUS, _PLUS, _POINT, _DIGIT_0, _DIGIT_9 = (ord(c) for c in '":,-+.09')
_LETTER_E, _LOWER_CASE = ord("e"), 0x20
_FOUR_BYTES = _U(0xFFFFFFFF)
_FIVE_BYTES = _U(0xFFFFFFFFFF)
_NULL, _TRUE, _FALSE = (_U(int.from_bytes(word, "little")) for word in (b"null", b"true", b"false"))


@called
def past_value(
    buffer: NDArray[np.uint8], at: int, stop: int, out: NDArray[np.uint8], used: int
) -> int:
    """The end of the value at ``at``; -1: it is not passed. ``out`` from ``used`` on is
    overwritten."""
    depth, kinds = 0, 0
    while True:
        at = past_space(buffer, at, stop)
        if at >= stop:
            return -1
        byte = byte_at(buffer, at)
        if byte in (_OPEN_OBJECT, _OPEN_ARRAY):
            if depth == DEPTH_MAX:
                return -1
            depth += 1
            kinds = kinds << 1 | (byte == _OPEN_OBJECT)
            at = past_space(buffer, at + 1, stop)
            if at >= stop:
                return -1
            if byte_at(buffer, at) != (_CLOSE_OBJECT if kinds & 1 else _CLOSE_ARRAY):
                if kinds & 1:
                    at = _past_name(buffer, at, stop, out, used)
                    if at < 0:
                        return -1
                continue
        else:
            at = _past_scalar(buffer, at, stop, out, used)
            if at < 0:
                return -1
        # A value ends at `at`, or the innermost object or array is closed there.
        while depth > 0:
            at = past_space(buffer, at, stop)
            if at >= stop:
                return -1
            byte = byte_at(buffer, at)
            at += 1
            if byte == _COMMA:
                if kinds & 1:
                    at = _past_name(buffer, past_space(buffer, at, stop), stop, out, used)
                    if at < 0:
                        return -1
                break
            if byte != (_CLOSE_OBJECT if kinds & 1 else _CLOSE_ARRAY):
                return -1
            depth -= 1
            kinds >>= 1
        else:
            return at


@inlined
def _past_name(
    buffer: NDArray[np.uint8], at: int, stop: int, out: NDArray[np.uint8], used: int
) -> int:
    """The place behind the colon of the name at ``at``; -1: there is none."""
    if at >= stop or byte_at(buffer, at) != _QUOTE:
        return -1
    end, _, _ = read_text(buffer, at + 1, stop, out, used)
    if end < 0:
        return -1
    at = past_space(buffer, end + 1, stop)
    return at + 1 if at < stop and byte_at(buffer, at) == _COLON else -1


@inlined
def _past_scalar(
    buffer: NDArray[np.uint8], at: int, stop: int, out: NDArray[np.uint8], used: int
) -> int:
    if byte_at(buffer, at) == _QUOTE:
        end, _, _ = read_text(buffer, at + 1, stop, out, used)
        return end + 1 if end >= 0 else -1
    word = load64(buffer, at)
    if word & _FOUR_BYTES == _NULL or word & _FOUR_BYTES == _TRUE:
        return at + 4 if at + 4 <= stop else -1
    if word & _FIVE_BYTES == _FALSE:
        return at + 5 if at + 5 <= stop else -1
    return _past_number(buffer, at, stop)


@inlined
def _past_number(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """Of any size: only its grammar is checked."""
    if byte_at(buffer, at) == _MINUS:
        at += 1
    first = at
    at = _past_digits(buffer, at, stop)
    if at == first or (at > first + 1 and byte_at(buffer, first) == _DIGIT_0):
        return -1
    if at < stop and byte_at(buffer, at) == _POINT:
        first = at + 1
        at = _past_digits(buffer, first, stop)
        if at == first:
            return -1
    if at < stop and byte_at(buffer, at) | _LOWER_CASE == _LETTER_E:
        at += 1
        if at < stop and (byte_at(buffer, at) == _PLUS or byte_at(buffer, at) == _MINUS):
            at += 1
        first = at
        at = _past_digits(buffer, first, stop)
        if at == first:
            return -1
    return at


@inlined
def _past_digits(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    while at < stop and _DIGIT_0 <= byte_at(buffer, at) <= _DIGIT_9:
        at += 1
    return at
