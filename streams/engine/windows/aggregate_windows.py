"""Windows of a fixed size: tumbling, or hopping if one begins every ``step_ms``.

The state is kept by *pane*, a piece of event time that windows share; a row merges the panes of its
window. So a record changes one state, in however many windows it is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.engine.aggregates.aggregate import Slots
from streams.engine.aggregates.window_states import Row
from streams.engine.windows.aggregate_table import (
    NEVER_MS,
    AggregateTable,
    Key,
    WindowBatch,
    WindowRow,
)
from streams.engine.windows.windowed import Windows

_NO_BOUND = 1 << 62


def pane_ms(windows: Windows) -> int:
    """The length of a pane: the greatest divisor of size and step."""
    return math.gcd(windows.size_ms, windows.step_ms)


class AggregateWindows(AggregateTable):
    def __init__(self, name: str, windows: Windows, *args: Any, **options: Any) -> None:
        super().__init__(name, *args, **options)
        self._windows = windows
        self._pane_ms = pane_ms(windows)
        self._panes: dict[int, dict[Key, int]] = {}
        """slot of each key, by start of the pane"""
        self._starts: list[int] = []
        """heap of the keys of ``_panes``"""
        self._places: dict[int, tuple[Key, int]] = {}
        self._done_ms = -NEVER_MS
        """windows that end by this time are closed"""
        self._left: list[Key] | None = None
        """of the window being closed, the keys without an owed row"""
        self._after: Key | None = None
        """the key before those"""
        self._unshown: dict[int, None] = {}
        """slots that changed since their last row"""

    # --- C1 ----------------------------------------------------------------------------------

    def late(self, times_ms: NDArray[np.int64], before_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        ends = times_ms // self._windows.step_ms * self._windows.step_ms + self._windows.size_ms
        return np.asarray(ends <= self._closed_before(before_ms))

    def _closed_before(self, before_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.maximum(before_ms - self._grace_ms, self.closed_ms)

    def _fold(self, batch: WindowBatch) -> None:
        cuts = self._cuts(batch)
        if not cuts:
            self._add(batch)
        elif cuts[0]:
            self._add(batch.take(np.arange(cuts[0])))
        for begin, end in pairwise([*cuts, len(batch)]):
            self._close_all(int(batch.before_ms[begin]))
            self._add(batch.take(np.arange(begin, end)))

    def _cuts(self, batch: WindowBatch) -> list[int]:
        """Records before which windows must close: they share a pane with a closed and an open
        window, and the closed window's row must not include them."""
        size_ms, step_ms = self._windows.size_ms, self._windows.step_ms
        first_ends = ((batch.times_ms - size_ms) // step_ms + 1) * step_ms + size_ms
        closed = self._closed_before(batch.before_ms)
        shared = np.flatnonzero(first_ends <= closed)
        cuts, upto = [], -NEVER_MS
        for row in shared.tolist():
            last_closed = (int(closed[row]) - size_ms) // step_ms * step_ms
            if last_closed > upto:
                cuts.append(row)
                upto = last_closed
        return cuts

    def _add(self, batch: WindowBatch) -> None:
        slots, place, missing = self._found(batch)
        if missing:
            first = _first_rows(place, len(slots))
            begun = self._states.begin(len(missing)).tolist()
            for (at, key, start_ms), slot in zip(missing, begun, strict=True):
                slots[at] = slot
                self._take(slot, key, start_ms)
                self._owned(slot, key, batch.tenants[first[at]])
        self._states.fold(batch.additions(slots[place]))
        self._resized(slots)
        touched = dict.fromkeys(slots.tolist())
        self._dirty |= touched
        self._unshown |= touched

    def _begins(self, batch: WindowBatch, sure: bool) -> tuple[_NewPanes, Slots]:
        slots, place, _ = self._found(batch)
        return _NewPanes(slots < 0, place), slots[place]

    def _found(self, batch: WindowBatch) -> tuple[Slots, Slots, list[tuple[int, Key, int]]]:
        """The slot of each different pane of the records, the index of each record's pane, and the
        panes without a state, whose slot is -1: index, key and start."""
        panes = batch.times_ms // self._pane_ms
        lowest = int(panes.min())
        width = int(panes.max()) - lowest + 1
        groups, place = np.unique(batch.codes * width + (panes - lowest), return_inverse=True)
        slots = np.full(len(groups), -1, np.int64)
        missing = []
        for at, group in enumerate(groups.tolist()):
            start_ms = (group % width + lowest) * self._pane_ms
            key = batch.keys[group // width]
            slot = self._panes.get(start_ms, {}).get(key)
            if slot is None:
                missing.append((at, key, start_ms))
            else:
                slots[at] = slot
        return slots, place, missing

    def _take(self, slot: int, key: Key, start_ms: int) -> None:
        keys = self._panes.get(start_ms)
        if keys is None:
            keys = self._panes[start_ms] = {}
            heapq.heappush(self._starts, start_ms)
        keys[key] = slot
        self._places[slot] = (key, start_ms)

    # --- closing -----------------------------------------------------------------------------

    @property
    def _next_ms(self) -> int | None:
        """The start of the oldest window that is not closed."""
        if not self._starts:
            return None
        oldest = max(self._starts[0], self._done_ms)
        size_ms, step_ms = self._windows.size_ms, self._windows.step_ms
        return ((oldest - size_ms) // step_ms + 1) * step_ms

    @property
    def _is_due(self) -> bool:
        start_ms = self._next_ms
        return start_ms is not None and start_ms + self._windows.size_ms <= self.closed_ms

    def _close_due(self) -> None:
        while self._room > 0 and self._is_due:
            start_ms = self._next_ms
            assert start_ms is not None
            if self._left is None:
                self._left = sorted(self._keys(start_ms))
            count = self._room
            some, self._left = self._left[:count], self._left[count:]
            self._closed(self._rows(start_ms, some))
            self._after = some[-1]
            if not self._left:
                self._finish(start_ms)
        if not self._is_due:
            self._done_ms = max(self._done_ms, self.closed_ms)

    def _finish(self, start_ms: int) -> None:
        """Remove the panes that no later window has."""
        self._left = self._after = None
        self._done_ms = start_ms + self._windows.size_ms
        while self._starts and self._starts[0] < start_ms + self._windows.step_ms:
            self._drop(heapq.heappop(self._starts))

    def _close_all(self, watermark_ms: int) -> None:
        room, self._room = self._room, _NO_BOUND
        self.advance(watermark_ms)
        self._room -= _NO_BOUND - room

    def _closing(self) -> tuple[Any, ...]:
        return self._done_ms, self._after

    def _go_on(self, *closing: Any) -> None:
        self._done_ms, self._after = closing
        start_ms = self._next_ms
        if self._after is not None and start_ms is not None:
            after = self._after
            self._left = sorted(key for key in self._keys(start_ms) if key > after)

    def _drop(self, start_ms: int) -> None:
        slots = [*self._panes.pop(start_ms).values()]
        for slot in slots:
            del self._places[slot]
            self._unshown.pop(slot, None)
        self._remove(slots)

    def _of_window(self, start_ms: int) -> Iterator[dict[Key, int]]:
        for pane in range(start_ms, start_ms + self._windows.size_ms, self._pane_ms):
            if pane in self._panes:
                yield self._panes[pane]

    def _keys(self, start_ms: int) -> dict[Key, None]:
        return {key: None for pane in self._of_window(start_ms) for key in pane}

    def _rows(self, start_ms: int, keys: list[Key]) -> list[WindowRow]:
        end_ms = start_ms + self._windows.size_ms
        rows = self._merged(start_ms, keys)
        return [WindowRow(key, start_ms, end_ms, row) for key, row in zip(keys, rows, strict=True)]

    def _merged(self, start_ms: int, keys: list[Key]) -> list[Row]:
        """The row of each key; each has a pane in the window."""
        if self._pane_ms == self._windows.size_ms:
            pane = self._panes.get(start_ms, {})
            return self._states.rows(_slots(pane[key] for key in keys))
        whole = self._states.begin(len(keys))
        for pane in self._of_window(start_ms):
            here = [at for at, key in enumerate(keys) if key in pane]
            self._states.merge(whole[here], _slots(pane[keys[at]] for at in here))
        rows = self._states.rows(whole)
        self._states.release(whole)
        return rows

    # --- early rows --------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        return bool(self._unshown)

    def take_early(self, rows_max: int) -> list[WindowRow]:
        wanted: dict[int, dict[Key, None]] = {}
        count = 0
        while self._unshown and count < rows_max:
            slot = next(iter(self._unshown))
            del self._unshown[slot]
            key, pane = self._places[slot]
            for start_ms in self._windows.starts(pane):
                if start_ms + self._windows.size_ms > self.closed_ms:
                    wanted.setdefault(start_ms, {})[key] = None
                    count += 1
        return [row for start_ms, keys in wanted.items() for row in self._rows(start_ms, [*keys])]

    # --- `Table` -----------------------------------------------------------------------------

    def _place(self, slot: int) -> tuple[Key, int, int]:
        key, start_ms = self._places[slot]
        return key, start_ms, start_ms

    def _find(self, key: Key, start_ms: int) -> int | None:
        return self._panes.get(start_ms, {}).get(key)

    def _restored(self, slot: int, key: Key, start_ms: int, last_ms: int) -> None:
        self._take(slot, key, start_ms)
        self._unshown[slot] = None


class _NewPanes:
    """``new``: the panes without a state; ``place``: the pane of each record."""

    def __init__(self, new: NDArray[np.bool_], place: Slots) -> None:
        self._new = new
        self._place = place

    def begins(self, row: int) -> bool:
        return bool(self._new[self._place[row]])

    def place(self, row: int) -> None:
        self._new[self._place[row]] = False


def _first_rows(place: Slots, count: int) -> list[int]:
    """The first record of each of ``count`` panes."""
    first = np.empty(count, np.int64)
    first[place[::-1]] = np.arange(len(place) - 1, -1, -1)
    found: list[int] = first.tolist()
    return found


def _slots(found: Any) -> Slots:
    return np.array([*found], np.int64)
