"""The states of all live windows of a partition, as columns indexed by slot.

A slot is reused; its *serial* is not. A reader that keeps a slot keeps the serial too and detects
reuse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

NEVER_MS = 1 << 62

_COLUMNS: tuple[tuple[str, DTypeLike, float], ...] = (
    ("serial", np.int64, -1),  # -1: the slot is free
    ("minute", np.int64, 0),  # window start, minutes since the Unix epoch
    ("key", np.int64, 0),  # series key (streams/engine/windows/minutes/names.py)
    ("shard", np.int32, 0),
    ("old", np.bool_, 0),  # too old for m1 when opened: goes to h1 and d1
    ("inc", np.uint64, 0),
    ("ver", np.uint64, 0),
    ("n", np.int64, 0),
    ("s1", np.float64, 0),
    ("pivot", np.float64, 0),  # first value; deviations from it are summed
    ("d1", np.float64, 0),  # sum of deviations
    ("d2", np.float64, 0),  # sum of squared deviations
    ("lo", np.float64, np.inf),
    ("hi", np.float64, -np.inf),
    ("lv", np.float64, 0),
    ("lt", np.int64, -NEVER_MS),
    ("base", np.int64, 0),  # segment that holds the whole sketch; 0: none yet
    ("sent", np.uint64, 0),  # version last sent; 0: none
    ("acked", np.uint64, 0),  # version last acknowledged; 0: none
    ("since_ms", np.int64, NEVER_MS),  # append time of the oldest record not yet sent
    ("dirty", np.bool_, 0),  # changed since the last delta
    ("closed", np.bool_, 0),
    ("waiting", np.bool_, 0),  # is in an emission queue
    ("group", np.int64, -1),  # scratch of the folding kernel
)


class WindowColumns:
    """Growable columns and free slots. Capacity doubles and never shrinks."""

    serial: NDArray[np.int64]
    minute: NDArray[np.int64]
    key: NDArray[np.int64]
    shard: NDArray[np.int32]
    old: NDArray[np.bool_]
    inc: NDArray[np.uint64]
    ver: NDArray[np.uint64]
    n: NDArray[np.int64]
    s1: NDArray[np.float64]
    pivot: NDArray[np.float64]
    d1: NDArray[np.float64]
    d2: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    lv: NDArray[np.float64]
    lt: NDArray[np.int64]
    base: NDArray[np.int64]
    sent: NDArray[np.uint64]
    acked: NDArray[np.uint64]
    since_ms: NDArray[np.int64]
    dirty: NDArray[np.bool_]
    closed: NDArray[np.bool_]
    waiting: NDArray[np.bool_]
    group: NDArray[np.int64]

    def __init__(self, capacity: int = 1024) -> None:
        self._free = np.empty(0, np.int64)
        self._free_count = 0
        self._next_serial = 0
        self._released = False
        self._existing = np.empty(0, np.int64)
        """serials below ``_began`` that existed after the last `release`, ascending"""
        self._began = 0
        self._capacity = 0
        self._grow(capacity)

    def __len__(self) -> int:
        return self._capacity - self._free_count

    def begin(self, count: int) -> NDArray[np.int64]:
        """Take ``count`` free slots, reset and numbered in the order returned."""
        if self._free_count < count:
            self._grow(max(2 * self._capacity, self._capacity + count))
        self._free_count -= count
        slots = self._free[self._free_count : self._free_count + count][::-1].copy()
        at = _places(slots)
        for name, _, initial in _COLUMNS:
            getattr(self, name)[at] = initial
        self.serial[at] = np.arange(self._next_serial, self._next_serial + count)
        self._next_serial += count
        return slots

    def release(self, slots: NDArray[np.int64]) -> None:
        self.serial[slots] = -1
        self._released = True
        self._free[self._free_count : self._free_count + len(slots)] = slots
        self._free_count += len(slots)

    def live(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.serial >= 0)

    def same(self, slots: NDArray[np.int64], serials: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which remembered slots were not reused."""
        same: NDArray[np.bool_] = self.serial[slots] == serials
        return same

    def alive(self, serials: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which serials still exist. It looks at all live slots only once after a `release`: until
        the next one, every serial that `begin` gives exists."""
        if self._released:
            self._existing, self._began = np.sort(self.serial[self.live()]), self._next_serial
            self._released = False
        found: NDArray[np.bool_] = (serials >= self._began) & (serials < self._next_serial)
        if len(self._existing):
            at = np.minimum(np.searchsorted(self._existing, serials), len(self._existing) - 1)
            found |= self._existing[at] == serials
        return found

    def oldest_unshown_ms(self) -> int:
        """Append time of the oldest record not yet sent, or `NEVER_MS`; scans all live slots."""
        return int(self.since_ms[self.live()].min(initial=NEVER_MS))

    def _grow(self, capacity: int) -> None:
        for name, dtype, _ in _COLUMNS:
            # Free slots are not initialised: their pages stay untouched until `begin`.
            column = np.empty(capacity, dtype)
            column[: self._capacity] = getattr(self, name, 0)
            setattr(self, name, column)
        self.serial[self._capacity :] = -1
        # Taken from the end: low slots first, so that a small state uses few pages.
        free = np.empty(capacity, np.int64)
        added = capacity - self._capacity
        free[:added] = np.arange(capacity - 1, self._capacity - 1, -1)
        free[added : added + self._free_count] = self._free[: self._free_count]
        self._free, self._free_count = free, added + self._free_count
        self._capacity = capacity


def _places(slots: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """As a slice where they follow each other, as those do that were never used."""
    if len(slots) and (np.diff(slots) == 1).all():
        return slice(int(slots[0]), int(slots[-1]) + 1)
    return slots
