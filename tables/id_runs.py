"""Remembered event ids that are no longer hot: a few runs, sorted by hash, merged as they grow.

40 bytes an id, no Python object for any of them. Looking a batch up is one binary search per
run; runs are merged while the younger is at least half as long as the older, so there are
O(log n) of them and each id is moved O(log n) times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ids:
    """Parallel columns: both halves of the 128-bit event hash, where the event was first seen
    and when it was appended, and the hash of its payload."""

    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]
    payload: NDArray[np.uint64]
    offset: NDArray[np.int64]
    append_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.hi)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Ids:
        return Ids(
            self.hi[index],
            self.lo[index],
            self.payload[index],
            self.offset[index],
            self.append_ms[index],
        )


def concatenate(parts: list[Ids]) -> Ids:
    """The rows of all parts, in order."""
    return Ids(
        np.concatenate([p.hi for p in parts]) if parts else np.empty(0, np.uint64),
        np.concatenate([p.lo for p in parts]) if parts else np.empty(0, np.uint64),
        np.concatenate([p.payload for p in parts]) if parts else np.empty(0, np.uint64),
        np.concatenate([p.offset for p in parts]) if parts else np.empty(0, np.int64),
        np.concatenate([p.append_ms for p in parts]) if parts else np.empty(0, np.int64),
    )


def ordered(ids: Ids) -> Ids:
    """Ascending by hash; of several rows of one event only the latest."""
    # Stable is a linear merge where two runs were joined; equal upper halves are so rare that
    # the full order is worth computing only when there are some.
    order = np.argsort(ids.hi, kind="stable")
    by_hash = ids.hi[order]
    if not (by_hash[1:] == by_hash[:-1]).any():
        return ids.take(order)
    by_event = ids.take(np.lexsort((ids.offset, ids.lo, ids.hi)))
    last = np.ones(len(by_event), np.bool_)
    last[:-1] = (by_event.hi[1:] != by_event.hi[:-1]) | (by_event.lo[1:] != by_event.lo[:-1])
    return by_event.take(last)


class IdRuns:
    """The runs of one partition, newest last."""

    def __init__(self) -> None:
        self._runs: list[Ids] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, ids: Ids, horizon_ms: int) -> None:
        """Add a run; rows appended before ``horizon_ms`` are forgotten as runs are merged."""
        if len(ids):
            self._runs.append(ordered(ids))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            younger, older = self._runs.pop(), self._runs.pop()
            merged = concatenate([older, younger])
            self._runs.append(ordered(merged.take(merged.append_ms >= horizon_ms)))
        if self._runs and int(self._runs[0].append_ms.max(initial=0)) < horizon_ms:
            del self._runs[0]

    def find(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Ids]:
        """Which of the given events are remembered, and the newest row of each of those."""
        # Ascending needles walk a run in memory order: a third of the cost of random ones.
        missing = np.argsort(hi)
        positions: list[NDArray[np.intp]] = []
        rows: list[Ids] = []
        for run in reversed(self._runs):
            if not len(missing):
                break
            at = _search(run, hi[missing], lo[missing])
            found = at >= 0
            if found.any():
                positions.append(missing[found])
                rows.append(run.take(at[found]))
                missing = missing[~found]
        if not positions:
            return np.empty(0, np.intp), concatenate([])
        return np.concatenate(positions), concatenate(rows)


def _search(run: Ids, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Index of each event in the run, -1 where it is not."""
    at = np.searchsorted(run.hi, hi)
    result = np.full(len(hi), -1, np.intp)
    pending = np.flatnonzero(at < len(run))
    pending = pending[run.hi[at[pending]] == hi[pending]]
    # More than one round only where two events share the upper 64 bits of their hash.
    while len(pending):
        same = run.lo[at[pending]] == lo[pending]
        result[pending[same]] = at[pending[same]]
        pending = pending[~same]
        at[pending] += 1
        pending = pending[at[pending] < len(run)]
        pending = pending[run.hi[at[pending]] == hi[pending]]
    return result
