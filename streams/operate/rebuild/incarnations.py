"""Which incarnation of its window each record of the log belongs to.

The incarnations of a window divide its records by offset: an incarnation begins with its first
record and ends before the next one begins. Of a stored row both ends are known, ``inc`` and
``ver``; a record between two rows is of an incarnation whose row is lost.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

ENDLESS: Final = (1 << 62) - 1
"""the last offset of a live incarnation: its owner may add records"""
BEFORE_ALL: Final = 1
"""the place of a record before every known incarnation of its window"""


class Places(NamedTuple):
    """Of each record. ``number`` names the piece of its window: 2k for a record of the k-th known
    incarnation (from 1), 2k + 1 for one behind it and before the next. ``row``: of that
    incarnation; -1: none."""

    number: NDArray[np.int64]
    row: NDArray[np.int64]


class Incarnations:
    """Known incarnations of one partition and epoch: parallel columns, a row each.

    ``first`` and ``last`` are offsets, inclusive. ``order`` sorts the columns by window and
    offset; the rows of `place` count in that order.
    """

    def __init__(
        self,
        keys: NDArray[np.int64],
        minutes: NDArray[np.int64],
        first: NDArray[np.int64],
        last: NDArray[np.int64],
    ) -> None:
        self._series = np.unique(keys)
        self._base = int(minutes.min(initial=0)) if len(minutes) else 0
        self._span = int(minutes.max()) - self._base + 1 if len(minutes) else 1
        windows = self._windows(keys, minutes)
        self.order = np.lexsort((first, windows))
        self._window = windows[self.order]
        self.first = first[self.order]
        following = np.r_[self.first[1:], ENDLESS] if len(self.first) else self.first
        if len(self.first):
            following[:-1][self._window[1:] != self._window[:-1]] = ENDLESS
        self.last = np.minimum(last[self.order], following - 1)
        starts = np.searchsorted(self._window, self._window, side="left")
        self._number = np.arange(len(self._window)) - starts + 1
        self._most = int(self._number.max(initial=0))

    def __len__(self) -> int:
        return len(self.first)

    def place(
        self, keys: NDArray[np.int64], minutes: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Places:
        number = np.full(len(keys), BEFORE_ALL, np.int64)
        row = np.full(len(keys), -1, np.int64)
        if not len(self):
            return Places(number, row)
        windows = self._windows(keys, minutes)
        at = np.searchsorted(self._window, windows, side="left")
        for _ in range(self._most):
            here = np.minimum(at, len(self) - 1)
            reached = (at < len(self)) & (self._window[here] == windows)
            reached &= self.first[here] <= offsets
            if not reached.any():
                break
            row[reached] = at[reached]
            at[reached] += 1
        known = np.flatnonzero(row >= 0)
        its = row[known]
        number[known] = 2 * self._number[its] + (offsets[known] > self.last[its])
        return Places(number, row)

    def _windows(self, keys: NDArray[np.int64], minutes: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for each window of a known series; -1 for another."""
        at = np.searchsorted(self._series, keys)
        here = np.minimum(at, max(0, len(self._series) - 1))
        inside = (minutes >= self._base) & (minutes < self._base + self._span)
        known = inside & (self._series[here] == keys) if len(self._series) else inside & False
        found: NDArray[np.int64] = np.where(known, at * self._span + minutes - self._base, -1)
        return found
