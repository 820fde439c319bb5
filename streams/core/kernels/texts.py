"""Compares bytes, and reads JSON strings.

Buffers end in padding (record_shape.PADDING), so a word may be loaded at any byte. The end of plain
text is found as in H. S. Warren, Hacker's Delight, 6-1: the lowest byte flagged by a whole-word
test is correct.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import called, inlined
from streams.core.kernels.machine import byte_at, load64, trailing_zeros

_U = np.uint64
_EACH = _U(0x0101010101010101)
_TOP = _U(0x8080808080808080)
_QUOTES = _EACH * _U(ord('"'))
_BACKSLASHES = _EACH * _U(ord("\\"))
_SPACES = _EACH * _U(ord(" "))
_QUOTE, _BACKSLASH, _SLASH, _SPACE = ord('"'), ord("\\"), ord("/"), ord(" ")
_TAB, _LINE_FEED, _RETURN = ord("\t"), ord("\n"), ord("\r")
_BACKSPACE, _FORM_FEED = 8, 12
_LETTER_B, _LETTER_F, _LETTER_N, _LETTER_R, _LETTER_T, _LETTER_U = (ord(c) for c in "bfnrtu")
_DIGIT_0, _DIGIT_9, _LETTER_A = ord("0"), ord("9"), ord("a")
_LOWER_CASE = 0x20
_ASCII = 0x80
_TWO_BYTES, _FOUR_BYTES = 0x800, 0x10000
"""The least code points of two and of four bytes in UTF-8; below the latter, `\\u` has one unit."""
_HIGH_SURROGATE, _LOW_SURROGATE, _NO_SURROGATE = 0xD800, 0xDC00, 0xE000
_LAST_CODE_POINT = 0x10FFFF


@inlined
def same(a: NDArray[np.uint8], i: int, b: NDArray[np.uint8], j: int, size: int) -> bool:
    while size >= 8:
        if load64(a, i) != load64(b, j):
            return False
        i += 8
        j += 8
        size -= 8
    if size <= 0:
        return True
    return bool((load64(a, i) ^ load64(b, j)) << _U(64 - 8 * size) == _U(0))


@inlined
def past_space(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """The first place from ``at`` that has no white space of JSON; ``stop``: none."""
    while at < stop and byte_at(buffer, at) <= _SPACE:
        byte = byte_at(buffer, at)
        if byte not in (_SPACE, _LINE_FEED, _TAB, _RETURN):
            return at
        at += 1
    return at


@inlined
def plain_end(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """The first quote, backslash, control character or non-ASCII byte from ``at``; ``stop``:
    none."""
    while at < stop:
        word = load64(buffer, at)
        quote = word ^ _QUOTES
        slash = word ^ _BACKSLASHES
        found = (quote - _EACH) & ~quote
        found |= (slash - _EACH) & ~slash
        found |= (word - _SPACES) & ~word
        found |= word
        found &= _TOP
        if found != _U(0):
            return min(at + (trailing_zeros(found) >> 3), stop)
        at += 8
    return stop


@called
def read_text(
    buffer: NDArray[np.uint8], at: int, stop: int, out: NDArray[np.uint8], used: int
) -> tuple[int, int, int]:
    """Write the string whose text begins at ``at`` to ``out``, from ``used`` on, as UTF-8 without
    escapes; that is at most as long.

    Returns the place of the closing quote, the end in ``out``, and the number of code points. The
    place is -1 for a string that is not valid JSON in valid UTF-8, and for unpaired surrogates.
    """
    characters = 0
    while at < stop:
        byte = byte_at(buffer, at)
        if byte == _QUOTE:
            return at, used, characters
        characters += 1
        if byte == _BACKSLASH:
            at, code = _read_escape(buffer, at + 1, stop)
            if at < 0:
                return -1, used, characters
            used = _write(out, used, code)
            continue
        width = 1 if _SPACE <= byte < _ASCII else _width(buffer, at, stop)
        if width == 0:
            return -1, used, characters
        for step in range(width):
            out[used + step] = byte_at(buffer, at + step)
        at += width
        used += width
    return -1, used, characters


@inlined
def _width(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """Bytes of the code point at ``at``, which is not ASCII; 0: not valid UTF-8 (RFC 3629)."""
    lead = byte_at(buffer, at)
    width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if lead < 0xC2 or lead > 0xF4 or at + width > stop:
        return 0
    code = lead & (0x7F >> width)
    for step in range(1, width):
        byte = byte_at(buffer, at + step)
        if byte & 0xC0 != 0x80:
            return 0
        code = code << 6 | byte & 0x3F
    if width == 3 and (code < _TWO_BYTES or _HIGH_SURROGATE <= code < _NO_SURROGATE):
        return 0
    if width == 4 and (code < _FOUR_BYTES or code > _LAST_CODE_POINT):
        return 0
    return width


@inlined
def _read_escape(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """End and code point of the escape whose backslash is before ``at``; end -1 where it is not
    valid."""
    if at >= stop:
        return -1, 0
    byte = byte_at(buffer, at)
    if byte in (_QUOTE, _BACKSLASH, _SLASH):
        return at + 1, byte
    if byte == _LETTER_N:
        return at + 1, _LINE_FEED
    if byte == _LETTER_T:
        return at + 1, _TAB
    if byte == _LETTER_R:
        return at + 1, _RETURN
    if byte == _LETTER_B:
        return at + 1, _BACKSPACE
    if byte == _LETTER_F:
        return at + 1, _FORM_FEED
    if byte != _LETTER_U:
        return -1, 0
    code = _read_unit(buffer, at + 1, stop)
    if code < 0 or _LOW_SURROGATE <= code < _NO_SURROGATE:
        return -1, 0
    if code < _HIGH_SURROGATE or code >= _NO_SURROGATE:
        return at + 5, code
    # A low surrogate follows, as an escape too.
    if at + 6 >= stop or byte_at(buffer, at + 5) != _BACKSLASH:
        return -1, 0
    low = _read_unit(buffer, at + 7, stop) if byte_at(buffer, at + 6) == _LETTER_U else -1
    if low < _LOW_SURROGATE or low >= _NO_SURROGATE:
        return -1, 0
    return at + 11, _FOUR_BYTES + ((code - _HIGH_SURROGATE) << 10) + (low - _LOW_SURROGATE)


@inlined
def _read_unit(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """The number of the four hexadecimal digits at ``at``; -1: others."""
    if at + 4 > stop:
        return -1
    unit = 0
    for step in range(4):
        byte = byte_at(buffer, at + step)
        digit = byte - _DIGIT_0
        if digit < 0 or byte > _DIGIT_9:
            digit = (byte | _LOWER_CASE) - _LETTER_A + 10
            if digit < 10 or digit > 15:
                return -1
        unit = unit << 4 | digit
    return unit


@inlined
def _write(out: NDArray[np.uint8], at: int, code: int) -> int:
    """Write a code point as UTF-8; returns its end."""
    if code < _ASCII:
        out[at] = code
        return at + 1
    if code < _TWO_BYTES:
        out[at] = 0xC0 | code >> 6
        out[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < _FOUR_BYTES:
        out[at] = 0xE0 | code >> 12
        out[at + 1] = 0x80 | code >> 6 & 0x3F
        out[at + 2] = 0x80 | code & 0x3F
        return at + 3
    out[at] = 0xF0 | code >> 18
    out[at + 1] = 0x80 | code >> 12 & 0x3F
    out[at + 2] = 0x80 | code >> 6 & 0x3F
    out[at + 3] = 0x80 | code & 0x3F
    return at + 4
