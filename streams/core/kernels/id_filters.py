"""Asks the filter of a run of event ids (streams/engine/identities/id_filter.py)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import kernel

_U = np.uint64
_UPPER = _U(32)


@kernel("int64(Array(uint64, 1, 'C', readonly=True), uint64[:, ::1], uint64[::1], int64[::1])")
def ask_filter(
    words: NDArray[np.uint64],
    needles: NDArray[np.uint64],
    bits: NDArray[np.uint64],
    held: NDArray[np.int64],
) -> int:
    """The index of each needle, a row that begins with its hash, which the filter may hold. Returns
    how many; ``held`` has room for all.

    No branch: a wrong guess would end the look-ups that are under way, and they wait for memory.
    """
    size = _U(len(words))
    count = 0
    for at in range(len(needles)):
        word = words[int(np.int64((needles[at, 0] >> _UPPER) * size >> _UPPER))]
        held[count] = at
        count += int((word & bits[at]) == bits[at])
    return count
