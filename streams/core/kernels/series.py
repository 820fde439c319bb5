"""Finds rows by series key in the hash table of streams/engine/state/row_table.py.

Hashes are those of `row_table.mixed`. Entries without a place are in ``beyond``, ascending.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel
from streams.core.kernels.machine import leading_zeros
from streams.core.kernels.row_places import PROBES_MAX

_U = np.uint64
_MIX = _U(0x9E3779B97F4A7C15)
_HALF = _U(32)
_ROW = _U(0xFFFFFFFF)


@inlined
def _mixed(key: int) -> np.uint64:
    word = _U(key) * _MIX
    return (word ^ (word >> _HALF)) * _MIX


@inlined
def _first_beyond(beyond: NDArray[np.uint64], word: np.uint64) -> int:
    tag = word >> _HALF << _HALF
    low, high = 0, len(beyond)
    while low < high:
        middle = (low + high) >> 1
        if beyond[middle] < tag:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _row_of(
    places: NDArray[np.uint64],
    beyond: NDArray[np.uint64],
    needle: int,
    keys: NDArray[np.int64],
    windows: bool,
    minute: int,
    minutes: NDArray[np.int64],
    serials: NDArray[np.int64],
) -> int:
    """The row of ``needle`` in ``keys``, or -1. With ``windows`` only rows that hold a window of
    ``minute`` count."""
    mask = len(places) - 1
    word = _mixed(needle)
    place, probes = int(np.int64(word >> _U(leading_zeros(_U(mask))))), 0
    while places[place] != _U(0) and probes < PROBES_MAX:
        entry = places[place]
        row = int(np.int64(entry & _ROW)) - 1
        if (entry ^ word) >> _HALF == _U(0) and keys[row] == needle:
            if not windows or (minutes[row] == minute and serials[row] >= 0):
                return row
        place = (place + 1) & mask
        probes += 1
    found = -1
    if probes < PROBES_MAX:
        return found
    for other in range(_first_beyond(beyond, word), len(beyond)):
        row = int(np.int64(beyond[other] & _ROW)) - 1
        if (beyond[other] ^ word) >> _HALF != _U(0):
            break
        if keys[row] == needle:
            if not windows or (minutes[row] == minute and serials[row] >= 0):
                found = row
    return found


@kernel("void(uint64[::1], uint64[::1], int64[::1], int64[::1], int64[::1])")
def find_series(
    places: NDArray[np.uint64],
    beyond: NDArray[np.uint64],
    needles: NDArray[np.int64],
    keys: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """The row of each needle in ``keys``, or -1."""
    for at in range(len(needles)):
        rows[at] = _row_of(places, beyond, needles[at], keys, False, 0, keys, keys)


@kernel(
    "void(uint64[::1], uint64[::1], int64[::1], int64, int64[::1], int64[::1], int64[::1], int64[::1])"
)
def find_windows(
    places: NDArray[np.uint64],
    beyond: NDArray[np.uint64],
    needles: NDArray[np.int64],
    minute: int,
    keys: NDArray[np.int64],
    minutes: NDArray[np.int64],
    serials: NDArray[np.int64],
    slots: NDArray[np.int64],
) -> None:
    """The slot of each series' window of ``minute``, or -1. The other arguments are columns by
    slot, which show whether a slot still holds that window."""
    for at in range(len(needles)):
        slots[at] = _row_of(places, beyond, needles[at], keys, True, minute, minutes, serials)


@kernel("int64(uint64[::1], uint64[::1])")
def enter_rows(places: NDArray[np.uint64], entries: NDArray[np.uint64]) -> int:
    """Enter absent words. Returns how many were entered: the next one found no free place."""
    mask = len(places) - 1
    shift = _U(leading_zeros(_U(mask)))
    for at in range(len(entries)):
        place, probes = int(np.int64(entries[at] >> shift)), 0
        while places[place] != _U(0):
            place = (place + 1) & mask
            probes += 1
            if probes == PROBES_MAX:
                return at
        places[place] = entries[at]
    return len(entries)
