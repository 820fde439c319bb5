"""Merges sorted runs of counted keys, and finds ranges in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel


@kernel("int64(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def merge_runs(
    a: NDArray[np.int64],
    of_a: NDArray[np.int64],
    b: NDArray[np.int64],
    of_b: NDArray[np.int64],
    keys: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> int:
    """Merge ``a`` and ``b``, each ascending and distinct, into ``keys``, which has room for both; the counts
    of a key of both are added. Returns the number of keys."""
    i, j, used = 0, 0, 0
    while i < len(a) and j < len(b):
        if a[i] < b[j]:
            keys[used], counts[used] = a[i], of_a[i]
            i += 1
        elif a[i] > b[j]:
            keys[used], counts[used] = b[j], of_b[j]
            j += 1
        else:
            keys[used], counts[used] = a[i], of_a[i] + of_b[j]
            i += 1
            j += 1
        used += 1
    for rest in range(i, len(a)):
        keys[used], counts[used] = a[rest], of_a[rest]
        used += 1
    for rest in range(j, len(b)):
        keys[used], counts[used] = b[rest], of_b[rest]
        used += 1
    return used


@inlined
def _first_from(keys: NDArray[np.int64], at: int, least: int) -> int:
    """The first index from ``at`` on with a key of at least ``least``. It costs little if that is
    near: steps grow until one passes it."""
    step, low = 1, at
    while at < len(keys) and keys[at] < least:
        low = at + 1
        at += step
        step += step
    high = min(at, len(keys))
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < least:
            low = middle + 1
        else:
            high = middle
    return low


@kernel("void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def find_ranges(
    keys: NDArray[np.int64],
    least: NDArray[np.int64],
    beyond: NDArray[np.int64],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
) -> None:
    """The range of ascending ``keys`` from each ``least`` to below its ``beyond``; both ascend, and may
    repeat."""
    at = 0
    for needle in range(len(least)):
        if needle and least[needle] < beyond[needle - 1]:
            at = start[needle - 1]
        start[needle] = at = _first_from(keys, at, least[needle])
        at = _first_from(keys, at, beyond[needle])
        length[needle] = at - start[needle]
