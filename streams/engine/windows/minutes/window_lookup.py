"""Finds or opens the window state (slot) of each (minute, series).

A minute has its own hash table (streams/engine/state/row_table.py), which is dropped with its last
window. Nothing is deleted from it: an entry of a released slot is detected by the slot's columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.engine.state.row_table import RowTable, mixed
from streams.engine.state.runs import run_starts
from streams.engine.windows.minutes.window_columns import WindowColumns

Opened = Callable[["Window", NDArray[np.int64], NDArray[np.int64]], None]
"""Called with a window, its new slots and their series keys, to initialise the columns."""

_STALE_SLACK = 1024


@dataclass(slots=True, eq=False)
class Window:
    """One minute; ``live`` counts its states."""

    minute: int
    closed: bool = False
    hold_until: float | None = None
    live: int = 0
    table: RowTable = field(default_factory=RowTable)


class WindowLookup:
    """The live windows of one partition, by minute since the Unix epoch."""

    def __init__(self, columns: WindowColumns) -> None:
        self._columns = columns
        self._windows: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows.values())

    @property
    def bytes_used(self) -> int:
        return sum(window.table.bytes_used for window in self)

    def slots(
        self,
        keys: NDArray[np.int64],
        minutes: NDArray[np.int64],
        new_window: Callable[[Window], None],
        opened: Opened,
    ) -> NDArray[np.int64]:
        """The slot of each row; missing windows and slots are opened."""
        order = np.argsort(minutes, kind="stable")
        ordered = minutes[order]
        first = run_starts(ordered)
        slots = np.empty(len(keys), np.int64)
        for start, end in pairwise([*first.tolist(), len(keys)]):
            minute = int(ordered[start])
            window = self._windows.get(minute)
            if window is None:
                window = self._windows[minute] = Window(minute)
                new_window(window)
            rows = order[start:end]
            slots[rows] = self._slots_of(window, keys[rows], opened)
        return slots

    def slots_of(self, window: Window) -> NDArray[np.int64]:
        """All slots of the minute, ascending. Scans all columns: once in a window's life."""
        c = self._columns
        return np.flatnonzero((c.minute == window.minute) & (c.serial >= 0))

    def forget(self, slots: NDArray[np.int64]) -> None:
        minutes, counts = np.unique(self._columns.minute[slots], return_counts=True)
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True):
            window = self._windows[minute]
            window.live -= count
            if not window.live:
                del self._windows[minute]

    def rebuild(self, slots: NDArray[np.int64]) -> None:
        """Rebuild for exactly these slots; of several incarnations of a series, the newest folds
        on. Known windows keep their state."""
        before, self._windows = self._windows, {}
        c = self._columns
        ordered = slots[np.argsort(c.minute[slots], kind="stable")]
        starts = run_starts(c.minute[ordered]).tolist()
        for start, end in pairwise([*starts, len(ordered)]):
            its = ordered[start:end]
            minute = int(c.minute[its[0]])
            window = before.get(minute, Window(minute))
            window.live, window.table = len(its), self._table(its)
            self._windows[minute] = window

    def _table(self, slots: NDArray[np.int64]) -> RowTable:
        """Maps each series of one minute to its newest incarnation. A restore may bring an evicted
        one back beside its successor."""
        c = self._columns
        ordered = slots[np.lexsort((c.inc[slots], c.key[slots]))]
        last = np.r_[run_starts(c.key[ordered])[1:], len(ordered)] - 1
        newest = ordered[last]
        table = RowTable(len(newest))
        table.add(mixed(c.key[newest]), newest)
        return table

    def _slots_of(
        self, window: Window, keys: NDArray[np.int64], opened: Opened
    ) -> NDArray[np.int64]:
        if len(window.table) > 2 * window.live + _STALE_SLACK:
            # The minute was closed early several times: most states are gone.
            window.table = self._table(self.slots_of(window))
        slots = self._found(window, keys)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            new_keys, place = np.unique(keys[missing], return_inverse=True)
            new_slots = self._columns.begin(len(new_keys))
            opened(window, new_slots, new_keys)
            window.live += len(new_slots)
            window.table.add(mixed(new_keys), new_slots)
            slots[missing] = new_slots[place]
        return slots

    def _found(self, window: Window, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of each series in this minute, or -1."""
        c, table = self._columns, window.table
        if kernels.active is not None:
            slots = np.empty(len(keys), np.int64)
            columns = (c.key, c.minute, c.serial)
            kernels.active.find_windows(*table.entries, keys, window.minute, *columns, slots)
            return slots

        def meant(slots: NDArray[np.int64], index: NDArray[np.intp]) -> NDArray[np.bool_]:
            same: NDArray[np.bool_] = c.key[slots] == keys[index]
            same &= (c.minute[slots] == window.minute) & (c.serial[slots] >= 0)
            return same

        return table.find(mixed(keys), meant)
