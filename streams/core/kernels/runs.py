"""Merges sorted runs of counted keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import kernel


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
