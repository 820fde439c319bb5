"""Sketch buckets of all live windows of a partition, as sorted runs.

A bucket is one int64: ``serial << 16 | (code + 32768)`` with the serial of a window state and the
DDSketch code of a value (streams/engine/windows/minutes/sketch_code.py). Once per commit new buckets are
sorted and counted into a run. Runs are merged while the younger is at least half as long as the
older (a log-structured merge), so a bucket is moved O(log n) times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.engine.state.runs import ragged, run_starts

CODE_BITS = 16
CODE_BIAS = 1 << (CODE_BITS - 1)

Buckets = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending distinct buckets, and the count of each."""


def pack(serials: NDArray[np.int64], codes: NDArray[np.int16]) -> NDArray[np.int64]:
    return (serials << CODE_BITS) | (codes.astype(np.int64) + CODE_BIAS)


def codes_of(buckets: NDArray[np.int64]) -> NDArray[np.int16]:
    return ((buckets & ((1 << CODE_BITS) - 1)) - CODE_BIAS).astype(np.int16)


def serials_of(buckets: NDArray[np.int64]) -> NDArray[np.int64]:
    return buckets >> CODE_BITS


def combine(buckets: NDArray[np.int64], counts: NDArray[np.int64]) -> Buckets:
    if not len(buckets):
        return buckets, counts
    # numpy's stable sort is radix or timsort: linear on a few sorted runs.
    order = np.argsort(buckets, kind="stable")
    buckets, counts = buckets[order], counts[order]
    starts = run_starts(buckets)
    return buckets[starts], np.add.reduceat(counts, starts)


def merged(a: Buckets, b: Buckets) -> Buckets:
    """`combine` of two ascending distinct ones."""
    loops, most = kernels.active, len(a[0]) + len(b[0])
    if loops is None:
        return combine(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]))
    buckets, counts = np.empty(most, np.int64), np.empty(most, np.int64)
    columns = map(np.ascontiguousarray, (*a, *b))
    used: int = loops.merge_runs(*columns, buckets, counts)
    return (buckets, counts) if used == most else (buckets[:used].copy(), counts[:used].copy())


class SketchRuns:
    """The runs of one partition. ``alive`` tells which serials (sorted, distinct) still exist."""

    def __init__(self, alive: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> None:
        self._alive = alive
        self._recent: list[NDArray[np.int64]] = []
        self._runs: list[Buckets] = []

    def __len__(self) -> int:
        return sum(len(run[0]) for run in self._runs) + sum(map(len, self._recent))

    @property
    def bytes_used(self) -> int:
        return 16 * len(self)

    def append(self, buckets: NDArray[np.int64]) -> None:
        """Add one value to each bucket (repeats allowed, any order)."""
        if len(buckets):
            self._recent.append(buckets)

    def add(self, buckets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Add counted, distinct, ascending buckets."""
        if len(buckets):
            self._runs.append((buckets, counts))
            self._merge_tail()

    def seal(self) -> Buckets:
        """Count what was appended since the last call into a new run, and return it."""
        if not self._recent:
            empty = np.empty(0, np.int64)
            return empty, empty
        ordered = np.sort(np.concatenate(self._recent))
        self._recent = []
        starts = run_starts(ordered)
        counts = np.diff(np.r_[starts, len(ordered)]).astype(np.int64)
        run = (ordered[starts], counts)
        self.add(*run)
        return run

    def gather(self, serials: NDArray[np.int64]) -> Buckets:
        """All sealed buckets of ``serials`` (ascending), ascending, counts added up."""
        low, high = serials << CODE_BITS, (serials + 1) << CODE_BITS
        parts = [_slices(run, low, high) for run in self._runs]
        parts = [part for part in parts if len(part[0])]
        if not parts:
            empty = np.empty(0, np.int64)
            return empty, empty
        # The youngest are the shortest.
        whole = parts.pop()
        while parts:
            whole = merged(parts.pop(), whole)
        return whole

    def purge(self) -> None:
        """Merge all runs into one without the buckets of removed serials."""
        while len(self._runs) > 1:
            self._merge_last_two()
        if self._runs:
            self._runs[0] = self._without_dead(self._runs[0])

    def _merge_tail(self) -> None:
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._merge_last_two()

    def _merge_last_two(self) -> None:
        younger, older = self._runs.pop(), self._runs.pop()
        self._runs.append(self._without_dead(merged(older, younger)))

    def _without_dead(self, run: Buckets) -> Buckets:
        serials = serials_of(run[0])
        if not len(serials):
            return run
        first = run_starts(serials)
        alive = np.repeat(self._alive(serials[first]), np.diff(np.r_[first, len(serials)]))
        return (run[0], run[1]) if alive.all() else (run[0][alive], run[1][alive])


def _slices(run: Buckets, low: NDArray[np.int64], high: NDArray[np.int64]) -> Buckets:
    buckets, counts = run
    if kernels.active is None:
        start = np.searchsorted(buckets, low)
        length = np.searchsorted(buckets, high) - start
    else:
        start, length = np.empty(len(low), np.int64), np.empty(len(low), np.int64)
        kernels.active.find_ranges(np.ascontiguousarray(buckets), low, high, start, length)
    index = ragged(start, length)
    return buckets[index], counts[index]
