"""Compares bytes and finds JSON strings, eight bytes at a time.

Buffers end in padding (record_shape.PADDING), so a word may be loaded at any byte. String ends are
found as in H. S. Warren, Hacker's Delight, 6-1: the lowest byte flagged by a whole-word test is
correct.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined
from streams.core.kernels.machine import byte_at, load64, trailing_zeros

_U = np.uint64
_EACH = _U(0x0101010101010101)
_TOP = _U(0x8080808080808080)
_QUOTES = _EACH * _U(ord('"'))
_BACKSLASHES = _EACH * _U(ord("\\"))
_SPACES = _EACH * _U(ord(" "))
_QUOTE = ord('"')


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
def string_end(buffer: NDArray[np.uint8], at: int, stop: int) -> int:
    """Position of the closing quote of the string whose text begins at ``at``; -1 for a backslash,
    a control character or a non-ASCII byte before it, or at ``stop``."""
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
            at += trailing_zeros(found) >> 3
            return at if at < stop and byte_at(buffer, at) == _QUOTE else -1
        at += 8
    return -1
