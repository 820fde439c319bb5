"""Adds records to window states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel
from streams.core.kernels.window_sums import D1, D2, S1

_U = np.uint64


@inlined
def _add(sums: NDArray[np.float64], group: int, column: int, value: float) -> None:
    """Add and keep the rounding error (D. E. Knuth, TAOCP 2, 4.2.2, theorem B)."""
    before = sums[group, column]
    after = before + value
    part = after - before
    sums[group, column] = after
    sums[group, column + 1] += (before - (after - part)) + (value - part)


@kernel(
    "int64(int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], uint64, "
    "uint64[::1], uint64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], "
    "float64[::1], float64[::1], float64[::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], float64[:, ::1])"
)
def accumulate(
    slots: NDArray[np.int64],
    ts_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    append_ms: NDArray[np.int64],
    epoch: np.uint64,
    inc: NDArray[np.uint64],
    ver: NDArray[np.uint64],
    n: NDArray[np.int64],
    s1: NDArray[np.float64],
    pivot: NDArray[np.float64],
    d1: NDArray[np.float64],
    d2: NDArray[np.float64],
    lo: NDArray[np.float64],
    hi: NDArray[np.float64],
    lv: NDArray[np.float64],
    lt: NDArray[np.int64],
    since_ms: NDArray[np.int64],
    group_of: NDArray[np.int64],
    touched: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> int:
    """Add each record to the state in its slot; returns the number of slots in ``touched``, in
    order of first touch.

    The arguments from ``inc`` to ``group_of`` are columns by slot
    (streams/engine/windows/minutes/window_columns.py); ``group_of`` is -1 everywhere, before and after.
    ``sums`` are zeros, a row per record. A slot's records are summed before they are added to its
    state, which keeps their precision.
    """
    count = 0
    for row in range(len(slots)):
        slot, value = slots[row], values[row]
        group = group_of[slot]
        ver[slot] = epoch + _U(offsets[row] + 1)
        if group < 0:
            group = group_of[slot] = count
            touched[count] = slot
            count += 1
            if inc[slot] == _U(0):
                inc[slot] = ver[slot]
                pivot[slot] = value
        deviation = value - pivot[slot]
        n[slot] += 1
        _add(sums, group, S1, value)  # pyright: ignore[reportArgumentType]
        _add(sums, group, D1, deviation)  # pyright: ignore[reportArgumentType]
        _add(sums, group, D2, deviation * deviation)  # pyright: ignore[reportArgumentType]
        lo[slot] = min(lo[slot], value)
        hi[slot] = max(hi[slot], value)
        if ts_ms[row] >= lt[slot]:
            lt[slot] = ts_ms[row]
            lv[slot] = value
        since_ms[slot] = min(since_ms[slot], append_ms[row])
    for group in range(count):
        slot = touched[group]
        s1[slot] += sums[group, S1] + sums[group, S1 + 1]
        d1[slot] += sums[group, D1] + sums[group, D1 + 1]
        d2[slot] += sums[group, D2] + sums[group, D2 + 1]
        group_of[slot] = -1
    return count
