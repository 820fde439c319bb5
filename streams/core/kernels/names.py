"""A hash table from texts to codes, queried by column.

Open addressing with linear probing over words ``upper half of the hash << 32 | code + 1``; 0 is
free, and at least half are free. Text c is in ``arena`` at ``code_at[c]``. Tenants choose the
texts, so the hash has a secret seed against forced collisions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel
from streams.core.kernels.machine import high64, load64
from streams.core.kernels.texts import same

_U = np.uint64
_TAG = _U(0xFFFFFFFF00000000)
_CODE = _U(0xFFFFFFFF)
_FACTOR = _U(0x9E3779B97F4A7C15)
_LAST_FACTOR = _U(0xD6E8FEB86659FD93)


@inlined
def _folded(a: np.uint64, b: np.uint64) -> np.uint64:
    return (a * b) ^ high64(a, b)


@inlined
def hash_text(buffer: NDArray[np.uint8], at: int, size: int, seed: np.uint64) -> np.uint64:
    """64-bit hash of a text, by folded 128-bit products."""
    word = seed ^ _U(size)
    while size >= 8:
        word = _folded(word ^ load64(buffer, at), _FACTOR)
        at += 8
        size -= 8
    if size > 0:
        word = _folded(word ^ (load64(buffer, at) << _U(64 - 8 * size)), _FACTOR)
    return _folded(word ^ seed, _LAST_FACTOR)


@kernel("void(BYTES, int64[::1], int64[::1], int64, uint64, uint64[::1])")
def enter_names(
    arena: NDArray[np.uint8],
    code_at: NDArray[np.int64],
    code_size: NDArray[np.int64],
    first: int,
    seed: np.uint64,
    places: NDArray[np.uint64],
) -> None:
    """Enter the codes from ``first`` on, which must be absent. Half of ``places`` stays free."""
    mask = len(places) - 1
    for code in range(first, len(code_at)):
        word = hash_text(arena, code_at[code], code_size[code], seed)
        place = np.int64(word & _CODE) & mask
        while places[place] != _U(0):
            place = (place + 1) & mask
        places[place] = (word & _TAG) | _U(code + 1)


@kernel(
    "int64(BYTES, int64[::1], int64[::1], uint64, uint64[::1], BYTES, int64[::1], int64[::1], int64[::1])"
)
def find_names(
    buffer: NDArray[np.uint8],
    at: NDArray[np.int64],
    size: NDArray[np.int64],
    seed: np.uint64,
    places: NDArray[np.uint64],
    arena: NDArray[np.uint8],
    code_at: NDArray[np.int64],
    code_size: NDArray[np.int64],
    codes: NDArray[np.int64],
) -> int:
    """The code of each text, -1 where it has none; returns how many have none."""
    mask = len(places) - 1
    unknown = 0
    for row in range(len(at)):
        word = hash_text(buffer, at[row], size[row], seed)
        place = np.int64(word & _CODE) & mask
        codes[row] = -1
        while places[place] != _U(0):
            entry = places[place]
            if (entry ^ word) & _TAG == _U(0):
                code = np.int64(entry & _CODE) - 1
                if code_size[code] == size[row] and same(
                    buffer, at[row], arena, code_at[code], size[row]
                ):
                    codes[row] = code
                    break
            place = (place + 1) & mask
        if codes[row] < 0:
            unknown += 1
    return unknown
