"""From (minute, series) to slot: the windows that live, and which slot each record folds into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tables.runs import run_starts
from tables.window_columns import WindowColumns

Opened = Callable[["Window", NDArray[np.int64], NDArray[np.int64]], None]
"""Called with a window, its new slots and their series keys, to initialise what lies there."""


class Window(dict[int, int]):
    """One minute: series key to slot. A missing series takes a free slot.

    ``__missing__`` keeps the look-up of a whole batch in C (`map` over `__getitem__`); what it
    took is initialised afterwards, in bulk.
    """

    __slots__ = ("_free", "_taken", "closed", "hold_until", "minute", "older")

    def __init__(self, minute: int, free: list[int], taken: list[int]) -> None:
        super().__init__()
        self.minute = minute
        self.closed = False
        self.hold_until: float | None = None
        # Slots of incarnations that a newer one of the same series has succeeded. They arise
        # only in a restore: an evicted window may come back beside its successor.
        self.older: set[int] = set()
        self._free = free
        self._taken = taken

    def __missing__(self, key: int) -> int:
        slot = self._free.pop()
        self[key] = slot
        self._taken.append(key)
        return slot

    def slots(self) -> NDArray[np.int64]:
        """Every slot of the minute."""
        return np.array([*self.values(), *self.older], np.int64)


class WindowLookup:
    """The live windows of one partition, by minute since the epoch."""

    def __init__(self, columns: WindowColumns) -> None:
        self._columns = columns
        self._windows: dict[int, Window] = {}
        self._taken: list[int] = []
        """Series keys that took a slot in the window being looked up."""

    def __len__(self) -> int:
        """Live minutes."""
        return len(self._windows)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows.values())

    def slots(
        self,
        keys: NDArray[np.int64],
        minutes: NDArray[np.int64],
        new_window: Callable[[Window], None],
        opened: Opened,
    ) -> NDArray[np.int64]:
        """The slot of each row; windows and slots that do not exist yet are opened."""
        self._columns.reserve(len(keys))
        order = np.argsort(minutes, kind="stable")
        ordered = minutes[order]
        first = run_starts(ordered)
        sorted_keys = keys[order].tolist()
        slots = np.empty(len(keys), np.int64)
        for start, end in pairwise([*first.tolist(), len(keys)]):
            minute = int(ordered[start])
            window = self._windows.get(minute)
            if window is None:
                window = self._windows[minute] = self._window(minute)
                new_window(window)
            slots[order[start:end]] = list(map(window.__getitem__, sorted_keys[start:end]))
            if self._taken:
                taken = list(map(window.__getitem__, self._taken))
                opened(window, np.array(taken, np.int64), np.array(self._taken, np.int64))
                self._taken.clear()
        return slots

    def forget(self, slots: NDArray[np.int64]) -> None:
        """These slots are being released."""
        c = self._columns
        minutes, keys = c.minute[slots].tolist(), c.key[slots].tolist()
        for slot, minute, key in zip(slots.tolist(), minutes, keys, strict=True):
            window = self._windows[minute]
            if window.get(key) == slot:
                del window[key]
            else:
                window.older.discard(slot)
            if not window and not window.older:
                del self._windows[minute]

    def rebuild(self, slots: NDArray[np.int64]) -> None:
        """Look-ups for exactly these slots; of several incarnations of a series, the newest
        folds on. Windows known before keep their state."""
        c = self._columns
        before, self._windows = self._windows, {}
        ordered = slots[np.argsort(c.inc[slots])]
        minutes, keys = c.minute[ordered].tolist(), c.key[ordered].tolist()
        for slot, minute, key in zip(ordered.tolist(), minutes, keys, strict=True):
            window = self._windows.get(minute)
            if window is None:
                window = self._windows[minute] = self._window(minute)
                if minute in before:
                    window.closed = before[minute].closed
                    window.hold_until = before[minute].hold_until
            if key in window:
                window.older.add(window[key])
            window[key] = slot

    def _window(self, minute: int) -> Window:
        return Window(minute, self._columns.free, self._taken)
